"""Evaluation on examples that lack modalities, labels or a classifier."""

import functools
import json

import jax
import linear_world
import numpy as np
import pytest

from mmjsd_jax import subsets
from mmjsd_jax.data import gaps
from mmjsd_jax.evaluation import classifiers, samples
from mmjsd_jax.evaluation.coherence import conditional_coherence

NAMES = ('m0', 'm1', 'm2')


@pytest.fixture(scope='module')
def world():
  return linear_world.make_world('mvae', num_examples=170)


@pytest.fixture(scope='module')
def complete(world):
  return linear_world.make_dataset(world)


def with_gaps(split, seed, filler):
  """Half of all modalities are missing; `filler` stands in their place."""
  split = gaps.take_away(split, 0.5, how='at_random', num_classes=2, seed=seed)
  inputs = {
    name: np.where(split.present[name][:, None], items, np.float32(filler))
    for name, items in split.inputs.items()
  }
  labels = np.where(np.arange(len(split.labels)) % 9 == 0, -1, split.labels)
  return split._replace(inputs=inputs, labels=labels.astype(np.int32))


def incomplete(complete, filler):
  return complete._replace(
    train=with_gaps(complete.train, 0, filler),
    test=with_gaps(complete.test, 1, filler),
  )


@pytest.fixture(scope='module')
def metrics(world, complete):
  return linear_world.evaluate(
    world, incomplete(complete, np.nan), as_released=True
  )


def test_no_filler_reaches_a_number(world, complete, metrics):
  text = json.dumps(metrics, allow_nan=False)
  again = linear_world.evaluate(
    world, incomplete(complete, 1e9), as_released=True
  )
  assert json.loads(text) == json.loads(json.dumps(again))


def test_a_subset_is_measured_on_those_that_have_it(complete, metrics):
  test = incomplete(complete, 0).test
  known = gaps.masks(test, NAMES)[:, test.labels >= 0]
  expected = {
    subsets.subset_name(NAMES, row): int(known[row].all(axis=0).sum())
    for row in subsets.membership(3)
  }
  assert 1 < expected['m0+m1+m2'] < expected['m0'] < 70
  assert metrics['coherence']['num_examples'] == expected
  probed = metrics['probe']['40']['num_examples']
  assert {name: number for name, (_, number) in probed.items()} == expected
  assert probed['m0'][0] == 40 > probed['m0+m1+m2'][0]
  ceiling = metrics['coherence']['ceiling']['m0']
  assert ceiling * known[0].sum() == pytest.approx(
    round(ceiling * known[0].sum())
  )


def test_what_can_be_measured_agrees_with_complete_data(
  world, complete, metrics
):
  """Within the noise of a dozen to seventy examples."""
  whole = linear_world.evaluate(world, complete)
  assert 'num_examples' not in whole['coherence']
  assert 'num_examples' not in whole['probe']['40']
  for name in ('m0', 'm1', 'm2'):
    found, wanted = (
      block['probe']['40']['subsets'][name] for block in (metrics, whole)
    )
    assert abs(found - wanted) < 0.25
  # Exactly log p(X) of the complete ones, by the exact posterior.
  test = incomplete(complete, 0).test
  rows = gaps.complete(test)
  likelihoods = metrics['log_likelihood']
  assert likelihoods['num_examples'] == len(rows) < 20
  inputs = {name: items[rows] for name, items in test.inputs.items()}
  every = np.stack([world.inputs[name] for name in NAMES], axis=1)
  chosen = np.stack([inputs[name] for name in NAMES], axis=1)
  same = (every[None] == chosen[:, None]).all(axis=(2, 3))
  np.testing.assert_allclose(
    likelihoods['joint']['value'],
    world.exact[np.argmax(same, axis=1)].mean(),
    rtol=1e-5,
  )


def test_without_labels_the_rest_is_measured(world, complete):
  unknown = functools.partial(np.full, fill_value=-1, dtype=np.int32)
  dataset = complete._replace(
    num_classes=0,
    train=complete.train._replace(labels=unknown(100)),
    test=complete.test._replace(labels=unknown(70)),
  )
  assert set(classifiers.without_classifier(dataset)) == set(NAMES)
  found = linear_world.evaluate(
    world, dataset, None, untrained_params=world.params
  )
  why = 'the data set has no labels'
  assert found['left_out'] == {'probe': why, 'coherence': why}
  assert set(found) == {'log_likelihood', 'left_out'}
  assert np.isfinite(found['log_likelihood']['joint']['value'])
  shown = samples.samples_for_figures(
    world.model, world.params, dataset, jax.random.key(0)
  )
  assert shown.labels.tolist() == [-1] * samples.NUM_UNLABELLED


def test_without_a_complete_example_there_is_no_log_likelihood(world, complete):
  mask = np.arange(70) % 2 == 0
  test = complete.test._replace(present={'m0': mask, 'm2': ~mask})
  dataset = complete._replace(test=test)
  found = linear_world.evaluate(world, dataset)
  why = 'no test example has all modalities'
  assert found['left_out'] == {
    'log_likelihood': why,
    'figures of examples': why,
  }
  assert found['coherence']['num_examples']['m0+m2'] == 0
  pairs = found['coherence']['conditional']['pairs']
  assert pairs['m0+m2->m1'] is None
  assert pairs['m0+m1->m2'] is not None
  by_size = found['coherence']['conditional']['by_size']['2']
  assert by_size == np.mean([pairs['m0+m1->m2'], pairs['m1+m2->m0']])
  assert found['probe']['40']['subsets']['m0+m1+m2'] is None
  assert found['probe']['40']['by_size']['3'] is None
  assert (
    samples.samples_for_figures(
      world.model, world.params, dataset, jax.random.key(0)
    )
    is None
  )


def _first_and_last(key, weights, data):
  seen = linear_world._classify(key, weights, data)
  return seen[::2]


def test_coherence_is_of_modalities_that_have_a_judge(world, complete):
  why = {'m1': 'there is no classifier for float32 [4]'}
  judges = linear_world.make_judges(world)._replace(
    classify_fn=_first_and_last, left_out=why
  )
  found = linear_world.evaluate(world, complete, judges)
  assert found['left_out'] == {'coherence of m1': why['m1']}
  block = found['coherence']
  assert block['judged'] == ['m0', 'm2']
  assert list(block['ceiling']) == ['m0', 'm2']
  assert list(block['conditional']['pairs']) == [
    'm0->m2',
    'm1->m0',
    'm1->m2',
    'm2->m0',
    'm0+m1->m2',
    'm1+m2->m0',
  ]
  assert block['joint_chance'] == 0.5
  whole = linear_world.evaluate(world, complete)['coherence']
  pairs = whole['conditional']['pairs']
  for pair, value in block['conditional']['pairs'].items():
    assert value == pairs[pair]
  assert list(block['cogeneration']['by_size']) == ['1']


def test_one_judge_alone_agrees_with_nobody(world, complete):
  why = dict.fromkeys(('m0', 'm1'), 'there is no classifier for float32 [4]')
  judges = linear_world.make_judges(world)._replace(
    classify_fn=lambda *args: linear_world._classify(*args)[2:], left_out=why
  )
  found = linear_world.evaluate(world, complete, judges)
  said = found['left_out']['joint coherence']
  assert said == 'only one modality has a classifier'
  assert not [key for key in found['coherence'] if key.startswith('joint')]
  assert found['coherence']['conditional']['pairs']['m0+m1->m2'] is not None


def test_vectors_have_no_classifier(complete):
  found = classifiers.without_classifier(complete)
  assert found == dict.fromkeys(NAMES, 'there is no classifier for float32 [4]')


def test_the_share_of_nobody_is_no_number():
  predicted, labels = np.array([[1, 1], [1, 0]]), np.array([1, 1])
  counted = np.array([[True, False], [False, False]])
  found = conditional_coherence(predicted, labels, counted)
  np.testing.assert_array_equal(found, [1, np.nan])
