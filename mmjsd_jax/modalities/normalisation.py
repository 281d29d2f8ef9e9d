"""Batch normalisation as PyTorch has it, of the examples that are there.

B batch, C features.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


class BatchNorm(nn.Module):
  """Features normalised over all axes but the last: `torch.nn.BatchNorm2d`.

  Differs from `flax.linen.BatchNorm` in the running variance, which is the
  unbiased one, as PyTorch's is, and in its mask. Parameters: scale and bias
  [C]; batch statistics: mean and var [C], in float32 at least, as all sums are.

  In a compiled program the statistics are of the whole batch, however it lies
  over devices.

  Attributes:
    momentum: share of the new batch in the running statistics.
    epsilon: added to variances.
  """

  momentum: float = 0.1
  epsilon: float = 1e-5

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """x normalised, [B, ..., C], in its dtype.

    Args:
      x: Shape [B, ..., C].
      train: by the statistics of x, which enter the running ones, and not by
        the running ones.
      mask: which examples are there, in training. The others enter no
        statistics, whatever they hold, and become zero. Without any the running
        statistics serve, and stay. Bool, shape [B]; None means all.

    Raises:
      ValueError: a mask of another shape or dtype.
    """
    shape = x.shape[-1:]
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, shape)
    running_var = self.variable('batch_stats', 'var', jnp.ones, shape)
    scale = self.param('scale', nn.initializers.ones, shape)
    bias = self.param('bias', nn.initializers.zeros, shape)
    mean, var = running_mean.value, running_var.value
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    there = _per_example(mask, x) if train else jnp.bool_(True)
    wide = jnp.where(there, wide, 0)
    if train:
      number = jnp.sum(jnp.broadcast_to(there, (*x.shape[:-1], 1)))
      found = _moments(wide, there, number)
      if not self.is_initializing():
        running_mean.value = self._moved(mean, found[0], number)
        running_var.value = self._moved(var, found[2], number)
      mean = jnp.where(number > 0, found[0], mean)
      var = jnp.where(number > 0, found[1], var)
    factor = jax.lax.rsqrt(var + self.epsilon) * scale
    y = (wide - _row(mean, x)) * _row(factor, x) + _row(bias, x)
    return jnp.where(there, y, 0).astype(x.dtype)

  def _moved(
    self, running: jax.Array, found: jax.Array, number: jax.Array
  ) -> jax.Array:
    moved = (1 - self.momentum) * running + self.momentum * found
    return jnp.where(number > 0, moved, running)


def _moments(
  x: jax.Array, there: jax.Array, number: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Mean, variance and unbiased variance of so many rows, zero of none."""
  axes = tuple(range(x.ndim - 1))
  mean = jnp.sum(x, axes) / jnp.maximum(number, 1)
  squares = jnp.sum(jnp.where(there, x - _row(mean, x), 0) ** 2, axes)
  return (
    mean,
    squares / jnp.maximum(number, 1),
    squares / jnp.maximum(number - 1, 1),
  )


def _row(features: jax.Array, x: jax.Array) -> jax.Array:
  return features.reshape((1,) * (x.ndim - 1) + (-1,))


def _per_example(mask: jax.Array | None, x: jax.Array) -> jax.Array:
  """The mask beside x; of one number where there is none."""
  if mask is None:
    return jnp.bool_(True)
  if mask.shape != x.shape[:1] or mask.dtype != bool:
    raise ValueError(
      f'mask must be bool of shape {x.shape[:1]}; got {mask.dtype} of shape '
      f'{mask.shape}'
    )
  return mask.reshape((-1,) + (1,) * (x.ndim - 1))
