"""The label-free encoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax.data.dataset import Dataset, Split, fingerprint
from mmjsd_jax.evaluation import autoencoder, distances, features
from mmjsd_jax.evaluation.autoencoder import encoder_features, train_encoder

pytestmark = pytest.mark.whole

SETTINGS = {'num_steps': 150, 'batch_size': 16, 'peak_learning_rate': 1e-2}


def _squares(rng, num_rows, shape):
  """A bright square somewhere on a dark ground of any colour."""
  images = np.empty((num_rows, *shape), np.uint8)
  for image in images:
    image[:] = rng.integers(0, 100, shape[-1:])
    top, left = rng.integers(0, 16, 2)
    image[top : top + 10, left : left + 10] = 220
  return images


@pytest.fixture(scope='module')
def dataset():
  rng = np.random.default_rng(0)
  train, test = (
    Split(
      {
        'grey': _squares(rng, num_rows, (28, 28, 1)),
        'colour': _squares(rng, num_rows, (32, 32, 3)),
        'text': np.zeros((num_rows, 8), np.uint8),
        'odd': np.zeros((num_rows, 30, 30, 1), np.uint8),
      },
      np.zeros(num_rows, np.int32),
    )
    for num_rows in (200, 100)
  )
  names = tuple(train.inputs)
  digest = fingerprint(train, test)
  return Dataset('squares', names, 1, train, test, '', None, digest)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('encoders')


@pytest.fixture(scope='module')
def trained(dataset, cache):
  return {
    name: train_encoder(
      jax.random.key(0), dataset, name, cache_dir=cache, **SETTINGS
    )
    for name in ('grey', 'colour')
  }


def _features(trained, dataset, name, split='test'):
  images = getattr(dataset, split).inputs[name]
  return features.extract(encoder_features(trained[name]), images)


@pytest.mark.parametrize('name', ['grey', 'colour'])
def test_training_learns_to_draw_the_images_again(name, trained):
  assert 0.6 < float(trained[name].explained_variance) <= 1


@pytest.mark.parametrize('name', ['grey', 'colour'])
def test_groups_of_features_have_unit_variance_on_training_images(
  name, trained, dataset
):
  found = _features(trained, dataset, name, 'train')
  assert found.shape == (200, 128)
  np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
  for group in (slice(64), slice(64, None)):
    variance = found[:, group].var(axis=0).mean()
    assert variance == pytest.approx(1, rel=1e-3)


def test_features_see_ground_and_blur(trained, dataset):
  real = _features(trained, dataset, 'colour')
  other = _features(trained, dataset, 'colour', 'train')[:100]
  floor = distances.frechet_distance(real, other)
  images = dataset.train.inputs['colour'][:100] / np.float32(255)
  blurred = sum(np.roll(images, (i, j), (1, 2)) for i in (0, 1) for j in (0, 1))
  for changed in (blurred / 4, images[..., ::-1] ** 2):
    found = features.extract(encoder_features(trained['colour']), changed)
    assert distances.frechet_distance(real, found) > floor


def test_training_is_a_function_of_images_and_key(dataset, trained, tmp_path):
  """And not of the labels."""
  labels = np.arange(200, dtype=np.int32)
  relabelled = dataset._replace(train=dataset.train._replace(labels=labels))
  again, other = (
    train_encoder(
      jax.random.key(seed), relabelled, 'grey', cache_dir=tmp_path, **SETTINGS
    )
    for seed in (0, 1)
  )
  jax.tree.map(np.testing.assert_array_equal, again, trained['grey'])
  assert jnp.abs(other.mean - again.mean).max() > 1e-3


def test_a_second_call_reads_the_cache(dataset, cache, trained, monkeypatch):
  monkeypatch.delattr(autoencoder, '_train')
  for name, encoder in trained.items():
    again = train_encoder(
      jax.random.key(0), dataset, name, cache_dir=cache, **SETTINGS
    )
    jax.tree.map(np.testing.assert_array_equal, again, encoder)
    assert isinstance(again, autoencoder.LabelFreeEncoder)


@pytest.mark.parametrize(
  'change',
  [
    {'key': jax.random.key(1)},
    {'fingerprint': 'other'},
    {'num_steps': 151},
    {'batch_size': 17},
    {'peak_learning_rate': 1e-3},
  ],
  ids=lambda change: next(iter(change)),
)
def test_any_change_is_trained_anew(
  change, dataset, cache, trained, monkeypatch
):
  class Trained(Exception):
    pass

  def train(*args, **settings):
    raise Trained

  monkeypatch.setattr(autoencoder, '_train', train)
  settings = SETTINGS | change
  key = settings.pop('key', jax.random.key(0))
  digest = settings.pop('fingerprint', dataset.fingerprint)
  with pytest.raises(Trained):
    train_encoder(
      key,
      dataset._replace(fingerprint=digest),
      'grey',
      cache_dir=cache,
      **settings,
    )


def test_images_all_the_same_have_finite_features(dataset, tmp_path):
  blank = np.zeros((200, 28, 28, 1), np.uint8)
  split = Split({'blank': blank}, np.zeros(200, np.int32))
  encoder = train_encoder(
    jax.random.key(0),
    Dataset('blank', ('blank',), 1, split, split, '', None, 'blank'),
    'blank',
    cache_dir=tmp_path,
    **SETTINGS,
  )
  found = features.extract(encoder_features(encoder), blank)
  assert np.isfinite(found).all()


@pytest.mark.parametrize(
  ('modality', 'settings', 'message'),
  [
    ('sound', {}, "got 'sound'"),
    ('text', {}, 'for text'),
    ('odd', {}, 'multiples of 4'),
    ('grey', {'num_steps': 0}, '0 steps'),
  ],
  ids=['unknown', 'text', 'size', 'steps'],
)
def test_what_cannot_be_learned_is_refused(
  modality, settings, message, key, dataset, tmp_path
):
  with pytest.raises(ValueError, match=message):
    train_encoder(key, dataset, modality, cache_dir=tmp_path, **settings)
