"""Encoder and decoder of CelebA's images.

The residual networks of Sutter et al. 2020 (mmJSD), as their code has them;
MoPoE has the same. With 32 shared and 32 own latents and a width of 128 the
encoder has 21,559,040 parameters, the decoder 21,912,323.

B batch, D latent dimensions, W width. Images are [64, 64, 3], values in [0, 1].

Differs from the paper (supplement, Table 13), whose encoder pads its last block
and whose decoder has blocks of stride 1 between 4 and 32 pixels, which do not
lead to the sizes that follow. MoPoE's code pads the first convolution by 2.
"""

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense
from mmjsd_jax.modalities.residual import ResidualBlock

IMAGE_SHAPE = (64, 64, 3)


class Features(nn.Module):
  """Images [B, 64, 64, 3] in [0, 1] to features [B, 5 W].

  Attributes:
    width: W, channels of the first convolution.
    dropout: rate in the blocks.
    backend: of the convolutions; None chooses by device.
  """

  width: int = 128
  dropout: float = 0.5
  backend: str | None = None

  @nn.compact
  def __call__(
    self, images: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
      raise ValueError(
        f'expected images of shape [B, 64, 64, 3], got {images.shape}'
      )
    x = Conv(
      self.width, 3, stride=2, padding=1, use_bias=False, backend=self.backend
    )(images)  # [B, 32, 32, W]
    # [B, 16, 16, 2 W], [B, 8, 8, 3 W], [B, 4, 4, 4 W], [B, 1, 1, 5 W]
    for multiple, padding in ((2, 1), (3, 1), (4, 1), (5, 0)):
      x = ResidualBlock(
        multiple * self.width,
        padding=padding,
        dropout=self.dropout,
        backend=self.backend,
      )(x, train=train, mask=mask)
    return x.reshape(x.shape[0], -1)


class Encoder(nn.Module):
  """Images [B, 64, 64, 3] in [0, 1] to the posterior q(s, z | x), [B, D].

  Attributes:
    latent_dim: D, of styles and shared latents together.
    width: as of `Features`.
    backend: of the convolutions; None chooses by device.
  """

  latent_dim: int
  width: int = 128
  backend: str | None = None

  @nn.compact
  def __call__(
    self, images: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> Gaussian:
    x = Features(self.width, backend=self.backend, name='features')(
      images, train=train, mask=mask
    )
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the means of p(x | s, z), [..., 64, 64, 3].

  The means have no output activation, so they may leave [0, 1].

  Attributes:
    width: W; the first layer gives 5 W features.
    first_colour: as in `polymnist_image.Decoder`.
    backend: of the convolutions; None chooses by device.
  """

  width: int = 128
  first_colour: tuple[float, ...] | None = None
  backend: str | None = None

  @nn.compact
  def __call__(
    self, z: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    x = Dense(5 * self.width, name='hidden')(z.reshape(-1, z.shape[-1]))
    x = x.reshape(-1, 1, 1, 5 * self.width)
    # [B, 4, 4, 4 W], [B, 8, 8, 3 W], [B, 16, 16, 2 W], [B, 32, 32, W]
    for multiple, stride, padding in (
      (4, 1, 0),
      (3, 2, 1),
      (2, 2, 1),
      (1, 2, 1),
    ):
      x = ResidualBlock(
        multiple * self.width,
        stride=stride,
        padding=padding,
        transposed=True,
        backend=self.backend,
      )(x, train=train, mask=mask)
    x = ConvTranspose(
      3,
      3,
      stride=2,
      padding=1,
      output_padding=1,
      backend=self.backend,
      first_bias=self.first_colour,
    )(x)
    return x.reshape(*z.shape[:-1], *IMAGE_SHAPE)
