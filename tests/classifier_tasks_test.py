"""Tests of how data come to their classifiers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.evaluation import classifier_networks, classifier_tasks
from mmjsd_jax.evaluation.classifier_networks import (
  CelebaImageClassifier,
  CelebaTextClassifier,
  DigitClassifier,
  MnistClassifier,
  SpriteClassifier,
  SpriteTextClassifier,
  SvhnClassifier,
  TextClassifier,
)


@pytest.mark.parametrize(
  ('shape', 'network'),
  [
    ((28, 28, 3), DigitClassifier),
    ((28, 28, 1), MnistClassifier),
    ((32, 32, 3), SvhnClassifier),
    ((8,), TextClassifier),
    ((8, 71), TextClassifier),
    ((64, 64, 3), CelebaImageClassifier),
    ((256,), CelebaTextClassifier),
    ((64, 64, 1), SpriteClassifier),
    ((64, 71), SpriteTextClassifier),
  ],
)
def test_shape_tells_the_network(shape, network):
  task = classifier_tasks.task_of(shape)
  assert isinstance(task.network(5, 0.5, 0.5), network)
  # As many logits as asked for, of data of that shape.
  found = jax.eval_shape(
    lambda: task.network(5).init_with_output(
      jax.random.key(0), jnp.zeros((2, *task.shape)), train=False
    )[0]
  )
  assert found.shape == (2, 5)


def test_parameters_are_as_many_as_the_docstring_says():
  variables = jax.eval_shape(
    lambda: SpriteClassifier().init(
      jax.random.key(0), jnp.zeros((1, 64, 64, 1)), train=False
    )
  )
  sizes = [leaf.size for leaf in jax.tree.leaves(variables['params'])]
  assert sum(sizes) == 560_691


def test_unknown_shape_is_named_with_the_known():
  with pytest.raises(ValueError, match=r'\(28, 28, 1\).*got \(64, 60, 3\)'):
    classifier_tasks.task_of((64, 60, 3))


def test_some_images_are_mirrored_as_a_whole(key):
  images = jax.random.uniform(key, (20, 3, 4, 2))
  found = jit(classifier_tasks.mirror)(key, images)
  mirrored = (found == images[:, :, ::-1]).all(axis=(1, 2, 3))
  kept = (found == images).all(axis=(1, 2, 3))
  np.testing.assert_array_equal(mirrored, ~kept)
  assert 4 < mirrored.sum() < 16


def test_shifted_images_are_moved_as_a_whole(key):
  """Every image is one of the 25 windows of its padded original."""
  images = jax.random.uniform(key, (20, 6, 5, 2))
  shifted = jit(classifier_tasks.shift)(key, images)
  padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)), mode='edge')
  starts = set()
  for image, moved in zip(padded, shifted, strict=True):
    (found,) = [
      (row, column)
      for row in range(5)
      for column in range(5)
      if (image[row : row + 6, column : column + 5] == moved).all()
    ]
    starts.add(found)
  assert len(starts) > 5


def test_some_images_are_inverted(key):
  images = jnp.full((50, 4, 4, 3), 0.25)
  found = jit(classifier_tasks.shift_and_invert)(key, images)
  inverted = np.asarray(found[:, 0, 0, 0]) == 0.75
  assert 10 < inverted.sum() < 40
  expected = np.where(inverted, 0.75, 0.25).reshape(-1, 1, 1, 1)
  np.testing.assert_array_equal(found, np.broadcast_to(expected, found.shape))


def test_released_judges_read_probabilities_of_logits_and_data_as_it_is(key):
  logits = jax.random.normal(key, (3, 8, 71))
  found = jit(classifier_tasks.probabilities)(logits)
  np.testing.assert_allclose(found, jax.nn.softmax(logits), rtol=1e-6)
  data = classifier_tasks.one_hot(logits)
  np.testing.assert_array_equal(data.argmax(-1), logits.argmax(-1))
  np.testing.assert_array_equal(classifier_tasks.probabilities(data), data)


def test_a_sprite_s_classifier_sees_it_wherever_it_lies():
  small = np.zeros((2, 64, 64, 1), np.float32)
  small[0, 3:10, 40:53] = small[1, 50:57, 10:23] = 1
  centre, around = jit(classifier_networks._centred)(jnp.asarray(small))
  np.testing.assert_allclose((centre + 1) * 31.5, [[6, 46], [53, 16]], atol=0.1)
  np.testing.assert_array_equal(around[0], around[1])
  assert around.shape == (2, 32, 32, 1) and around[0].sum() == 91
