"""Modality-specific latents in the objectives: their KL terms and weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax import gaussian, objectives
from mmjsd_jax.gaussian import Gaussian

M, B, D = 3, 4, 2
SIZES = (1, 3, 2)


def draw(seed, *shape):
  mean, log_var = jax.random.normal(jax.random.key(seed), (2, *shape))
  return Gaussian(mean, log_var)


EXPERTS = draw(0, M, B, D)
STYLES = tuple(draw(1 + index, B, size) for index, size in enumerate(SIZES))


def terms(preset, **settings):
  return objectives.elbo(
    jax.random.key(0),
    EXPERTS,
    lambda z: -jnp.sum(jnp.square(z), axis=-1),
    objective=objectives.make_objective(preset),
    beta=2.0,
    **settings,
  )


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

  def objective(styles):
    return jnp.sum(terms('mopoe', styles=styles, present=present).objective)

  styles = (STYLES[0], garbage, STYLES[2])
  grads = jax.grad(objective)(styles)
  assert all(np.all(leaf == 0) for leaf in grads[1])
  assert all(np.any(leaf != 0) for leaf in grads[0])
  assert objective(styles) == objective(STYLES)


@pytest.mark.parametrize(
  ('preset', 'settings', 'message'),
  [
    ('mmvae_dreg', {'styles': STYLES}, "styles need bound='elbo'; got 'dreg'"),
    ('mopoe', {'styles': STYLES[:2]}, r'styles must be 3 Gaussians'),
    ('mopoe', {'style_weights': jnp.ones(2)}, r'style_weights must have shape'),
  ],
  ids=['importance weights', 'too few', 'weights'],
)
def test_styles_that_do_not_fit_are_refused(preset, settings, message):
  with pytest.raises(ValueError, match=message):
    terms(preset, **settings)
