"""All metrics of a trained model: the block 'metrics' of results.json.

Every split is encoded once; its posteriors serve all subsets. Data are put into
a random order first, since they come sorted by class. An example that lacks a
modality or its label is left out wherever that is needed: of a subset's metrics
if it lacks one of the subset, of the log-likelihood, which is that of all
modalities, and of sample quality if it lacks any. All devices that have the
parameters share every chunk; each process has all results. Data of several
factors and no one class are measured by these in place of it: see `factors`.

Legend: B batch, M modalities, S subsets, D shared latent, N examples.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mmjsd_jax import hosts, objectives
from mmjsd_jax import subsets as subset_lib
from mmjsd_jax.data import gaps
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.evaluation import as_released as released
from mmjsd_jax.evaluation import (
  chunks,
  coherence,
  factors,
  log_likelihood,
  probe,
  sample_quality,
  samplers,
  summary,
)
from mmjsd_jax.evaluation.coherence import Judges
from mmjsd_jax.evaluation.sample_quality import FeatureFns
from mmjsd_jax.model import Model, Params, Posteriors

# Keys split and folded from one are the same: this one is far from any split.
_FAR = 2**32 - 1

# (what is being measured, units of work done, units in all).
ProgressFn = Callable[[str, int, int], None]


@chunks.over_devices_of_params
def evaluate(
  model: Model,
  params: Params,
  dataset: Dataset,
  judges: Judges | None,
  *,
  key: jax.Array,
  subsets: Sequence[str] = (),
  sampling: str = 'stratified',
  num_probe_samples: Sequence[int] = (500, 3000),
  num_joint_samples: int = 10_000,
  fitted: samplers.Fit | None = None,
  num_importance_samples: int = 32,
  num_joint_importance_samples: int = 512,
  num_log_likelihood_examples: int = 256,
  num_test_examples: int = 0,
  untrained_params: Params | None = None,
  as_released: bool = False,
  readings: bool = False,
  feature_fns: FeatureFns | None = None,
  num_quality_samples: int = 0,
  chunk_size: int = 256,
  decodes_per_call: int | None = None,
  progress: ProgressFn | None = None,
) -> dict[str, Any]:
  """Probe, coherence, log-likelihood, sample quality, as plain JSON types.

  Args:
    model: what `params` belong to.
    params: the trained networks' weights.
    dataset: probes learn from its training split; all else is its test split.
    judges: classifiers that say what class generated data show, or of data that
      have none give logits of their factors; None where no modality has one.
    key: PRNG key, consumed. The same key gives the same numbers.
    subsets: names such as 'm0+m2'; () is all 2^M - 1.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    num_probe_samples: sizes of the probe's training set, drawn without
      replacement and nested; at most the training split.
    num_joint_samples: draws from the prior for joint coherence.
    fitted: of `fit_sampler`; measures joint coherence from it, too.
    num_importance_samples: K, per example and subset.
    num_joint_importance_samples: K, per example, given all modalities.
    num_log_likelihood_examples: test examples, drawn at random, whose
      log-likelihood is estimated; at most the test split.
    num_test_examples: test examples, drawn at random, that everything is
      measured on; 0 is all.
    untrained_params: fresh weights; probed and measured for comparison.
    as_released: add the block 'as_released', of the authors' estimators.
    readings: where the objective has a Jensen-Shannon divergence, whose papers
      leave open what posterior several inputs have, measure also with the
      choices of `Objective.subset_posterior` that are not its own. All draw
      the same noise, so that single inputs differ where the posteriors do.
    feature_fns: what sample quality is measured on; see `sample_quality`.
    num_quality_samples: images in each set that it compares, at most; 0
      measures no sample quality.
    chunk_size: examples per call to the device.
    decodes_per_call: latents decoded per call in the log-likelihood; None is
      1,024 on CPU and 16,384 elsewhere.
    progress: called as work is done.

  Returns:
    'probe', 'coherence', 'log_likelihood', 'factors' where the data have some,
    and perhaps 'as_released', 'quality' and 'readings': name of the posterior
    -> the first four. 'left_out', where the data do not allow for some of it:
    what -> why.

  Raises:
    ValueError: a subset that is none of the model's.
  """
  names = model.modalities
  rows = _rows(subsets, names)
  if decodes_per_call is None:
    decodes_per_call = 1024 if jax.default_backend() == 'cpu' else 16_384
  (
    key_train,
    key_test,
    key_probe,
    key_coherence,
    key_subsets,
    key_joint,
    key_untrained,
    key_released,
    key_access,
    key_quality,
  ) = jax.random.split(key, 10)
  num_train = len(dataset.train.labels)
  sizes = sorted({min(size, num_train) for size in num_probe_samples})
  access_fns = [
    functools.partial(_accessed, jax.random.fold_in(key_access, n), model)
    for n in range(3)
  ]
  test = access_fns[1](
    _shuffled(key_test, dataset.test, num_test_examples or None)
  )
  whole = gaps.complete(test)
  few_rows = whole[:num_log_likelihood_examples]
  few = test.take(few_rows)
  left_out = _left_out(dataset, judges, len(whole))
  if judges is not None:
    judges = judges._replace(params=chunks.put(judges.params, axis=None))
  has_classes = dataset.num_classes > 0
  factor_judges = None if has_classes else judges
  judges = judges if has_classes else None
  metrics: dict[str, Any] = {}

  def report(stage: str) -> Callable[[int, int], None] | None:
    return None if progress is None else functools.partial(progress, stage)

  def report_of(what: str) -> Callable[[str], Any]:
    return lambda stage: report(f'{stage}, {what}')

  encode_fn = functools.partial(encode, model, chunk_size=chunk_size)
  posteriors = encode_fn(params, test.inputs)
  if untrained_params is not None:
    untrained_params = chunks.put(untrained_params, axis=None)
    untrained_posteriors = encode_fn(untrained_params, test.inputs)
  if has_classes or dataset.factors:
    train = access_fns[0](_enough(key_train, dataset, names, rows, max(sizes)))
    train_posteriors = encode_fn(params, train.inputs)
    if untrained_params is not None:
      untrained_train_posteriors = encode_fn(untrained_params, train.inputs)
  if progress is not None:
    progress('encoding', 1, 1)

  # Linear probes.
  if has_classes:
    probe_fn = functools.partial(
      _probes, key_probe, model, train, test, rows, sizes, sampling
    )
    probes = probe_fn(train_posteriors, posteriors, report('linear probe'))
    probes |= {
      'chance': 1 / dataset.num_classes,
      'penalty': 'l2, C=1',
      'standardised': True,
    }
    if untrained_params is not None:
      probes['untrained'] = probe_fn(
        untrained_train_posteriors,
        untrained_posteriors,
        report('linear probe, untrained'),
      )
    metrics['probe'] = probes

  # Factors.
  if dataset.factors:
    key_factors = jax.random.fold_in(key, _FAR)
    factors_fn = functools.partial(
      factors.measure,
      model=model,
      params=params,
      factors=dataset.factors,
      train=train,
      test=test,
      train_posteriors=train_posteriors,
      posteriors=posteriors,
      rows=rows,
      judges=factor_judges,
      sizes=sizes,
      sampling=sampling,
      chunk_size=chunk_size,
      report=report,
    )
    metrics['factors'] = {
      **factors.describe(dataset.factors, test),
      **factors_fn(key_factors),
    }
    if untrained_params is not None:
      metrics['factors']['probe_untrained'] = factors_fn(
        key_factors,
        train_posteriors=untrained_train_posteriors,
        posteriors=untrained_posteriors,
        judges=None,
        report=report_of('untrained'),
      )['probe']

  # Coherence.
  coherence_fn = functools.partial(
    _coherence,
    model=model,
    params=params,
    test=test,
    posteriors=posteriors,
    rows=rows,
    num_classes=dataset.num_classes,
    num_joint_samples=num_joint_samples,
    chunk_size=chunk_size,
  )
  if judges is not None:
    metrics['coherence'] = coherence_fn(
      key_coherence,
      judges=judges,
      sampling=sampling,
      progress=report('coherence'),
    )
    if fitted is not None and 'joint' in metrics['coherence']:
      metrics['coherence']['joint_from_sampler'] = summary.sampler_block(
        fitted,
        coherence.predict_joint(
          jax.random.fold_in(key_coherence, _FAR),
          model,
          params,
          judges.classify_fn,
          judges.params,
          num_samples=num_joint_samples,
          sampler=chunks.put(fitted.sampler, axis=None),
          chunk_size=chunk_size,
        ),
      )

  # Log-likelihood.
  estimate_fn = functools.partial(
    _log_likelihoods,
    model=model,
    split=few,
    chosen=few_rows,
    chunk_size=chunk_size,
    decodes_per_call=decodes_per_call,
  )
  everything = np.ones((1, len(names)), bool)
  if 'log_likelihood' not in left_out:
    likelihoods = summary.log_likelihood_block(
      names,
      rows,
      estimate_fn(
        key_subsets,
        params,
        posteriors,
        rows,
        num_samples=num_importance_samples,
        progress=report('log-likelihood'),
      ),
      num_importance_samples,
    )
    joint = estimate_fn(
      key_joint,
      params,
      posteriors,
      everything,
      num_samples=num_joint_importance_samples,
      progress=report('log-likelihood, joint'),
    )
    for name, values in (
      ('joint', joint.log_likelihood),
      ('joint_bound', joint.elbo),
    ):
      likelihoods[name] = summary.mean_block(
        values[0], num_joint_importance_samples
      )
    if untrained_params is not None:
      untrained = estimate_fn(
        key_untrained,
        untrained_params,
        untrained_posteriors,
        everything,
        num_samples=num_importance_samples,
        progress=report('log-likelihood, untrained'),
      )
      likelihoods['untrained_joint'] = summary.mean_block(
        untrained.log_likelihood[0], num_importance_samples
      )
    metrics['log_likelihood'] = likelihoods

  # The other posteriors of several inputs.
  if readings and model.objective.regulariser.startswith('jsd'):
    metrics['readings'] = {}
    for name in objectives.CHOICES['subset_posterior']:
      if name == model.objective.subset_posterior:
        continue
      other = model._replace(
        objective=model.objective._replace(subset_posterior=name)
      )
      reading = metrics['readings'][name] = {}
      if 'probe' in metrics:
        reading['probe'] = _probes(
          key_probe,
          other,
          train,
          test,
          rows,
          sizes,
          sampling,
          train_posteriors,
          posteriors,
          report(f'linear probe, {name}'),
        )
      if judges is not None:
        reading['coherence'] = coherence_fn(
          key_coherence,
          model=other,
          judges=judges,
          sampling=sampling,
          progress=report(f'coherence, {name}'),
        )
      if dataset.factors:
        reading['factors'] = factors_fn(
          key_factors, model=other, report=report_of(name)
        )
      if 'log_likelihood' in metrics:
        reading['log_likelihood'] = summary.log_likelihood_block(
          names,
          rows,
          estimate_fn(
            key_subsets,
            params,
            posteriors,
            rows,
            model=other,
            num_samples=num_importance_samples,
            progress=report(f'log-likelihood, {name}'),
          ),
          num_importance_samples,
        )

  if as_released:
    key_rows, key_probe, key_coherence, key_likelihood = jax.random.split(
      key_released, 4
    )
    as_theirs = 'stratified_as_released'
    theirs = metrics['as_released'] = {}
    if has_classes or dataset.factors:
      their_train = access_fns[2](
        dataset.train.take(released.draw_probe_rows(key_rows, num_train))
      )
      their_posteriors = encode_fn(params, their_train.inputs)
    if dataset.factors:
      metrics['factors']['as_released'] = factors_fn(
        jax.random.fold_in(key_factors, _FAR),
        train=their_train,
        train_posteriors=their_posteriors,
        sizes=[len(their_train.labels)],
        sampling=as_theirs,
        as_released=True,
        report=report_of('as released'),
      )
    if has_classes:
      theirs['probe'] = _probes(
        key_probe,
        model,
        their_train,
        test,
        rows,
        [len(their_train.labels)],
        as_theirs,
        their_posteriors,
        posteriors,
        report('linear probe, as released'),
        as_released=True,
      )
    if judges is not None:
      theirs['coherence'] = coherence_fn(
        key_coherence,
        judges=judges._replace(classify_fn=judges.classify_as_released_fn),
        sampling=as_theirs,
        progress=report('coherence, as released'),
      )
    if 'log_likelihood' in metrics:
      theirs['log_likelihood'] = _released_log_likelihoods(
        key_likelihood, model, params, few, posteriors.take(few_rows), rows
      )
      if progress is not None:
        progress('log-likelihood, as released', 1, 1)

  if feature_fns and num_quality_samples:
    key_floor, key_samples = jax.random.split(key_quality)
    found = sample_quality.measure_samples(
      key_samples,
      model,
      params,
      # Twice as many, since some may share their images.
      _shuffled(
        key_floor,
        dataset.train,
        2 * num_quality_samples,
        among=gaps.complete(dataset.train),
      ),
      test.take(whole),
      posteriors.take(whole),
      rows,
      feature_fns,
      num_samples=num_quality_samples,
      sampling=sampling,
      chunk_size=chunk_size,
      progress=report('sample quality'),
    )
    if found is not None:
      metrics['quality'] = found
  return {**metrics, **({'left_out': left_out} if left_out else {})}


def _left_out(
  dataset: Dataset, judges: Judges | None, num_complete: int
) -> dict[str, str]:
  """What cannot be measured, and why."""
  found = {}
  if not dataset.num_classes:
    why = 'the data set has no labels'
    if dataset.factors:
      why = (
        'the data set has no one class, but several factors; these are measured'
        ' in its place'
      )
    found = {
      'probe': why,
      'coherence': why,
      **_factors_left_out(dataset, judges),
    }
  elif judges is None:
    found['coherence'] = 'no modality has a classifier'
  else:
    found |= {f'coherence of {m}': why for m, why in judges.left_out.items()}
    if len(dataset.modalities) - len(judges.left_out) < 2:
      found['joint coherence'] = 'only one modality has a classifier'
  if not num_complete:
    why = 'no test example has all modalities'
    found |= {'log_likelihood': why, 'figures of examples': why}
  return found


def _factors_left_out(
  dataset: Dataset, judges: Judges | None
) -> dict[str, str]:
  """What cannot be measured of factors, and why."""
  if not dataset.factors:
    return {}
  if judges is None:
    return {'factors of generated data': 'no modality has a classifier'}
  return {
    'factors of joint generation': 'samples of the prior have no true classes',
    **{f'factors of {m}': why for m, why in judges.left_out.items()},
  }


@chunks.over_devices_of_params
def fit_sampler(
  model: Model,
  params: Params,
  dataset: Dataset,
  *,
  key: jax.Array,
  num_components: int,
  chunk_size: int = 256,
) -> samplers.Fit:
  """A sampler of z for `evaluate`, fitted to the training split.

  Args:
    model: what `params` belong to.
    params: the trained networks' weights.
    dataset: of whose training split at most `samplers.MAX_EXAMPLES` are used,
      drawn at random.
    key: PRNG key, consumed.
    num_components: of the mixture.
    chunk_size: examples per call to the device.

  Raises:
    ValueError: fewer training examples than components.
  """
  key_order, key_access, key_fit = jax.random.split(key, 3)
  chosen = _accessed(
    key_access,
    model,
    _shuffled(key_order, dataset.train, samplers.MAX_EXAMPLES),
  )
  return samplers.fit_posteriors(
    key_fit,
    model,
    encode(model, params, chosen.inputs, chunk_size=chunk_size),
    present=gaps.masks(chosen, model.modalities),
    num_components=num_components,
    chunk_size=chunk_size,
  )


def encode(
  model: Model,
  params: Params,
  inputs: dict[str, np.ndarray],
  *,
  chunk_size: int = 256,
) -> Posteriors:
  """Unimodal posteriors of N examples, on the host, in numpy.

  Args:
    model: what `params` belong to.
    params: the networks' weights.
    inputs: modality name -> data as stored. Shape [N, ...].
    chunk_size: examples per call.
  """
  num_examples = len(inputs[model.modalities[0]])
  chunk_size = chunks.shared_size(min(chunk_size, num_examples))
  parts = []
  for chunk in chunks.padded_chunks(num_examples, chunk_size):
    batch = {name: inputs[name][chunk.rows] for name in model.modalities}
    found = hosts.fetch(_encode(model, params, chunks.put(batch)))
    parts.append(jax.tree.map(lambda x, n=chunk.num_valid: x[:, :n], found))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *parts)


@functools.partial(jax.jit, static_argnames='model')
def _encode(
  model: Model, params: Params, inputs: dict[str, jax.Array]
) -> Posteriors:
  return model.encode(params, inputs)


def _probes(
  key: jax.Array,
  model: Model,
  train: Split,
  test: Split,
  rows: np.ndarray,
  sizes: Sequence[int],
  sampling: str,
  train_posteriors: Posteriors,
  test_posteriors: Posteriors,
  progress: Callable[[int, int], None] | None,
  *,
  as_released: bool = False,
) -> dict[str, Any]:
  names = model.modalities
  counted = [
    gaps.having(split, names, rows) & (split.labels >= 0)
    for split in (train, test)
  ]
  probes: dict[int, list[probe.Probe]] = probe.probe_subsets(
    key,
    model,
    train_posteriors,
    train.labels,
    test_posteriors,
    test.labels,
    rows,
    sizes=sizes,
    counted=(counted[0], counted[1]),
    sampling=sampling,
    as_released=as_released,
    progress=progress,
  )
  return summary.probe_block(names, rows, probes, len(test.labels))


def _coherence(
  key: jax.Array,
  *,
  model: Model,
  params: Params,
  test: Split,
  posteriors: Posteriors,
  rows: np.ndarray,
  judges: Judges,
  num_classes: int,
  num_joint_samples: int,
  sampling: str,
  chunk_size: int,
  progress: Callable[[int, int], None] | None,
) -> dict[str, Any]:
  key_conditional, key_joint, key_data = jax.random.split(key, 3)
  judge = (judges.classify_fn, judges.params)
  judged = tuple(m for m in model.modalities if m not in judges.left_out)
  return summary.coherence_block(
    model.modalities,
    rows,
    test.labels,
    joint=coherence.predict_joint(
      key_joint,
      model,
      params,
      *judge,
      num_samples=num_joint_samples,
      chunk_size=chunk_size,
    )
    if len(judged) > 1  # one agrees with itself
    else None,
    data=coherence.predict_data(
      key_data, model, test.inputs, *judge, chunk_size=chunk_size
    ),
    conditional=coherence.predict_conditional(
      key_conditional,
      model,
      params,
      posteriors,
      rows,
      *judge,
      judged=judged,
      sampling=sampling,
      chunk_size=chunk_size,
      progress=progress,
    ),
    num_classes=num_classes,
    inputs=test.inputs,
    present=gaps.masks(test, model.modalities),
    judged=judged,
  )


def _log_likelihoods(
  key: jax.Array,
  params: Params,
  posteriors: Posteriors,
  rows: np.ndarray,
  *,
  model: Model,
  split: Split,
  chosen: np.ndarray,
  **settings,
) -> log_likelihood.Estimates:
  """Of the split: those `chosen` of the examples that have posteriors."""
  return log_likelihood.estimate(
    key,
    model,
    params,
    split.inputs,
    posteriors.take(chosen),
    rows,
    **settings,
  )


def _released_log_likelihoods(
  key: jax.Array,
  model: Model,
  params: Params,
  split: Split,
  posteriors: Posteriors,
  rows: np.ndarray,
) -> dict[str, Any]:
  found = released.estimate_log_likelihood(
    key,
    model,
    params,
    split.inputs,
    posteriors,
    rows,
  )
  return {
    **summary.by_subset(model.modalities, rows, found.mean(axis=1).tolist()),
    'num_importance_samples': released.NUM_IMPORTANCE_SAMPLES,
    'num_examples': found.shape[1],
  }


def _rows(subsets: Sequence[str], modalities: tuple[str, ...]) -> np.ndarray:
  """Membership rows of the named subsets; of all, if none is named."""
  if not subsets:
    return subset_lib.membership(len(modalities))
  return np.stack(
    [subset_lib.parse_subset(name, modalities) for name in subsets]
  )


def _enough(
  key: jax.Array,
  dataset: Dataset,
  names: tuple[str, ...],
  rows: np.ndarray,
  count: int,
) -> Split:
  """The first training rows in a random order: `count` for every subset.

  All of them where a subset has fewer with all its modalities and a label, if
  there are labels.
  """
  split = dataset.train
  order = np.asarray(jax.random.permutation(key, len(split.labels)))
  counted = gaps.having(split, names, rows)
  if dataset.num_classes:
    counted = counted & (split.labels >= 0)
  reached = np.cumsum(counted[:, order], axis=1).min(axis=0) >= count
  end = np.argmax(reached) + 1 if reached.any() else len(order)
  return split.take(order[:end])


def _shuffled(
  key: jax.Array,
  split: Split,
  num_rows: int | None = None,
  *,
  among: np.ndarray | None = None,
) -> Split:
  """The first rows of the split in a random order; all, if not told."""
  among = np.arange(len(split.labels)) if among is None else among
  order = np.asarray(jax.random.permutation(key, len(among)))
  return split.take(among[order[:num_rows]])


def _accessed(key: jax.Array, model: Model, split: Split) -> Split:
  """The split as one access to its examples finds it."""
  return split._replace(inputs=hosts.fetch(model.access(key, split.inputs)))
