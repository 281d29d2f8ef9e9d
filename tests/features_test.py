"""Features of images."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
import vectors

from mmjsd_jax.evaluation import classifier_networks, features, judges


def _images(num_rows=7):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (num_rows, 28, 28, 3), dtype=np.uint8)


def test_features_are_in_order_without_the_filling():
  sizes = []

  def pixel(images):
    sizes.append(len(images))
    return np.asarray(images)[:, 0, 0]  # of a user's network, not of JAX

  images = _images()
  found = features.extract(pixel, images, chunk_size=3)
  np.testing.assert_allclose(found, images[:, 0, 0] / 255, rtol=1e-6)
  assert found.dtype == np.float32
  assert sizes == [3, 3, 3]


def test_floats_are_taken_as_they_are():
  images = _images()
  fractions = (images / 255).astype(np.float32)
  found = [
    features.extract(lambda x: x[:, 0, 0], x) for x in (images, fractions)
  ]
  np.testing.assert_allclose(*found, rtol=1e-6)


@pytest.mark.parametrize(
  ('network', 'shape'),
  [
    (classifier_networks.DigitClassifier(), (28, 28, 3)),
    (classifier_networks.MnistClassifier(), (28, 28, 1)),
  ],
  ids=['polymnist', 'mnist'],
)
def test_classifier_features_are_what_its_last_layer_reads(network, shape, key):
  images = _images()[..., : shape[-1]]
  example = jnp.zeros((1, *shape))
  init = functools.partial(network.init, train=False)
  params = vectors.jit(init)(key, example)['params']
  feature_fn = features.classifier_features(judges.predict, params)
  found = features.extract(feature_fn, images)
  assert found.shape == (7, 128)
  assert found.min() == 0  # after the rectifier
  last = params['logits']
  logits = vectors.jit(judges.predict)(params, features.to_float(images))
  np.testing.assert_allclose(
    found @ np.asarray(last['kernel']) + np.asarray(last['bias']),
    logits,
    atol=1e-5,
  )


def test_a_classifier_without_logits_is_refused():
  feature_fn = features.classifier_features(lambda _, x: x, {})
  with pytest.raises(ValueError, match="one layer 'logits', got 0"):
    features.extract(feature_fn, _images())


@pytest.mark.parametrize(
  ('feature_fn', 'images', 'message'),
  [
    (lambda x: x[:, 0, 0], np.zeros((7, 28, 28)), r'\[N, H, W, C\]'),
    (lambda x: x[:, 0, 0], np.zeros((0, 28, 28, 3)), r'\[N, H, W, C\]'),
    (lambda x: x, np.zeros((7, 28, 28, 3)), r'shape \[7, D\]'),
    (lambda x: x[:3, 0, 0], np.zeros((7, 28, 28, 3)), r'got \(3, 3\)'),
  ],
  ids=['rank', 'empty', 'maps', 'rows'],
)
def test_wrong_images_and_features_are_refused(feature_fn, images, message):
  with pytest.raises(ValueError, match=message):
    features.extract(feature_fn, images)


@pytest.mark.parametrize(
  ('real', 'generated', 'message'),
  [
    (np.zeros(5), np.zeros((5, 2)), r'real features of shape \[N, D\]'),
    (np.zeros((5, 2)), np.zeros((1, 2)), 'generated features of shape'),
    (np.zeros((5, 2)), np.zeros((5, 3)), 'got 3 and 2'),
    (np.zeros((5, 2)), np.full((5, 2), np.nan), 'got 5 rows of 5'),
  ],
  ids=['rank', 'one', 'width', 'nan'],
)
def test_sets_that_cannot_be_compared_are_refused(real, generated, message):
  with pytest.raises(ValueError, match=message):
    features.check_sets(real, generated)
