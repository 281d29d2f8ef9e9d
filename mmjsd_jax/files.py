"""Files that are there whole or not at all, and where caches lie."""

import glob
import json
import math
import os
import pathlib
from typing import Any


def write_atomically(path: pathlib.Path, data: str | bytes) -> None:
  """Writes beside `path`, then renames: a reader sees the old or the new.

  So does whoever starts the machine after a power cut.

  Args:
    path: of the file; its folder exists.
    data: bytes, or text that becomes UTF-8.

  Raises:
    OSError: names `path`.
  """
  if isinstance(data, str):
    data = data.encode()
  for left in path.parent.glob(f'.{glob.escape(path.name)}.*.partial'):
    *_, pid, _ = left.name.split('.')
    if not os.path.exists(f'/proc/{pid}'):  # its writer was killed
      left.unlink(missing_ok=True)
  partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    partial.write_bytes(data)
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(path)) from error
  finally:
    partial.unlink(missing_ok=True)


def sync(path: pathlib.Path) -> None:
  """Forces a file, or the names in a folder, from memory to disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def write_json(path: pathlib.Path, tree: Any) -> None:
  """`tree` as JSON, atomically; what is not finite becomes null."""
  text = json.dumps(_without_nan(tree), indent=2, allow_nan=False)
  write_atomically(path, text + '\n')


def cache_dir() -> pathlib.Path:
  """$MMJSD_CACHE_DIR, else $XDG_CACHE_HOME/mmjsd_jax or ~/.cache/mmjsd_jax."""
  if folder := os.environ.get('MMJSD_CACHE_DIR'):
    return pathlib.Path(folder)
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(root) / 'mmjsd_jax'


def _without_nan(tree: Any) -> Any:
  if isinstance(tree, dict):
    return {key: _without_nan(value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [_without_nan(value) for value in tree]
  if isinstance(tree, float) and not math.isfinite(tree):
    return None
  return tree
