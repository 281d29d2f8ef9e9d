"""Mixtures: golden values, and what the sampling methods promise."""

import functools
import math

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

from mmjsd_jax import gaussian, mixture, subsets
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import SAMPLING_METHODS, Mixture

# Six rows of weights: all components, some, and one alone.
ROWS = np.array(
  [
    [0.25, 0.25, 0.25, 0.25],
    [0.5, 0.5, 0, 0],
    [0, 0.25, 0, 0.75],
    [0.1, 0.2, 0.3, 0.4],
    [0, 0, 1, 0],
    [1, 0, 0, 0],
  ],
  np.float32,
)


def mixture_of(weights, *, num_latents=2, seed=0) -> Mixture:
  """Random components with the given weights [S, B]."""
  rng = np.random.default_rng(seed)
  mean, log_var = rng.normal(size=(2, *weights.shape, num_latents))
  components = Gaussian(jnp.float32(mean), jnp.float32(log_var))
  return Mixture(components, jnp.asarray(weights))


def uniform(num_components, batch):
  return jnp.full((num_components, batch), 1 / num_components, jnp.float32)


def assert_estimates(samples, expected):
  """The mean of independent samples is within five standard errors."""
  samples = np.asarray(samples, np.float64)
  error = samples.std() / math.sqrt(samples.size)
  assert abs(samples.mean() - expected) < 5 * error


# Golden values.


@vectors.cases('mixture_log_density')
def test_log_density_equals_golden(case):
  def log_density(z, mu, logvar, weights):
    shape = mu.shape[:2]
    rows = jnp.broadcast_to(weights[:, None], shape)
    return mixture.log_density(z, Mixture(Gaussian(mu, logvar), rows))

  actual = case.run(log_density, 'z', 'mu', 'logvar', 'weights')
  case.check(actual, 'log_density')


def one_dimensional(mu, logvar, weights, batch):
  """Golden inputs [S] or [S, D] as a mixture of `batch` equal examples."""
  if mu.ndim == 1:
    mu, logvar = mu[:, None], logvar[:, None]
  shape = (mu.shape[0], batch, mu.shape[1])
  components = Gaussian(
    jnp.broadcast_to(mu[:, None], shape),
    jnp.broadcast_to(logvar[:, None], shape),
  )
  return Mixture(components, jnp.broadcast_to(weights[:, None], shape[:2]))


def check_mixture_kl(case):
  names = ('mu', 'logvar', 'weights')

  def bound(mu, logvar, weights):
    return mixture.kl_bound(one_dimensional(mu, logvar, weights, 1))

  def estimates(mu, logvar, weights):
    q = one_dimensional(mu, logvar, weights, 4000)
    return mixture.kl_monte_carlo(jax.random.key(1), q, num_samples=8)

  case.check(case.run(bound, *names), [case.expected['jensen_bound']])
  single = case._replace(precision='f32')
  assert_estimates(
    single.run(estimates, *names), case.expected['kl_mixture_exact']
  )


@vectors.cases('mixture_kl_1d', ('f64',))
def test_kl_bound_and_monte_carlo_equal_golden_in_one_dimension(case):
  check_mixture_kl(case)


@vectors.cases('mixture_kl_2d', ('f64',))
def test_kl_bound_and_monte_carlo_equal_golden_in_two_dimensions(case):
  check_mixture_kl(case)


# Densities.


def test_moments_are_those_of_draws(key):
  means = jnp.array([[[-1.0, 0.0]], [[2.0, 0.5]]])
  log_vars = jnp.log(jnp.array([[[0.25, 1.0]], [[4.0, 0.09]]]))
  q = Mixture(Gaussian(means, log_vars), jnp.array([[0.75], [0.25]]))
  z = mixture.sample_components(key, q, 20_000)[:, :, 0]  # [S, K, D]
  mean = q.weights.T @ z.mean(axis=1)
  variance = q.weights.T @ jnp.square(z - mean[None]).mean(axis=1)
  found = mixture.moments(q)
  np.testing.assert_allclose(found.mean, mean, atol=0.03)
  np.testing.assert_allclose(jnp.exp(found.log_var), variance, rtol=0.03)


def test_component_of_weight_zero_has_no_influence_and_zero_gradient():
  weights = jnp.asarray(ROWS.T)
  q = mixture_of(weights)
  far = jax.tree.map(
    lambda leaf: jnp.where(weights[..., None] > 0, leaf, -30), q.components
  )
  z = jax.random.normal(jax.random.key(1), (3, len(ROWS), 2))

  @jit
  def value_and_gradient(components):
    def density(components):
      return mixture.log_density(z, Mixture(components, weights))

    gradient = jax.grad(lambda c: density(c).sum())(components)
    return density(components), gradient

  value, gradient = value_and_gradient(far)
  assert value.shape == (3, len(ROWS))
  np.testing.assert_array_equal(value, value_and_gradient(q.components)[0])
  for leaf in gradient:
    assert np.isfinite(leaf).all()
    assert (np.asarray(leaf)[np.asarray(weights) == 0] == 0).all()


def test_example_without_components_is_finite_in_value_and_gradient(key):
  weights = jnp.zeros((4, 2))
  q = mixture_of(weights)

  @jit
  def value_and_gradient(components):
    def total(components):
      empty = Mixture(components, weights)
      z = mixture.sample(key, empty)
      kl = mixture.kl_bound(empty)
      kl += mixture.kl_monte_carlo(key, empty, num_samples=2)
      return jnp.sum(kl), z

    return jax.value_and_grad(total, has_aux=True)(components)

  (total, z), gradient = value_and_gradient(q.components)
  assert total == 0
  assert np.isfinite(z).all()
  np.testing.assert_array_equal(jnp.stack(gradient), 0)


# Choosing components. All of one shape, so that each method compiles once.

BATCH, REPEATS = 256, 200


@functools.partial(jit, static_argnames='method')
def choices(key, weights, *, method):
  """Component indices of many batches. Shape [REPEATS, BATCH]."""
  return jax.vmap(
    lambda k: mixture.choose_components(k, weights, method=method)
  )(jax.random.split(key, REPEATS))


def batch_of(*rows):
  """Weights [31, BATCH]: the rows in turn, and components of weight zero."""
  weights = np.zeros((31, BATCH), np.float32)
  for example in range(BATCH):
    row = rows[example % len(rows)]
    weights[: len(row), example] = row
  return weights


def even(num_components):
  return np.full(num_components, 1 / num_components, np.float32)


def counts_of(index, axis=None):
  """How often each of 31 components was chosen, along an axis or in all."""
  one_hot = np.asarray(index)[..., None] == np.arange(31)
  return one_hot.sum(axis if axis is not None else (0, 1))


def assert_frequencies(counts, expected):
  """A chi-squared test over the last axis, for each of the others.

  A false alarm once in a million, over all of them.
  """
  used = np.broadcast_to(expected, counts.shape)[0] > 0
  assert (counts[..., ~used] == 0).all()
  if used.sum() > 1:
    expected = np.broadcast_to(expected, counts.shape)[..., used]
    result = scipy.stats.chisquare(
      counts[..., used], expected, axis=-1, sum_check=False
    )
    assert result.pvalue.min() > 1e-6 / len(counts)


@pytest.mark.parametrize('method', SAMPLING_METHODS)
def test_component_of_weight_zero_is_never_chosen(method, key):
  weights = batch_of(*ROWS)
  index = choices(key, weights, method=method)
  assert index.dtype == jnp.int32
  assert (weights[index, np.arange(BATCH)] > 0).all()


@pytest.mark.parametrize('method', ['stratified', 'categorical'])
def test_each_example_draws_from_its_own_weights(method, key):
  weights = batch_of(*ROWS)
  index = np.asarray(choices(key, weights, method=method))
  for start in range(len(ROWS)):
    mine = index[:, start :: len(ROWS)]
    expected = weights[:, start] * mine.size
    assert_frequencies(counts_of(mine)[None], expected)


@pytest.mark.parametrize('num_components', [2, 3, 5, 7, 31])
def test_stratified_counts_are_within_one_of_their_share(num_components, key):
  weights = batch_of(even(num_components))
  counts = counts_of(choices(key, weights, method='stratified'), axis=1)
  assert np.abs(counts - BATCH * weights[:, 0]).max() < 1


def test_uneven_stratified_counts_are_within_one_of_their_share(key):
  weights = batch_of([0.05, 0, 0.5, 0, 0, 0.45])
  counts = counts_of(choices(key, weights, method='stratified'), axis=1)
  assert np.abs(counts - BATCH * weights[:, 0]).max() < 1


def test_categorical_counts_vary_as_a_multinomial(key):
  index = choices(key, batch_of(even(3)), method='categorical')
  counts = counts_of(index, axis=1)[:, 0]
  assert_estimates(counts, BATCH / 3)
  # Five standard deviations of the variance of 200 counts.
  assert 0.5 < counts.var() / (BATCH * 2 / 9) < 1.5


@pytest.mark.parametrize(
  'sizes',
  [[128] * 2, [85, 85, 86], [51] * 4 + [52], [36] * 6 + [40], [8] * 30 + [16]],
  ids=lambda sizes: f'S{len(sizes)}',
)
def test_sizes_as_released_are_those_of_the_authors_code(sizes, key):
  # What mixture_component_selection of the mmJSD and MoPoE code cuts.
  weights = batch_of(even(len(sizes)))
  index = choices(key, weights, method='stratified_as_released')
  counts = counts_of(index, axis=1)[:, : len(sizes)]
  np.testing.assert_array_equal(counts, [sizes] * REPEATS)


def test_one_example_as_released_takes_the_last_component(key):
  weights = np.array([[0.3], [0.7], [0]], np.float32)
  index = mixture.choose_components(
    key, weights, method='stratified_as_released'
  )
  np.testing.assert_array_equal(index, [1])


@pytest.mark.parametrize('method', SAMPLING_METHODS)
def test_place_in_the_batch_does_not_matter(method, key):
  index = np.asarray(choices(key, batch_of(even(4)), method=method))
  # 200 draws at every place.
  assert_frequencies(counts_of(index, axis=0), np.pad(even(4), (0, 27)) * 200)


@pytest.mark.parametrize('method', SAMPLING_METHODS)
def test_neighbours_draw_independently(method, key):
  index = np.asarray(choices(key, batch_of(even(4)), method=method))
  pairs = 4 * index[:, ::2] + index[:, 1::2]
  counts = np.bincount(pairs.ravel(), minlength=16)
  expected = np.full((4, 4), 1 / 16)
  if method != 'categorical':
    # 64 of each in every batch: one that is drawn leaves 63.
    expected = (64 - np.eye(4)) / 255 / 4
  assert_frequencies(counts[None], expected.ravel() * pairs.size)


def test_stratified_is_right_for_examples_that_lack_modalities(key):
  # 31 subsets; every example its own missing modalities.
  table = subsets.membership(5)
  present = np.random.default_rng(0).random((5, BATCH)) < 0.5
  present[0] |= ~present.any(0)
  weights = np.asarray(subsets.uniform_weights(table, jnp.asarray(present)))
  index = np.asarray(choices(key, weights, method='stratified'))
  assert (weights[index, np.arange(BATCH)] > 0).all()
  expected = REPEATS * weights.sum(1)
  assert_frequencies(counts_of(index)[None], expected)


def test_unknown_sampling_method_names_the_known_ones(key):
  with pytest.raises(
    ValueError, match="must be one of .*'stratified'.*'lucky'"
  ):
    mixture.choose_components(key, uniform(2, 3), method='lucky')


# Sampling.


def test_select_takes_the_chosen_component_and_its_gradient_alone(key):
  q = mixture_of(ROWS.T)

  @jit
  def selected_and_gradient(components):
    def select(components):
      return mixture.select(key, Mixture(components, q.weights))

    gradient = jax.grad(lambda c: sum(jnp.sum(leaf) for leaf in select(c)))(
      components
    )
    return select(components), gradient

  selected, gradient = selected_and_gradient(q.components)
  index = np.asarray(jit(mixture.choose_components)(key, q.weights))
  examples = np.arange(len(ROWS))
  for leaf, source, derivative in zip(
    selected, q.components, gradient, strict=True
  ):
    np.testing.assert_array_equal(leaf, source[index, examples])
    expected = np.zeros(source.shape)
    expected[index, examples] = 1
    np.testing.assert_array_equal(derivative, expected)


@pytest.mark.parametrize('method', ['stratified', 'categorical'])
def test_samples_have_the_mean_and_variance_of_the_mixture(method, key):
  batch = 8000
  weights = jnp.array([0.2, 0.5, 0.3])
  mean, variance = jnp.array([-2.0, 0, 3]), jnp.array([0.5, 1, 2])
  shape = (3, batch, 1)
  q = Mixture(
    Gaussian(
      jnp.broadcast_to(mean[:, None, None], shape),
      jnp.broadcast_to(jnp.log(variance)[:, None, None], shape),
    ),
    jnp.broadcast_to(weights[:, None], shape[:2]),
  )
  z = np.asarray(jit(functools.partial(mixture.sample, method=method))(key, q))
  total_mean = float(weights @ mean)
  total_variance = float(weights @ (variance + mean**2)) - total_mean**2
  assert z.shape == (batch, 1)
  # Stratification makes the spread of the mean smaller, not larger.
  assert_estimates(z, total_mean)
  assert_estimates((z - total_mean) ** 2, total_variance)


def test_sample_components_draws_from_every_component(key):
  q = mixture_of(uniform(3, 2))
  z = jit(mixture.sample_components, static_argnums=2)(key, q, 5000)
  assert z.shape == (3, 5000, 2, 2)
  scale = np.exp(0.5 * q.components.log_var)
  errors = (np.asarray(z).mean(1) - q.components.mean) / scale
  assert np.abs(errors).max() * math.sqrt(5000) < 5


# Divergences.


def test_mixture_kl_lies_below_its_bound_by_at_most_log_s(key):
  q = mixture_of(uniform(7, 500), num_latents=1)

  @jit
  def both(q):
    kl = mixture.kl_monte_carlo(key, q, num_samples=64)
    return mixture.kl_bound(q), kl

  bound, kl = (np.asarray(value) for value in both(q))
  assert bound.mean() - kl.mean() > 0
  assert (bound - kl).max() < math.log(7) + 0.5  # noise of one example
  assert (bound - kl).mean() < math.log(7)


def test_kl_to_a_given_prior_is_zero_where_it_is_the_mixture(key):
  one = Gaussian(jnp.full((4, 2), 1.5), jnp.full((4, 2), -0.7))
  q = Mixture(
    jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), one), uniform(3, 4)
  )

  @jit
  def kls(prior):
    monte_carlo = mixture.kl_monte_carlo(key, q, num_samples=3, prior=prior)
    return mixture.kl_bound(q, prior), monte_carlo

  for value in kls(one):
    np.testing.assert_allclose(value, 0, atol=1e-5)
  standard = gaussian.standard_normal_like(one)
  bound, _ = kls(standard)
  np.testing.assert_allclose(bound, jit(mixture.kl_bound)(q), rtol=1e-6)


_leaves = hnp.arrays(
  np.float32, (3, 2, 2), elements=st.floats(-20, 20, width=32)
)


@jit
def _extremes(components, z):
  def values(components):
    q = Mixture(components, uniform(3, 2))
    return (
      mixture.log_density(z, q),
      mixture.kl_bound(q),
      mixture.kl_monte_carlo(jax.random.key(0), q, num_samples=1),
      mixture.sample(jax.random.key(0), q),
    )

  def total(components):
    return sum(jnp.sum(value) for value in values(components))

  single = jax.vmap(lambda q: gaussian.log_density(z, q))(components)
  return values(components), single, jax.grad(total)(components)


@hypothesis.given(mean=_leaves, log_var=_leaves)
def test_any_variances_give_finite_values_and_gradients(mean, log_var):
  z = np.array([[0.5, -1], [3, 0]], np.float32)
  values, single, gradient = _extremes(Gaussian(mean, log_var), z)
  for leaf in jax.tree.leaves((values, gradient)):
    assert np.isfinite(leaf).all()
  density, bound, _, _ = values
  # At least the best component's share of its density, at most the best.
  best = single.max(0)
  slack = 1e-5 * (1 + np.abs(best))
  assert (density <= best + slack).all()
  assert (density >= best - math.log(3) - slack).all()
  assert (bound >= -1e-5).all()


def test_compiled_equals_eager():
  q = mixture_of(ROWS.T)
  z = np.ones((len(ROWS), 2), np.float32)
  for function in (functools.partial(mixture.log_density, z), mixture.kl_bound):
    np.testing.assert_allclose(jit(function)(q), function(q), rtol=1e-5)
