"""The shape every data set of this package has once it is in memory."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from mmjsd_jax.data.declaration import ModalitySpec


class Factor(NamedTuple):
  """One of several things that is known of every tuple, such as a shape.

  Attributes:
    name: such as 'shape'.
    classes: what its classes are called, in order: 'absent', 'present' for an
      attribute.
  """

  name: str
  classes: tuple[str, ...]


class Split(NamedTuple):
  """One split: N tuples, of which each stored item may serve in several.

  Attributes:
    inputs: modality name -> stored items along the first axis: images as uint8
      [.., height, width, channels], 0 to 255, or as floats, 0 to 1; text as
      uint8 [.., length]; vectors as float32 [.., columns].
    labels: class of every tuple, -1 where it is unknown. int32 [N].
    tables: modality name -> the item that tuple n has. int32 [N]. A modality
      without a table has one item for every tuple, in their order.
    present: modality name -> whether tuple n has it. Bool [N]. A modality
      without an entry is always there; where one is not, its item holds
      anything.
    factors: class of every tuple in every factor of the set, [N, F] integers;
      None where the set has none.
  """

  inputs: dict[str, np.ndarray]
  labels: np.ndarray
  tables: Mapping[str, np.ndarray] = MappingProxyType({})
  present: Mapping[str, np.ndarray] = MappingProxyType({})
  factors: np.ndarray | None = None

  @property
  def num_examples(self) -> int:
    """N."""
    return len(self.labels)

  def items_of(self, name: str) -> np.ndarray:
    """A modality's stored items, without those that only fill gaps."""
    if name not in self.present:
      return self.inputs[name]
    rows = np.flatnonzero(self.present[name])
    if name in self.tables:
      rows = np.unique(self.tables[name][rows])
    return self.inputs[name][rows]

  def keep(self, rows: np.ndarray) -> 'Split':
    """The tuples `rows`; items that a table points to are not copied."""
    return Split(
      {
        name: items if name in self.tables else items[rows]
        for name, items in self.inputs.items()
      },
      self.labels[rows],
      _rows(self.tables, rows),
      _rows(self.present, rows),
      self._factors_of(rows),
    )

  def take(self, rows: np.ndarray) -> 'Split':
    """The tuples `rows` with items of their own, and no tables.

    Zeros stand where a tuple lacks a modality.
    """
    inputs = {
      name: items[self.tables[name][rows] if name in self.tables else rows]
      for name, items in self.inputs.items()
    }
    present = _rows(self.present, rows)
    for name, mask in present.items():
      inputs[name][~mask] = 0
    return Split(
      inputs,
      self.labels[rows],
      present=present,
      factors=self._factors_of(rows),
    )

  def only(self, modalities: tuple[str, ...]) -> 'Split':
    """The same tuples with these modalities alone, in this order."""
    return Split(
      {name: self.inputs[name] for name in modalities},
      self.labels,
      {name: self.tables[name] for name in modalities if name in self.tables},
      {name: self.present[name] for name in modalities if name in self.present},
      self.factors,
    )

  def _factors_of(self, rows: np.ndarray) -> np.ndarray | None:
    return None if self.factors is None else self.factors[rows]


def _rows(
  arrays: Mapping[str, np.ndarray], rows: np.ndarray
) -> dict[str, np.ndarray]:
  return {name: array[rows] for name, array in arrays.items()}


class Records(Protocol):
  """What tuples are read from, such as `records.Records`."""

  @property
  def shapes(self) -> dict[str, tuple[int, ...]]:
    """Modality name -> shape of an item, which is uint8."""

  def read(
    self, rows: np.ndarray, names: Sequence[str]
  ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Items of the modalities `names`, and labels, of the tuples `rows`."""


class Streamed(NamedTuple):
  """A split that is not in memory; what is taken of it is read then.

  Attributes:
    records: of this split, and maybe of others.
    modalities: those of them that are read.
    rows: the records of this split, in its order. Integers [N].
    factors: as in `Split`, of all records; in memory.
  """

  records: Records
  modalities: tuple[str, ...]
  rows: np.ndarray
  factors: np.ndarray | None = None

  @property
  def num_examples(self) -> int:
    """N."""
    return len(self.rows)

  @property
  def example_bytes(self) -> int:
    """Of one tuple in memory, without its label."""
    return sum(math.prod(self.records.shapes[name]) for name in self.modalities)

  def keep(self, rows: np.ndarray) -> 'Streamed':
    """The tuples `rows`, unread."""
    return self._replace(rows=self.rows[rows])

  def take(self, rows: np.ndarray) -> Split:
    """The tuples `rows` in memory.

    Raises:
      DamagedRecord: one of them is damaged.
    """
    chosen = self.rows[rows]
    return Split(
      *self.records.read(chosen, self.modalities),
      factors=None if self.factors is None else self.factors[chosen],
    )

  def only(self, modalities: tuple[str, ...]) -> 'Streamed':
    """The same tuples with these modalities alone, in this order."""
    return self._replace(modalities=modalities)


def spread(split: Split | Streamed, most: int) -> np.ndarray:
  """At most `most` of a split's tuples, evenly spread. Integers [n]."""
  num_examples = split.num_examples
  return np.arange(0, num_examples, -(-num_examples // most))


def sample(split: Streamed) -> Split:
  """Some tuples, evenly spread, for the checks that every set passes."""
  return split.take(spread(split, 1000))


class Dataset(NamedTuple):
  """Both splits, and where they came from.

  Attributes:
    name: such as 'polymnist'.
    modalities: names, in the order of the paper.
    num_classes: known labels are in [0, num_classes); 0 where there are none.
    train: training split; of a streamed set a small sample.
    test: test split.
    source: one line for a person: where the data came from, and counts.
    substituted: what stands in for the papers' data and why; None if nothing.
    fingerprint: what `fingerprint(train, test)` gives; of a streamed set what
      it gave when the copy was prepared.
    streamed: the training split, where it is not in memory.
    specs: what the modalities of users' own data are; () of all other sets.
    factors: what the columns of `Split.factors` say.
  """

  name: str
  modalities: tuple[str, ...]
  num_classes: int
  train: Split
  test: Split
  source: str
  substituted: str | None
  fingerprint: str
  streamed: Streamed | None = None
  specs: tuple[ModalitySpec, ...] = ()
  factors: tuple[Factor, ...] = ()


def not_published(title: str, files: Sequence[str], place: object) -> str:
  """The sentence for `Dataset.substituted` about files of another checksum.

  Args:
    title: of the set whose names the files have.
    files: names of those whose checksum is not the published one.
    place: where they lie.
  """
  return (
    f"By their checksums {', '.join(files)} in {place} are not {title}'s as"
    f' published; unless that is intended, fetch {title} anew.'
  )


def check(dataset: Dataset) -> None:
  """Refuses arrays that training or evaluation could not use.

  Raises:
    ValueError: names the split and the array, what was expected and what was
      got.
  """
  splits = {'train': dataset.train, 'test': dataset.test}
  for name, split in splits.items():
    inputs, labels, tables, present, factors = split
    _require(
      tuple(inputs) == dataset.modalities,
      f'inputs of the {name} split',
      f'the modalities {dataset.modalities}',
      tuple(inputs),
    )
    _require(
      labels.ndim == 1
      and labels.size > 0
      and np.issubdtype(labels.dtype, np.integer),
      f'labels of the {name} split',
      'integers [N], N at least 1',
      _describe(labels),
    )
    _require(
      -1 <= labels.min() <= labels.max() < dataset.num_classes,
      f'labels of the {name} split',
      f'in [0, {dataset.num_classes}), or -1 where unknown',
      f'{labels.min()} to {labels.max()}',
    )
    _check_present(name, present, dataset.modalities, len(labels))
    _check_factors(name, factors, dataset.factors, len(labels))
    for modality in dataset.modalities:
      what = f'{modality} of the {name} split'
      items = inputs[modality]
      item_shape = dataset.train.inputs[modality].shape[1:]
      num_items = len(items) if modality in tables else len(labels)
      used = np.ones(num_items, bool)
      if modality in present and modality not in tables:
        used = present[modality]
      _check_array(what, items, (num_items, *item_shape), used)
      if modality in tables:
        _check_table(what, tables[modality], len(labels), num_items)


def _check_present(
  split: str,
  present: Mapping[str, np.ndarray],
  modalities: tuple[str, ...],
  num_tuples: int,
) -> None:
  _require(
    set(present) <= set(modalities),
    f'masks of the {split} split',
    f'of the modalities {modalities}',
    tuple(present),
  )
  for modality, mask in present.items():
    _require(
      mask.dtype == bool and mask.shape == (num_tuples,),
      f'mask of {modality} of the {split} split',
      f'bool ({num_tuples},)',
      _describe(mask),
    )
  if set(present) == set(modalities):
    any_there = np.any([*present.values()], axis=0)
    _require(
      bool(any_there.all()),
      f'tuples of the {split} split',
      'of at least one modality',
      f'{np.sum(~any_there)} without any, the first of them tuple'
      f' {np.argmin(any_there)}',
    )


def _check_factors(
  split: str,
  classes: np.ndarray | None,
  factors: tuple[Factor, ...],
  num_tuples: int,
) -> None:
  what = f'factors of the {split} split'
  if classes is None or not factors:
    _require(
      classes is None and not factors,
      what,
      f'classes in {len(factors)} factors',
      'none' if classes is None else _describe(classes),
    )
    return
  _require(
    np.issubdtype(classes.dtype, np.integer)
    and classes.shape == (num_tuples, len(factors)),
    what,
    f'integers ({num_tuples}, {len(factors)})',
    _describe(classes),
  )
  for factor, column in zip(factors, classes.T, strict=True):
    _require(
      0 <= column.min() <= column.max() < len(factor.classes),
      f'{factor.name} of the {split} split',
      f'in [0, {len(factor.classes)})',
      f'{column.min()} to {column.max()}',
    )


def _check_array(
  what: str, array: np.ndarray, shape: tuple[int, ...], used: np.ndarray
) -> None:
  """`used` says which items anything is made of."""
  _require(
    array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating),
    what,
    'uint8 or floats',
    _describe(array),
  )
  _require(array.shape == shape, what, f'of shape {shape}', _describe(array))
  if array.dtype != np.uint8:
    finite = np.isfinite(array).reshape(len(array), -1) | ~used[:, None]
    _require(
      bool(finite.all()),
      what,
      'finite',
      f'{np.sum(~finite)} values that are not, the first in example'
      f' {np.argmin(finite.all(axis=1))}',
    )


def _check_table(
  what: str, table: np.ndarray, num_tuples: int, num_items: int
) -> None:
  _require(
    np.issubdtype(table.dtype, np.integer) and table.shape == (num_tuples,),
    f'table of {what}',
    f'integers [{num_tuples}]',
    _describe(table),
  )
  _require(
    0 <= table.min() <= table.max() < num_items,
    f'table of {what}',
    f'in [0, {num_items})',
    f'{table.min()} to {table.max()}',
  )


def _describe(array: np.ndarray) -> str:
  return f'{array.dtype} {array.shape}'


def _require(holds: bool, what: str, expected: str, got: object) -> None:
  if not holds:
    raise ValueError(f'{what} must be {expected}; got {got}')


def fingerprint(train: Split | Streamed, test: Split) -> str:
  """SHA-256, as 64 hex digits, over names, shapes, dtypes and every value."""
  digest = hashlib.sha256()
  for split in (train, test):
    if isinstance(split, Streamed):
      _add_streamed(digest, split)
      unread = split.only(()).take(np.arange(len(split.rows)))
      split = Split({}, unread.labels, factors=unread.factors)
    tables = {f'table of {name}': rows for name, rows in split.tables.items()}
    masks = {f'mask of {name}': mask for name, mask in split.present.items()}
    for name, array in [
      *sorted(split.inputs.items()),
      ('label', split.labels),
      *sorted(tables.items()),
      *sorted(masks.items()),
      *([] if split.factors is None else [('factors', split.factors)]),
    ]:
      digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()


def _add_streamed(digest: Any, split: Streamed) -> None:
  """The inputs of a split as they would be in memory, some tuples at a time."""
  for name in sorted(split.modalities):
    shape = (split.num_examples, *split.records.shapes[name])
    digest.update(f'{name} {np.dtype(np.uint8).str} {shape}\n'.encode())
    for start in range(0, split.num_examples, 1000):
      rows = np.arange(start, min(start + 1000, split.num_examples))
      digest.update(split.only((name,)).take(rows).inputs[name].data)
