"""Charts of a sweep: which numbers they draw, and that nothing is hidden."""

import io

import factor_world
import pytest
import sweep_world
from matplotlib import figure as mpl_figure
from PIL import Image

from mmjsd_jax import ablation, charts, measured, sweep_curves, trade_off
from mmjsd_jax import config as configuration
from mmjsd_jax.grid import Point


def _points(betas=(0.5, 5.0, 20.0), presets=('mopoe', 'mmvae'), seeds=(0, 1)):
  sweep = sweep_world.make_sweep()
  points = []
  for seed in seeds:
    for preset in presets:
      for beta in betas:
        settings = {
          'objective.preset': preset,
          'objective.beta': beta,
          'seed': seed,
        }
        config = configuration.default()
        config.update_from_flattened_dict(settings)
        point = Point(f'{preset}-{beta}-{seed}', settings, config)
        results = sweep_world.make_results(point)
        points.append(sweep_world.place(sweep, point, results))
  return points


@pytest.fixture
def drawn(monkeypatch):
  """The figures, kept in place of being rendered."""
  kept = []

  def keep(figure):
    kept.append(figure)
    return b''

  monkeypatch.setattr(charts, 'figure_png', keep)
  return kept


def _lines(axes):
  """Points of every line with bars, as (x, y), in the order of drawing."""
  return [
    list(zip(*container.lines[0].get_data(), strict=True))
    for container in axes.containers
  ]


def _texts(axes):
  return [text.get_text() for text in axes.texts]


def _note(axes):
  return axes.get_title(loc='right')


def test_joint_coherence_stands_over_the_joint_likelihood(drawn):
  trade_off.trade_off(_points(), 'beta')
  (axes,) = drawn[0].axes
  expected = [(-1800.5, 0.0055), (-1805, 0.0505), (-1820, 0.2005)]
  for line in _lines(axes):
    assert line == [pytest.approx(point) for point in expected]
  # The ends of both lines are named.
  assert _texts(axes) == ['0.5', '20', '0.5', '20', 'chance 0.01'] + [
    'ceiling 0.901'
  ]
  assert _note(axes) == ''


def test_panels_are_those_of_the_paper(drawn):
  made = trade_off.trade_off(_points(), 'beta')
  assert list(made) == ['trade_off_joint', 'trade_off_from_2'] + [
    'trade_off_from_1'
  ]
  _, from_two, from_one = (
    [axes.get_title(loc='left') for axes in figure.axes] for figure in drawn
  )
  assert from_two == [
    'mnist, svhn → text',
    'mnist, text → svhn',
    'svhn, text → mnist',
  ]
  assert from_one[:2] == ['mnist → svhn', 'mnist → text']
  assert len(from_one) == 6
  assert 'Fig. 5' in made['trade_off_from_2'].caption
  assert 'Fig. 6' in made['trade_off_from_1'].caption


def test_conditional_panels_read_their_own_pair(drawn):
  points = _points(betas=(5.0,), presets=('mopoe',), seeds=(0,))
  metrics = points[0].results['metrics']
  metrics['coherence']['conditional']['pairs']['mnist+text->svhn'] = 0.123
  metrics['log_likelihood']['subsets']['mnist+text'] = -77
  trade_off.trade_off(points, 'beta')
  (line,) = _lines(drawn[1].axes[1])
  assert line == [(-77, 0.123)]


def test_printed_points_are_drawn_into_the_trade_off(drawn):
  made = trade_off.trade_off(_points(), 'beta')
  stars = [
    (line.get_xdata()[0], line.get_ydata()[0])
    for line in drawn[0].axes[0].lines
    if line.get_marker() == '*'
  ]
  assert stars == [(-1819, 0.31), (-1941, 0.28)]  # MoPoE and MMVAE
  assert 'Hollow stars: printed in' in made['trade_off_joint'].caption


def test_bars_are_standard_deviations_over_seeds(drawn):
  trade_off.trade_off(_points(betas=(5.0,), presets=('mopoe',)), 'beta')
  (container,) = drawn[0].axes[0].containers
  _, vertical = container.lines[2]
  ((_, low), (_, high)) = vertical.get_segments()[0]
  assert (high - low) / 2 == pytest.approx(0.001 / 2**0.5)


def test_a_missing_point_is_said_and_not_drawn(drawn):
  points = _points(presets=('mopoe',), seeds=(0,))
  points[1] = points[1]._replace(results=None)
  points[2].results['metrics']['log_likelihood']['joint']['value'] = None
  trade_off.trade_off(points, 'beta')
  (axes,) = drawn[0].axes
  assert _lines(axes) == [[(-1800.5, 0.005)]]
  assert _note(axes) == '2 values missing'
  assert {_note(panel) for panel in drawn[1].axes} == {'1 value missing'}


def test_both_numbers_of_a_point_are_of_the_same_runs(drawn):
  points = _points(betas=(5.0,), presets=('mopoe',))
  points[0].results['metrics']['log_likelihood']['joint']['value'] = None
  trade_off.trade_off(points, 'beta')
  ((point,),) = _lines(drawn[0].axes[0])
  assert point == pytest.approx((-1805, 0.051))


def test_a_model_without_any_point_stays_in_the_legend(drawn):
  points = [
    point._replace(results=None) if point.preset == 'mmvae' else point
    for point in _points()
  ]
  trade_off.trade_off(points, 'beta')
  (legend,) = drawn[0].legends
  labels = [text.get_text() for text in legend.get_texts()]
  assert labels == ['MoPoE', 'MMVAE (missing)']


@pytest.mark.parametrize('num_sizes', [0, 3])
@pytest.mark.parametrize('num_panels', [1, 3])
def test_long_names_stay_within_the_figure(num_panels, num_sizes):
  points = sweep_world.make_points(
    ('mopoe', 'mmvae', 'mmjsd'), hidden_dim=(64, 128), latent_dim=(20, 32)
  )
  figure = mpl_figure.Figure(
    figsize=(2.2 + 4.6 * num_panels, 5), layout='constrained'
  )
  figure.subplots(1, num_panels)
  sweep_curves.legend(figure, points, num_sizes)
  figure.draw_without_rendering()
  (legend,) = figure.legends
  extent = legend.get_window_extent()
  assert 0 <= extent.x0 < extent.x1 <= figure.bbox.width


def test_nothing_measured_is_said(drawn):
  points = _points()
  for point in points:
    del point.results['metrics']['quality']
    point.results['metrics']['coherence'] = None
  trade_off.trade_off(points, 'beta')
  ablation.ablation(points, 'beta')
  assert _texts(drawn[0].axes[0]) == ['not measured']
  probe, coherence, quality = drawn[-1].axes
  assert _texts(coherence) == _texts(quality) == ['not measured']
  # Behind it the numbers of inputs beside printed points.
  assert _texts(probe)[0] == 'chance 0.1'


def test_the_ablation_has_a_line_per_number_of_inputs(drawn):
  points = _points(presets=('mopoe',))
  made = ablation.ablation(points, 'beta')
  assert list(made) == ['ablation_beta']
  probe, coherence, quality = drawn[0].axes
  by_size = points[0].results['metrics']['probe']['500']['by_size']
  assert _lines(probe) == [
    [pytest.approx((beta, by_size[size])) for beta in (0.5, 5, 20)]
    for size in '321'
  ]
  assert len(_lines(coherence)) == len(_lines(quality)) == 3
  assert _lines(coherence)[-1] == [
    pytest.approx(point) for point in ((0.5, 0.0055), (5, 0.0505), (20, 0.2005))
  ]
  assert list(probe.get_xticks()) == [0.5, 5, 20]
  assert probe.get_xscale() == 'log'


def test_missing_values_keep_their_tick_in_the_ablation(drawn):
  points = _points(presets=('mopoe',), seeds=(0,))
  points[2] = points[2]._replace(results=None)
  ablation.ablation(points, 'beta')
  probe, coherence, _ = drawn[0].axes
  assert list(probe.get_xticks()) == [0.5, 5, 20]
  assert _note(probe) == _note(coherence) == '3 values missing'
  assert all(len(line) == 2 for line in _lines(probe))


def test_charts_are_png():
  points = _points(seeds=(0,))
  made = ablation.ablation(points, 'beta') | trade_off.trade_off(points, 'beta')
  for chart in made.values():
    assert Image.open(io.BytesIO(chart.png)).format == 'PNG'


def test_factors_are_drawn_along_the_axis(drawn):
  points = [
    measured.Measured(
      f'{beta}', 'mmJSD', 'mmjsd', beta, factor_world.make_run(seed=seed)
    )
    for seed, beta in enumerate((1.0, 5.0))
  ]
  (chart,) = ablation.ablation(points, 'beta').values()
  assert 'macro means over the factors' in chart.caption
  probes, coherence, _ = drawn[0].axes
  assert probes.get_ylabel() == 'macro mean over factors'
  assert len(_lines(probes)) == 2
  assert _lines(coherence) == [[(1.0, 0.36), (5.0, pytest.approx(0.361))]]
  assert {'chance 0.2', 'ceiling 0.875'} <= {*_texts(coherence)}
  assert list(trade_off.trade_off(points, 'beta')) == ['trade_off_from_1']
  titles = [axes.get_title(loc='left') for axes in drawn[1].axes]
  assert titles[:2] == ['image → text', 'text → image']
  assert _lines(drawn[1].axes[1])[0][0] == (-5020.0, 0.31)
