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

from mmjsd_jax.modalities.convolution import conv2d, conv_transpose2d


class Conv(nn.Module):
  """`conv2d` and a bias with `torch.nn.Conv2d`'s initialisation.

  Parameters: kernel [kh, kw, C, features] and bias [features].
  """

  features: int
  kernel_size: int | tuple[int, int]
  stride: int | tuple[int, int] = 1
  padding: int | tuple[int, int] = 0
  backend: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    size = _square(self.kernel_size)
    init = uniform_by_fan_in(x.shape[-1] * math.prod(size))
    kernel = self.param('kernel', init, (*size, x.shape[-1], self.features))
    bias = self.param('bias', init, (self.features,))
    y = conv2d(
      x,
      kernel,
      stride=self.stride,
      padding=self.padding,
      backend=self.backend,
    )
    return y + bias.reshape(1, 1, 1, -1)


class ConvTranspose(nn.Module):
  """`conv_transpose2d` and a bias, initialised as `torch.nn.ConvTranspose2d`.

  Parameters: kernel [kh, kw, C, features] and bias [features]. `first_bias`,
  one number per feature, is what the bias starts from instead.
  """

  features: int
  kernel_size: int | tuple[int, int]
  stride: int | tuple[int, int] = 1
  padding: int | tuple[int, int] = 0
  output_padding: int | tuple[int, int] = 0
  backend: str | None = None
  first_bias: tuple[float, ...] | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    size = _square(self.kernel_size)
    init = uniform_by_fan_in(self.features * math.prod(size))
    kernel = self.param('kernel', init, (*size, x.shape[-1], self.features))
    bias_init = init
    if self.first_bias is not None:
      bias_init = nn.initializers.constant(jnp.array(self.first_bias))
    bias = self.param('bias', bias_init, (self.features,))
    y = conv_transpose2d(
      x,
      kernel,
      stride=self.stride,
      padding=self.padding,
      output_padding=self.output_padding,
      backend=self.backend,
    )
    return y + bias.reshape(1, 1, 1, -1)


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
    return x @ kernel + bias.reshape((1,) * (x.ndim - 1) + (-1,))


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


def _square(size: int | tuple[int, int]) -> tuple[int, int]:
  return (size, size) if isinstance(size, int) else size
