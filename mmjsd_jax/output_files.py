"""Rows of named arrays, written as they come, and there whole or not at all.

By the suffix of the path: an .npz; a table, .csv or .parquet, whose columns are
the columns of the arrays; or, without a suffix, a folder of .npy files.
"""

import contextlib
import csv
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mmjsd_jax.files import made_apart, naming

SUFFIXES = ('.npz', '.csv', '.parquet', '')
ARRAY_SUFFIXES = ('.npz', '')

# Takes the next rows of every array.
AppendFn = Callable[[dict[str, np.ndarray]], None]


def check_output(path: pathlib.Path, suffixes: tuple[str, ...]) -> None:
  """Refuses a path that is taken, or that nothing can be written to.

  Raises:
    ValueError: another suffix.
    OSError: it exists, or its folder does not or cannot be written.
  """
  if path.suffix not in suffixes:
    raise ValueError(
      f'--output must end in one of {suffixes}; got {path.name!r}'
    )
  if path.exists():
    raise FileExistsError(f'--output={path} exists; choose another')
  with naming(path), tempfile.TemporaryFile(dir=path.parent):
    pass


@contextlib.contextmanager
def write_rows(path: pathlib.Path, num_rows: int) -> Iterator[AppendFn]:
  """What appends rows to a new file, or folder, which appears at the end.

  Args:
    path: must not exist; its folder must.
    num_rows: that will be appended in all.

  Raises:
    OSError: it cannot be written; nothing is left behind.
  """
  make = {'.csv': _csv, '.parquet': _parquet}.get(path.suffix, _arrays)
  with made_apart(path) as target, contextlib.ExitStack() as stack:
    yield make(target, num_rows, stack)


def _arrays(
  target: pathlib.Path, num_rows: int, stack: contextlib.ExitStack
) -> AppendFn:
  """A folder of .npy, of which an .npz is made at the end."""
  folder = target.with_name(f'{target.name}.arrays')
  folder.mkdir()

  def finish(failed: object, *_: object) -> None:
    if not failed:
      _finish(folder, target)

  stack.push(finish)
  files: dict[str, Any] = {}
  dtypes: dict[str, np.dtype] = {}

  def append(rows: dict[str, np.ndarray]) -> None:
    for name, x in rows.items():
      if name not in files:
        files[name] = stack.enter_context((folder / f'{name}.npy').open('wb'))
        dtypes[name] = x.dtype
        header = {
          'descr': np.lib.format.dtype_to_descr(x.dtype),
          'fortran_order': False,
          'shape': (num_rows, *x.shape[1:]),
        }
        np.lib.format.write_array_header_1_0(files[name], header)
      assert x.dtype == dtypes[name], name
      files[name].write(x.tobytes())

  return append


def _finish(folder: pathlib.Path, target: pathlib.Path) -> None:
  if target.suffix != '.npz':
    folder.rename(target)
    return
  with zipfile.ZipFile(target, 'w') as archive:
    for file in sorted(folder.iterdir()):
      archive.write(file, file.name)
  shutil.rmtree(folder)


def _csv(
  target: pathlib.Path, num_rows: int, stack: contextlib.ExitStack
) -> AppendFn:
  del num_rows
  file = stack.enter_context(target.open('w', encoding='utf-8', newline=''))
  writer = csv.writer(file)

  def append(rows: dict[str, np.ndarray]) -> None:
    columns = _columns(rows)
    if not file.tell():
      writer.writerow(columns)
    # Nine digits tell every float32 from the next.
    texts = [
      [f'{x:.9g}' for x in column.tolist()]
      if np.issubdtype(column.dtype, np.floating)
      else column.tolist()
      for column in columns.values()
    ]
    writer.writerows(zip(*texts, strict=True))

  return append


def _parquet(
  target: pathlib.Path, num_rows: int, stack: contextlib.ExitStack
) -> AppendFn:
  del num_rows
  import pyarrow
  from pyarrow import parquet

  writers: list[Any] = []

  def append(rows: dict[str, np.ndarray]) -> None:
    table = pyarrow.table(_columns(rows))
    if not writers:
      made = parquet.ParquetWriter(target, table.schema)
      writers.append(stack.enter_context(made))
    writers[0].write_table(table)

  return append


def _columns(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Column name -> [N]; of an array [N, C] they are numbered from 0."""
  columns = {}
  for name, x in rows.items():
    if x.ndim == 1:
      columns[name] = x
    else:
      columns |= {f'{name}_{n}': column for n, column in enumerate(x.T)}
  return columns
