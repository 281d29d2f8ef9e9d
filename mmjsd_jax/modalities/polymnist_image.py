"""Encoder and decoder of one PolyMNIST modality.

The networks of Sutter et al. 2021 (MoPoE), as their code has them; one pair
per modality, nothing shared. With 512 latent dimensions an encoder has
1,667,648 parameters, a decoder 1,143,747, and all five pairs 14,056,975.

B batch, D latent dimensions. Images are [28, 28, 3], values in [0, 1].

Differs from the authors' code: feature maps are flattened in the order height,
width, channel, theirs channel, height, width. That permutes the rows (or
columns) of the neighbouring dense layer, whose entries are independent and
identically distributed at the start, so the networks are equal in
distribution; only a transfer of PyTorch weights has to mind it.
"""

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense

IMAGE_SHAPE = (28, 28, 3)


class Encoder(nn.Module):
  """Images [B, 28, 28, 3] in [0, 1] to the posterior q(z | x), [B, D].

  The authors' code makes the hidden dense layer as wide as the latent space,
  which is 512 in the paper. Here 512 is a default of its own: a narrow layer
  starves the heads of a smaller latent space.
  """

  latent_dim: int
  hidden_dim: int = 512
  backend: str | None = None  # of the convolutions; None: by device

  @nn.compact
  def __call__(self, images: jax.Array) -> Gaussian:
    if images.ndim != 4 or images.shape[1:] != IMAGE_SHAPE:
      raise ValueError(
        f'expected images of shape [B, 28, 28, 3], got {images.shape}'
      )
    x = images
    for features in (32, 64, 128):  # [B, 14, 14, 32] to [B, 4, 4, 128]
      x = Conv(features, 3, stride=2, padding=1, backend=self.backend)(x)
      x = nn.relu(x)
    x = x.reshape(x.shape[0], -1)  # [B, 2048]
    x = nn.relu(Dense(self.hidden_dim, name='hidden')(x))
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the means of p(x | z), [..., 28, 28, 3].

  The means have no output activation, as in the authors' code, so they may
  leave [0, 1].

  Attributes:
    first_colour: what the last layer's bias starts from; None is PyTorch's
      draw, as the authors have it. The images' median colour spares Adam the
      long first climb to it, in which every weight moves together and the
      features are lost: from there on, what the latents say is learned late.
    backend: of the convolutions; None chooses by device.
  """

  first_colour: tuple[float, ...] | None = None
  backend: str | None = None

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    leading = z.shape[:-1]
    x = z.reshape(-1, z.shape[-1])
    x = nn.relu(Dense(2048, name='hidden')(x)).reshape(-1, 4, 4, 128)
    # [B, 7, 7, 64], [B, 14, 14, 32], [B, 28, 28, 3]
    for features, output_padding in ((64, 0), (32, 1), (3, 1)):
      x = ConvTranspose(
        features,
        3,
        stride=2,
        padding=1,
        output_padding=output_padding,
        backend=self.backend,
        first_bias=self.first_colour if features == 3 else None,
      )(x)
      if features != 3:
        x = nn.relu(x)
    return x.reshape(*leading, *IMAGE_SHAPE)
