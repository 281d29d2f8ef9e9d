"""Precision and recall for distributions."""

import warnings

import numpy as np
import pytest
import vectors

from mmjsd_jax.evaluation import prd

# Of two like sets, for 1001 angles; the golden case 'identical'.
CEILING = 0.7204153157505405


def _sets(num_rows=60, shift=0.0):
  rng = np.random.default_rng(0)
  real, generated = rng.normal(size=(2, num_rows, 4))
  return real, generated + shift


@vectors.cases('prd_from_histograms', ('f64',))
def test_curves_have_the_golden_values(case):
  curve = prd.prd_from_histograms(
    case.array('eval_hist'),
    case.array('ref_hist'),
    num_angles=case.inputs['num_angles'],
  )
  for name in ('precision', 'recall'):
    expected = case.expected[f'{name}_at_indices']
    found = getattr(curve, name)[[int(index) for index in expected]]
    tolerance = case.tolerance['f64']
    np.testing.assert_allclose(found, list(expected.values()), **tolerance)
  case.check(curve.max_f_score(8), 'F8')
  case.check(curve.max_f_score(1 / 8), 'F_1_8')
  case.check(curve.average_precision_as_released, 'mmjsd_average_precision')


def test_f8_weighs_recall_and_f1_8_precision():
  half = prd.prd_from_histograms([1.0, 0.0], [0.5, 0.5])
  # F of precision 1 and recall 1/2: 65 / (128 + 1), and 65 / (2 + 64).
  assert half.max_f_score(8) == pytest.approx(65 / 129, abs=1e-3)
  assert half.max_f_score(1 / 8) == pytest.approx(65 / 66, abs=1e-3)
  turned = prd.prd_from_histograms([0.5, 0.5], [1.0, 0.0])
  assert turned.max_f_score(8) == pytest.approx(65 / 66, abs=1e-3)


def test_average_precision_is_the_same_either_way_round():
  p, q = np.random.default_rng(0).dirichlet(np.ones(20), 2)
  there, back = prd.prd_from_histograms(p, q), prd.prd_from_histograms(q, p)
  assert there.average_precision_as_released == pytest.approx(
    back.average_precision_as_released, rel=1e-6
  )
  np.testing.assert_allclose(there.precision, back.recall[::-1], atol=1e-6)


def test_ceiling_nears_its_limit_with_more_angles():
  curve = prd.prd_from_histograms([1.0], [1.0], num_angles=100_001)
  limit = 1 / 2 + np.log(2) / np.pi
  assert curve.average_precision_as_released == pytest.approx(limit, abs=1e-5)


def test_identical_sets_reach_the_ceiling():
  real, _ = _sets()
  curve = prd.prd_curve(real, real, num_runs=2)
  assert curve.max_f_score(8) == pytest.approx(1, abs=1e-9)
  assert curve.max_f_score(1 / 8) == pytest.approx(1, abs=1e-9)
  found = curve.average_precision_as_released
  assert found == pytest.approx(CEILING, abs=1e-9)
  assert curve.normalised_average_precision == pytest.approx(1, abs=1e-9)


def test_sets_far_apart_score_zero():
  curve = prd.prd_curve(*_sets(shift=1000), num_runs=2)
  assert curve.max_f_score(8) == 0
  assert curve.average_precision_as_released == 0
  assert curve.normalised_average_precision == 0


def test_a_lost_mode_costs_recall_and_an_invented_one_precision():
  rng = np.random.default_rng(0)
  near, far = rng.normal(size=(2, 200, 4)) + np.array([0, 100])[:, None, None]
  both = np.concatenate([near[:100], far[:100]])
  lost = prd.prd_curve(both, near, num_runs=2)
  assert lost.max_f_score(8) < 0.6 and lost.max_f_score(1 / 8) > 0.8
  invented = prd.prd_curve(near, both, num_runs=2)
  assert invented.max_f_score(8) > 0.8 and invented.max_f_score(1 / 8) < 0.6


def test_result_is_a_function_of_the_seed():
  sets = _sets()
  runs = [prd.prd_curve(*sets, num_runs=2, seed=seed) for seed in (0, 0, 1)]
  np.testing.assert_array_equal(runs[0], runs[1])
  assert np.abs(np.subtract(runs[0], runs[2])).max() > 0


def test_a_generator_of_one_sample_gives_no_warning():
  real = np.zeros((30, 4))
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    prd.prd_curve(real, np.ones_like(real), num_runs=1)
  assert not caught


@pytest.mark.parametrize(
  ('num_real', 'num_generated', 'message'),
  [
    (60, 59, 'as many generated samples as real ones, got 59 and 60'),
    (9, 9, '10 runs of 20 clusters on 18 samples'),
  ],
)
def test_counts_that_do_not_fit_are_refused(num_real, num_generated, message):
  real, generated = _sets()
  with pytest.raises(ValueError, match=message):
    prd.prd_curve(real[:num_real], generated[:num_generated])


@pytest.mark.parametrize(
  'histograms',
  [([1.0], [0.5, 0.5]), ([0.5, 0.4], [0.5, 0.5]), ([1.5, -0.5], [1.0, 0.0])],
  ids=['shapes', 'sum', 'negative'],
)
def test_what_is_no_pair_of_histograms_is_refused(histograms):
  with pytest.raises(ValueError, match='expected'):
    prd.prd_from_histograms(*histograms)
