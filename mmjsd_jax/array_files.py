"""Named arrays on disk, gone through in parts: they may exceed memory.

Either a folder of .npy files, or an .npz, whose members are inflated as they
are read. Files are untrusted: nothing is unpickled.
"""

import contextlib
import functools
import math
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from mmjsd_jax.files import naming

_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
  """What an array is, before its numbers."""

  shape: tuple[int, ...]
  is_fortran: bool
  dtype: np.dtype


def read_header(file: Any) -> Header:
  """The header of a .npy file, open for reading.

  Raises:
    ValueError: it is none.
  """
  version = np.lib.format.read_magic(file)
  if version not in _HEADERS:
    raise ValueError(f'the format {version} of .npy is not known')
  return Header(*_HEADERS[version](file))


class ArrayFiles(NamedTuple):
  """Open arrays with as many rows each, to be read once, from the first on.

  Attributes:
    path: of the folder or .npz.
    headers: name -> what it is.
    files: name -> its file, behind the header.
  """

  path: pathlib.Path
  headers: dict[str, Header]
  files: dict[str, IO[bytes]]

  @property
  def num_rows(self) -> int:
    """Of every array."""
    return next(iter(self.headers.values())).shape[0]

  def chunks(self, size: int) -> Iterator[dict[str, np.ndarray]]:
    """The next `size` rows of every array, fewer at the end.

    Raises:
      ValueError: a file that is damaged, or shorter than its header says.
      OSError: it cannot be read.
    """
    for start in range(0, self.num_rows, size):
      count = min(size, self.num_rows - start)
      with refusing(self.path):
        part = {name: self._read(name, count) for name in self.headers}
      yield part

  def _read(self, name: str, count: int) -> np.ndarray:
    shape, _, dtype = self.headers[name]
    size = count * math.prod(shape[1:]) * dtype.itemsize
    content = self.files[name].read(size)
    if len(content) != size:
      raise ValueError(f'{name} ends before its {shape[0]:,} rows')
    return np.frombuffer(content, dtype).reshape(count, *shape[1:])


@contextlib.contextmanager
def open_arrays(
  path: pathlib.Path,
  names: Sequence[str] | None = None,
  optional: Sequence[str] = (),
) -> Iterator[ArrayFiles]:
  """The arrays of a folder of .npy files, or of an .npz.

  Args:
    path: of either.
    names: of the arrays to read; None is all that there are.
    optional: of those that are read beside `names` where they are there.

  Raises:
    ValueError: arrays that are missing, have different numbers of rows, or
      cannot be read; names the file.
    OSError: the file is missing or cannot be read.
  """
  with contextlib.ExitStack() as stack:
    with refusing(path):
      members = _members(path, stack)
      missing = sorted(set(names or ()) - set(members))
      if missing or not members:
        raise ValueError(
          f'expected the arrays {missing or ""}; got {sorted(members)}'
        )
      files = {
        name: stack.enter_context(open_())
        for name, open_ in sorted(members.items())
        if names is None or name in names or name in optional
      }
      headers = {name: read_header(file) for name, file in files.items()}
      _check(headers)
    yield ArrayFiles(path, headers, files)


def _members(
  path: pathlib.Path, stack: contextlib.ExitStack
) -> dict[str, Callable[[], Any]]:
  """Name -> what opens the array."""
  if path.is_dir():
    found = sorted(path.glob('*.npy'))
    return {p.stem: functools.partial(p.open, 'rb') for p in found}
  try:
    archive = stack.enter_context(zipfile.ZipFile(path))
  except zipfile.BadZipFile as error:
    raise ValueError(
      f'expected an .npz, or a folder of .npy files: {error}'
    ) from None
  return {
    name.removesuffix('.npy'): functools.partial(archive.open, name)
    for name in archive.namelist()
    if name.endswith('.npy')
  }


def _check(headers: dict[str, Header]) -> None:
  lengths = {header.shape[:1] for header in headers.values()}
  if len(lengths) != 1 or lengths & {(), (0,)}:
    shapes = {name: header.shape for name, header in headers.items()}
    raise ValueError(
      f'expected arrays of as many rows each, at least 1; got {shapes}'
    )
  for name, header in headers.items():
    if header.dtype.hasobject:
      raise ValueError(f'expected {name} of numbers or strings; got objects')
    if header.is_fortran and len(header.shape) > 1:
      raise ValueError(f'expected {name} in C order; got Fortran order')


@contextlib.contextmanager
def refusing(path: pathlib.Path) -> Iterator[None]:
  """Every failure names the file."""
  try:
    with naming(path):
      yield
  except OSError:
    raise
  except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds
    raise ValueError(f'{path}: {error}') from error
