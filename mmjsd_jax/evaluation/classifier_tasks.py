"""What a classifier is for each kind of data: its network, its way to the data.

The kind is told by the shape of one item, so that a network goes with what it
can read, whatever the data set and the modality are called.

B batch.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjsd_jax.evaluation.classifier_networks import (
  CelebaImageClassifier,
  CelebaTextClassifier,
  DigitClassifier,
  MnistClassifier,
  SpriteClassifier,
  SpriteTextClassifier,
  SvhnClassifier,
  TextClassifier,
)
from mmjsd_jax.modalities import (
  celeba_image,
  celeba_text,
  mnist_image,
  polymnist_image,
  svhn_image,
  text,
)
from mmjsd_jax.model import pixels_to_float

# Of CelebA's classifiers; the authors' have 128, and take 16 times as long. The
# same for models of any width, which so have the same judges.
CELEBA_WIDTH = 32


class Task(NamedTuple):
  """One kind of data.

  Attributes:
    stored_shape: of one item as stored.
    shape: of one item as networks see it, and as decoders give it.
    network: makes the classifier from (num_classes, channel_dropout, dropout).
    to_float: stored items [B, ...] to what the network reads.
    from_decoded: what a decoder gives, or data through `to_float`, to what the
      network reads.
    from_decoded_as_released: the same in the authors' code.
    at_access: (key, stored items) to stored items, drawn anew whenever an
      example is looked at, in training and in tests.
    augment: (key, what the network reads) to the same, in training only.
    min_steps: of training, where few data would give fewer.
  """

  stored_shape: tuple[int, ...]
  shape: tuple[int, ...]
  network: Callable[..., nn.Module]
  to_float: Callable[[jax.Array], jax.Array]
  from_decoded: Callable[[jax.Array], jax.Array]
  from_decoded_as_released: Callable[[jax.Array], jax.Array]
  at_access: Callable[[jax.Array, jax.Array], jax.Array] | None = None
  augment: Callable[[jax.Array, jax.Array], jax.Array] | None = None
  min_steps: int = 500


def reads(items: np.ndarray) -> bool:
  """Whether there is a classifier of such stored items.

  Vectors of as many floats as a text has characters are no text.
  """
  stored = tuple(task.stored_shape for task in _TASKS)
  is_image = items.ndim == 4
  return items.shape[1:] in stored and (is_image or items.dtype == np.uint8)


def task_of(shape: tuple[int, ...]) -> Task:
  """The task of items of that shape, stored or not.

  Raises:
    ValueError: no classifier reads such items.
  """
  for task in _TASKS:
    if tuple(shape) in (task.stored_shape, task.shape):
      return task
  known = ', '.join(str(task.stored_shape) for task in _TASKS)
  raise ValueError(
    f'expected items that a classifier reads, of one of the shapes {known}; got'
    f' {tuple(shape)}'
  )


def shift(key: jax.Array, images: jax.Array) -> jax.Array:
  """Images moved by up to two pixels along either axis; edges are repeated."""
  batch, height, width, _ = images.shape
  padded = jnp.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode='edge')
  start = jax.random.randint(key, (batch, 2, 1), 0, 5)
  rows = start[:, 0] + jnp.arange(height).reshape(1, -1)  # [B, H]
  columns = start[:, 1] + jnp.arange(width).reshape(1, -1)  # [B, W]
  return padded[
    jnp.arange(batch).reshape(-1, 1, 1),
    rows.reshape(batch, -1, 1),
    columns.reshape(batch, 1, -1),
  ]


def mirror(key: jax.Array, images: jax.Array) -> jax.Array:
  """Every other image from right to left, at random."""
  mirrored = jax.random.bernoulli(key, 0.5, (len(images), 1, 1, 1))
  return jnp.where(mirrored, images[:, :, ::-1], images)


def shift_and_invert(key: jax.Array, images: jax.Array) -> jax.Array:
  """`shift`, and the negative of every other image: 1 - x.

  A house number is as often light on dark as dark on light.
  """
  key_shift, key_invert = jax.random.split(key)
  inverted = jax.random.bernoulli(key_invert, 0.5, (len(images), 1, 1, 1))
  images = shift(key_shift, images)
  return jnp.where(inverted, 1 - images, images)


def one_hot(logits: jax.Array) -> jax.Array:
  """One-hot of the likeliest symbols. Shape [..., symbols].

  Differs from the authors' code, which has classifiers read probabilities
  though they have learned from one-hot text; see `probabilities`.
  """
  return jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1])


def probabilities(logits: jax.Array) -> jax.Array:
  """Probabilities of the symbols; one-hot rows are data, and stay. [...]."""
  largest = jnp.max(logits, axis=-1, keepdims=True)
  others = jnp.sum(jnp.abs(logits), axis=-1, keepdims=True)
  is_one_hot = (largest == 1) & (others == 1)
  return jnp.where(is_one_hot, logits, jax.nn.softmax(logits))


def _unchanged(x: jax.Array) -> jax.Array:
  return x


_TASKS = (
  Task(
    polymnist_image.IMAGE_SHAPE,
    polymnist_image.IMAGE_SHAPE,
    DigitClassifier,
    pixels_to_float,
    _unchanged,
    _unchanged,
  ),
  Task(
    mnist_image.IMAGE_SHAPE,
    mnist_image.IMAGE_SHAPE,
    MnistClassifier,
    pixels_to_float,
    _unchanged,
    _unchanged,
    augment=shift,
    min_steps=1000,
  ),
  Task(
    svhn_image.IMAGE_SHAPE,
    svhn_image.IMAGE_SHAPE,
    SvhnClassifier,
    pixels_to_float,
    _unchanged,
    _unchanged,
    augment=shift_and_invert,
    min_steps=1200,
  ),
  Task(
    (text.LENGTH,),
    (text.LENGTH, text.NUM_SYMBOLS),
    TextClassifier,
    text.to_float,
    one_hot,
    probabilities,
    at_access=text.place,
    min_steps=200,
  ),
  Task(
    celeba_image.IMAGE_SHAPE,
    celeba_image.IMAGE_SHAPE,
    functools.partial(CelebaImageClassifier, width=CELEBA_WIDTH),
    pixels_to_float,
    _unchanged,
    _unchanged,
    augment=mirror,
  ),
  Task(
    (celeba_text.LENGTH,),
    (celeba_text.LENGTH, text.NUM_SYMBOLS),
    functools.partial(CelebaTextClassifier, width=CELEBA_WIDTH),
    text.to_float,
    one_hot,
    probabilities,
    min_steps=1000,
  ),
  Task(
    (64, 64, 1),
    (64, 64, 1),
    SpriteClassifier,
    pixels_to_float,
    _unchanged,
    _unchanged,
    min_steps=1000,
  ),
  Task(
    (64,),
    (64, text.NUM_SYMBOLS),
    SpriteTextClassifier,
    text.to_float,
    one_hot,
    probabilities,
    at_access=text.place_in_stars,
    min_steps=300,
  ),
)
