"""Trained weights on disk: .npz, without pickles.

Files are untrusted. What an array must be is known before it is read, and no
more is read than that: `numpy.load` believes every header, and would inflate
terabytes.
"""

import io
import logging
import math
import pathlib
import zipfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mmjsd_jax.array_files import read_header
from mmjsd_jax.files import naming, write_atomically

# Others can inflate without bounds, and numpy writes none.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_log = logging.getLogger(__name__)


def write(path: pathlib.Path, tree: Any) -> None:
  """Writes a pytree of arrays, whole or not at all; a failure only warns."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, packed(tree))
  except OSError as error:
    _log.warning('weights are not kept: %s', error)


def packed(tree: Any) -> bytes:
  """The content of an .npz with a pytree's arrays, by their paths in it."""
  arrays = {
    _name(keys): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  buffer = io.BytesIO()
  np.savez(buffer, allow_pickle=False, **arrays)
  return buffer.getvalue()


def read(path: pathlib.Path, shapes: Any) -> Any | None:
  """What `write` wrote, in numpy; None, and perhaps a warning, without a file.

  Args:
    path: of the file.
    shapes: the tree's arrays, or `jax.ShapeDtypeStruct`s; a file of others is
      damaged.
  """
  if not path.is_file():
    return None
  leaves = jax.tree_util.tree_leaves_with_path(shapes)
  wanted = {_name(keys): (leaf.shape, leaf.dtype.type) for keys, leaf in leaves}
  try:
    arrays = load(path, wanted)
  except (ValueError, OSError) as error:
    _log.warning('training anew, since this is damaged: %s', error)
    return None
  return jax.tree_util.tree_map_with_path(
    lambda keys, _: arrays[_name(keys)], shapes
  )


def load(
  path: pathlib.Path, wanted: Mapping[str, tuple[tuple[int, ...], type]]
) -> dict[str, np.ndarray]:
  """Arrays of numbers from an .npz; others in it are not read.

  Args:
    path: of the file.
    wanted: name -> shape, and scalar type or `np.floating` for any float.

  Raises:
    ValueError: a file that is damaged or no .npz, or lacks one of the arrays,
      or has one of another kind or with values that are not finite; names it.
    OSError: a file that is missing or cannot be read.
  """
  try:
    with naming(path), zipfile.ZipFile(path) as archive:
      members = set(archive.namelist())
      missing = [name for name in wanted if f'{name}.npy' not in members]
      if missing:
        raise _Refused(
          f'{len(wanted)} arrays, got {len(wanted) - len(missing)} of them:'
          f' {missing[0]} is missing'
        )
      return {
        name: _array(archive, name, shape, kind)
        for name, (shape, kind) in wanted.items()
      }
  except _Refused as refused:
    raise ValueError(f'{path}: expected {refused}') from None
  except OSError:
    raise
  except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds
    raise ValueError(
      f'{path}: expected a whole .npz, got one that cannot be read: {error!r}'
    ) from error


class _Refused(Exception):
  """What was expected of a file, and what was got."""


def _array(
  archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], kind: type
) -> np.ndarray:
  info = archive.getinfo(f'{name}.npy')
  if info.compress_type not in _METHODS:
    raise _Refused(f'{name} stored or deflated, got {info.compress_type}')
  with archive.open(info) as member:
    found, is_fortran, dtype = read_header(member)
    if found != shape or not np.issubdtype(dtype, kind):
      raise _Refused(f'{kind.__name__} {shape} as {name}, got {dtype} {found}')
    size = math.prod(shape) * dtype.itemsize
    # One byte more than there should be: finds bytes too many, and makes
    # zipfile read on to the checksum at the end.
    content = member.read(size + 1)
  if len(content) != size:
    got = f'{len(content):,}' if len(content) < size else 'more'
    raise _Refused(f'{name} in {size:,} bytes, got {got}')
  array = np.frombuffer(content, dtype).reshape(
    shape, order='F' if is_fortran else 'C'
  )
  if not np.isfinite(array).all():
    raise _Refused(
      f'finite values as {name}, got {np.sum(~np.isfinite(array))} of'
      f' {array.size} that are not'
    )
  return array.astype(dtype.newbyteorder('='))


def _name(keys: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(keys, simple=True, separator='/')
