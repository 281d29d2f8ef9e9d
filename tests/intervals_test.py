"""Bootstrap intervals against scipy's, and paired differences by hand."""

import numpy as np
import pytest
from scipy import stats

from mmjsd_jax import intervals


@pytest.mark.parametrize('num', [3, 5, 12])
def test_the_interval_is_scipys_percentile_bootstrap(num):
  values = np.random.default_rng(1).normal(0.7, 0.02, num)
  expected = stats.bootstrap(
    (values,),
    np.mean,
    n_resamples=intervals.NUM_RESAMPLES,
    confidence_level=intervals.LEVEL,
    method='percentile',
    rng=np.random.default_rng(0),
  ).confidence_interval
  assert intervals.bootstrap(values) == pytest.approx(tuple(expected), 1e-12)


def test_of_three_values_the_ends_are_the_extreme_means():
  # 1 of 27 resamples is three times the lowest: more than 2.5 %.
  assert intervals.bootstrap([0.0, 3.0, 6.0]) == (0.0, 6.0)


def test_equal_values_have_an_interval_without_width():
  assert intervals.bootstrap([0.5] * 4) == (0.5, 0.5)


@pytest.mark.parametrize('values', [(), (0.1,), (0.1, 0.2)])
def test_fewer_than_three_values_have_no_interval(values):
  assert intervals.bootstrap(values) is None


def test_the_stated_coverage_of_five_values_holds():
  rng = np.random.default_rng(0)
  found = [intervals.bootstrap(rng.normal(size=5)) for _ in range(400)]
  # Four standard errors of 400 draws are 0.07.
  assert np.mean([i.low < 0 < i.high for i in found]) == pytest.approx(
    0.84, abs=0.07
  )


def test_differences_are_taken_between_equal_seeds():
  first = {0: 0.9, 1: 0.8, 2: 0.5, 7: 1.0}
  second = {2: 0.6, 1: 0.6, 0: 0.6, 8: 0.0}
  found = intervals.paired(first, second)
  assert found.differences == pytest.approx({0: 0.3, 1: 0.2, 2: -0.1})
  assert list(found.differences) == [0, 1, 2]
  assert found.mean == pytest.approx(0.4 / 3)
  assert found.num_agreeing == 2
  assert found.interval == pytest.approx((-0.1, 0.3))


def test_pairs_without_a_common_seed_have_no_mean():
  assert intervals.paired({0: 1.0}, {1: 1.0}) == ({}, None, None, 0)


def test_equal_values_agree_on_no_difference():
  assert intervals.paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).num_agreeing == 2
