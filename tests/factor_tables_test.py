"""Tables of factors: what stands where, and what is absent."""

import factor_world
import pytest

from mmjsd_jax import factor_tables


def _rows(table):
  """First cell to the row by heading."""
  return {
    row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows
  }


def test_means_stand_beside_untrained_ones_and_chance():
  latents, samples, released = factor_tables.sections(factor_world.make_run())
  assert _rows(latents.means)['text'] == {
    'given': 'text',
    '500 training latents': '0.610',
    '3,000 training latents': '0.710',
    'untrained, 500': '0.510',
    'untrained, 3,000': '0.560',
    'prevalence': '0.200',
  }
  assert _rows(samples.means)['image → text'] == {
    'given and target': 'image → text',
    'generated': '0.410',
    'ceiling': '0.950',
    'prevalence': '0.200',
  }
  assert _rows(samples.means)['image → text, drawn']['generated'] == '0.450'
  assert '2 of 3 factors' in latents.means.caption
  assert released.title == 'From latents, as released'
  assert _rows(released.means)['text']['500 training latents'] == '0.410'
  assert 'untrained, 500' not in released.means.columns


@pytest.mark.parametrize('many', [False, True], ids=['few', 'many'])
def test_many_factors_have_rows_and_few_have_columns(many):
  names = [*factor_world.ATTRIBUTES, *(str(i) for i in range(6 * many))]
  latents, samples, _ = factor_tables.sections(
    factor_world.make_run(names=names)
  )
  assert latents.is_long == many
  for table, column in (
    (latents.factors, 'text'),
    (samples.factors, 'text, real'),
  ):
    found = _rows(table)
    cells = (
      found['Bald'] if many else {n: row['Bald'] for n, row in found.items()}
    )
    assert cells[column] == '-'
    assert 'no test example' in table.caption
    assert 'prevalence' in (table.columns if many else found)
  assert len(latents.factors.rows) == (9 if many else 4)


def test_what_was_not_measured_is_said_to_be_missing():
  results = factor_world.make_run('dsprites_text')
  block = results['metrics']['factors']
  block['probe']['500']['num_not_converged'] = 2
  del block['generated'], block['probe']['500']['subsets']['text']['scale']
  del block['probe_untrained']
  (latents,) = factor_tables.sections(results)
  assert _rows(latents.factors)['text']['scale'] == 'missing'
  assert _rows(latents.factors)['image']['scale'] == '0.506'
  assert '2 of the fits stopped' in latents.means.caption
  assert list(_rows(latents.means)['text']) == [
    'given',
    '500 training latents',
    '3,000 training latents',
    'prevalence',
  ]
  assert factor_tables.sections({'metrics': {}}) == []


def test_means_by_size_are_of_targets_that_are_not_given():
  results = factor_world.make_run(seed=10)
  generated = factor_tables.generated_means(results)
  assert generated == pytest.approx({'image->text': 0.42, 'text->image': 0.32})
  assert factor_tables.by_size(generated) == pytest.approx({'1': 0.37})
  probed = factor_tables.by_size(factor_tables.probe_means(results))
  assert probed == pytest.approx({'1': 0.57, '2': 0.72})
  assert factor_tables.by_size({'image': 0.5, 'text': None}) == {'1': None}


def test_chance_is_of_factors_that_have_positives():
  results = factor_world.make_run()
  assert factor_tables.chance(results) == pytest.approx(0.2)
  assert factor_tables.ceiling(results) == pytest.approx(0.875)
  assert factor_tables.ceiling(results, 'text') == 0.95
  nothing = {'metrics': {}}
  assert factor_tables.chance(nothing) is factor_tables.ceiling(nothing) is None
  assert factor_tables.measure(nothing) == ''
