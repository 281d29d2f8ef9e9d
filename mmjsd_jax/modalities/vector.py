"""Encoder and decoder of vectors: perceptrons with two hidden layers.

B batch, C columns, D latent dimensions.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Dense


class Encoder(nn.Module):
  """Vectors [B, C] to the posterior q(z | x), [B, D]."""

  latent_dim: int
  width: int = 256

  @nn.compact
  def __call__(self, x: jax.Array) -> Gaussian:
    for _ in range(2):
      x = nn.relu(Dense(self.width)(x))
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the likelihood's parameter, [..., C].

  Attributes:
    num_columns: C.
    width: of the hidden layers.
    learned_scale: with every mean stands what gives its standard deviation,
      the same for all latents, which begins at 1: [..., C, 2], as
      `likelihoods.normal_learned` takes it.
  """

  num_columns: int
  width: int = 256
  learned_scale: bool = False

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    x = z
    for _ in range(2):
      x = nn.relu(Dense(self.width)(x))
    mean = Dense(self.num_columns, name='mean')(x)
    if not self.learned_scale:
      return mean
    raw = self.param('scale', nn.initializers.zeros, (self.num_columns,))
    raw = jnp.broadcast_to(
      raw.reshape((1,) * (mean.ndim - 1) + (-1,)), mean.shape
    )
    return jnp.stack([mean, raw], axis=-1)
