"""Modalities that are taken away from tuples, and tuples that are left out."""

import numpy as np
import pytest

from mmjsd_jax.data import dataset, gaps
from mmjsd_jax.data.dataset import Dataset, Split

N, NAMES = 20_000, ('m0', 'm1', 'm2', 'm3')


def split_of(num_examples=N, **changes):
  inputs = {name: np.zeros((num_examples, 2), np.uint8) for name in NAMES}
  labels = np.arange(num_examples, dtype=np.int32) % 10
  return Split(inputs, labels)._replace(**changes)


def taken(split, share, *, how='at_random', seed=0):
  return gaps.take_away(split, share, how=how, num_classes=10, seed=seed)


@pytest.mark.parametrize('share', [0.2, 0.5, 0.8, 1.0])
def test_the_share_is_as_asked_but_for_what_is_given_back(share):
  split = taken(split_of(), share)
  there = gaps.masks(split, NAMES)
  assert there.any(axis=0).all()
  # Five standard errors of N * M draws.
  expected, error = share - share**4 / 4, 2.5 / np.sqrt(there.size)
  assert abs(1 - there.mean() - expected) < error
  # Alike for all modalities, whichever was given back.
  np.testing.assert_allclose(1 - there.mean(axis=1), expected, atol=2 * error)
  found = gaps.summary(split)
  assert found['share'] == pytest.approx(1 - there.mean())
  assert list(found['modalities']) == list(NAMES)
  assert found['num_complete'] == len(gaps.complete(split))
  assert abs(found['num_complete'] / N - (1 - share) ** 4) < 5 * 0.5 / N**0.5
  dataset.check(Dataset('toy', NAMES, 10, split, split, '', None, ''))


@pytest.mark.parametrize('share', [0.2, 0.5, 0.8])
def test_by_class_the_share_rises_with_the_class(share):
  split = split_of()
  there = gaps.masks(taken(split, share, how='by_class'), NAMES)
  of_class = np.array(
    [1 - there[:, split.labels == c].mean() for c in range(10)]
  )
  reach = min(share, 1 - share)
  wanted = share + reach * np.linspace(-1, 1, 10)
  assert abs(wanted.mean() - share) < 1e-9
  np.testing.assert_allclose(of_class, wanted - wanted**4 / 4, atol=0.03)


def test_draws_are_those_of_the_seed():
  split = split_of(100)
  first, again, other = (
    gaps.masks(taken(split, 0.5, seed=seed), NAMES) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()


def test_nothing_asked_for_leaves_the_split_as_it_was():
  split = taken(split_of(100), 0.0)
  assert split.present == {}
  assert gaps.summary(split) is None


def test_what_was_missing_before_is_not_given_back():
  absent = np.zeros(100, bool)
  split = taken(split_of(100, present={'m0': absent, 'm1': absent}), 1.0)
  there = gaps.masks(split, NAMES)
  assert not there[:2].any()
  np.testing.assert_array_equal(there.sum(axis=0), 1)
  assert there[2].any() and there[3].any()


def test_classes_that_are_unknown_cannot_choose():
  labels = np.where(np.arange(100) < 3, -1, 0).astype(np.int32)
  with pytest.raises(ValueError, match=r'missing_how must be .* 3 of 100 unkn'):
    taken(split_of(100, labels=labels), 0.5, how='by_class')


def test_items_that_fill_gaps_are_none_of_a_modality():
  items = np.arange(4, dtype=np.float32)
  split = Split(
    {'a': items, 'b': items},
    np.zeros(3, np.int32),
    {'b': np.array([3, 1, 1])},
    {'a': np.array([True, False, True]), 'b': np.array([False, True, True])},
  )
  np.testing.assert_array_equal(split.items_of('b'), [1])
  alone = split._replace(inputs={'a': items[:3]}, tables={})
  np.testing.assert_array_equal(alone.items_of('a'), [0, 2])
  whole = split._replace(present={})
  assert whole.items_of('a') is items
