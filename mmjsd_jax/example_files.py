"""Examples in files, as a command is told of them, gone through in parts.

Of the arrays in a file, those with the names of modalities are their items;
`present.<modality>`, Booleans, says where there are none; `id` names the
examples. Tables have the columns that they had in training, and are read whole.
N examples.
"""

import contextlib
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmjsd_jax.array_files import ArrayFiles, open_arrays
from mmjsd_jax.data.declaration import Declaration, ModalitySpec
from mmjsd_jax.data.matching import Matched
from mmjsd_jax.data.own_files import is_table, read_tables
from mmjsd_jax.examples import make_examples
from mmjsd_jax.subsets import parse_subset

ROWS = 256  # used at a time
ID = 'id'
_PRESENT = 'present.'
# Before a file that is told with what is in it.
_NEXT = re.compile(r',(?=[\w+-]+=)')


class Part(NamedTuple):
  """The next examples of a file.

  Attributes:
    first: number of the first of them.
    inputs: modality -> items, as they stand in the file. [B, ...].
    present: modality -> Bool [B].
    ids: Shape [B].
  """

  first: int
  inputs: dict[str, np.ndarray]
  present: dict[str, np.ndarray]
  ids: np.ndarray


class GivenArrays(NamedTuple):
  """What `[m0+m2=]file` tells.

  Attributes:
    path: an .npz, or a folder of .npy files.
    modalities: that are read from it; () is all in it.
    specs: of all modalities of the model.
  """

  path: pathlib.Path
  modalities: tuple[str, ...]
  specs: tuple[ModalitySpec, ...]


class GivenTables(NamedTuple):
  """What `[m0=]table` or `m0=table,m1+m2=table` tells.

  Attributes:
    paths: modality -> the table that it is read from.
    specs: of all modalities of the model.
    declaration: of the tables that the model was trained on.
  """

  paths: dict[str, pathlib.Path]
  specs: tuple[ModalitySpec, ...]
  declaration: Declaration


Given = GivenArrays | GivenTables


def parse_given(
  told: str,
  specs: Sequence[ModalitySpec],
  declaration: Declaration | None = None,
) -> Given:
  """What a command was told of files of examples.

  Args:
    told: see above.
    specs: of all modalities of a model.
    declaration: of the user's own files that it was trained on; None of other
      data, of which there are no tables.

  Raises:
    ValueError: names that are no modalities, or in two tables; tables of
      other data; several files, not all of which are tables.
  """
  known = tuple(spec.name for spec in specs)
  files = [_parse_file(one, known) for one in _NEXT.split(told)]
  are_tables = [is_table(path.name) for path, _ in files]
  if not any(are_tables) and len(files) == 1:
    return GivenArrays(*files[0], tuple(specs))
  if not all(are_tables):
    path, _ = files[are_tables.index(False)]
    raise ValueError(
      f'{path}: expected a table, as only tables can be given together; arrays'
      ' of several modalities are in one .npz or folder'
    )
  if declaration is None:
    raise ValueError(
      f'{files[0][0]}: expected an .npz or a folder of .npy files, as the model'
      ' was not trained on tables; got a table'
    )
  trained_on = {
    x.file for spec, x in declaration.modalities if spec.name in known
  }
  paths: dict[str, pathlib.Path] = {}
  for path, names in files:
    if not names and len(trained_on) > 1:
      raise ValueError(
        f'{path}: expected the modalities that are in it, such as'
        f' {known[0]}={path}, as training had {len(trained_on)} files; got none'
      )
    for name in names or known:
      if name in paths:
        raise ValueError(
          f'{name} must be of one table; got {paths[name]} and {path}'
        )
      paths[name] = path
  return GivenTables(paths, tuple(specs), declaration)


def check_given(given: Given) -> int:
  """Refuses arrays whose first part cannot be used, or tables. Gives N.

  Raises:
    ValueError: names the file, what was expected and what was got.
    OSError: it is missing or cannot be read.
  """
  if isinstance(given, GivenTables):
    matched = _read(given)
    for name in matched.values:
      _check_items(given, matched, name)
    return matched.examples.num_examples
  with _open(given) as arrays:
    part = next(parts(arrays))
    make_examples(given.specs, part.inputs, part.present)
    return arrays.num_rows


@contextlib.contextmanager
def open_parts(given: Given) -> Iterator[Iterator[Part]]:
  """The examples of files, in parts.

  Raises:
    ValueError: as of `array_files`, or of `own_files.read_tables`.
    OSError: likewise.
  """
  if isinstance(given, GivenTables):
    yield _table_parts(_read(given))
    return
  with _open(given) as arrays:
    yield parts(arrays)


def parts(arrays: ArrayFiles) -> Iterator[Part]:
  """The examples of open arrays, in parts."""
  first = 0
  for rows in arrays.chunks(ROWS):
    count = len(next(iter(rows.values())))
    ids = rows.pop(ID, np.arange(first, first + count))
    present = {
      name.removeprefix(_PRESENT): rows.pop(name)
      for name in list(rows)
      if name.startswith(_PRESENT)
    }
    yield Part(first, rows, present, ids)
    first += count


@contextlib.contextmanager
def placing(part: Part) -> Iterator[None]:
  """An error that counts the rows of a later part says where they begin."""
  try:
    yield
  except ValueError as error:
    if not part.first:
      raise
    raise ValueError(f'in the rows from {part.first} on: {error}') from None


def _parse_file(
  told: str, known: tuple[str, ...]
) -> tuple[pathlib.Path, tuple[str, ...]]:
  names, equals, path = told.partition('=')
  if not equals:
    return pathlib.Path(told), ()
  parse_subset(names, known)
  return pathlib.Path(path), tuple(names.split('+'))


def _open(given: GivenArrays) -> contextlib.AbstractContextManager[ArrayFiles]:
  """The file with the arrays that are read: all, where none are named."""
  if not given.modalities:
    return open_arrays(given.path)
  masks = (f'{_PRESENT}{name}' for name in given.modalities)
  return open_arrays(given.path, given.modalities, optional=(ID, *masks))


def _read(given: GivenTables) -> Matched:
  return read_tables(given.declaration, given.specs, given.paths)


def _table_parts(matched: Matched) -> Iterator[Part]:
  ids = matched.ids
  for first in range(0, len(ids), ROWS):
    at = slice(first, first + ROWS)
    yield Part(
      first,
      {name: values[at] for name, values in matched.values.items()},
      {name: mask[at] for name, mask in matched.present.items()},
      ids[at],
    )


def _check_items(given: GivenTables, matched: Matched, name: str) -> None:
  """Tells of the first row that has what the modality cannot be."""
  values, present = matched.values[name], matched.present[name]
  try:
    make_examples(given.specs, {name: values}, {name: present})
  except ValueError:
    for row in np.flatnonzero(present).tolist():
      try:
        make_examples(given.specs, {name: values[row : row + 1]})
      except ValueError as error:
        where = f'{given.paths[name]}, {matched.examples.name(row)}'
        raise ValueError(f'{where}: {error}') from None
    raise
