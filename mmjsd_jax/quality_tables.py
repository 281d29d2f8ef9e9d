"""Tables of sample quality, out of the contents of results.json.

A table for each kind of features that it was measured on. None where nothing
was measured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjsd_jax.tables import (
  Results,
  Table,
  count,
  distance,
  get,
  is_number,
  share,
)

_COLUMNS = (
  'images',
  'PRD, normalised',
  'F8 (recall)',
  'F1/8 (precision)',
  'improved precision',
  'improved recall',
  'Frechet distance',
  'kernel distance',
)


def by_size(results: Results) -> dict[str, Table]:
  """Name of features -> quality of generated images, by number of inputs."""
  block = get(results, 'metrics', 'quality')
  made = {}
  for kind in _kinds(block):
    rows = []
    for name, of_modality in get(block, 'random').items():
      groups: dict[int, list[Any]] = {}
      for pair, found in _pairs(block, name):
        groups.setdefault(_pair_size(pair), []).append(get(found, kind))
      rows += [
        (
          f'{name}, real (floor)',
          *_cells([get(of_modality, kind)], '_floor'),
        ),
        (f'{name} from the prior', *_cells([get(of_modality, kind)])),
        *(
          (f'{name} from {_inputs(size)}', *_cells(found))
          for size, found in sorted(groups.items())
        ),
      ]
    made[kind] = Table(_caption(block, kind), _COLUMNS, tuple(rows))
  return made


def of_pairs(results: Results) -> dict[str, Table]:
  """Name of features -> quality of images generated from every subset."""
  block = get(results, 'metrics', 'quality')
  return {
    kind: Table(
      f'Features: {kind}. Images generated from every subset of the others.',
      _COLUMNS,
      tuple(
        (pair, *_cells([get(found, kind)]))
        for name in get(block, 'random')
        for pair, found in _pairs(block, name)
      ),
    )
    for kind in _kinds(block)
  }


def _cells(blocks: Sequence[Any], suffix: str = '') -> tuple[str, ...]:
  """Of one sample set, or the mean over several that have all numbers."""

  def mean(*keys: str) -> float | None:
    values = [get(block, keys[0] + suffix, *keys[1:]) for block in blocks]
    is_there = values and all(is_number(value) for value in values)
    return float(np.mean(values)) if is_there else None

  error = None
  if len(blocks) == 1:
    error = get(blocks[0], f'kd_standard_error{suffix}')
  return (
    share(mean('prd', 'normalised')),
    share(mean('prd', 'f8')),
    share(mean('prd', 'f1_8')),
    share(mean('precision')),
    share(mean('recall')),
    distance(mean('fd')),
    distance(mean('kd'), error),
  )


def _caption(block: Any, kind: str) -> str:
  what = {
    'FD-enc': 'an encoder trained on the same images without labels, which '
    'sees digit and style',
    'FID': 'the Inception network that FID is defined by, given images '
    'enlarged to 299 x 299: the Frechet distance is FID, too high to compare '
    'with the literature below 10,000 images, and the kernel distance KID',
    'FD-clf': 'the digit classifier that judges coherence, which overlooks '
    'style',
  }.get(kind, kind)
  return (
    f'Features: {kind}, of {what}. {count(get(block, "num_samples"))} images '
    'in each set, against as many real test images. PRD, normalised: the mean '
    "of both curves, mmJSD's average precision (Table 3), over the 0.7204 of a "
    'perfect generator. The floor is what real training images score. '
    'Distances are low where images are good, all else is high. Means over '
    'the subsets of a size.'
  )


def _kinds(block: Any) -> list[str]:
  """Names of the features: FID, FD-enc, FD-clf."""
  kinds = {
    kind for found in (get(block, 'random') or {}).values() for kind in found
  }
  return sorted(kinds, reverse=True)


def _pairs(block: Any, target: str) -> list[tuple[str, Any]]:
  pairs = get(block, 'conditional', 'pairs') or {}
  return [
    (pair, found)
    for pair, found in pairs.items()
    if pair.partition('->')[2] == target
  ]


def _pair_size(pair: str) -> int:
  return pair.partition('->')[0].count('+') + 1


def _inputs(size: int) -> str:
  return '1 input' if size == 1 else f'{size} inputs'
