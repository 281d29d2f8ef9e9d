"""Every cell of the objectives' grid: valid, or refused by name.

The cells are found in objectives.CHOICES.
"""

import functools
import itertools

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
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
  elbo_fn,
  fix_noise,
  with_garbage,
)
from vectors import jit

from mmjsd_jax import fusion, objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.objectives import CHOICES, Objective


def cells(posterior: str) -> list[Objective]:
  """Every valid cell of a posterior, without those that differ in nothing.

  A posterior of one component leaves nothing to sampling, which is varied with
  'kl' alone there, nor to `looser`. The bounds but 'elbo' do not sample.
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
  return found


@functools.cache
def compiled_cells(posterior):
  """All cells in one program: values [cells, B] and gradients to experts."""

  def all_cells(key, experts, present):
    def values(experts):
      return jnp.stack(
        [
          elbo_fn(objective)(key, experts, WORLD, present).objective
          for objective in cells(posterior)
        ]
      )

    gradients = jax.jacrev(lambda experts: values(experts).sum(1))(experts)
    return values(experts), gradients

  with pytest.MonkeyPatch.context() as patch:
    fix_noise(patch, NOISE)
    shapes = jax.eval_shape(
      lambda: (jax.random.key(0), EXPERTS, jnp.asarray(PRESENT))
    )
    return jit(all_cells).lower(*shapes).compile()


def cell_name(objective):
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
  return [jax.tree.map(np.asarray, run(key, each, present)) for each in experts]


@every_cell
def test_cell_is_finite_and_blind_to_absent_modalities(posterior, index):
  (clean, _), (values, gradients) = cell_results(posterior)
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
  changed = [
    kept._replace(**{field: choice})
    for field in idle
    for choice in {**CHOICES, 'num_samples': (1,)}.get(field, (False, True))
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


_extremes = hnp.arrays(
  np.float32, (M, B, D), elements=st.floats(-20, 20, width=32)
)


@pytest.mark.parametrize('posterior', CHOICES['posterior'])
@hypothesis.settings(max_examples=10)
@hypothesis.given(mean=_extremes, log_var=_extremes)
def test_cells_are_finite_for_any_variances(posterior, mean, log_var):
  experts = Gaussian(jnp.asarray(mean), jnp.asarray(log_var))
  results = compiled_cells(posterior)(
    jax.random.key(0), experts, jnp.asarray(PRESENT)
  )
  for leaf in jax.tree.leaves(results):
    assert np.isfinite(leaf).all()


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
