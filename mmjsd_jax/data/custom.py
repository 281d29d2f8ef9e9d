"""Users' own data as a data set: from arrays in memory, or declared files.

Examples are matched by ids, or by order where there are none. What lacks a
modality is kept: the modality is absent there, and its values are zeros. What
has none at all is left out, and told.

N examples.
"""

from collections.abc import Mapping, Sequence

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
from mmjsd_jax.data.matching import (
  Examples,
  Items,
  as_items,
  example_rows,
  match,
  modality_rows,
  title,
)
from mmjsd_jax.data.preparation import complete, prepare

NAME = 'custom'
_NUM_NAMED = 5  # of the examples that are left out


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
  items = {name: as_items(name, x) for name, x in modalities.items()}
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
    what: as_items(what, given)
    for what, given in (('labels', labels), ('split', split))
    if given is not None
  }
  examples = match(items, beside)
  found = [
    modality_rows(spec, items[spec.name], examples, partial_rows)
    for spec in specs
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
    if spec.kind == 'vector':
      spec = spec._replace(columns=tuple(items[spec.name].columns))
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


def _guessed(name: str, values: np.ndarray) -> ModalitySpec:
  if values.dtype.kind in 'UO' and values.ndim == 1:
    return ModalitySpec(name, 'text')
  return ModalitySpec(name, 'image' if values.ndim in (3, 4) else 'vector')


def _parts(
  items: Items, examples: Examples, measured: np.ndarray
) -> np.ndarray:
  """Of SPLITS; None of some that have no modality. Objects [N]."""
  what = title('split', items)
  parts = np.full(examples.num_examples, None, object)
  rows = example_rows(what, items, examples)
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
  items: Items | None, examples: Examples, measured: np.ndarray
) -> tuple[np.ndarray, list[str]]:
  """Class of every example, -1 where unknown, int32 [N]; the classes' names."""
  codes = np.full(examples.num_examples, -1, np.int32)
  if items is None:
    return codes, []
  what = title('labels', items)
  rows = example_rows(what, items, examples)
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
  examples: Examples,
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
  examples: Examples, measured: np.ndarray, parts: np.ndarray
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
