"""Coherence: does what is generated show the class that it should?

Protocol of mmJSD (NeurIPS 2020), Sec. 4, and MoPoE (ICLR 2021), Sec. 4 and
App. B: a classifier per modality, trained on real images, judges what the
decoders make of a sample z. Conditional: z ~ q(z | x_subset), and the class is
that of the example; targets outside the subset count. Joint: z ~ N(0, I), and
all modalities must agree.

Differs from the released mmJSD code, whose test of three labels for agreement
also counts samples in which no two agree (`joint_parity_as_released`): three
independent digits score 0.82 there and 0.01 here. MoPoE's test is this one.

Text is judged by its likeliest characters; beside that by a draw of p(x | z),
and without a classifier: `exact_match`. Where the latents leave open at which
place a word starts, p(x | z) is a mixture over places, whose likeliest
characters may all be blanks; a draw is not.

Legend: B batch, M modalities, S subsets, D shared latent, N examples, L
characters to a text.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import hosts, mixture
from mmjsd_jax.data import text
from mmjsd_jax.evaluation import chunks, samplers
from mmjsd_jax.evaluation.samplers import Sampler
from mmjsd_jax.model import Model, Params, Posteriors

# (key, the classifiers' weights, modality name -> generated data [B, ...]) to
# the class that each modality's classifier sees. int, shape [M, B]; modalities
# that have no classifier are left out. Of several factors it gives its logits,
# [M, L, B]; whatever is here as [..., N] then is [..., L, N].
ClassifyFn = Callable[[jax.Array, Any, dict[str, jax.Array]], jax.Array]


class Judges(NamedTuple):
  """The classifiers of all modalities, as functions of their weights.

  Attributes:
    params: the weights.
    classify_fn: in evaluation mode. The same object in every call, since
      programs are compiled for it.
    classify_as_released_fn: in training mode, dropout on, as the authors' code
      leaves them.
    left_out: modalities that have no classifier, and why.
  """

  params: Any
  classify_fn: ClassifyFn
  classify_as_released_fn: ClassifyFn
  left_out: Mapping[str, str] = MappingProxyType({})


class Conditional(NamedTuple):
  """What is seen in what is generated from S subsets.

  Attributes:
    classes: that the classifiers see. int, shape [S, M, N].
    codes: text modality -> its likeliest characters, as places in
      `text.ALPHABET`. uint8, shape [S, N, L].
    drawn: text modality -> class that its classifier sees in a draw of
      p(x | z). int, shape [S, N].
  """

  classes: np.ndarray
  codes: dict[str, np.ndarray]
  drawn: dict[str, np.ndarray]


def conditional_coherence(
  predicted: np.ndarray, labels: np.ndarray, counted: np.ndarray | None = None
) -> np.ndarray:
  """Share of the generated examples that show their class. Shape [...].

  Args:
    predicted: classes that the classifiers see. Shape [..., N].
    labels: classes of the examples generated from. Shape [N].
    counted: which examples count, or None for all; NaN is the share of none.
      Bool, of predicted's rank, with axes of length one where it is the same.
  """
  if labels.ndim != 1 or predicted.shape[-1:] != labels.shape:
    raise ValueError(
      'labels must have shape [N] and predicted [..., N]; got '
      f'{labels.shape} and {predicted.shape}'
    )
  return _share(predicted == labels, counted)


def joint_coherence(predicted: np.ndarray) -> float:
  """Share of the samples whose modalities all show the same class.

  Args:
    predicted: classes that the classifiers see. Shape [M, N].
  """
  if predicted.ndim != 2:
    raise ValueError(f'predicted must have shape [M, N]; got {predicted.shape}')
  return float(np.mean(np.all(predicted == predicted[:1], axis=0)))


def joint_parity_as_released(predicted: np.ndarray) -> float:
  """Share of the samples with (m_0 == m_1) == (m_0 == m_2), of three labels m.

  What the released mmJSD code prints as coherence of random samples, and the
  paper as 'Random' (Tables 2 and 10). It also counts samples in which neither
  comparison holds: independent uniform digits have 0.1^2 + 0.9^2 = 0.82.

  Args:
    predicted: classes that the classifiers see. Shape [3, N].
  """
  if predicted.ndim != 2 or len(predicted) != 3:
    raise ValueError(f'predicted must have shape [3, N]; got {predicted.shape}')
  first, second, third = predicted
  return float(np.mean((first == second) == (first == third)))


def exact_match(
  generated: np.ndarray, real: np.ndarray, counted: np.ndarray | None = None
) -> np.ndarray:
  """Share of the generated texts that read as the real ones do. Shape [...].

  Blanks before and behind do not count, so a word may start anywhere.

  Args:
    generated: places in `text.ALPHABET`. Integers, shape [..., N, L].
    real: those of the examples generated from. Integers, shape [N, L].
    counted: as of `conditional_coherence`. Shape [..., N].
  """
  if real.ndim != 2 or generated.shape[-2:] != real.shape:
    raise ValueError(
      'real must have shape [N, L] and generated [..., N, L]; got '
      f'{real.shape} and {generated.shape}'
    )
  words = text.decode(generated.reshape(-1, real.shape[-1]))
  spelled = np.reshape(np.array(words), generated.shape[:-1])
  return _share(spelled == np.array(text.decode(real)), counted)


def _share(right: np.ndarray, counted: np.ndarray | None) -> np.ndarray:
  """Of those counted, along the last axis; NaN of none."""
  if counted is None:
    return np.mean(right, axis=-1)
  total = np.sum(counted, axis=-1)
  found = np.sum(right & counted, axis=-1)
  return np.where(total > 0, found / np.maximum(total, 1), np.nan)


def predict_conditional(
  key: jax.Array,
  model: Model,
  params: Params,
  posteriors: Posteriors,
  subsets: np.ndarray,
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  judged: tuple[str, ...] | None = None,
  sampling: str = 'stratified',
  own_styles: bool = True,
  chunk_size: int = 256,
  progress: Callable[[int, int], None] | None = None,
) -> Conditional:
  """Classes, and texts, of what is generated from every subset.

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
    judged: the modalities that it judges; None is all.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    own_styles: False draws the styles of inputs from N(0, I), too, as the
      authors' code does, so that reconstructions show what z alone holds.
    chunk_size: examples per call; one shape is compiled for all subsets.
    progress: called with (calls done, calls in all).
  """
  num_examples = posteriors.shared.mean.shape[1]
  chunk_size = min(chunk_size, num_examples)
  parts = list(chunks.padded_chunks(num_examples, chunk_size))
  found = []
  for part, chunk in enumerate(parts):
    batch = chunks.put(posteriors.take(chunk.rows), axis=1)
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
          judged=model.modalities if judged is None else judged,
          sampling=sampling,
          own_styles=own_styles,
        )
      )
      if progress is not None:
        progress(part * len(subsets) + number + 1, len(parts) * len(subsets))
    # Stacked over subsets; what fills up the last chunk is cut off.
    classes, codes, drawn = jax.tree.map(
      lambda *x: np.stack(x), *hosts.fetch(predicted)
    )
    count = chunk.num_valid
    found.append(
      Conditional(
        classes[..., :count],
        {name: x[:, :count] for name, x in codes.items()},
        {name: x[..., :count] for name, x in drawn.items()},
      )
    )
  classes, codes, drawn = zip(*found, strict=True)
  return Conditional(
    np.concatenate(classes, axis=-1),
    jax.tree.map(lambda *x: np.concatenate(x, axis=1), *codes),
    jax.tree.map(lambda *x: np.concatenate(x, axis=-1), *drawn),
  )


def predict_joint(
  key: jax.Array,
  model: Model,
  params: Params,
  classify_fn: ClassifyFn,
  classifiers: Any,
  *,
  num_samples: int,
  sampler: Sampler | None = None,
  chunk_size: int = 256,
) -> np.ndarray:
  """Classes of what is generated without inputs. int, shape [M, N].

  z is drawn from N(0, I) or a sampler, styles from N(0, I).

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    classify_fn: what sees the classes; static, so the same object every time.
    classifiers: weights for `classify_fn`.
    num_samples: N.
    sampler: of z; None is N(0, I).
    chunk_size: samples per call.
  """
  chunk_size = min(chunk_size, num_samples)
  found = []
  for part, chunk in enumerate(chunks.padded_chunks(num_samples, chunk_size)):
    key_sample, key_classify = jax.random.split(jax.random.fold_in(key, part))
    key_z, key_styles = jax.random.split(key_sample)
    z = _draw_shared(key_z, sampler, chunk_size, model.latent_dim)
    predicted = _predict_from_shared(
      key_styles,
      key_classify,
      model,
      params,
      chunks.put(np.asarray(z)),
      classify_fn,
      classifiers,
    )
    found.append(hosts.fetch(predicted)[:, : chunk.num_valid])
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
      chunks.put({name: inputs[name][chunk.rows] for name in model.modalities}),
      classify_fn,
      classifiers,
    )
    found.append(hosts.fetch(predicted)[..., : chunk.num_valid])
  return np.concatenate(found, axis=-1)


@functools.partial(
  jax.jit,
  static_argnames=('model', 'classify_fn', 'judged', 'sampling', 'own_styles'),
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
  judged: tuple[str, ...],
  sampling: str,
  own_styles: bool,
) -> tuple[jax.Array, dict[str, jax.Array], dict[str, jax.Array]]:
  """The fields of `Conditional` for one subset, without the axis S."""
  key_sample, key_classify, key_styles, key_text = jax.random.split(key, 4)
  z = mixture.sample(
    key_sample, model.subset_posterior(posteriors, row), method=sampling
  )
  styles = model.sample_styles(key_styles, posteriors, row & own_styles)
  decoded = model.decode(params, z, styles)
  logits = {
    modality.name: decoded[modality.name]
    for modality in model.modality_list
    # Text: an axis of symbols behind those of the stored codes.
    if decoded[modality.name].ndim == len(modality.shape) + 2
    and modality.name in judged
  }
  codes = jax.tree.map(lambda x: jnp.argmax(x, -1).astype(jnp.uint8), logits)
  key_draw, key_see = jax.random.split(key_text)
  texts = {
    name: jax.nn.one_hot(
      jax.random.categorical(jax.random.fold_in(key_draw, index), x),
      x.shape[-1],
    )
    for index, (name, x) in enumerate(logits.items())
  }
  seen = classify_fn(key_see, classifiers, texts) if texts else ()
  classes = classify_fn(key_classify, classifiers, decoded)
  return classes, codes, dict(zip(texts, seen, strict=True))


@functools.partial(jax.jit, static_argnames=('num_samples', 'latent_dim'))
def _draw_shared(
  key: jax.Array, sampler: Sampler | None, num_samples: int, latent_dim: int
) -> jax.Array:
  """z [num_samples, D]; apart, so that one program decodes it in any case."""
  if sampler is None:
    return jax.random.normal(key, (num_samples, latent_dim))
  return samplers.sample(key, sampler, num_samples)


@functools.partial(jax.jit, static_argnames=('model', 'classify_fn'))
def _predict_from_shared(
  key_styles: jax.Array,
  key_classify: jax.Array,
  model: Model,
  params: Params,
  z: jax.Array,
  classify_fn: ClassifyFn,
  classifiers: Any,
) -> jax.Array:
  """Classes [M, B] of what z [B, D] and styles from N(0, I) are decoded to."""
  decoded = model.decode_shared(key_styles, params, z)
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
