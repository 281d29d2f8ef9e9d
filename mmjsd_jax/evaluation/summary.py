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
  modalities: tuple[str, ...], rows: np.ndarray, values: Sequence[float]
) -> Block:
  """Values by subset, and averaged over the subsets of every size.

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    values: one per subset.
  """
  numbers = np.asarray(values, float)
  sizes = rows.sum(axis=1)
  return {
    'subsets': {
      subset_name(modalities, row): float(value)
      for row, value in zip(rows, numbers, strict=True)
    },
    'by_size': {
      str(size): float(numbers[sizes == size].mean())
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
) -> Block:
  """Size of the training set -> accuracies, and how many fits gave up.

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    probes: size -> one result per subset.
  """
  return {
    str(size): {
      **by_subset(modalities, rows, [found.accuracy for found in of_size]),
      'num_not_converged': sum(not found.converged for found in of_size),
    }
    for size, of_size in probes.items()
  }


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
  joint: np.ndarray,
  data: np.ndarray,
  num_classes: int,
  inputs: Mapping[str, np.ndarray],
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

  Args:
    modalities: names, M of them.
    rows: Shape [S, M].
    labels: classes of the test examples. Shape [N].
    conditional: what is seen in what is generated from them.
    joint: classes seen in what is generated from the prior. Shape [M, N'].
    data: classes seen in the test examples themselves. Shape [M, N].
    num_classes: classes that there are.
    inputs: modality name -> the test examples, as stored. Shape [N, ...].
  """
  classes, codes, drawn = conditional
  accuracies = coherence.conditional_coherence(classes, labels)  # [S, M]
  sizes = rows.sum(axis=1)
  # Of every subset, the targets outside it: accuracies, and classes seen.
  targets = [
    (of_row[~row], seen[~row])
    for row, of_row, seen in zip(rows, accuracies, classes, strict=True)
  ]
  of_size = {
    str(size): [targets[subset] for subset in np.flatnonzero(sizes == size)]
    for size in np.unique(sizes)
    if size < len(modalities)
  }
  agreement = coherence.joint_coherence(joint)
  full = np.flatnonzero(rows.all(axis=1))
  exact = {
    name: coherence.exact_match(generated, inputs[name])  # [S]
    for name, generated in codes.items()
  }
  drawn_right = {
    name: coherence.conditional_coherence(seen, labels)  # [S]
    for name, seen in drawn.items()
  }
  return {
    'conditional': {
      'pairs': {
        f'{subset_name(modalities, row)}->{target}': float(accuracy)
        for row, of_row in zip(rows, accuracies, strict=True)
        for target, used, accuracy in zip(modalities, row, of_row, strict=True)
        if not used
      },
      'by_size': {
        size: float(np.mean([shares for shares, _ in found]))
        for size, found in of_size.items()
      },
    },
    'cogeneration': {
      'by_size': {
        size: float(
          np.mean([coherence.joint_coherence(seen) for _, seen in found])
        )
        for size, found in of_size.items()
        if len(found[0][0]) > 1
      }
    },
    'reconstruction': dict(
      zip(modalities, accuracies[full[0]].tolist(), strict=True)
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
    'joint': agreement,
    'joint_standard_error': _share_error(agreement, joint.shape[1]),
    **(
      {'joint_parity_as_released': coherence.joint_parity_as_released(joint)}
      if len(joint) == 3
      else {}
    ),
    'joint_chance': float(num_classes) ** (1 - len(modalities)),
    'joint_ceiling': coherence.joint_coherence(data),
    'num_joint_samples': joint.shape[1],
    'chance': 1 / num_classes,
    'ceiling': dict(
      zip(
        modalities,
        coherence.conditional_coherence(data, labels).tolist(),
        strict=True,
      )
    ),
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
  pairs: dict[str, float] = {}
  by_size: dict[str, list[float]] = {}
  for subset, row in enumerate(rows):
    for name, shares in of_subsets.items():
      if not row[modalities.index(name)]:
        share = float(shares[subset])
        pairs[f'{subset_name(modalities, row)}->{name}'] = share
        by_size.setdefault(str(row.sum()), []).append(share)
  return {
    'pairs': pairs,
    'by_size': {
      size: float(np.mean(shares)) for size, shares in by_size.items()
    },
  }


def _share_error(share: float, num_samples: int) -> float:
  return float(np.sqrt(share * (1 - share) / num_samples))


def _standard_error(values: np.ndarray) -> float | None:
  if len(values) < 2:
    return None
  return float(values.std(ddof=1) / np.sqrt(len(values)))
