"""Tables of sample quality hold what was measured, with its floor."""

from typing import Any

import paper_world
import pytest

from mmjsd_jax import quality_tables


def _block(value: float) -> dict[str, Any]:
  """All measures, made up, the floor's half of the others."""
  numbers = {
    'prd': {'f8': value, 'f1_8': value, 'normalised': value},
    'precision': value,
    'recall': value,
    'fd': 10 * value,
    'kd': value / 10,
    'kd_standard_error': 0.01,
  }
  floor = _block(value / 2) if value > 0.3 else {}
  return numbers | {f'{key}_floor': x for key, x in floor.items()}


@pytest.fixture
def results() -> dict[str, Any]:
  """Of a run that has measured two of its three modalities."""
  results = paper_world.make_run()
  results['metrics']['quality'] = {
    'random': {
      'mnist': {'FD-clf': _block(0.9), 'FD-enc': _block(0.8)},
      'svhn': {'FD-clf': _block(0.7), 'FD-enc': _block(0.6)},
    },
    'conditional': {
      'pairs': {
        'mnist->svhn': {'FD-clf': _block(0.5), 'FD-enc': _block(0.4)},
        'svhn->mnist': {'FD-clf': _block(0.5), 'FD-enc': _block(0.4)},
        'text->mnist': {'FD-clf': _block(0.7), 'FD-enc': _block(0.6)},
        'svhn+text->mnist': {'FD-clf': _block(0.7), 'FD-enc': _block(0.5)},
      }
    },
    'num_samples': 2000,
    'seconds': 1.0,
  }
  return results


def test_every_modality_has_a_floor_and_means_by_number_of_inputs(results):
  made = quality_tables.by_size(results)
  assert list(made) == ['FD-enc', 'FD-clf']
  rows = {row[0]: row[1:] for row in made['FD-enc'].rows}
  assert list(rows) == [
    'mnist, real (floor)',
    'mnist from the prior',
    'mnist from 1 input',
    'mnist from 2 inputs',
    'svhn, real (floor)',
    'svhn from the prior',
    'svhn from 1 input',
  ]
  assert rows['mnist from the prior'] == (
    *['0.800'] * 5,
    '8',
    '0.08 ± 0.01',
  )
  assert rows['mnist, real (floor)'][-2:] == (*('4', '0.04 ± 0.01'),)
  # 0.4 and 0.6; the mean of two has no standard error.
  assert rows['mnist from 1 input'] == (*['0.500'] * 5, '5', '0.05')
  caption = made['FD-enc'].caption
  assert '2,000 images' in caption and 'without labels' in caption
  assert 'overlooks style' in made['FD-clf'].caption


def test_inception_comes_first_and_is_called_fid(results):
  results['metrics']['quality']['random']['svhn']['FID'] = _block(0.5)
  made = quality_tables.by_size(results)
  assert list(made) == ['FID', 'FD-enc', 'FD-clf']
  rows = {row[0]: row[1:] for row in made['FID'].rows}
  assert rows['svhn from the prior'] == (*['0.500'] * 5, '5', '0.05 ± 0.01')
  assert set(rows['mnist from the prior']) == {'missing'}
  assert 'Frechet distance is FID' in made['FID'].caption


def test_every_pair_has_a_row(results):
  table = quality_tables.of_pairs(results)['FD-clf']
  assert {row[0]: row[1] for row in table.rows} == {
    'svhn->mnist': '0.500',
    'text->mnist': '0.700',
    'svhn+text->mnist': '0.700',
    'mnist->svhn': '0.500',
  }
  assert all(len(row) == len(table.columns) for row in table.rows)


def test_what_is_missing_is_shown_so(results):
  del results['metrics']['quality']['random']['svhn']['FD-enc']['fd']
  rows = {r[0]: r for r in quality_tables.by_size(results)['FD-enc'].rows}
  assert rows['svhn from the prior'][-2:] == ('missing', '0.06 ± 0.01')
  del results['metrics']['quality']
  assert quality_tables.by_size(results) == {}
  assert quality_tables.of_pairs(results) == {}
