"""Architectures of the classifiers that judge coherence, as the authors' code.

All are called as (x [B, ...], train=...) and give logits [B, num_classes] from
128 features; those of CelebA from 5 or 7 times their width. With `train`,
dropout is on, which needs the rng 'dropout', and batch normalisation uses the
batch's own statistics.

Differs from the authors' code, whose classifiers of MNIST, SVHN and text end in
a sigmoid, learned by binary cross-entropies: these end in logits, learned by
cross-entropy. The class of the highest is the same question. A flattened image
is in the order height, width, channel; theirs begins with the channel.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjsd_jax.modalities import celeba_image, celeba_text
from mmjsd_jax.modalities.layers import Conv, Dense


class DigitClassifier(nn.Module):
  """Of PolyMNIST: images [B, 28, 28, 3] in [0, 1].

  130,568 parameters for ten classes.

  Attributes:
    num_classes: digits.
    channel_dropout: rate at which whole channels are dropped (Dropout2d).
    dropout: rate in the dense layer.
  """

  num_classes: int = 10
  channel_dropout: float = 0.5
  dropout: float = 0.5

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
    x = images
    for features in (10, 20):  # [B, 14, 14, 10], [B, 7, 7, 20]
      x = Conv(features, 4, stride=2, padding=1)(x)
      x = nn.Dropout(
        self.channel_dropout, broadcast_dims=(1, 2), deterministic=not train
      )(x)
      x = nn.relu(x)
    x = x.reshape(x.shape[0], -1)  # [B, 980]
    x = Dense(128, name='hidden')(x)
    x = nn.relu(nn.Dropout(self.dropout, deterministic=not train)(x))
    return Dense(self.num_classes, name='logits')(x)


class MnistClassifier(nn.Module):
  """Of MNIST: images [B, 28, 28, 1] in [0, 1].

  165,866 parameters for ten classes.

  Differs from the paper (mmJSD, supplement, Table 1), whose padding of 1 does
  not lead to 128 features.

  Attributes:
    num_classes: digits.
    channel_dropout: of no effect; no convolution is followed by dropout.
    dropout: rate among the features.
  """

  num_classes: int = 10
  channel_dropout: float = 0.5
  dropout: float = 0.5

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
    x = images
    for features in (32, 64, 128):  # [B, 13, 13, 32], [B, 5, 5, 64], [B, 1, 1,]
      x = nn.relu(Conv(features, 4, stride=2)(x))
    x = x.reshape(x.shape[0], -1)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_classes, name='logits')(x)


class SvhnClassifier(nn.Module):
  """Of SVHN: images [B, 32, 32, 3] in [0, 1].

  233,066 parameters for ten classes. Dropout stands before batch normalisation
  here, so that the variances seen with and without it differ.

  Attributes:
    num_classes: digits.
    channel_dropout: rate after every convolution; of single values, unlike
      `DigitClassifier`'s.
    dropout: of no effect; the features have none but that.
  """

  num_classes: int = 10
  channel_dropout: float = 0.5
  dropout: float = 0.5

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
    x = images
    # [B, 16, 16, 32], [B, 8, 8, 64], [B, 4, 4, 64], [B, 1, 1, 128]
    for features, padding in ((32, 1), (64, 1), (64, 1), (128, 0)):
      x = Conv(features, 4, stride=2, padding=padding)(x)
      x = nn.Dropout(self.channel_dropout, deterministic=not train)(x)
      x = nn.relu(_batch_norm(train)(x))
    x = x.reshape(x.shape[0], -1)
    return Dense(self.num_classes, name='logits')(x)


class SpriteClassifier(nn.Module):
  """Of dSprites: images [B, 64, 64, 1] in [0, 1].

  Ours: mmJSD's workshop paper does not say what its own was. 560,691 parameters
  for the 19 logits of five factors. It looks at the sprite wherever it lies, 32
  pixels around the centre of what is white, and is told where that is: from
  18,000 images it learns shape and scale to the last (1.00) in 800 steps, and
  knew 0.34 and 0.44 of them after 400 steps without that.

  Attributes:
    num_classes: logits.
    channel_dropout: of no effect; no convolution is followed by dropout.
    dropout: rate among the 128 features.
  """

  num_classes: int = 19
  channel_dropout: float = 0.5
  dropout: float = 0.5

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
    centre, x = _centred(images)  # [B, 2], [B, 32, 32, 1]
    for features in (32, 64):  # [B, 16, 16, 32], [B, 8, 8, 64]
      x = Conv(features, 4, stride=2, padding=1)(x)
      x = nn.relu(_batch_norm(train)(x))
    x = jnp.concatenate([x.reshape(x.shape[0], -1), 4 * centre], axis=1)
    x = nn.relu(Dense(128, name='hidden')(x))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_classes, name='logits')(x)


def _centred(images: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Centres of squared images, -1 to 1, and the 32 x 32 pixels around them."""
  weights = images[..., 0] ** 2 + 1e-6
  total = jnp.sum(weights, axis=(1, 2))
  steps = jnp.arange(64.0)
  centre = jnp.stack(
    [
      jnp.sum(weights, axis=axis) @ steps / total
      for axis in (2, 1)  # the row's, the column's
    ],
    axis=1,
  )
  start = jnp.round(centre).astype(jnp.int32)  # 16 less, in the padded image
  padded = jnp.pad(images, ((0, 0), (16, 16), (16, 16), (0, 0)))
  around = jax.vmap(
    lambda image, at: jax.lax.dynamic_slice(image, (*at, 0), (32, 32, 1))
  )(padded, start)
  return centre / 31.5 - 1, around


class SpriteTextClassifier(nn.Module):
  """Of dSprites' texts: one-hot characters [B, 64, 71].

  Ours, of the same blocks as `TextClassifier`.

  Attributes:
    num_classes: logits.
    channel_dropout: of no effect; no convolution is followed by dropout.
    dropout: rate among the 128 features.
  """

  num_classes: int = 19
  channel_dropout: float = 0.5
  dropout: float = 0.5

  @nn.compact
  def __call__(self, texts: jax.Array, *, train: bool) -> jax.Array:
    x = Conv(64, 1)(texts)  # [B, 64, 64]
    # [B, 32, 64], [B, 16, 64], [B, 8, 128], [B, 4, 128], [B, 1, 128]
    for features, padding in ((64, 1), (64, 1), (128, 1), (128, 1), (128, 0)):
      x = _ResidualBlock(features, padding=padding)(x, train=train)
    x = x.reshape(x.shape[0], -1)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_classes, name='logits')(x)


class TextClassifier(nn.Module):
  """Of text: one-hot characters [B, 8, 71].

  459,850 parameters for ten classes.

  Differs from the paper (mmJSD, supplement, Table 2), whose four residual
  layers are for longer strings.

  Attributes:
    num_classes: words.
    channel_dropout: of no effect; no convolution is followed by dropout.
    dropout: rate among the features.
  """

  num_classes: int = 10
  channel_dropout: float = 0.5
  dropout: float = 0.5

  @nn.compact
  def __call__(self, texts: jax.Array, *, train: bool) -> jax.Array:
    x = Conv(128, 1)(texts)  # [B, 8, 128]
    x = _ResidualBlock(192, padding=1)(x, train=train)  # [B, 4, 192]
    x = _ResidualBlock(128, padding=0)(x, train=train)  # [B, 1, 128]
    x = x.reshape(x.shape[0], -1)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_classes, name='logits')(x)


class CelebaImageClassifier(nn.Module):
  """Of CelebA's images: [B, 64, 64, 3] in [0, 1].

  21,502,632 parameters for 40 attributes at a width of 128.

  Attributes:
    num_classes: attributes, a logit each.
    channel_dropout: rate at which the blocks drop whole channels.
    dropout: rate among the features.
    width: channels of the first convolution.
  """

  num_classes: int = 40
  channel_dropout: float = 0.5
  dropout: float = 0.5
  width: int = 128

  @nn.compact
  def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
    features = celeba_image.Features(
      self.width, self.channel_dropout, name='features'
    )
    x = features(images, train=train)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_classes, name='logits')(x)


class CelebaTextClassifier(nn.Module):
  """Of CelebA's texts: one-hot characters [B, 256, 71].

  16,261,544 parameters for 40 attributes at a width of 128.

  Attributes:
    num_classes: attributes, a logit each.
    channel_dropout: rate at which the blocks drop values.
    dropout: rate among the features.
    width: channels of the first convolution.
  """

  num_classes: int = 40
  channel_dropout: float = 0.5
  dropout: float = 0.5
  width: int = 128

  @nn.compact
  def __call__(self, texts: jax.Array, *, train: bool) -> jax.Array:
    features = celeba_text.Features(
      self.width,
      multiples=(2, 3, 4, 5, 6, 7),
      kernel_size=3,
      dropout=self.channel_dropout,
      name='features',
    )
    x = features(texts, train=train)
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return Dense(self.num_classes, name='logits')(x)


class _ResidualBlock(nn.Module):
  """A shortcut plus 0.3 times a branch; halves the length."""

  features: int
  padding: int

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    y = Conv(x.shape[-1], 1)(nn.relu(_batch_norm(train)(x)))
    y = Conv(self.features, 4, stride=2, padding=self.padding)(
      nn.relu(_batch_norm(train)(y))
    )
    x = Conv(self.features, 4, stride=2, padding=self.padding)(x)
    return _batch_norm(train)(x) + 0.3 * y


def _batch_norm(train: bool) -> nn.BatchNorm:
  """PyTorch's, but for its running variance, which is the unbiased one."""
  return nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=1e-5)
