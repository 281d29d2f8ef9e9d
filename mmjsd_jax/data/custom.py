"""Users' own data as a data set: from arrays in memory, or declared files.

Examples are matched by ids, or by order where there are none. What lacks a
modality is kept: the modality is absent there, and its values are zeros. What
has none at all is left out, and told.

N examples, n rows of one modality.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy import typing as npt

from mmjsd_jax.data.dataset import Dataset, Split, fingerprint
from mmjsd_jax.data.declaration import (
  PARTIAL_ROWS,
  SPLITS,
  ModalitySpec,
  check_share,
  check_spec,
)
from mmjsd_jax.data.preparation import as_array, complete, has_text, prepare

NAME = 'custom'
_NUM_NAMED = 5  # of the examples that are left out


class Items(NamedTuple):
  """Values of one modality, or labels, of some examples.

  Attributes:
    values: of each row. Shape [n, ...].
    ids: of each row, integers or strings; None where rows go by order. [n].
    present: which rows have values; None is all but those that are NaN, None
      or, of texts, empty. Bool [n].
    columns: names of a vector's columns, for errors.
    origin: where they come from, for errors.
  """

  values: npt.ArrayLike
  ids: npt.ArrayLike | None = None
  present: npt.ArrayLike | None = None
  columns: Sequence[str] = ()
  origin: str = ''


class _Rows(NamedTuple):
  """Items that have been looked at."""

  what: str  # for errors
  values: np.ndarray
  rows: np.ndarray  # the example of each row. Integers [n]
  present: np.ndarray  # Bool [n]


class _Examples(NamedTuple):
  """All examples, by id or by order."""

  num_examples: int
  numbers: dict[str, int] | None  # id -> example; None: by order

  def name(self, example: int) -> str:
    if self.numbers is None:
      return f'row {example}'
    return f'id {list(self.numbers)[example]!r}'


def make_dataset(
  modalities: Mapping[str, Items | npt.ArrayLike],
  *,
  specs: Sequence[ModalitySpec] | None = None,
  labels: Items | npt.ArrayLike | None = None,
  split: Items | npt.ArrayLike | None = None,
  test_share: float = 0.2,
  seed: int = 0,
  partial_rows: str = PARTIAL_ROWS[0],
) -> Dataset:
  """A data set from arrays in memory, with gaps where there are some.

  Args:
    modalities: name -> values; `Items` to say ids or what is there. Rows of
      NaN are absent.
    specs: what the modalities are, in the same order; None takes arrays of
      two axes for vectors, of three or four for images, strings for texts.
    labels: classes as integers or strings; NaN, None, '' and -1 are unknown.
    split: 'train' or 'test' of every example; None draws the test part.
    test_share: of the examples, that are drawn where `split` is None.
    seed: of that draw.
    partial_rows: what becomes of rows of a vector of which only a part is NaN:
      'refuse', or 'absent' as if all were.

  Returns:
    The data set, its specifications completed from the data. `substituted`
    tells of examples that have no modality, which are left out.

  Raises:
    ValueError: names the modality and the example or column, what was expected
      and what was got.
  """
  items = {name: _as_items(name, x) for name, x in modalities.items()}
  if specs is None:
    specs = [_guessed(name, np.asarray(x.values)) for name, x in items.items()]
  for spec in specs:
    check_spec(spec)
  names = tuple(spec.name for spec in specs)
  if names != tuple(items) or not names:
    raise ValueError(
      f'specs must be of the modalities {tuple(items)}, one at least; got'
      f' {names}'
    )
  if partial_rows not in PARTIAL_ROWS:
    raise ValueError(
      f'partial_rows must be one of {PARTIAL_ROWS}; got {partial_rows}'
    )
  beside = {
    what: _as_items(what, given)
    for what, given in (('labels', labels), ('split', split))
    if given is not None
  }
  examples = _match(items, beside)
  found = [
    _modality(spec, items[spec.name], examples, partial_rows) for spec in specs
  ]
  there = np.zeros((len(found), examples.num_examples), bool)
  for mask, rows in zip(there, found, strict=True):
    mask[rows.rows[rows.present]] = True
  measured: np.ndarray = np.any(there, axis=0)
  if not measured.any():
    raise ValueError(
      'one example at least must have a modality; got'
      f' {examples.num_examples} without any, the first {examples.name(0)}'
    )
  if 'split' in beside:
    parts = _parts(beside['split'], examples, measured)
  else:
    parts = _drawn_parts(measured, test_share, seed)
  in_train, in_test = (measured & (parts == part) for part in SPLITS)
  if not (in_train.any() and in_test.any()):
    raise ValueError(
      'both parts must have examples that have a modality; got'
      f' {np.sum(in_train)} for training and {np.sum(in_test)} for the test'
    )
  codes, classes = _classes(beside.get('labels'), examples, measured)

  completed, inputs = [], {}
  for spec, rows, mask in zip(specs, found, there, strict=True):
    if not (mask & in_train).any():
      raise ValueError(
        f'{rows.what} must be there in the training part; got none of its'
        f' {np.sum(in_train)} examples'
      )
    values, places = rows.values[rows.present], rows.rows[rows.present]
    spec = complete(spec, values, in_train[places])
    prepared = prepare(spec, values)
    array = np.zeros((examples.num_examples, *spec.shape), prepared.dtype)
    array[places] = prepared
    completed.append(spec)
    inputs[spec.name] = array

  masks = dict(zip(names, there, strict=True))
  train, test = (
    Split(
      {name: array[chosen] for name, array in inputs.items()},
      codes[chosen],
      present={
        name: mask[chosen]
        for name, mask in masks.items()
        if not mask[chosen].all()
      },
    )
    for chosen in (in_train, in_test)
  )
  return Dataset(
    NAME,
    names,
    len(classes),
    train,
    test,
    source=_source(examples, masks, in_train, in_test, codes, classes),
    substituted=_left_out(examples, measured, parts),
    fingerprint=fingerprint(train, test),
    specs=tuple(completed),
  )


def _as_items(what: str, given: Items | npt.ArrayLike) -> Items:
  items = given if isinstance(given, Items) else Items(given)
  values = as_array(items.values)
  if values.dtype.kind == 'S' or values.ndim == 0 or not len(values):
    raise ValueError(
      f'{_what(what, items)} must be an array of numbers or strings, one row at'
      f' least; got {values.dtype} {values.shape}'
    )
  return items._replace(values=values)


def _guessed(name: str, values: np.ndarray) -> ModalitySpec:
  if values.dtype.kind in 'UO' and values.ndim == 1:
    return ModalitySpec(name, 'text')
  return ModalitySpec(name, 'image' if values.ndim in (3, 4) else 'vector')


def _match(
  items: Mapping[str, Items], beside: Mapping[str, Items]
) -> _Examples:
  """The union of all ids, in the order in which they come; or the rows.

  Those of modalities come first, then others of what stands `beside` them.
  """
  have_ids = [name for name, x in items.items() if x.ids is not None]
  if not have_ids:
    lengths = {name: len(np.asarray(x.values)) for name, x in items.items()}
    if len(set(lengths.values())) > 1:
      raise ValueError(
        'modalities without ids must have as many rows as each other; got'
        f' {lengths}'
      )
    return _Examples(next(iter(lengths.values())), None)
  if len(have_ids) < len(items):
    raise ValueError(
      f'all modalities must have ids, or none; got {have_ids} of {list(items)}'
    )
  ids = {name: _checked_ids(_what(name, x), x) for name, x in items.items()}
  for name, some in ids.items():
    others = [one for other in ids if other != name for one in ids[other]]
    if others and set(some).isdisjoint(others):
      raise ValueError(
        f'ids of {_what(name, items[name])} must be, some of them, those of'
        f' another modality; got none, the first {some[0]!r} where another has'
        f' {others[0]!r}'
      )
  every = dict.fromkeys(one for some in ids.values() for one in some)
  for name, x in beside.items():
    if x.ids is None:
      continue  # refused where its rows are looked at
    others = _checked_ids(_what(name, x), x)
    if every.keys().isdisjoint(others):
      raise ValueError(
        f'ids of {_what(name, x)} must be, some of them, those of a modality;'
        f' got none, the first {others[0]!r} where a modality has'
        f' {next(iter(every))!r}'
      )
    every |= dict.fromkeys(others)
  return _Examples(len(every), {one: row for row, one in enumerate(every)})


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


def _rows(what: str, items: Items, examples: _Examples) -> np.ndarray:
  """The example of each row. Integers [n]."""
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


def _modality(
  spec: ModalitySpec, items: Items, examples: _Examples, partial_rows: str
) -> _Rows:
  what = _what(spec.name, items)
  values = np.asarray(items.values)
  rows = _rows(what, items, examples)
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
    return _Rows(what, values, rows, present & has_text(values))
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
  return _Rows(what, values, rows, present)


def _parts(
  items: Items, examples: _Examples, measured: np.ndarray
) -> np.ndarray:
  """Of SPLITS; None of some that have no modality. Objects [N]."""
  what = _what('split', items)
  parts = np.full(examples.num_examples, None, object)
  rows = _rows(what, items, examples)
  for row, value in zip(rows, np.asarray(items.values).tolist(), strict=True):
    if value in SPLITS:
      parts[row] = value
    elif measured[row]:
      raise ValueError(
        f'{what} must be one of {SPLITS}; got {value!r} for'
        f' {examples.name(row)}'
      )
  lacking = measured.copy()
  lacking[rows] = False
  if lacking.any():
    num_measured = np.sum(measured)
    raise ValueError(
      f'{what} must be there for all {num_measured} examples that have a'
      f' modality; got {num_measured - np.sum(lacking)}, not'
      f' {examples.name(int(np.argmax(lacking)))}'
    )
  return parts


def _drawn_parts(
  measured: np.ndarray, test_share: float, seed: int
) -> np.ndarray:
  """Of SPLITS; None of those that have no modality. Objects [N]."""
  check_share(test_share)
  parts = np.full(len(measured), None, object)
  drawn = np.full(np.sum(measured), 'train', object)
  order = np.random.default_rng(seed).permutation(len(drawn))
  drawn[order[: max(1, round(test_share * len(drawn)))]] = 'test'
  parts[measured] = drawn
  return parts


def _classes(
  items: Items | None, examples: _Examples, measured: np.ndarray
) -> tuple[np.ndarray, list[str]]:
  """Class of every example, -1 where unknown, int32 [N]; the classes' names."""
  codes = np.full(examples.num_examples, -1, np.int32)
  if items is None:
    return codes, []
  what = _what('labels', items)
  rows = _rows(what, items, examples)
  known = {}
  for row, value in zip(rows, np.asarray(items.values).tolist(), strict=True):
    if value is None or value in ('', -1) or value != value:
      continue
    if not isinstance(value, str) and value != int(value):
      raise ValueError(
        f'{what} must be classes, as integers or strings; got {value!r} for'
        f' {examples.name(row)}'
      )
    if measured[row]:
      known[row] = value if isinstance(value, str) else int(value)
  if len({type(value) for value in known.values()}) != 1:
    raise ValueError(
      f'{what} must be integers or strings, known of one example at least; got'
      f' {sorted(map(repr, set(known.values())))[:5]}'
    )
  classes = sorted(set(known.values()))
  index = {value: code for code, value in enumerate(classes)}
  for row, value in known.items():
    codes[row] = index[value]
  return codes, [str(value) for value in classes]


def _source(
  examples: _Examples,
  masks: Mapping[str, np.ndarray],
  in_train: np.ndarray,
  in_test: np.ndarray,
  codes: np.ndarray,
  classes: Sequence[str],
) -> str:
  """One line for a person."""
  num_examples = np.sum(in_train | in_test)
  parts = [
    f'own data: {np.sum(in_train)} examples for training and'
    f' {np.sum(in_test)} for the test, matched by'
    f' {"order" if examples.numbers is None else "id"}'
  ]
  parts += [
    f'{name} in {np.sum(mask)} of {num_examples}'
    for name, mask in masks.items()
    if np.sum(mask) < num_examples
  ]
  if classes:
    few = ', '.join(classes[:10]) + (', ...' if len(classes) > 10 else '')
    parts.append(f'{len(classes)} classes ({few}), known of {sum(codes >= 0)}')
  else:
    parts.append('no labels')
  return '; '.join(parts)


def _left_out(
  examples: _Examples, measured: np.ndarray, parts: np.ndarray
) -> str | None:
  """A sentence on the examples that have no modality; None if there are none.

  Of which part they were is known where that was given.
  """
  lacking = np.flatnonzero(~measured)
  groups = {
    f' of the {what}': lacking[parts[lacking] == part]
    for part, what in zip(SPLITS, ('training part', 'test part'), strict=True)
  }
  groups[''] = lacking[~np.isin(parts[lacking], SPLITS)]
  told = []
  for what, those in groups.items():
    names = [examples.name(example) for example in those[:_NUM_NAMED]]
    names += ['...'] if len(those) > len(names) else []
    if names:
      told.append(f'{len(those)}{what} ({", ".join(names)})')
  if not told:
    return None
  return (
    f'Left out, as they have no modality, of {examples.num_examples} examples:'
    f' {", ".join(told)}.'
  )


def _what(name: str, items: Items) -> str:
  return f'{name} of {items.origin}' if items.origin else name


def _column(items: Items, column: int) -> str:
  if items.columns:
    return f'column {items.columns[column]!r}'
  return f'column {column}'
