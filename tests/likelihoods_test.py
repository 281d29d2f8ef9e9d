"""Log-likelihoods: golden values, shapes, extremes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import vectors
from vectors import jit

from mmjsd_jax import likelihoods
from mmjsd_jax.likelihoods import LIKELIHOODS

# Golden values.


def check_scaled(case, log_likelihood):
  log_likelihood = functools.partial(log_likelihood, scale=case.inputs['scale'])
  case.check(case.run(log_likelihood, 'x', 'loc'), 'sum')


@vectors.cases('loglik_laplace')
def test_laplace_equals_golden(case):
  check_scaled(case, likelihoods.laplace)


@vectors.cases('loglik_normal')
def test_normal_equals_golden(case):
  check_scaled(case, likelihoods.normal)


@vectors.cases('loglik_bernoulli')
def test_bernoulli_equals_golden(case):
  case.check(case.run(likelihoods.bernoulli, 'x', 'logits'), 'sum')


@vectors.cases('loglik_categorical')
def test_categorical_equals_golden(case):
  names = ('target_index', 'logits')
  case.check(case.run(likelihoods.categorical, *names), 'sum')


# Contract of every likelihood.


def data_and_output(name, *, samples=(), batch=3, event=(4, 2), seed=0):
  """x [B, ...] and what a decoder gives for it [..., B, ...]."""
  rng = np.random.default_rng(seed)
  shape = (batch, *event)
  output = rng.normal(size=(*samples, *shape))
  if name == 'normal_learned':
    output = rng.normal(size=(*output.shape, 2))
  if name in ('categorical', 'one_hot_categorical'):
    output = rng.normal(size=(*samples, *shape, 5))
    x = jnp.asarray(rng.integers(5, size=shape))
    if name == 'one_hot_categorical':
      x = jax.nn.one_hot(x, 5)
    return x, jnp.float32(output)
  return jnp.float32(rng.integers(2, size=shape)), jnp.float32(output)


@pytest.mark.parametrize('name', LIKELIHOODS)
def test_sample_axes_lie_in_front_of_the_batch(name):
  log_likelihood = jit(LIKELIHOODS[name])
  x, output = data_and_output(name, samples=(2, 5))
  together = log_likelihood(x, output)
  assert together.shape == (2, 5, 3)
  np.testing.assert_allclose(
    together[1, 4], log_likelihood(x, output[1, 4]), rtol=1e-5
  )


@pytest.mark.parametrize('name', LIKELIHOODS)
def test_sum_runs_over_all_event_axes(name):
  log_likelihood = jit(LIKELIHOODS[name])
  x, output = data_and_output(name)
  flat = log_likelihood(
    x.reshape(3, 8, *x.shape[3:]), output.reshape(3, 8, *output.shape[3:])
  )
  np.testing.assert_allclose(log_likelihood(x, output), flat, rtol=1e-5)
  # One example does not see the others.
  alone = log_likelihood(x[1:2], output[1:2])
  np.testing.assert_allclose(flat[1:2], alone, rtol=1e-5)


@pytest.mark.parametrize('name', LIKELIHOODS)
def test_output_of_another_shape_is_refused(name):
  x, output = data_and_output(name)
  for wrong in (output[:, :1], output[:2], output[0], output[:, None]):
    with pytest.raises(ValueError, match='the output must have shape'):
      LIKELIHOODS[name](x, wrong)


@pytest.mark.parametrize('size', [1e-6, 60.0, 1e4])
@pytest.mark.parametrize('name', LIKELIHOODS)
def test_value_and_gradient_are_finite_for_any_output(name, size):
  x, output = data_and_output(name)

  @jit
  def value_and_gradient(output):
    return jax.value_and_grad(lambda o: LIKELIHOODS[name](x, o).sum())(output)

  value, gradient = value_and_gradient(size * output)
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize('scale', [0.02, 1.0, 30.0])
def test_a_learned_scale_gives_the_normal_of_that_scale(scale):
  x, loc = data_and_output('normal')
  raw = jnp.full_like(loc, np.log((scale - 0.01) / 0.99))
  learned = jit(likelihoods.normal_learned)(x, jnp.stack([loc, raw], axis=-1))
  expected = scipy.stats.norm(loc, scale).logpdf(x).sum(axis=(1, 2))
  np.testing.assert_allclose(learned, expected, rtol=1e-5)


def test_a_learned_scale_has_a_least_value():
  x = jnp.zeros((1, 1))
  lowest = jit(likelihoods.normal_learned)(x, jnp.array([[[0.0, -1e4]]]))
  np.testing.assert_allclose(lowest, scipy.stats.norm(0, 0.01).logpdf(0), 1e-5)


# Normalisation.


@pytest.mark.parametrize('name', ['laplace', 'normal'])
def test_densities_integrate_to_one(name):
  grid = np.linspace(-15, 15, 4001, dtype=np.float32)
  loc = jnp.full((len(grid), 1), 0.3)
  density = np.exp(jit(LIKELIHOODS[name])(jnp.asarray(grid)[:, None], loc))
  total = scipy.integrate.simpson(density, x=grid)
  np.testing.assert_allclose(total, 1, rtol=1e-4)


def test_probabilities_of_bernoulli_sum_to_one():
  logits = jnp.linspace(-90, 90, 31)[:, None]
  log_likelihood = jit(likelihoods.bernoulli)
  total = sum(
    np.exp(log_likelihood(jnp.full((31, 1), x), logits)) for x in (0.0, 1.0)
  )
  np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_probabilities_of_categorical_sum_to_one():
  _, logits = data_and_output('categorical', batch=5, event=(1,))
  logits = jnp.broadcast_to(logits[:1], logits.shape)
  symbols = jnp.arange(5)[:, None]
  log_probabilities = jit(likelihoods.categorical)(symbols, logits)
  np.testing.assert_allclose(np.exp(log_probabilities).sum(), 1, rtol=1e-5)


def test_categorical_refuses_indices_that_are_not_integers():
  x, output = data_and_output('categorical')
  with pytest.raises(ValueError, match='integer indices; got float32'):
    likelihoods.categorical(x.astype(jnp.float32), output)


@pytest.mark.parametrize('name', LIKELIHOODS)
def test_compiled_equals_eager(name):
  x, output = data_and_output(name)
  log_likelihood = LIKELIHOODS[name]
  np.testing.assert_allclose(
    jit(log_likelihood)(x, output), log_likelihood(x, output), rtol=1e-5
  )
