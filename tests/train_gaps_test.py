"""Training on examples that lack modalities: unbiased, and blind to fillers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_world import make_world
from objective_world import assert_means, fix_noise
from train_world import (
  NUM_EXAMPLES,
  SETTINGS,
  assert_bit_equal,
  mesh_of,
  run,
  world,
)

from mmjsd_jax import objectives, order
from mmjsd_jax import step as steps
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.diagnosis import diagnose

NAMES = ('m0', 'm1', 'm2')
# One modality, two, all.
PRESENT = np.array([[1, 1, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]], bool)
BATCH = PRESENT.shape[1]
WEIGHTS = (1.0, 2.0, 0.5)
PI = (0.1, 0.2, 0.3, 0.4)
OF_THREE = SETTINGS._replace(
  likelihood_weights=WEIGHTS, style_weights=(1.0,) * 3, gaps=NAMES
)


def made(preset, **changes):
  found = make_world(preset, num_examples=BATCH)
  objective = objectives.make_objective(preset, **changes)
  pi = PI if preset == 'mmjsd' else None
  return found._replace(model=found.model._replace(objective=objective, pi=pi))


def masked(found, filler=0.0):
  """The world's examples on the device, `filler` where they lack a modality."""
  inputs = {
    name: np.where(mask[:, None], found.inputs[name], np.float32(filler))
    for name, mask in zip(NAMES, PRESENT, strict=True)
  }
  present = dict(zip(NAMES, PRESENT, strict=True))
  split = Split(inputs, np.zeros(BATCH, np.int32), present=present)
  return order.to_device(split, mesh_of(1))


def step_fn(found):
  """(seed, parameters, data) to metrics and gradients of the whole batch."""

  def of_step(seed, params, data):
    hyper = steps.make_hyper(OF_THREE._replace(seed=seed))
    # All that is read of a state.
    state = steps.TrainState(params, (), jnp.int32(0), *[None] * 4)
    metrics, grads, _ = steps.metrics_and_grads(
      found.model, OF_THREE, hyper, state, data, jnp.arange(BATCH)
    )
    return metrics, grads

  return of_step


@pytest.mark.parametrize('preset', objectives.PRESETS)
def test_no_filler_reaches_a_gradient(preset):
  found = made(preset)
  of_step = jax.jit(step_fn(found))
  metrics, grads = of_step(0, found.params, masked(found))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
  assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(grads['m2']))
  for filler in (np.nan, 1e30):
    other = of_step(0, found.params, masked(found, filler))
    assert_bit_equal((metrics, grads), other)


def alone(found, example, settings):
  """The terms of one example by the model of what it has, and nothing else."""
  rows = np.flatnonzero(PRESENT[:, example])
  objective = found.model.objective
  if len(rows) < len(NAMES) and objective.prior_expert == 'full_set':
    # That of all modalities there are, as in evaluation.
    objective = objective._replace(prior_expert='never')
  pi = None
  if found.model.pi is not None:
    kept = np.array([*np.array(PI)[rows], PI[-1]])
    pi = tuple(kept / kept.sum())
  part = found.model._replace(
    modality_list=tuple(found.model.modality_list[m] for m in rows),
    objective=objective,
    pi=pi,
  )
  terms = part.elbo(
    jax.random.key(0),
    found.params,
    {NAMES[m]: found.inputs[NAMES[m]][[example]] for m in rows},
    beta=settings.beta,
    likelihood_weights=jnp.array([WEIGHTS[m] for m in rows]),
  )
  names = (NAMES[m] for m in rows)
  likelihoods = dict(zip(names, terms.log_likelihoods[:, 0], strict=True))
  return terms.objective[0], terms.regulariser[0], likelihoods


@pytest.mark.parametrize('preset', objectives.PRESETS)
def test_a_batch_is_the_mean_of_what_each_example_is_alone(preset, monkeypatch):
  # With every component decoded and the noise given, nothing is drawn.
  fix_noise(monkeypatch, np.array([0.3, -0.7], np.float32))
  changes = {} if preset == 'mmvae_dreg' else {'sampling': 'every_component'}
  found = made(preset, num_samples=1, **changes)

  @jax.jit
  def both_ways():
    metrics, _ = step_fn(found)(0, found.params, masked(found))
    return metrics, [alone(found, n, SETTINGS) for n in range(BATCH)]

  metrics, each = both_ways()
  values, regularisers, likelihoods = zip(*each, strict=True)
  close = {'rtol': 2e-5, 'atol': 2e-5}
  np.testing.assert_allclose(metrics['loss'], -np.mean(values), **close)
  np.testing.assert_allclose(
    metrics['regulariser'], np.mean(regularisers), **close
  )
  for m, name in enumerate(NAMES):
    own = [by_name[name] for by_name in likelihoods if name in by_name]
    share = metrics[f'present/{name}']
    np.testing.assert_allclose(share, PRESENT[m].mean())
    told = metrics[f'log_likelihood_where_present/{name}'] / share
    np.testing.assert_allclose(told, np.mean(own), **close)


@pytest.mark.parametrize('preset', ['mopoe', 'mmvae'])
def test_drawn_components_are_those_that_an_example_has(preset):
  """Loss and gradient in expectation are those that decode every component."""
  found, every = made(preset), made(preset, sampling='every_component')

  def of_seeds(of_step):
    seeds = jnp.arange(600)
    metrics, grads = jax.lax.map(
      lambda seed: of_step(seed, found.params, masked(found)),
      seeds,
      batch_size=600,
    )
    return metrics['loss'], grads['m1']['decoder']['bias']

  samples, wanted = (
    jax.jit(of_seeds, static_argnums=0)(step_fn(w)) for w in (found, every)
  )
  for drawn, exact in zip(samples, wanted, strict=True):
    exact = np.asarray(exact, np.float64)
    assert_means(np.asarray(drawn) - exact.mean(0), 0 * exact.mean(0))


# --- whole runs ---------------------------------------------------------------

MASK = np.arange(NUM_EXAMPLES) % 3 > 0


@pytest.fixture(scope='module')
def split():
  _, complete = world()
  inputs = dict(complete.inputs)
  inputs['m1'] = np.where(MASK[:, None], inputs['m1'], np.float32(np.nan))
  return complete._replace(inputs=inputs, present={'m1': MASK})


@pytest.fixture(scope='module')
def whole(split, tmp_path_factory):
  folder = tmp_path_factory.mktemp('whole')
  return run(folder, split=split, validation=split, gaps=('m1',))


def test_lines_tell_of_the_examples_that_have_a_modality(whole):
  state, told = whole
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
  for progress in told:
    terms = progress.metrics
    assert all(np.isfinite(value) for value in terms.values())
    assert 'log_likelihood/m1' not in terms
    assert 0.3 < terms['present/m1'] < 1
    own = terms['log_likelihood_where_present/m1'] * terms['present/m1']
    np.testing.assert_allclose(
      terms['log_likelihood'], terms['log_likelihood/m0'] + own, rtol=1e-5
    )
    expected = SETTINGS.beta * terms['regulariser']
    for weight, value in zip(
      SETTINGS.likelihood_weights,
      (terms['log_likelihood/m0'], own),
      strict=True,
    ):
      expected -= weight * value
    np.testing.assert_allclose(terms['loss'], expected, rtol=1e-5)


def test_a_line_is_silent_on_what_nobody_had(split, tmp_path):
  nobody = split._replace(present={'m1': np.zeros(NUM_EXAMPLES, bool)})
  _, (line,) = run(tmp_path, split=nobody, gaps=('m1',), num_steps=5)
  assert line.metrics['present/m1'] == 0
  assert 'log_likelihood_where_present/m1' not in line.metrics
  assert np.isfinite(line.metrics['loss'])


def test_eight_devices_see_the_gaps_that_one_sees(split, whole, tmp_path):
  eight, _ = run(
    tmp_path, split=split, validation=split, gaps=('m1',), mesh=mesh_of(8)
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    eight,
    whole[0],
  )


def test_a_filler_is_not_taken_for_what_ceased_to_be_a_number(split):
  model, _ = world()
  settings = SETTINGS._replace(gaps=('m1',))
  state = steps.init_state(model, settings, mesh_of(1))
  data = order.to_device(split, mesh_of(1))
  assert diagnose(model, settings, state, data) == []
