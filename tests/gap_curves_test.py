"""The chart of a sweep over what is missing: its lines and its stars."""

import numpy as np
import pytest
import sweep_world

from mmjsd_jax import charts, gap_curves
from mmjsd_jax import config as configuration
from mmjsd_jax.grid import Point

CELLS = [
  (0.0, 'at_random', 'keep'),
  (0.5, 'at_random', 'keep'),
  (0.5, 'at_random', 'drop'),
  (0.2, 'by_class', 'keep'),
]


def _points(names=('m0', 'm1', 'm2', 'm3', 'm4'), cells=CELLS):
  sweep = sweep_world.make_sweep(axis='missing')
  points = []
  for seed in (0, 1):
    for share, how, use in cells:
      settings = {
        'data.missing': share,
        'data.missing_how': how,
        'data.incomplete': use,
        'seed': seed,
      }
      config = configuration.default()
      config.update_from_flattened_dict(settings)
      point = Point(f'{share}-{how}-{use}-{seed}', settings, config)
      results = sweep_world.make_results(point)
      results['data']['modalities'] = list(names)
      by_size = results['metrics']['coherence']['conditional']['by_size']
      for size in range(1, len(names)):
        by_size[str(size)] = 0.9 - share / 2 + 0.02 * seed
      points.append(sweep_world.place(sweep, point, results))
  return points


@pytest.fixture
def panels(monkeypatch):
  """Draws and gives the panels by title, at random and by class."""
  kept = []
  monkeypatch.setattr(charts, 'figure_png', lambda f: kept.append(f) or b'')

  def draw(points):
    made = gap_curves.gaps(points, 'missing')
    assert list(made) == ['gaps']
    axes = kept[-1].axes
    half = len(axes) // 2
    return [
      {one.get_title(loc='left'): one for one in row}
      for row in (axes[:half], axes[half:])
    ]

  return draw


def _lines(axes):
  return [
    np.transpose(container.lines[0].get_data()).tolist()
    for container in axes.containers
  ]


def _stars(axes):
  return {
    tuple(np.ravel(line.get_data()).tolist())
    for line in axes.lines
    if line.get_marker() == '*'
  }


def test_every_use_of_tuples_is_a_line_from_the_complete_data(panels):
  at_random, by_class = panels(_points())
  assert list(at_random) == [
    'Coherence from 1 input',
    'Coherence from 4 inputs',
    'log p(X), nats',
  ]
  keep = drop = [[0.0, pytest.approx(0.91)], [0.5, pytest.approx(0.66)]]
  assert _lines(at_random['Coherence from 1 input']) == [keep, drop]
  assert _lines(by_class['Coherence from 4 inputs']) == [
    [[0.0, pytest.approx(0.91)], [0.2, pytest.approx(0.81)]]
  ]


def test_stars_are_published_for_five_modalities_at_random(panels):
  at_random, by_class = panels(_points())
  assert _stars(at_random['Coherence from 1 input']) == {(0, 0.61), (0.5, 0.5)}
  assert _stars(at_random['Coherence from 4 inputs']) == {
    (0, 0.83),
    (0.5, 0.735),
  }
  for axes in (at_random['log p(X), nats'], *by_class.values()):
    assert not _stars(axes)
  three, _ = panels(_points(('m0', 'm1', 'm2')))
  assert not any(map(_stars, three.values()))


def test_what_was_not_run_is_said(panels):
  _, by_class = panels(_points(cells=CELLS[:2]))
  for axes in by_class.values():
    assert 'not measured' in [text.get_text() for text in axes.texts]


def test_without_judges_of_coherence_the_probe_is_drawn(panels):
  points = _points()
  for point in points:
    metrics = point.results['metrics']
    del metrics['coherence']
    for size in (1, 5):
      metrics['probe']['500']['by_size'][str(size)] = size / 10 + point.x / 10
  at_random, _ = panels(points)
  assert list(at_random) == [
    'Linear probe of 1 input',
    'Linear probe of 5 inputs',
    'log p(X), nats',
  ]
  keep = [[0.0, pytest.approx(0.5)], [0.5, pytest.approx(0.55)]]
  assert keep in _lines(at_random['Linear probe of 5 inputs'])
  assert not any(map(_stars, at_random.values()))


def test_stars_are_told_of_where_they_are():
  for names, is_told in ((('m0', 'm1', 'm2'), False), (None, True)):
    points = _points(names) if names else _points()
    caption = gap_curves.gaps(points, 'missing')['gaps'].caption
    assert ('MultiVae' in caption) == is_told
