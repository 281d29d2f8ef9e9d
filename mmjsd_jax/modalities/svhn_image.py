"""Encoder and decoder of SVHN in MNIST-SVHN-Text.

The convolutional networks of Sutter et al. 2020 (mmJSD), as their code has
them; MoPoE has the same. With 20 latent dimensions the encoder has 236,360
parameters, the decoder 233,763.

B batch, D latent dimensions. Images are [32, 32, 3], values in [0, 1].

Differs from the paper (supplement, Table 6), which puts a ReLU after every
layer: in the code the heads and the output have none.
"""

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense

IMAGE_SHAPE = (32, 32, 3)


class Encoder(nn.Module):
  """Images [B, 32, 32, 3] in [0, 1] to the posterior q(z | x), [B, D]."""

  latent_dim: int
  backend: str | None = None  # of the convolutions; None: by device

  @nn.compact
  def __call__(self, images: jax.Array) -> Gaussian:
    if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
      raise ValueError(
        f'expected images of shape [B, 32, 32, 3], got {images.shape}'
      )
    x = images
    # [B, 16, 16, 32], [B, 8, 8, 64], [B, 4, 4, 64], [B, 1, 1, 128]
    for features, padding in ((32, 1), (64, 1), (64, 1), (128, 0)):
      x = Conv(features, 4, stride=2, padding=padding, backend=self.backend)(x)
      x = nn.relu(x)
    x = x.reshape(x.shape[0], -1)
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the means of p(x | z), [..., 32, 32, 3].

  The means have no output activation, so they may leave [0, 1].

  Attributes:
    first_colour: as in `polymnist_image.Decoder`.
    backend: of the convolutions; None chooses by device.
  """

  first_colour: tuple[float, ...] | None = None
  backend: str | None = None

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    x = z.reshape(-1, z.shape[-1])
    x = nn.relu(Dense(128, name='hidden')(x)).reshape(-1, 1, 1, 128)
    # [B, 4, 4, 64], [B, 8, 8, 64], [B, 16, 16, 32], [B, 32, 32, 3]
    for features, stride, padding in ((64, 1, 0), (64, 2, 1), (32, 2, 1)):
      x = ConvTranspose(
        features, 4, stride=stride, padding=padding, backend=self.backend
      )(x)
      x = nn.relu(x)
    x = ConvTranspose(
      3,
      4,
      stride=2,
      padding=1,
      backend=self.backend,
      first_bias=self.first_colour,
    )(x)
    return x.reshape(*z.shape[:-1], *IMAGE_SHAPE)
