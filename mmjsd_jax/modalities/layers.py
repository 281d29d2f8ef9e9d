"""Layers with PyTorch's default initialisation.

Weights and biases are uniform within 1 / sqrt(fan_in). The fan-in of a
convolution is its input channels times the kernel size; a transposed one counts
its *output* channels instead, as PyTorch does.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Initializer

from mmjsd_jax.modalities.convolution import (
  conv1d,
  conv2d,
  conv_transpose1d,
  conv_transpose2d,
)
from mmjsd_jax.modalities.matmul import matmul


class Conv(nn.Module):
  """`conv2d` and a bias with `torch.nn.Conv2d`'s initialisation.

  Parameters: kernel [kh, kw, C, features] and bias [features]. Without
  `use_bias` there is no bias. Sequences [B, N, C] are met with `conv1d`, and a
  kernel [k, C, features].
  """

  features: int
  kernel_size: int | tuple[int, ...]
  stride: int | tuple[int, ...] = 1
  padding: int | tuple[int, ...] = 0
  backend: str | None = None
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    size = _per_axis(self.kernel_size, x)
    init = uniform_by_fan_in(x.shape[-1] * math.prod(size))
    kernel = self.param('kernel', init, (*size, x.shape[-1], self.features))
    conv: Any = conv1d if len(size) == 1 else conv2d
    y = conv(
      x,
      kernel,
      stride=self.stride,
      padding=self.padding,
      backend=self.backend,
    )
    if not self.use_bias:
      return y
    bias = self.param('bias', init, (self.features,))
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class ConvTranspose(nn.Module):
  """`conv_transpose2d` and a bias, initialised as `torch.nn.ConvTranspose2d`.

  Parameters: kernel [kh, kw, C, features] and bias [features]. `first_bias`,
  one number per feature, is what the bias starts from instead. `use_bias` and
  sequences are as in `Conv`.
  """

  features: int
  kernel_size: int | tuple[int, ...]
  stride: int | tuple[int, ...] = 1
  padding: int | tuple[int, ...] = 0
  output_padding: int | tuple[int, ...] = 0
  backend: str | None = None
  first_bias: tuple[float, ...] | None = None
  use_bias: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    size = _per_axis(self.kernel_size, x)
    init = uniform_by_fan_in(self.features * math.prod(size))
    kernel = self.param('kernel', init, (*size, x.shape[-1], self.features))
    conv: Any = conv_transpose1d if len(size) == 1 else conv_transpose2d
    y = conv(
      x,
      kernel,
      stride=self.stride,
      padding=self.padding,
      output_padding=self.output_padding,
      backend=self.backend,
    )
    if not self.use_bias:
      return y
    if self.first_bias is not None:
      init = nn.initializers.constant(jnp.array(self.first_bias))
    bias = self.param('bias', init, (self.features,))
    return y + bias.reshape((1,) * (y.ndim - 1) + (-1,))


class Dense(nn.Module):
  """x @ kernel + bias on the last axis, initialised as `torch.nn.Linear`.

  Parameters: kernel [C, features], PyTorch's weight transposed, and bias
  [features].
  """

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    init = uniform_by_fan_in(x.shape[-1])
    kernel = self.param('kernel', init, (x.shape[-1], self.features))
    bias = self.param('bias', init, (self.features,))
    y = matmul(x.reshape(-1, x.shape[-1]), kernel)
    y = y.reshape(*x.shape[:-1], self.features)
    return y + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def uniform_by_fan_in(fan_in: int) -> Initializer:
  """Initialiser U(-1/sqrt(fan_in), 1/sqrt(fan_in)): PyTorch's default."""
  bound = 1 / math.sqrt(fan_in)

  def init(
    key: jax.Array,
    shape: Sequence[int],
    dtype: Any = jnp.float32,
    out_sharding: Any = None,  # of Initializer's signature; see jax.jit instead
  ) -> jax.Array:
    del out_sharding
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


def _per_axis(size: int | tuple[int, ...], x: jax.Array) -> tuple[int, ...]:
  return (size,) * (x.ndim - 2) if isinstance(size, int) else size
