"""What lies on which device, and the order in which data are gone through."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmjsd_jax import hosts
from mmjsd_jax.data.dataset import Split

# Smaller arrays are not worth a message of their own.
LEAST_SHARDED = 2**16


class Data(NamedTuple):
  """A split on the device, as it is stored: see dataset.Split."""

  inputs: dict[str, jax.Array]
  tables: dict[str, jax.Array]
  present: dict[str, jax.Array] = {}

  @property
  def num_examples(self) -> int:
    """N, of which items may be shared."""
    name, items = next(iter(self.inputs.items()))
    return len(self.tables.get(name, items))

  def batch(self, rows: jax.Array) -> dict[str, jax.Array]:
    """The examples `rows`, as stored; zeros where absent. [B, ...] each."""
    batch = {
      name: items[self.tables[name][rows] if name in self.tables else rows]
      for name, items in self.inputs.items()
    }
    for name, mask in self.masks(rows).items():
      items = batch[name]
      mask = mask.reshape(-1, *(1,) * (items.ndim - 1))
      batch[name] = jnp.where(mask, items, 0)
    return batch

  def masks(self, rows: jax.Array) -> dict[str, jax.Array]:
    """Which of the examples `rows` have a modality that some lack. Bool [B]."""
    return {name: mask[rows] for name, mask in self.present.items()}


class Order(NamedTuple):
  """The order of examples, a function of (key, step).

  Every epoch goes through a new permutation; what does not fill a batch at its
  end is left out, as in the authors' code.
  """

  key: jax.Array
  num_examples: int
  batch_size: int

  @property
  def steps_per_epoch(self) -> int:
    """Whole batches in the data."""
    return self.num_examples // self.batch_size

  def epoch(self, step: jax.Array) -> jax.Array:
    """The permutation of the epoch that `step` is in. Shape [num_examples]."""
    key = jax.random.fold_in(self.key, step // self.steps_per_epoch)
    return jax.random.permutation(key, self.num_examples)

  def next_epoch(self, step: jax.Array, current: jax.Array) -> jax.Array:
    """`current`, or a new permutation where `step` begins an epoch."""
    begins = step % self.steps_per_epoch == 0
    return jax.lax.cond(begins, lambda: self.epoch(step), lambda: current)

  def batch(self, step: jax.Array, epoch: jax.Array) -> jax.Array:
    """The examples of one step. Shape [batch_size]."""
    start = step % self.steps_per_epoch * self.batch_size
    return jax.lax.dynamic_slice(epoch, (start,), (self.batch_size,))


def make_mesh() -> Mesh:
  """All devices of all processes along one axis, 'data'."""
  return jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(AxisType.Auto,)
  )


def to_device(split: Split, mesh: Mesh) -> Data:
  """A split on every device, as it is stored (uint8)."""
  arrays = split.inputs, dict(split.tables), dict(split.present)
  return Data(*hosts.put(arrays, everywhere(mesh)))


def everywhere(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def shardings(tree: Any, mesh: Mesh, *, shard: bool) -> Any:
  """Where the arrays of a state lie: everywhere, or large ones in parts.

  Args:
    tree: of arrays.
    mesh: the devices.
    shard: cut arrays of at least LEAST_SHARDED elements along their longest
      axis that the number of devices divides, the last of equal ones; one that
      has none lies everywhere.
  """

  def place(leaf: jax.Array) -> NamedSharding:
    axes = [n for n, size in enumerate(leaf.shape) if size % mesh.size == 0]
    if not shard or leaf.size < LEAST_SHARDED or not axes:
      return everywhere(mesh)
    longest = max(axes, key=lambda axis: (leaf.shape[axis], axis))
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, 'data'))

  return jax.tree.map(place, tree)


def over_devices(rows: jax.Array, mesh: Mesh) -> jax.Array:
  """In a compiled program, a batch of which each device has its share.

  As it is where devices do not lie along 'data'.
  """
  if 'data' not in mesh.axis_names:
    return rows
  return jax.lax.with_sharding_constraint(
    rows, NamedSharding(mesh, PartitionSpec('data'))
  )


def constrain(tree: Any, mesh: Mesh, *, shard: bool) -> Any:
  """In a compiled program, arrays where `shardings` has them.

  As they are where devices do not lie along 'data'.
  """
  if 'data' not in mesh.axis_names:
    return tree
  return jax.lax.with_sharding_constraint(
    tree, shardings(tree, mesh, shard=shard)
  )


def check_devices(batch_size: int, mesh: Mesh) -> None:
  """Refuses batches that do not divide over the devices.

  Raises:
    ValueError: see above.
  """
  if batch_size % mesh.size:
    raise ValueError(
      f'config.train.batch_size must be a multiple of the {mesh.size} devices; '
      f'got {batch_size}'
    )


def check_batch(batch_size: int, num_examples: int) -> None:
  """Refuses batches that the data cannot fill.

  Raises:
    ValueError: see above.
  """
  if batch_size > num_examples:
    raise ValueError(
      f'config.train.batch_size must be at most the {num_examples} training '
      f'examples; got {batch_size}'
    )
