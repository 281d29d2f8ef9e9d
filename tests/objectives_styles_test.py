"""Modality-specific latents in the objectives: their KL terms and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax import gaussian, objectives
from mmjsd_jax.gaussian import Gaussian

M, B, D = 3, 4, 2
SIZES = (1, 3, 2)


def draw(seed, *shape):
  mean, log_var = jax.random.normal(jax.random.key(seed), (2, *shape))
  return Gaussian(mean, log_var)


EXPERTS = draw(0, M, B, D)
STYLES = tuple(draw(1 + index, B, size) for index, size in enumerate(SIZES))


def eager_terms(preset, **settings):
  return objectives.elbo(
    jax.random.key(0),
    EXPERTS,
    lambda z, styles=(): -jnp.sum(jnp.square(z), axis=-1),
    objective=objectives.make_objective(preset),
    beta=2.0,
    **settings,
  )


terms = jit(eager_terms, static_argnames='preset')
ELBOS = [p for p, o in objectives.PRESETS.items() if o.bound == 'elbo']


@pytest.mark.parametrize('preset', ELBOS)
def test_styles_cost_their_weighted_kl_in_every_elbo(preset):
  weights = jnp.array([1.0, 0.5, 5.0])
  plain = terms(preset)
  styled = terms(preset, styles=STYLES, beta_style=3.0, style_weights=weights)
  kls = np.stack([gaussian.kl_to_standard_normal(style) for style in STYLES])
  cell = objectives.PRESETS[preset]
  num_elbos = cell.joint_likelihood + cell.unimodal_elbos
  np.testing.assert_allclose(styled.style_regularisers, kls, rtol=1e-6)
  np.testing.assert_allclose(
    plain.objective - styled.objective,
    num_elbos * 2.0 * 3.0 * (np.array(weights) @ kls),
    rtol=1e-4,
  )


def test_absent_styles_have_no_value_and_no_gradient():
  present = jnp.ones((M, B), bool).at[1].set(False)
  garbage = Gaussian(jnp.full((B, 3), jnp.nan), jnp.full((B, 3), jnp.inf))

  @jit
  def objective_and_grads(styles):
    def objective(styles):
      terms = eager_terms('mopoe', styles=styles, present=present)
      return jnp.sum(terms.objective)

    return jax.value_and_grad(objective)(styles)

  value, grads = objective_and_grads((STYLES[0], garbage, STYLES[2]))
  assert all(np.all(leaf == 0) for leaf in grads[1])
  assert all(np.any(leaf != 0) for leaf in grads[0])
  assert value == objective_and_grads(STYLES)[0]


@pytest.mark.parametrize('preset', objectives.PRESETS)
def test_every_draw_of_z_comes_with_its_own_style_draws(preset):
  seen = []

  def log_likelihood_fn(z, styles):
    seen.append((z.shape[1:3], styles))
    return jnp.zeros(z.shape[:-1])

  @jit
  def draws(key):
    objectives.elbo(
      key,
      EXPERTS,
      log_likelihood_fn,
      objective=objectives.make_objective(preset),
      styles=STYLES,
    )
    return seen[-1][1]

  found = draws(jax.random.key(0))
  [((num_draws, batch), _)] = seen
  for size, leaf in zip(SIZES, found, strict=True):
    assert leaf.shape == (num_draws, batch, size)
    assert len(np.unique(leaf)) == leaf.size


def fits(z, styles):
  """log p(x_m | z, s_m) of a made-up decoder, [M, N, B]."""
  return jnp.stack(
    [
      -jnp.square(1.5 - jnp.sum(z[m], -1) - jnp.sum(s, -1))
      for m, s in enumerate(styles)
    ]
  )


def importance_objective(bound, styles, log_likelihood_fn=fits):
  return objectives.elbo(
    jax.random.key(3),
    EXPERTS,
    log_likelihood_fn,
    objective=objectives.make_objective(
      'mmvae_dreg', bound=bound, num_samples=5
    ),
    styles=styles,
    beta_style=0.7,
    style_weights=jnp.array([1.0, 2.0, 0.5]),
  ).objective


@pytest.mark.parametrize('bound', ['iwae', 'dreg'])
def test_importance_weights_have_the_styles_densities(bound):
  seen = {}

  def log_likelihood_fn(z, styles):
    seen.update(z=z[0], styles=styles)
    return fits(z, styles)

  @jit
  def value_and_expected(styles):
    value = importance_objective(bound, styles, log_likelihood_fn)
    z, draws = seen['z'], seen['styles']  # [M * K, B, D], and [M * K, B, D_m]
    log_q = jax.nn.logsumexp(
      gaussian.log_density(
        z[None], jax.tree.map(lambda leaf: leaf[:, None], EXPERTS)
      ),
      axis=0,
    )
    log_weights = jnp.sum(fits(z[None].repeat(M, 0), draws), axis=0)
    log_weights -= log_q - np.log(M)
    log_weights -= 0.5 * jnp.sum(z**2 + gaussian.LOG_2PI, -1)
    for weight, s, q in zip((1.0, 2.0, 0.5), draws, styles, strict=True):
      log_p = -0.5 * jnp.sum(s**2 + gaussian.LOG_2PI, -1)
      log_q = gaussian.log_density(s, jax.tree.map(lambda leaf: leaf[None], q))
      log_weights += 0.7 * weight * (log_p - log_q)
    per_expert = jax.nn.logsumexp(log_weights.reshape(M, 5, B), axis=1)
    return value, jnp.mean(per_expert - np.log(5), axis=0)

  np.testing.assert_allclose(*value_and_expected(STYLES), rtol=1e-5)


def test_dreg_weighs_the_styles_path_by_squared_importance_weights():
  # sum_k w_k^2 d log w_k / d s_k d s_k / d phi, one modality and one expert.
  expert, style = draw(5, 1, 1, 1), draw(6, 1, 1)
  seen = {}

  def fit(z, s):
    return -jnp.square(1.5 - z[..., 0] - 2 * s[..., 0])

  def value(style):
    def log_likelihood_fn(z, styles):
      seen.update(z=z, s=styles[0])
      return fit(z, styles[0][None])

    return objectives.elbo(
      jax.random.key(3),
      expert,
      log_likelihood_fn,
      objective=objectives.make_objective('mmvae_dreg', num_samples=5),
      styles=(style,),
    ).objective[0]

  @jit
  def slope_and_expected(style):
    slope = jax.grad(value)(style).mean[0, 0]
    value(style)
    z, s = seen['z'][0], seen['s']  # [K, 1, 1]

    def log_weight(s):
      lifted = jax.tree.map(lambda leaf: leaf.reshape(1, 1, 1), (expert, style))
      densities = [
        gaussian.log_density(v, q) + 0.5 * jnp.sum(v**2 + gaussian.LOG_2PI, -1)
        for v, q in zip((z, s), lifted, strict=True)
      ]
      return fit(z, s) - sum(densities)

    share = jax.nn.softmax(log_weight(s), axis=0)
    slopes = jax.grad(lambda s: jnp.sum(log_weight(s)))(s)[..., 0]
    return slope, jnp.sum(share**2 * slopes)

  np.testing.assert_allclose(*slope_and_expected(style), rtol=1e-5)


@pytest.mark.parametrize('bound', ['iwae', 'dreg'])
def test_styles_that_are_the_prior_cost_nothing(bound):
  prior = tuple(Gaussian(jnp.zeros((B, n)), jnp.zeros((B, n))) for n in SIZES)

  def without(z, styles=()):
    return -jnp.sum(jnp.square(z), axis=-1)

  @jit
  def values(prior):
    return [
      importance_objective(bound, styles, without) for styles in (prior, None)
    ]

  np.testing.assert_allclose(*values(prior), rtol=1e-6)


@pytest.mark.parametrize(
  ('preset', 'settings', 'message'),
  [
    ('mopoe', {'styles': STYLES[:2]}, r'styles must be 3 Gaussians'),
    ('mopoe', {'style_weights': jnp.ones(2)}, r'style_weights must have shape'),
    ('mopoe', {'styles': [tuple(s) for s in STYLES]}, 'styles .*got a tuple'),
    (
      'mopoe',
      {'styles': [Gaussian(s.mean, s.log_var[:, 0]) for s in STYLES]},
      r'styles must have .* one shape; got \(4, \d\) and \(4,\)',
    ),
  ],
  ids=['too few', 'weights', 'tuples', 'shapes'],
)
def test_styles_that_do_not_fit_are_refused(preset, settings, message):
  with pytest.raises(ValueError, match=message):
    terms(preset, **settings)
