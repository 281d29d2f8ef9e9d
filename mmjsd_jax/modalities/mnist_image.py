"""Encoder and decoder of MNIST in MNIST-SVHN-Text.

The dense networks of Sutter et al. 2020 (mmJSD), as their code has them; MoPoE
has the same. With 20 latent dimensions the encoder has 330,040 parameters, the
decoder 322,784.

B batch, D latent dimensions. Images are [28, 28, 1], values in [0, 1].

Differs from the paper (supplement, Table 5), which puts a ReLU after every
layer: in the code the heads have none, and the means end in a sigmoid.
"""

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Dense

IMAGE_SHAPE = (28, 28, 1)
_HIDDEN_DIM = 400


class Encoder(nn.Module):
  """Images [B, 28, 28, 1] in [0, 1] to the posterior q(z | x), [B, D]."""

  latent_dim: int

  @nn.compact
  def __call__(self, images: jax.Array) -> Gaussian:
    if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
      raise ValueError(
        f'expected images of shape [B, 28, 28, 1], got {images.shape}'
      )
    x = images.reshape(images.shape[0], -1)  # [B, 784]
    x = nn.relu(Dense(_HIDDEN_DIM, name='hidden')(x))
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the means of p(x | z), [..., 28, 28, 1], in [0, 1]."""

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    x = nn.relu(Dense(_HIDDEN_DIM, name='hidden')(z))
    x = nn.sigmoid(Dense(784, name='pixels')(x))
    return x.reshape(*z.shape[:-1], *IMAGE_SHAPE)
