"""Rows of several sources as examples: matched by ids, or by order.

N examples, n rows of one modality.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy import typing as npt

from mmjsd_jax.data.declaration import ModalitySpec
from mmjsd_jax.data.preparation import as_array, has_text


class Items(NamedTuple):
  """Values of one modality, or labels, of some examples.

  Attributes:
    values: of each row. Shape [n, ...].
    ids: of each row, integers or strings; None where rows go by order. [n].
    present: which rows have values; None is all but those that are NaN, None
      or, of texts, empty. Bool [n].
    columns: names of a vector's columns; () if they have none.
    origin: where they come from, for errors.
  """

  values: npt.ArrayLike
  ids: npt.ArrayLike | None = None
  present: npt.ArrayLike | None = None
  columns: Sequence[str] = ()
  origin: str = ''


class Rows(NamedTuple):
  """Items that have been looked at."""

  what: str  # for errors
  values: np.ndarray
  rows: np.ndarray  # the example of each row. Integers [n]
  present: np.ndarray  # Bool [n]


class Examples(NamedTuple):
  """All examples, by id or by order."""

  num_examples: int
  numbers: dict[str, int] | None  # id -> example; None: by order

  def name(self, example: int) -> str:
    """Of an example, for errors."""
    if self.numbers is None:
      return f'row {example}'
    return f'id {list(self.numbers)[example]!r}'


class Matched(NamedTuple):
  """Examples of some modalities, with values as users have them.

  Attributes:
    examples: that are matched.
    values: modality -> NaN or None where it is absent. [N, ...].
    present: modality -> Bool [N].
  """

  examples: Examples
  values: dict[str, np.ndarray]
  present: dict[str, np.ndarray]

  @property
  def ids(self) -> np.ndarray:
    """Or numbers, of examples that go by order. Shape [N]."""
    numbers = self.examples.numbers
    return np.array(
      range(self.examples.num_examples) if numbers is None else [*numbers]
    )


def as_items(what: str, given: Items | npt.ArrayLike) -> Items:
  """Items, whose values are an array.

  Raises:
    ValueError: values that are no numbers or strings, or no rows.
  """
  items = given if isinstance(given, Items) else Items(given)
  values = as_array(items.values)
  if values.dtype.kind == 'S' or values.ndim == 0 or not len(values):
    raise ValueError(
      f'{title(what, items)} must be an array of numbers or strings, one row at'
      f' least; got {values.dtype} {values.shape}'
    )
  return items._replace(values=values)


def match(items: Mapping[str, Items], beside: Mapping[str, Items]) -> Examples:
  """The union of all ids, in the order in which they come; or the rows.

  Those of modalities come first, then others of what stands `beside` them.

  Raises:
    ValueError: ids that are no ids, or none that another source has.
  """
  have_ids = [name for name, x in items.items() if x.ids is not None]
  if not have_ids:
    lengths = {name: len(np.asarray(x.values)) for name, x in items.items()}
    if len(set(lengths.values())) > 1:
      raise ValueError(
        'modalities without ids must have as many rows as each other; got'
        f' {lengths}'
      )
    return Examples(next(iter(lengths.values())), None)
  if len(have_ids) < len(items):
    raise ValueError(
      f'all modalities must have ids, or none; got {have_ids} of {list(items)}'
    )
  ids = {name: _checked_ids(title(name, x), x) for name, x in items.items()}
  for name, some in ids.items():
    others = [one for other in ids if other != name for one in ids[other]]
    if others and set(some).isdisjoint(others):
      raise ValueError(
        f'ids of {title(name, items[name])} must be, some of them, those of'
        f' another modality; got none, the first {some[0]!r} where another has'
        f' {others[0]!r}'
      )
  every = dict.fromkeys(one for some in ids.values() for one in some)
  for name, x in beside.items():
    if x.ids is None:
      continue  # refused where its rows are looked at
    others = _checked_ids(title(name, x), x)
    if every.keys().isdisjoint(others):
      raise ValueError(
        f'ids of {title(name, x)} must be, some of them, those of a modality;'
        f' got none, the first {others[0]!r} where a modality has'
        f' {next(iter(every))!r}'
      )
    every |= dict.fromkeys(others)
  return Examples(len(every), {one: row for row, one in enumerate(every)})


def _checked_ids(what: str, items: Items) -> list[str]:
  ids, num_rows = np.asarray(items.ids), len(np.asarray(items.values))
  if ids.shape != (num_rows,):
    raise ValueError(
      f'ids of {what} must be [{num_rows}], one for each row; got {ids.shape}'
    )
  if not (np.issubdtype(ids.dtype, np.integer) or ids.dtype.kind in 'UO'):
    raise ValueError(
      f'ids of {what} must be integers or strings; got {ids.dtype}'
    )
  seen: dict[str, int] = {}
  for row, one in enumerate(ids.tolist()):
    if one is None or one == '':
      raise ValueError(f'ids of {what} must not be empty; got one in row {row}')
    if seen.setdefault(str(one), row) != row:
      raise ValueError(
        f'ids of {what} must be distinct; got {one!r} in rows'
        f' {seen[str(one)]} and {row}'
      )
  return list(seen)


def example_rows(what: str, items: Items, examples: Examples) -> np.ndarray:
  """The example of each row. Integers [n].

  Raises:
    ValueError: ids where modalities have none, or the other way round.
  """
  if examples.numbers is None:
    num_rows = len(np.asarray(items.values))
    if items.ids is not None or num_rows != examples.num_examples:
      raise ValueError(
        f'{what} must have {examples.num_examples} rows and no ids, as'
        f' modalities do; got {num_rows} rows,'
        f' {"no" if items.ids is None else "with"} ids'
      )
    return np.arange(num_rows)
  if items.ids is None:
    raise ValueError(f'{what} must have ids, as modalities do; got none')
  ids = _checked_ids(what, items)
  return np.array([examples.numbers[one] for one in ids], int)


def modality_rows(
  spec: ModalitySpec, items: Items, examples: Examples, partial_rows: str
) -> Rows:
  """The rows of a modality, and which of them have values.

  Args:
    spec: of the modality.
    items: of it.
    examples: of `match`.
    partial_rows: as of `Declaration`.

  Raises:
    ValueError: names the example and the column, what was expected and got.
  """
  what = title(spec.name, items)
  values = np.asarray(items.values)
  rows = example_rows(what, items, examples)
  present = np.ones(len(values), bool)
  if items.present is not None:
    present = np.asarray(items.present)
    if present.dtype != bool or present.shape != (len(values),):
      raise ValueError(
        f'the mask of {what} must be bool ({len(values)},); got'
        f' {present.dtype} {present.shape}'
      )
  if spec.kind == 'text':
    if values.ndim != 1 or values.dtype.kind not in 'UO':
      raise ValueError(
        f'{what} must be strings [N]; got {values.dtype} {values.shape}'
      )
    return Rows(what, values, rows, present & has_text(values))
  if np.issubdtype(values.dtype, np.floating) and values.ndim > 1:
    is_nan = np.isnan(values).reshape(len(values), -1)
    is_part = is_nan.any(axis=1) & ~is_nan.all(axis=1) & present
    if is_part.any() and (partial_rows == 'refuse' or spec.kind != 'vector'):
      row = int(np.argmax(is_part))
      raise ValueError(
        f'{what} must be NaN in a whole row or nowhere in it, unless'
        f" partial_rows = 'absent'; got {np.sum(is_part)} rows that are in"
        f' part, the first {examples.name(rows[row])}, in '
        + _column(items, int(np.argmax(is_nan[row])))
      )
    present = present & ~is_nan.any(axis=1)
    is_bad = np.isinf(values).reshape(len(values), -1) & present[:, None]
    if is_bad.any():
      row, column = np.argwhere(is_bad)[0]
      raise ValueError(
        f'{what} must be finite; got infinity in'
        f' {examples.name(rows[row])}, {_column(items, int(column))}'
      )
  return Rows(what, values, rows, present)


def join(
  specs: Sequence[ModalitySpec], items: Mapping[str, Items], partial_rows: str
) -> Matched:
  """Examples of vectors and texts, in the order of the first modality.

  Args:
    specs: what the modalities are.
    items: of some of them, floats and strings.
    partial_rows: as of `Declaration`.

  Raises:
    ValueError: names the modality and the example or column, what was expected
      and what was got.
  """
  items = {name: as_items(name, x) for name, x in items.items()}
  examples = match(items, {})
  values, present = {}, {}
  for spec in specs:
    if spec.name not in items:
      continue
    found = modality_rows(spec, items[spec.name], examples, partial_rows)
    at = found.rows[found.present]
    shape = (examples.num_examples, *found.values.shape[1:])
    absent = None if spec.kind == 'text' else np.nan
    values[spec.name] = np.full(shape, absent, found.values.dtype)
    values[spec.name][at] = found.values[found.present]
    present[spec.name] = np.zeros(examples.num_examples, bool)
    present[spec.name][at] = True
  return Matched(examples, values, present)


def title(name: str, items: Items) -> str:
  """What items are called in errors."""
  return f'{name} of {items.origin}' if items.origin else name


def _column(items: Items, column: int) -> str:
  if items.columns:
    return f'column {items.columns[column]!r}'
  return f'column {column}'
