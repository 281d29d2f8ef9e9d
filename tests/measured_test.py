"""Points of a sweep: where they stand, and means over seeds."""

import factor_world
import pytest
import sweep_world

from mmjsd_jax import config as configuration
from mmjsd_jax import measured
from mmjsd_jax.grid import Point


def _point(**changes):
  config = configuration.default()
  config.update_from_flattened_dict(changes)
  return Point('p', changes | {'seed': 0}, config)


def _place(axis, **changes):
  point = _point(**changes)
  config = configuration.to_dict(point.config)
  return measured.place('p', point.settings, config, axis)


def test_a_point_stands_where_its_config_says():
  assert _place('beta', **{'objective.beta': 5.0}).x == 5
  assert _place('style_dim', **{'model.style_dim': (4, 4)}).x == 4
  assert _place('style_dim', **{'model.style_dim': ()}).x == 0
  assert _place('prior_weight', **{'objective.pi': (0.3, 0.3, 0.4)}).x == 0.4


def test_a_curve_is_named_after_all_that_varies_beside_the_axis():
  point = _place(
    'beta',
    **{
      'objective.beta': 5.0,
      'objective.preset': 'mmvae_dreg',
      'train.batch_size': 64,
    },
  )
  assert point.curve == 'MMVAE (I=30), batch_size 64'


def test_how_modalities_were_taken_away_is_said_in_words():
  point = _place(
    'missing', **{'data.missing_how': 'by_class', 'data.incomplete': 'drop'}
  )
  assert measured.in_words(point.others) == 'by class, dropped'


def test_settings_are_told_by_name_or_where_they_vary():
  found = (('a', '1'), ('b', 'x')), (('a', '2'), ('b', 'x'))
  assert measured.in_words(found[0]) == 'a 1, b x'
  assert measured.varying(found) == ['a']
  assert measured.varying(found[:1]) == []
  assert measured.values(found[0], ['b', 'a', 'c']) == ['x', '1']


@pytest.mark.parametrize(
  ('axis', 'changes', 'message'),
  [
    ('betta', {}, "axis of .* got 'betta'"),
    ('style_dim', {'model.style_dim': (2, 4)}, r'equal .* got \[2, 4\]'),
    ('prior_weight', {}, 'expected config.objective.pi in the grid'),
  ],
)
def test_a_config_without_a_place_is_refused(axis, changes, message):
  with pytest.raises(ValueError, match=message):
    _place(axis, **changes)


def test_seeds_come_together_in_the_order_of_the_axis():
  points = [
    measured.Measured(f'{x}', curve, curve, x, None)
    for curve in ('b', 'a')
    for x in (2, 1, 2)
  ]
  grouped = measured.curves(points)
  assert list(grouped) == ['b', 'a']
  assert {x: len(group) for x, group in grouped['a'].items()} == {1: 1, 2: 2}
  assert list(grouped['a']) == [1, 2]


def test_what_is_missing_is_in_no_mean():
  points = [
    measured.Measured('p', 'c', 'mopoe', 1, results)
    for results in ({'v': 1.0}, {'v': 3.0}, {'v': None}, {}, None)
  ]
  spread = measured.spread(points, lambda results: results.get('v'))
  assert spread == (2.0, pytest.approx(2**0.5), 2)
  assert measured.spread(points[:1], lambda r: r['v']) == (1.0, None, 1)
  assert measured.spread(points[-1:], lambda r: r['v']) == (None, None, 0)


def test_every_generation_is_listed_once():
  assert measured.generations(('a', 'b', 'c'), 1) == [
    *('a->b', 'a->c', 'b->a', 'b->c', 'c->a', 'c->b')
  ]
  assert measured.generations(('a', 'b', 'c'), 2) == [
    *('a+b->c', 'a+c->b', 'b+c->a')
  ]


def test_headline_numbers_are_those_of_the_results():
  results = sweep_world.make_results(_point(**{'objective.beta': 5.0}))
  metrics = results['metrics']
  headline = measured.headline(results)
  assert headline['probe'] == metrics['probe']['500']['by_size']
  assert headline['coherence'] == {
    '0': 0.05,
    **metrics['coherence']['conditional']['by_size'],
  }
  assert headline['quality'] == {'0': 0.5, '1': 0.5, '2': 0.5}
  assert headline['log_likelihood'] == -1805


def test_quality_needs_every_image_modality():
  results = sweep_world.make_results(_point())
  block = results['metrics']['quality']
  assert measured.quality_ceiling(results) == 0.9
  del block['conditional']['pairs']['text->svhn']
  assert measured.quality(results, 0) == measured.quality(results, 2) == 0.5
  assert measured.quality(results, 1) is None
  block['random']['svhn'] = {}
  assert measured.quality(results, 0) is None
  del results['metrics']['quality']
  assert measured.headline(results)['quality'] == dict.fromkeys('012')
  assert measured.quality_ceiling(results) is None


def test_factors_are_measured_in_the_place_of_a_class():
  results = factor_world.make_run()
  headline = measured.headline(results)
  assert headline['probe'] == pytest.approx({'1': 0.56, '2': 0.71})
  assert headline['coherence'] == {'0': None, '1': pytest.approx(0.36)}
  assert measured.generation(results, 'text->image') == pytest.approx(0.31)
  limits = measured.limits(results, 'coherence', 'text')
  assert limits == {'chance': pytest.approx(0.2), 'ceiling': 0.95}
  assert list(measured.limits(results, 'probe')) == ['chance']


def test_limits_of_a_class_are_chance_and_ceiling():
  results = sweep_world.make_results(_point())
  block = results['metrics']['coherence']
  assert measured.limits(results, 'coherence', 'svhn') == {
    'chance': block['chance'],
    'ceiling': block['ceiling']['svhn'],
  }
  mean = sum(block['ceiling'].values()) / 3
  assert measured.limits(results, 'coherence')['ceiling'] == pytest.approx(mean)
