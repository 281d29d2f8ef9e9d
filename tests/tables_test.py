"""How numbers become text, and what is derived from results.json."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from mmjsd_jax import tables

_DATA = pathlib.Path(__file__).parent / 'data'


@pytest.fixture
def results() -> dict[str, Any]:
  """Made-up results of a run with three modalities."""
  return json.loads((_DATA / 'results.json').read_text(encoding='utf-8'))


@pytest.mark.parametrize(
  ('value', 'expected'),
  [
    (0.81249, '0.812'),
    (1.0, '1.000'),
    (0, '0.000'),
    (0.0001, '0.0001'),
    (0.00996, '0.01'),
    (None, 'missing'),
    (float('nan'), 'missing'),
    ({'value': 1}, 'missing'),
  ],
)
def test_shares(value: Any, expected: str):
  assert tables.share(value) == expected


@pytest.mark.parametrize(
  ('value', 'error', 'expected'),
  [
    (-7012.34, None, '-7,012.3'),
    (-7012.34, 12.34, '-7,012.3 ± 12.3'),
    (None, 12.34, 'missing'),
    (float('-inf'), None, 'missing'),
  ],
)
def test_nats(value: Any, error: Any, expected: str):
  assert tables.nats(value, error) == expected


@pytest.mark.parametrize(
  ('seconds', 'expected'),
  [
    (0.25, '0.2 s'),
    (59.96, '1 min 0 s'),
    (61, '1 min 1 s'),
    (3599.7, '1 h 0 min'),
    (8123.4, '2 h 15 min'),
    (None, 'missing'),
  ],
)
def test_durations(seconds: Any, expected: str):
  assert tables.duration(seconds) == expected


@pytest.mark.parametrize(
  ('cells', 'expected'),
  [
    (('-7,012.3 ± 12.3', '0.01', '1e-05'), False),
    (('1', '2', '3 (all)'), False),
    (('-', 'missing', '0.5'), False),
    (('0.5', 'all'), True),
    (('3d_view', '0.5'), True),
    (('1.5 s',), True),
    (('+0.1 [-0.1, +0.3]', '-1,800.5 ± 2.0 [-1,801.0, -1,798.5]'), False),
  ],
)
def test_a_column_has_words_or_numbers(cells: tuple[str, ...], expected: bool):
  table = tables.Table('', ('name', 'x'), tuple(('m0', c) for c in cells))
  assert table.has_words() == [True, expected]


def test_relative_coherence_divides_every_pair_by_its_targets_ceiling(
  results: dict[str, Any],
):
  coherence = results['metrics']['coherence']
  pairs, ceiling = coherence['conditional']['pairs'], coherence['ceiling']
  expected = np.mean(
    [
      pairs[f'{a}->{b}'] / ceiling[b]
      for a in ceiling
      for b in ceiling
      if a != b
    ]
  )
  assert tables.relative_coherence(results, 1) == pytest.approx(expected)
  pairs['m0->m0'] = 0.0  # a reconstruction does not count
  assert tables.relative_coherence(results, 1) == pytest.approx(expected)
  pairs['m0->m1'] = None
  assert tables.relative_coherence(results, 1) is None


def test_the_matrix_leaves_reconstructions_out(results: dict[str, Any]):
  table = tables.coherence_matrix(results)
  names = results['data']['modalities']
  pairs = results['metrics']['coherence']['conditional']['pairs']
  for row, source in enumerate(names):
    for column, target in enumerate(names):
      cell = table.rows[row][column + 1]
      if source == target:
        assert cell == tables.NOT_APPLICABLE
      else:
        assert cell == tables.share(pairs[f'{source}->{target}'])


def test_a_missing_ceiling_leaves_no_mean_ceiling(results: dict[str, Any]):
  assert tables.mean_ceiling(results) == pytest.approx(0.965)
  results['metrics']['coherence']['ceiling']['m1'] = None
  assert tables.mean_ceiling(results) is None
  del results['metrics']['coherence']['joint_ceiling']
  assert tables.joint_ceiling(results) == (None, False)


def test_the_joint_ceiling_is_the_measured_one_if_there_is(
  results: dict[str, Any],
):
  assert tables.joint_ceiling(results) == (0.9012, True)
  del results['metrics']['coherence']['joint_ceiling']
  ceiling, is_measured = tables.joint_ceiling(results)
  assert ceiling == pytest.approx(0.96 * 0.965 * 0.97)
  assert not is_measured


def test_every_table_is_rectangular_with_and_without_metrics(
  results: dict[str, Any],
):
  makers = (
    tables.probe_by_size,
    tables.probe_subsets,
    tables.coherence_by_size,
    tables.coherence_matrix,
    tables.coherence_pairs,
    tables.joint_coherence,
    tables.log_likelihood,
    tables.log_likelihood_by_size,
    tables.log_likelihood_subsets,
    tables.as_released,
    tables.text,
    tables.readings,
    tables.readings_pairs,
  )
  for variant in (results, results | {'metrics': {}}):
    for make in makers:
      table = make(variant)
      assert all(len(row) == len(table.columns) for row in table.rows), make


def test_joint_coherence_from_a_sampler_is_a_second_row(
  results: dict[str, Any],
):
  (prior,) = tables.joint_coherence(results).rows
  results['metrics']['coherence']['joint_from_sampler'] = {
    'value': 0.75,
    'standard_error': 0.01,
    'num_samples': 5000,
    'num_components': 7,
    'num_examples': 1234,
    'converged': False,
  }
  table = tables.joint_coherence(results)
  assert table.rows[0] == prior
  assert table.rows[1][:2] == ('Gaussian mixture, K = 7', '0.750 ± 0.01')
  assert table.rows[1][2:4] == prior[2:4]
  assert table.rows[1][4] == '5,000'
  assert 'of 1,234 training examples' in table.caption
  assert 'stopped at the limit' in table.caption


def test_text_is_judged_in_three_ways(
  results: dict[str, Any],
):
  coherence = results['metrics']['coherence']
  coherence['exact_match'] = {'pairs': {'m0+m1->m2': 0.25}}
  coherence['drawn_text'] = {'pairs': {'m0+m1->m2': 0.5}}
  assert tables.text(results).rows == (
    ('m0+m1->m2', '0.250', '0.741', '0.500', '0.100'),
  )


def test_readings_begin_with_the_runs_own(results: dict[str, Any]):
  metrics = results['metrics']
  results['objective']['subset_posterior'] = 'product'
  other = {
    'probe': {'500': {'by_size': {'1': 0.5, '2': 0.4, '3': 0.3}}},
    'coherence': {
      'conditional': {'pairs': {'m0->m1': 0.2}, 'by_size': {'2': 0.125}}
    },
  }
  metrics['readings'] = {'mixture': other, 'dynamic_prior': {}}
  rows = tables.readings(results).rows
  assert [row[:2] for row in rows] == [
    (name, size)
    for name in ('product', 'mixture', 'dynamic prior')
    for size in ('1', '2', '3 (all)')
  ]
  assert rows[1][2:4] == ('0.833', '0.710')
  assert rows[4][2:] == ('0.400', '0.125', 'missing')
  assert rows[5][2:4] == ('0.300', '-')
  table = tables.readings_pairs(results)
  assert table.columns[1:] == ('product', 'mixture', 'dynamic prior')
  assert table.rows[0] == ('m0->m1', '0.635', '0.200', 'missing')


def test_fits_that_gave_up_are_told(results: dict[str, Any]):
  assert 'stopped' not in tables.probe_by_size(results).caption
  results['metrics']['probe']['500']['num_not_converged'] = 3
  caption = tables.probe_by_size(results).caption
  assert '3 of the fits stopped at the limit of iterations.' in caption


def test_examples_of_a_subset_are_told_where_some_lack_it(results):
  assert tables.num_examples(results) is None
  metrics = results['metrics']
  metrics['coherence']['num_examples'] = {'m0+m1': 7, 'm0': 1200}
  table = tables.num_examples(results)
  assert table.rows == (
    ('m0', 'all', 'all', '1,200'),
    ('m0+m1', 'all', 'all', '7'),
  )
  n = tables.probe_sizes(results)[0]
  metrics['probe'][n]['num_examples'] = {'m0': [500, 9], 'm0+m1': [80, 7]}
  rows = tables.num_examples(results).rows
  assert rows[1] == ('m0+m1', '80', '7', '7')


def test_a_modality_without_a_judge_is_no_target(results):
  coherence = results['metrics']['coherence']
  first, *judged = results['data']['modalities']
  coherence['judged'] = judged
  del coherence['ceiling'][first]
  for table in (
    tables.coherence_matrix(results),
    tables.coherence_pairs(results),
  ):
    assert table.columns[1:] == tuple(f'to {name}' for name in judged)
  assert tables.mean_ceiling(results) == pytest.approx(
    np.mean(list(coherence['ceiling'].values()))
  )


def test_an_empty_setting_is_seen():
  table = tables.key_values({'a': '', 'b': {'c': None}, 'd': ()}, '')
  assert table.rows == (('a', "''"), ('b.c', 'None'), ('d', '()'))


@pytest.mark.parametrize(
  ('environment', 'said'),
  [
    ({'platform': 'cpu', 'device': 'cpu', 'cpu_count': 1}, 'cpu, 1 core'),
    ({'platform': 'cpu', 'device': 'cpu', 'cpu_count': 2}, 'cpu, 2 cores'),
    ({'platform': 'cpu', 'device': 'cpu'}, 'cpu'),
    ({'platform': 'gpu', 'device': 'H100', 'num_devices': 8}, '8 x H100'),
    ({}, 'missing'),
  ],
)
def test_a_device_has_its_number(environment, said):
  assert tables.device(environment) == said
