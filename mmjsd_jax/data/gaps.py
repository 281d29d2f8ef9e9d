"""Tuples that lack modalities: made by taking some away, or left out.

Legend: M modalities, N tuples.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjsd_jax.data.dataset import Split

HOW = ('at_random', 'by_class')
INCOMPLETE = ('keep', 'drop')


def masks(split: Split, modalities: Sequence[str]) -> np.ndarray:
  """Which of the modalities every tuple has. Bool, shape [M, N]."""
  everywhere = np.ones(split.num_examples, bool)
  return np.stack([split.present.get(name, everywhere) for name in modalities])


def having(
  split: Split, modalities: Sequence[str], subsets: np.ndarray
) -> np.ndarray:
  """Which tuples have all modalities of a subset. Bool, shape [S, N].

  Args:
    split: N tuples.
    modalities: names, M of them.
    subsets: membership rows. Bool, shape [S, M].
  """
  there = masks(split, modalities)
  return np.stack([there[row].all(axis=0) for row in subsets])


def take_away(
  split: Split, share: float, *, how: str, num_classes: int, seed: int
) -> Split:
  """The split with modalities taken away; nothing of them reaches training.

  Every modality of every tuple is taken away on its own. A tuple that would be
  left with none gets back one of those that it had, all equally likely, so that
  with M modalities of everything a share of share - share^M / M is missing in
  the end, which is at most (M - 1) / M.

  Args:
    split: whose tuples may lack modalities already.
    share: probability of each modality of each tuple, in [0, 1].
    how: 'at_random', the same for all; 'by_class', a probability that rises
      evenly from the first class to the last, as far as it can without leaving
      [0, 1], with `share` as its mean over classes.
    num_classes: of the data set.
    seed: of all draws.

  Raises:
    ValueError: 'by_class' where a class is unknown.
  """
  rng = np.random.default_rng(seed).spawn(1)[0]
  before = masks(split, tuple(split.inputs))
  left = before & (
    rng.random(before.shape) >= _shares(split, share, how, num_classes)
  )
  chosen = np.argmax(before * rng.random(before.shape), axis=0)
  (emptied,) = np.nonzero(~left.any(axis=0))
  left[chosen[emptied], emptied] = True
  present = dict(zip(split.inputs, left, strict=True))
  return split._replace(
    present={name: mask for name, mask in present.items() if not mask.all()}
  )


def complete(split: Split) -> np.ndarray:
  """The tuples that have all modalities. Integers [N']."""
  there = masks(split, tuple(split.inputs))
  return np.flatnonzero(there.all(axis=0))


def summary(split: Split) -> dict[str, Any] | None:
  """What is missing, in plain JSON types; None where nothing is.

  Returns:
    'share' of all modalities of all tuples, by 'modalities', and
    'num_complete' tuples.
  """
  if not split.present:
    return None
  there = masks(split, tuple(split.inputs))
  absent = 1 - there.mean(axis=1)
  return {
    'share': float(absent.mean()),
    'modalities': dict(zip(split.inputs, absent.tolist(), strict=True)),
    'num_complete': int(there.all(axis=0).sum()),
  }


def _shares(
  split: Split, share: float, how: str, num_classes: int
) -> float | np.ndarray:
  """Of every tuple, or of all."""
  if how == 'at_random':
    return share
  if num_classes < 2 or split.labels.min() < 0:
    raise ValueError(
      "config.data.missing_how must be 'at_random' where tuples have no class; "
      f'got {how!r} with {np.sum(split.labels < 0)} of {split.num_examples} '
      f'unknown, and {num_classes} classes'
    )
  place = 2 * split.labels / (num_classes - 1) - 1  # from -1 to 1
  return share + min(share, 1 - share) * place
