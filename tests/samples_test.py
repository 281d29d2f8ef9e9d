"""Images for the figures."""

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest

from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.evaluation import samples


def _dataset(world, num_classes=4):
  """The world's inputs as test split, sorted by class as PolyMNIST is."""
  num_examples = len(world.exact)
  labels = np.sort(np.arange(num_examples) % num_classes).astype(np.int32)
  split = Split(world.inputs, labels)
  return Dataset(
    'linear', world.model.modalities, num_classes, split, split, '', None, ''
  )


@pytest.mark.parametrize('preset', ['mvae', 'mmvae'])
def test_figures_have_a_column_for_every_class(preset):
  world = linear_world.make_world(preset, num_examples=40)
  dataset = _dataset(world)
  found = samples.samples_for_figures(
    world.model, world.params, dataset, jax.random.key(0), condition_on='m1'
  )
  np.testing.assert_array_equal(found.labels, np.arange(4))
  shapes = jax.tree.map(np.shape, found._asdict())
  all_of = {name: (4, 4) for name in dataset.modalities}
  assert shapes['originals'] == shapes['reconstructions'] == all_of
  assert shapes['prior'] == {name: (100, 4) for name in dataset.modalities}
  assert shapes['from_source'] == {'m0': (10, 4, 4), 'm2': (10, 4, 4)}
  assert shapes['from_rest'] == {m: (10, 4, 4) for m in dataset.modalities}
  assert found.source == 'm1'


def test_draws_are_those_of_the_exact_posterior():
  world = linear_world.make_world('mvae', num_examples=40)
  dataset = _dataset(world)
  found = samples.samples_for_figures(
    world.model, world.params, dataset, jax.random.key(1)
  )
  experts = jax.jit(world.model.encode)(world.params, found.originals)
  q = world.model.subset_posterior(experts, jnp.array([False, True, True]))
  decoder = world.params['m0']['decoder']
  mean = q.components.mean[0] @ decoder['kernel'] + decoder['bias'][None]
  variance = np.exp(q.components.log_var[0]) @ np.square(decoder['kernel'])
  scores = (found.from_rest['m0'] - mean[None]) / np.sqrt(variance)[None]
  # 10 draws by 4 columns by 4 numbers, of which 2 are independent.
  assert abs(scores.mean()) < 5 / np.sqrt(80)
  assert 0.5 < scores.std() < 1.5


def test_same_key_gives_the_same_images():
  world = linear_world.make_world('mmvae', num_examples=40)
  first, again, other = (
    samples.samples_for_figures(
      world.model, world.params, _dataset(world), jax.random.key(seed)
    )
    for seed in (3, 3, 4)
  )
  jax.tree.map(np.testing.assert_array_equal, first[1:4], again[1:4])
  assert not np.array_equal(first.prior['m0'], other.prior['m0'])


def test_missing_class_is_replaced():
  world = linear_world.make_world('mvae', num_examples=6)
  dataset = _dataset(world, num_classes=3)._replace(num_classes=4)
  found = samples.samples_for_figures(
    world.model, world.params, dataset, jax.random.key(0)
  )
  np.testing.assert_array_equal(found.labels[:3], [0, 1, 2])
  assert found.labels[3] in (0, 1, 2)


def test_unknown_source_is_refused():
  world = linear_world.make_world('mvae', num_examples=6)
  with pytest.raises(ValueError, match='condition_on must be one of'):
    samples.samples_for_figures(
      world.model,
      world.params,
      _dataset(world),
      jax.random.key(0),
      condition_on='m9',
    )
