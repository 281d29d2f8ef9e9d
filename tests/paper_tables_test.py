"""Our numbers stand where the papers have theirs."""

import copy

import factor_world
import numpy as np
import paper_world
import pytest

from mmjsd_jax import paper_tables, tables

_PROBE = ('mmJSD', '1')
_COHERENCE = ('mmJSD', '2')
_QUALITY = ('mmJSD', '3')
_LIKELIHOOD = ('mmJSD', '4')


def _row(made, model, start, column=None):
  """The row, or its cell, of a model whose 'numbers' start so."""
  table = made.table
  (found,) = (
    dict(zip(table.columns, row, strict=True))
    for row in table.rows
    if row[0] == model and row[1].startswith(start)
  )
  return found if column is None else found[column]


@pytest.mark.parametrize(
  ('table', 'model', 'column', 'expected'),
  [
    (_COHERENCE, 'mmJSD (MS)', 'S|M,T', '0.92'),
    (_QUALITY, 'MMVAE', 'S|M', '0.005'),
    (_LIKELIHOOD, 'mmJSD', 'X|xM,xS', '-2,000'),
    (_PROBE, 'MVAE', 'S', '0.20'),
    (('MoPoE', '2'), 'MVAE', 'T', '0.85 ± 0.10'),
    (('MoPoE', '4'), 'MMVAE', 'X|xS', '-1,857 ± 12'),
    (('MoPoE', '4'), 'MoPoE', 'X|xM,xS', '-1,822 ± 5.0'),
    (('MoPoE', '7'), 'MoPoE, Eq. (5)', 'X|xT', '-2,039'),
  ],
)
def test_published_numbers_are_shown_as_printed(table, model, column, expected):
  made = paper_tables.make_table([paper_world.make_run()], *table)
  assert _row(made, model, 'published', column) == expected


@pytest.mark.parametrize(
  ('table', 'column', 'keys'),
  [
    (_PROBE, 'T', ('probe', '500', 'subsets', 'text')),
    (_PROBE, 'M,T', ('probe', '500', 'subsets', 'mnist+text')),
    (_PROBE, 'Joint', ('probe', '500', 'subsets', 'mnist+svhn+text')),
    (
      ('MoPoE', '2'),
      'M,S,T',
      ('probe', '500', 'subsets', 'mnist+svhn+text'),
    ),
    (
      _COHERENCE,
      'M|S',
      ('coherence', 'conditional', 'pairs', 'svhn->mnist'),
    ),
    (
      _COHERENCE,
      'S|M,T',
      ('coherence', 'conditional', 'pairs', 'mnist+text->svhn'),
    ),
    (_COHERENCE, 'Joint', ('coherence', 'joint')),
    (('MoPoE', '6'), 'Joint', ('coherence', 'joint')),
    (_LIKELIHOOD, 'X', ('log_likelihood', 'subsets', 'mnist+svhn+text')),
    (_LIKELIHOOD, 'X|xS', ('log_likelihood', 'subsets', 'svhn')),
    (
      ('MoPoE', '7'),
      'X|xS,xT',
      ('log_likelihood', 'subsets', 'svhn+text'),
    ),
  ],
)
def test_our_numbers_stand_below(table, column, keys):
  results = paper_world.make_run()
  value = tables.get(results['metrics'], *keys)
  format_fn = tables.nats if keys[0] == 'log_likelihood' else tables.share
  made = paper_tables.make_table([results], *table)
  assert _row(made, 'MoPoE', 'ours', column) == format_fn(value)


def test_quality_is_read_given_inputs_and_at_random():
  results = paper_world.make_run('mmjsd', style_dim=(4, 4, 4))
  made = paper_tables.make_table([results], *_QUALITY)
  assert set(list(_row(made, 'mmJSD (MS)', 'ours').values())[2:]) == {'missing'}
  results['metrics']['quality'] = {
    'conditional': {
      'pairs': {
        'svhn+text->mnist': {
          'FD-enc': {'prd': {'average_precision_as_released': 0.36021}},
          'FD-clf': {'prd': {'average_precision_as_released': 0.7}},
        },
        'mnist->svhn': {'FD-enc': {'fd': 0.1}},
      }
    },
    'random': {
      'svhn': {
        'FD-enc': {
          'prd': {'average_precision_as_released': 0.18},
          'prd_floor': {'average_precision_as_released': 0.7},
        }
      }
    },
  }
  made = paper_tables.make_table([results], *_QUALITY)
  ours = _row(made, 'mmJSD (MS)', 'ours')
  assert ours['M|S,T'] == '0.360' and ours['S|R'] == '0.180'
  assert ours['S|M'] == ours['M|R'] == 'missing'
  assert 'FD-enc' in made.table.caption
  floor = _row(made, 'floor', 'real')
  assert (floor['S|R'], floor['S|M']) == ('0.700', '0.700')
  assert floor['M|R'] == 'missing'
  made = paper_tables.make_table([results], *_QUALITY, normalised=True)
  assert _row(made, 'mmJSD (MS)', 'ours', 'M|S,T') == '0.500'
  published = _row(made, 'mmJSD (MS)', 'published', 'M|S,T')
  assert published == tables.share(0.64 / 0.72042)
  assert _row(made, 'perfect generator', '-', 'S|R') == '1.000'
  assert 'divided by 0.7204' in made.table.caption


def test_inception_is_preferred_where_all_runs_have_it():
  def block(name, value):
    return {name: {'prd': {'average_precision_as_released': value}}}

  runs = [
    paper_world.make_run('mmjsd', style_dim=(4, 4, 4), seed=seed)
    for seed in (0, 1)
  ]
  both = block('FD-enc', 0.1) | block('FID', 0.5)
  for run in runs:
    run['metrics']['quality'] = {'random': {'svhn': dict(both)}}
  made = paper_tables.make_table(runs, *_QUALITY)
  assert _row(made, 'mmJSD (MS)', 'ours', 'S|R').startswith('0.500')
  assert "Inception's features as theirs (FID)" in made.table.caption
  del runs[1]['metrics']['quality']['random']['svhn']['FID']
  made = paper_tables.make_table(runs, *_QUALITY)
  assert _row(made, 'mmJSD (MS)', 'ours', 'S|R').startswith('0.100')
  assert 'of the features FD-enc' in made.table.caption


def test_seeds_give_a_mean_and_a_standard_deviation():
  runs = [paper_world.make_run(seed=seed) for seed in range(3)]
  values = [0.70, 0.75, 0.86]
  for run, value in zip(runs, values, strict=True):
    run['metrics']['probe']['500']['subsets']['svhn'] = value
    run['metrics']['log_likelihood']['subsets']['svhn'] = -1000 * value
  made = paper_tables.make_table(runs, *_PROBE)
  ours = _row(made, 'MoPoE', 'ours')
  std = np.sqrt(sum((value - 0.77) ** 2 for value in values) / 2)
  assert ours['numbers'] == 'ours, n = 3'
  assert ours['S'] == f'0.770 ± {std:.2g}'
  made = paper_tables.make_table(runs, *_LIKELIHOOD)
  assert _row(made, 'MoPoE', 'ours', 'X|xS') == f'-770.0 ± {1000 * std:.1f}'


def test_one_seed_has_no_standard_deviation():
  made = paper_tables.make_table([paper_world.make_run()], *_PROBE)
  ours = _row(made, 'MoPoE', 'ours')
  assert ours['numbers'] == 'ours, n = 1'
  assert '±' not in ''.join(ours.values())


def test_a_number_of_some_seeds_only_says_of_how_many():
  runs = [paper_world.make_run(seed=seed) for seed in range(3)]
  runs[1]['metrics']['probe']['500']['subsets']['svhn'] = None
  del runs[2]['metrics']['probe']
  made = paper_tables.make_table(runs, *_PROBE)
  ours = _row(made, 'MoPoE', 'ours')
  assert ours['S'] == '0.787 (n = 1)'
  assert ours['T'].endswith('± 0 (n = 2)')


def test_models_without_a_run_are_missing_and_none_is_left_out():
  made = paper_tables.make_table([paper_world.make_run('mvae')], *_PROBE)
  models = list(dict.fromkeys(row[0] for row in made.table.rows))
  assert models == [
    'MVAE',
    'MMVAE',
    'MMVAE (I=30)',
    'mmJSD',
    'MVAE (MS)',
    'MMVAE (MS)',
    'mmJSD (MS)',
    'chance',
  ]
  assert 'missing' not in _row(made, 'MVAE', 'ours').values()
  ours = list(_row(made, 'mmJSD', 'ours, n = 0').values())
  assert ours[2:] == ['missing'] * 7


def test_rows_of_the_supplement_are_marked():
  made = paper_tables.make_table([paper_world.make_run('mmvae_dreg')], *_PROBE)
  row = _row(made, 'MMVAE (I=30)', 'published')
  assert row['numbers'] == 'published (supplement, Table 9)'
  assert row['S'] == '0.67'
  assert _row(made, 'MMVAE (I=30)', 'ours')['S'] != 'missing'
  # Table 11 has the joint log-likelihood alone.
  made = paper_tables.make_table([paper_world.make_run()], *_LIKELIHOOD)
  row = _row(made, 'MMVAE (I=30)', 'published')
  assert row['X'] == '-1,891' and row['X|xM'] == '-'


def test_the_comparison_of_two_objectives_has_no_third():
  runs = [paper_world.make_run(name) for name in ('mmjsd', 'mopoe_eq5')]
  made = paper_tables.make_table(runs, 'MoPoE', '7')
  models = {row[0] for row in made.table.rows}
  assert models == {'MoPoE, Eq. (5)', 'MoPoE'}
  made = paper_tables.make_table(runs, 'MoPoE', '4')
  assert {'mmJSD', 'MoPoE, Eq. (5)'} < {row[0] for row in made.table.rows}


def test_random_is_kept_apart_from_joint_coherence():
  results = paper_world.make_run('mmjsd')
  made = paper_tables.make_table([results], *_COHERENCE)
  assert made.table.columns[2:4] == ('Random', 'Joint')
  published, ours = (_row(made, 'mmJSD', start) for start in ('publ', 'ours'))
  assert (published['Random'], published['Joint']) == ('0.60', '-')
  assert (ours['Random'], ours['Joint']) == ('missing', '0.121')
  results['metrics']['coherence']['joint_parity_as_released'] = 0.765
  again = paper_tables.make_table([results], *_COHERENCE)
  assert _row(again, 'mmJSD', 'ours', 'Random') == '0.765'
  chance = _row(made, 'chance', '-')
  assert (chance['Random'], chance['Joint']) == ('0.820', '0.010')
  assert any('not joint coherence' in text for text in made.caveats)


def test_ceilings_are_those_of_the_target():
  made = paper_tables.make_table([paper_world.make_run()], 'MoPoE', '3')
  ceiling = _row(made, 'ceiling', 'our classifiers')
  assert ceiling['M|S,T'] == ceiling['M|S'] == '0.960'
  assert ceiling['T|M'] == '0.970' and ceiling['Joint'] == '0.901'


def test_the_authors_estimators_have_a_row_of_their_own():
  results = paper_world.make_run()
  metrics = copy.deepcopy(results['metrics'])
  metrics['coherence']['conditional']['pairs']['svhn->mnist'] = 0.5
  results['metrics']['as_released'] = {'coherence': metrics['coherence']}
  made = paper_tables.make_table([results], 'MoPoE', '3')
  released = 'ours, n = 1; measured as released'
  assert _row(made, 'MoPoE', released, 'M|S') == '0.500'
  made = paper_tables.make_table([results], *_PROBE)
  assert all('as released' not in row[1] for row in made.table.rows)


def test_the_other_posteriors_of_several_inputs_have_rows_of_their_own():
  results = paper_world.make_run('mmjsd')
  coherence = copy.deepcopy(results['metrics']['coherence'])
  coherence['conditional']['pairs']['svhn+text->mnist'] = 0.5
  results['metrics']['readings'] = {'dynamic_prior': {'coherence': coherence}}
  made = paper_tables.make_table([results], *_COHERENCE)
  reading = 'ours, n = 1; several inputs by dynamic prior'
  assert _row(made, 'mmJSD', reading, 'M|S,T') == '0.500'
  made = paper_tables.make_table([results], *_PROBE)
  assert all('several inputs' not in row[1] for row in made.table.rows)


def test_captions_tell_the_number_of_importance_samples():
  results = paper_world.make_run()
  likelihood = results['metrics']['log_likelihood']
  results['metrics']['as_released'] = {
    'log_likelihood': likelihood | {'num_importance_samples': 12}
  }
  caption = paper_tables.make_table([results], *_LIKELIHOOD).table.caption
  assert 'Ours: K = 32, 256 examples; measured as released K = 12' in caption


def test_captions_tell_source_letters_and_data():
  results = paper_world.make_run()
  caption = paper_tables.make_table([results], *_PROBE).table.caption
  assert 'Sutter et al. 2020' in caption and 'Table 1' in caption
  assert 'M is mnist, S is svhn, T is text' in caption
  assert 'ubstituted' not in caption and 'examples' not in caption


def test_captions_tell_a_part_of_the_data_and_whose_was_substituted():
  whole, part = paper_world.make_run('mvae'), paper_world.make_run('mmjsd')
  part['data'] |= {'num_train': 8000, 'num_test': 900}
  part['substitutions'] = ['SVHN is a part: its first 4,434 training digits.']
  for paper, number in paper_tables.TABLES['mnist_svhn_text']:
    caption = paper_tables.make_table([whole, part], paper, number).table[0]
    assert 'Ours of mmJSD: 8,000 + 900 training and test examples' in caption
    assert 'Ours of mmJSD: Substituted: SVHN is a part' in caption
  caption = paper_tables.make_table([part], *_PROBE).table.caption
  assert 'Ours: Substituted: SVHN is a part' in caption


def test_every_table_is_made_and_rectangular_with_and_without_metrics():
  for metrics in (paper_world.make_run()['metrics'], {}):
    results = paper_world.make_run() | {'metrics': metrics}
    made = paper_tables.make_tables([results])
    assert len(made) == len(paper_tables.TABLES['mnist_svhn_text']) + 1
    assert len({title for title, _, _ in made}) == len(made)
    for title, table, caveats in made:
      assert caveats
      for row in table.rows:
        assert len(row) == len(table.columns), title


@pytest.mark.parametrize(
  ('table', 'column', 'expected', 'printed'),
  [
    (('mmJSD', '5'), 'latents of T', '0.610', '0.59'),
    (('mmJSD', '5'), 'I → T', '0.410', '0.32'),
    (('mmJSD', '5'), 'latents of Joint', '0.710', '0.57'),
  ],
)
def test_means_over_attributes_stand_below(table, column, expected, printed):
  results = factor_world.make_run()
  del results['metrics']['factors']['as_released']
  made = paper_tables.make_table([results], *table)
  assert _row(made, 'mmJSD (MS)', 'published', column) == printed
  assert _row(made, 'mmJSD (MS)', 'ours, n = 1', column) == expected
  assert _row(made, 'chance', '', column) == '0.200'


def test_average_precision_of_hard_labels_is_a_row_of_its_own():
  made = paper_tables.make_table([factor_world.make_run()], 'MoPoE', '5')
  rows = [row for row in made.table.rows if row[0] == 'mmJSD (MS)']
  assert [row[1:4] for row in rows] == [
    ('ours, n = 1', '0.510', '0.610'),
    ('ours, n = 1; measured as released', '0.310', '0.410'),
  ]
  assert any('hard predictions' in caveat for caveat in made.caveats)
  assert _row(made, 'MoPoE (MS)', 'published', 'I → T') == '0.15'
  ceiling = _row(made, 'ceiling', 'our')
  assert (ceiling['I → T'], ceiling['T → I']) == ('0.950', '0.800')
  assert ceiling['latents of I'] == '-'


def test_factors_of_sprites_have_the_papers_layout():
  runs = [factor_world.make_run('dsprites_text', seed=s) for s in (0, 2)]
  made = paper_tables.make_table(runs, 'mmJSD, workshop', '1a')
  ours = _row(made, 'mmJSD (MS)', 'ours')
  # 0.31 and 0.312 less 0.004 · 2 of the first of five.
  assert ours['Shape, Img'] == '0.303 ± 0.0014'
  assert ours['Pos Y, Text'] == '0.419 ± 0.0014'
  assert _row(made, 'ceiling', 'our')['Orientation, Text'] == '0.950'
  made = paper_tables.make_table(runs, 'mmJSD, workshop', '1b')
  rows = [row[1:3] for row in made.table.rows if row[0] == 'mmJSD (MS)']
  assert rows == [
    ('published; Img', '1.00'),
    ('ours, n = 2; Img', '0.503 ± 0.0014'),
    ('published; Text', '1.00'),
    ('ours, n = 2; Text', '0.603 ± 0.0014'),
    ('published; Joint', '1.00'),
    ('ours, n = 2; Joint', '0.703 ± 0.0014'),
  ]
  assert _row(made, 'mmPoE (MS)', 'published; Joint', 'Pos X') == '0.97'
  assert _row(made, 'mmPoE (MS)', paper_tables.NOT_RUN, 'Shape') == 'missing'


def test_settings_stand_below_the_published_ones():
  runs = [paper_world.make_run(seed=seed) for seed in (7, 8)]
  runs += [paper_world.make_run('mmjsd', beta=2.5, style_dim=(4, 4, 4))]
  table = paper_tables.settings(runs)
  assert all(len(row) == len(table.columns) for row in table.rows)
  rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
  assert (
    rows[0]['latents'] == '20 shared; MS variant 16 shared + 4 per modality'
  )
  assert rows[1]['epochs'] == '150' and rows[1]['batch'] == '-'
  assert rows[2]['seeds'] == '7, 8' and rows[2]['latents'] == '20 shared'
  assert rows[3]['latents'] == '20 shared, styles 4 + 4 + 4'
  assert rows[3]['beta'] == '2.5'


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'name': 'other'}, 'expected runs on one data set'),
    ({'modalities': ['a', 'b', 'c']}, 'expected runs on one data set'),
  ],
)
def test_runs_on_several_data_sets_are_refused(change, message):
  runs = [paper_world.make_run(), paper_world.make_run('mvae')]
  runs[1]['data'] |= change
  with pytest.raises(ValueError, match=message):
    paper_tables.make_table(runs, *_PROBE)


def test_other_modalities_other_data_and_no_runs_are_refused():
  results = paper_world.make_run()
  results['data']['modalities'] = ['mnist', 'svhn']
  with pytest.raises(ValueError, match='expected 3 modalities'):
    paper_tables.settings([results])
  with pytest.raises(ValueError, match='expected runs on one data set'):
    paper_tables.make_tables([])
  results['data']['name'] = 'polymnist'
  with pytest.raises(ValueError, match='on one of .* got .polymnist'):
    paper_tables.make_tables([results])
  assert not paper_tables.has_tables(results)


def test_an_unknown_table_is_refused():
  with pytest.raises(ValueError, match='expected paper and number among'):
    paper_tables.make_table([paper_world.make_run()], 'mmJSD', '5')
