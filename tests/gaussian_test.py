"""Diagonal Gaussians: golden values, identities, extremes."""

import functools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import vectors
from vectors import jit

from mmjsd_jax import gaussian
from mmjsd_jax.gaussian import Gaussian


def experts_of(*, shape=(3, 4, 2), seed=0, spread=1.5) -> Gaussian:
  rng = np.random.default_rng(seed)
  mean, log_var = rng.normal(size=(2, *shape)) * spread
  return Gaussian(
    jnp.asarray(mean, jnp.float32), jnp.asarray(log_var, jnp.float32)
  )


def assert_gaussians_close(actual, expected, **tolerance):
  np.testing.assert_allclose(actual.mean, expected.mean, **tolerance)
  np.testing.assert_allclose(actual.log_var, expected.log_var, **tolerance)


# Golden values.


@vectors.cases('kl_diag_gaussian')
def test_kl_equals_golden(case):
  def kl(mu_q, logvar_q, mu_p, logvar_p):
    return gaussian.kl(Gaussian(mu_q, logvar_q), Gaussian(mu_p, logvar_p))

  case.check(case.run(kl, 'mu_q', 'logvar_q', 'mu_p', 'logvar_p'), 'kl')


@vectors.cases('kl_to_std_normal')
def test_kl_to_standard_normal_equals_golden(case):
  def both(mu, logvar):
    q = Gaussian(mu, logvar)
    prior = gaussian.standard_normal_like(q)
    return gaussian.kl_to_standard_normal(q), gaussian.kl(q, prior)

  for value in case.run(both, 'mu', 'logvar'):
    case.check(value, 'kl')


@vectors.cases('poe')
def test_product_equals_golden(case):
  prior_expert = case.inputs['include_std_normal_prior_expert']

  def product(mu, logvar):
    return gaussian.product(Gaussian(mu, logvar), prior_expert=prior_expert)

  q = case.run(product, 'mu', 'logvar')
  case.check(q.mean, 'mu')
  case.check(q.log_var, 'logvar')


@vectors.cases('weighted_geometric_mean')
def test_geometric_mean_and_its_normaliser_equal_golden(case):
  def both(mu, logvar, weights):
    prior = jnp.zeros_like(mu[:1])
    components = Gaussian(
      jnp.concatenate([mu, prior]), jnp.concatenate([logvar, prior])
    )
    return (
      gaussian.geometric_mean(components, weights),
      gaussian.geometric_mean_log_normaliser(components, weights),
    )

  q, log_normaliser = case.run(both, 'mu', 'logvar', 'weights')
  case.check(q.mean, 'mu')
  case.check(q.log_var, 'logvar')
  case.check(log_normaliser, 'log_normaliser')


# Densities and samples.


def test_log_density_equals_scipy_and_broadcasts_over_samples():
  q = experts_of(shape=(4, 2))
  z = jax.random.normal(jax.random.key(1), (5, 4, 2))
  lifted = Gaussian(q.mean[None], q.log_var[None])
  scale = np.exp(0.5 * np.asarray(q.log_var))
  expected = scipy.stats.norm(q.mean, scale).logpdf(z).sum(-1)
  actual = jit(gaussian.log_density)(z, lifted)
  np.testing.assert_allclose(actual, expected, rtol=2e-5)


def test_samples_have_the_mean_and_variance(key):
  q = experts_of(shape=(2,))

  @jit
  def draws(key):
    keys = jax.random.split(key, 20_000)
    return jax.vmap(lambda k: gaussian.sample(k, q))(keys)

  z = np.asarray(draws(key))
  variance = np.exp(q.log_var)
  mean_errors = (z.mean(0) - q.mean) / np.sqrt(variance / len(z))
  variance_errors = (z.var(0) / variance - 1) / np.sqrt(2 / len(z))
  assert np.abs(mean_errors).max() < 5
  assert np.abs(variance_errors).max() < 5


def test_samples_are_reparameterised(key):
  q = experts_of(shape=(2,))

  @jit
  def sample_and_gradient(q):
    return gaussian.sample(key, q), jax.jacrev(
      lambda q: gaussian.sample(key, q)
    )(q)

  z, gradient = sample_and_gradient(q)
  np.testing.assert_allclose(gradient.mean, np.eye(2), atol=1e-6)
  # dz / dlog_var = (z - mean) / 2
  np.testing.assert_allclose(
    gradient.log_var, np.diag(0.5 * (z - q.mean)), rtol=1e-5, atol=1e-6
  )


# Products and geometric means.


@functools.partial(jit, static_argnames='mean')
def fused_and_gradient(experts, present, *, mean):
  """A product, or an even geometric mean, of the present experts."""

  def fuse(experts):
    if not mean:
      return gaussian.product(experts, present=present)
    count = jnp.maximum(present.sum(0, keepdims=True), 1)
    return gaussian.geometric_mean(experts, present / count)

  def total(experts):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in fuse(experts))

  return fuse(experts), jax.grad(total)(experts)


@pytest.mark.parametrize('mean', [False, True], ids=['product', 'mean'])
def test_absent_expert_has_no_influence_and_zero_gradient(mean):
  experts = experts_of()
  present = jnp.array(
    [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]], bool
  )  # all, one, one, none
  garbage = Gaussian(
    jnp.where(present[..., None], experts.mean, jnp.nan),
    jnp.where(present[..., None], experts.log_var, jnp.array([-jnp.inf, 1e30])),
  )
  clean, _ = fused_and_gradient(experts, present, mean=mean)
  dirty, gradient = fused_and_gradient(garbage, present, mean=mean)
  np.testing.assert_array_equal(dirty, clean)
  for leaf in gradient:
    assert np.isfinite(leaf).all()
    assert (np.asarray(leaf)[~present] == 0).all()
    assert (np.asarray(leaf)[present] != 0).all()
  # One expert alone is itself, and an empty product is N(0, I).
  alone = jax.tree.map(lambda leaf: leaf[0, 1], experts)
  assert_gaussians_close(
    jax.tree.map(lambda leaf: leaf[1], dirty), alone, rtol=1e-6
  )
  np.testing.assert_array_equal(jnp.stack(dirty)[:, 3], np.zeros((2, 2)))


def test_product_does_not_depend_on_the_order_of_experts():
  experts = experts_of()
  turned = jax.tree.map(lambda leaf: leaf[jnp.array([2, 0, 1])], experts)
  product = jit(gaussian.product)
  assert_gaussians_close(product(turned), product(experts), rtol=1e-5)


def test_sums_and_their_gradient_equal_those_of_a_loop():
  rng = np.random.default_rng(0)
  table = jnp.asarray(rng.integers(0, 2, (7, 3)), jnp.float32)
  terms = jnp.asarray(rng.normal(size=(3, 4, 2)), jnp.float32)

  def in_a_loop(table, terms):
    rows = [sum(row[m] * terms[m] for m in range(3)) for row in table]
    return jnp.stack(rows)

  def loss(terms, sums):
    return jnp.sum(jnp.sin(sums(table, terms)))

  run = jit(jax.value_and_grad(loss), static_argnums=1)
  for got, expected in zip(
    run(terms, gaussian.sums), run(terms, in_a_loop), strict=True
  ):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_prior_expert_is_one_more_standard_normal_expert():
  experts = experts_of()
  appended = jax.tree.map(
    lambda leaf: jnp.concatenate([leaf, jnp.zeros_like(leaf[:1])]), experts
  )
  product = jit(gaussian.product)
  # Traced: one program serves subsets with and without it.
  for prior_expert, expected in ((True, appended), (False, experts)):
    actual = product(experts, prior_expert=jnp.array(prior_expert))
    assert_gaussians_close(actual, product(expected), rtol=1e-5, atol=1e-6)


def test_geometric_mean_of_equal_components_is_the_component():
  one = experts_of(shape=(1, 4, 2))
  three = jax.tree.map(lambda leaf: jnp.repeat(leaf, 3, axis=0), one)
  weights = jnp.array([0.2, 0.5, 0.3])
  centre = jit(gaussian.geometric_mean)(three, weights)
  expected = jax.tree.map(lambda leaf: leaf[0], one)
  assert_gaussians_close(centre, expected, rtol=1e-5, atol=1e-6)
  normaliser = jit(gaussian.geometric_mean_log_normaliser)(three, weights)
  np.testing.assert_allclose(normaliser, 0, atol=1e-5)


def test_geometric_mean_takes_weights_per_example():
  experts = experts_of()
  rows = jnp.array([[0.2, 0.5, 0.3], [1, 0, 0], [0.5, 0, 0.5], [0, 1, 0]])
  mean = jit(gaussian.geometric_mean)
  together = mean(experts, rows.T)
  for index, row in enumerate(rows):
    alone = mean(experts, row)
    assert_gaussians_close(
      jax.tree.map(lambda leaf, i=index: leaf[i], together),
      jax.tree.map(lambda leaf, i=index: leaf[i], alone),
      rtol=1e-6,
    )


@pytest.mark.parametrize('shape', [(2,), (4,), (3, 2), (4, 3)])
def test_geometric_mean_refuses_weights_of_another_shape(shape):
  with pytest.raises(ValueError, match=r'weights must have shape \(3,\)'):
    gaussian.geometric_mean(experts_of(), jnp.ones(shape))


# Extremes.


@pytest.mark.parametrize('difference', [0.0, 1e-6, 1e-4, 1e-2])
def test_kl_of_nearly_equal_gaussians_keeps_its_digits(difference):
  # exp(x) - 1 - x in float32 would be rounding noise of 1e-7 here.
  q = Gaussian(jnp.zeros(1), jnp.full(1, difference, jnp.float32))
  x = np.float64(np.float32(difference))
  expected = 0.5 * (np.expm1(x) - x)
  actual = jit(gaussian.kl_to_standard_normal)(q)
  np.testing.assert_allclose(actual, expected, atol=1e-7 * x)


def test_float32_agrees_with_float64_at_extreme_variances():
  grid = np.array([-20.0, -10.0, 0.0, 10.0, 20.0])
  log_var = np.stack(np.meshgrid(grid, grid, indexing='ij')).reshape(2, -1, 1)
  mean = np.broadcast_to(np.array([0.7, -1.3])[:, None, None], log_var.shape)

  def everything(mean, log_var):
    q, p = (Gaussian(mean[i], log_var[i]) for i in (0, 1))
    both = Gaussian(mean, log_var)
    weights = jnp.full(2, 0.5, mean.dtype)
    return (
      gaussian.kl(q, p),
      gaussian.kl_to_standard_normal(q),
      gaussian.log_density(mean[1], q),
      gaussian.product(both),
      gaussian.product(both, prior_expert=True),
      gaussian.geometric_mean(both, weights),
      gaussian.geometric_mean_log_normaliser(both, weights),
    )

  single = jit(everything)(jnp.float32(mean), jnp.float32(log_var))
  with jax.enable_x64(True):
    double = jit(everything)(jnp.asarray(mean), jnp.asarray(log_var))
  for leaf, reference in zip(
    jax.tree.leaves(single), jax.tree.leaves(double), strict=True
  ):
    assert leaf.dtype == np.float32 and reference.dtype == np.float64
    np.testing.assert_allclose(leaf, reference, rtol=1e-5, atol=1e-5)


_means = hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(-9, 9, width=32))
_log_vars = hnp.arrays(
  np.float32, (3, 2, 2), elements=st.floats(-20, 20, width=32)
)


@jit
def _values_and_gradients(experts):
  weights = jnp.array([0.2, 0.5, 0.3])
  first = jax.tree.map(lambda leaf: leaf[0], experts)
  second = jax.tree.map(lambda leaf: leaf[1], experts)

  def values(experts):
    product = gaussian.product(experts)
    return {
      'kl': gaussian.kl(*(Gaussian(*pair) for pair in (first, second))),
      'kl_to_standard_normal': gaussian.kl_to_standard_normal(experts),
      'product': product,
      'mean': gaussian.geometric_mean(experts, weights),
      'log_normaliser': gaussian.geometric_mean_log_normaliser(
        experts, weights
      ),
      'log_density': gaussian.log_density(product.mean[None], experts),
    }

  def total(experts):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(values(experts)))

  return values(experts), jax.grad(total)(experts)


@hypothesis.given(mean=_means, log_var=_log_vars)
def test_any_variances_give_finite_values_and_gradients(mean, log_var):
  values, gradient = _values_and_gradients(Gaussian(mean, log_var))
  for leaf in jax.tree.leaves((values, gradient)):
    assert np.isfinite(leaf).all()
  assert (values['kl'] >= -1e-6).all()
  assert (values['kl_to_standard_normal'] >= -1e-6).all()
  # The product is at least as sharp as the sharpest expert; the geometric
  # mean lies between the sharpest and the broadest.
  assert (values['product'].log_var <= log_var.min(0) + 1e-5).all()
  assert (values['mean'].log_var >= log_var.min(0) - 1e-5).all()
  assert (values['mean'].log_var <= log_var.max(0) + 1e-5).all()
  for fused in (values['product'], values['mean']):
    assert (fused.mean >= mean.min(0) - 1e-4).all()
    assert (fused.mean <= mean.max(0) + 1e-4).all()
  # Hoelder; the rounding is that of the terms that cancel.
  assert (values['log_normaliser'] <= 1e-4).all()


@pytest.mark.parametrize(
  'function',
  [
    gaussian.kl_to_standard_normal,
    gaussian.product,
    functools.partial(gaussian.geometric_mean, weights=jnp.full(3, 1 / 3)),
  ],
  ids=['kl', 'product', 'mean'],
)
def test_compiled_equals_eager(function):
  experts = experts_of()
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    jit(function)(experts),
    function(experts),
  )
