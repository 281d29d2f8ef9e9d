"""Encoder and decoder of dSprites' images.

The usual networks for this set (Locatello et al. 2019, Table 1): the workshop
paper of mmJSD does not say what its own were. With 16 latent dimensions the
encoder has 386,016 parameters, the decoder 382,849.

B batch, D latent dimensions. Images are [64, 64, 1], values in [0, 1].
"""

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense

IMAGE_SHAPE = (64, 64, 1)


class Encoder(nn.Module):
  """Images [B, 64, 64, 1] in [0, 1] to the posterior q(z | x), [B, D]."""

  latent_dim: int
  backend: str | None = None  # of the convolutions; None: by device

  @nn.compact
  def __call__(self, images: jax.Array) -> Gaussian:
    if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
      raise ValueError(
        f'expected images of shape [B, 64, 64, 1], got {images.shape}'
      )
    x = images
    for features in (32, 32, 64, 64):  # [B, 32, 32, 32] to [B, 4, 4, 64]
      x = Conv(features, 4, stride=2, padding=1, backend=self.backend)(x)
      x = nn.relu(x)
    x = nn.relu(Dense(256, name='hidden')(x.reshape(x.shape[0], -1)))
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the logits of p(x | z), [..., 64, 64, 1]."""

  backend: str | None = None

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    x = nn.relu(Dense(256, name='hidden')(z.reshape(-1, z.shape[-1])))
    x = nn.relu(Dense(1024, name='unfold')(x)).reshape(-1, 4, 4, 64)
    for features in (64, 32, 32, 1):  # [B, 8, 8, 64] to [B, 64, 64, 1]
      x = ConvTranspose(features, 4, stride=2, padding=1, backend=self.backend)(
        x
      )
      if features > 1:
        x = nn.relu(x)
    return x.reshape(*z.shape[:-1], *IMAGE_SHAPE)
