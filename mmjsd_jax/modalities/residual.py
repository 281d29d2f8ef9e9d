"""Residual blocks of CelebA's networks, for images and for sequences.

Those of Sutter et al. 2020 (mmJSD), as their code has them; MoPoE has the same.
B batch, N positions, C channels.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjsd_jax.modalities.layers import Conv, ConvTranspose
from mmjsd_jax.modalities.normalisation import BatchNorm

_SHORTCUT, _BRANCH = 2.0, 0.3


class ResidualBlock(nn.Module):
  """2 times a shortcut plus 0.3 times a branch; both resize.

  The shortcut is a convolution of size 4 and its normalisation. In the branch a
  convolution of size 1 and one of size 4 each follow normalisation and ReLU and
  are followed by dropout: of whole channels in images, where these two have no
  biases, of single values in sequences.

  Attributes:
    features: channels of the result.
    stride: of those of size 4.
    padding: of the same.
    transposed: whether they are, so that the block makes its input larger.
    dropout: rate of both dropouts.
    backend: of the convolutions; None chooses by device.
  """

  features: int
  stride: int = 2
  padding: int = 1
  transposed: bool = False
  dropout: float = 0.5
  backend: str | None = None

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Images [B, H, W, C] or sequences [B, N, C] to such of `features`.

    Args:
      x: what comes in.
      train: drop, and normalise by the batch's own statistics.
      mask: which examples enter these. Bool [B]; None is all.
    """
    is_image = x.ndim == 4
    kind = ConvTranspose if self.transposed else Conv

    def resize(name: str, use_bias: bool) -> nn.Module:
      return kind(
        self.features,
        4,
        stride=self.stride,
        padding=self.padding,
        backend=self.backend,
        use_bias=use_bias,
        name=name,
      )

    def normalise(x: jax.Array, name: str) -> jax.Array:
      return BatchNorm(name=name)(x, train=train, mask=mask)

    shortcut = normalise(resize('shortcut', True)(x), 'norm_shortcut')
    gain_mixed, gain_resized = self._gains(train, x, shortcut)
    mix = Conv(
      x.shape[-1], 1, use_bias=not is_image, backend=self.backend, name='mix'
    )
    y = gain_mixed * mix(nn.relu(normalise(x, 'norm_in')))
    y = nn.relu(normalise(y, 'norm_mixed'))
    y = gain_resized * resize('resize', use_bias=not is_image)(y)
    return _SHORTCUT * shortcut + _BRANCH * y

  def _gains(self, train: bool, *like: jax.Array) -> list[jax.Array | float]:
    """What dropout multiplies arrays of such shapes by.

    Of one draw: to compile two takes as long as all else in a block.
    """
    if not train or not self.dropout:
      return [1.0] * len(like)
    shapes = [
      (len(x), 1, 1, x.shape[-1]) if x.ndim == 4 else x.shape for x in like
    ]
    sizes = [math.prod(shape) for shape in shapes]
    kept = jax.random.bernoulli(
      self.make_rng('dropout'), 1 - self.dropout, (sum(sizes),)
    )
    gains = kept.astype(like[0].dtype) / (1 - self.dropout)
    return [
      part.reshape(shape)
      for part, shape in zip(
        jnp.split(gains, np.cumsum(sizes)[:-1]), shapes, strict=True
      )
    ]
