"""Quality of the images that a model generates, from the prior and from inputs.

Conditional samples are drawn as for coherence: one draw of q(z | x_subset) per
test example, styles from their posterior in the subset and from N(0, I) outside
it, every image the mean of its likelihood. Images are clipped to [0, 1], as
they are in the released code, which writes them to files before it measures.

Real images are all different ones: a test example of MNIST-SVHN-Text shares its
images with others, and a sample's nearest neighbours are not to be itself. The
floor is what as many real training images score in the place of generated ones.

Legend: N images in each set, B batch, M modalities, S subsets.
"""

import contextlib
import functools
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl

from mmjsd_jax import hosts, mixture
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.evaluation import (
  autoencoder,
  chunks,
  features,
  judges,
  neighbours,
  quality,
)
from mmjsd_jax.evaluation.classifier_cache import Classifiers
from mmjsd_jax.evaluation.features import FeatureFn
from mmjsd_jax.evaluation.inception import Inception, inception_features
from mmjsd_jax.evaluation.quality import Quality
from mmjsd_jax.model import Model, Params, Posteriors
from mmjsd_jax.subsets import subset_name
from mmjsd_jax.validation import FEWEST_QUALITY_SAMPLES

# Image modality -> name of features -> what computes them.
FeatureFns = Mapping[str, Mapping[str, FeatureFn]]
Images = dict[str, np.ndarray]  # modality -> float32 [N, H, W, C] in [0, 1]

# Each holds features in float64: 0.5 GB of 10,000 samples of Inception's.
_MAX_THREADS = 4

_log = logging.getLogger(__name__)
_T = TypeVar('_T')


class _Real(NamedTuple):
  """What generated images of one modality are compared with, as features."""

  feature_fn: FeatureFn
  test: np.ndarray
  radii: np.ndarray
  floor: Quality


def make_feature_fns(
  key: jax.Array,
  dataset: Dataset,
  classifiers: Classifiers | None,
  network: Inception | None = None,
) -> FeatureFns:
  """What images are measured on; trains the encoders unless they are cached.

  Args:
    key: PRNG key, consumed.
    dataset: modalities that are not images are left out.
    classifiers: of its modalities, or of some of them.
    network: measures all images, too, if the user gives its weights.

  Returns:
    For every image modality `quality.CLASSIFIER`, where it has one,
    `quality.ENCODER` and, with a network, `quality.INCEPTION`.
  """
  of_all: dict[str, FeatureFn] = {}
  if network is not None:
    of_all[quality.INCEPTION] = inception_features(network.params)
  judged = classifiers.params if classifiers is not None else {}
  return {
    name: {
      **(
        {
          quality.CLASSIFIER: functools.partial(
            _classifier_features, judged[name]
          )
        }
        if name in judged
        else {}
      ),
      quality.ENCODER: autoencoder.encoder_features(
        autoencoder.train_encoder(jax.random.fold_in(key, index), dataset, name)
      ),
      **of_all,
    }
    for index, name in enumerate(dataset.modalities)
    if dataset.train.inputs[name].ndim == 4
  }


def measure_samples(
  key: jax.Array,
  model: Model,
  params: Params,
  train: Split,
  test: Split,
  posteriors: Posteriors,
  subsets: np.ndarray,
  feature_fns: FeatureFns,
  *,
  num_samples: int,
  sampling: str = 'stratified',
  chunk_size: int = 256,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any] | None:
  """The block 'quality' of the metrics, as plain JSON types.

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    train: examples in random order, for the floor; without tables.
    test: examples in random order, for real images and inputs; without tables.
    posteriors: unimodal ones of `test`.
    subsets: membership rows. Bool, shape [S, M].
    feature_fns: the image modalities that are measured, and on what.
    num_samples: N, or as many as both splits have examples that share no image
      with one another.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    chunk_size: images generated per call.
    progress: called with (subsets done, subsets in all).

  Returns:
    'random': modality -> name of features -> `quality.quality_block`;
    'conditional': {'pairs': 'a+b->c' -> name of features -> the same};
    'num_samples': N; 'seconds'. None, with a warning, where there are fewer
    than ten samples.
  """
  clock = time.monotonic()
  chosen = [
    _distinct(s, tuple(feature_fns), num_samples) for s in (train, test)
  ]
  count = min(len(rows) for rows in chosen)
  if count < FEWEST_QUALITY_SAMPLES:
    _log.warning(
      'sample quality needs %d different images, got %d',
      FEWEST_QUALITY_SAMPLES,
      count,
    )
    return None
  train, test = train.take(chosen[0][:count]), test.take(chosen[1][:count])
  posteriors = posteriors.take(chosen[1][:count])
  real = _real(feature_fns, train.inputs, test.inputs)
  key_random, key_conditional = jax.random.split(key)
  images = _from_prior(
    key_random, model, params, tuple(real), count, chunk_size
  )
  random = _blocks(real, images)
  pairs: dict[str, Any] = {}
  for number, row in enumerate(subsets):
    targets = tuple(
      name
      for name, used in zip(model.modalities, row, strict=True)
      if name in real and not used
    )
    if targets:
      images = _from_posterior(
        jax.random.fold_in(key_conditional, number),
        model,
        params,
        posteriors,
        row,
        targets,
        sampling,
        chunk_size,
      )
      source = subset_name(model.modalities, row)
      pairs |= {
        f'{source}->{name}': block
        for name, block in _blocks(real, images).items()
      }
    if progress is not None:
      progress(number + 1, len(subsets))
  return {
    'random': random,
    'conditional': {'pairs': pairs},
    'num_samples': count,
    'seconds': round(time.monotonic() - clock, 1),
  }


def _distinct(
  split: Split, modalities: tuple[str, ...], num_rows: int
) -> np.ndarray:
  """The first examples none of whose images an earlier one has."""
  seen: set[tuple[str, bytes]] = set()
  rows: list[int] = []
  for row in range(len(split.labels)):
    if len(rows) == num_rows:
      break
    images = {(name, split.inputs[name][row].tobytes()) for name in modalities}
    if seen.isdisjoint(images):
      seen |= images
      rows.append(row)
  return np.array(rows, int)


def _real(
  feature_fns: FeatureFns, train: Images, test: Images
) -> dict[str, dict[str, _Real]]:
  """Modality -> name of features -> what generated images are compared with."""

  def measure(feature_fn, of_test, of_train):
    radii = neighbours.squared_radii(of_test)
    floor = quality.measure_floor(of_test, of_train)
    return _Real(feature_fn, of_test, radii, floor)

  with _threads() as pool:
    found = {
      name: {
        kind: pool.submit(
          measure, fn, *(features.extract(fn, x[name]) for x in (test, train))
        )
        for kind, fn in of_modality.items()
      }
      for name, of_modality in feature_fns.items()
    }
  return _results(found)


def _blocks(
  real: Mapping[str, Mapping[str, _Real]], images: Images
) -> dict[str, dict[str, Any]]:
  """Modality -> name of features -> what was measured of generated images."""

  def measure(kind, of_kind, generated):
    measured = quality.measure(
      of_kind.test, generated, real_radii=of_kind.radii
    )
    return quality.quality_block(kind, measured, of_kind.floor)

  with _threads() as pool:
    found = {
      name: {
        kind: pool.submit(
          measure, kind, of_kind, features.extract(of_kind.feature_fn, x)
        )
        for kind, of_kind in real[name].items()
      }
      for name, x in images.items()
    }
  return _results(found)


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
  """For numpy and scikit-learn, which leave Python's lock as they compute.

  What they limit and silence each for itself is one for all threads: it is held
  here until the last of them is done.
  """
  with (
    threadpoolctl.threadpool_limits(1),
    warnings.catch_warnings(),
    ThreadPoolExecutor(min(_MAX_THREADS, os.cpu_count() or 1)) as pool,
  ):
    warnings.filterwarnings('ignore', module='sklearn')
    yield pool


def _results(
  found: Mapping[str, Mapping[str, Future[_T]]],
) -> dict[str, dict[str, _T]]:
  return {
    name: {kind: future.result() for kind, future in of_modality.items()}
    for name, of_modality in found.items()
  }


def _from_prior(
  key: jax.Array,
  model: Model,
  params: Params,
  names: tuple[str, ...],
  num_samples: int,
  chunk_size: int,
) -> Images:
  size = min(chunk_size, num_samples)
  parts = []
  for part, chunk in enumerate(chunks.padded_chunks(num_samples, size)):
    key_part = jax.random.fold_in(key, part)
    found = _draw_prior(key_part, model, params, names=names, num_samples=size)
    parts.append(_first(hosts.fetch(found), chunk.num_valid))
  return {name: np.concatenate([x[name] for x in parts]) for name in names}


def _from_posterior(
  key: jax.Array,
  model: Model,
  params: Params,
  posteriors: Posteriors,
  row: np.ndarray,
  names: tuple[str, ...],
  sampling: str,
  chunk_size: int,
) -> Images:
  num_examples = posteriors.shared.mean.shape[1]
  size = min(chunk_size, num_examples)
  parts = []
  for part, chunk in enumerate(chunks.padded_chunks(num_examples, size)):
    found = _draw(
      jax.random.fold_in(key, part),
      model,
      params,
      chunks.put(posteriors.take(chunk.rows), axis=1),
      row,
      sampling=sampling,
    )
    wanted = {name: found[name] for name in names}
    parts.append(_first(hosts.fetch(wanted), chunk.num_valid))
  return {name: np.concatenate([x[name] for x in parts]) for name in names}


def _first(images: Images, count: int) -> Images:
  return {name: x[:count] for name, x in images.items()}


@functools.partial(jax.jit, static_argnames=('model', 'names', 'num_samples'))
def _draw_prior(
  key: jax.Array,
  model: Model,
  params: Params,
  *,
  names: tuple[str, ...],
  num_samples: int,
) -> dict[str, jax.Array]:
  """Images [B, H, W, C] of draws from N(0, I)."""
  decoded = chunks.spread(model.decode_prior(key, params, num_samples))
  return {name: jnp.clip(decoded[name], 0, 1) for name in names}


@functools.partial(jax.jit, static_argnames=('model', 'sampling'))
def _draw(
  key: jax.Array,
  model: Model,
  params: Params,
  posteriors: Posteriors,
  row: jax.Array,
  *,
  sampling: str,
) -> dict[str, jax.Array]:
  """Images [B, H, W, C] of one draw per example from the subset's posterior.

  Of all modalities, so that it is compiled once for all subsets.
  """
  key_sample, key_styles = jax.random.split(key)
  z = mixture.sample(
    key_sample, model.subset_posterior(posteriors, row), method=sampling
  )
  styles = model.sample_styles(key_styles, posteriors, row)
  decoded = model.decode(params, z, styles)
  return {name: jnp.clip(x, 0, 1) for name, x in decoded.items()}


_classifier_features = jax.jit(judges.features)
