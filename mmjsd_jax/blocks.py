"""Batches from the disk: blocks of many, read while training uses others.

Which examples a step sees is a function of (seed, step), as in `order`, so a
streamed run computes what one with all data on the device does, and the step is
the whole state of what is read: a run goes on anywhere, on any number of hosts.
"""

import functools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmjsd_jax.data.dataset import Streamed
from mmjsd_jax.order import Data, Order

# Of one block, over all hosts.
BLOCK_BYTES = 128 << 20
# Blocks that are read at the same time, each by a thread.
NUM_AHEAD = 2


class Block(NamedTuple):
  """The batches of consecutive steps on the devices, in their order.

  T steps, B examples in each.

  Attributes:
    inputs: modality name -> items. Shape [T, B, ...], B over the devices.
    first_step: that of the first batch.
  """

  inputs: dict[str, jax.Array]
  first_step: jax.typing.ArrayLike

  def batch(self, index: jax.Array) -> dict[str, jax.Array]:
    """The examples of one step of the block. Shape [B, ...] each."""
    return {name: items[index] for name, items in self.inputs.items()}

  def masks(self, index: jax.Array) -> dict[str, jax.Array]:
    """None: streamed examples are complete."""
    del index
    return {}


class BlockOrder(NamedTuple):
  """What `Order` is to all data: where in the block a step's batch is."""

  first_step: jax.typing.ArrayLike

  def epoch(self, step: jax.Array) -> jax.Array:
    """Nothing: a block is in order."""
    del step
    return jnp.zeros((), jnp.int32)

  def next_epoch(self, step: jax.Array, current: jax.Array) -> jax.Array:
    """Nothing, still."""
    del step
    return current

  def batch(self, step: jax.Array, epoch: jax.Array) -> jax.Array:
    """The number of a step's batch in the block."""
    del epoch
    return step - self.first_step


class Resident:
  """All data on the device, asked for as blocks are."""

  def __init__(self, data: Data, num_steps: int):
    self._data = data
    self._num_steps = num_steps

  def at(self, step: int) -> tuple[Data, int]:
    """The data, which have all steps."""
    del step
    return self._data, self._num_steps

  def close(self) -> None:
    """Nothing."""


class Blocks:
  """The blocks of some steps, one after the other, read ahead by Grain.

  At most NUM_AHEAD + 2 exist at any time: the one in use, one that follows it,
  and those that are being read.
  """

  def __init__(self, split: Streamed, order: Order, steps: range, mesh: Mesh):
    """Begins to read.

    Args:
      split: training examples.
      order: in which they are gone through.
      steps: those to come, at least one.
      mesh: the devices; every host reads what its own have of each batch.
    """
    import grain

    self._steps = steps
    self._source = _Source(split, order, steps, mesh)
    self._ahead = iter(
      grain.MapDataset.source(self._source).to_iter_dataset(
        grain.ReadOptions(num_threads=NUM_AHEAD, prefetch_buffer_size=NUM_AHEAD)
      )
    )
    self._end = steps.start
    self._block: Block | None = None

  def at(self, step: int) -> tuple[Block, int]:
    """The block that has `step`, and the first step that it has not.

    Args:
      step: not before that of the last call.

    Raises:
      DamagedRecord: a record of the block cannot be read.
    """
    while self._block is None or step >= self._end:
      self._block = None
      self._block = next(self._ahead)
      self._end = min(self._end + self._source.length, self._steps.stop)
    return self._block, self._end

  def close(self) -> None:
    """Ends reading."""
    self._block = None
    self._ahead.close()


def block_length(split: Streamed, batch_size: int, num_steps: int) -> int:
  """T: of at most BLOCK_BYTES, but a step at least, and no more than come."""
  batch_bytes = batch_size * split.example_bytes
  return min(max(1, BLOCK_BYTES // batch_bytes), num_steps)


def columns_of(
  sharding: NamedSharding, batch_size: int, devices: Collection[jax.Device]
) -> np.ndarray:
  """The examples of a batch that some devices hold, in their order.

  Args:
    sharding: of blocks, steps by examples.
    batch_size: B, over all devices.
    devices: of one host.

  Returns:
    Integers, increasing, in [0, B).
  """
  indices = sharding.devices_indices_map((1, batch_size))
  columns = np.arange(batch_size)
  held = [columns[indices[device][1]] for device in devices]
  return np.unique(np.concatenate(held))


def read_batches(
  split: Streamed,
  order: Order,
  steps: range,
  columns: np.ndarray,
  epoch_fn: Callable[[int], np.ndarray],
) -> dict[str, np.ndarray]:
  """What one host has of the batches of consecutive steps.

  Args:
    split: training examples.
    order: in which they are gone through.
    steps: T of them.
    columns: which examples of each batch. Integers [C].
    epoch_fn: the number of an epoch to its permutation.

  Returns:
    Modality name -> items. Shape [T, C, ...].

  Raises:
    DamagedRecord: one of the records is damaged.
  """
  rows = []
  for step in steps:
    epoch, number = divmod(step, order.steps_per_epoch)
    rows.append(epoch_fn(epoch)[number * order.batch_size + columns])
  inputs = split.take(np.concatenate(rows)).inputs
  return {
    name: items.reshape(len(steps), len(columns), *items.shape[1:])
    for name, items in inputs.items()
  }


def epoch_on_host(order: Order, number: int) -> np.ndarray:
  """The permutation of an epoch. Shape [num_examples]."""
  return np.asarray(order.epoch(jnp.int32(number * order.steps_per_epoch)))


class _Source:
  """Block number -> block, for Grain."""

  def __init__(self, split: Streamed, order: Order, steps: range, mesh: Mesh):
    self._split = split
    self._order = order
    self._steps = steps
    over_devices = {'data'} & set(mesh.axis_names)
    self._sharding = NamedSharding(mesh, PartitionSpec(None, *over_devices))
    self._columns = columns_of(
      self._sharding, order.batch_size, self._sharding.addressable_devices
    )
    # Two threads may be in two epochs.
    self._epoch_fn = functools.lru_cache(maxsize=NUM_AHEAD)(
      functools.partial(epoch_on_host, order)
    )
    self.length = block_length(split, order.batch_size, len(steps))

  def __len__(self) -> int:
    return -(-len(self._steps) // self.length)

  def __getitem__(self, number: int) -> Block:
    steps = self._steps[number * self.length :][: self.length]
    inputs = read_batches(
      self._split, self._order, steps, self._columns, self._epoch_fn
    )
    return Block(
      {name: self._put(items) for name, items in inputs.items()},
      np.int32(steps[0]),
    )

  def _put(self, items: np.ndarray) -> jax.Array:
    """The host's part of a block on its devices."""
    # The last block has the shape of all others: one program serves them.
    items = np.resize(items, (self.length, *items.shape[1:]))
    batch_size = self._order.batch_size

    def part(index: Any) -> np.ndarray:
      start, stop, _ = index[1].indices(batch_size)
      first = np.searchsorted(self._columns, start)
      return items[:, first : first + stop - start]

    return jax.make_array_from_callback(
      (self.length, batch_size, *items.shape[2:]), self._sharding, part
    )
