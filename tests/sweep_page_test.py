"""sweep.md: its table, and that what is missing is said."""

import factor_world
import sweep_world

from mmjsd_jax import comparisons, measured, sweep_page
from mmjsd_jax import config as configuration
from mmjsd_jax.grid import Point


def _points(missing=(), num_seeds=2):
  """MoPoE at beta 0.5 and 5; those in `missing` have no results."""
  sweep = sweep_world.make_sweep()
  points = []
  for beta in (0.5, 5.0):
    for seed in range(num_seeds):
      config = configuration.default()
      config.update_from_flattened_dict({'objective.beta': beta, 'seed': seed})
      name = f'{beta}-{seed}'
      point = Point(name, {'objective.beta': beta, 'seed': seed}, config)
      results = sweep_world.make_results(point)
      points.append(
        sweep_world.place(sweep, point, None if name in missing else results)
      )
  return points


def _row(table, value):
  (row,) = [row for row in table.rows if row[1] == value]
  return dict(zip(table.columns, row, strict=True))


def _page(points, **changes):
  arguments = {
    'title': 'T',
    'points': points,
    'axis': 'beta',
    'figures': {'figures/a.png': 'Caption.'},
    'errors': {},
    'command': 'the command',
    'states': {},
  }
  return sweep_page.page(**arguments | changes)


def test_seeds_become_mean_and_standard_deviation():
  table = sweep_page.table(_points(), 'beta')
  row = _row(table, '0.5')
  assert row['model'] == 'MoPoE'
  assert row['runs'] == '2'
  assert row['joint coherence'] == '0.0055 ± 0.0007'
  assert row['quality, random'] == '0.500 ± 0'
  assert row['log p(X)'] == '-1,800.5 ± 0.0'
  assert row['probe, 3 inputs'] == '0.839 ± 0'


def test_three_seeds_have_an_interval_and_fewer_are_said_to_have_none():
  table = sweep_page.table(_points(num_seeds=3), 'beta')
  interval = _row(table, '0.5')['joint coherence']
  assert interval == '0.006 ± 0.001 [0.005, 0.007]'
  assert '95% percentile bootstrap interval' in table.caption
  table = sweep_page.table(_points(), 'beta')
  assert 'fewer than 3 seeds have no interval' in table.caption


def test_missing_points_are_said():
  points = _points(missing=('0.5-1', '5.0-0', '5.0-1'))
  table = sweep_page.table(points, 'beta')
  assert _row(table, '0.5')['runs'] == '1 of 2'
  assert _row(table, '0.5')['joint coherence'] == '0.005'
  none = _row(table, '5')
  assert none['runs'] == '0 of 2'
  assert set(list(none.values())[3:]) == {'missing'}


def test_a_measure_that_some_seeds_lack_says_of_how_many_it_is():
  points = _points()
  points[0].results['metrics']['coherence']['joint'] = None
  row = _row(sweep_page.table(points, 'beta'), '0.5')
  assert row['joint coherence'] == '0.006 (n = 1)'


def test_the_page_has_command_table_figures_and_runs():
  page = _page(_points())
  for text in (
    'the command',
    '| MoPoE | 0.5 | 2 |',
    '](figures/a.png)\n\nCaption.',
  ):
    assert text in page
  assert 'Nothing was substituted.' in page
  assert 'Missing' not in page
  assert 'do not compare' not in page


def test_points_on_different_data_are_said_not_to_compare():
  points = _points()
  points[0].results['data']['fingerprint'] = 'other'
  assert 'on 2 different data sets' in _page(points)


def test_failed_points_are_listed_with_their_error():
  page = _page(_points(missing=('0.5-1',)), errors={'0.5-1': 'disk full'})
  assert '1 of 4 runs failed' in page
  assert '- `0.5-1`: disk full' in page


def test_a_page_of_nothing_can_be_made():
  points = [point._replace(results=None) for point in _points()]
  page = _page(points, figures={})
  assert measured.modalities(points) == ()
  assert '| MoPoE | 0.5 | 0 of 2 |' in page


def _factor_points():
  """mmJSD and mmPoE at two seeds each, of data with factors."""
  return [
    measured.Measured(
      f'{preset}-{seed}',
      preset,
      preset,
      5.0,
      factor_world.make_run(preset=preset, seed=seed),
    )
    for preset in ('mmjsd', 'mmpoe')
    for seed in (0, 2)
  ]


def test_factors_fill_the_columns_of_a_class():
  points = _factor_points()
  table = sweep_page.table(points, 'beta')
  row = dict(zip(table.columns, table.rows[0], strict=True))
  assert row['probe, 1 input'] == '0.561 ± 0.0014'
  assert row['probe, 2 inputs'] == '0.711 ± 0.0014'
  assert row['coherence, 1 input'] == '0.361 ± 0.0014'
  assert row['log p(X)'] == '-5,001.0 ± 1.4'
  assert 'joint coherence' not in row
  assert 'macro means over the factors' in table.caption
  assert 'average precision of logistic' in table.caption
  found = {c.measure for c in comparisons.compare(points)}
  assert found == {'probe, all inputs', 'coherence, 1 input', 'log p(X)'}
  assert 'factors' not in sweep_page.table(_points(), 'beta').caption


def test_what_no_run_measured_has_no_column():
  points = _points()
  for point in points:
    del point.results['metrics']['quality']
  columns = sweep_page.table(points, 'beta').columns
  assert 'probe, 1 input' in columns
  assert not [name for name in columns if name.startswith('quality')]
