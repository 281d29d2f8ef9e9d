"""Several processes that run one program, each with devices of its own.

Every process runs the same commands on the same data, and device programs span
all devices. What the processes could see differently, such as a signal or a
clock, goes through the functions below. Each is called by all processes, in the
same order. With one process they do nothing.

No process waits for ever. Where one dies, the others are ended within
jax.distributed's heartbeat of 100 s; where one leaves with an error of its own,
within SHUTDOWN_SECONDS. Their checkpoints are whole, so that the same commands
go on.
"""

import contextlib
import functools
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

# How long processes wait for one another at the start, and at the end.
START_SECONDS = 300
SHUTDOWN_SECONDS = 60


class OtherFailed(OSError):
  """Another process failed, and says why."""


def start(
  coordinator: str | None = None,
  num_processes: int | None = None,
  process_id: int | None = None,
) -> None:
  """Finds the other processes. Before anything touches a device.

  Args:
    coordinator: host:port of process 0, free there and reachable from all.
      None: this and the others are found as JAX finds them on TPU pods, under
      SLURM and under Open MPI.
    num_processes: how many there are.
    process_id: which of them this is, from 0.

  Raises:
    ValueError: some of the three are missing, or one cannot be.
    OSError: the others are not there within START_SECONDS.
  """
  given = (coordinator, num_processes, process_id)
  if any(x is None for x in given) and any(x is not None for x in given):
    raise ValueError(
      'coordinator, num_processes and process_id go together; got '
      f'{coordinator}, {num_processes} and {process_id}'
    )
  if num_processes is not None and process_id is not None:
    if not 0 <= process_id < num_processes:
      raise ValueError(
        f'process_id must be from 0 to {num_processes - 1}; got {process_id}'
      )
  # It would take SIGTERM for itself; interruption.py listens to it.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      initialization_timeout=START_SECONDS,
      shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
    _meet()
  except (RuntimeError, ValueError) as error:
    raise OSError(f'the processes do not find one another: {error}') from None


def is_alone() -> bool:
  """Whether there are no others. Touches no device where none were sought."""
  return not jax.distributed.is_initialized() or jax.process_count() == 1


def is_first() -> bool:
  """Whether this process writes what is written once."""
  return is_alone() or jax.process_index() == 0


def from_first(number: int) -> int:
  """The number that the first process gives. An int32."""
  if is_alone():
    return number
  return int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def largest(number: int) -> int:
  """The largest of the numbers that the processes give. Int32s."""
  return int(max(_of_all(number)))


def check_same(what: str, text: str) -> None:
  """Refuses processes that differ.

  Args:
    what: shall be the same.
    text: says it.

  Raises:
    OSError: names the processes that differ from the first.
  """
  checksums = _of_all(zlib.crc32(text.encode()) >> 1)
  other = [n for n, found in enumerate(checksums) if found != checksums[0]]
  if other:
    raise OSError(
      f'{what} must be the same in all processes; another than in process 0 '
      f'in {other}'
    )


@contextlib.contextmanager
def together() -> Iterator[None]:
  """What goes wrong in one process ends the block in all; none is left behind.

  Nothing in the block may wait for another process.

  Raises:
    OtherFailed: names the processes in which it went wrong.
  """
  try:
    yield
  except Exception:
    _of_all(1)
    raise
  failed = np.flatnonzero(_of_all(0)).tolist()
  if failed:
    raise OtherFailed(f'process {failed} failed; its log says why')


def fetch(tree: Any) -> Any:
  """Arrays as numpy, whole, in every process, however they are spread."""
  return jax.device_get(jax.tree.map(_gathered, tree))


def put(tree: Any, shardings: Any) -> Any:
  """Arrays that all processes have alike, on the devices.

  Args:
    tree: of numpy or JAX arrays.
    shardings: one for every array, or for every part of the tree.
  """
  if is_alone():
    return jax.device_put(tree, shardings)
  # device_put would send all data round to see whether they are alike.
  return jax.tree.map(
    lambda sharding, part: jax.tree.map(
      functools.partial(_put, sharding), part
    ),
    shardings,
    tree,
  )


def _meet() -> None:
  """Connects all devices while the processes are in step.

  On CPU the first message between them must be answered within 30 s, and would
  otherwise come behind a compilation.
  """
  largest(0)
  mesh = jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(AxisType.Auto,)
  )
  ones = np.ones(mesh.size, np.int32)
  spread = put(ones, NamedSharding(mesh, PartitionSpec('data')))
  jax.block_until_ready(jax.jit(jnp.sum)(spread))


def _of_all(number: int) -> list[int]:
  """What every process gives, in their order."""
  if is_alone():
    return [number]
  return multihost_utils.process_allgather(np.int32(number)).tolist()


def _gathered(leaf: Any) -> Any:
  if (
    not isinstance(leaf, jax.Array)
    or leaf.is_fully_addressable
    or leaf.is_fully_replicated
  ):
    return leaf
  return multihost_utils.process_allgather(leaf, tiled=True)


def _put(sharding: jax.sharding.Sharding, x: Any) -> jax.Array:
  if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
    data = _put(sharding, jax.random.key_data(x))
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
  x = np.asarray(x)
  x = x.astype(jax.dtypes.canonicalize_dtype(x.dtype), copy=False)
  return jax.make_array_from_callback(x.shape, sharding, lambda at: x[at])
