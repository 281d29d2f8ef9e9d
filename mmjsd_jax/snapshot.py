"""One checkpoint on disk: read back bit by bit as it was saved, or refused.

  <folder>/state/    what Orbax writes
  <folder>/manifest  a checksum, and in JSON what `Manifest` holds

Every byte is checked before Orbax sees it, since Orbax reads on over some
damage and fails over the rest in ways of its own. Nothing is ever unpickled.
"""

import errno
import json
import os
import pathlib
import re
import zlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from mmjsd_jax import hosts
from mmjsd_jax.files import sync


class AnotherModel(OSError):
  """A checkpoint is whole, but of another model."""


class DamagedCheckpoint(OSError):
  """A checkpoint is not what was saved."""


class Manifest(NamedTuple):
  """What is known of a checkpoint without reading its state.

  Attributes:
    seconds: spent on training.
    loss: by which checkpoints are compared; lower is better.
    leaves: path in the tree -> dtype and shape, and CRC-32 of the bytes.
    files: path in the folder -> CRC-32, of every file but the manifest.
  """

  seconds: float
  loss: float
  leaves: dict[str, tuple[str, int]]
  files: dict[str, int]


def write(
  folder: pathlib.Path, state: Any, *, seconds: float, loss: float
) -> None:
  """Writes a new folder; when this returns, a power cut does not harm it.

  Args:
    folder: must not exist yet.
    state: a pytree of numpy arrays.
    seconds: spent on training.
    loss: by which checkpoints are compared.

  Raises:
    OSError: the disk is full, or whatever else the system says.
  """
  leaves = _leaves(state)
  folder.mkdir()
  _check_room(folder, sum(leaf.nbytes for leaf in leaves.values()))
  try:
    _checkpointer().save(folder / 'state', args=ocp.args.StandardSave(state))
  except ValueError as error:
    # TensorStore's own kind of OSError.
    if code := re.search(r"os_error_code='(\d+)'", str(error)):
      raise OSError(int(code[1]), os.strerror(int(code[1]))) from error
    raise
  manifest = Manifest(
    seconds,
    loss,
    {
      name: (_kind(leaf), _leaf_checksum(leaf)) for name, leaf in leaves.items()
    },
    {
      str(path.relative_to(folder)): zlib.crc32(path.read_bytes())
      for path in folder.rglob('*')
      if path.is_file()
    },
  )
  content = json.dumps(manifest._asdict()).encode()
  (folder / 'manifest').write_bytes(_seal(content))
  for path in (*folder.rglob('*'), folder):
    sync(path)


def read(folder: pathlib.Path, like: Any) -> tuple[Any, float]:
  """The state, in the shardings of `like`, and seconds spent on training.

  Raises:
    DamagedCheckpoint: says what is damaged.
    AnotherModel: names what differs first.
    OSError: the folder may not be read.
  """
  manifest = verify(folder)
  saved = {name: kind for name, (kind, _) in manifest.leaves.items()}
  expected = {name: _kind(leaf) for name, leaf in _leaves(like).items()}
  for name in (saved | expected).keys():
    if saved.get(name) != expected.get(name):
      raise AnotherModel(
        f'{folder} holds another model: {name} must be '
        f'{expected.get(name, "absent")}; got {saved.get(name, "none")}'
      )
  on_host = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
  state = _checkpointer().restore(
    folder / 'state', args=ocp.args.StandardRestore(on_host)
  )
  for name, leaf in _leaves(state).items():
    if _leaf_checksum(leaf) != manifest.leaves[name][1]:
      raise DamagedCheckpoint(f'{name} is not what was saved')
  shardings = jax.tree.map(lambda leaf: leaf.sharding, like)
  return hosts.put(state, shardings), manifest.seconds


def verify(folder: pathlib.Path) -> Manifest:
  """The manifest, and with it every file, as it was written.

  Raises:
    DamagedCheckpoint: says what is damaged.
    OSError: the folder may not be read.
  """
  manifest = read_manifest(folder)
  for name, checksum in manifest.files.items():
    if zlib.crc32(_read_bytes(folder, name)) != checksum:
      raise DamagedCheckpoint(f'{name} is not what was written')
  return manifest


def read_manifest(folder: pathlib.Path) -> Manifest:
  """The manifest alone, which is small.

  Raises:
    DamagedCheckpoint: says what is damaged.
    OSError: the folder may not be read.
  """
  if not (folder / 'manifest').exists():
    raise DamagedCheckpoint('it has no manifest, as before version 0.1.0')
  raw = _read_bytes(folder, 'manifest')
  content = raw.partition(b'\n')[2]
  if raw != _seal(content):
    raise DamagedCheckpoint('manifest is not what was written')
  try:
    return _manifest(**json.loads(content))
  except (ValueError, TypeError, AttributeError, RecursionError) as error:
    raise DamagedCheckpoint(f'manifest is none of ours: {error}') from error


def _manifest(
  seconds: float, loss: float, leaves: dict[str, Any], files: dict[str, int]
) -> Manifest:
  """With the types that it must have."""
  for name in files:
    if pathlib.PurePath(name).is_absolute() or '..' in name.split('/'):
      raise ValueError(f'{name!r} lies elsewhere')
  known = {name: (str(kind), int(crc)) for name, (kind, crc) in leaves.items()}
  return Manifest(float(seconds), float(loss), known, dict(files))


def _check_room(folder: pathlib.Path, num_bytes: int) -> None:
  """Fails where Orbax would fail with a traceback for each of its threads."""
  room = folder / 'room'
  with room.open('wb') as file:
    os.posix_fallocate(file.fileno(), 0, num_bytes)
  room.unlink()


def _checkpointer() -> ocp.Checkpointer:
  """One that waits for no other process."""
  alone = ocp.options.MultiprocessingOptions(
    primary_host=jax.process_index(), active_processes={jax.process_index()}
  )
  return ocp.Checkpointer(
    ocp.StandardCheckpointHandler(multiprocessing_options=alone),
    multiprocessing_options=alone,
  )


def _seal(content: bytes) -> bytes:
  return b'%08x\n' % zlib.crc32(content) + content


def _read_bytes(folder: pathlib.Path, name: str) -> bytes:
  try:
    return (folder / name).read_bytes()
  except OSError as error:
    # Not, say, a folder of another user: it may be whole.
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO):
      raise DamagedCheckpoint(f'{name}: {error.strerror}') from error
    raise


def _leaves(tree: Any) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(keys, simple=True, separator='/'): leaf
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _kind(leaf: Any) -> str:
  return f'{leaf.dtype}{list(leaf.shape)}'


def _leaf_checksum(leaf: np.ndarray) -> int:
  return zlib.crc32(leaf.tobytes())
