"""Frechet and kernel distance between two sets of features.

Frechet: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge
to a Local Nash Equilibrium", NeurIPS 2017. It is biased upwards, the more so
the fewer the samples, so compare only what has as many. Kernel: Binkowski et
al., "Demystifying MMD GANs", ICLR 2018; unbiased.

FID and KID are these two on features of an Inception network, and on no others.

Legend: N real samples, N' generated ones, D features.
"""

from typing import NamedTuple

import numpy as np
import threadpoolctl

from mmjsd_jax.evaluation import features

# Rows of a kernel matrix that are held at once, to stay in the cache.
_CHUNK = 128


class KernelDistance(NamedTuple):
  """An estimate of a squared maximum mean discrepancy.

  Attributes:
    value: unbiased, hence about 0 and at times negative for like sets.
    standard_error: None where the samples are too few.
  """

  value: float
  standard_error: float | None


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
  """|m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), of means and covariances.

  The squared 2-Wasserstein distance of two Gaussians: Heusel et al. 2017,
  Eq. 6. With C = R^T R and C' = R'^T R' the last trace is the sum of the
  singular values of R R'^T. The factors come from the features themselves, so
  covariances may be singular, as they are where N <= D or a feature is dead.

  Args:
    real: Shape [N, D].
    generated: Shape [N', D].

  Returns:
    In squared units of the features. Computed in float64; covariances have
    N - 1 in the denominator.

  Raises:
    ValueError: sets that do not fit together, or of less than two samples.
  """
  real, generated = features.check_sets(real, generated)
  with threadpoolctl.threadpool_limits(1):
    shift = real.mean(axis=0) - generated.mean(axis=0)
    factors = [_covariance_factor(x) for x in (real, generated)]
    trace = np.linalg.svd(factors[0] @ factors[1].T, compute_uv=False).sum()
  spread = sum(np.sum(factor**2) for factor in factors)
  # Rounding may leave it just below 0.
  return max(0.0, float(np.sum(shift**2) + spread - 2 * trace))


def kernel_distance(
  real: np.ndarray,
  generated: np.ndarray,
  *,
  num_blocks: int = 10,
  seed: int = 0,
) -> KernelDistance:
  """Unbiased squared MMD for the kernel (x.y / D + 1)^3.

  Binkowski et al. 2018, Sec. 4 and Eq. 4.

  Differs from KID as usually computed, a mean over random subsets that
  overlap: here it is that of all samples, and the standard error comes from
  disjoint blocks of them. For like sets that error is too large, since the
  variance then falls as 1 / N^2.

  Args:
    real: Shape [N, D].
    generated: Shape [N', D].
    num_blocks: for the standard error; fewer where a block would have less
      than two samples.
    seed: of which sample is in which block.

  Raises:
    ValueError: sets that do not fit together, or of less than two samples.
  """
  real, generated = features.check_sets(real, generated)
  rng = np.random.default_rng(seed)
  num_blocks = min(num_blocks, len(real) // 2, len(generated) // 2)
  blocks = [
    np.array_split(x[rng.permutation(len(x))], max(num_blocks, 1))
    for x in (real, generated)
  ]
  with threadpoolctl.threadpool_limits(1):
    value = _squared_mmd(real, generated)
    if num_blocks < 2:
      return KernelDistance(value, None)
    by_block = [_squared_mmd(x, y) for x, y in zip(*blocks, strict=True)]
  error = np.std(by_block, ddof=1) / np.sqrt(num_blocks)
  return KernelDistance(value, float(error))


def _covariance_factor(x: np.ndarray) -> np.ndarray:
  """R with R^T R = the covariance of x [N, D]. Shape [min(N, D), D]."""
  centred = x - x.mean(axis=0, keepdims=True)
  return np.asarray(np.linalg.qr(centred / np.sqrt(len(x) - 1), mode='r'))


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
  within = sum(_sum_within(z) / (len(z) * (len(z) - 1)) for z in (x, y))
  return float(within - 2 * _kernel_sum(x, y) / (len(x) * len(y)))


def _sum_within(x: np.ndarray) -> float:
  """Over the ordered pairs of different rows, of which half are computed."""
  diagonal = (np.sum(x * x, axis=1) / x.shape[1] + 1) ** 3
  total = -float(np.sum(diagonal))
  for start in range(0, len(x), _CHUNK):
    chunk, rest = x[start : start + _CHUNK], x[start + _CHUNK :]
    total += _kernel_sum(chunk, chunk) + 2 * _kernel_sum(chunk, rest)
  return total


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
  total = 0.0
  for start in range(0, len(x), _CHUNK):
    base = x[start : start + _CHUNK] @ y.T
    base /= x.shape[1]
    base += 1
    total += float(np.vdot(base * base, base))
  return total
