"""Samplers of z: what was known is found, and draws have its moments."""

import functools

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest
import scipy.stats

from mmjsd_jax.evaluation import coherence, evaluate, samplers
from mmjsd_jax.evaluation.samplers import Sampler

# Three components that overlap by less than a draw in a thousand.
KNOWN = Sampler(
  np.array([0.2, 0.3, 0.5], np.float32),
  np.array([[-5, 0], [5, -2], [0, 6]], np.float32),
  np.array(
    [[[1, 0], [0.5, 0.5]], [[0.3, 0], [0, 2]], [[1, 0], [-1, 1]]], np.float32
  ),
)
NUM_DRAWS = 20_000


def _covariances(sampler):
  return sampler.factors @ np.swapaxes(sampler.factors, 1, 2)


@pytest.fixture(scope='module')
def draws():
  draw_fn = jax.jit(samplers.sample, static_argnums=2)
  return np.asarray(draw_fn(jax.random.key(0), KNOWN, NUM_DRAWS), np.float64)


def test_draws_have_the_moments_of_every_component(draws):
  nearest = np.argmin(
    np.square(draws[:, None] - KNOWN.means[None]).sum(-1), axis=1
  )
  counts = np.bincount(nearest)
  assert scipy.stats.chisquare(counts, NUM_DRAWS * KNOWN.weights).pvalue > 1e-4
  for k, covariance in enumerate(_covariances(KNOWN)):
    own = draws[nearest == k] - KNOWN.means[k]
    # Squared lengths of whitened draws are chi-squared of D degrees.
    squares = np.sum(own * np.linalg.solve(covariance, own.T).T, axis=1)
    assert scipy.stats.kstest(squares, 'chi2', args=(2,)).pvalue > 1e-4
    # Means of n draws have covariance / n.
    mean = own.mean(axis=0)
    square = len(own) * mean @ np.linalg.solve(covariance, mean)
    assert scipy.stats.chi2.sf(square, 2) > 1e-4


def test_fit_finds_the_mixture_that_draws_are_from(draws):
  found = samplers.fit(draws, draws, num_components=3, seed=2**32 - 1)
  assert found.converged
  assert found.num_examples == NUM_DRAWS
  order = [
    int(np.argmin(np.square(found.sampler.means - mean).sum(-1)))
    for mean in KNOWN.means
  ]
  sampler = Sampler(*(array[order] for array in found.sampler))
  # Five standard errors: of shares, means and variances, the largest first.
  np.testing.assert_allclose(
    sampler.weights, KNOWN.weights, atol=5 * np.sqrt(0.25 / NUM_DRAWS)
  )
  atol = 5 * np.sqrt(4 / (0.3 * NUM_DRAWS))
  np.testing.assert_allclose(sampler.means, KNOWN.means, atol=atol)
  atol = 5 * np.sqrt(2 * 4**2 / (0.3 * NUM_DRAWS))
  np.testing.assert_allclose(
    _covariances(sampler), _covariances(KNOWN), atol=atol
  )


def test_latents_beyond_the_limit_are_one_gaussian(draws, monkeypatch):
  # The means vary in two directions of five; across them there is noise.
  monkeypatch.setattr(samplers, 'MAX_DIRECTIONS', 2)
  rng = np.random.default_rng(0)
  turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
  few = draws[:4000]
  means = few @ turn[:2]
  noise = rng.normal(size=(len(few), 3))
  found = samplers.fit(means + 3 * noise @ turn[2:], means, num_components=3)
  outer = found.sampler.means @ turn[2:].T
  # All components share the draws' mean there, and their variance of 9.
  np.testing.assert_allclose(outer, outer[:1].repeat(3, axis=0), atol=1e-5)
  np.testing.assert_allclose(
    turn[2:] @ _covariances(found.sampler) @ turn[2:].T,
    np.broadcast_to(9 * np.eye(3), (3, 3, 3)),
    atol=5 * 9 * np.sqrt(2 / len(few)),
  )
  inside = samplers.fit(few, few, num_components=3).sampler
  whole = found.sampler.means @ turn[:2].T
  np.testing.assert_allclose(np.sort(whole, 0), np.sort(inside.means, 0), 1e-3)


@pytest.mark.parametrize(
  ('shape', 'other', 'message'),
  [
    ((5, 2), (5, 3), r'one shape \[N, D\]'),
    ((5,), (5,), r'one shape \[N, D\]'),
    ((5, 2), (5, 2), 'at least as many examples as components, 6; got 5'),
  ],
)
def test_what_cannot_be_fitted_is_refused(shape, other, message):
  with pytest.raises(ValueError, match=message):
    samplers.fit(np.zeros(shape), np.zeros(other), num_components=6)


@pytest.mark.parametrize('row', [(True,), (False, True)])
def test_fit_is_to_draws_given_what_is_there_and_not_to_means(row):
  world = linear_world.make_world(
    'mvae', num_modalities=len(row), num_examples=2000
  )
  posteriors = world.encode()
  found = samplers.fit_posteriors(
    jax.random.key(0),
    world.model,
    posteriors,
    present=np.tile(np.array(row)[:, None], 2000),
    num_components=1,
    chunk_size=300,
  )
  q = world.model.subset_posterior(posteriors, np.array(row)).components
  mean, variance = q.mean[0], jnp.exp(q.log_var[0])
  # Of draws: the variance of the means and the mean of the variances.
  expected = jnp.cov(mean.T) + jnp.diag(variance.mean(axis=0))
  assert variance.min() > 0.2
  error = 5 * np.sqrt(2 / 2000)
  np.testing.assert_allclose(found.sampler.means[0], mean.mean(0), atol=error)
  np.testing.assert_allclose(
    _covariances(found.sampler)[0], expected, atol=error
  )


def _classify(key, weights, data):
  """The sign of z's first coordinate; another in every m if near zero."""
  del key
  seen = []
  for index, (x, (w, threshold)) in enumerate(
    zip(data.values(), weights, strict=True)
  ):
    first = x @ w - threshold
    seen.append(jnp.where(jnp.abs(first) > 1, (first > 0) * 1, 2 + index))
  return jnp.stack(seen)


def test_joint_coherence_rises_where_the_prior_has_no_data():
  # Data at z = (+-2, 0) + noise; what lies between them shows no one class.
  world = linear_world.make_world('mvae', num_examples=10)
  z = np.random.default_rng(0).normal(size=(600, 2)) * 0.1
  z[:, 0] += np.where(np.arange(600) % 2, 2, -2)
  decoded = jax.jit(world.model.decode)(world.params, z.astype(np.float32))
  world = world._replace(latents=z, inputs=jax.device_get(decoded))
  dataset = linear_world.make_dataset(world, num_train=500)
  fitted = evaluate.fit_sampler(
    world.model,
    world.params,
    dataset,
    key=jax.random.key(0),
    num_components=2,
  )
  predict_fn = functools.partial(
    coherence.predict_joint,
    jax.random.key(1),
    world.model,
    world.params,
    _classify,
    linear_world.make_judges(world).params,
    num_samples=500,
  )
  prior = coherence.joint_coherence(predict_fn())
  # P(|z_1| > 1) of N(0, 1); a standard error of 0.021.
  assert abs(prior - 2 * scipy.stats.norm.sf(1)) < 5 * 0.021
  assert coherence.joint_coherence(predict_fn(sampler=fitted.sampler)) > 0.9


def test_stored_sampler_is_read_back(tmp_path):
  path = tmp_path / 'sampler.npz'
  samplers.save(path, KNOWN)
  found = samplers.load(path, num_components=3, latent_dim=2)
  for array, known in zip(found, KNOWN, strict=True):
    np.testing.assert_array_equal(array, known)
  with pytest.raises(ValueError, match=r'sampler.npz: expected .* as weights'):
    samplers.load(path, num_components=4, latent_dim=2)
