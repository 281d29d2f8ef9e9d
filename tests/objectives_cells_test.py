"""Every cell of the objectives' grid: valid, or refused by name.

The cells are found in objectives.CHOICES.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_world import (
  EXPERTS,
  NOISE,
  PRESENT,
  WORLD,
  B,
  D,
  M,
  doubled,
  elbo_fn,
  fix_noise,
  with_garbage,
)
from vectors import jit

from mmjsd_jax import fusion, objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.objectives import CHOICES, PRESETS, Objective


def cells(posterior: str) -> list[Objective]:
  """Every valid cell of a posterior, without those that differ in nothing.

  A posterior of one component leaves nothing to sampling, which is varied with
  'kl' alone there, nor to `looser`. The bounds but 'elbo' do not sample.
  Unimodal ELBOs are added to products, as the presets do.
  """
  found = [
    Objective(posterior, regulariser, prior_expert='full_set', sampling=method)
    for regulariser in CHOICES['regulariser']
    for method in CHOICES['sampling']
    if posterior != 'poe' or 'kl' == regulariser or method == 'stratified'
  ]
  for bound in CHOICES['bound'][1:]:
    for looser in (False, True)[: 1 if posterior == 'poe' else 2]:
      found.append(
        Objective(posterior, bound=bound, looser=looser, num_samples=2)
      )
  if posterior == 'poe':
    found += [PRESETS['mvae'], PRESETS['mmpoe']]
  return found


def compile_cells(objectives, experts, world):
  """All in one program: values [cells, B], gradients to experts and decoders.

  Every draw uses NOISE, in the precision of the given experts and world.
  """

  def all_cells(key, experts, world, present):
    def total(objective, experts, w):
      changed = world._replace(w=w)
      terms = elbo_fn(objective)(key, experts, changed, present)
      return terms.objective.sum(), terms.objective

    found = []
    for objective in objectives:
      gradient_fn = jax.grad(
        functools.partial(total, objective), argnums=(0, 1), has_aux=True
      )
      gradients, values = gradient_fn(experts, world.w)
      found.append((values, *gradients))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)

  with pytest.MonkeyPatch.context() as patch:
    fix_noise(patch, NOISE)
    inputs = (jax.random.key(0), experts, world, jnp.asarray(PRESENT))
    return jit(all_cells).lower(*inputs).compile()


@functools.cache
def compiled_cells(posterior):
  return compile_cells(cells(posterior), EXPERTS, WORLD)


def cell_name(objective):
  if objective.unimodal_elbos:
    return 'joint-and-unimodal' if objective.joint_likelihood else 'unimodal'
  return '-'.join(str(value) for value in objective[:3]) + (
    f'-{objective.sampling}'
    if objective.bound == 'elbo'
    else '-looser' * objective.looser
  )


every_cell = pytest.mark.parametrize(
  ('posterior', 'index'),
  [
    pytest.param(posterior, index, id=cell_name(objective))
    for posterior in CHOICES['posterior']
    for index, objective in enumerate(cells(posterior))
  ],
)


@functools.cache
def cell_results(posterior):
  run = compiled_cells(posterior)
  key, present = jax.random.key(0), jnp.asarray(PRESENT)
  experts = jax.tree.map(jnp.asarray, (EXPERTS, with_garbage(EXPERTS)))
  return [
    jax.tree.map(np.asarray, run(key, each, WORLD, present)) for each in experts
  ]


@every_cell
def test_cell_is_finite_and_blind_to_absent_modalities(posterior, index):
  (clean, *_), (values, gradients, _) = cell_results(posterior)
  np.testing.assert_array_equal(values[index], clean[index])
  assert np.isfinite(values[index]).all()
  assert values[index, 3] == 0  # the example without modalities
  for leaf in gradients:
    assert np.isfinite(leaf[index]).all()
    assert (leaf[index][~PRESENT] == 0).all()
  # Every present expert of the complete example counts, where it is not left
  # to the draw which one does.
  objective = cells(posterior)[index]
  draws_one = objective.bound == 'elbo' and posterior == 'moe'
  if not draws_one:
    assert (gradients.mean[index][:, 0] != 0).all()


@pytest.mark.parametrize('preset', ['mmvae', 'mmvae_dreg', 'mmpoe'])
def test_idle_fields_change_nothing(preset):
  kept = objectives.PRESETS[preset]._replace(num_samples=2)
  idle = objectives.idle_fields(kept)
  numbers = {'num_samples': (1,), 'num_subsets': (2,)}
  changed = [
    kept._replace(**{field: choice})
    for field in idle
    for choice in {**CHOICES, **numbers}.get(field, (False, True))
  ]

  @jit
  def values(key):
    return [
      (
        elbo_fn(objective)(key, EXPERTS, WORLD, None),
        fusion.subset_posterior(EXPERTS, np.array([True] * M), objective),
      )
      for objective in (kept, *changed)
    ]

  expected, *found = values(jax.random.key(0))
  assert len(found) > len(idle) >= 2
  for each in found:
    jax.tree.map(np.testing.assert_array_equal, each, expected)


# Extremes.

LOG_VARS = (-20, -5, 5, 20)


def extreme_experts(scale) -> list[Gaussian]:
  """Every LOG_VARS of three modalities, other ones in each latent dimension."""
  log_var = np.array(list(itertools.product(LOG_VARS, repeat=M)))  # [64, M]
  log_var = np.stack([log_var, np.roll(log_var, 1, axis=1)], axis=-1)
  mean = np.random.default_rng(0).normal(scale=scale, size=log_var.shape)
  both = np.float32([mean, log_var]).reshape(2, -1, B, M, D)
  return [Gaussian(*part) for part in both.transpose(1, 0, 3, 2, 4)]


@functools.cache
def float64_cells(posterior):
  """(Indices of the cells that draw no component, their program).

  Which components are drawn would depend on the precision.
  """
  indices = [
    index
    for index, objective in enumerate(cells(posterior))
    if posterior == 'poe'
    or objective.bound != 'elbo'
    or objective.sampling == 'every_component'
  ]
  objectives = [cells(posterior)[index] for index in indices]
  with jax.enable_x64(True):
    return indices, compile_cells(objectives, doubled(EXPERTS), doubled(WORLD))


def assert_near(single, double, tolerance, axes=()):
  """Relative to the norm over the axes, or to 1 where that is less."""
  double = np.asarray(double)
  error = np.sqrt(np.sum(np.square(single - double), axis=axes))
  norm = np.sqrt(np.sum(np.square(double), axis=axes))
  tolerance = np.reshape(tolerance, (-1,) + (1,) * (error.ndim - 1))
  assert (error <= tolerance * np.maximum(norm, 1)).all()


@pytest.mark.parametrize('scale', [1, 30, 1000], ids=lambda s: f'means{s}')
@pytest.mark.parametrize('posterior', CHOICES['posterior'])
def test_extreme_variances_are_finite_and_near_float64(posterior, scale):
  """Values within 2e-4; gradients, where means are about 1, within 2e-5.

  Within 5e-3 where the density of a draw is part of the objective: of z - mean
  float32 holds few digits at log_var = -20, and fewer the larger the mean.
  """
  indices, references = float64_cells(posterior)
  tolerance = [
    5e-3 if cell.bound != 'elbo' or cell.regulariser == 'kl_mixture' else 2e-5
    for cell in map(cells(posterior).__getitem__, indices)
  ]
  key, present = jax.random.key(0), jnp.ones((M, B), bool).at[0, 1].set(False)
  for experts in extreme_experts(scale):
    single = compiled_cells(posterior)(key, experts, WORLD, present)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(single))
    with jax.enable_x64(True):
      double = references(key, doubled(experts), doubled(WORLD), present)
    single = jax.tree.map(lambda leaf: np.asarray(leaf)[indices], single)
    assert_near(single[0], double[0], 2e-4)
    if scale == 1:
      for leaf, reference in zip(single[1], double[1], strict=True):
        assert_near(leaf, reference, tolerance, (1, 3))
      assert_near(single[2], double[2], tolerance, (1, 2, 3))


def test_cells_without_meaning_are_refused_by_the_name_of_the_field():
  for values in itertools.product(*CHOICES.values()):
    changes = dict(zip(CHOICES, values, strict=True))
    if changes['bound'] == 'elbo' or changes['regulariser'] == 'kl':
      made = objectives.make_objective('mmvae', **changes)
      assert made._asdict().items() >= changes.items()
    else:
      match = f"bound='{changes['bound']}' needs regulariser='kl'; got"
      with pytest.raises(ValueError, match=match):
        objectives.make_objective('mmvae', **changes)
