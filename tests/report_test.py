"""The report holds every number and notice."""

import json
import pathlib
import re
from typing import Any

import factor_world
import numpy as np
import pytest
from html_world import Page

from mmjsd_jax import figures, published, report, tables

_DATA = pathlib.Path(__file__).parent / 'data'
_PNG = figures.to_png(np.zeros((2, 2, 3), np.uint8))


@pytest.fixture
def results() -> dict[str, Any]:
  """Made-up results of a run with three modalities."""
  results = json.loads((_DATA / 'results.json').read_text(encoding='utf-8'))
  results['published'] = published.matching(results)
  return results


def test_tables_sort_if_they_have_rows_and_are_no_list_of_settings(
  results: dict[str, Any],
):
  found = re.findall(
    '<table(.*?)>.*?<th scope="col".*?>(.*?)<.*?<tbody>(.*?)</tbody>',
    report.render(results, {}),
    re.DOTALL,
  )
  kinds = {('sorts' in a, h in ('what', 'key')) for a, h, _ in found}
  assert kinds == {(True, False), (False, True), (False, False)}
  for attributes, heading, rows in found:
    is_list = heading in ('what', 'key')
    expected = rows.count('<tr>') > 1 and not is_list
    assert ('class="sorts"' in attributes) == expected


def test_substitutions_stand_above_the_numbers(results: dict[str, Any]):
  results['substitutions'] = ['Digits of another kind.', 'Other backgrounds.']
  text = report.render(results, {})
  for substitution in results['substitutions']:
    assert text.index(substitution) < text.index('Linear probe</b>')
  results['substitutions'] = []
  assert 'Nothing was substituted' in report.render(results, {})


def test_every_number_by_size_appears(results: dict[str, Any]):
  cells = set(Page(report.render(results, {})).cells)
  metrics = results['metrics']
  for block in (
    metrics['probe']['500'],
    metrics['probe']['3000'],
    metrics['probe']['untrained']['500'],
    metrics['coherence']['conditional'],
  ):
    assert {tables.share(value) for value in block['by_size'].values()} <= cells
  likelihood = metrics['log_likelihood']
  assert {tables.nats(v) for v in likelihood['by_size'].values()} <= cells


def test_every_subset_and_pair_appears(results: dict[str, Any]):
  cells = set(Page(report.render(results, {})).cells)
  metrics = results['metrics']
  pairs = metrics['coherence']['conditional']['pairs'].values()
  assert {tables.share(value) for value in pairs} <= cells
  probes = metrics['probe']['500']['subsets'].values()
  assert {tables.share(value) for value in probes} <= cells
  likelihood = metrics['log_likelihood']
  for name, value in likelihood['subsets'].items():
    assert tables.nats(value, likelihood['standard_error'][name]) in cells


def test_config_data_and_environment_appear(results: dict[str, Any]):
  cells = set(Page(report.render(results, {})).cells)
  assert {'model.latent_dim', '512', 'objective.beta', '2.5'} <= cells
  assert results['data']['fingerprint'] in cells
  assert set(results['environment'].values()) - {1, 16} <= cells


@pytest.mark.parametrize('metric', ['probe', 'coherence', 'log_likelihood'])
def test_a_missing_metric_is_shown_as_missing(
  results: dict[str, Any], metric: str
):
  before = Page(report.render(results, {})).cells.count('missing')
  del results['metrics'][metric]
  text = report.render(results, {})
  assert Page(text).cells.count('missing') > before
  assert f'Not measured in this run: {metric.replace("_", " ")}.' in text


def test_a_missing_number_is_shown_as_missing(results: dict[str, Any]):
  before = Page(report.render(results, {})).cells.count('missing')
  results['metrics']['log_likelihood']['by_size']['2'] = None
  assert Page(report.render(results, {})).cells.count('missing') == before + 1


def test_cautions_name_what_weakens_the_numbers(results: dict[str, Any]):
  assert 'Read with care' not in report.render(results, {})
  results['training']['epochs'] = 2
  results['metrics']['coherence']['conditional']['by_size']['1'] = 0.11
  results['metrics']['coherence']['ceiling']['m0'] = 0.5
  results['metrics']['log_likelihood']['by_size']['3'] = -2e4
  results['training'] |= {'skipped_steps': 3, 'learning_rate_scale': 0.25}
  text = report.render(results, {})
  assert 'trained for 2 of 300 epochs' in text
  assert '3 of ' in text and 'steps were skipped' in text
  assert 'The learning rate ended at 0.25 of its value' in text
  assert 'close to chance' in text
  assert 'a coarse measure' in text
  assert 'lower than before training' in text


def test_numbers_of_few_examples_say_so(results: dict[str, Any]):
  names, metrics = results['data']['modalities'], results['metrics']
  (size,) = [n for n in metrics['probe'] if n.isdigit()][:1]
  assert f'up to {int(size):,}' not in report.render(results, {})
  metrics['probe'][size]['num_examples'] = {'+'.join(names): [23, 3]}
  metrics['log_likelihood']['num_examples'] = 4
  missing = {'share': 0.3, 'modalities': {}, 'num_complete': 20}
  results['data'] |= {'num_test': 47, 'missing': missing}
  text = report.render(results, {})
  assert f'up to {int(size):,} training latents' in text
  assert f'up to {int(size):,} latents; chance' in text
  assert 'learned from 23 examples and was judged on 3.' in text
  assert 'log p(x) is of 4 of 47 test examples' in text


def test_captions_speak_of_digits_only_where_there_are_some(
  results: dict[str, Any],
):
  figures = {'random_samples': _PNG}
  assert 'the same digit in all blocks' in report.render(results, figures)
  results['data']['name'] = 'custom'
  assert 'the same content in all blocks' in report.render(results, figures)


@pytest.mark.parametrize(
  ('platform', 'flags', 'said'),
  [
    ('cpu', '', 'the same command gives the same bits, with these'),
    ('tpu', '', 'whether the same command gives the same bits on tpu is open'),
    ('gpu', '', 'not the same bits: on a GPU'),
    ('gpu', '--a --xla_gpu_deterministic_ops=true', 'the same bits by --xla'),
  ],
)
def test_what_a_second_run_gives_is_told(results, platform, flags, said):
  results['environment'] |= {'platform': platform, 'xla_flags': flags}
  cells = Page(report.render(results, {})).cells
  assert sum(cell.startswith(said) for cell in cells) == 1


def test_published_values_say_whether_the_protocol_matches(
  results: dict[str, Any],
):
  text = report.render(results, {})
  assert 'Protocol differs: 3 modalities (published: 5)' in text
  for row in results['published']:
    row['protocol'] = 'matches'
  text = report.render(results, {})
  assert 'Protocol matches.' in text and 'Protocol differs' not in text


def test_as_released_only_where_it_was_measured(results: dict[str, Any]):
  assert 'id="as-released"' not in report.render(results, {})
  results['metrics']['as_released'] = {
    'probe': {'500': {'by_size': {'1': 0.7654}}},
    'coherence': {'conditional': {'by_size': {'1': 0.6543}}, 'joint': 0.1111},
    'log_likelihood': {'by_size': {'1': -5301.25}},
  }
  results['published'] = published.matching(results)
  page = Page(report.render(results, {}))
  assert '-5,301.2' in page.cells
  # Once in the table of its own, once beside the published values.
  assert page.cells.count('0.765') == page.cells.count('0.654') == 2
  assert page.cells.count('this run, measured as released') == 3


def test_quality_exact_matches_and_readings_only_where_measured(
  results: dict[str, Any],
):
  before = report.render(results, {})
  for name in ('id="quality"', 'id="readings"', 'to the letter'):
    assert name not in before
  metrics = results['metrics']
  metrics['coherence']['exact_match'] = {'pairs': {'m0->m2': 0.3456}}
  metrics['readings'] = {'mixture': {'probe': {'500': {'by_size': {'2': 0.4}}}}}
  metrics['quality'] = {
    'num_samples': 2000,
    'random': {'m0': {'FD-enc': {'fd': 3.21}, 'FD-clf': {'fd': 6.54}}},
    'conditional': {'pairs': {}},
  }
  text = report.render(results, {})
  assert {'0.346', '0.400', '3.21', '6.54'} <= set(Page(text).cells)
  for name in ('id="quality"', 'id="readings"', 'to the letter'):
    assert name in text


def test_joint_coherence_that_was_left_out_has_a_reason_and_no_number(
  results: dict[str, Any],
):
  assert '<b>Joint coherence</b>' in report.render(results, {})
  block = results['metrics']['coherence']
  for key in [key for key in block if key.startswith('joint')]:
    del block[key]
  why = 'only one modality has a classifier'
  results['metrics']['left_out'] = {'joint coherence': why}
  text = report.render(results, {})
  assert '<b>Joint coherence</b>' not in text
  assert f'Left out: {why}.' in text


def test_evaluation_time_is_told_by_stage(results: dict[str, Any]):
  results['evaluation'] = {'seconds': 95.0}
  assert '1 min 35 s' in Page(report.render(results, {})).cells
  results['evaluation']['stages'] = {'encoding': 5.0, 'coherence': 90.0}
  expected = '1 min 35 s: encoding 5.0 s, coherence 1 min 30 s'
  assert expected in Page(report.render(results, {})).cells


def test_inceptions_weights_are_told_by_fingerprint(results: dict[str, Any]):
  assert 'weights (SHA-256)' not in report.render(results, {})
  results['evaluation']['inception_sha256'] = 'a1b2'
  text = report.render(results, {})
  assert 'weights (SHA-256)' in text and 'a1b2' in Page(text).cells


def test_all_but_two_conditional_grids_are_folded(results: dict[str, Any]):
  names = [f'conditional_m{index}' for index in range(4)]
  folded = len(_details(report.render(results, dict.fromkeys(names, _PNG))))
  assert folded == len(_details(report.render(results, {}))) + 2


def test_captions_speak_of_text_only_where_there_is_some(
  results: dict[str, Any],
):
  figures = {'conditional_m0': _PNG, 'curves': _PNG}
  told = 'A text shows the likeliest character'
  assert told not in report.render(results, figures)
  results['metrics']['coherence']['exact_match'] = {'pairs': {'m0->m2': 0.3}}
  assert report.render(results, figures).count(told) == 1


def test_factors_take_the_place_of_a_class():
  run = factor_world.make_run()
  text = report.render(run, {'listing_text': _PNG, 'factors_probe': _PNG})
  page = Page(text)
  assert {'0.510', '0.610', '0.410', '0.950'} <= set(page.cells)
  for name in ('id="probe"', 'id="coherence"', 'Not measured', 'the digit'):
    assert name not in text
  assert (
    'tell the factors with a mean average precision of 0.510 (image)' in text
  )
  assert 'have the factors of the row' in text
  assert '1 of 3 factors have no positive' in text
  assert 'mmJSD, Table 5' in text and 'MoPoE, Table 5' in text
  assert text.count('A text shows the likeliest character') == 1
  assert len(_details(text)) == len(_details(report.render(run, {})))
  sprites = report.render(factor_world.make_run('dsprites_text'), {})
  assert 'mmJSD, workshop, Table 1b' in sprites
  assert 'have no positive' not in sprites
  run['metrics']['as_released'] = {'log_likelihood': {'by_size': {'1': -7.25}}}
  run['metrics']['readings'] = {'mixture': {'log_likelihood': {}}}
  text = report.render(run, {})
  assert 'id="readings"' in text and '-7.2' in Page(text).cells
  assert 'Joint coherence' not in text.partition('id="definitions"')[0]
  assert 'coherence' not in Page(text).cells


def _details(text: str) -> list[str]:
  return [tag for tag, _ in Page(text).tags if tag == 'details']


def test_figures_may_be_paths(results: dict[str, Any], tmp_path: pathlib.Path):
  (tmp_path / 'a.png').write_bytes(_PNG)
  from_path = report.render(results, {'curves': tmp_path / 'a.png'})
  assert from_path == report.render(results, {'curves': _PNG})


def test_another_schema_is_refused(results: dict[str, Any]):
  with pytest.raises(ValueError, match='expected results of schema 1, got 2'):
    report.render(results | {'schema': 2}, {})


def test_a_failed_rendering_leaves_the_old_report(
  results: dict[str, Any], tmp_path: pathlib.Path
):
  path = tmp_path / 'report.html'
  report.write_report(results, {}, path)
  before = path.read_bytes()
  with pytest.raises(ValueError, match='PNG'):
    report.write_report(results, {'curves': b''}, path)
  assert path.read_bytes() == before
  assert list(tmp_path.iterdir()) == [path]
