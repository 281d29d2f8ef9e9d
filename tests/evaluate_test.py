"""The block 'metrics' of results.json, from a model that is known exactly."""

import json
from typing import Any

import jax
import linear_world
import numpy as np
import pytest

from mmjsd_jax import objectives
from mmjsd_jax.evaluation import evaluate, summary
from mmjsd_jax.evaluation.samplers import Fit, Sampler

SETTINGS: dict[str, Any] = {
  'num_probe_samples': (30, 1000),
  'num_joint_samples': 100,
  'fitted': Fit(
    Sampler(
      np.ones(1, np.float32),
      np.zeros((1, 2), np.float32),
      np.eye(2, dtype=np.float32)[None],
    ),
    num_examples=50,
    converged=True,
  ),
  'num_importance_samples': 4,
  'num_joint_importance_samples': 8,
}


@pytest.fixture(scope='module')
def world():
  return linear_world.make_world('mvae', num_examples=170)


@pytest.fixture(scope='module')
def dataset(world):
  return linear_world.make_dataset(world)


@pytest.fixture(scope='module')
def untrained(world):
  return world.model.init(jax.random.key(5))


@pytest.fixture(scope='module')
def metrics(world, dataset, untrained):
  return _evaluate(world, dataset, untrained_params=untrained, as_released=True)


def _evaluate(world, dataset, **changes):
  return linear_world.evaluate(world, dataset, **SETTINGS | changes)


def test_metrics_are_plain_json(metrics):
  assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_every_subset_pair_and_size_is_there(metrics):
  names = ['m0', 'm1', 'm2', 'm0+m1', 'm0+m2', 'm1+m2', 'm0+m1+m2']
  for block in (
    metrics['probe']['30'],
    metrics['probe']['untrained']['30'],
    metrics['log_likelihood'],
    metrics['as_released']['probe']['500'],
    metrics['as_released']['log_likelihood'],
  ):
    assert list(block['subsets']) == names
    assert list(block['by_size']) == ['1', '2', '3']
  for block in (metrics['coherence'], metrics['as_released']['coherence']):
    pairs = block['conditional']['pairs']
    assert len(pairs) == 3 * 2 + 3 * 1
    assert list(block['conditional']['by_size']) == ['1', '2']
    np.testing.assert_allclose(
      block['conditional']['by_size']['2'],
      np.mean([pairs['m0+m1->m2'], pairs['m0+m2->m1'], pairs['m1+m2->m0']]),
    )
    assert list(block['ceiling']) == ['m0', 'm1', 'm2']


def test_probe_sizes_end_at_the_training_split(metrics):
  assert set(metrics['probe']) == {
    '30',
    '100',
    'untrained',
    'chance',
    'penalty',
    'standardised',
  }
  assert metrics['probe']['chance'] == 0.5
  for size in ('30', '100'):
    assert metrics['probe'][size]['by_size']['3'] > 0.8
    assert metrics['probe'][size]['num_not_converged'] == 0


def test_joint_log_likelihood_and_its_bound_are_exact(world, dataset, metrics):
  # With the exact posterior every draw gives log p(X).
  block = metrics['log_likelihood']
  full = block['subsets']['m0+m1+m2']
  np.testing.assert_allclose(block['joint']['value'], full, atol=1e-4)
  np.testing.assert_allclose(block['joint_bound']['value'], full, atol=1e-4)
  assert block['joint']['num_importance_samples'] == 8
  assert block['num_examples'] == 20
  # 20 of 70 at random.
  error = block['joint']['standard_error']
  assert abs(full - world.exact[100:].mean()) < 5 * error
  assert block['untrained_joint']['value'] < full
  assert block['subsets']['m0'] < full


def test_coherence_comes_with_its_ceilings(metrics):
  block = metrics['coherence']
  assert block['joint'] == 1  # all decoders show the same coordinate
  assert block['joint_standard_error'] == 0
  assert block['joint_chance'] == 0.25
  assert block['num_joint_samples'] == 100
  assert block['joint_parity_as_released'] == 1
  assert 'exact_match' not in block  # there is no text
  assert block['chance'] == 0.5
  assert block['cogeneration']['by_size'] == {'1': 1}
  assert all(value > 0.7 for value in block['ceiling'].values())
  assert block['joint_ceiling'] < 1


def test_joint_coherence_from_a_sampler_stands_beside_the_priors(metrics):
  assert metrics['coherence']['joint_from_sampler'] == {
    'value': 1,  # as from the prior
    'standard_error': 0,
    'num_samples': 100,
    'kind': 'gmm',
    'num_components': 1,
    'num_examples': 50,
    'converged': True,
  }
  assert 'joint_from_sampler' not in metrics['as_released']['coherence']


def test_released_coherence_asks_the_released_judges(metrics):
  # Which say the opposite in this test.
  released = metrics['as_released']['coherence']
  for name, value in metrics['coherence']['ceiling'].items():
    np.testing.assert_allclose(released['ceiling'][name], 1 - value)


def test_same_key_gives_the_same_numbers(world, dataset, untrained, metrics):
  again = _evaluate(
    world, dataset, untrained_params=untrained, as_released=True
  )
  assert again == metrics


def test_named_subsets_alone_are_measured(world, dataset):
  stages = []
  found = _evaluate(
    world,
    dataset,
    subsets=('m2', 'm1+m0'),
    progress=lambda stage, done, total: stages.append((stage, done, total)),
  )
  assert list(found['log_likelihood']['subsets']) == ['m2', 'm0+m1']
  assert list(found['coherence']['conditional']['pairs']) == [
    'm2->m0',
    'm2->m1',
    'm0+m1->m2',
  ]
  assert found['coherence']['reconstruction'] is None
  assert found['log_likelihood']['joint']['value'] is not None
  assert set(found) == {'probe', 'coherence', 'log_likelihood'}
  assert stages[0] == ('encoding', 1, 1)
  assert ('linear probe', 2, 2) in stages
  assert ('log-likelihood', 2, 2) in stages


def test_readings_are_the_other_posteriors_of_several_inputs(world, dataset):
  objective = objectives.make_objective('mmjsd')
  assert objective.subset_posterior == 'product'
  subsets = ('m0', 'm0+m1', 'm0+m1+m2')
  jsd = world._replace(model=world.model._replace(objective=objective))
  found = _evaluate(jsd, dataset, subsets=subsets, readings=True)
  assert list(found['readings']) == ['mixture', 'dynamic_prior']
  for block in found['readings'].values():
    assert block.keys() == {'probe', 'coherence', 'log_likelihood'}
    assert list(block['log_likelihood']['subsets']) == list(subsets)
  # As if it had been the objective's own, from the same draws.
  mixed = objective._replace(subset_posterior='mixture')
  own = world._replace(model=world.model._replace(objective=mixed))
  alone = _evaluate(own, dataset, subsets=subsets)
  reading = found['readings']['mixture']
  del alone['coherence']['joint_from_sampler']  # of the run's own alone
  assert reading['coherence'] == alone['coherence']
  likelihoods = reading['log_likelihood']
  for key, value in likelihoods.items():
    assert value == alone['log_likelihood'][key]
  assert reading['probe'] == {n: alone['probe'][n] for n in ('30', '100')}
  # One input is no mixture; of three it tells less than their product.
  products = found['log_likelihood']['subsets']
  np.testing.assert_allclose(likelihoods['subsets']['m0'], products['m0'])
  probes = found['probe']['100']['by_size']
  assert reading['probe']['100']['by_size']['3'] < probes['3']


def test_other_objectives_have_one_reading(world, dataset):
  assert 'readings' not in _evaluate(world, dataset, readings=True)


def test_unknown_subset_is_refused(world, dataset):
  with pytest.raises(ValueError, match='a subset is distinct modalities'):
    _evaluate(world, dataset, subsets=('m7',))


def test_experts_do_not_depend_on_the_chunks(world):
  whole = world.encode()
  found = evaluate.encode(
    world.model, world.params, world.inputs, chunk_size=64
  )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
    found,
    jax.device_get(whole),
  )


def test_one_example_has_no_standard_error():
  found = summary.mean_block(np.array([-3.0]), 7)
  assert found == {
    'value': -3.0,
    'standard_error': None,
    'num_importance_samples': 7,
  }
