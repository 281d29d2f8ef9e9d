"""Batch normalisation: PyTorch's numbers, and of what is there alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.modalities.normalisation import BatchNorm

NORM = BatchNorm()


def _x(num_examples=4, seed=0):
  """Four examples of two positions and three features."""
  rng = np.random.default_rng(seed)
  return rng.normal([1, -2, 0], [1, 3, 0.1], (num_examples, 2, 3)).astype('f4')


def _variables():
  params = {'scale': jnp.array([1, 2, 0.5]), 'bias': jnp.array([0, 1, -1.0])}
  statistics = {'mean': jnp.array([0.5, 0, 0]), 'var': jnp.array([2, 1, 0.1])}
  return {'params': params, 'batch_stats': statistics}


@jit
def _train(x, mask=None):
  """Normalised x, new statistics, and the gradient of a weighted sum."""

  def weighted(x):
    y, found = NORM.apply(
      _variables(), x, train=True, mask=mask, mutable=['batch_stats']
    )
    weights = jnp.cos(jnp.arange(y.size)).reshape(y.shape)
    return jnp.sum(weights * y.astype('f4')), (y, found['batch_stats'])

  grad, (y, statistics) = jax.grad(weighted, has_aux=True)(x)
  return y, statistics, grad


def test_numbers_are_those_of_pytorch():
  # torch.nn.BatchNorm1d of torch 2.13.0, float32; of the first example.
  y, statistics, grad = _train(_x())
  np.testing.assert_allclose(
    y[0],
    [[0.2131547, 0.8744865, -0.3428926], [0.195534, -0.3641973, -0.5822777]],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    grad[0],
    [[0.8078729, 0.6292834, -1.9033455], [-0.8745922, -0.1655229, 3.7064681]],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    statistics['mean'], [0.537375, -0.2273637, -0.0012495], rtol=1e-4
  )
  np.testing.assert_allclose(
    statistics['var'], [1.9597094, 1.3367153, 0.0903865], rtol=1e-5
  )
  evaluated = jit(functools.partial(NORM.apply, train=False))(
    _variables() | {'batch_stats': statistics}, _x()
  )
  np.testing.assert_allclose(
    evaluated[0],
    [[0.4202838, -2.7519636, -0.8914192], [0.4054041, -4.8462839, -0.9377885]],
    rtol=1e-5,
  )


def test_no_example_that_is_absent_enters():
  there = np.array([True, False, True, True])
  expected = _train(_x()[there])
  for filler in (np.nan, 1e30):
    x = np.where(there[:, None, None], _x(), np.float32(filler))
    y, statistics, grad = _train(x, there)
    np.testing.assert_array_equal(y[~there], 0)
    np.testing.assert_array_equal(grad[~there], 0)
    np.testing.assert_allclose(y[there], expected[0], rtol=1e-5, atol=1e-6)
    for name, statistic in statistics.items():
      np.testing.assert_allclose(statistic, expected[1][name], rtol=1e-6)


def test_where_no_example_is_there_the_statistics_stay():
  y, statistics, grad = _train(np.full_like(_x(), np.nan), np.zeros(4, bool))
  np.testing.assert_array_equal(y, 0)
  np.testing.assert_array_equal(grad, 0)
  jax.tree.map(
    np.testing.assert_array_equal, statistics, _variables()['batch_stats']
  )


def test_one_example_alone_is_its_own_mean():
  y, statistics, grad = _train(_x(1)[:, :1])
  bias = np.broadcast_to(_variables()['params']['bias'], y.shape)
  np.testing.assert_array_equal(y, bias)
  assert np.isfinite(grad).all()
  assert np.isfinite(statistics['var']).all()


def test_sums_of_bfloat16_are_float32():
  x = jnp.asarray(200 + _x(512), jnp.bfloat16)  # steps of 1
  y, statistics, _ = _train(x)
  assert y.dtype == jnp.bfloat16
  exact = np.asarray(x, np.float64)
  for name, kept, found in (
    ('mean', 0.9 * _variables()['batch_stats']['mean'], exact.mean((0, 1))),
    ('var', 0.9 * _variables()['batch_stats']['var'], exact.var((0, 1))),
  ):
    assert statistics[name].dtype == jnp.float32
    # To 1 / 1023, the difference of the unbiased variance.
    np.testing.assert_allclose(statistics[name], kept + 0.1 * found, rtol=1e-3)


@pytest.mark.parametrize('mask', [np.ones(3, bool), np.ones(4, int)])
def test_a_mask_that_does_not_fit_is_refused(mask):
  with pytest.raises(ValueError, match=r'bool of shape \(4,\); got'):
    _train(_x(), mask)
