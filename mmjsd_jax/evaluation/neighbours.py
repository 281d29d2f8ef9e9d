"""Precision and recall, density and coverage, from nearest neighbours.

Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing
Generative Models", NeurIPS 2019; Naeem et al., "Reliable Fidelity and Diversity
Metrics for Generative Models", ICML 2020.

A sample's ball reaches to its k-th nearest other sample in its own set, and
contains what lies on its surface.

Legend: N real samples, N' generated ones, D features.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import threadpoolctl

from mmjsd_jax.evaluation import features

# Rows of a matrix of distances that are held at once, to stay in the cache.
_CHUNK = 64
# A squared distance below this share of the squared norms that it is the
# difference of is rounding: those two samples are the same.
_ROUNDING = 1e-12


class Overlap(NamedTuple):
  """How far generated and real samples lie among one another.

  Attributes:
    precision: share of the generated samples within any real ball, in [0, 1].
    recall: share of the real samples within any generated ball, in [0, 1].
    density: real balls that a generated sample is in, over k; about 1 for like
      sets, and not bounded by it.
    coverage: share of the real balls with a generated sample, in [0, 1]; for
      like sets 1 - 2^-k with many samples.
  """

  precision: float
  recall: float
  density: float
  coverage: float


def overlap(
  real: np.ndarray,
  generated: np.ndarray,
  *,
  k: int = 3,
  real_radii: np.ndarray | None = None,
) -> Overlap:
  """Improved precision and recall (Eq. 2), density and coverage (Eq. 3, 4).

  Args:
    real: Shape [N, D].
    generated: Shape [N', D].
    k: which neighbour a ball reaches to.
    real_radii: `squared_radii` of `real`, where they are known. Shape [N].

  Raises:
    ValueError: sets that do not fit together, or of k samples or fewer.
  """
  real, generated = features.check_sets(real, generated)
  if real_radii is None:
    real_radii = squared_radii(real, k=k)
  generated_radii = squared_radii(generated, k=k)
  centre = real.mean(axis=0, keepdims=True)
  real, generated = real - centre, generated - centre
  with threadpoolctl.threadpool_limits(1):
    is_covered = np.zeros(len(real), bool)
    is_recalled = np.zeros(len(real), bool)
    num_balls = []  # that a generated sample is in
    for rows, distances in _squared_distances(generated, real):
      in_real_ball = distances <= real_radii[None]
      is_covered |= in_real_ball.any(axis=0)
      num_balls.append(in_real_ball.sum(axis=1))
      in_ball = distances <= generated_radii[rows, None]
      is_recalled |= in_ball.any(axis=0)
  counts = np.concatenate(num_balls)
  return Overlap(
    precision=float(np.mean(counts > 0)),
    recall=float(np.mean(is_recalled)),
    density=float(np.mean(counts) / k),
    coverage=float(np.mean(is_covered)),
  )


def squared_radii(x: np.ndarray, *, k: int = 3) -> np.ndarray:
  """Squared distance of samples to their k-th nearest other one. Shape [N].

  Args:
    x: Shape [N, D].
    k: which neighbour.

  Raises:
    ValueError: k samples or fewer.
  """
  x, _ = features.check_sets(x, x)
  if not 1 <= k < len(x):
    raise ValueError(
      f'expected k from 1 to less than the number of samples, got {k} of'
      f' {len(x)}'
    )
  x = x - x.mean(axis=0, keepdims=True)
  radii = []
  with threadpoolctl.threadpool_limits(1):
    for rows, distances in _squared_distances(x, x):
      np.fill_diagonal(distances[:, rows], np.inf)  # to itself
      radii.append(np.partition(distances, k - 1, axis=1)[:, k - 1])
  return np.concatenate(radii)


def _squared_distances(
  x: np.ndarray, y: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
  """Rows of x, and their squared distances to y, [_CHUNK, len(y)].

  Differences of products, which are the more exact the smaller the features.
  """
  squares, others = np.sum(x * x, axis=1), np.sum(y * y, axis=1)
  factor = -2 * y.T
  for start in range(0, len(x), _CHUNK):
    rows = slice(start, start + _CHUNK)
    norms = squares[rows, None] + others[None]
    distances = x[rows] @ factor
    distances += norms
    norms *= _ROUNDING
    np.copyto(distances, 0, where=distances < norms)
    yield rows, distances
