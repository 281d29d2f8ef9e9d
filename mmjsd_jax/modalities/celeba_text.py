"""Encoder and decoder of the text in CelebA: names of attributes.

The residual networks of Sutter et al. 2020 (mmJSD), as their code has them;
MoPoE has the same. With 32 shared and 32 own latents and a width of 128 the
encoder has 13,250,816 parameters, the decoder 13,604,039.

B batch, D latent dimensions, W width. A text is stored as character codes
[256], and is one-hot over 71 symbols, [256, 71], to the networks.

Differs from the paper (supplement, Table 14), whose first and last convolution
have size 3, whose decoder begins with 896 features and has a first block of
stride 2.
"""

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities import text
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense
from mmjsd_jax.modalities.residual import ResidualBlock

LENGTH = 256


class Features(nn.Module):
  """One-hot texts [B, 256, 71] to features [B, multiples[-1] W].

  Attributes:
    width: W, channels of the first convolution.
    multiples: of W, the channels behind every block.
    kernel_size: of the first convolution.
    dropout: rate in the blocks.
    backend: of the convolutions; None chooses by device.
  """

  width: int = 128
  multiples: tuple[int, ...] = (2, 3, 4, 5, 5, 5)
  kernel_size: int = 4
  dropout: float = 0.5
  backend: str | None = None

  @nn.compact
  def __call__(
    self, texts: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    if texts.ndim != 3 or texts.shape[1:] != (LENGTH, text.NUM_SYMBOLS):
      raise ValueError(
        f'expected one-hot texts of shape [B, {LENGTH}, {text.NUM_SYMBOLS}], '
        f'got {texts.shape}'
      )
    x = Conv(
      self.width, self.kernel_size, stride=2, padding=1, backend=self.backend
    )(texts)  # [B, 128, W]
    for multiple in self.multiples:  # lengths 64, 32, 16, 8, 4, 1
      x = ResidualBlock(
        multiple * self.width,
        padding=0 if x.shape[1] == 4 else 1,
        dropout=self.dropout,
        backend=self.backend,
      )(x, train=train, mask=mask)
    return x.reshape(x.shape[0], -1)


class Encoder(nn.Module):
  """One-hot texts [B, 256, 71] to the posterior q(s, z | x), [B, D].

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
    self, texts: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> Gaussian:
    x = Features(self.width, backend=self.backend, name='features')(
      texts, train=train, mask=mask
    )
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the logits of p(x | s, z), [..., 256, 71].

  Attributes:
    width: W; the first layer gives 5 W features.
    as_released: as in `text.Decoder`.
    backend: of the convolutions; None chooses by device.
  """

  width: int = 128
  as_released: bool = False
  backend: str | None = None

  @nn.compact
  def __call__(
    self, z: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    x = Dense(5 * self.width, name='hidden')(z.reshape(-1, z.shape[-1]))
    x = x.reshape(-1, 1, 5 * self.width)
    for multiple in (5, 5, 4, 3, 2, 1):  # lengths 4, 8, 16, 32, 64, 128
      is_first = x.shape[1] == 1
      x = ResidualBlock(
        multiple * self.width,
        stride=1 if is_first else 2,
        padding=0 if is_first else 1,
        transposed=True,
        backend=self.backend,
      )(x, train=train, mask=mask)
    x = ConvTranspose(
      text.NUM_SYMBOLS, 4, stride=2, padding=1, backend=self.backend
    )(x)
    if self.as_released:
      x = text.inverted(x)
    return x.reshape(*z.shape[:-1], LENGTH, text.NUM_SYMBOLS)
