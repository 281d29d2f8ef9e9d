"""What was measured, laid out as in results.json: plain JSON types.

Legend: M modalities, S subsets, N examples. `rows` are membership rows of the
subsets, bool [S, M].
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjsd_jax.evaluation import coherence
from mmjsd_jax.evaluation.log_likelihood import Estimates
from mmjsd_jax.evaluation.probe import Probe
from mmjsd_jax.evaluation.samplers import Fit
from mmjsd_jax.subsets import subset_name

Block = dict[str, Any]


def by_subset(
  modalities: tuple[str, ...], rows: np.ndarray, values: Sequence[float | None]
) -> Block:
  """Values by subset, and averaged over the subsets of every size.

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    values: one per subset; None where there is none, as in the mean of such.
  """
  sizes = rows.sum(axis=1)
  return {
    'subsets': {
      subset_name(modalities, row): value
      for row, value in zip(rows, values, strict=True)
    },
    'by_size': {
      str(size): mean(
        [value for n, value in zip(sizes, values, strict=True) if n == size]
      )
      for size in np.unique(sizes)
    },
  }


def mean_block(values: np.ndarray, num_importance_samples: int) -> Block:
  """Mean over examples, and its standard error; None for a single one.

  Args:
    values: in nats. Shape [N].
    num_importance_samples: K, which they were made with.
  """
  return {
    'value': float(values.mean()),
    'standard_error': _standard_error(values),
    'num_importance_samples': num_importance_samples,
  }


def probe_block(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  probes: dict[int, list[Probe]],
  num_test: int,
) -> Block:
  """Size of the training set -> accuracies, and how many fits gave up.

  'num_examples', where some lack modalities or labels: subset -> how many
  training and test examples it had.

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    probes: size -> one result per subset.
    num_test: test examples that there are.
  """
  blocks = {}
  for size, of_size in probes.items():
    counts = [[found.num_train, found.num_test] for found in of_size]
    blocks[str(size)] = {
      **by_subset(modalities, rows, [found.accuracy for found in of_size]),
      'num_not_converged': sum(not found.converged for found in of_size),
      **num_examples(modalities, rows, counts, [size, num_test]),
    }
  return blocks


def log_likelihood_block(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  estimates: Estimates,
  num_importance_samples: int,
) -> Block:
  """Log-likelihoods given every subset, with standard errors, in nats.

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    estimates: Shapes [S, N].
    num_importance_samples: K, which they were made with.
  """
  values = estimates.log_likelihood
  return {
    **by_subset(modalities, rows, values.mean(axis=1).tolist()),
    'standard_error': {
      subset_name(modalities, row): _standard_error(of_row)
      for row, of_row in zip(rows, values, strict=True)
    },
    'num_importance_samples': num_importance_samples,
    'num_examples': values.shape[1],
  }


def coherence_block(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  labels: np.ndarray,
  *,
  conditional: coherence.Conditional,
  joint: np.ndarray | None,
  data: np.ndarray,
  num_classes: int,
  inputs: Mapping[str, np.ndarray],
  present: np.ndarray | None = None,
  judged: tuple[str, ...] | None = None,
) -> Block:
  """Conditional and joint coherence, their chance levels and ceilings.

  Beside the papers' measures: 'reconstruction', the accuracy on modalities
  generated from all; 'cogeneration', the share of examples for which all
  modalities outside the subset, from one draw, show one class, right or wrong;
  'exact_match' where there is text, the share of generated texts that spell
  what the example's own does, and 'drawn_text', the conditional coherence of
  draws of p(x | z) in place of its likeliest characters; and with three
  modalities, for comparison with mmJSD's tables only,
  'joint_parity_as_released'.

  An example counts for a subset if it has all its modalities and a known class:
  'num_examples' says how many do, where it is not all. Targets are modalities
  that have a judge: 'judged' names them, where it is not all.

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    labels: classes of the test examples, -1 where unknown. Shape [N].
    conditional: what is seen in what is generated from them.
    joint: classes seen in what is generated from the prior. [M', N'], with
      M' modalities that have a judge; None measures no joint coherence.
    data: classes seen in the test examples themselves. Shape [M', N].
    num_classes: classes that there are.
    inputs: modality name -> the test examples, as stored. Shape [N, ...].
    present: which modalities they have. Bool, shape [M, N]; None is all.
    judged: the modalities that have a judge, in their order; None is all.
  """
  classes, codes, drawn = conditional
  judged = modalities if judged is None else judged
  if present is None:
    present = np.ones((len(modalities), len(labels)), bool)
  known = labels >= 0
  counted = np.stack([present[row].all(axis=0) & known for row in rows])
  is_judged = np.array([name in judged for name in modalities])
  accuracies = coherence.conditional_coherence(
    classes, labels, counted[:, None]
  )  # [S, M']
  sizes = rows.sum(axis=1)
  # Of every subset, the targets outside it: accuracies, and classes seen.
  outside = ~rows[:, is_judged]
  targets = [
    (of_row[others], seen[others][:, used])
    for others, of_row, seen, used in zip(
      outside, accuracies, classes, counted, strict=True
    )
  ]
  of_size = {
    str(size): [targets[subset] for subset in np.flatnonzero(sizes == size)]
    for size in np.unique(sizes)
    if size < len(modalities)
  }
  full = np.flatnonzero(rows.all(axis=1))
  exact = {
    name: coherence.exact_match(
      generated, inputs[name], counted & present[modalities.index(name)]
    )  # [S]
    for name, generated in codes.items()
  }
  drawn_right = {
    name: coherence.conditional_coherence(seen, labels, counted)  # [S]
    for name, seen in drawn.items()
  }
  own = present[is_judged]
  return {
    **({'judged': list(judged)} if judged != modalities else {}),
    **num_examples(modalities, rows, counted.sum(axis=1).tolist(), len(labels)),
    'conditional': {
      'pairs': {
        f'{subset_name(modalities, row)}->{target}': number(accuracy)
        for row, of_row, others in zip(rows, accuracies, outside, strict=True)
        for target, is_other, accuracy in zip(
          judged, others, of_row, strict=True
        )
        if is_other
      },
      'by_size': {
        size: mean([number(share) for shares, _ in found for share in shares])
        for size, found in of_size.items()
      },
    },
    'cogeneration': {
      'by_size': {
        size: mean([_agreement(seen) for _, seen in found if len(seen) > 1])
        for size, found in of_size.items()
        if any(len(seen) > 1 for _, seen in found)
      }
    },
    'reconstruction': dict(
      zip(judged, map(number, accuracies[full[0]]), strict=True)
    )
    if full.size
    else None,
    **(
      {
        'exact_match': _of_text(modalities, rows, exact),
        'drawn_text': _of_text(modalities, rows, drawn_right),
      }
      if exact
      else {}
    ),
    **(
      {}
      if joint is None
      else {
        **_joint(joint, num_classes),
        'joint_ceiling': _agreement(data[:, own.all(axis=0)]),
      }
    ),
    'chance': 1 / num_classes,
    'ceiling': dict(
      zip(
        judged,
        map(number, coherence.conditional_coherence(data, labels, own & known)),
        strict=True,
      )
    ),
  }


def _joint(joint: np.ndarray, num_classes: int) -> Block:
  """Joint coherence of classes [M, N] that are seen in draws of the prior."""
  agreement = coherence.joint_coherence(joint)
  return {
    'joint': agreement,
    'joint_standard_error': _share_error(agreement, joint.shape[1]),
    **(
      {'joint_parity_as_released': coherence.joint_parity_as_released(joint)}
      if len(joint) == 3
      else {}
    ),
    'joint_chance': float(num_classes) ** (1 - len(joint)),
    'num_joint_samples': joint.shape[1],
  }


def sampler_block(fitted: Fit, joint: np.ndarray) -> Block:
  """Joint coherence from a sampler, and what it is.

  Args:
    fitted: the sampler.
    joint: classes seen in what is generated from it. Shape [M, N].
  """
  agreement = coherence.joint_coherence(joint)
  return {
    'value': agreement,
    'standard_error': _share_error(agreement, joint.shape[1]),
    'num_samples': joint.shape[1],
    'kind': 'gmm',
    'num_components': len(fitted.sampler.weights),
    'num_examples': fitted.num_examples,
    'converged': fitted.converged,
  }


def _of_text(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  of_subsets: dict[str, np.ndarray],
) -> Block:
  """Laid out as conditional coherence: subsets without the text alone."""
  pairs: dict[str, float | None] = {}
  by_size: dict[str, list[float | None]] = {}
  for subset, row in enumerate(rows):
    for name, shares in of_subsets.items():
      if not row[modalities.index(name)]:
        share = number(shares[subset])
        pairs[f'{subset_name(modalities, row)}->{name}'] = share
        by_size.setdefault(str(row.sum()), []).append(share)
  return {
    'pairs': pairs,
    'by_size': {size: mean(shares) for size, shares in by_size.items()},
  }


def _share_error(share: float, num_samples: int) -> float:
  return float(np.sqrt(share * (1 - share) / num_samples))


def num_examples(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  counts: Sequence[Any],
  all_there: Any,
) -> Block:
  """How many examples a subset had, if not always `all_there`."""
  if all(count == all_there for count in counts):
    return {}
  names = (subset_name(modalities, row) for row in rows)
  return {'num_examples': dict(zip(names, counts, strict=True))}


def number(value: float) -> float | None:
  """NaN, the share of no examples, as None."""
  return None if np.isnan(value) else float(value)


def mean(values: Sequence[float | None]) -> float | None:
  """Of those that are there."""
  found = [value for value in values if value is not None]
  return float(np.mean(found)) if found else None


def _agreement(seen: np.ndarray) -> float | None:
  """`coherence.joint_coherence`; None of no examples. Shape [M, N]."""
  return coherence.joint_coherence(seen) if seen.shape[1] else None


def _standard_error(values: np.ndarray) -> float | None:
  if len(values) < 2:
    return None
  return float(values.std(ddof=1) / np.sqrt(len(values)))
