"""Frechet and kernel distance."""

import numpy as np
import pytest
import vectors

from mmjsd_jax.evaluation import distances


def _normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


@vectors.cases('frechet_distance', ('f64',))
def test_frechet_distance_has_the_golden_value(case):
  real = np.asarray(case.inputs['features_real'])
  fake = np.asarray(case.inputs['features_fake'])
  case.check(distances.frechet_distance(real, fake), 'frechet')
  case.check(distances.frechet_distance(fake, real), 'frechet')
  same = distances.frechet_distance(real, real)
  case.check(same, 'frechet_same_features')


def test_frechet_distance_of_a_shift_is_its_square():
  x, shift = _normal(50, 6), np.arange(6.0)
  found = distances.frechet_distance(x, x + shift)
  assert found == pytest.approx(np.sum(shift**2), rel=1e-12)


def test_frechet_distance_of_a_scaling_is_closed():
  # Standard deviations s and 3 s along the same axes: sum (s - 3 s)^2.
  x = _normal(50, 6)
  x -= x.mean(axis=0)
  found = distances.frechet_distance(x, 3 * x)
  assert found == pytest.approx(4 * np.sum(x.var(axis=0, ddof=1)), rel=1e-12)


def test_frechet_distance_agrees_with_the_eigenvalues_of_the_product():
  x, y = _normal(80, 5), _normal(60, 5, seed=1) @ _normal(5, 5, seed=2)
  c, d = np.cov(x.T), np.cov(y.T)
  root = np.sqrt(np.linalg.eigvals(c @ d)).real.sum()
  shift = x.mean(axis=0) - y.mean(axis=0)
  expected = np.sum(shift**2) + np.trace(c) + np.trace(d) - 2 * root
  assert distances.frechet_distance(x, y) == pytest.approx(expected, rel=1e-10)


def test_frechet_distance_bears_singular_covariances():
  x = _normal(20, 300)  # fewer samples than features
  assert distances.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
  x[:, :100] = 0  # features that are dead
  assert distances.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
  collapsed = np.zeros_like(x)
  expected = np.sum(x.mean(axis=0) ** 2) + np.sum(x.var(axis=0, ddof=1))
  found = distances.frechet_distance(x, collapsed)
  assert found == pytest.approx(expected, rel=1e-12)


def test_frechet_distance_is_biased_by_few_samples_and_kernel_distance_not():
  few, many = [
    [_normal(2, num_rows, 8, seed=seed) for seed in range(20)]
    for num_rows in (30, 300)
  ]
  frechet = [
    np.mean([distances.frechet_distance(*pair) for pair in pairs])
    for pairs in (few, many)
  ]
  assert frechet[0] > 5 * frechet[1] > 0
  kernel = [distances.kernel_distance(*pair).value for pair in few]
  assert abs(np.mean(kernel)) < 3 * np.std(kernel, ddof=1) / np.sqrt(20)
  assert min(kernel) < 0


def test_kernel_distance_agrees_with_a_loop():
  x, y = _normal(5, 3), _normal(7, 3, seed=1)

  def kernel(a, b):
    return (a @ b / 3 + 1) ** 3

  def within(z):
    size = len(z)
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    return np.mean([kernel(z[i], z[j]) for i, j in pairs])

  between = np.mean([kernel(a, b) for a in x for b in y])
  found = distances.kernel_distance(x, y)
  assert found.value == pytest.approx(within(x) + within(y) - 2 * between)


def test_chunks_do_not_change_the_kernel_distance(monkeypatch):
  x, y = _normal(50, 3), _normal(40, 3, seed=1)
  whole = distances.kernel_distance(x, y)
  monkeypatch.setattr(distances, '_CHUNK', 7)
  assert distances.kernel_distance(x, y) == pytest.approx(whole, rel=1e-9)


def test_standard_error_is_that_of_repeated_sampling():
  found = [
    distances.kernel_distance(
      _normal(200, 2, seed=seed), 1 + _normal(200, 2, seed=1000 + seed)
    )
    for seed in range(100)
  ]
  spread = np.std([kd.value for kd in found], ddof=1)
  error = np.mean([kd.standard_error for kd in found])
  assert 0.8 < error / spread < 1.25


def test_too_few_samples_have_no_standard_error():
  x = _normal(3, 2)
  assert distances.kernel_distance(x, x).standard_error is None


def test_blocks_are_a_function_of_the_seed():
  x, y = _normal(2, 60, 3)
  first, again, other = (
    distances.kernel_distance(x, y, seed=seed) for seed in (0, 0, 1)
  )
  assert first == again
  assert first.value == other.value
  assert first.standard_error != other.standard_error
