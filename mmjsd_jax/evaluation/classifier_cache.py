"""Trained classifiers, and how they are kept on disk."""

import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax.evaluation import weights

# Layer -> {'kernel', 'bias'}, or a layer's layers; and 'batch_stats'.
Params = dict[str, Any]

_ACCURACY = 'test_accuracy'


class Classifiers(NamedTuple):
  """One trained classifier per modality.

  Attributes:
    params: modality name -> weights, batch normalisation's running statistics
      among them.
    test_accuracy: modality name -> accuracy on real test data, in [0, 1].
  """

  params: dict[str, Params]
  test_accuracy: dict[str, float]


def write(path: pathlib.Path, classifiers: Classifiers) -> None:
  """Writes a file, whole or not at all; a failure is only a warning."""
  tree = {
    modality: params | {_ACCURACY: np.float64(accuracy)}
    for (modality, params), accuracy in zip(
      classifiers.params.items(),
      classifiers.test_accuracy.values(),
      strict=True,
    )
  }
  weights.write(path, tree)


def read(path: pathlib.Path, shapes: dict[str, Params]) -> Classifiers | None:
  """Classifiers from a file; None, and perhaps a warning, if it has none.

  Args:
    path: of a file that `write` wrote.
    shapes: modality name -> shapes of its weights; a file of others is damaged.
  """
  accuracy = np.zeros((), np.float64)
  tree = weights.read(
    path,
    {name: leaves | {_ACCURACY: accuracy} for name, leaves in shapes.items()},
  )
  if tree is None:
    return None
  accuracies = {
    name: float(leaves.pop(_ACCURACY)) for name, leaves in tree.items()
  }
  return Classifiers(jax.tree.map(jnp.asarray, tree), accuracies)
