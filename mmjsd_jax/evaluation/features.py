"""What sample quality is measured on: features of images.

A network is anything that turns images into vectors: a trained digit classifier
(`classifier_features`), an encoder trained without labels (`autoencoder.py`),
or one that the user has the weights of (`inception.py`).

Legend: N images, H rows, W columns, C channels, D features.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import ArrayLike

from mmjsd_jax import hosts
from mmjsd_jax.evaluation import chunks

# Images [B, H, W, C], float32 in [0, 1] -> features [B, D].
FeatureFn = Callable[[jax.Array], ArrayLike]
# (parameters, images [B, H, W, C]) -> logits.
PredictFn = Callable[[Any, jax.Array], jax.Array]


def extract(
  feature_fn: FeatureFn, images: np.ndarray, *, chunk_size: int = 500
) -> np.ndarray:
  """Features of images. float32, shape [N, D].

  Args:
    feature_fn: the network; called on `chunk_size` images at a time, always as
      many, so that it is compiled once.
    images: uint8 in [0, 255] or floats in [0, 1]. Shape [N, H, W, C].
    chunk_size: images per call; fewer where there are fewer, and more where
      devices share them.

  Raises:
    ValueError: images of another shape, or features that are not [B, D].
  """
  if images.ndim != 4 or not len(images):
    raise ValueError(f'expected images [N, H, W, C], got {images.shape}')
  parts = []
  size = chunks.shared_size(min(chunk_size, len(images)))
  for chunk in chunks.padded_chunks(len(images), size):
    found = feature_fn(to_float(chunks.put(images[chunk.rows])))
    found = np.asarray(hosts.fetch(found), np.float32)
    if found.ndim != 2 or len(found) != size:
      raise ValueError(
        f'expected features of shape [{size}, D] of {size} images, got'
        f' {found.shape}'
      )
    parts.append(found[: chunk.num_valid])
  return np.concatenate(parts)


def classifier_features(predict_fn: PredictFn, params: Any) -> FeatureFn:
  """What a classifier's last layer, named 'logits', reads.

  Args:
    predict_fn: applies a Flax module, such as `classifiers.predict`.
    params: its weights.
  """
  return functools.partial(_before_logits, predict_fn, params)


def to_float(images: ArrayLike) -> jax.Array:
  """float32 in [0, 1] from that, or from uint8."""
  array = jnp.asarray(images)
  scale = 255 if array.dtype == jnp.uint8 else 1
  return array.astype(jnp.float32) / scale


def check_sets(
  real: np.ndarray, generated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Two sets of features in float64, if they can be compared.

  Args:
    real: Shape [N, D].
    generated: Shape [N', D].

  Raises:
    ValueError: other shapes, less than two samples, or values not finite.
  """
  real, generated = np.asarray(real, float), np.asarray(generated, float)
  for name, x in (('real', real), ('generated', generated)):
    if x.ndim != 2 or len(x) < 2 or not x.shape[1]:
      raise ValueError(
        f'expected {name} features of shape [N, D], N at least 2, got {x.shape}'
      )
    if not np.isfinite(x).all():
      num_bad = np.sum(~np.isfinite(x).all(axis=1))
      raise ValueError(
        f'expected finite {name} features, got {num_bad} rows of {len(x)} that'
        ' are not'
      )
  if real.shape[1] != generated.shape[1]:
    raise ValueError(
      'expected as many features of generated as of real samples, got'
      f' {generated.shape[1]} and {real.shape[1]}'
    )
  return real, generated


@functools.partial(jax.jit, static_argnums=0)
def _before_logits(
  predict_fn: PredictFn, params: Any, images: jax.Array
) -> jax.Array:
  """Shape [B, D]."""
  seen: list[jax.Array] = []

  def intercept(
    method: Callable, args: tuple, kwargs: dict, context: Any
  ) -> Any:
    if context.module.name == 'logits' and context.method_name == '__call__':
      seen.append(args[0])
    return method(*args, **kwargs)

  with nn.intercept_methods(intercept):
    predict_fn(params, images)
  if len(seen) != 1:
    raise ValueError(
      f"expected a classifier with one layer 'logits', got {len(seen)}"
    )
  return seen[0]
