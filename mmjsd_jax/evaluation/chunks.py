"""Fixed-size chunks: one compiled shape however many examples there are.

Where parameters lie on many devices, so do the chunks, each example on one of
them. The numbers do not depend on it: where there are draws, which belong to a
chunk's rows, it has as many rows on any number of devices. One that they cannot
share evenly lies on each of them.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from mmjsd_jax import hosts

_F = TypeVar('_F', bound=Callable[..., Any])


class Chunk(NamedTuple):
  """Part of a data set, filled up to a fixed size.

  Attributes:
    rows: indices into the data set; past the end, the last row is repeated.
      Shape [size].
    num_valid: how many of the leading rows count. The rest are filling: cut
      them off whatever is computed from them.
  """

  rows: np.ndarray
  num_valid: int


def padded_chunks(num_rows: int, size: int) -> Iterator[Chunk]:
  """Chunks that hold each of `num_rows` rows exactly once.

  Args:
    num_rows: rows of the data set, at least one.
    size: rows of every chunk.

  Raises:
    ValueError: no row, or chunks of no row.
  """
  if num_rows < 1 or size < 1:
    raise ValueError(
      f'need at least one row and chunks of at least one; got {num_rows} rows '
      f'in chunks of {size}'
    )
  for start in range(0, num_rows, size):
    rows = np.minimum(np.arange(start, start + size), num_rows - 1)
    yield Chunk(rows, min(size, num_rows - start))


def shared_size(size: int) -> int:
  """The next size that the devices can share evenly.

  For chunks of which nothing is drawn.
  """
  num_devices = max(jax.sharding.get_mesh().size, 1)
  return -(-size // num_devices) * num_devices


def over_devices_of_params(function: _F) -> _F:
  """Lets a function(model, params, ...) use all devices that have `params`.

  In it, `put` and `spread` know these devices.
  """

  @functools.wraps(function)
  def wrapped(model: Any, params: Any, *args: Any, **kwargs: Any) -> Any:
    sharding = getattr(jax.tree.leaves(params)[0], 'sharding', None)
    mesh = getattr(sharding, 'mesh', None)
    with jax.set_mesh(mesh) if mesh else contextlib.nullcontext():
      return function(model, params, *args, **kwargs)

  return wrapped  # type: ignore[return-value]


def put(tree: Any, *, axis: int | None = 0) -> Any:
  """A chunk on the devices, spread along `axis`; None is a copy on each."""
  mesh = jax.sharding.get_mesh()
  if mesh.empty:
    return jax.device_put(tree)
  return hosts.put(
    tree,
    jax.tree.map(
      lambda leaf: NamedSharding(mesh, _spec(leaf.shape, axis, mesh.size)), tree
    ),
  )


def spread(tree: Any, *, axis: int = 0) -> Any:
  """As `put`, of what a compiled function computes from no chunk."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return tree
  return jax.tree.map(
    lambda leaf: jax.lax.with_sharding_constraint(
      leaf, _spec(leaf.shape, axis, mesh.size)
    ),
    tree,
  )


def _spec(
  shape: tuple[int, ...], axis: int | None, num_devices: int
) -> PartitionSpec:
  if axis is None or shape[axis] % num_devices:
    return PartitionSpec()
  return PartitionSpec(*[None] * axis, 'data')
