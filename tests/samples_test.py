"""What the figures show."""

import jax
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
  assert shapes['from_rest'] == {m: (10, 4, 4) for m in dataset.modalities}
  assert list(found.from_one) == ['m1', 'm0', 'm2']
  for source, targets in shapes['from_one'].items():
    others = [name for name in dataset.modalities if name != source]
    assert targets == {name: (10, 4, 4) for name in others}
  assert found.swapped == {}


@pytest.mark.parametrize(
  ('num_modalities', 'sources', 'num_rest'),
  [(1, [], 0), (2, ['m0', 'm1'], 0), (4, ['m0'], 4)],
  ids=['one', 'two', 'four'],
)
def test_few_modalities_are_sources_in_turn(num_modalities, sources, num_rest):
  world = linear_world.make_world('mvae', num_modalities=num_modalities)
  found = samples.samples_for_figures(
    world.model, world.params, _dataset(world), jax.random.key(0)
  )
  assert list(found.from_one) == sources
  assert len(found.from_rest) == num_rest


@pytest.fixture(scope='module')
def styled():
  """A world whose first latent is each modality's style, and its figures."""
  world = linear_world.make_world('mmvae', num_examples=40)
  model = world.model._replace(
    modality_list=tuple(
      modality._replace(style_dim=1) for modality in world.model.modality_list
    ),
    latent_dim=1,
  )
  found = samples.samples_for_figures(
    model, world.params, _dataset(world), jax.random.key(0)
  )
  return model, world.params, found


def _latents(params, decoded):
  """(style, content) that the linear decoder made `decoded` of."""
  decoder = jax.device_get(params['decoder'])
  return (decoded - decoder['bias']) @ np.linalg.pinv(decoder['kernel'])


def test_swapping_takes_content_from_rows_and_style_from_columns(styled):
  model, params, found = styled
  posteriors = jax.device_get(jax.jit(model.encode)(params, found.originals))
  assert list(found.swapped) == list(model.modalities)
  for index, name in enumerate(model.modalities):
    assert found.swapped[name].shape == (4, 4, 4)
    style, z = np.moveaxis(_latents(params[name], found.swapped[name]), -1, 0)
    # The mean of the column's example, in every row.
    mean = posteriors.styles[index].mean[0, :, 0]
    np.testing.assert_allclose(style, np.tile(mean, (4, 1)), atol=1e-4)
    # One draw given the row's example, in every column.
    np.testing.assert_allclose(z, np.tile(z[:, :1], (1, 4)), atol=1e-4)
    # mmvae: the posterior given one modality is its expert.
    expert = jax.tree.map(
      lambda leaf, m=index: leaf[m, :, 0], posteriors.shared
    )
    scores = (z[:, 0] - expert.mean) / np.exp(0.5 * expert.log_var)
    assert (np.abs(scores) < 5).all() and len(np.unique(scores)) == 4


def test_styles_of_what_is_generated_are_drawn_anew(styled):
  _, params, found = styled
  style = _latents(params['m1'], found.from_one['m0']['m1'])[..., 0]
  # 40 draws of N(0, 1)
  assert len(np.unique(style)) == style.size == 40
  assert abs(style.mean()) < 5 / np.sqrt(40) and 0.5 < style.std() < 1.5
