"""Factors, as read off latents and off what is generated."""

import json

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sklearn.metrics import average_precision_score

from mmjsd_jax.data.dataset import Factor
from mmjsd_jax.evaluation import chunks, classifiers, evaluate, factors, probe
from mmjsd_jax.evaluation.coherence import Judges

AP, ACCURACY = factors.AVERAGE_PRECISION, factors.ACCURACY
WORDS = ('absent', 'present')
NAMES = ('m0', 'm1', 'm2')


def test_average_precision_by_hand():
  scores = np.array([0.9, 0.8, 0.8, 0.5, 0.1])
  positive = np.array([True, False, True, False, True])
  # Recall 1/3 at a precision of 1, 2/3 at 2/3 (two at once), 1 at 3/5.
  expected = (1 + 2 / 3 + 3 / 5) / 3
  assert factors.average_precision(scores, positive) == pytest.approx(expected)


@pytest.mark.parametrize('decimals', [0, 1, 8], ids='{} decimals'.format)
def test_average_precision_is_scikit_learns(decimals):
  rng = np.random.default_rng(0)
  scores = rng.normal(size=500).round(decimals)
  positive = rng.random(500) < 1 / (1 + np.exp(2 - scores))
  expected = average_precision_score(positive, scores)
  found = factors.average_precision(scores, positive)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_average_precision_without_skill_is_the_prevalence():
  rng = np.random.default_rng(0)
  positive = rng.random(20_000) < 0.2
  found = factors.average_precision(rng.random(20_000), positive)
  assert abs(found - positive.mean()) < 0.015
  same = factors.average_precision(np.ones(20_000), positive)
  assert same == pytest.approx(positive.mean())
  assert np.isnan(factors.average_precision(np.ones(3), np.zeros(3, bool)))


def test_average_precision_of_decisions_is_lower():
  """It is P R + (1 - R) times the prevalence: one point of the curve."""
  rng = np.random.default_rng(0)
  positive = rng.random(20_000) < 0.2
  scores = rng.normal(size=20_000) + 1.1 * positive
  decided = (scores > 1.5).astype(int)
  precision, recall = positive[decided == 1].mean(), decided[positive].mean()
  found = factors.average_precision(decided, positive)
  expected = precision * recall + (1 - recall) * positive.mean()
  assert found == pytest.approx(expected)
  assert found < factors.average_precision(scores, positive) - 0.1


def test_other_shapes_are_refused():
  with pytest.raises(ValueError, match=r'shape \[N\]'):
    factors.average_precision(np.ones(3), np.ones(4, bool))


def test_released_values_are_means_over_full_batches_with_positives():
  # Two full batches, the second without positives, and a rest that is all.
  classes = np.zeros((600, 1), int)
  classes[:64] = classes[512:] = 1
  seen = np.zeros((1, 600))
  found = factors.score(AP, seen, classes, as_released=True)
  np.testing.assert_allclose(found, [64 / 256])
  np.testing.assert_allclose(
    factors.score(AP, seen, classes), [(64 + 88) / 600]
  )
  right = factors.score(ACCURACY, seen, classes, as_released=True)
  np.testing.assert_allclose(right, [(512 - 64) / 512])


def test_only_what_counts_is_scored():
  classes = np.array([[0], [1], [1], [0]])
  seen = np.array([[[0.0, 1.0, 0.0, 1.0]]] * 2)  # the last two are wrong
  counted = np.array([[True, True, False, False], [False] * 4])
  found = factors.score(ACCURACY, seen, classes, counted)
  np.testing.assert_array_equal(found, [[1], [np.nan]])
  assert np.isnan(
    factors.score(AP, seen, classes, counted, as_released=True)[1]
  )


@pytest.fixture(scope='module')
def world():
  """m0 is encoded exactly, so that what it shows is known of what it gives."""
  made = linear_world.make_world('mvae', num_examples=500)
  made.params['m0']['encoder']['log_var'] = jnp.full(2, -30.0)
  return made


def seen_in_m0(world):
  """z, as m0's encoder has it. Shape [N, 2]."""
  layer = jax.device_get(world.params['m0']['encoder']['Dense_0'])
  return world.inputs['m0'] @ layer['kernel'] + layer['bias']


@pytest.fixture(scope='module')
def dataset(world):
  """Two factors that m0 shows, one by chance, and one nobody has."""
  z = seen_in_m0(world)
  rng = np.random.default_rng(1)
  classes = np.stack(
    [z[:, 0] > 0, z[:, 1] > 1, rng.random(len(z)) < 0.3, np.zeros(len(z))],
    axis=1,
  ).astype(np.uint8)
  made = linear_world.make_dataset(world)

  def split(old, rows):
    return old._replace(
      inputs={name: x[rows] for name, x in world.inputs.items()},
      labels=np.full(len(classes[rows]), -1, np.int32),
      factors=classes[rows],
    )

  return made._replace(
    num_classes=0,
    train=split(made.train, slice(0, 150)),
    test=split(made.test, slice(150, None)),
    factors=tuple(
      Factor(name, WORDS) for name in ('first', 'second', 'chance', 'nobody')
    ),
  )


def judge(key, params, data):
  """Logits of the four factors: z, recovered from every modality's mean."""
  del key
  z = [
    x @ layer['kernel'] + layer['bias'].reshape(1, -1)
    for x, layer in zip(data.values(), params, strict=True)
  ]
  return jnp.stack([jnp.stack([*x.T, x[:, 0], -x[:, 0]]) for x in z])


def judge_opposite(key, params, data):
  return -judge(key, params, data)


def make_judges(world):
  layers = [part['encoder']['Dense_0'] for part in world.params.values()]
  return Judges(layers, judge, judge_opposite)


def measure(world, dataset, **changes):
  settings = {
    'key': jax.random.key(0),
    'num_probe_samples': (150,),
    'num_importance_samples': 2,
    'num_joint_importance_samples': 2,
    'num_log_likelihood_examples': 4,
    'chunk_size': 128,  # 350 = 2 * 128 + 94
  }
  return evaluate.evaluate(
    world.model,
    world.params,
    dataset,
    make_judges(world),
    **settings | changes,
  )


@pytest.fixture(scope='module')
def metrics(world, dataset):
  untrained = jax.tree.map(jnp.zeros_like, world.params)
  return measure(world, dataset, untrained_params=untrained, as_released=True)


def test_factors_are_described(dataset, metrics):
  block = metrics['factors']
  assert json.loads(json.dumps(block, allow_nan=False)) == block
  assert block['names'] == ['first', 'second', 'chance', 'nobody']
  assert block['classes']['first'] == ['absent', 'present']
  assert block['metric'] == 'average_precision'
  assert block['num_without_positives'] == 1
  shares = dataset.test.factors.mean(axis=0).tolist()
  assert list(block['prevalence'].values()) == pytest.approx(shares)


def test_a_planted_factor_is_probed(metrics):
  block, found = metrics['factors'], metrics['factors']['probe']['150']
  of_m0 = found['subsets']['m0']
  assert min(of_m0['first'], of_m0['second']) > 0.98
  assert of_m0['nobody'] is None
  assert abs(of_m0['chance'] - block['prevalence']['chance']) < 0.1
  assert block['prevalence']['first'] < found['subsets']['m1']['first'] < 0.98
  assert list(found['subsets']) == list(found['mean'])
  assert found['num_not_converged'] == 0


def test_macro_mean_is_over_factors_with_positives(metrics):
  found = metrics['factors']['probe']['150']
  for subset, values in found['subsets'].items():
    known = [value for value in values.values() if value is not None]
    assert len(known) == 3
    assert found['mean'][subset] == pytest.approx(np.mean(known))


def test_without_latents_a_probe_has_the_prevalence(metrics):
  # Parameters of zero encode everything alike.
  untrained = metrics['factors']['probe_untrained']['150']
  prevalence = metrics['factors']['prevalence']
  for values in untrained['subsets'].values():
    assert values['first'] == pytest.approx(prevalence['first'])
    assert values['chance'] == pytest.approx(prevalence['chance'])


def test_what_is_copied_is_generated_right(metrics):
  generated = metrics['factors']['generated']
  assert list(generated['m0+m2']) == list(NAMES)
  for subset in ('m0', 'm0+m1', 'm0+m1+m2'):
    for values in generated[subset].values():
      assert values['first'] == values['second'] == pytest.approx(1, abs=1e-3)
      assert values['nobody'] is None
  from_m1 = generated['m1']['m0']
  prevalence = metrics['factors']['prevalence']
  assert prevalence['first'] + 0.1 < from_m1['first'] < 0.98
  known = [from_m1[name] for name in ('first', 'second', 'chance')]
  mean = metrics['factors']['generated_mean']['m1']['m0']
  assert mean == pytest.approx(np.mean(known))


def test_ceiling_is_of_real_data(metrics):
  ceiling = metrics['factors']['ceiling']
  assert ceiling['m0']['first'] == ceiling['m0']['second'] == 1
  assert 0.6 < ceiling['m1']['first'] < 0.99
  assert list(metrics['factors']['ceiling_mean']) == list(NAMES)


def test_released_values_stand_beside(metrics):
  released = metrics['factors']['as_released']
  # Of decisions, which are wrong now and then.
  scores = metrics['factors']['probe']['150']['mean']
  assert released['probe']['500']['mean']['m1'] < scores['m1'] - 0.05
  # Its judges say the opposite in this test.
  assert released['ceiling']['m0']['first'] < 0.5
  assert 'prevalence' not in released


def test_what_cannot_be_measured_is_said(world, dataset, metrics):
  why = (
    'the data set has no one class, but several factors; these are measured in'
    ' its place'
  )
  assert metrics['left_out'] == {
    'probe': why,
    'coherence': why,
    'factors of joint generation': 'samples of the prior have no true classes',
  }
  assert set(metrics) == {
    'factors',
    'log_likelihood',
    'as_released',
    'left_out',
  }
  assert 'probe' not in metrics['as_released']
  no_classifier = 'there is no classifier for float32 [4]'
  assert classifiers.without_classifier(dataset) == dict.fromkeys(
    NAMES, no_classifier
  )
  found = evaluate._left_out(dataset, None, 1)
  assert found['factors of generated data'] == 'no modality has a classifier'


def test_eight_devices_give_the_same_numbers(world, dataset):
  @chunks.over_devices_of_params
  def measure_on(model, params):
    train, test = (
      evaluate.encode(model, params, split.inputs, chunk_size=128)
      for split in (dataset.train, dataset.test)
    )
    return factors.measure(
      jax.random.key(0),
      model=model,
      params=params,
      factors=dataset.factors,
      train=dataset.train,
      test=dataset.test,
      train_posteriors=train,
      posteriors=test,
      rows=np.array([[False, True, False]]),
      judges=make_judges(world),
      sizes=(60,),
      chunk_size=128,  # 350 = 2 * 128 + 94
    )

  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  spread = jax.device_put(world.params, NamedSharding(mesh, PartitionSpec()))
  one, eight = (
    measure_on(world.model, world.params),
    measure_on(world.model, spread),
  )
  assert jax.tree.structure(one) == jax.tree.structure(eight)
  np.testing.assert_allclose(
    jax.tree.leaves(eight), jax.tree.leaves(one), rtol=1e-5
  )


def test_a_rare_factor_is_taken_for_what_was_learned():
  x = np.random.default_rng(0).normal(size=(40, 2))
  classes = (x > 0).astype(int)
  classes[:20, 1] = 0
  found = factors._probe_all(
    x[:20], classes[:20], x[20:], classes[20:], metric=AP, as_released=False
  )
  np.testing.assert_allclose(found.values[1], classes[20:, 1].mean())
  assert found.values[0] > 0.9
  assert found[1:] == (0, 20, 20)
  nobody = factors._probe_all(
    x, classes, x[:0], classes[:0], metric=AP, as_released=False
  )
  assert nobody == probe.FactorProbes(
    pytest.approx([np.nan] * 2, nan_ok=True), 0, 40, 0
  )


def test_factors_of_several_classes_have_accuracies(dataset):
  shapes = (Factor('shape', ('a', 'b', 'c')), Factor('half', WORDS))
  assert factors.metric_of(shapes) == ACCURACY
  classes = np.array([[0, 1], [2, 1], [2, 0], [1, 1]])
  test = dataset.test._replace(factors=classes)
  block = factors.describe(shapes, test)
  assert block['prevalence'] == {'shape': 0.5, 'half': 0.75}
  logits = np.zeros((2, 4, 4), np.float32)  # of two modalities
  logits[0, classes[:, 0], np.arange(4)] = 1
  logits[0, 3] = [2, 2, -2, 2]
  logits[1, 3] = -1
  found = factors._values(
    shapes, test, logits, np.ones((2, 4), bool), as_released=False
  )
  np.testing.assert_allclose(found, [[1, 1], [0.25, 0.25]])
