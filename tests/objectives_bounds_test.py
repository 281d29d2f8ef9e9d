"""Bounds on log p(X) in exact worlds; importance weights and gradients."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import vectors
from objective_world import (
  EXPERTS,
  PRESENT,
  SCALE,
  WORLD,
  assert_means,
  elbo_fn,
  fix_noise,
  make_world,
)
from vectors import jit

from mmjsd_jax import fusion, gaussian, importance, objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.objectives import PRESETS, Objective

# Exact worlds: bounds on log p(X).


def unimodal_posteriors() -> Gaussian:
  """The exact p(z | x_m)."""
  q = WORLD.likelihoods_in_z()
  precision = 1 + np.exp(-q.log_var)
  return Gaussian(q.mean * np.exp(-q.log_var) / precision, -np.log(precision))


def test_importance_weights_of_the_exact_posterior_are_the_evidence(key):
  # A product with the prior expert of the likelihoods: no variance at all.
  objective = Objective('poe', prior_expert='always', bound='iwae')
  terms = jit(elbo_fn(objective))(key, WORLD.likelihoods_in_z(), WORLD, None)
  np.testing.assert_allclose(terms.objective, WORLD.log_evidence(), rtol=1e-5)


def repeated_values(objective, experts, world, repeats=1000):
  """Values of the objective for many keys. Shape [repeats, B]."""

  @jit
  def values(key):
    run = elbo_fn(objective)
    return jax.vmap(lambda k: run(k, experts, world, None).objective)(
      jax.random.split(key, repeats)
    )

  return np.asarray(values(jax.random.key(3)), np.float64)


@pytest.mark.parametrize('preset', ['mmvae', 'mmvae_dreg', 'mopoe'])
def test_bound_lies_below_the_evidence(preset):
  objective = PRESETS[preset]
  if objective.bound == 'dreg':
    objective = objective._replace(num_samples=3)
  values = repeated_values(objective, unimodal_posteriors(), WORLD)
  error = values.std(0) / math.sqrt(len(values))
  assert (values.mean(0) + 5 * error < WORLD.log_evidence()).all()


def test_equation_5_and_mopoe_agree_in_expectation():
  draw, every = (
    repeated_values(PRESETS[preset], unimodal_posteriors(), WORLD)
    for preset in ('mopoe', 'mopoe_eq5')
  )
  errors = np.sqrt((draw.var(0) + every.var(0)) / len(draw))
  assert (np.abs(draw.mean(0) - every.mean(0)) < 5 * errors).all()


def test_mmjsd_exceeds_the_evidence():
  # Contrary to mmJSD, Lemma 2: its dynamic prior depends on x. With the exact
  # posterior the ELBO is log p(x), and the divergence is less than the KL.
  world = make_world(1)
  q = world.likelihoods_in_z()
  precision = 1 + np.exp(-q.log_var)
  exact = Gaussian(q.mean * np.exp(-q.log_var) / precision, -np.log(precision))
  values = repeated_values(PRESETS['mmjsd'], exact, world)
  error = values.std(0) / math.sqrt(len(values))
  excess = values.mean(0) - world.log_evidence()
  assert (excess.mean() > 5 * np.sqrt(np.square(error).mean())).all()
  # The same draws with the KL meet it.
  elbo = repeated_values(PRESETS['mmvae'], exact, world)
  assert_means(elbo, world.log_evidence())


# Importance bounds.


def golden_world(case):
  """A golden case as (experts, log-likelihood function, noise).

  All cases have one example. Those of one modality have no axis for it.
  """
  names = ('W', 'b', 'sigma', 'x', 'q_mu', 'q_logvar', 'eps')
  inputs = {name: case.inputs[name] for name in names}
  if np.ndim(inputs['sigma']) == 0:
    inputs = {name: [value] for name, value in inputs.items()}

  def log_likelihood_fn(z):
    values = []
    for m, sigma in enumerate(inputs['sigma']):
      w, b, x = (
        np.array(inputs[name][m], case.dtype) for name in ('W', 'b', 'x')
      )
      residual = (x - b)[None, None] - z[m] @ w.T
      constant = gaussian.LOG_2PI + 2 * math.log(sigma)
      squares = jnp.square(residual / sigma)
      values.append(-0.5 * jnp.sum(squares + constant, axis=-1))
    return jnp.stack(values)

  experts = Gaussian(
    *(
      np.array(inputs[name], case.dtype)[:, None]
      for name in ('q_mu', 'q_logvar')
    )
  )
  noise = np.array(inputs['eps'])[:, :, None]  # [S, K, 1, D]
  return experts, log_likelihood_fn, noise


def golden_results(case, monkeypatch, *cells):
  """(log-weights, (value, gradient)) of cells, for the case's noise."""

  def result(objective):
    experts, log_likelihood_fn, noise = golden_world(case)
    fix_noise(monkeypatch, noise)
    cell = objective._replace(num_samples=noise.shape[1])
    key = jax.random.key(0)

    def value(experts):
      return objectives.elbo(
        key, experts, log_likelihood_fn, objective=cell
      ).objective[0]

    weights = jnp.ones(len(experts.mean), case.dtype)
    terms = importance.draw_terms(
      key,
      key,
      fusion.joint_posterior(experts, cell),
      None,
      log_likelihood_fn,
      objective=cell,
      present=None,
      beta=jnp.ones(()),
      likelihood_weights=weights,
      style_weights=weights,
    )
    return terms.log_weights[:, :, 0], jax.value_and_grad(value)(experts)

  return case.run(lambda: [result(cell) for cell in cells])


GRADIENT_TIERS = {'f64': 'grads_f64', 'f32': 'f32'}


@vectors.cases('iwae_linear_gaussian')
def test_iwae_and_dreg_equal_golden_for_one_modality(case, monkeypatch):
  tier = GRADIENT_TIERS[case.precision]
  results = golden_results(
    case,
    monkeypatch,
    Objective('poe', bound='iwae'),
    Objective('poe', bound='dreg'),
  )
  for bound, result in zip(('iwae', 'dreg'), results, strict=True):
    log_weights, (value, gradient) = result
    case.check(value, 'iwae_value_for_these_eps')
    if 'log_weights' in case.expected:
      case.check(log_weights[0], 'log_weights')
      case.check(gradient.mean[0, 0], f'grad_{bound}_mu', tier)
      case.check(gradient.log_var[0, 0], f'grad_{bound}_logvar', tier)
    elif bound == 'dreg':
      # The proposal is the exact posterior: the gradient has no variance.
      np.testing.assert_allclose(np.stack(gradient), 0, atol=1e-4)


@vectors.cases('iwae_mixture_linear_gaussian')
def test_mixture_iwae_and_dreg_equal_golden(case, monkeypatch):
  dreg = Objective('moe', bound='dreg')
  iwae, dreg, looser = golden_results(
    case,
    monkeypatch,
    dreg._replace(bound='iwae'),
    dreg,
    dreg._replace(looser=True),
  )
  for log_weights, (value, _) in (iwae, dreg):
    case.check(log_weights, 'log_weights_mixture_denominator')
    case.check(value, 'stratified_mixture_iwae')
  _, (_, gradient) = dreg
  tier = GRADIENT_TIERS[case.precision]
  case.check(gradient.mean[:, 0], 'grad_dreg_mixture_mu', tier)
  case.check(gradient.log_var[:, 0], 'grad_dreg_mixture_logvar', tier)
  case.check(looser[1][0], 'mmvae_looser_iwae')


def check_expected_bound(case, objective, expected, standard_error):
  """The average over many examples, each a copy of the case's."""
  num_examples = 4000
  experts, log_likelihood_fn, noise = golden_world(case)
  experts = jax.tree.map(
    lambda leaf: np.repeat(leaf, num_examples, axis=1), experts
  )
  cell = objective._replace(num_samples=noise.shape[1])
  values = jit(
    lambda key: (
      objectives.elbo(key, experts, log_likelihood_fn, objective=cell).objective
    )
  )(jax.random.key(4))
  values = np.asarray(values, np.float64)
  error = values.std() / math.sqrt(num_examples)
  assert abs(values.mean() - expected) < 5 * (error + standard_error)


@vectors.cases('iwae_linear_gaussian', ('f32',))
def test_expected_iwae_bound_equals_golden(case):
  if 'expected_iwae_bound' not in case.expected:
    return  # the exact posterior: tested for every noise above
  check_expected_bound(
    case,
    Objective('poe', bound='iwae'),
    case.expected['expected_iwae_bound'],
    case.expected['expected_iwae_bound_se'],
  )


@pytest.mark.parametrize('kind', ['stratified', 'looser'])
@vectors.cases('iwae_mixture_linear_gaussian', ('f32',))
def test_expected_mixture_iwae_equals_golden(case, kind):
  check_expected_bound(
    case,
    Objective('moe', bound='iwae', looser=kind == 'looser'),
    case.expected[f'expected_{kind}'],
    case.expected[f'expected_{kind}_se'],
  )


@vectors.cases('importance_weight_reduction')
def test_importance_weights_are_reduced_per_example(case):
  def reduce(log_weights):
    ones = jnp.ones_like(log_weights[:1])
    return importance.importance_bound(log_weights[None], ones)

  per_example = case.run(reduce, 'log_weights_KB')
  case.check(per_example, 'per_datum')
  case.check(per_example.mean(), 'mean')


def test_importance_bound_skips_components_of_weight_zero():
  log_weights = jnp.log(jnp.arange(1.0, 13)).reshape(3, 2, 2)
  weights = jnp.array([[0.5, 0], [0.5, 1], [0, 0]])
  poison = log_weights.at[2].set(1e30).at[0, :, 1].set(1e30)
  bound = jit(importance.importance_bound, static_argnames='looser')
  np.testing.assert_allclose(
    np.exp(bound(poison, weights)),
    [(1 + 3 + 5 + 7) / 4, (6 + 8) / 2],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    np.exp(bound(poison, weights, looser=True)),
    [math.sqrt((1 + 3) / 2 * (5 + 7) / 2), (6 + 8) / 2],
    rtol=1e-5,
  )


# Gradients against those of the expected bound, by quadrature in one dimension.


class Line(NamedTuple):
  """Two experts and decoders of one latent; every field has shape [2, ...]."""

  mean: np.ndarray
  log_var: np.ndarray
  w: np.ndarray
  b: np.ndarray


LINE = Line(*np.array([[0.4, -0.9], [-0.7, 0.2], [1.1, -0.6], [0.3, -0.2]]))
LINE_X = np.array([1.3, 0.8])
NUM_ESTIMATES = 40_000


def expected_bound(line: Line, posterior: str) -> float:
  """E log (w(z_0) + w(z_1)) / 2, of one draw per expert or two of a product."""
  nodes, shares = np.polynomial.hermite_e.hermegauss(60)
  shares = shares / shares.sum()
  mean, variance = line.mean, np.exp(line.log_var)
  if posterior == 'poe':
    product = 1 / np.sum(1 / variance)
    mean = np.repeat(product * np.sum(mean / variance), 2)
    variance = np.repeat(product, 2)
  scale = np.sqrt(variance)

  def log_weight(z):
    value = scipy.stats.norm.logpdf(z)
    for x, w, b in zip(LINE_X, line.w, line.b, strict=True):
      value += scipy.stats.norm(w * z + b, SCALE).logpdf(x)
    densities = scipy.stats.norm(mean, scale).pdf(z[:, None])
    return value - np.log(densities.mean(1))

  first, second = (log_weight(mean[i] + scale[i] * nodes) for i in (0, 1))
  bounds = np.logaddexp(first[:, None], second[None]) - np.log(2)
  return shares @ bounds @ shares


def exact_gradient(posterior: str) -> np.ndarray:
  """Of the expected bound to all numbers of LINE, by differences. Shape [8]."""
  start, size = np.ravel(LINE), 1e-4

  def bound(values):
    return expected_bound(Line(*values.reshape(4, 2)), posterior)

  return np.array(
    [
      (bound(start + step) - bound(start - step)) / (2 * size)
      for step in size * np.eye(len(start))
    ]
  )


@functools.cache
def line_estimates(objective: Objective):
  """Independent (values [N], gradients [N, 8]) of the objective at LINE."""

  @jit
  def values_and_gradients(key):
    def total(line):
      def log_likelihood_fn(z):  # [2, K, N, 1]
        loc = line.w[:, None] * z[..., 0] + line.b[:, None]
        squares = jnp.square((LINE_X[:, None, None] - loc) / SCALE)
        return -0.5 * (squares + gaussian.LOG_2PI) - math.log(SCALE)

      experts = Gaussian(line.mean[..., None], line.log_var[..., None])
      values = objectives.elbo(
        key, experts, log_likelihood_fn, objective=objective
      ).objective
      return jnp.sum(values), values

    # A copy of every number for each estimate: so gradients are of one each.
    line = jax.tree.map(
      lambda leaf: jnp.repeat(
        jnp.float32(leaf)[:, None], NUM_ESTIMATES, axis=1
      ),
      LINE,
    )
    gradients, values = jax.grad(total, has_aux=True)(line)
    return values, jnp.concatenate(gradients).T

  return [np.float64(leaf) for leaf in values_and_gradients(jax.random.key(5))]


POE = Objective('poe', bound='iwae', num_samples=2)
MOE = Objective('moe', bound='iwae', num_samples=1)


def z_scores(samples, expected):
  error = samples.std(axis=0) / math.sqrt(len(samples))
  return (samples.mean(axis=0) - expected) / error


@pytest.mark.parametrize(
  'objective',
  [POE, POE._replace(bound='dreg'), MOE],
  ids=['iwae', 'dreg', 'mixture-iwae'],
)
def test_value_and_gradient_are_unbiased(objective):
  """27 z-scores below 5.5: a false alarm once in a million."""
  values, gradients = line_estimates(objective)
  expected = expected_bound(LINE, objective.posterior)
  assert abs(z_scores(values, expected)) < 5.5
  exact = exact_gradient(objective.posterior)
  assert (np.abs(z_scores(gradients, exact)) < 5.5).all()


def test_dreg_of_a_mixture_is_biased_in_the_experts_alone():
  """As documented: the gradient is that of MMVAE's authors."""
  _, gradients = line_estimates(MOE._replace(bound='dreg'))
  scores = np.abs(z_scores(gradients, exact_gradient('moe')))
  assert scores[:4].max() > 20
  assert (scores[4:] < 5.5).all()


def test_more_draws_help_the_experts_gradient_with_dreg_alone():
  # Tucker et al. 2019: signal to noise grows as the root of K, and with IWAE
  # falls as it. Both have DReG's mean, which is the better known.
  ratios = {}
  for num_samples in (2, 32):
    values, gradients = zip(
      *(
        line_estimates(POE._replace(bound=bound, num_samples=num_samples))
        for bound in ('iwae', 'dreg')
      ),
      strict=True,
    )
    np.testing.assert_allclose(*values, rtol=1e-5)
    signal = np.abs(gradients[1][:, :4].mean(axis=0))
    ratios[num_samples] = np.array(
      [signal / g[:, :4].std(0) for g in gradients]
    )
  iwae, dreg = ratios[32] / ratios[2]
  assert (iwae < 1 / 3).all() and (dreg > 3).all()


def test_dreg_gradient_scales_with_the_loss(key):
  objective = PRESETS['mmvae_dreg']._replace(num_samples=2)

  @jit
  def gradients(scales):
    def loss(experts, scale):
      run = elbo_fn(objective)
      return scale * jnp.sum(run(key, experts, WORLD, PRESENT).objective)

    return jax.vmap(jax.grad(loss), in_axes=(None, 0))(EXPERTS, scales)

  for leaf in gradients(jnp.array([1, -0.25, 0.0])):
    np.testing.assert_allclose(leaf[1], -0.25 * leaf[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(leaf[2], 0)
