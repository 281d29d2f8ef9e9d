"""Printed numbers in the figures of a sweep, against the papers' tables."""

import paper_world
import pytest
from matplotlib import figure as mpl_figure

from mmjsd_jax import printed_points
from mmjsd_jax.measured import Measured


def _points(*presets, style_dim=(), name='mnist_svhn_text'):
  points = []
  for preset in presets:
    results = paper_world.make_run(preset, style_dim=style_dim)
    results['data']['name'] = name
    points.append(Measured(preset, preset, preset, 5.0, results))
  return points


def test_the_trade_off_has_tables_3_and_4_of_mopoe():
  found = printed_points.against_likelihood(_points('mvae', 'mopoe'))
  assert found == [
    ('mvae', -1790, 0.12, 'MoPoE'),
    ('mopoe', -1819, 0.31, 'MoPoE'),
  ]


@pytest.mark.parametrize(
  ('pair', 'expected'),
  [
    ('mnist+svhn->text', (-1822, 0.93)),
    ('svhn+text->mnist', (-1850, 0.94)),
    ('text->svhn', (-2024, 0.34)),
  ],
)
def test_a_panel_has_the_printed_point_of_its_pair(pair, expected):
  (found,) = printed_points.against_likelihood(_points('mopoe'), pair)
  assert (found.x, found.y) == expected


def test_random_is_not_drawn_as_joint_coherence():
  assert printed_points.against_likelihood(_points('mmjsd')) == []
  assert printed_points.along(_points('mmjsd'), 'beta', 'coherence', 0) == []


def test_ablations_have_means_over_the_cells_of_a_table():
  points = _points('mmjsd')
  (one,) = printed_points.along(points, 'beta', 'probe', 1)
  assert one == ('mmjsd', 5, pytest.approx((0.97 + 0.82 + 0.99) / 3), 'mmJSD')
  (all_three,) = printed_points.along(points, 'prior_weight', 'probe', 3)
  assert (all_three.x, all_three.y) == (0.25, 0.98)
  (two,) = printed_points.along(points, 'beta', 'coherence', 2)
  assert two.y == pytest.approx((0.95 + 0.48 + 0.92) / 3)


def test_models_with_styles_stand_where_the_paper_has_them():
  points = _points('mmjsd') + _points('mmjsd', style_dim=(4, 4, 4))
  found = printed_points.along(points, 'style_dim', 'probe', 3)
  assert [(p.x, p.y) for p in found] == [(0, 0.98), (4, 0.99)]


@pytest.mark.parametrize(
  'points',
  [
    _points('mmpoe'),
    _points('mopoe', style_dim=(4, 4, 4)),
    _points('mopoe', name='polymnist'),
    [_points('mopoe')[0]._replace(results=None)],
  ],
  ids=['unpublished', 'with styles', 'other data', 'not run'],
)
def test_what_no_paper_prints_has_no_point(points):
  assert printed_points.against_likelihood(points) == []
  assert printed_points.along(points, 'beta', 'probe', 1) == []
  assert printed_points.about([], ('probe',)) == ''


def test_stars_are_drawn_and_their_source_is_told():
  found = printed_points.against_likelihood(_points('mopoe'))
  axes = mpl_figure.Figure().subplots()
  printed_points.draw(axes, found, 'printed')
  (star,) = axes.lines
  assert (list(star.get_xdata()), list(star.get_ydata())) == ([-1819], [0.31])
  assert [text.get_text() for text in axes.texts] == ['printed']
  said = printed_points.about(found, ('coherence', 'log_likelihood'))
  assert '2021 (MoPoE), Tables 3 and 4' in said
  assert 'no targets' in said and '2020' not in said
