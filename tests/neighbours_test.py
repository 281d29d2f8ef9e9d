"""Improved precision and recall, density and coverage."""

import numpy as np
import pytest
import vectors

from mmjsd_jax.evaluation import neighbours


@vectors.cases('improved_precision_recall', ('f64',))
def test_overlap_has_the_golden_values(case):
  found = neighbours.overlap(
    np.asarray(case.inputs['real']),
    np.asarray(case.inputs['fake']),
    k=case.inputs['k'],
  )
  for name, value in found._asdict().items():
    case.check(value, name)


def _by_loop(real, generated, k):
  def radii(x):
    return [np.sort(np.linalg.norm(x - point, axis=1))[k] for point in x]

  distances = np.linalg.norm(generated[:, None] - real[None], axis=-1)
  in_real = distances <= np.array(radii(real))[None]
  in_generated = distances <= np.array(radii(generated))[:, None]
  return neighbours.Overlap(
    precision=in_real.any(axis=1).mean(),
    recall=in_generated.any(axis=0).mean(),
    density=in_real.sum() / (k * len(generated)),
    coverage=in_real.any(axis=0).mean(),
  )


@pytest.mark.parametrize('k', [1, 4])
def test_overlap_agrees_with_a_loop_whatever_the_chunks(k, monkeypatch):
  rng = np.random.default_rng(0)
  real, generated = rng.normal(size=(40, 5)), rng.normal(0.5, 1, size=(33, 5))
  monkeypatch.setattr(neighbours, '_CHUNK', 7)
  found = neighbours.overlap(real, generated, k=k)
  assert found == pytest.approx(_by_loop(real, generated, k))


def test_known_radii_spare_their_computation():
  real, generated = np.random.default_rng(0).normal(size=(2, 40, 3))
  radii = neighbours.squared_radii(real)
  found = neighbours.overlap(real, generated, real_radii=radii)
  assert found == neighbours.overlap(real, generated)
  without = neighbours.overlap(real, generated, real_radii=np.zeros(40))
  assert without.precision == without.density == without.coverage == 0


def test_identical_sets_overlap_wholly():
  x = np.random.default_rng(0).normal(1000, 1, size=(100, 64))
  found = neighbours.overlap(x, x)
  assert found[:2] == (1, 1)
  assert found.coverage == 1
  # Every sample is in its own ball, and in those of whom it is among the three.
  assert found.density == pytest.approx(4 / 3, abs=0.01)


def test_sets_far_apart_do_not_overlap():
  x = np.random.default_rng(0).normal(size=(50, 4))
  assert neighbours.overlap(x, x + 100) == (0, 0, 0, 0)


def test_like_sets_have_a_density_of_one_and_the_known_coverage():
  real, generated = np.random.default_rng(0).normal(size=(2, 2000, 3))
  found = neighbours.overlap(real, generated, k=3)
  assert found.density == pytest.approx(1, abs=0.05)
  assert found.coverage == pytest.approx(1 - 2**-3, abs=0.03)


def test_copies_of_one_sample_are_precise_and_recall_nothing_else():
  real = np.random.default_rng(0).normal(1000, 1, size=(100, 64))
  copies = np.repeat(real[:1], 100, axis=0)
  found = neighbours.overlap(real, copies)
  assert found.precision == 1
  # Their balls have no radius, and one real sample lies on them.
  assert found.recall == 0.01
  assert found.coverage < 0.5


@pytest.mark.parametrize('k', [0, 5])
def test_neighbours_that_are_not_there_are_refused(k):
  x = np.zeros((5, 2))
  with pytest.raises(ValueError, match='expected k from 1'):
    neighbours.overlap(x, x, k=k)
