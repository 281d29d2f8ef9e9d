"""The label-free encoder: features that see more of an image than its digit.

A digit classifier is trained to overlook background, colour and stroke, so what
it reads says little on how well they are generated. Here is the encoder of a
small autoencoder of real training images, which keeps what it takes to draw
them again.

Its features are the code, which holds what is where, beside the mean and the
standard deviation over positions of the last feature maps, which tell sharp
from blurred; the code alone hardly does. Each of the two groups is shifted and
scaled by what real training images have, to a variance of 1 on average, so that
they weigh alike and a distance has the same unit for every data set. It is one
scale for all of a group, since a unit that is all but dead on real images would
be blown up by a scale of its own.

Legend: B batch, H rows, W columns, C channels, D features.
"""

import functools
import hashlib
import json
import logging
import os
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from mmjsd_jax import files
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.evaluation import features, weights
from mmjsd_jax.modalities.layers import Conv, ConvTranspose, Dense

# Part of every cache file's name: raise it with any change to what is trained.
_VERSION = 1
# Real training images that the features' scale comes from, at most.
_NUM_SCALED = 5000
_log = logging.getLogger(__name__)


class LabelFreeEncoder(NamedTuple):
  """A trained encoder of one modality.

  Attributes:
    params: of an `Encoder`.
    mean: of every feature on real training images. Shape [D].
    scale: that every feature is divided by. Shape [D].
    explained_variance: share of the pixels' variance over training images that
      the autoencoder draws again; at most 1. Scalar.
  """

  params: Any
  mean: jax.Array
  scale: jax.Array
  explained_variance: jax.Array


class Encoder(nn.Module):
  """Images [B, H, W, C] in [0, 1] to their code, and statistics of the maps.

  Returns [B, code_dim] and [B, 4 width].
  """

  width: int = 16
  code_dim: int = 64

  @nn.compact
  def __call__(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = nn.relu(Conv(self.width, 4, stride=2, padding=1)(images))
    x = nn.relu(Conv(2 * self.width, 4, stride=2, padding=1)(x))
    statistics = [x.mean(axis=(1, 2)), x.std(axis=(1, 2))]
    code = Dense(self.code_dim, name='code')(x.reshape(x.shape[0], -1))
    return code, jnp.concatenate(statistics, axis=1)


class Decoder(nn.Module):
  """Codes [B, code_dim] to images of `shape` (H, W, C)."""

  shape: tuple[int, int, int]
  width: int = 16

  @nn.compact
  def __call__(self, code: jax.Array) -> jax.Array:
    rows, columns, channels = self.shape
    maps = (rows // 4, columns // 4, 2 * self.width)
    x = nn.relu(Dense(int(np.prod(maps)))(code)).reshape(-1, *maps)
    x = nn.relu(ConvTranspose(self.width, 4, stride=2, padding=1)(x))
    return ConvTranspose(channels, 4, stride=2, padding=1)(x)


def encoder_features(encoder: LabelFreeEncoder) -> features.FeatureFn:
  """The encoder as a function of images [B, H, W, C] in [0, 1]."""
  return functools.partial(_encode, encoder.params, encoder.mean, encoder.scale)


def train_encoder(
  key: jax.Array,
  dataset: Dataset,
  modality: str,
  *,
  num_steps: int = 400,
  batch_size: int = 64,
  peak_learning_rate: float = 3e-3,
  cache_dir: str | os.PathLike[str] | None = None,
) -> LabelFreeEncoder:
  """Trains the encoder of a modality, or reads it from the cache.

  Adam on the squared error; the learning rate rises for a fifth of the steps
  and falls to zero as a cosine. Rows are drawn with replacement. No label is
  seen.

  Args:
    key: PRNG key, consumed; the result is a function of it and of the data.
    dataset: learned from its training split.
    modality: one of images, H and W multiples of four.
    num_steps: of the optimiser.
    batch_size: images per step.
    peak_learning_rate: the highest.
    cache_dir: None is `encoders` in `files.cache_dir()`. A damaged file there
      is reported as a warning, and trained anew.

  Raises:
    ValueError: a modality that is not there or not of such images, or a
      setting out of range.
  """
  if modality not in dataset.modalities:
    raise ValueError(
      f'expected one of the modalities {dataset.modalities}, got {modality!r}'
    )
  images = dataset.train.items_of(modality)
  if images.ndim != 4 or images.shape[1] % 4 or images.shape[2] % 4:
    raise ValueError(
      'expected images [N, H, W, C], H and W multiples of 4, got'
      f' {images.shape} for {modality}'
    )
  if num_steps < 1 or batch_size < 1:
    raise ValueError(
      'expected a step and an image per batch at least, got'
      f' {num_steps} steps on batches of {batch_size}'
    )
  recipe = {
    'version': _VERSION,
    'data': dataset.fingerprint,
    'modality': modality,
    'key': [str(key.dtype), *jax.random.key_data(key).ravel().tolist()],
    'num_steps': num_steps,
    'batch_size': batch_size,
    'peak_learning_rate': peak_learning_rate,
  }
  name = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:20]
  folder = pathlib.Path(cache_dir or files.cache_dir() / 'encoders')
  path = folder / f'{name}.npz'
  found = weights.read(path, _shapes(images.shape[1:]))
  if found is not None:
    return jax.tree.map(jnp.asarray, found)

  clock = time.monotonic()
  trained = _train(
    key,
    jnp.asarray(images),
    num_steps=num_steps,
    batch_size=batch_size,
    peak_learning_rate=peak_learning_rate,
  )
  encoder = _scaled(trained, images)
  _log.info(
    'label-free encoder of %s: %.3f of the variance, trained in %.0f s',
    modality,
    encoder.explained_variance,
    time.monotonic() - clock,
  )
  weights.write(path, encoder)
  return encoder


def _shapes(image_shape: tuple[int, ...]) -> LabelFreeEncoder:
  """What arrays an encoder of such images has."""
  image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)

  def make(image: jax.Array) -> LabelFreeEncoder:
    params = Encoder().init(jax.random.key(0), image)['params']
    one = _raw(params, image)[0]
    return LabelFreeEncoder(params, one, one, one[0])

  return jax.eval_shape(make, image)


@functools.partial(
  jax.jit, static_argnames=('num_steps', 'batch_size', 'peak_learning_rate')
)
def _train(
  key: jax.Array,
  images: jax.Array,
  *,
  num_steps: int,
  batch_size: int,
  peak_learning_rate: float,
) -> dict[str, Any]:
  """Parameters of encoder and decoder; all images stay on the device."""
  key_encoder, key_decoder, key_steps = jax.random.split(key, 3)
  _, rows, columns, channels = images.shape
  encoder, decoder = Encoder(), Decoder((rows, columns, channels))
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(
      init_value=peak_learning_rate / 25,
      peak_value=peak_learning_rate,
      warmup_steps=num_steps // 5,
      decay_steps=num_steps,
    )
  )

  def loss(params: dict[str, Any], batch: jax.Array) -> jax.Array:
    code: Any
    code, _ = encoder.apply({'params': params['encoder']}, batch)
    drawn: Any = decoder.apply({'params': params['decoder']}, code)
    return jnp.mean(jnp.sum((drawn - batch) ** 2, axis=(1, 2, 3)))

  def step(
    index: jax.Array, state: tuple[dict[str, Any], optax.OptState]
  ) -> tuple[dict[str, Any], optax.OptState]:
    params, optimizer_state = state
    key = jax.random.fold_in(key_steps, index)
    batch = jax.random.randint(key, (batch_size,), 0, len(images))
    grads = jax.grad(loss)(params, features.to_float(images[batch]))
    updates, optimizer_state = optimizer.update(grads, optimizer_state)
    return optax.apply_updates(params, updates), optimizer_state

  first = features.to_float(images[:1])
  (code, _), variables = encoder.init_with_output(key_encoder, first)
  params = {
    'encoder': variables['params'],
    'decoder': decoder.init(key_decoder, code)['params'],
  }
  state = (params, optimizer.init(params))
  return jax.lax.fori_loop(0, num_steps, step, state)[0]


def _scaled(trained: dict[str, Any], images: np.ndarray) -> LabelFreeEncoder:
  """Shift, scale and explained variance from some of the training images."""
  chosen = np.linspace(
    0, len(images) - 1, min(len(images), _NUM_SCALED), dtype=int
  )
  some = images[chosen]
  raw = features.extract(functools.partial(_raw, trained['encoder']), some)
  variance = raw.var(axis=0)
  scale = np.ones(raw.shape[1], np.float32)
  for group in (slice(Encoder.code_dim), slice(Encoder.code_dim, None)):
    # Images that are all the same leave nothing to scale.
    scale[group] = np.sqrt(variance[group].mean()) or 1
  errors = features.extract(functools.partial(_errors, trained), some)
  total = np.asarray(features.to_float(some)).var(axis=0).sum() or 1
  return LabelFreeEncoder(
    trained['encoder'],
    jnp.asarray(raw.mean(axis=0)),
    jnp.asarray(scale),
    jnp.float32(1 - errors.mean() / total),
  )


@jax.jit
def _encode(
  params: Any, mean: jax.Array, scale: jax.Array, images: jax.Array
) -> jax.Array:
  """Shape [B, D]."""
  return (_raw(params, images) - mean[None]) / scale[None]


@jax.jit
def _raw(params: Any, images: jax.Array) -> jax.Array:
  """Features as they come. Shape [B, D]."""
  groups: Any = Encoder().apply({'params': params}, images)
  return jnp.concatenate(groups, axis=1)


@jax.jit
def _errors(trained: dict[str, Any], images: jax.Array) -> jax.Array:
  """Squared error of every image. Shape [B, 1]."""
  code: Any
  code, _ = Encoder().apply({'params': trained['encoder']}, images)
  decoder = Decoder((images.shape[1], images.shape[2], images.shape[3]))
  drawn: Any = decoder.apply({'params': trained['decoder']}, code)
  return jnp.sum((drawn - images) ** 2, axis=(1, 2, 3))[:, None]
