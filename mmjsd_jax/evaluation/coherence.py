"""Coherence: does what is generated show the class that it should?

Protocol of mmJSD (NeurIPS 2020), Sec. 4, and MoPoE (ICLR 2021), Sec. 4 and
App. B: a classifier per modality, trained on real images, judges what the
decoders make of a sample z. Conditional: z ~ q(z | x_subset), and the class is
that of the example; targets outside the subset count. Joint: z ~ N(0, I), and
all modalities must agree.

Differs from the released mmJSD code, whose test of three labels for agreement
also counts samples in which no two agree: three independent digits score 0.82
there and 0.01 here. MoPoE's test is this one.

Legend: B batch, M modalities, S subsets, D shared latent, N examples.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from mmjsd_jax import mixture
from mmjsd_jax.evaluation import chunks
from mmjsd_jax.model import Model, Params, Posteriors

# (key, the classifiers' weights, modality name -> generated data [B, ...]) to
# the class that each modality's classifier sees. int, shape [M, B].
ClassifyFn = Callable[[jax.Array, Any, dict[str, jax.Array]], jax.Array]


class Judges(NamedTuple):
  """The classifiers of all modalities, as functions of their weights.

  Attributes:
    params: the weights.
    classify_fn: in evaluation mode. The same object in every call, since
      programs are compiled for it.
    classify_as_released_fn: in training mode, dropout on, as the authors' code
      leaves them.
  """

  params: Any
  classify_fn: ClassifyFn
  classify_as_released_fn: ClassifyFn


def conditional_coherence(
  predicted: np.ndarray, labels: np.ndarray
) -> np.ndarray:
  """Share of the generated examples that show their class. Shape [...].

  Args:
    predicted: classes that the classifiers see. Shape [..., N].
    labels: classes of the examples generated from. Shape [N].
  """
  if labels.ndim != 1 or predicted.shape[-1:] != labels.shape:
    raise ValueError(
      'labels must have shape [N] and predicted [..., N]; got '
      f'{labels.shape} and {predicted.shape}'
    )
  return np.mean(predicted == labels, axis=-1)


def joint_coherence(predicted: np.ndarray) -> float:
  """Share of the samples whose modalities all show the same class.

  Args:
    predicted: classes that the classifiers see. Shape [M, N].
  """
  if predicted.ndim != 2:
    raise ValueError(f'predicted must have shape [M, N]; got {predicted.shape}')
  return float(np.mean(np.all(predicted == predicted[:1], axis=0)))


def predict_conditional(
  key: jax.Array,
  model: Model,
  params: Params,
  posteriors: Posteriors,
  subsets: np.ndarray,
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  sampling: str = 'stratified',
  chunk_size: int = 256,
  progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
  """Classes of what is generated from every subset. int, shape [S, M, N].

  One sample of the subset's posterior per example, not its mean; every
  modality is the mean of its likelihood at that one sample. Styles are drawn
  from their posterior in the subset, from N(0, I) outside it.

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    posteriors: unimodal ones of N examples.
    subsets: membership rows. Bool, shape [S, M].
    classify_fn: what sees the classes; static, so the same object every time.
    classifiers: weights for `classify_fn`.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    chunk_size: examples per call; one shape is compiled for all subsets.
    progress: called with (calls done, calls in all).
  """
  num_examples = posteriors.shared.mean.shape[1]
  chunk_size = min(chunk_size, num_examples)
  parts = list(chunks.padded_chunks(num_examples, chunk_size))
  found = []
  for part, chunk in enumerate(parts):
    batch = jax.device_put(posteriors.take(chunk.rows))
    key_chunk = jax.random.fold_in(key, part)
    predicted = []
    for number, row in enumerate(subsets):
      predicted.append(
        _predict_from_posterior(
          jax.random.fold_in(key_chunk, number),
          model,
          params,
          batch,
          row,
          classify_fn,
          classifiers,
          sampling=sampling,
        )
      )
      if progress is not None:
        progress(part * len(subsets) + number + 1, len(parts) * len(subsets))
    found.append(np.stack(jax.device_get(predicted))[..., : chunk.num_valid])
  return np.concatenate(found, axis=-1)


def predict_joint(
  key: jax.Array,
  model: Model,
  params: Params,
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  num_samples: int,
  chunk_size: int = 256,
) -> np.ndarray:
  """Classes of what is generated from z ~ N(0, I). int, shape [M, N].

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    classify_fn: what sees the classes; static, so the same object every time.
    classifiers: weights for `classify_fn`.
    num_samples: N.
    chunk_size: samples per call.
  """
  chunk_size = min(chunk_size, num_samples)
  found = []
  for part, chunk in enumerate(chunks.padded_chunks(num_samples, chunk_size)):
    predicted = _predict_from_prior(
      jax.random.fold_in(key, part),
      model,
      params,
      classify_fn,
      classifiers,
      num_samples=chunk_size,
    )
    found.append(np.asarray(predicted)[:, : chunk.num_valid])
  return np.concatenate(found, axis=-1)


def predict_data(
  key: jax.Array,
  model: Model,
  inputs: dict[str, np.ndarray],
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  chunk_size: int = 256,
) -> np.ndarray:
  """Classes of real data, for the ceiling of coherence. int, shape [M, N].

  Args:
    key: PRNG key, consumed.
    model: whose modalities turn stored data into what decoders give.
    inputs: modality name -> data as stored. Shape [N, ...].
    classify_fn: what sees the classes; static, so the same object every time.
    classifiers: weights for `classify_fn`.
    chunk_size: examples per call.
  """
  num_examples = len(inputs[model.modalities[0]])
  chunk_size = min(chunk_size, num_examples)
  found = []
  for part, chunk in enumerate(chunks.padded_chunks(num_examples, chunk_size)):
    predicted = _predict_from_data(
      jax.random.fold_in(key, part),
      model,
      {name: inputs[name][chunk.rows] for name in model.modalities},
      classify_fn,
      classifiers,
    )
    found.append(np.asarray(predicted)[:, : chunk.num_valid])
  return np.concatenate(found, axis=-1)


@functools.partial(
  jax.jit, static_argnames=('model', 'classify_fn', 'sampling')
)
def _predict_from_posterior(
  key: jax.Array,
  model: Model,
  params: Params,
  posteriors: Posteriors,
  row: jax.Array,
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  sampling: str,
) -> jax.Array:
  """Classes [M, B] of one sample per example from the subset's posterior."""
  key_sample, key_classify, key_styles = jax.random.split(key, 3)
  z = mixture.sample(
    key_sample, model.subset_posterior(posteriors, row), method=sampling
  )
  styles = model.sample_styles(key_styles, posteriors, row)
  return classify_fn(key_classify, classifiers, model.decode(params, z, styles))


@functools.partial(
  jax.jit, static_argnames=('model', 'classify_fn', 'num_samples')
)
def _predict_from_prior(
  key: jax.Array,
  model: Model,
  params: Params,
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  num_samples: int,
) -> jax.Array:
  """Classes [M, B] of samples from N(0, I)."""
  key_sample, key_classify = jax.random.split(key)
  decoded = model.decode_prior(key_sample, params, num_samples)
  return classify_fn(key_classify, classifiers, decoded)


@functools.partial(jax.jit, static_argnames=('model', 'classify_fn'))
def _predict_from_data(
  key: jax.Array,
  model: Model,
  inputs: dict[str, jax.Array],
  classify_fn: ClassifyFn,
  classifiers: Any,
) -> jax.Array:
  """Classes [M, B] of data as stored."""
  data = {
    modality.name: modality.to_float(inputs[modality.name])
    for modality in model.modality_list
  }
  return classify_fn(key, classifiers, data)
