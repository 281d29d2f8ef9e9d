"""Strided convolutions for images and texts of any size.

Every convolution halves the sides, rounded up, until the longest is at most 4,
and doubles the channels, up to eight times the first; the decoder goes back the
same way. B batch, D latent dimensions; `shape` is [height, width, channels] of
images, [length, symbols] of one-hot texts.
"""

import math

import jax
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense

_LARGEST_SIDE = 4
_MOST_DOUBLINGS = 3


class Encoder(nn.Module):
  """Inputs [B, *shape] to the posterior q(z | x), [B, D].

  Attributes:
    latent_dim: D.
    shape: of one input.
    width: channels of the first convolution; eight times as many units has the
      dense layer.
    backend: of the convolutions; None chooses by device.
  """

  latent_dim: int
  shape: tuple[int, ...]
  width: int = 32
  backend: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array) -> Gaussian:
    if x.shape[1:] != self.shape:
      raise ValueError(
        f'expected inputs of shape [B, *{self.shape}], got {x.shape}'
      )
    for layer in range(len(halvings(self.shape[:-1])) - 1):
      features = channels(self.width, layer)
      x = Conv(features, 3, stride=2, padding=1, backend=self.backend)(x)
      x = nn.relu(x)
    x = nn.relu(Dense(8 * self.width, name='hidden')(x.reshape(x.shape[0], -1)))
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the likelihood's parameter, [..., *shape].

  The output has no activation. Attributes as of `Encoder`.
  """

  shape: tuple[int, ...]
  width: int = 32
  backend: str | None = None

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    sides = halvings(self.shape[:-1])
    x = nn.relu(
      Dense(8 * self.width, name='hidden')(z.reshape(-1, z.shape[-1]))
    )
    features = channels(self.width, max(len(sides) - 2, 0))
    x = nn.relu(Dense(math.prod(sides[-1]) * features, name='unfold')(x))
    x = x.reshape(-1, *sides[-1], features)
    for layer in reversed(range(len(sides) - 1)):
      # 2 n - 1 of n, and one more for even sides.
      more = tuple(1 - side % 2 for side in sides[layer])
      x = ConvTranspose(
        channels(self.width, max(layer - 1, 0)),
        3,
        stride=2,
        padding=1,
        output_padding=more if len(more) > 1 else more[0],
        backend=self.backend,
      )(x)
      x = nn.relu(x)
    x = Conv(self.shape[-1], 3, padding=1, name='output', backend=self.backend)(
      x
    )
    return x.reshape(*z.shape[:-1], *self.shape)


def halvings(sides: tuple[int, ...]) -> list[tuple[int, ...]]:
  """Sides before and after every convolution of stride 2."""
  found = [sides]
  while max(found[-1]) > _LARGEST_SIDE:
    found.append(tuple(-(-side // 2) for side in found[-1]))
  return found


def channels(width: int, layer: int) -> int:
  """Channels behind the encoder's convolution number `layer`, from 0."""
  return width * 2 ** min(layer, _MOST_DOUBLINGS)
