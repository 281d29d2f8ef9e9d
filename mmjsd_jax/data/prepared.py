"""Reads data sets that this package's TFDS builders prepared."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mmjsd_jax.data import tfds_source
from mmjsd_jax.data.dataset import (
  Dataset,
  Factor,
  Split,
  Streamed,
  fingerprint,
  sample,
)
from mmjsd_jax.data.records import Records

_Read = TypeVar('_Read')
_FACTORS = 'factors'


class Layout(NamedTuple):
  """What the records are of a set in which every tuple has its own items.

  Attributes:
    name: of the data set.
    shapes: modality name -> shape of an item, which is uint8; in the order of
      the set.
    num_classes: of 'label'; 0 where there is none.
    factors: of the set, whose classes are in 'factors', uint8 [F].
  """

  name: str
  shapes: Mapping[str, tuple[int, ...]]
  num_classes: int = 0
  factors: tuple[Factor, ...] = ()


def find(directory: str | os.PathLike[str], name: str) -> pathlib.Path | None:
  """The folder of the newest copy of `name`: in `directory`, or this itself."""
  root = pathlib.Path(directory).expanduser()
  for folder in (root, *sorted(root.glob(f'{name}/*'), reverse=True)):
    if (folder / 'dataset_info.json').is_file():
      return folder
  return None


def load(
  directory: str | os.PathLike[str],
  read_fn: Callable[[Sequence[Any]], Split],
  *,
  name: str,
  modalities: tuple[str, ...],
  num_classes: int,
) -> Dataset:
  """The data set that a builder wrote, checked against what it wrote.

  Args:
    directory: root of the data sets (TFDS's `data_dir`), or the folder
      `<name>/<version>` in it.
    read_fn: TFDS's examples to a split.
    name: of the data set.
    modalities: of the data set.
    num_classes: of the data set.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy does not hold what was written into it.
  """
  folder, told, (train, test) = _read_copy(
    directory,
    name,
    lambda builder: tuple(
      read_fn(builder.as_data_source(split)) for split in ('train', 'test')
    ),
  )
  dataset = Dataset(
    name=name,
    modalities=modalities,
    num_classes=num_classes,
    train=train,
    test=test,
    source=f'{told.get("source")}; read from {folder}',
    substituted=told.get('substituted'),
    fingerprint=fingerprint(train, test),
  )
  return _checked(dataset, told, folder)


def load_records(
  directory: str | os.PathLike[str],
  layout: Layout,
  *,
  options: Mapping[str, Any],
) -> Dataset:
  """The same, record by record; see `stream`.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy does not hold what was written into it, or was
      prepared with other options.
    DamagedRecord: if a record is damaged.
  """
  folder, told, (streamed, test) = _open_copy(directory, layout, options)
  train = streamed.take(streamed.rows)
  dataset = _dataset(layout, told, train, test, f'read from {folder}')
  return _checked(
    dataset._replace(fingerprint=fingerprint(train, test)), told, folder
  )


def stream(
  directory: str | os.PathLike[str],
  layout: Layout,
  *,
  options: Mapping[str, Any],
) -> Dataset:
  """The same, whose training split stays on the disk.

  The test split is read whole, and so are the factors. Of the training split it
  is checked that every file has the records that it should; each of them is
  checked against its hash when it is read.

  Args:
    directory: see `load`.
    layout: of the records.
    options: some of those that the builder must have had.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy is damaged, or was prepared with other options.
    DamagedRecord: if one of the first records that are read is.
  """
  folder, told, (streamed, test) = _open_copy(directory, layout, options)
  digest = told.get('fingerprint')
  if not isinstance(digest, str):
    raise ValueError(
      f'{folder}: expected a fingerprint of the data in metadata.json; got'
      f' {digest!r}'
    )
  dataset = _dataset(
    layout, told, sample(streamed), test, f'streamed from {folder}'
  )
  return dataset._replace(fingerprint=digest, streamed=streamed)


def _dataset(
  layout: Layout, told: dict[str, Any], train: Split, test: Split, where: str
) -> Dataset:
  return Dataset(
    name=layout.name,
    modalities=tuple(layout.shapes),
    num_classes=layout.num_classes,
    train=train,
    test=test,
    source=f'{told.get("source")}; {where}',
    substituted=told.get('substituted'),
    fingerprint='',
    factors=layout.factors,
  )


def _checked(
  dataset: Dataset, told: dict[str, Any], folder: pathlib.Path
) -> Dataset:
  if dataset.fingerprint != told.get('fingerprint'):
    raise ValueError(
      f'{folder}: expected data with fingerprint {told.get("fingerprint")};'
      f' got {dataset.fingerprint}: the copy is damaged'
    )
  return dataset


def _open_copy(
  directory: str | os.PathLike[str],
  layout: Layout,
  options: Mapping[str, Any],
) -> tuple[pathlib.Path, dict[str, Any], tuple[Streamed, Split]]:
  """Folder and metadata of a copy, its training and its test split."""

  def read(builder: Any) -> tuple[Streamed, Split]:
    train, test = (_open(builder, name, layout) for name in ('train', 'test'))
    return train, test.take(test.rows)

  folder, told, splits = _read_copy(directory, layout.name, read)
  prepared = dict(told.get('options') or {})
  prepared = {key: prepared.get(key) for key in options}
  if prepared != options:
    raise ValueError(
      f'{folder}: expected {layout.name} prepared with {dict(options)}; got one'
      f' prepared with {prepared}'
    )
  return folder, told, splits


def _open(builder: Any, split: str, layout: Layout) -> Streamed:
  info = builder.info.splits[split]
  stored = dict(layout.shapes)
  if layout.factors:
    stored[_FACTORS] = (len(layout.factors),)
  records = Records(
    [os.fspath(path) for path in info.filepaths],
    info.shard_lengths,
    stored,
    labelled=layout.num_classes > 0,
  )
  rows = np.arange(len(records))
  factors = None
  if layout.factors:
    items, _ = records.read(rows, [_FACTORS])
    factors = items[_FACTORS].astype(np.int32)
  return Streamed(records, tuple(layout.shapes), rows, factors)


def _read_copy(
  directory: str | os.PathLike[str], name: str, read_fn: Callable[[Any], _Read]
) -> tuple[pathlib.Path, dict[str, Any], _Read]:
  """Folder and metadata of the copy of `name`, and what is read of it."""
  folder = find(directory, name)
  if folder is None:
    root = pathlib.Path(directory).expanduser()
    raise FileNotFoundError(
      f'prepared {name} not found; looked for dataset_info.json in {root} and'
      f' {root / name}/*; mmjsd_jax.data.{name}_builder prepares one'
    )
  import tensorflow_datasets as tfds

  got, told, read = tfds_source.read_copy(tfds, folder, read_fn)
  if got != name:
    raise ValueError(f'{folder}: expected {name}; got {got}')
  return folder, told, read
