"""Trained weights on disk: .npz, without pickles."""

import io
import logging
import pathlib
import struct
import zipfile
import zlib
from typing import Any

import jax
import numpy as np

from mmjsd_jax.files import write_atomically

# What reading a damaged file raises.
DAMAGED = (
  OSError,
  ValueError,
  KeyError,
  EOFError,
  NotImplementedError,
  struct.error,
  zipfile.BadZipFile,
  zlib.error,
)
_log = logging.getLogger(__name__)


def write(path: pathlib.Path, tree: Any) -> None:
  """Writes a pytree of arrays, whole or not at all; a failure only warns."""
  arrays = {
    _name(keys): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }
  buffer = io.BytesIO()
  np.savez(buffer, allow_pickle=False, **arrays)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
  except OSError as error:
    _log.warning('weights are not kept: %s', error)


def read(path: pathlib.Path, shapes: Any) -> Any | None:
  """What `write` wrote, in numpy; None, and perhaps a warning, without a file.

  Args:
    path: of the file.
    shapes: the tree's arrays, or `jax.ShapeDtypeStruct`s; a file of others is
      damaged.
  """
  if not path.is_file():
    return None
  try:
    # Opened here: np.load leaves a file open if it is not an archive.
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: _checked(arrays[_name(keys)], leaf), shapes
      )
  except DAMAGED as error:
    _log.warning('training anew, since %s is damaged: %r', path, error)
    return None


def _name(keys: tuple[Any, ...]) -> str:
  return jax.tree_util.keystr(keys, simple=True, separator='/')


def _checked(array: np.ndarray, leaf: Any) -> np.ndarray:
  if array.shape != leaf.shape or array.dtype != leaf.dtype:
    raise ValueError(
      f'expected {leaf.dtype} {leaf.shape}, got {array.dtype} {array.shape}'
    )
  return array
