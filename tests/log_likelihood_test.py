"""Importance-sampled log-likelihoods against exact ones and golden values."""

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest
import vectors

from mmjsd_jax import gaussian, likelihoods, mixture
from mmjsd_jax.evaluation import as_released, log_likelihood
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.subsets import membership


@vectors.cases('importance_weight_reduction')
def test_weights_are_reduced_per_example_not_across(case):
  found = case.run(
    lambda log_weights: log_likelihood.importance_log_likelihood(
      log_weights[None], jnp.ones((1, log_weights.shape[1]), log_weights.dtype)
    ),
    'log_weights_KB',
  )
  case.check(found, 'per_datum')
  case.check(found.mean(), 'mean')


@vectors.cases('importance_weight_reduction')
def test_released_reduction_has_the_released_fault(case):
  found = case.run(as_released.regrouped_log_likelihood, 'log_weights_KB')
  # What the released function makes of the same weights, in float64.
  case.check(found.mean(), -1381.0238290504565)


@vectors.cases('iwae_linear_gaussian')
def test_single_proposal_gives_the_golden_bound(case):
  def bound(w, b, sigma, x, q_mu, q_logvar, eps):
    q = Gaussian(q_mu[None, None], q_logvar[None, None])
    z = q.mean + jnp.exp(0.5 * q.log_var) * eps[:, None]  # [K, B=1, D]
    log_weights = _log_joint([(w, b, sigma, x)], z) - gaussian.log_density(z, q)
    return log_likelihood.importance_log_likelihood(
      log_weights[None], jnp.ones((1, 1), z.dtype)
    )[0]

  names = ('W', 'b', 'sigma', 'x', 'q_mu', 'q_logvar', 'eps')
  case.check(case.run(bound, *names), 'iwae_value_for_these_eps')


@vectors.cases('iwae_mixture_linear_gaussian')
def test_mixture_proposal_gives_the_golden_bound(case):
  def bound(q_mu, q_logvar, eps):
    q = Gaussian(q_mu[:, None], q_logvar[:, None])  # [S, B=1, D]
    z = q.mean[:, None] + jnp.exp(0.5 * q.log_var[:, None]) * eps[:, :, None]
    weights = jnp.full((2, 1), 0.5, z.dtype)
    log_weights = _log_joint(worlds, z) - mixture.log_density(
      z, Mixture(q, weights)
    )
    found = log_likelihood.importance_log_likelihood(log_weights, weights)
    return log_weights[..., 0], found[0]

  # The modalities' sizes differ, so these are not arrays that `run` can pass.
  worlds = list(
    zip(
      *(
        [np.asarray(part, case.dtype) for part in case.inputs[name]]
        for name in ('W', 'b', 'sigma', 'x')
      ),
      strict=True,
    )
  )
  log_weights, found = case.run(bound, 'q_mu', 'q_logvar', 'eps')
  case.check(log_weights, 'log_weights_mixture_denominator')
  case.check(found, 'stratified_mixture_iwae')


def test_component_of_weight_zero_has_no_effect():
  log_weights = jnp.array([[[-1.0], [-2.0]], [[jnp.nan], [jnp.inf]]])
  found = log_likelihood.importance_log_likelihood(
    log_weights, jnp.array([[1.0], [0.0]])
  )
  expected = np.logaddexp(-1, -2) - np.log(2)
  np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_wrong_mixture_weights_are_refused():
  with pytest.raises(ValueError, match='mixture_weights must have shape'):
    log_likelihood.importance_log_likelihood(
      jnp.zeros((2, 3, 4)), jnp.ones((2, 3))
    )


def test_exact_posterior_gives_the_exact_value_for_every_draw():
  world = linear_world.make_world('mvae', num_examples=7)
  found = log_likelihood.estimate(
    jax.random.key(0),
    world.model,
    world.params,
    world.inputs,
    world.encode(),
    np.ones((1, 3), bool),
    num_samples=3,
    chunk_size=4,  # 7 = 4 + 3: a chunk that is not full
    decodes_per_call=8,  # 3 = 2 + 1: a call that is not full
  )
  # float32 sums of about 20 nats.
  np.testing.assert_allclose(found.log_likelihood[0], world.exact, atol=1e-4)
  np.testing.assert_allclose(found.elbo[0], world.exact, atol=1e-4)


@pytest.mark.parametrize('preset', ['mvae', 'mmvae', 'mmjsd', 'mopoe'])
def test_every_subset_converges_to_the_exact_value(preset):
  world = linear_world.make_world(preset, num_examples=1)
  num_runs = 40
  experts = jax.tree.map(
    lambda leaf: jnp.repeat(leaf, num_runs, axis=1), world.encode()
  )
  inputs = {k: np.repeat(v, num_runs, axis=0) for k, v in world.inputs.items()}
  subsets = membership(3)
  found = log_likelihood.estimate(
    jax.random.key(1),
    world.model,
    world.params,
    inputs,
    experts,
    subsets,
    num_samples=999,
    decodes_per_call=10_000,
  )
  # exp of the estimate is unbiased: every run's mean weight over p(X) is 1.
  ratios = np.exp(found.log_likelihood - world.exact)  # [S, runs]
  error = ratios.std(axis=1, ddof=1) / np.sqrt(num_runs)
  assert np.all(np.abs(ratios.mean(axis=1) - 1) < 5 * error + 1e-4)
  assert np.all(error < 0.05)
  elbo = found.elbo.mean(axis=1)
  assert np.all(elbo <= world.exact + 1e-3)


NUM_DRAWS = np.array([4, 64, 512, 4096])
NUM_RUNS = 1000
# A normal variable is farther from its mean once in 26 million times.
SIGMAS = 5.5


def repeated_ratios(world, row):
  """exp(estimate) / p(X) of the first example. Shape [len(NUM_DRAWS), runs]."""
  posteriors, inputs = jax.tree.map(
    lambda leaf: np.repeat(leaf, NUM_RUNS, axis=-2),
    (world.encode(), world.inputs),
  )
  found = [
    log_likelihood.estimate(
      jax.random.key(num_draws),
      world.model,
      world.params,
      inputs,
      posteriors,
      row[None],
      num_samples=int(num_draws),
      chunk_size=NUM_RUNS,
      decodes_per_call=64 * NUM_RUNS,
    ).log_likelihood[0]
    for num_draws in NUM_DRAWS
  ]
  return np.exp(np.stack(found) - world.exact)


def assert_mean(samples, expected):
  """False alarms: 4e-8 for each mean."""
  error = samples.std(axis=-1, ddof=1) / np.sqrt(samples.shape[-1])
  assert (np.abs(samples.mean(axis=-1) - expected) < SIGMAS * error).all()


def assert_slope(values, errors, num_draws, expected):
  """The slope of log(values) over log(num_draws), weighed by the errors."""
  x, y, weights = np.log(num_draws), np.log(values), (values / errors) ** 2
  x = x - np.average(x, weights=weights)
  slope = np.sum(weights * x * y) / np.sum(weights * x**2)
  assert abs(slope - expected) < SIGMAS / np.sqrt(np.sum(weights * x**2))


@pytest.mark.parametrize(
  ('preset', 'row'),
  [('mvae', [False, True, False]), ('mmvae', [True, True, True])],
  ids=['conditional', 'mixture'],
)
def test_error_falls_as_one_over_the_root_and_bias_as_one_over_draws(
  preset, row
):
  """Unbiased before the logarithm; after it too low by half the variance.

  About 20 checks that each raise a false alarm with 4e-8: 1e-6 in all.
  """
  world = linear_world.make_world(preset, num_examples=1)
  ratios = repeated_ratios(world, np.array(row))
  assert_mean(ratios, 1)
  squares = np.square(ratios - 1)
  errors = squares.std(axis=1) / np.sqrt(NUM_RUNS)
  # The variance's slope is -1: the standard deviation's is -1/2.
  assert_slope(squares.mean(axis=1), errors, NUM_DRAWS, -1)
  # The ratio's mean is known, so it can be subtracted: of the logarithm there
  # remains the bias, with little noise. Not yet asymptotic with 4 draws.
  biases = (np.log(ratios) - (ratios - 1))[1:]
  errors = biases.std(axis=1) / np.sqrt(NUM_RUNS)
  assert_slope(-biases.mean(axis=1), errors, NUM_DRAWS[1:], -1)
  assert_mean(biases[1:] + squares[2:] / 2, 0)
  if preset == 'mvae':
    assert_mean(squares * NUM_DRAWS[:, None], weight_variance(world, row))


def weight_variance(world, row):
  """Of an importance weight over p(X), where all posteriors are Gaussian."""
  (mean, log_var), (exact_mean, exact_log_var) = (
    jax.tree.map(
      lambda leaf: np.float64(leaf)[0, 0],
      world.model.subset_posterior(world.encode(), jnp.asarray(row)).components,
    )
    for row in (row, [True] * 3)
  )
  variance, exact_variance = np.exp(log_var), np.exp(exact_log_var)
  excess = 2 * variance - exact_variance
  squares = np.square(exact_mean - mean) / excess
  return (
    np.prod(variance / np.sqrt(exact_variance * excess) * np.exp(squares)) - 1
  )


def test_bound_has_the_whole_mixture_as_denominator():
  world = linear_world.make_world('mmvae', num_examples=1)
  num_draws = 100_000  # a standard error of 0.02 nats
  everything = np.ones((1, 3), bool)
  found = log_likelihood.estimate(
    jax.random.key(0),
    world.model,
    world.params,
    world.inputs,
    world.encode(),
    everything,
    num_samples=num_draws,
    decodes_per_call=num_draws,
  )
  # The same from the parts: as many draws of every component.
  q = world.model.subset_posterior(world.encode(), jnp.asarray(everything[0]))
  z = mixture.sample_components(jax.random.key(1), q, num_draws).reshape(
    -1, 1, 2
  )
  log_joint = log_likelihood.log_joint(
    world.model, world.params, jax.device_put(world.inputs), z
  )
  values = np.asarray(log_joint - mixture.log_density(z, q))
  error = values.std() / np.sqrt(num_draws)
  assert abs(found.elbo[0, 0] - values.mean()) < 5 * error
  # A component's own density is larger there, by more than the tolerance.
  own = gaussian.log_density(
    z.reshape(3, num_draws, 1, 2),
    jax.tree.map(lambda x: x[:, None], q.components),
  )
  assert np.mean(np.asarray(log_joint) - own.reshape(-1, 1)) < (
    values.mean() - 10 * error
  )


def test_draws_are_allocated_by_weight_and_never_to_absent_components():
  weights = jnp.array([[0.5, 0.2], [0.0, 0.4], [0.5, 0.4], [0.0, 0.0]])
  found = jax.jit(log_likelihood._stratified_components)(
    jax.random.key(0), weights, jnp.arange(10), 10
  )
  counts = [np.bincount(column, minlength=4) for column in found.T]
  np.testing.assert_array_equal(counts, [[5, 0, 5, 0], [2, 4, 4, 0]])


def test_fewer_draws_than_components_stay_unbiased():
  weights = jnp.full((5, 2000), 0.2)
  found = jax.jit(log_likelihood._stratified_components)(
    jax.random.key(0), weights, jnp.arange(2), 2
  )
  share = np.bincount(np.ravel(found), minlength=5) / found.size
  # 4,000 draws: a standard error below 0.0064.
  np.testing.assert_allclose(share, 0.2, atol=5 * 0.0064)


def test_absent_components_hold_no_part_of_the_proposal():
  mmvae = linear_world.make_world('mmvae', num_examples=3)
  mvae = mmvae.model._replace(
    objective=mmvae.model.objective._replace(subset_posterior='product')
  )
  one = np.array([[False, True, False]])
  found = [
    log_likelihood.estimate(
      jax.random.key(2),
      model,
      mmvae.params,
      mmvae.inputs,
      mmvae.encode(),
      one,
      num_samples=20_000,
    ).log_likelihood
    for model in (mmvae.model, mvae)
  ]
  np.testing.assert_allclose(found[0], found[1], atol=0.1)
  np.testing.assert_allclose(found[0][0], mmvae.exact, atol=0.1)


def test_no_draws_are_refused():
  world = linear_world.make_world(num_examples=1)
  with pytest.raises(ValueError, match='num_samples must be at least 1'):
    log_likelihood.estimate(
      jax.random.key(0),
      world.model,
      world.params,
      world.inputs,
      world.encode(),
      np.ones((1, 3), bool),
      num_samples=0,
    )


def test_released_estimate_is_too_high_where_the_data_are_spread():
  world = linear_world.make_world('mvae', num_examples=200)
  found = as_released.estimate_log_likelihood(
    jax.random.key(0),
    world.model,
    world.params,
    world.inputs,
    world.encode(),
    np.ones((1, 3), bool),
  )
  assert found.shape == (1, 192)  # full batches of 64
  # With exact weights each row is a logarithm of the mean of 12 other p(X).
  blocks = np.tile(world.exact[:192].reshape(3, 1, 64), (1, 12, 1))
  blocks = blocks.reshape(3, 64, 12)
  expected = np.log(np.mean(np.exp(blocks), axis=-1)).reshape(-1)
  np.testing.assert_allclose(found[0], expected, atol=1e-3)
  assert found.mean() > world.exact.mean() + 1


def _log_joint(worlds, z):
  """log p(X, z) of one X, for z of shape [..., 1, D]."""
  total = gaussian.log_density(z, gaussian.standard_normal_like(Gaussian(z, z)))
  for w, b, sigma, x in worlds:
    shift = b.reshape((1,) * (z.ndim - 1) + (-1,))
    total += likelihoods.normal(x[None], z @ w.T + shift, scale=sigma)
  return total
