"""Sample quality as a whole."""

import json

import numpy as np
import pytest

from mmjsd_jax.evaluation import quality


def _sets(num_rows=60, num_features=4):
  return np.random.default_rng(0).normal(size=(2, num_rows, num_features))


def test_block_is_plain_json_with_a_floor_for_every_measure():
  real, other = _sets()
  measured = quality.measure(real, other + 1)
  floor = quality.measure_floor(real, other)
  block = quality.quality_block(quality.ENCODER, measured, floor)
  assert json.loads(json.dumps(block)) == block
  assert block['features'] == 'FD-enc'
  assert block['num_samples'] == block['num_samples_floor'] == 60
  measures = {
    'prd', 'precision', 'recall', 'density', 'coverage', 'fd', 'kd',
    'kd_standard_error',
  }  # fmt: skip
  names = {'features', 'num_features', 'num_samples'}
  both = measures | {f'{name}_floor' for name in measures}
  assert block.keys() == names | both | {'num_samples_floor'}
  assert block['prd'].keys() == {
    'f8', 'f1_8', 'average_precision_as_released', 'normalised'
  }  # fmt: skip
  assert block['fd'] > block['fd_floor'] > 0
  assert block['kd'] > block['kd_floor']
  for name in ('f8', 'f1_8', 'average_precision_as_released', 'normalised'):
    assert block['prd'][name] < block['prd_floor'][name]


def test_a_perfect_generator_is_normalised_to_one():
  real, _ = _sets()
  measured = quality.measure(real, real)
  prd = quality.quality_block('own', measured, measured)['prd']
  assert prd['average_precision_as_released'] == pytest.approx(0.7204, abs=1e-4)
  assert prd['normalised'] == pytest.approx(1)


def test_measures_are_a_function_of_the_seed():
  real, generated = _sets()
  once, again = (quality.measure(real, generated, seed=3) for _ in range(2))
  np.testing.assert_array_equal(once.prd, again.prd)
  assert once[3:] == again[3:]


def test_floor_of_one_set_is_of_its_halves():
  real, _ = _sets(num_rows=61)
  floor = quality.measure_floor(real)
  assert floor.num_samples == 30
  # Halves of unlike classes would be far apart; these are drawn at random.
  sorted_rows = np.sort(real, axis=0)
  ordered = quality.measure(sorted_rows[:30], sorted_rows[30:60])
  assert quality.measure_floor(sorted_rows).frechet < ordered.frechet / 4


@pytest.mark.parametrize('name', ['FID', 'fid-clf', 'KID'])
def test_only_features_of_inception_give_an_fid(name):
  real, _ = _sets()
  measured = quality.measure(real, real)
  with pytest.raises(ValueError, match='without FID or KID'):
    quality.quality_block(name, measured, measured)
  inception = measured._replace(num_features=2048)
  quality.quality_block(name, inception, inception)


def test_unlike_counts_are_refused():
  real, other = _sets()
  with pytest.raises(ValueError, match='as many generated samples'):
    quality.measure(real, other[:-1])
