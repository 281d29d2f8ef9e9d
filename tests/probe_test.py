"""Linear probes."""

import warnings

import jax
import jax.numpy as jnp
import linear_world
import numpy as np
import pytest

from mmjsd_jax.evaluation import probe


def _blobs(num_rows, scale=1.0):
  """Features of three classes far apart, along the second axis only."""
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, num_rows)
  features = rng.normal(size=(num_rows, 2))
  features[:, 1] += 20 * labels
  return features * np.array([1.0, scale]), labels


def test_separable_classes_are_told_apart():
  x, y = _blobs(400)
  found = probe.probe_accuracy(x[:200], y[:200], x[200:], y[200:])
  assert found == probe.Probe(
    accuracy=1.0, converged=True, num_train=200, num_test=200
  )


def test_without_examples_or_classes_there_is_no_accuracy():
  x, y = _blobs(20)
  none = probe.probe_accuracy(x, y, x[:0], y[:0])
  assert none == probe.Probe(None, True, 20, 0)
  one = probe.probe_accuracy(x[:5], 0 * y[:5], x, y)
  assert one == probe.Probe(None, True, 5, 20)


def test_standardised_features_make_the_penalty_independent_of_scale():
  x, y = _blobs(400, scale=1e-3)
  found = probe.probe_accuracy(x[:200], y[:200], x[200:], y[200:])
  assert found.accuracy == 1
  # C = 1 keeps the weights of features this small near zero.
  released = probe.probe_accuracy(
    x[:200], y[:200], x[200:], y[200:], as_released=True
  )
  assert released.accuracy < 0.9


def test_released_accuracy_leaves_out_the_last_batch():
  x, y = _blobs(200)
  wrong = np.concatenate([y, y[:56], (y[56:100] + 1) % 3])
  again = np.concatenate([x, x[:100]])
  found = probe.probe_accuracy(x, y, again, wrong, as_released=True)
  assert found.accuracy == 1
  assert probe.probe_accuracy(x, y, again, wrong).accuracy == 256 / 300


def test_fits_that_stop_early_are_reported_not_hidden():
  x, y = _blobs(100)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    found = probe.probe_accuracy(x, y, x, y, max_iterations=1)
  assert not found.converged
  assert not caught


def test_labels_that_do_not_fit_are_refused():
  x, y = _blobs(10)
  with pytest.raises(ValueError, match='test features must have shape'):
    probe.probe_accuracy(x, y, x, y[:9])


def test_features_are_means_in_order_without_the_filling():
  world = linear_world.make_world('mvae', num_examples=7)
  experts = world.encode()
  row = np.array([True, False, True])
  q = world.model.subset_posterior(experts, jnp.asarray(row))
  found = probe.subset_means(
    jax.random.key(0), world.model, experts, row, chunk_size=3
  )
  np.testing.assert_allclose(found, q.components.mean[0], rtol=1e-6)


def test_feature_of_a_mixture_is_the_mean_of_one_of_its_components():
  world = linear_world.make_world('mmvae', num_examples=50)
  experts = world.encode()
  row = np.array([True, False, True])
  found = probe.subset_means(jax.random.key(0), world.model, experts, row)
  is_expert = [np.all(found == mean, axis=-1) for mean in experts.shared.mean]
  assert [used.sum() for used in is_expert] == [25, 0, 25]


def test_every_subset_and_size_has_a_probe():
  world = linear_world.make_world('mmvae', num_examples=80)
  labels = (world.latents[:, 0] > 0).astype(int)
  experts = jax.device_get(world.encode())
  half = [experts.take(np.arange(50)), experts.take(np.arange(50, 80))]
  done = []
  found = probe.probe_subsets(
    jax.random.key(0),
    world.model,
    half[0],
    labels[:50],
    half[1],
    labels[50:],
    np.array([[True, True, True], [False, True, False]]),
    sizes=(20, 50),
    progress=lambda *counts: done.append(counts),
  )
  assert list(found) == [20, 50]
  assert all(len(probes) == 2 for probes in found.values())
  assert all(p.accuracy > 0.6 and p.converged for p in found[50])
  assert done == [(1, 2), (2, 2)]
