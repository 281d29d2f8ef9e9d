"""Objectives compared seed by seed: which pairs, and which numbers."""

import json

import pytest
import sweep_world

from mmjsd_jax import comparisons, grid, measured
from mmjsd_jax import config as configuration


def _points(seeds=(0, 1, 2), betas=(5.0,), others=None):
  more = {'model.hidden_dim': others} if others else {}
  sweep = sweep_world.make_sweep(
    seeds=seeds,
    grid={
      'objective.preset': ('mopoe', 'mmvae'),
      'objective.beta': betas,
      **more,
    },
  )
  base = configuration.default()
  base.train.num_steps = 4
  points = []
  for point in grid.points(sweep, base):
    results = sweep_world.make_results(point)
    if point.settings['objective.preset'] == 'mopoe':
      shift = (0.3, 0.1, -0.1)[point.settings['seed']]
      results['metrics']['coherence']['joint'] += shift
    points.append(sweep_world.place(sweep, point, results))
  return points


def _joint(compared):
  return [c for c in compared if c.measure == 'joint coherence']


def test_a_comparison_is_between_runs_of_equal_seeds():
  (found,) = _joint(comparisons.compare(_points()))
  assert (found.first, found.second, found.x) == ('mopoe', 'mmvae', 5)
  assert found.paired.differences == pytest.approx({0: 0.3, 1: 0.1, 2: -0.1})
  assert found.paired.mean == pytest.approx(0.1)
  assert found.paired.num_agreeing == 2


def test_every_measure_at_every_place_is_shown():
  compared = comparisons.compare(_points(seeds=(0,), betas=(1.0, 5.0)))
  assert [(c.x, c.measure) for c in compared] == [
    (x, measure) for x in (1, 5) for measure in comparisons.measures(3)
  ]


def test_only_runs_that_are_else_equal_are_compared():
  compared = _joint(comparisons.compare(_points(seeds=(0,), others=(64, 128))))
  assert [c.others for c in compared] == [
    (('hidden_dim', '64'),),
    (('hidden_dim', '128'),),
  ]


def test_a_run_that_is_missing_takes_its_partner_out():
  points = _points()
  points[0] = points[0]._replace(results=None)
  (found,) = _joint(comparisons.compare(points))
  assert list(found.paired.differences) == [1, 2]


def test_one_objective_has_nothing_to_compare():
  assert comparisons.compare(_points()[::2]) == []


def test_every_measure_has_a_table():
  points = _points()
  tables = comparisons.tables_by_measure(comparisons.compare(points), 'beta')
  assert list(tables) == list(comparisons.measures(3))
  (row,) = tables['joint coherence'].rows
  assert row == (
    'MoPoE − MMVAE',
    '5',
    '+0.100 [-0.100, +0.300]',
    '0: +0.300, 1: +0.100, 2: -0.100',
    '2 of 3',
  )
  caption = 'Differences in log p(X), in nats per example.'
  assert tables['log p(X)'].caption == caption
  compared = comparisons.compare(points[:4])
  (row,) = comparisons.tables_by_measure(compared, 'beta')['log p(X)'].rows
  assert '[' not in row[2]


def test_settings_that_vary_are_told_and_kept_together():
  compared = comparisons.compare(_points(betas=(1.0, 5.0), others=(64, 128)))
  table = comparisons.tables_by_measure(compared, 'beta')['log p(X)']
  assert table.columns[:2] == ('difference, hidden_dim', 'beta')
  assert [row[:2] for row in table.rows] == [
    (f'MoPoE − MMVAE, {size}', beta) for size in (64, 128) for beta in '15'
  ]


def test_an_entry_is_json():
  first = comparisons.entry(comparisons.compare(_points())[1])
  assert json.loads(json.dumps(first)) == first
  assert first['interval'] == pytest.approx([-0.1, 0.3])
  assert first['measure'] == 'joint coherence'
  (*_, last) = comparisons.compare(_points(seeds=(0,), others=(64, 128)))
  assert comparisons.entry(last)['others'] == 'hidden_dim 128'
  assert measured.coherence(_points()[0].results, 0) == pytest.approx(0.35)
