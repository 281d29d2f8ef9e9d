"""Encoder and decoder of the text in MNIST-SVHN-Text.

The networks of Sutter et al. 2020 (mmJSD) for strings of 8 characters, as their
code has them; MoPoE has the same. With 20 latent dimensions the encoder has
145,704 parameters, the decoder 143,175.

B batch, D latent dimensions. A text is stored as character codes [8], and is
one-hot over 71 symbols, [8, 71], to the networks.

Differs from the paper (supplement, Table 7), which puts a ReLU after every
layer and calls the last one transposed: in the code the heads, the decoder's
first layer and its output have none, and the last layer is an ordinary
convolution.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense

LENGTH = 8
NUM_SYMBOLS = 71
BLANK = 69  # the code that fills a text up
STAR = 55  # that of texts with blanks in them
_FEATURES = 128


class Encoder(nn.Module):
  """One-hot texts [B, 8, 71] to the posterior q(z | x), [B, D]."""

  latent_dim: int
  backend: str | None = None  # of the convolutions; None: by device

  @nn.compact
  def __call__(self, texts: jax.Array) -> Gaussian:
    if texts.ndim != 3 or texts.shape[1:] != (LENGTH, NUM_SYMBOLS):
      raise ValueError(
        f'expected one-hot texts of shape [B, {LENGTH}, {NUM_SYMBOLS}], got'
        f' {texts.shape}'
      )
    x = nn.relu(Conv(_FEATURES, 1, backend=self.backend)(texts))
    for padding in (1, 0):  # [B, 4, 128], [B, 1, 128]
      x = Conv(_FEATURES, 4, stride=2, padding=padding, backend=self.backend)(x)
      x = nn.relu(x)
    x = x.reshape(x.shape[0], -1)
    return Gaussian(
      mean=Dense(self.latent_dim, name='mean')(x),
      log_var=Dense(self.latent_dim, name='log_var')(x),
    )


class Decoder(nn.Module):
  """Latents [..., D] to the logits of p(x | z), [..., 8, 71].

  Attributes:
    as_released: the logits' meaning in the authors' code, which hands log
      probabilities to a distribution that takes probabilities: with l_i =
      -log softmax(raw)_i, symbol i has the probability l_i / sum_j l_j. What
      is returned then is log l, whose softmax that is. A symbol becomes likely
      where the raw outputs make it *un*likely, and only slowly: for 0.99 its l
      must be 99 times the sum of all others.
    backend: of the convolutions; None chooses by device.
  """

  as_released: bool = False
  backend: str | None = None

  @nn.compact
  def __call__(self, z: jax.Array) -> jax.Array:
    x = z.reshape(-1, z.shape[-1])
    x = Dense(_FEATURES, name='hidden')(x).reshape(-1, 1, _FEATURES)
    for stride, padding in ((1, 0), (2, 1)):  # [B, 4, 128], [B, 8, 128]
      x = ConvTranspose(
        _FEATURES, 4, stride=stride, padding=padding, backend=self.backend
      )(x)
      x = nn.relu(x)
    x = Conv(NUM_SYMBOLS, 1, backend=self.backend)(x)
    if self.as_released:
      x = inverted(x)
    return x.reshape(*z.shape[:-1], LENGTH, NUM_SYMBOLS)


def inverted(raw: jax.Array) -> jax.Array:
  """Logits of the authors' distribution, log l; see `Decoder`. [...]."""
  # Rounding makes l zero for a symbol of probability one.
  return jnp.log(jnp.maximum(-nn.log_softmax(raw), jnp.finfo(raw.dtype).tiny))


def place(
  key: jax.Array, codes: jax.Array, *, filler: int = BLANK
) -> jax.Array:
  """Texts with their words moved to a random start. Shape [B, length].

  The start is uniform on 0, .., length - 1 - len(word), as in the authors'
  code, drawn anew at every access: the last position stays empty. Only a word
  that fills the text stays where it is.

  Args:
    key: PRNG key, consumed.
    codes: words at the left, the filler behind. Integers, shape [B, length].
    filler: its code, which no word ends with.
  """
  if codes.ndim != 2:
    raise ValueError(f'expected codes of shape [B, length], got {codes.shape}')
  length = codes.shape[-1]
  position = jnp.arange(length).reshape(1, -1)
  num_characters = jnp.max(jnp.where(codes == filler, 0, position + 1), axis=-1)
  start = jax.random.randint(
    key, num_characters.shape, 0, jnp.maximum(length - num_characters, 1)
  )
  source = (position - start.reshape(-1, 1)) % length
  return jnp.take_along_axis(codes, source, axis=-1)


# One object, so that models of it are equal.
place_in_stars = functools.partial(place, filler=STAR)


def to_float(codes: jax.Array, *, num_symbols: int = NUM_SYMBOLS) -> jax.Array:
  """One-hot float32 [..., length, num_symbols] of codes [..., length].

  Floats, which are one-hot already, are passed on.
  """
  if jnp.issubdtype(codes.dtype, jnp.floating):
    return codes
  return jax.nn.one_hot(codes, num_symbols, dtype=jnp.float32)
