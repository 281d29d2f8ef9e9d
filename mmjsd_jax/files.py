"""Files that are there whole or not at all, and where caches lie.

What is read may come from strangers or from a failing disk.
"""

import contextlib
import glob
import json
import math
import os
import pathlib
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from typing import Any

# Larger than any results.json by a factor of 100.
_MAX_JSON_BYTES = 1 << 26
_MAX_JSON_DEPTH = 64
_LONG_AGO = 3600  # seconds, in which any of our files is written

FILE_NAME = (
  "a name of at most 200 ASCII letters, digits and '_.+-' that does not begin "
  'with a dot'
)


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
    if is_abandoned(left):
      left.unlink(missing_ok=True)
  partial = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.partial')
  try:
    partial.write_bytes(data)
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)
  except OSError as error:
    raise OSError(error.errno, error.strerror, str(path)) from error
  finally:
    partial.unlink(missing_ok=True)


def is_abandoned(path: pathlib.Path) -> bool:
  """Whether what was being made there has not been touched for an hour."""
  with contextlib.suppress(FileNotFoundError):
    return time.time() - path.stat().st_mtime > _LONG_AGO
  return False


@contextlib.contextmanager
def made_apart(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Where to make a file or a folder that then becomes `path`, whole.

  Args:
    path: must not exist; the folder that it is in must.

  Raises:
    OSError: names `path`; nothing is left behind.
  """
  apart = path.with_name(f'.{path.name}.{uuid.uuid4().hex}.partial')
  try:
    with naming(path):
      apart.mkdir()
      made = apart / path.name
      yield made
      for file in made.rglob('*'):
        sync(file)
      sync(made)
      made.rename(path)
      sync(path.parent)
  finally:
    shutil.rmtree(apart, ignore_errors=True)


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


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
  """Names `path` in an OSError that does not, as of a failing disk."""
  try:
    yield
  except OSError as error:
    if error.errno is not None and error.filename is None:
      error.filename = os.fspath(path)
    raise


def read_json(path: pathlib.Path) -> Any:
  """What the JSON file `path` holds.

  Raises:
    ValueError: a file that is not JSON, or larger or deeper than any of ours;
      names it.
    OSError: a file that is missing or cannot be read; likewise.
  """
  size = path.stat().st_size
  if size > _MAX_JSON_BYTES:
    raise ValueError(
      f'{path}: expected at most {_MAX_JSON_BYTES:,} bytes, got {size:,}'
    )
  try:
    with naming(path):
      tree = json.loads(path.read_bytes())
    is_deep = _depth(tree) > _MAX_JSON_DEPTH
  except ValueError as error:
    raise ValueError(f'{path}: expected JSON, got {error}') from None
  except RecursionError:
    is_deep = True
  if is_deep:
    raise ValueError(
      f'{path}: expected JSON of at most {_MAX_JSON_DEPTH} levels, got more'
    )
  return tree


def is_file_name(name: str) -> bool:
  """Whether `name` is a FILE_NAME: it stays in its folder, on any system."""
  pattern = r'[\w+-][\w.+-]{0,199}'
  return re.fullmatch(pattern, name, re.ASCII) is not None


def file_name(name: str) -> str:
  """`name`, out of a configuration, data or a file, to be part of a path.

  Raises:
    ValueError: it is no FILE_NAME.
  """
  if not is_file_name(name):
    raise ValueError(f'expected {FILE_NAME}, got {name!r}')
  return name


def cache_dir() -> pathlib.Path:
  """$MMJSD_CACHE_DIR, else $XDG_CACHE_HOME/mmjsd_jax or ~/.cache/mmjsd_jax."""
  if folder := os.environ.get('MMJSD_CACHE_DIR'):
    return pathlib.Path(folder)
  root = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  return pathlib.Path(root) / 'mmjsd_jax'


def _depth(tree: Any) -> int:
  """Levels of lists and dicts, counted without recursion."""
  depth, level = 0, [tree]
  while level:
    nested = [node for node in level if isinstance(node, dict | list)]
    depth += bool(nested)
    level = [
      child
      for node in nested
      for child in (node.values() if isinstance(node, dict) else node)
    ]
  return depth


def _without_nan(tree: Any) -> Any:
  if isinstance(tree, dict):
    return {key: _without_nan(value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [_without_nan(value) for value in tree]
  if isinstance(tree, float) and not math.isfinite(tree):
    return None
  return tree
