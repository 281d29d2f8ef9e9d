"""sweep.html: its tables, and that what is missing is said."""

import base64
import re

import factor_world
import numpy as np
from html_world import Page
from sweep_world import make_page, make_points

from mmjsd_jax import comparisons, figures, measured, sweep_page
from mmjsd_jax.sweep_curves import Chart

_PNG = figures.to_png(np.zeros((2, 2, 3), np.uint8))


def _row(table, value):
  (row,) = [row for row in table.rows if row[1] == value]
  return dict(zip(table.columns, row, strict=True))


def test_seeds_become_mean_and_standard_deviation():
  table = sweep_page.table(make_points(), 'beta')
  row = _row(table, '0.5')
  assert row['model'] == 'MoPoE'
  assert row['runs'] == '2'
  assert row['joint coherence'] == '0.0055 ± 0.0007'
  assert row['quality, random'] == '0.500 ± 0'
  assert row['log p(X)'] == '-1,800.5 ± 0.0'
  assert row['probe, 3 inputs'] == '0.839 ± 0'


def test_three_seeds_have_an_interval_and_fewer_are_said_to_have_none():
  table = sweep_page.table(make_points(num_seeds=3), 'beta')
  interval = _row(table, '0.5')['joint coherence']
  assert interval == '0.006 ± 0.001 [0.005, 0.007]'
  assert '95% percentile bootstrap interval' in table.caption
  table = sweep_page.table(make_points(), 'beta')
  assert 'fewer than 3 seeds have no interval' in table.caption


def test_missing_points_are_said():
  points = make_points(
    missing=[f'mopoe-beta_{x}-seed_{n}' for x, n in ((0.5, 1), (5, 0), (5, 1))]
  )
  table = sweep_page.table(points, 'beta')
  assert _row(table, '0.5')['runs'] == '1 of 2'
  assert _row(table, '0.5')['joint coherence'] == '0.005'
  none = _row(table, '5')
  assert none['runs'] == '0 of 2'
  assert set(list(none.values())[3:]) == {'missing'}


def test_a_measure_that_some_seeds_lack_says_of_how_many_it_is():
  points = make_points()
  points[0].results['metrics']['coherence']['joint'] = None
  row = _row(sweep_page.table(points, 'beta'), '0.5')
  assert row['joint coherence'] == '0.006 (n = 1)'


def test_settings_that_vary_stand_beside_the_model():
  points = make_points(hidden_dim=(64, 128), latent_dim=(20,))
  table = sweep_page.table(points, 'beta')
  assert table.columns[:2] == ('model, hidden_dim', 'beta')
  assert [row[:2] for row in table.rows] == [
    (f'MoPoE, {size}', beta) for size in (64, 128) for beta in ('0.5', '5')
  ]


def test_the_page_has_command_table_figures_and_runs():
  points = make_points()
  chart = Chart(_PNG, 'A title', 'How to read it.')
  text = make_page(points, charts={'a': chart})
  page = Page(text)
  for told in ('<pre>the command</pre>', 'A title.</b> How to read it.'):
    assert told in text
  assert {'MoPoE', '0.5', '0.839 ± 0'} <= set(page.cells)
  (image,) = [a for tag, a in page.tags if tag == 'img']
  data = base64.b64decode(image['src'].partition(',')[2])
  assert data == _PNG and image['alt'] == 'A title'
  linked = {a['href'] for tag, a in page.tags if tag == 'a'}
  assert {f'{point.name}/report.html' for point in points} <= linked
  assert '4 runs along beta: 4 done. ' in text
  assert 'Nothing was substituted in these runs.' in text
  for told in ('id="missing"', 'do not compare', 'id="under-way"'):
    assert told not in text


def test_what_all_runs_share_is_told_once():
  points = make_points()
  version = points[0].results['version']
  points[0].results['training']['seconds'] = 1234.56
  same, different = sweep_page._runs(
    {point.name: point.results for point in points}
  )
  assert dict(same.rows)['versions'].startswith(f'mmjsd_jax {version}, ')
  assert different.columns == ('run', 'training, s')
  assert different.rows[0] == (points[0].name, '1,234.6')


def test_points_on_different_data_are_said_not_to_compare():
  points = make_points()
  points[0].results['data']['fingerprint'] = 'other'
  text = make_page(points)
  assert 'They were on 2 different data sets' in text
  assert 'data (SHA-256)' in Page(text).cells
  assert '<code>other</code>' in text


def test_what_was_substituted_is_told_with_whose_it_was():
  points = make_points(betas=(0.5, 1.0, 2.5, 5.0))
  for index, point in enumerate(points):
    results = point.results
    results['substitutions'] += ['By all.']
    results['substitutions'] += ['By many.'] if index else []
    results['substitutions'] += [] if index else ['By one.']
  said = re.sub(r'\s+', ' ', make_page(points))
  assert '<li>By all. (all runs) </li>' in said
  assert f'<li>By one. ({points[0].name}) </li>' in said
  others = ', '.join(point.name for point in points[1:])
  assert f'<li>By many. <details><summary>7 of 8 runs</summary>{others}' in said
  assert said.index('By all.') < said.index('id="numbers"')


def test_failed_points_are_listed_with_their_error():
  points = make_points(missing=('mopoe-beta_0.5-seed_1',))
  text = make_page(points, errors={points[2].name: 'disk full'})
  assert '1 of 4 runs failed' in text
  assert f'<li>disk full\n({points[2].name})' in text
  assert '4 runs along beta: 3 done, 1 failed. ' in text


def test_a_page_under_way_tells_what_every_run_is_at():
  points = make_points(missing=('mopoe-beta_5-seed_1',))
  states = {point.name: f'state of {point.name}' for point in points}
  text = make_page(points, states=states)
  assert set(states.values()) <= set(Page(text).cells)
  assert '3 done, 1 not run yet' in text


def test_long_tables_are_folded():
  few, many = make_points(), make_points(num_seeds=7)
  folded = 'Every run</summary>'
  assert folded not in make_page(few)
  assert make_page(many).count(folded) == 1
  states = {point.name: 'waiting' for point in many}
  assert make_page(many, states=states).count(folded) == 2


def test_objectives_are_compared_by_measure():
  text = make_page(make_points(('mopoe', 'mmvae'), num_seeds=3))
  titles = re.findall('<h3>(.*?)</h3>', text)
  assert titles == list(comparisons.measures(3))
  assert Page(text).cells.count('MoPoE − MMVAE') == 4 * 2


def test_a_page_of_nothing_can_be_made():
  points = [point._replace(results=None) for point in make_points()]
  text = make_page(points)
  assert measured.modalities(points) == ()
  assert '0 of 2' in Page(text).cells
  assert '4 runs along beta: 0 done, 4 not run yet. ' in text


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
  assert 'factors' not in sweep_page.table(make_points(), 'beta').caption


def test_what_no_run_measured_has_no_column():
  points = make_points()
  for point in points:
    del point.results['metrics']['quality']
  columns = sweep_page.table(points, 'beta').columns
  assert 'probe, 1 input' in columns
  assert not [name for name in columns if name.startswith('quality')]
