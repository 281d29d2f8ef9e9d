"""What was measured of factors, laid out as in results.json: plain JSON types.

Legend: S subsets, M modalities, F factors; None stands for what has no value.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjsd_jax.evaluation import summary
from mmjsd_jax.evaluation.probe import FactorProbes
from mmjsd_jax.subsets import subset_name

Block = dict[str, Any]


def probe_blocks(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  factors: Sequence[str],
  probes: Mapping[int, Sequence[FactorProbes]],
  num_test: int,
) -> Block:
  """Size of the training set -> values by subset and factor.

  'num_examples', where some lack modalities: subset -> how many training and
  test examples it had.

  Args:
    modalities: names, M of them.
    rows: membership rows of the subsets. Bool, shape [S, M].
    factors: names, F of them.
    probes: size -> those of every subset.
    num_test: test examples that there are.
  """
  names = [subset_name(modalities, row) for row in rows]
  return {
    str(size): {
      'subsets': {
        name: _by_factor(factors, found.values)
        for name, found in zip(names, of_size, strict=True)
      },
      'mean': {
        name: _macro(found.values)
        for name, found in zip(names, of_size, strict=True)
      },
      'num_not_converged': sum(found.num_not_converged for found in of_size),
      **summary.num_examples(
        modalities,
        rows,
        [[found.num_train, found.num_test] for found in of_size],
        [size, num_test],
      ),
    }
    for size, of_size in probes.items()
  }


def generated_blocks(
  modalities: tuple[str, ...],
  rows: np.ndarray,
  factors: Sequence[str],
  judged: tuple[str, ...],
  *,
  generated: np.ndarray,
  drawn: Mapping[str, np.ndarray],
  ceiling: np.ndarray,
  counts: Sequence[int],
  num_test: int,
) -> Block:
  """What is generated from every subset, and the classifiers on real data.

  'drawn_text' and its mean are there where there is text, 'num_examples' where
  some examples lack modalities.

  Args:
    modalities: names, M of them.
    rows: membership rows of the subsets. Bool, shape [S, M].
    factors: names, F of them.
    judged: modalities that have a classifier, M' of them.
    generated: values. Shape [S, M', F].
    drawn: text modality -> values of draws of p(x | z). Shape [S, F].
    ceiling: values of real data. Shape [M', F].
    counts: test examples that have all modalities of a subset. Length S.
    num_test: test examples that there are.
  """
  subsets = [subset_name(modalities, row) for row in rows]
  blocks: Block = {
    'generated': {
      subset: dict(zip(judged, values, strict=True))
      for subset, values in zip(subsets, generated, strict=True)
    },
    'drawn_text': {
      subset: {name: values[number] for name, values in drawn.items()}
      for number, subset in enumerate(subsets)
    },
    'ceiling': dict(zip(judged, ceiling, strict=True)),
  }
  if not drawn:
    del blocks['drawn_text']
  found: Block = summary.num_examples(modalities, rows, counts, num_test)
  for name, block in blocks.items():
    found[name] = _at_leaves(lambda x: _by_factor(factors, x), block)
    found[f'{name}_mean'] = _at_leaves(_macro, block)
  return found


def _at_leaves(function: Any, tree: Any) -> Any:
  if isinstance(tree, dict):
    return {name: _at_leaves(function, leaf) for name, leaf in tree.items()}
  return function(tree)


def _by_factor(
  factors: Sequence[str], values: np.ndarray
) -> dict[str, float | None]:
  return dict(zip(factors, map(summary.number, values), strict=True))


def _macro(values: np.ndarray) -> float | None:
  """Mean over the factors that have a value."""
  return summary.mean([summary.number(value) for value in values])
