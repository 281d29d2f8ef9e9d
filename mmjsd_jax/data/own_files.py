"""Users' files as a data set: tables, .npz, .npy, folders of .npy, and TFDS.

No file can run code: pickles are not read. Rows are counted from 0, in a table
from the first below its header.
"""

import contextlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mmjsd_jax.data import custom, tfds_columns, tfds_source
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.data.declaration import (
  SPLITS,
  Declaration,
  ModalitySpec,
  Source,
  TfdsCopy,
  parse_tfds,
)
from mmjsd_jax.data.matching import Items, Matched, join

# No modality has a blank in its name.
_LABELS, _SPLIT = 'labels ', 'split '
_TABLES = ('.csv', '.csv.gz', '.parquet')


def load(
  declaration: Declaration, *, directory: str = '', seed: int = 0
) -> Dataset:
  """The data set that is declared.

  Args:
    declaration: valid.
    directory: that files lie in, unless their paths are absolute; '' is the
      folder MMJSD_DATA_DIR or, without it, the current one. What TFDS prepared
      is looked for there, and then where TFDS has its data sets.
    seed: of the draw of the test part, where no split is declared.

  Raises:
    ValueError: a file that does not hold what is declared; names the file, and
      the column and row or the example.
    OSError: a file that is missing or cannot be read.
  """
  root = pathlib.Path(
    directory or os.environ.get('MMJSD_DATA_DIR', '')
  ).expanduser()
  if declaration.is_by_split:
    parts = {split: _read_part(declaration, root, split) for split in SPLITS}
    found = _joined(declaration, parts)
  else:
    found = _read_part(declaration, root, '')
  return custom.make_dataset(
    {spec.name: found[spec.name] for spec in declaration.specs},
    specs=declaration.specs,
    labels=found.get(_LABELS),
    split=found.get(_SPLIT),
    test_share=declaration.test_share,
    seed=seed,
    partial_rows=declaration.partial_rows,
  )


def is_table(path: str) -> bool:
  """Whether a file is one, by its name."""
  return path.endswith(_TABLES)


def read_tables(
  declaration: Declaration,
  specs: Sequence[ModalitySpec],
  paths: Mapping[str, pathlib.Path],
) -> Matched:
  """Examples of new tables, read as those were that a model was trained on.

  Args:
    declaration: of the data that it was trained on.
    specs: its modalities, completed by these data.
    paths: modality -> the table that has it.

  Raises:
    ValueError: a table that does not have what is declared, or not as training
      had it; names the file, and the column and row or the example.
    OSError: a table that is missing or cannot be read.
  """
  declared = {spec.name: source for spec, source in declaration.modalities}
  found = {}
  for spec in specs:
    if spec.name not in paths:
      continue
    path, source = paths[spec.name], declared[spec.name]
    trained_on = source.of_split(SPLITS[0])
    if not is_table(trained_on):
      raise ValueError(
        f'{path}: expected {spec.name} as arrays, in an .npz or a folder of'
        f' .npy, since training had {trained_on}; got a table'
      )
    if not path.exists():
      raise FileNotFoundError(f'{spec.name}: {path} is missing')
    by_id = '' if source.rows_of else declaration.id
    others = _other_columns(declaration, source)
    found[spec.name] = _read_table(path, spec.kind, source, by_id, others)
    _check_columns(path, spec, found[spec.name])
  return join(
    specs,
    {
      name: _with_ids_of(found, name, declared[name].rows_of, declaration.id)
      for name in paths
    },
    declaration.partial_rows,
  )


def _check_columns(
  path: pathlib.Path, spec: ModalitySpec, items: Items
) -> None:
  """Refuses columns of a vector that are not those of training, in order."""
  if spec.kind != 'vector':
    return
  # Without names, of a run from before they were stored, by their number.
  expected, columns = spec.columns, tuple(items.columns)
  if columns == expected or (not expected and (len(columns),) == spec.shape):
    return
  training = Items(np.empty(0), columns=expected, origin='training')
  told = _difference((expected, columns), (training, items)) if expected else ''
  raise ValueError(
    f'{path}: expected the {spec.shape[0]} columns of {spec.name} as in'
    f' training; got {len(columns)}{told}'
  )


def _read_part(
  declaration: Declaration, root: pathlib.Path, split: str
) -> dict[str, Items]:
  """Modality name, _LABELS and _SPLIT -> items; of one split, or all."""
  named: dict[str, tuple[str, Source]] = {}
  for spec, source in declaration.modalities:
    named[spec.name] = (spec.kind, source)
  if declaration.labels is not None:
    named[_LABELS] = ('text', declaration.labels)
  if declaration.split is not None:
    named[_SPLIT] = ('text', declaration.split)
  found = {
    name: _read(name.strip(), kind, source, declaration, root, split)
    for name, (kind, source) in named.items()
    if not split or split in source.splits
  }
  if not any(spec.name in found for spec in declaration.specs):
    raise ValueError(f'expected a modality in the {split} split; got none')
  return {
    name: _with_ids_of(found, name, named[name][1].rows_of, declaration.id)
    for name in found
  }


def _with_ids_of(
  found: dict[str, Items], name: str, other: str, by_id: str
) -> Items:
  """Items, with the ids of another modality where they have that's rows."""
  items = found[name]
  if not by_id or not other:
    return items
  if other not in found or found[other].ids is None:
    raise ValueError(
      f'rows_of of {name.strip()} must be a modality with ids that is there;'
      f' got {other!r}'
    )
  ids = np.asarray(found[other].ids)
  if len(ids) != len(np.asarray(items.values)):
    raise ValueError(
      f'{items.origin} must have the {len(ids)} rows of {found[other].origin};'
      f' got {len(np.asarray(items.values))}'
    )
  return items._replace(ids=ids)


def _joined(
  declaration: Declaration, parts: dict[str, dict[str, Items]]
) -> dict[str, Items]:
  """Both splits as one, which say of each example in which it is."""
  for split, part in parts.items():
    lengths = {x.origin: len(np.asarray(x.values)) for x in part.values()}
    if not declaration.id and len(set(lengths.values())) > 1:
      raise ValueError(
        f'files without ids must have as many rows as each other; got {lengths}'
      )
    for name, items in part.items():
      if items.ids is None:
        rows = range(len(np.asarray(items.values)))
        numbered = [f'row {row} of the {split} files' for row in rows]
        part[name] = items._replace(ids=np.array(numbered, object))
  found = {}
  for name in dict.fromkeys(name for part in parts.values() for name in part):
    some = [part[name] for part in parts.values() if name in part]
    found[name] = _concatenated(name.strip(), some)
  ids = {
    split: dict.fromkeys(
      str(one)
      for spec in declaration.specs
      if spec.name in part
      for one in np.asarray(part[spec.name].ids).tolist()
    )
    for split, part in parts.items()
  }
  measured = set().union(*ids.values())
  for split, part in parts.items():
    if _LABELS in part:
      labelled = map(str, np.asarray(part[_LABELS].ids).tolist())
      ids[split] |= dict.fromkeys(x for x in labelled if x not in measured)
  values = np.array([split for split in ids for _ in ids[split]], object)
  every = np.array([one for some in ids.values() for one in some], object)
  return found | {_SPLIT: Items(values, every, origin='the files by split')}


def _concatenated(what: str, some: Sequence[Items]) -> Items:
  arrays = [np.asarray(items.values) for items in some]
  shapes = [array.shape[1:] for array in arrays]
  columns = [tuple(items.columns) for items in some]
  if len(set(shapes)) > 1 or len(set(columns)) > 1:
    raise ValueError(
      f'{what} must have the same columns and shape in'
      f' {" and ".join(items.origin for items in some)}; got'
      f' {" and ".join(map(str, shapes))}{_difference(columns, some)}'
    )
  masks = [
    np.ones(len(array), bool) if items.present is None else items.present
    for array, items in zip(arrays, some, strict=True)
  ]
  return Items(
    np.concatenate(arrays),
    np.concatenate([np.asarray(items.ids) for items in some]),
    np.concatenate(masks),
    some[0].columns,
    some[0].origin if len(some) == 1 else f'{some[0].origin} and its like',
  )


def _difference(
  columns: Sequence[tuple[str, ...]], some: Sequence[Items]
) -> str:
  first, second = columns
  told = [
    f', only {items.origin} has {_few(names)}'
    for items, own, others in zip(some, columns, (second, first), strict=True)
    if (names := [name for name in own if name not in others])
  ]
  for pair in () if told else zip(first, second, strict=True):
    if pair[0] != pair[1]:
      return f', column {pair[1]!r} in the place of {pair[0]!r}'
  return ''.join(told)


def _read(
  name: str,
  kind: str,
  source: Source,
  declaration: Declaration,
  root: pathlib.Path,
  split: str,
) -> Items:
  file = source.of_split(split)
  by_id = '' if source.rows_of else declaration.id
  if copy := parse_tfds(file):
    return _read_tfds(copy, name, kind, source, by_id, root)
  path = root / file
  if not path.exists():
    raise FileNotFoundError(f'{name}: {path} is missing')
  if path.is_dir():
    return _read_folder(path)
  if path.name.endswith(_TABLES):
    others = _other_columns(declaration, source)
    return _read_table(path, kind, source, by_id, others)
  if path.suffix in ('.npz', '.npy'):
    return _read_arrays(path, name, source, by_id)
  raise ValueError(
    f'{path}: expected a folder or a file that ends in'
    f' {", ".join(_TABLES)}, .npz or .npy'
  )


# --- arrays -------------------------------------------------------------------


def _read_arrays(
  path: pathlib.Path, name: str, source: Source, by_id: str
) -> Items:
  keys = [source.key or name]
  with _reading(path), path.open('rb') as file:
    loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
      keys += filter(None, (by_id, source.present))
      for key in keys:
        if key not in loaded.files:
          raise ValueError(f'expected an array {key!r}; got {loaded.files}')
      arrays = {key: loaded[key] for key in keys}
    elif source.key or source.present or by_id:
      raise ValueError(
        'expected a .npz: key, present and ids are arrays beside the values'
      )
    else:
      arrays = {keys[0]: loaded}
  return Items(
    arrays[keys[0]],
    arrays.get(by_id),
    _mask(path, arrays[source.present]) if source.present else None,
    origin=path.name,
  )


def _read_folder(path: pathlib.Path) -> Items:
  """One example a file, of which the stem is the id; in alphabetical order."""
  files = sorted(path.glob('*.npy'))
  if not files:
    raise ValueError(f'{path}: expected .npy files, one for each example')
  arrays = []
  for file in files:
    with _reading(file), file.open('rb') as opened:
      arrays.append(np.lib.format.read_array(opened, allow_pickle=False))
    first, last = arrays[0], arrays[-1]
    if (last.shape, last.dtype) != (first.shape, first.dtype):
      raise ValueError(
        f'{file}: expected {first.dtype} {first.shape} as in {files[0].name};'
        f' got {last.dtype} {last.shape}'
      )
  ids = np.array([file.stem for file in files], object)
  return Items(np.stack(arrays), ids, origin=path.name)


def _mask(path: pathlib.Path, values: np.ndarray) -> np.ndarray:
  if values.dtype.kind not in 'biuf' or not np.isin(values, (0, 1)).all():
    raise ValueError(
      f'{path}: expected booleans or 0 and 1 to say what is present; got'
      f' {values.dtype}'
    )
  return values.astype(bool)


# --- data sets of TFDS --------------------------------------------------------


def _read_tfds(
  copy: TfdsCopy,
  name: str,
  kind: str,
  source: Source,
  by_id: str,
  root: pathlib.Path,
) -> Items:
  columns = source.columns or (source.key or name,)
  folder, arrays = tfds_columns.read(
    copy,
    [*columns, *filter(None, (by_id, source.present))],
    dict.fromkeys((root, tfds_source.root_of(''))),
  )
  values = arrays[columns[0]]
  if source.columns or (kind == 'vector' and values.ndim == 1):
    for key in columns:
      if arrays[key].ndim != 1:
        raise ValueError(
          f'{folder}: expected one number in the column {key!r}; got'
          f' {arrays[key].shape[1:]}'
        )
    values = np.stack([arrays[key] for key in columns], axis=1)
  return Items(
    values,
    arrays[by_id] if by_id else None,
    _mask(folder, arrays[source.present]) if source.present else None,
    source.columns,
    f'{copy.name}',
  )


# --- tables -------------------------------------------------------------------


def _other_columns(declaration: Declaration, source: Source) -> set[str]:
  """Columns of the same file that are no part of a vector."""
  others = {declaration.id} | {source.present}
  for other in (declaration.labels, declaration.split):
    if other is not None and other.file == source.file:
      others.add(other.key)
  for _, other in declaration.modalities:
    if other != source and other.file == source.file:
      others |= {other.key, other.present, *other.columns}
  return others


def _read_table(
  path: pathlib.Path,
  kind: str,
  source: Source,
  by_id: str,
  others: set[str],
) -> Items:
  texts = {by_id} | ({source.key} if kind == 'text' else set())
  table = _table(path, texts - {''})
  names = table.column_names
  if kind == 'image':
    raise ValueError(f'{path}: images must come from .npz or .npy; got a table')
  if kind == 'text':
    if not source.key:
      raise ValueError(
        f'{path}: expected the key of a text, one of the columns'
        f' {_few(names)}; got none'
      )
    columns: Sequence[str] = (source.key,)
  elif source.key:
    columns = (source.key,)
  else:
    columns = source.columns or tuple(n for n in names if n not in others)
  for name in filter(None, (by_id, source.present, *columns)):
    if name not in names:
      raise ValueError(f'{path}: expected a column {name!r}; got {_few(names)}')
  if not columns:
    raise ValueError(f'{path}: expected columns with values; got {names}')
  if kind == 'text':
    values = np.array(table.column(source.key).to_pylist(), object)
  else:
    numbers = [_numbers(path, table, name) for name in columns]
    values = np.stack(numbers, axis=1)
  return Items(
    values,
    np.array(table.column(by_id).to_pylist(), object) if by_id else None,
    _mask(path, _numbers(path, table, source.present))
    if source.present
    else None,
    columns,
    path.name,
  )


def _table(path: pathlib.Path, texts: set[str]) -> Any:
  """A pyarrow.Table; the columns `texts` are read as they are written."""
  import pyarrow
  from pyarrow import csv, parquet

  with _reading(path):
    if path.suffix == '.parquet':
      table = parquet.read_table(path)
    else:
      table = csv.read_csv(
        path,
        convert_options=csv.ConvertOptions(
          column_types=dict.fromkeys(texts, pyarrow.string())
        ),
      )
  names = table.column_names
  if len(set(names)) < len(names):
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(
      f'{path}: expected distinct names of columns; got {twice!r} twice'
    )
  return table


def _numbers(path: pathlib.Path, table: Any, name: str) -> np.ndarray:
  """A column as float64, NaN where it is empty."""
  import pyarrow

  column, kinds = table.column(name), pyarrow.types
  kind = column.type
  if not (
    kinds.is_integer(kind)
    or kinds.is_floating(kind)
    or kinds.is_boolean(kind)
    or kinds.is_null(kind)
  ):
    row, value = _first_text(column)
    raise ValueError(
      f'{path}: expected numbers in column {name!r}; got {value!r} in row {row}'
    )
  return column.cast(pyarrow.float64()).to_numpy()


def _first_text(column: Any) -> tuple[int, Any]:
  """The first value that is no number, and its row."""
  for row, value in enumerate(column.to_pylist()):
    try:
      float(value or 'nan')
    except (TypeError, ValueError):
      return row, value
  return 0, column[0].as_py()


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[None]:
  """Tells what is wrong with a file in one line that names it."""
  import pyarrow

  try:
    yield
  except (
    ValueError,
    KeyError,
    EOFError,
    pyarrow.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise ValueError(
      f'{path}: cannot be read: {" ".join(str(error).split())}'
    ) from None


def _few(names: Sequence[str]) -> str:
  return ', '.join(map(repr, names[:10])) + (', ...' if len(names) > 10 else '')
