"""Jensen-Shannon divergences: golden values, duals, limits, extremes."""

import math

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vectors
from vectors import jit

from mmjsd_jax import divergence, gaussian
from mmjsd_jax.gaussian import Gaussian


def components_of(*, shape=(3, 4, 2), seed=0) -> Gaussian:
  mean, log_var = np.random.default_rng(seed).normal(size=(2, *shape))
  return Gaussian(jnp.float32(mean), jnp.float32(log_var))


def slices(components):
  return [
    jax.tree.map(lambda leaf, k=k: leaf[k], components)
    for k in range(components.mean.shape[0])
  ]


# Golden values.


@vectors.cases('geometric_jsd')
def test_geometric_divergences_and_their_terms_equal_golden(case):
  def everything(mu, logvar, weights):
    components = divergence.with_prior(Gaussian(mu, logvar))
    centre = gaussian.geometric_mean(components, weights)
    return (
      divergence.geometric_js(components, weights),
      divergence.geometric_js_dual(components, weights),
      jnp.stack([gaussian.kl(q, centre) for q in slices(components)]),
      jnp.stack([gaussian.kl(centre, q) for q in slices(components)]),
    )

  jsd, dual, to_mean, from_mean = case.run(
    everything, 'mu', 'logvar', 'weights'
  )
  case.check(jsd, 'jsd')
  case.check(dual, 'dual_jsd')
  shown = case.expected['components_shown']
  case.check(to_mean[shown], 'kl_to_gm')
  case.check(from_mean[shown], 'kl_from_gm')


@vectors.cases('skew_geometric')
def test_skew_geometric_divergence_equals_golden(case):
  # Nielsen's alpha is the weight of the second distribution.
  alpha = case.inputs['alpha']

  def everything(mu_p, logvar_p, mu_q, logvar_q):
    both = Gaussian(jnp.stack([mu_p, mu_q]), jnp.stack([logvar_p, logvar_q]))
    weights = jnp.array([1 - alpha, alpha], mu_p.dtype)
    return (
      gaussian.geometric_mean(both, weights),
      divergence.geometric_js(both, weights),
      divergence.geometric_js_dual(both, weights),
      -gaussian.geometric_mean_log_normaliser(both, weights),
    )

  names = ('mu_p', 'logvar_p', 'mu_q', 'logvar_q')
  centre, js, dual, bhattacharyya = case.run(everything, *names)
  case.check(centre.mean, 'gm_mu')
  case.check(centre.log_var, 'gm_logvar')
  case.check(js, 'gjs')
  case.check(dual, 'dual_gjs')
  case.check(bhattacharyya, 'bhattacharyya_skew')


def check_arithmetic(mean, log_var, weights, expected):
  """The average of many one-draw estimates within five standard errors."""
  shape = (len(weights), 20_000, 1)

  @jit
  def estimates(key):
    components = Gaussian(
      *(
        jnp.broadcast_to(jnp.float32(leaf)[:, None, None], shape)
        for leaf in (mean, log_var)
      )
    )
    return divergence.arithmetic_js(key, components, jnp.float32(weights))

  values = np.asarray(estimates(jax.random.key(2)), np.float64)
  error = values.std() / math.sqrt(len(values))
  assert abs(values.mean() - expected) < 5 * error


@vectors.cases('skew_arithmetic_1d', ('f32',))
def test_skew_arithmetic_divergence_equals_golden(case):
  inputs = case.inputs
  check_arithmetic(
    np.array([inputs['mu_p'], inputs['mu_q']]),
    np.array([inputs['logvar_p'], inputs['logvar_q']]),
    np.array([1 - inputs['alpha'], inputs['alpha']]),
    case.expected['js_alpha'],
  )


@vectors.cases('mixture_kl_1d', ('f32',))
def test_arithmetic_divergence_equals_golden_jensen_gap(case):
  mean, log_var, weights = (
    np.array(case.inputs[name]) for name in ('mu', 'logvar', 'weights')
  )
  check_arithmetic(mean, log_var, weights, case.expected['arithmetic_jsd'])


# Identities and limits.


def test_geometric_divergence_equals_a_plain_loop():
  components = components_of()
  weights = np.array([0.2, 0.5, 0.3])
  mean, log_var = (np.float64(leaf) for leaf in components)
  precision = sum(w * np.exp(-v) for w, v in zip(weights, log_var, strict=True))
  centre = (
    sum(
      w * np.exp(-v) * m for w, m, v in zip(weights, mean, log_var, strict=True)
    )
    / precision
  )
  expected = 0.0
  for w, m, v in zip(weights, mean, log_var, strict=True):
    terms = np.exp(v) * precision - 1 - v - np.log(precision)
    terms += (m - centre) ** 2 * precision
    expected += 0.5 * w * terms.sum(-1)
  actual = jit(divergence.geometric_js)(components, jnp.float32(weights))
  np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_even_divergence_of_two_is_symmetric():
  pair = components_of(shape=(2, 4, 2))
  swapped = jax.tree.map(lambda leaf: leaf[::-1], pair)
  weights = jnp.full(2, 0.5)
  for function in (divergence.geometric_js, divergence.geometric_js_dual):
    compiled = jit(function)
    np.testing.assert_allclose(
      compiled(pair, weights), compiled(swapped, weights), rtol=1e-5
    )


def test_divergences_of_equal_components_are_zero(key):
  one = components_of(shape=(1, 4, 2))
  equal = jax.tree.map(lambda leaf: jnp.repeat(leaf, 3, axis=0), one)
  weights = jnp.array([0.2, 0.5, 0.3])

  @jit
  def all_three(components):
    return (
      divergence.geometric_js(components, weights),
      divergence.geometric_js_dual(components, weights),
      divergence.arithmetic_js(key, components, weights),
    )

  for value in all_three(equal):
    np.testing.assert_allclose(value, 0, atol=1e-5)


def test_arithmetic_divergence_of_remote_components_is_the_weights_entropy(key):
  far = Gaussian(
    jnp.array([-500.0, 0, 500])[:, None, None], jnp.zeros((3, 1, 1))
  )
  weights = jnp.array([0.2, 0.5, 0.3])
  js = jit(divergence.arithmetic_js)(key, far, weights)
  entropy = -float(jnp.sum(weights * jnp.log(weights)))
  np.testing.assert_allclose(js, [entropy], rtol=1e-5)


def test_absent_component_has_no_influence_and_zero_gradient(key):
  experts = components_of()
  present = jnp.array(
    [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]], bool
  )  # all, one, one, none
  garbage = jax.tree.map(
    lambda leaf: jnp.where(present[..., None], leaf, jnp.nan), experts
  )

  @jit
  def values_and_gradient(experts):
    weights = divergence.prior_last_weights(3, present)

    def values(experts):
      components = divergence.with_prior(experts)
      return (
        divergence.geometric_js(components, weights),
        divergence.geometric_js_dual(components, weights),
        divergence.arithmetic_js(key, components, weights),
      )

    return values(experts), jax.grad(
      lambda experts: sum(jnp.sum(value) for value in values(experts))
    )(experts)

  clean, _ = values_and_gradient(experts)
  dirty, gradient = values_and_gradient(garbage)
  np.testing.assert_array_equal(dirty, clean)
  for leaf in gradient:
    assert np.isfinite(leaf).all()
    assert (np.asarray(leaf)[~present] == 0).all()
  # Nothing but the prior remains of an example without modalities.
  np.testing.assert_array_equal(np.stack(dirty)[:, 3], 0)
  # One modality alone: half of it, half of the prior.
  alone = jax.tree.map(lambda leaf: leaf[:1, 1:2], experts)
  expected = jit(divergence.geometric_js)(
    divergence.with_prior(alone), jnp.full(2, 0.5)
  )
  np.testing.assert_allclose(dirty[0][1:2], expected, rtol=1e-5)


@pytest.mark.parametrize(
  'function', [divergence.geometric_js, divergence.geometric_js_dual]
)
def test_gradient_flows_through_the_geometric_mean(function):
  # Against central differences along one direction, in float64.
  with jax.enable_x64(True):
    components = jax.tree.map(jnp.float64, components_of())
    direction = jax.tree.map(jnp.float64, components_of(seed=1))
    weights = jnp.array([0.2, 0.5, 0.3])
    step = 1e-5

    @jit
    def slopes(components):
      def along(t):
        moved = jax.tree.map(lambda a, b: a + t * b, components, direction)
        return jnp.sum(function(moved, weights))

      numeric = (along(step) - along(-step)) / (2 * step)
      return jax.grad(along)(0.0), numeric

    exact, numeric = slopes(components)
    np.testing.assert_allclose(exact, numeric, rtol=1e-8)


# Weights.


def test_weights_are_renormalised_over_present_modalities_and_prior():
  present = jnp.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)
  uniform = divergence.prior_last_weights(2, present)
  np.testing.assert_allclose(
    uniform.T, [[1 / 3] * 3, [0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 1]], rtol=1e-6
  )
  pi = jnp.array([0.2, 0.3, 0.5])
  own = divergence.prior_last_weights(2, present, pi)
  np.testing.assert_allclose(
    own.T,
    [[0.2, 0.3, 0.5], [2 / 7, 0, 5 / 7], [0, 3 / 8, 5 / 8], [0, 0, 1]],
    rtol=1e-6,
  )
  np.testing.assert_array_equal(divergence.prior_last_weights(2, None, pi), pi)


def test_prior_without_weight_leaves_no_nan_where_nothing_is_present():
  present = jnp.array([[1, 0], [1, 0]], bool)
  weights = divergence.prior_last_weights(2, present, jnp.array([0.4, 0.6, 0]))
  np.testing.assert_allclose(weights.T, [[0.4, 0.6, 0], [0, 0, 0]], rtol=1e-6)


def test_weights_of_another_length_are_refused():
  with pytest.raises(ValueError, match=r'pi must have shape \(3,\).*\(2,\)'):
    divergence.prior_last_weights(2, None, jnp.full(2, 0.5))


# Extremes.

_means = hnp.arrays(np.float32, (3, 2, 2), elements=st.floats(-9, 9, width=32))
_log_vars = hnp.arrays(
  np.float32, (3, 2, 2), elements=st.floats(-20, 20, width=32)
)


@jit
def _extremes(components):
  weights = jnp.array([0.2, 0.5, 0.3])

  def values(components):
    return {
      'js': divergence.geometric_js(components, weights),
      'dual': divergence.geometric_js_dual(components, weights),
      'arithmetic': divergence.arithmetic_js(
        jax.random.key(0), components, weights, num_samples=64
      ),
    }

  gradient = jax.grad(
    lambda components: sum(jnp.sum(v) for v in values(components).values())
  )(components)
  normaliser = gaussian.geometric_mean_log_normaliser(components, weights)
  return values(components), normaliser, gradient


@hypothesis.given(mean=_means, log_var=_log_vars)
def test_divergences_of_any_gaussians_are_finite_and_not_negative(
  mean, log_var
):
  values, normaliser, gradient = _extremes(Gaussian(mean, log_var))
  for leaf in jax.tree.leaves((values, gradient)):
    assert np.isfinite(leaf).all()
  assert (values['js'] >= -1e-5).all()
  assert (values['dual'] >= -1e-5).all()
  # The entropy of the weights is the largest: 1.03 nats, log 3 at most.
  assert (values['arithmetic'] <= math.log(3) + 0.5).all()  # of 64 draws
  # Two routes to the dual; it may be a small difference of large terms.
  np.testing.assert_allclose(values['dual'], -normaliser, rtol=1e-3, atol=1e-3)


def test_compiled_equals_eager():
  components = components_of()
  weights = jnp.array([0.2, 0.5, 0.3])
  np.testing.assert_allclose(
    jit(divergence.geometric_js)(components, weights),
    divergence.geometric_js(components, weights),
    rtol=1e-5,
  )
