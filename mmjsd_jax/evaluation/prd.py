"""Precision and recall for distributions (PRD).

Sajjadi et al., "Assessing Generative Models via Precision and Recall", NeurIPS
2018. mmJSD (NeurIPS 2020), Table 3, reports from it what it calls average
precision: the mean over both curves, of 1001 values each. A perfect generator
has 0.7204 of that (1/2 + ln 2 / pi for infinitely many angles), not 1.

Legend: N samples in each set, D features, K clusters, A angles.
"""

import warnings
from typing import NamedTuple

import numpy as np
import threadpoolctl
from sklearn.cluster import MiniBatchKMeans

from mmjsd_jax.evaluation import features

NUM_ANGLES = 1001
# How far the first and the last angle stay from 0 and pi / 2, in radians.
_MARGIN = 1e-10


class PrdCurve(NamedTuple):
  """Precision against recall, by the slope that weighs one against the other.

  Attributes:
    precision: share of the generated distribution that real data cover, rising
      from about 0 to what is attained at no recall. Shape [A].
    recall: share of the real distribution that generated data cover, falling.
      Shape [A].
  """

  precision: np.ndarray
  recall: np.ndarray

  def max_f_score(self, beta: float) -> float:
    """Largest F = (1 + b^2) P R / (b^2 P + R) on the curve, in [0, 1].

    Sajjadi et al. report b = 8, which weighs recall, and b = 1/8, precision.
    """
    both = self.precision * self.recall
    weighted = beta**2 * self.precision + self.recall
    scores = np.divide(
      (1 + beta**2) * both, weighted, np.zeros_like(both), where=both > 0
    )
    return float(scores.max())

  @property
  def average_precision_as_released(self) -> float:
    """Mean over both curves: mmJSD, Table 3. In [0, 0.7204] for 1001 angles.

    The released code takes real data for generated, and the other way round;
    the mean is the same.
    """
    return float(np.mean([self.precision, self.recall]))

  @property
  def normalised_average_precision(self) -> float:
    """`average_precision_as_released` over a perfect generator's; in [0, 1]."""
    one = np.ones(1)
    perfect = prd_from_histograms(one, one, num_angles=len(self.precision))
    ceiling = perfect.average_precision_as_released
    return self.average_precision_as_released / ceiling


def prd_from_histograms(
  generated: np.ndarray, real: np.ndarray, *, num_angles: int = NUM_ANGLES
) -> PrdCurve:
  """PRD of two distributions over the same K clusters.

  precision(l) = sum_k min(l real_k, generated_k) and recall = precision / l,
  for slopes l = tan(angle). Sajjadi et al. 2018, Algorithm 1.

  Args:
    generated: probabilities (eval_dist in the authors' code). Shape [K].
    real: probabilities (ref_dist). Shape [K].
    num_angles: A, evenly spaced over (0, pi / 2).

  Raises:
    ValueError: histograms that do not fit together, or fewer than 3 angles.
  """
  generated, real = np.asarray(generated, float), np.asarray(real, float)
  if generated.ndim != 1 or generated.shape != real.shape:
    raise ValueError(
      'expected two histograms of shape [K], got'
      f' {generated.shape} and {real.shape}'
    )
  for name, histogram in (('generated', generated), ('real', real)):
    if not (np.all(histogram >= 0) and abs(histogram.sum() - 1) < 1e-6):
      raise ValueError(
        f'expected probabilities that sum to 1 in the {name} histogram, got'
        f' {histogram}'
      )
  if num_angles < 3:
    raise ValueError(f'expected 3 angles at least, got {num_angles}')
  angles = np.linspace(_MARGIN, np.pi / 2 - _MARGIN, num_angles)
  slopes = np.tan(angles)[:, None]  # [A, 1]
  precision = np.minimum(slopes * real[None], generated[None]).sum(axis=1)
  recall = precision / slopes[:, 0]
  # Rounding may leave them just above 1.
  return PrdCurve(np.clip(precision, 0, 1), np.clip(recall, 0, 1))


def prd_curve(
  real: np.ndarray,
  generated: np.ndarray,
  *,
  num_clusters: int = 20,
  num_runs: int = 10,
  num_angles: int = NUM_ANGLES,
  seed: int = 0,
) -> PrdCurve:
  """PRD of two sets of features, averaged over several clusterings.

  Both sets are clustered together by mini-batch k-means, best of ten starts,
  and their shares of every cluster compared. Sajjadi et al. 2018, Sec. 3.4.

  Args:
    real: Shape [N, D].
    generated: as many. Shape [N, D].
    num_clusters: K.
    num_runs: clusterings.
    num_angles: A.
    seed: of the clusterings; the result is a function of it and of the sets.

  Raises:
    ValueError: sets of unlike sizes, which would weigh unlike in the
      clustering, or fewer features or runs than there must be.
  """
  real, generated = features.check_sets(real, generated)
  if len(real) != len(generated):
    raise ValueError(
      f'expected as many generated samples as real ones, got {len(generated)}'
      f' and {len(real)}'
    )
  if not 1 <= num_clusters <= 2 * len(real) or num_runs < 1:
    raise ValueError(
      'expected a run at least, and 1 cluster up to one per sample, got'
      f' {num_runs} runs of {num_clusters} clusters on {2 * len(real)} samples'
    )
  pooled = np.ascontiguousarray(np.concatenate([real, generated]), np.float32)
  curves = []
  for state in np.random.default_rng(seed).integers(2**31, size=num_runs):
    clusters = _clusters(pooled, num_clusters, int(state))
    shares = [
      np.bincount(half, minlength=num_clusters) / len(real)
      for half in np.split(clusters, 2)
    ]
    curves.append(
      prd_from_histograms(shares[1], shares[0], num_angles=num_angles)
    )
  return PrdCurve(
    *(np.mean(leaves, axis=0) for leaves in zip(*curves, strict=True))
  )


def _clusters(points: np.ndarray, num_clusters: int, state: int) -> np.ndarray:
  """Cluster of every point. Shape [2N]."""
  kmeans = MiniBatchKMeans(num_clusters, n_init=10, random_state=state)
  # It warns of fewer distinct points than clusters, which is what a generator
  # that always draws the same gives. One thread: on sets of this size more
  # only wait for one another.
  with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
    warnings.simplefilter('ignore')
    return kmeans.fit_predict(points)
