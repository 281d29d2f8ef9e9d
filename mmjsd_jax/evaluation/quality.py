"""Sample quality: generated against real features of one modality.

Every number depends on the features that it is measured on, so it carries their
name: `CLASSIFIER` for what the digit classifier's last layer reads, `ENCODER`
for the label-free encoder, `INCEPTION` for the network that FID is defined by,
of which alone a Frechet distance is an FID, and a kernel distance a KID. Beside
each stands its floor: the same of real data against other real data.

Legend: N samples in each set, D features.
"""

from typing import Any, NamedTuple

import numpy as np

from mmjsd_jax.evaluation import distances, neighbours, prd
from mmjsd_jax.evaluation.distances import KernelDistance
from mmjsd_jax.evaluation.neighbours import Overlap
from mmjsd_jax.evaluation.prd import PrdCurve

CLASSIFIER = 'FD-clf'
ENCODER = 'FD-enc'
INCEPTION = 'FID'
_INCEPTION_FEATURES = 2048


class Quality(NamedTuple):
  """How well a set of samples matches another.

  Attributes:
    num_samples: N, in each set.
    num_features: D.
    prd: curve of precision and recall for distributions.
    overlap: improved precision and recall, density and coverage.
    frechet: Frechet distance, biased upwards by few samples.
    kernel: kernel distance, unbiased.
  """

  num_samples: int
  num_features: int
  prd: PrdCurve
  overlap: Overlap
  frechet: float
  kernel: KernelDistance


def measure(
  real: np.ndarray,
  generated: np.ndarray,
  *,
  seed: int = 0,
  real_radii: np.ndarray | None = None,
) -> Quality:
  """All measures of generated samples' features.

  Args:
    real: Shape [N, D].
    generated: as many. Shape [N, D].
    seed: of clusterings and blocks.
    real_radii: `neighbours.squared_radii` of `real`, where they are known, as
      for whoever measures many sets against one. Shape [N].

  Raises:
    ValueError: sets of unlike size or of fewer than ten samples, or features
      that are not finite.
  """
  curve = prd.prd_curve(real, generated, seed=seed)
  return Quality(
    num_samples=len(real),
    num_features=real.shape[1],
    prd=curve,
    overlap=neighbours.overlap(real, generated, real_radii=real_radii),
    frechet=distances.frechet_distance(real, generated),
    kernel=distances.kernel_distance(real, generated, seed=seed),
  )


def measure_floor(
  real: np.ndarray, other: np.ndarray | None = None, *, seed: int = 0
) -> Quality:
  """What real data score against real data.

  With training data as `other` it is the score of a generator that has learned
  the training distribution and nothing else; the first digits of SVHN's two
  splits, for one, differ by more than chance.

  Args:
    real: the set that generated samples are measured against. Shape [N, D].
    other: as many other real samples, as of the training split. Without them,
      one random half of `real` against its other half, of N // 2 each; a
      Frechet distance is then larger for having fewer samples.
    seed: as in `measure`, and of the halves.
  """
  if other is None:
    rows = np.random.default_rng(seed).permutation(len(real))
    half = len(real) // 2
    real, other = real[rows[:half]], real[rows[half : 2 * half]]
  return measure(real, other, seed=seed)


def quality_block(
  name: str, measured: Quality, floor: Quality
) -> dict[str, Any]:
  """What was measured, laid out as in results.json: plain JSON types.

  Every measure x is followed by 'x_floor', real data's against real data.

  Args:
    name: of the features: `CLASSIFIER`, `ENCODER`, `INCEPTION` or the user's
      own.
    measured: generated against real samples.
    floor: real against real samples.

  Raises:
    ValueError: features called FID or KID that are not Inception's 2048.
  """
  if any(inception in name.upper() for inception in ('FID', 'KID')) and (
    measured.num_features != _INCEPTION_FEATURES
  ):
    raise ValueError(
      f'expected a name without FID or KID, which are of {_INCEPTION_FEATURES}'
      f' features of Inception, got {name!r} for {measured.num_features}'
    )
  return {
    'features': name,
    'num_features': measured.num_features,
    'num_samples': measured.num_samples,
    'num_samples_floor': floor.num_samples,
    **_numbers(measured),
    **{f'{key}_floor': value for key, value in _numbers(floor).items()},
  }


def _numbers(measured: Quality) -> dict[str, Any]:
  curve = measured.prd
  return {
    'prd': {
      'f8': curve.max_f_score(8),
      'f1_8': curve.max_f_score(1 / 8),
      'average_precision_as_released': curve.average_precision_as_released,
      'normalised': curve.normalised_average_precision,
    },
    **measured.overlap._asdict(),
    'fd': measured.frechet,
    'kd': measured.kernel.value,
    'kd_standard_error': measured.kernel.standard_error,
  }
