"""Objectives against a plain loop; what their terms and posteriors are."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from objective_world import (
  EXPERTS,
  NOISE,
  PRESENT,
  SCALE,
  WORLD,
  B,
  D,
  M,
  assert_means,
  elbo_fn,
  fix_noise,
  kl_between,
  kl_to_standard_normal,
  make_experts,
)
from vectors import jit

from mmjsd_jax import fusion, objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.objectives import CHOICES, PRESETS, Objective


@pytest.fixture
def fixed_noise(monkeypatch):
  """Every draw uses NOISE, whatever its leading axes."""
  fix_noise(monkeypatch, NOISE)


# Against a plain loop over subsets and examples.


def plain_elbo(components, weights, regulariser, *, present, beta, scales):
  """Decodes every component of one example, in numpy.

  Args:
    components: list of (mean [D], log_var [D]).
    weights: of the components.
    regulariser: number, or None for the weighted KL of the components.
    present: modalities of the example.
    beta: weight of the regulariser.
    scales: weights of the modalities' log-likelihoods.
  """
  example, members = present
  value = 0.0
  for (mean, log_var), weight in zip(components, weights, strict=True):
    z = mean + np.exp(log_var / 2) * NOISE[example]
    for m in members:
      loc = WORLD.w[m] @ z + WORLD.b[m]
      log_density = scipy.stats.norm(loc, SCALE).logpdf(WORLD.x[m, example])
      value += weight * scales[m] * log_density.sum()
    if regulariser is None:
      value -= weight * beta * kl_to_standard_normal(mean, log_var)
  return value - beta * (regulariser or 0.0)


def plain_product(members, example, *, prior):
  precision, shift = np.full(D, float(prior)), np.zeros(D)
  for m in members:
    precision += np.exp(-np.float64(EXPERTS.log_var[m, example]))
    shift += (
      np.exp(-np.float64(EXPERTS.log_var[m, example]))
      * EXPERTS.mean[m, example]
    )
  return shift / precision, -np.log(precision)


def plain_geometric_js(parts, weights):
  precision = sum(
    w * np.exp(-v) for (_, v), w in zip(parts, weights, strict=True)
  )
  mean = sum(
    w * np.exp(-v) * m for (m, v), w in zip(parts, weights, strict=True)
  )
  centre = (mean / precision, -np.log(precision))
  return sum(
    w * kl_between(*part, *centre)
    for part, w in zip(parts, weights, strict=True)
  )


PI = np.array([0.1, 0.2, 0.3, 0.4])


def plain_parts(preset, members, example):
  """Components, weights and regulariser of one example."""
  experts = [plain_product([m], example, prior=False) for m in members]
  if preset == 'mmvae':
    return experts, np.full(len(experts), 1 / len(experts)), None
  if preset == 'mmjsd':
    pi = PI[[*members, M]] / PI[[*members, M]].sum()
    prior = (np.zeros(D), np.zeros(D))
    js = plain_geometric_js([*experts, prior], pi)
    return experts, pi[:-1] / pi[:-1].sum(), js
  products = [
    plain_product(subset, example, prior=len(subset) == M)
    for size in range(1, len(members) + 1)
    for subset in itertools.combinations(members, size)
  ]
  return products, np.full(len(products), 1 / len(products)), None


@pytest.mark.parametrize('preset', ['mmvae', 'mmjsd', 'mopoe', 'mopoe_eq5'])
def test_objective_equals_a_plain_loop_over_subsets(preset, key, fixed_noise):
  objective = PRESETS[preset]._replace(sampling='every_component')
  scales = np.array([1, 0.5, 3])
  terms = jit(
    elbo_fn(objective, beta=2.5, pi=PI, likelihood_weights=jnp.float32(scales))
  )(key, EXPERTS, WORLD, PRESENT)
  for example in range(B - 1):
    members = list(np.flatnonzero(PRESENT[:, example]))
    components, weights, regulariser = plain_parts(preset, members, example)
    expected = plain_elbo(
      components,
      weights,
      regulariser,
      present=(example, members),
      beta=2.5,
      scales=scales,
    )
    np.testing.assert_allclose(terms.objective[example], expected, rtol=1e-5)


@pytest.mark.parametrize('method', ['stratified', 'categorical'])
def test_drawing_components_is_decoding_them_all_in_expectation(
  method, key, fixed_noise
):
  objective = PRESETS['mopoe']._replace(sampling=method)

  @jit
  def values(key):
    run = elbo_fn(objective)
    return jax.vmap(lambda k: run(k, EXPERTS, WORLD, PRESENT).objective)(
      jax.random.split(key, 2000)
    )

  every = PRESETS['mopoe']._replace(sampling='every_component')
  expected = jit(elbo_fn(every))(key, EXPERTS, WORLD, PRESENT).objective
  assert_means(values(key), expected)


POINTS = np.array([0.0, 1, 5])


@functools.partial(jit, static_argnames='objective')
def decoded_draws(key, present, *, objective):
  """What is decoded of experts that are points. Shape [num_samples, B]."""
  drawn = []

  def log_likelihood_fn(z):
    drawn.append(z[0, ..., 0])
    return jnp.zeros(z.shape[:-1])

  # Of equal variance: a product lies at the mean of its experts.
  shape = (*present.shape, 1)
  mean = jnp.broadcast_to(jnp.float32(POINTS)[:, None, None], shape)
  points = Gaussian(mean, jnp.full(shape, -20.0))
  objectives.elbo(
    key,
    points,
    log_likelihood_fn,
    objective=objective,
    present=present,
    pi=jnp.float32(PI),
  )
  return drawn[0]


def stated_components(preset, row):
  """(points, weights) that an example with the modalities `row` has."""
  points = POINTS[row]
  if preset == 'mopoe':
    sizes = range(1, len(points) + 1)
    subsets = [s for n in sizes for s in itertools.combinations(points, n)]
    points = np.array([np.mean(subset) for subset in subsets])
  weights = PI[:-1][row] if preset == 'mmjsd' else np.ones(len(points))
  return points, weights / weights.sum()


@pytest.mark.parametrize('method', ['stratified', 'categorical'])
@pytest.mark.parametrize('preset', ['mmvae', 'mmjsd', 'mopoe'])
def test_components_are_decoded_as_often_as_their_weights_say(
  preset, method, key
):
  """Chi-squared over 40,000 draws; a false alarm once in a million."""
  rows = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [0, 0, 1]], bool)
  present = jnp.asarray(np.tile(rows, (80, 1)).T)  # [M, B]
  objective = PRESETS[preset]._replace(sampling=method, num_samples=500)
  draws = np.asarray(decoded_draws(key, present, objective=objective))
  for start, row in enumerate(rows):
    points, weights = stated_components(preset, row)
    mine = draws[:, start :: len(rows), None]
    counts = np.sum(np.abs(mine - points) < 0.01, axis=(0, 1))
    assert counts.sum() == mine.size  # none of a component that is absent
    if len(points) > 1:
      test = scipy.stats.chisquare(counts, weights * mine.size)
      assert test.pvalue > 1e-6 / 18


# What the terms are.


@pytest.mark.parametrize(
  'objective',
  [
    PRESETS['mvae'],
    PRESETS['mvae']._replace(unimodal_weights_as_released=True),
    PRESETS['mmpoe'],
    PRESETS['mmjsd'],
  ],
  ids=['mvae', 'mvae_as_released', 'mmpoe', 'mmjsd'],
)
def test_objective_is_the_weighted_sum_of_its_terms(
  objective, key, fixed_noise
):
  weights, beta = np.float32([1, 0.5, 3]), 2.5
  terms = jit(elbo_fn(objective, beta=beta, likelihood_weights=weights))(
    key, EXPERTS, WORLD, None
  )
  own = np.ones(M) if objective.unimodal_weights_as_released else weights
  expected = (
    weights @ terms.log_likelihoods
    + own @ terms.unimodal_log_likelihoods
    - beta * terms.regulariser
    - beta * terms.unimodal_regularisers.sum(0)
  )
  np.testing.assert_allclose(terms.objective, expected, rtol=1e-5)
  assert np.any(terms.log_likelihoods) == objective.joint_likelihood
  assert np.any(terms.unimodal_log_likelihoods) == objective.unimodal_elbos
  assert np.any(terms.unimodal_regularisers) == objective.unimodal_elbos


@pytest.mark.parametrize(
  ('preset', 'changes', 'num_decoded'),
  [
    ('mvae', {}, 2),
    ('mmpoe', {}, 1),
    ('mmvae', {}, 1),
    ('mmjsd', {'num_samples': 4}, 4),
    ('mmvae_dreg', {}, M * 30),
    ('mopoe', {}, 1),
    ('mopoe_eq5', {}, 7),
    ('mopoe_eq5', {'num_samples': 2}, 14),
  ],
)
def test_decoder_runs_once_on_as_many_draws_as_needed(
  preset, changes, num_decoded, key
):
  shapes = []

  def log_likelihood_fn(z):
    shapes.append(z.shape)
    return WORLD.log_likelihood_fn(z)

  jax.eval_shape(
    functools.partial(
      objectives.elbo,
      log_likelihood_fn=log_likelihood_fn,
      objective=objectives.make_objective(preset, **changes),
    ),
    key,
    EXPERTS,
  )
  assert shapes == [(M, num_decoded, B, D)]


def test_every_modality_decodes_the_same_draw_of_the_joint_posterior(key):
  # Coherence depends on it.
  latents = []

  def log_likelihood_fn(z):
    latents.append(z)
    return WORLD.log_likelihood_fn(z)

  @jit
  def draws(key):
    objectives.elbo(key, EXPERTS, log_likelihood_fn, objective=PRESETS['mvae'])
    return latents[-1]

  z = np.asarray(draws(key))  # [M, 2, B, D]: joint, own
  np.testing.assert_array_equal(z[:, 0], np.broadcast_to(z[0, 0], (M, B, D)))
  assert len(np.unique(z[:, 1])) == M * B * D


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'present': np.ones((M, B))}, r'present must be bool of shape \(3, 4\)'),
    ({'present': np.ones((B, M), bool)}, r'present must be .*\(4, 3\)'),
    ({'pi': np.ones(M)}, r'pi must have shape \(4,\).*got \(3,\)'),
    (
      {'likelihood_weights': np.ones(2)},
      r'likelihood_weights must have shape \(3,\); got \(2,\)',
    ),
    (
      {'experts': make_experts(2)},
      r'log_likelihood_fn must return an array of shape \(2, 1, 4\) for '
      r'latents of shape \(2, 1, 4, 2\); got \(3, 1, 4\)',
    ),
    (
      {'experts': Gaussian(np.zeros((B, D)), np.zeros((B, D)))},
      r'experts must have shape \[M, B, D\]; got \(4, 2\)',
    ),
    (
      {'experts': Gaussian(np.zeros(()), np.zeros(()))},
      r'\[M, B, D\]; got \(\)',
    ),
    ({'experts': tuple(EXPERTS)}, 'experts must be .*Gaussian.*; got a tuple'),
    (
      {'experts': Gaussian(np.zeros((M, B, D), int), np.zeros((M, B, D)))},
      'experts must be floating; got int',
    ),
    ({'objective': 'mopoe'}, "objective must be .*make_objective; got 'mopoe'"),
    ({'beta': np.ones((M, 1))}, r'beta must be a scalar; got shape \(3, 1\)'),
    ({'beta_style': np.ones(M)}, r'beta_style must be a scalar; got .*\(3,\)'),
    ({'log_likelihood_fn': list}, 'must return an array .*; got a list'),
    (
      {'log_likelihood_fn': lambda z: None},
      r'array of shape \(3, 1, 4\) .*; got a NoneType',
    ),
    (
      {'experts': Gaussian(np.zeros((M, B, D)), np.zeros((M, B, 1)))},
      r'one shape; got \(3, 4, 2\) and \(3, 4, 1\)',
    ),
    ({'objective': Objective(bound='iwae', regulariser='jsd_geometric')}, 'kl'),
  ],
  ids=lambda value: '-'.join(value) if isinstance(value, dict) else '',
)
def test_inputs_that_do_not_fit_are_refused(settings, message, key):
  def log_likelihood_fn(z):
    return jnp.zeros((M, *z.shape[1:-1]))

  defaults = {
    'experts': EXPERTS,
    'objective': PRESETS['mopoe'],
    'log_likelihood_fn': log_likelihood_fn,
  }
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(lambda: objectives.elbo(key, **(defaults | settings)))


def test_lists_and_numpy_arrays_of_64_bits_mean_what_arrays_mean(key):
  weights = jnp.array([1.0, 2.0, 3.0])
  given = [
    (EXPERTS, jnp.asarray(PRESENT), weights),
    (Gaussian(*map(np.float64, EXPERTS)), PRESENT.tolist(), weights.tolist()),
  ]

  @jit
  def terms():
    return [
      objectives.elbo(
        key,
        experts,
        lambda z: jnp.sum(z, axis=-1),
        objective=PRESETS['mmjsd'],
        present=present,
        likelihood_weights=weights,
        style_weights=weights,
      )
      for experts, present, weights in given
    ]

  jax.tree.map(np.testing.assert_array_equal, *terms())


# Posteriors.


def test_joint_posterior_of_every_kind_has_weights_that_sum_to_one():
  for posterior, size in (('poe', 1), ('moe', 3), ('mopoe', 7)):
    joint = fusion.joint_posterior(
      EXPERTS, Objective(posterior), present=jnp.asarray(PRESENT)
    )
    assert joint.weights.shape == (size, B)
    assert joint.components.mean.shape == (size, B, D)
    np.testing.assert_allclose(joint.weights.sum(0), [1, 1, 1, 0], rtol=1e-6)


def test_mixture_of_experts_follows_pi_for_jensen_shannon_alone():
  pi = jnp.array([0.1, 0.2, 0.3, 0.4])
  weights = {
    regulariser: fusion.joint_posterior(
      EXPERTS,
      Objective('moe', regulariser),
      present=jnp.asarray(PRESENT),
      pi=pi,
    ).weights
    for regulariser in CHOICES['regulariser']
  }
  by_pi = [[1 / 6, 0.25, 0, 0], [1 / 3, 0, 1, 0], [0.5, 0.75, 0, 0]]
  even = [[1 / 3, 0.5, 0, 0], [1 / 3, 0, 1, 0], [1 / 3, 0.5, 0, 0]]
  for regulariser, actual in weights.items():
    expected = by_pi if regulariser.startswith('jsd') else even
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


@functools.partial(jit, static_argnames='objective')
def subset_posterior(row, *, objective, pi=None):
  return fusion.subset_posterior(EXPERTS, row, objective, pi=pi)


@pytest.mark.parametrize(
  'prior_expert', CHOICES['prior_expert'], ids=lambda name: name
)
def test_subset_posterior_is_the_component_that_training_has(prior_expert):
  objective = Objective('mopoe', prior_expert=prior_expert)
  joint = fusion.joint_posterior(EXPERTS, objective)
  rows = itertools.chain.from_iterable(
    itertools.combinations(range(M), size) for size in range(1, M + 1)
  )
  for index, members in enumerate(rows):
    row = np.isin(np.arange(M), members)
    q = subset_posterior(row, objective=objective)
    np.testing.assert_array_equal(q.weights, np.ones((1, B)))
    for leaf, component in zip(q.components, joint.components, strict=True):
      np.testing.assert_allclose(
        leaf[0], component[index], rtol=1e-5, atol=1e-6
      )


def test_subset_posterior_of_mmvae_is_the_mixture_of_its_experts():
  row = np.array([True, False, True])
  q = subset_posterior(row, objective=PRESETS['mmvae'])
  np.testing.assert_allclose(
    q.weights, np.broadcast_to([[0.5], [0], [0.5]], (M, B))
  )
  for leaf, expert in zip(q.components, EXPERTS, strict=True):
    np.testing.assert_array_equal(leaf[row], expert[row])


def test_dynamic_prior_is_the_geometric_mean_of_the_subset_and_the_prior():
  objective = PRESETS['mmjsd']._replace(subset_posterior='dynamic_prior')
  row = np.array([False, True, True])
  q = subset_posterior(row, objective=objective, pi=jnp.float32(PI))
  pi = np.array([0, 0.2, 0.3, 0.4]) / 0.9
  zeros = np.zeros((1, B, D))
  precision = pi[:, None, None] * np.exp(
    -np.concatenate([np.float64(EXPERTS.log_var), zeros])
  )
  mean = (precision * np.concatenate([EXPERTS.mean, zeros])).sum(0)
  precision = precision.sum(0)
  np.testing.assert_allclose(q.components.mean[0], mean / precision, rtol=1e-5)
  np.testing.assert_allclose(
    q.components.log_var[0], -np.log(precision), rtol=1e-5, atol=1e-6
  )
