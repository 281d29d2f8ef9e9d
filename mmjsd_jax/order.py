"""A training set on the device, and the order in which it is gone through."""

from typing import NamedTuple

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmjsd_jax.data.dataset import Split


class Data(NamedTuple):
  """A split on the device, as it is stored: see dataset.Split."""

  inputs: dict[str, jax.Array]
  tables: dict[str, jax.Array]

  @property
  def num_examples(self) -> int:
    """N, of which items may be shared."""
    name, items = next(iter(self.inputs.items()))
    return len(self.tables.get(name, items))

  def batch(self, rows: jax.Array) -> dict[str, jax.Array]:
    """The examples `rows`, as stored. Shape [B, ...] each."""
    return {
      name: items[self.tables[name][rows] if name in self.tables else rows]
      for name, items in self.inputs.items()
    }


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
  return Data(
    *jax.device_put(
      (split.inputs, dict(split.tables)), NamedSharding(mesh, PartitionSpec())
    )
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
