"""What logits say of a class, and of several factors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from vectors import jit

from mmjsd_jax.data.dataset import Dataset, Factor, Split
from mmjsd_jax.evaluation import classifier_outputs

# A factor of three classes between two of two.
COUNTS = (1, 3, 1)
LOGITS = np.array(
  [[2.0, 0.0, 1.0, -1.0, -3.0], [-0.5, 4.0, 1.0, 5.0, 0.1]], np.float32
)
CLASSES = np.array([[1, 2, 0], [0, 0, 1]])


def _dataset(num_classes, factors):
  split = Split(
    {},
    np.array([3, 1]),
    factors=CLASSES[:, : len(factors)] if factors else None,
  )
  return Dataset(
    '', (), num_classes, split, split, '', None, '', factors=factors
  )


def test_a_factor_of_two_classes_has_one_logit_and_a_class_has_all():
  two, three = Factor('a', ('no', 'yes')), Factor('b', ('x', 'y', 'z'))
  with_factors = _dataset(0, (two, three))
  assert classifier_outputs.logit_counts(with_factors) == (1, 3)
  found = classifier_outputs.targets(with_factors, with_factors.test)
  np.testing.assert_array_equal(found, CLASSES[:, :2])
  for with_class in (_dataset(2, ()), _dataset(2, (two, three))):
    assert classifier_outputs.logit_counts(with_class) == (2,)
    found = classifier_outputs.targets(with_class, with_class.test)
    np.testing.assert_array_equal(found, [[3], [1]])


def test_likeliest_class_of_every_factor():
  found = classifier_outputs.classes_seen(LOGITS, COUNTS)
  np.testing.assert_array_equal(found, [[1, 1, 0], [0, 2, 1]])


def test_loss_is_of_sigmoids_and_softmaxes():
  found = jit(classifier_outputs.cross_entropy, static_argnums=2)(
    LOGITS, CLASSES, COUNTS
  )
  binary = optax.sigmoid_binary_cross_entropy(
    LOGITS[:, [0, 4]], CLASSES[:, [0, 2]]
  )
  others = optax.softmax_cross_entropy_with_integer_labels(
    jnp.asarray(LOGITS[:, 1:4]), CLASSES[:, 1]
  )
  np.testing.assert_allclose(
    found, (binary.sum(axis=1) + others) / 3, rtol=1e-6
  )


def test_gradient_does_not_see_the_classes_that_a_factor_lacks():
  def loss(logits):
    return classifier_outputs.cross_entropy(logits, CLASSES, COUNTS).sum()

  gradient = np.asarray(jit(jax.grad(loss))(LOGITS))
  chance = 1 / (1 + np.exp(-LOGITS[:, 0]))
  np.testing.assert_allclose(
    gradient[:, 0], (chance - CLASSES[:, 0]) / 3, rtol=1e-5
  )
  # A softmax's gradients cancel.
  np.testing.assert_allclose(gradient[:, 1:4].sum(axis=1), 0, atol=1e-6)


def test_other_numbers_of_logits_are_refused():
  with pytest.raises(ValueError, match='expected 4 logits, got 5'):
    classifier_outputs.by_factor(LOGITS, (1, 3))
