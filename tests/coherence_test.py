"""Coherence: the pure functions, and what is generated from what."""

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest

from mmjsd_jax.data import text
from mmjsd_jax.evaluation import coherence

# The case 'coherence' of the golden set, exact: joint coherence is all-equal.
PREDICTED = np.array(
  [
    [2, 1, 2, 1, 2, 3, 2, 2, 0, 0, 0, 1],
    [0, 1, 2, 1, 2, 2, 1, 2, 0, 0, 1, 0],
    [0, 1, 2, 1, 2, 1, 3, 2, 1, 0, 0, 1],
  ]
)
LABELS = np.array([0, 1, 2, 1, 2, 3, 1, 2, 0, 0, 1, 1])


def test_coherence_has_the_golden_values():
  assert coherence.joint_coherence(PREDICTED) == 0.5
  np.testing.assert_allclose(
    coherence.conditional_coherence(PREDICTED, LABELS),
    [0.75, 0.8333333333333334, 0.6666666666666666],
    rtol=1e-15,
  )


def test_samples_in_which_no_two_agree_are_not_coherent():
  assert coherence.joint_coherence(np.array([[0], [1], [2]])) == 0


def test_independent_uniform_classes_agree_by_chance():
  classes = np.random.default_rng(0).integers(0, 10, (3, 100_000))
  # Chance is 1/100, with a standard error of 0.0003.
  assert abs(coherence.joint_coherence(classes) - 0.01) < 5 * 0.0003


def test_released_parity_of_independent_uniform_digits_is_082():
  classes = np.random.default_rng(0).integers(0, 10, (3, 100_000))
  # 0.1^2 + 0.9^2, with a standard error of 0.0012.
  parity = coherence.joint_parity_as_released(classes)
  assert abs(parity - 0.82) < 5 * 0.0012


@pytest.mark.parametrize(
  ('labels', 'counts'),
  [
    ((4, 4, 4), 1),
    ((4, 4, 5), 0),
    ((4, 5, 4), 0),
    ((5, 4, 4), 1),  # neither of the other two is the first
    ((4, 5, 6), 1),
  ],
)
def test_released_parity_compares_with_the_first_alone(labels, counts):
  found = coherence.joint_parity_as_released(np.array(labels)[:, None])
  assert found == counts


@pytest.mark.parametrize('shape', [(2, 5), (4, 5), (3,)])
def test_released_parity_is_of_three_modalities(shape):
  with pytest.raises(ValueError, match=r'shape \[3, N\]'):
    coherence.joint_parity_as_released(np.zeros(shape))


def test_texts_match_to_the_letter_wherever_they_start():
  real = text.encode(['two', 'six', ' six', 'nine'], 8)
  generated = text.encode(['  two', 'six', 'six', 'ni ne'], 8)
  np.testing.assert_array_equal(coherence.exact_match(generated, real), 0.75)
  both = np.stack([generated, generated[::-1]])
  # Backwards only one of the two in the middle is where it was.
  np.testing.assert_array_equal(coherence.exact_match(both, real), [0.75, 0.5])


def test_texts_of_another_shape_are_refused():
  with pytest.raises(ValueError, match='real must have shape'):
    coherence.exact_match(np.zeros((3, 5, 8), int), np.zeros((4, 8), int))


@pytest.mark.parametrize('shape', [(3, 5), (6,)])
def test_labels_of_another_length_are_refused(shape):
  with pytest.raises(ValueError, match='labels must have shape'):
    coherence.conditional_coherence(np.zeros(shape), np.zeros(4))


def test_joint_coherence_needs_modalities():
  with pytest.raises(ValueError, match=r'shape \[M, N\]'):
    coherence.joint_coherence(np.zeros(3))


def _classify(key, thresholds, data):
  """Class of z's first coordinate, recovered from every modality's mean."""
  del key
  return jnp.stack(
    [
      (x @ thresholds[name]['w'] > thresholds[name]['b']).astype(jnp.int32)
      for name, x in data.items()
    ]
  )


def _thresholds(world):
  """Per modality, what recovers z's first coordinate and its sign."""
  found = {}
  for name, params in world.params.items():
    dense = params['encoder']['Dense_0']
    found[name] = {'w': dense['kernel'][:, 0], 'b': -dense['bias'][0]}
  return found


@pytest.mark.parametrize('preset', ['mvae', 'mmvae'])
def test_generated_classes_are_those_of_the_posteriors_draw(preset):
  world = linear_world.make_world(preset, num_examples=500)
  labels = (world.latents[:, 0] > 0).astype(int)
  subsets = np.array([[True, False, False], [True, True, True]])
  found = coherence.predict_conditional(
    jax.random.key(0),
    world.model,
    world.params,
    world.encode(),
    subsets,
    _classify,
    _thresholds(world),
    chunk_size=128,  # 500 = 3 * 128 + 116
  )
  assert found.classes.shape == (2, 3, 500)
  assert found.codes == {}  # no text
  # One draw per example is decoded for all modalities: all see the same z.
  np.testing.assert_array_equal(found.classes[:, 0], found.classes[:, 1])
  accuracies = coherence.conditional_coherence(found.classes, labels)
  for row, accuracy in zip(subsets, accuracies, strict=True):
    q = world.model.subset_posterior(world.encode(), row)
    # The chance of a draw on the label's side of zero, over components.
    distance = q.components.mean[..., 0] * np.exp(
      -0.5 * q.components.log_var[..., 0]
    )
    chance = np.sum(
      q.weights * jax.scipy.stats.norm.cdf(distance * (2 * labels[None] - 1)), 0
    )
    error = np.sqrt(np.sum(chance * (1 - chance))) / len(labels)
    assert np.all(np.abs(accuracy - chance.mean()) < 5 * error)


def test_prior_samples_agree_where_all_decoders_show_the_same():
  world = linear_world.make_world('mvae')
  found = coherence.predict_joint(
    jax.random.key(0),
    world.model,
    world.params,
    _classify,
    _thresholds(world),
    num_samples=1000,
    chunk_size=300,
  )
  assert found.shape == (3, 1000)
  assert coherence.joint_coherence(found) == 1
  # Half of N(0, 1) is above zero; a standard error of 0.016.
  assert abs(found.mean() - 0.5) < 5 * 0.016


def test_ceiling_counts_every_real_example_once():
  world = linear_world.make_world('mvae', num_examples=50)
  found = coherence.predict_data(
    jax.random.key(0),
    world.model,
    world.inputs,
    _classify,
    _thresholds(world),
    chunk_size=16,
  )
  expected = _classify(None, _thresholds(world), world.inputs)
  np.testing.assert_array_equal(found, expected)
