"""Objectives: a contract over all presets.

The presets are found in objectives.PRESETS, so that a new one is tested without
a change here, but for the VAE that it becomes with one modality.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import AxisType, PartitionSpec
from objective_world import (
  EXPERTS,
  NOISE,
  PRESENT,
  SCALE,
  WORLD,
  B,
  M,
  World,
  doubled,
  elbo_fn,
  fix_noise,
  kl_between,
  kl_to_standard_normal,
  make_experts,
  make_world,
  with_garbage,
)
from vectors import jit

from mmjsd_jax import objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.objectives import PRESETS


@pytest.fixture
def fixed_noise(monkeypatch):
  """Every draw uses NOISE, whatever its leading axes."""
  fix_noise(monkeypatch, NOISE)


@functools.cache
def compiled(objective):
  """Terms, and gradients to experts and decoders of the summed objective."""

  def terms_and_gradients(key, experts, world, present):
    def total(experts, w):
      terms = elbo_fn(objective)(key, experts, world._replace(w=w), present)
      return jnp.sum(terms.objective), terms

    gradients, terms = jax.grad(total, argnums=(0, 1), has_aux=True)(
      experts, world.w
    )
    return terms, gradients

  return jit(terms_and_gradients)


every_preset = pytest.mark.parametrize('preset', PRESETS)


# Contract of every preset.


@every_preset
def test_value_and_gradient_are_finite(preset, key):
  with jax.enable_x64(True):
    results = compiled(PRESETS[preset])(
      key, doubled(EXPERTS), doubled(WORLD), jnp.ones((M, B), bool)
    )
    results = jax.tree.map(np.asarray, results)
  terms, _ = results
  assert terms.objective.shape == terms.regulariser.shape == (B,)
  assert terms.log_likelihoods.shape == (M, B)
  for leaf in jax.tree.leaves(results):
    assert leaf.dtype == np.float64
    assert np.isfinite(leaf).all()


# Hundreds of operations each, all compiled by themselves: not of all presets.
@pytest.mark.parametrize('preset', ['mopoe', 'mmvae_dreg'])
def test_compiled_equals_eager(preset, key, fixed_noise):
  terms = elbo_fn(PRESETS[preset])
  inputs = (key, EXPERTS, WORLD, jnp.asarray(PRESENT))
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4),
    jit(terms)(*inputs),
    terms(*inputs),
  )


@every_preset
def test_gradient_equals_finite_differences(preset, key):
  objective = PRESETS[preset]
  present = jnp.asarray(PRESENT)
  with jax.enable_x64(True):
    experts, world = doubled(EXPERTS), doubled(WORLD)
    steps = (doubled(make_experts(seed=5)), doubled(make_world(seed=5)).w)

    def slopes(run):
      """Along the steps: by two values, and by the gradient; for each part."""
      size = 1e-5
      for part, step in enumerate(steps):
        values = []
        for sign in (-1, 1):
          parts = [experts, world.w]
          parts[part] = jax.tree.map(
            lambda a, b, s=sign: a + s * size * b, parts[part], step
          )
          terms, _ = run(key, parts[0], world._replace(w=parts[1]), present)
          values.append(float(jnp.sum(terms.objective)))
        _, gradients = run(key, experts, world, present)
        exact = sum(
          jnp.vdot(a, b)
          for a, b in zip(
            jax.tree.leaves(gradients[part]), jax.tree.leaves(step), strict=True
          )
        )
        yield (values[1] - values[0]) / (2 * size), float(exact)

    run = compiled(objective)
    to_experts, to_decoders = slopes(run)
    np.testing.assert_allclose(*to_decoders, rtol=1e-6)
    if objective.bound == 'dreg':
      # Its gradient to the experts is that of 'iwae' in expectation alone.
      to_experts, _ = slopes(compiled(objective._replace(bound='iwae')))
    np.testing.assert_allclose(*to_experts, rtol=1e-6)


@every_preset
def test_absent_modality_has_no_influence_and_zero_gradient(preset, key):
  run = compiled(PRESETS[preset])
  with jax.enable_x64(True):
    world, present = doubled(WORLD), jnp.asarray(PRESENT)
    (clean, _), (terms, (to_experts, to_decoders)) = (
      jax.tree.map(np.asarray, run(key, doubled(experts), world, present))
      for experts in (EXPERTS, with_garbage(EXPERTS))
    )
  jax.tree.map(np.testing.assert_array_equal, terms, clean)
  for leaf in jax.tree.leaves((terms, to_experts, to_decoders)):
    assert np.isfinite(leaf).all()
  for leaf in to_experts:
    assert (leaf[~PRESENT] == 0).all()
  for values in (terms.log_likelihoods, terms.unimodal_log_likelihoods):
    assert (values[~PRESENT] == 0).all()
  # An example without any modality contributes nothing.
  assert terms.objective[3] == terms.regulariser[3] == 0


@every_preset
def test_permutation_of_modalities_leaves_the_value_unchanged(
  preset, key, fixed_noise
):
  # All components decoded, so that none is singled out by a draw.
  objective = PRESETS[preset]._replace(sampling='every_component')

  @jit
  def value(experts, world, present, pi, weights):
    return elbo_fn(objective, pi=pi, likelihood_weights=weights, beta=2.5)(
      key, experts, world, present
    ).objective

  pi = np.float32([0.1, 0.2, 0.3, 0.4])
  weights = np.float32([1, 0.5, 3])
  expected = value(EXPERTS, WORLD, PRESENT, pi, weights)
  for order in itertools.permutations(range(M)):
    experts, world, present = jax.tree.map(
      lambda leaf, order=order: leaf[list(order)], (EXPERTS, WORLD, PRESENT)
    )
    turned = value(experts, world, present, pi[[*order, M]], weights[[*order]])
    np.testing.assert_allclose(turned, expected, rtol=1e-5)


# One modality: every preset is some VAE.


class Vae(NamedTuple):
  """What a preset becomes when there is one modality; q its posterior."""

  with_prior: bool  # z from q times N(0, I), not from q
  value: str  # key of `vae_values`


REDUCTIONS = {
  'mvae': Vae(True, 'elbo counted twice'),
  'mmvae': Vae(False, 'elbo'),
  'mmvae_dreg': Vae(False, 'elbo with the log-density of z'),
  'mmjsd': Vae(False, 'elbo with the divergence of mmJSD'),
  'mopoe': Vae(True, 'elbo'),
  'mopoe_eq5': Vae(True, 'elbo'),
  'mmpoe': Vae(False, 'elbo with the divergence counted twice'),
}


def vae_values(world: World, q: Gaussian) -> dict[str, np.ndarray]:
  """The objectives of a VAE with posterior q [B, D] and NOISE, in numpy."""
  mean, log_var = (np.float64(leaf) for leaf in q)
  z = mean + np.exp(log_var / 2) * NOISE
  loc = z @ np.float64(world.w[0]).T + world.b[0]
  fit = scipy.stats.norm(loc, SCALE).logpdf(world.x[0]).sum(-1)
  kl = kl_to_standard_normal(mean, log_var)
  centre_var = 2 / (1 + np.exp(-log_var))
  centre_mean = centre_var * 0.5 * np.exp(-log_var) * mean
  jsd = 0.5 * (
    kl_between(mean, log_var, centre_mean, np.log(centre_var))
    + kl_between(0 * mean, 0 * mean, centre_mean, np.log(centre_var))
  )
  log_p = scipy.stats.norm.logpdf(z).sum(-1)
  log_q = scipy.stats.norm(mean, np.exp(log_var / 2)).logpdf(z).sum(-1)
  return {
    'elbo': fit - kl,
    'elbo counted twice': 2 * (fit - kl),
    'elbo with the divergence counted twice': fit - 2 * kl,
    'elbo with the divergence of mmJSD': fit - jsd,
    'elbo with the log-density of z': fit + log_p - log_q,
  }


def check_reduction(objective, vae, key):
  world, experts = make_world(1), make_experts(1)
  objective = objective._replace(num_samples=1)
  terms = jit(elbo_fn(objective))(key, experts, world, None)
  mean, log_var = (np.float64(leaf[0]) for leaf in experts)
  if vae.with_prior:
    precision = 1 + np.exp(-log_var)
    mean = np.exp(-log_var) * mean / precision
    log_var = -np.log(precision)
  expected = vae_values(world, Gaussian(mean, log_var))[vae.value]
  np.testing.assert_allclose(terms.objective, expected, rtol=1e-5)


@every_preset
def test_one_modality_reduces_the_preset_to_its_vae(preset, key, fixed_noise):
  assert preset in REDUCTIONS, 'state here which VAE the new preset becomes'
  check_reduction(PRESETS[preset], REDUCTIONS[preset], key)


@pytest.mark.parametrize('preset', ['mvae', 'mopoe', 'mopoe_eq5'])
def test_one_modality_without_prior_expert_is_the_plain_vae(
  preset, key, fixed_noise
):
  objective = PRESETS[preset]._replace(
    prior_expert='never', unimodal_elbos=False
  )
  check_reduction(objective, Vae(False, 'elbo'), key)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'posterior': 'pope'}, "posterior must be one of .*'mopoe'.*got 'pope'"),
    (
      {'regulariser': 'jsd'},
      "regulariser must be .*'jsd_geometric'.*got 'jsd'",
    ),
    ({'bound': 'eubo'}, "bound must be one of .*'elbo'.*got 'eubo'"),
    ({'sampling': 'all'}, "sampling must .*'every_component'.*got 'all'"),
    ({'prior_expert': True}, "prior_expert must .*'full_set'.*got True"),
    ({'subset_posterior': 'x'}, "subset_posterior must .*'product'.*got 'x'"),
    ({'num_samples': 0}, 'num_samples .* at least 1; got 0'),
    ({'num_samples': 2.0}, r'num_samples must be of type int; got 2\.0'),
    ({'unimodal_elbos': 'no'}, "unimodal_elbos must be .* bool; got 'no'"),
    ({'joint_likelihood': False}, 'joint_likelihood and unimodal_elbos'),
    ({'bound': 'iwae', 'unimodal_elbos': True}, 'needs unimodal_elbos=False'),
    (
      {'bound': 'dreg', 'joint_likelihood': False, 'unimodal_elbos': True},
      'needs joint_likelihood=True',
    ),
    ({'posteriro': 'poe'}, "objective fields are .*got .'posteriro'"),
  ],
  ids=lambda value: '-'.join(value) if isinstance(value, dict) else '',
)
def test_value_without_meaning_is_refused_by_the_name_of_the_field(
  changes, message
):
  with pytest.raises(ValueError, match=message):
    objectives.make_objective('mopoe', **changes)


def test_unknown_preset_names_the_known_ones():
  with pytest.raises(ValueError, match="one of .*'mmjsd'.*got 'mmjds'"):
    objectives.make_objective('mmjds')


def test_objectives_are_static_arguments():
  made = objectives.make_objective('mopoe', num_samples=1)
  assert made == PRESETS['mopoe'] and hash(made) == hash(PRESETS['mopoe'])


# The user's own parallelism.


# Not all presets: loops, and what is drawn for each of their steps.
@pytest.mark.parametrize(
  ('preset', 'changes'),
  [
    ('mopoe', {}),
    ('mopoe', {'num_subsets': 2}),
    ('mmjsd', {}),
    ('mmvae_dreg', {}),
  ],
  ids=['mopoe', 'mopoe of two subsets', 'mmjsd', 'mmvae_dreg'],
)
def test_shards_of_a_shard_map_are_objectives_of_their_examples(
  preset, changes, key
):
  objective = objectives.make_objective(preset, **changes)
  experts = jax.tree.map(lambda leaf: leaf[..., :2, :], EXPERTS)

  def value(experts):
    return jnp.sum(
      objectives.elbo(
        key, experts, lambda z: -jnp.sum(z**2, axis=-1), objective=objective
      ).objective
    )

  def total(experts):
    mesh = jax.make_mesh((2,), ('batch',), axis_types=(AxisType.Auto,))
    both = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf], 1), experts)
    run = jax.shard_map(
      lambda e: value(e)[None],
      mesh=mesh,
      in_specs=PartitionSpec(None, 'batch'),
      out_specs=PartitionSpec('batch'),
    )
    return jnp.sum(run(both))

  @jit
  def run(experts):
    return [jax.value_and_grad(fn)(experts) for fn in (value, total)]

  alone, sharded = run(experts)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(2 * a, b, rtol=1e-5),
    alone,
    sharded,
  )
