"""Examples in files, as a command is told of them, gone through in parts.

Of the arrays in a file, those with the names of modalities are their items;
`present.<modality>`, Booleans, says where there are none; `id` names the
examples. N examples.
"""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmjsd_jax.array_files import ArrayFiles, open_arrays
from mmjsd_jax.data.declaration import ModalitySpec
from mmjsd_jax.examples import make_examples
from mmjsd_jax.subsets import parse_subset

ROWS = 256  # in memory at a time
ID = 'id'
_PRESENT = 'present.'


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


class Given(NamedTuple):
  """What `[m0+m2=]file` tells: a file, and modalities, () for all in it."""

  path: pathlib.Path
  modalities: tuple[str, ...]


def parse_given(told: str, modalities: tuple[str, ...]) -> Given:
  """What a command was told of a file of examples.

  Raises:
    ValueError: names that are no modalities.
  """
  names, equals, path = told.partition('=')
  if not equals:
    return Given(pathlib.Path(told), ())
  parse_subset(names, modalities)
  return Given(pathlib.Path(path), tuple(names.split('+')))


def check_given(given: Given, specs: Sequence[ModalitySpec]) -> int:
  """Refuses a file of which the first part cannot be used. Gives N.

  Raises:
    ValueError: names the file, what was expected and what was got.
    OSError: it is missing or cannot be read.
  """
  with _open(given) as arrays:
    part = next(parts(arrays))
    make_examples(specs, part.inputs, part.present)
    return arrays.num_rows


@contextlib.contextmanager
def open_parts(given: Given) -> Iterator[Iterator[Part]]:
  """The examples of a file, in parts; errors as of `array_files`."""
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


def _open(given: Given) -> contextlib.AbstractContextManager[ArrayFiles]:
  """The file with the arrays that are read: all, where none are named."""
  if not given.modalities:
    return open_arrays(given.path)
  masks = (f'{_PRESENT}{name}' for name in given.modalities)
  return open_arrays(given.path, given.modalities, optional=(ID, *masks))
