"""How well factors are read off latents, and off what is generated.

For data of several factors and no one class, as CelebA's 40 attributes (mmJSD,
NeurIPS 2020, Sec. 4.3; MoPoE, ICLR 2021, Sec. 4.3) and the five factors of
dSprites (mmJSD's workshop paper, Sec. 4.1). A probe for every factor, and
classifiers of what is generated, against the example's own classes. Samples of
the prior have none, so that joint generation is not measured.

Where every factor has two classes, values are average precisions of the second,
of scores and not of decisions; else accuracies. Without any skill, a value is
the prevalence: the share of examples of the second class, or of the commonest.

Legend: N examples, S subsets, M modalities, F factors, L logits.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mmjsd_jax import hosts
from mmjsd_jax.data import gaps
from mmjsd_jax.data.dataset import Factor, Split
from mmjsd_jax.evaluation import (
  classifier_outputs,
  coherence,
  factor_summary,
  probe,
)
from mmjsd_jax.evaluation.coherence import Judges
from mmjsd_jax.evaluation.probe import FactorProbes
from mmjsd_jax.model import Model, Params, Posteriors

AVERAGE_PRECISION, ACCURACY = 'average_precision', 'accuracy'


def metric_of(factors: Sequence[Factor]) -> str:
  """AVERAGE_PRECISION where every factor has two classes, else ACCURACY."""
  all_two = all(len(factor.classes) == 2 for factor in factors)
  return AVERAGE_PRECISION if all_two else ACCURACY


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
  """Precision, averaged over the recalls at which it stands.

  AP = sum_n (R_n - R_(n-1)) P_n over the distinct scores from the highest on,
  as scikit-learn has it; the area below the curve, without interpolation.

  Args:
    scores: higher for what looks positive. Shape [N].
    positive: what is. Bool, shape [N].

  Returns:
    In (0, 1]; NaN without positives. Of scores at random it is about the share
    of positives, and exactly that of scores that are all the same.
  """
  if scores.ndim != 1 or positive.shape != scores.shape:
    raise ValueError(
      f'scores and positive must have shape [N]; got {scores.shape} and '
      f'{positive.shape}'
    )
  if not positive.any():
    return float('nan')
  order = np.argsort(-scores, kind='stable')
  ends = np.append(np.diff(scores[order]) != 0, True)  # of equal scores
  (places,) = np.nonzero(ends)
  found = np.cumsum(positive[order])[places]
  precision = found / (places + 1)
  return float(np.diff(found, prepend=0) @ precision / found[-1])


def score(
  metric: str,
  seen: np.ndarray,
  classes: np.ndarray,
  counted: np.ndarray | None = None,
  *,
  as_released: bool = False,
) -> np.ndarray:
  """Values of every factor; NaN where there is none. Shape [..., F].

  Args:
    metric: AVERAGE_PRECISION or ACCURACY.
    seen: scores of the second class, or classes. Shape [..., F, N].
    classes: the true ones. Integers, shape [N, F].
    counted: which examples count. Bool, shape [..., N]; None is all.
    as_released: the mean over full batches of 256; of average precision, over
      those that have positives, where the authors' code has NaN or zero.
  """
  leading = seen.shape[:-2]
  counted = np.broadcast_to(
    True if counted is None else counted, (*leading, len(classes))
  )
  found = np.empty(seen.shape[:-1])
  for place in np.ndindex(*leading):
    rows = np.flatnonzero(counted[place])
    batches = [rows]
    if as_released:
      batches = [rows[batch] for batch in probe.released_batches(len(rows))]
    for factor, (of_factor, true) in enumerate(
      zip(seen[place], classes.T, strict=True)
    ):
      found[*place, factor] = _mean(
        [_value(metric, of_factor[batch], true[batch]) for batch in batches]
      )
  return found


def measure(
  key: jax.Array,
  *,
  model: Model,
  params: Params,
  factors: Sequence[Factor],
  train: Split,
  test: Split,
  train_posteriors: Posteriors,
  posteriors: Posteriors,
  rows: np.ndarray,
  judges: Judges | None,
  sizes: Sequence[int],
  sampling: str = 'stratified',
  as_released: bool = False,
  chunk_size: int = 256,
  report: Callable[[str], Callable[[int, int], None] | None] = lambda _: None,
) -> dict[str, Any]:
  """Probes and generated samples: part of the block 'factors', in JSON types.

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    factors: F of them.
    train: examples that probes learn from, in random order; without tables.
    test: examples to test on, likewise. N of them.
    train_posteriors: unimodal ones of `train`.
    posteriors: of `test`.
    rows: membership rows of the subsets. Bool, shape [S, M].
    judges: of `judges.make_judges(of_factors=True)`; None measures no samples.
    sizes: how many training examples a probe learns from.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    as_released: the authors' estimators: of probes MoPoE's, whose average
      precision is of decisions, as `probe_factors` says.
    chunk_size: examples per call to the device.
    report: of the name of a stage, what is called as parts of it are done.

  Returns:
    'probe' and, with judges, 'generated', 'ceiling' and their means; with text
    'drawn_text', which is judged by draws of p(x | z), as 'generated' is by its
    likeliest characters.
  """
  key_probe, key_generated, key_data = jax.random.split(key, 3)
  found: dict[str, Any] = {
    'probe': probe_factors(
      key_probe,
      model,
      factors,
      train,
      test,
      train_posteriors,
      posteriors,
      rows,
      sizes=sizes,
      sampling=sampling,
      as_released=as_released,
      progress=report('probes of factors'),
    )
  }
  if judges is None:
    return found
  names = model.modalities
  judged = tuple(name for name in names if name not in judges.left_out)
  judge = (
    judges.classify_as_released_fn if as_released else judges.classify_fn,
    judges.params,
  )
  generated = coherence.predict_conditional(
    key_generated,
    model,
    params,
    posteriors,
    rows,
    *judge,
    judged=judged,
    sampling=sampling,
    own_styles=False,
    chunk_size=chunk_size,
    progress=report('generated factors'),
  )
  data = coherence.predict_data(
    key_data, model, test.inputs, *judge, chunk_size=chunk_size
  )
  value_fn = functools.partial(_values, factors, test, as_released=as_released)
  having = gaps.having(test, names, rows)
  there = gaps.masks(test, judged)
  return found | factor_summary.generated_blocks(
    names,
    rows,
    [factor.name for factor in factors],
    judged,
    generated=value_fn(generated.classes, having[:, None]),
    drawn={name: value_fn(x, having) for name, x in generated.drawn.items()},
    ceiling=value_fn(data, there),
    counts=having.sum(axis=1).tolist(),
    num_test=test.num_examples,
  )


def probe_factors(
  key: jax.Array,
  model: Model,
  factors: Sequence[Factor],
  train: Split,
  test: Split,
  train_posteriors: Posteriors,
  posteriors: Posteriors,
  rows: np.ndarray,
  *,
  sizes: Sequence[int],
  sampling: str = 'stratified',
  as_released: bool = False,
  progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
  """A probe for every factor, subset and size, by the protocol of `probe`.

  A factor of which the training examples have one class alone is taken for
  that class everywhere, so that means over factors are over the same ones.

  Args:
    key: PRNG key, consumed.
    model: whose rule makes the subsets' posteriors.
    factors: F of them.
    train: examples that probes learn from.
    test: examples to test on.
    train_posteriors: unimodal ones of `train`.
    posteriors: of `test`.
    rows: membership rows of the subsets. Bool, shape [S, M].
    sizes: how many of the first training examples a probe learns from.
    sampling: how mixture components are drawn: `mixture.SAMPLING_METHODS`.
    as_released: MoPoE's: features as they are; means over batches; average
      precision of decisions, 0 or 1, in place of scores, which at a prevalence
      of 0.2 makes 0.28 of 0.48.
    progress: called with (subsets done, subsets in all).

  Returns:
    Size of the training set -> values by subset and factor, and their means.
  """
  names = model.modalities
  classes, test_classes = train.factors, test.factors
  assert classes is not None and test_classes is not None
  probes = probe.probe_subsets(
    key,
    model,
    train_posteriors,
    classes,
    posteriors,
    test_classes,
    rows,
    sizes=sizes,
    counted=(gaps.having(train, names, rows), gaps.having(test, names, rows)),
    probe_fn=functools.partial(_probe_all, metric=metric_of(factors)),
    sampling=sampling,
    as_released=as_released,
    progress=progress,
  )
  return factor_summary.probe_blocks(
    names,
    rows,
    [factor.name for factor in factors],
    probes,
    test.num_examples,
  )


def describe(factors: Sequence[Factor], test: Split) -> dict[str, Any]:
  """What the factors are, and how common: part of the block 'factors'.

  Args:
    factors: F of them.
    test: whose examples are tested on.
  """
  assert test.factors is not None
  metric = metric_of(factors)
  prevalence = {}
  for factor, column in zip(factors, test.factors.T, strict=True):
    shares = np.bincount(column, minlength=len(factor.classes)) / len(column)
    by_precision = metric == AVERAGE_PRECISION
    prevalence[factor.name] = float(shares[1] if by_precision else shares.max())
  return {
    'names': [factor.name for factor in factors],
    'classes': {factor.name: list(factor.classes) for factor in factors},
    'metric': metric,
    'prevalence': prevalence,
    'num_without_positives': sum(not x for x in prevalence.values()),
  }


def _probe_all(
  train_features: np.ndarray,
  train_classes: np.ndarray,
  test_features: np.ndarray,
  test_classes: np.ndarray,
  *,
  metric: str,
  as_released: bool,
) -> FactorProbes:
  """A probe of every factor; what `probe.probe_subsets` calls."""
  counts = len(train_classes), len(test_classes)
  if not all(counts):
    return FactorProbes(np.full(train_classes.shape[1], np.nan), 0, *counts)
  seen, num_not_converged = [], 0
  for column in train_classes.T:
    if len(np.unique(column)) == 1:
      seen.append(np.full(counts[1], column[0], float))
      continue
    found = probe.fit(
      train_features, column, test_features, standardise=not as_released
    )
    is_score = metric == AVERAGE_PRECISION and not as_released
    seen.append(found.scores if is_score else found.predicted)
    num_not_converged += not found.converged
  values = score(metric, np.stack(seen), test_classes, as_released=as_released)
  return FactorProbes(values, num_not_converged, *counts)


def _values(
  factors: Sequence[Factor],
  test: Split,
  logits: np.ndarray,
  counted: np.ndarray,
  *,
  as_released: bool,
) -> np.ndarray:
  """Values [..., F] of logits [..., L, N] of the test examples."""
  metric = metric_of(factors)
  seen = logits
  if metric == ACCURACY:
    seen = np.moveaxis(
      hosts.fetch(
        classifier_outputs.classes_seen(
          np.moveaxis(logits, -2, -1), classifier_outputs.counts_of(factors)
        )
      ),
      -1,
      -2,
    )
  assert test.factors is not None
  return score(metric, seen, test.factors, counted, as_released=as_released)


def _mean(values: Sequence[float]) -> float:
  """Of those that are not NaN; NaN of none."""
  known = [value for value in values if not np.isnan(value)]
  return float(np.mean(known)) if known else float('nan')


def _value(metric: str, seen: np.ndarray, true: np.ndarray) -> float:
  """Of one factor; NaN of no examples. Both of shape [N]."""
  if metric == AVERAGE_PRECISION:
    return average_precision(seen, true == 1)
  return float(np.mean(seen == true)) if len(true) else float('nan')
