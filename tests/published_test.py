"""When a run's protocol matches the published one, and when it does not."""

import copy
import json
import pathlib
from typing import Any

import pytest

from mmjsd_jax import objectives, published

_DATA = pathlib.Path(__file__).parent / 'data'


@pytest.fixture
def results() -> dict[str, Any]:
  """Made-up results of a run that followed the protocol to the letter."""
  text = (_DATA / 'results.json').read_text(encoding='utf-8')
  results = json.loads(text)
  results['data']['modalities'] = [f'm{index}' for index in range(5)]
  results['data']['substituted'] = None
  results['substitutions'] = []
  results['metrics']['probe']['standardised'] = False
  return results


def _protocols(results: dict[str, Any]) -> set[str]:
  return {row['protocol'] for row in published.matching(results)}


def test_the_papers_protocol_matches(results: dict[str, Any]):
  assert _protocols(results) == {'matches'}


def test_values_of_the_runs_objective_only(results: dict[str, Any]):
  rows = published.matching(results)
  assert {row['objective'] for row in rows} == {'mopoe'}
  joint = [row for row in rows if row['metric'] == 'joint coherence']
  # Sutter et al. 2021 (MoPoE), caption of Figure 3, in percent: 12.1 +- 1.6.
  assert [(row['value'], row['std']) for row in joint] == [(0.121, 0.016)]
  sizes = {row['metric'] for row in rows if row['metric'].startswith('coh')}
  assert sizes == {f'coherence by_size {size}' for size in (1, 2, 3, 4)}


def test_reproduced_values_stand_beside(results: dict[str, Any]):
  metrics = results['metrics']
  rows = published.matching(results)
  found = {row['metric']: row['reproduced'] for row in rows}
  assert found['joint coherence'] == metrics['coherence']['joint']
  by_size = metrics['coherence']['conditional']['by_size']
  assert found['coherence by_size 1'] == by_size['1']
  assert found['probe by_size 1'] == metrics['probe']['500']['by_size']['1']
  assert found['coherence by_size 4'] is None  # made up for three modalities


def test_missing_metrics_leave_reproduced_empty(results: dict[str, Any]):
  results['metrics'] = {}
  rows = published.matching(results)
  assert rows and all(row['reproduced'] is None for row in rows)


@pytest.mark.parametrize(
  ('section', 'key', 'value', 'expected'),
  [
    ('model', 'latent_dim', 64, 'latent_dim 64 (published: 512)'),
    ('objective', 'beta', 1.0, 'beta 1.0 (published: 2.5)'),
    ('objective', 'pi', [0.5, 0.5], 'pi [0.5, 0.5]'),
    ('train', 'batch_size', 128, 'batch_size 128 (published: 256)'),
    ('train', 'learning_rate', 5e-4, 'learning_rate 0.0005 (published: 0.001)'),
    ('evaluation', 'checkpoint', 'best', 'checkpoint best (published: final)'),
    ('evaluation', 'subsets', ['m0'], "subsets ['m0']"),
  ],
)
def test_other_settings_differ(
  results: dict[str, Any],
  section: str,
  key: str,
  value: object,
  expected: str,
):
  results['config'][section][key] = value
  assert _protocols(results) == {f'differs: {expected}'}


def test_settings_that_were_not_recorded_differ(results: dict[str, Any]):
  del results['config']['model']['latent_dim']
  assert _protocols(results) == {
    'differs: latent_dim not recorded (published: 512)'
  }


def test_a_changed_preset_differs(results: dict[str, Any]):
  results['objective']['prior_expert'] = 'never'
  assert _protocols(results) == {
    'differs: prior_expert never (published: full_set)'
  }


def test_shorter_training_differs(results: dict[str, Any]):
  results['training']['epochs'] = 10
  assert _protocols(results) == {'differs: 10 epochs (published: 300)'}


def test_embedded_digits_differ(results: dict[str, Any]):
  text = "Scikit-learn's bundled handwritten digits, not MNIST, were asked for."
  results['data'] |= {
    'source': "PolyMNIST of 14,370 + 360 tuples: scikit-learn's digits",
    'substituted': text,
    'num_train': 14370,
    'num_test': 360,
  }
  results['substitutions'] = [text]
  assert _protocols(results) == {
    'differs: the digits are not MNIST; 14,370 training and 360 test examples '
    '(published: 60,000 and 10,000)'
  }


def test_one_replaced_background_is_told_apart(results: dict[str, Any]):
  text = "The background of m2 is chain_link, in place of the paper's Lena."
  results['substitutions'] = [text]
  assert _protocols(results) == {published.BACKGROUND_DIFFERENCE}
  results['substitutions'] = [
    'Textures made by arithmetic are the backgrounds.'
  ]
  assert _protocols(results) == {
    "differs: the background images are not the paper's"
  }


def test_an_unknown_substitution_differs(results: dict[str, Any]):
  results['substitutions'] = ['Classifiers were trained for one epoch.']
  assert _protocols(results) == {
    'differs: Classifiers were trained for one epoch'
  }


def test_standardised_features_differ_for_the_probe_only(
  results: dict[str, Any],
):
  results['metrics']['probe']['standardised'] = True
  for row in published.matching(results):
    is_probe = row['metric'].startswith('probe')
    assert (row['protocol'] == 'matches') != is_probe


def test_nothing_for_other_data_or_unpublished_objectives(
  results: dict[str, Any],
):
  other = copy.deepcopy(results)
  other['data']['name'] = 'other'
  assert published.matching(other) == []
  results['objective'] = {'preset': 'mmpoe'}
  assert published.matching(results) == []


def test_every_row_is_complete():
  for row in published.VALUES:
    assert row.objective in objectives.PRESETS
    assert row.source and row.kind in ('paper', 'reproduction')
    assert all(0 < value <= 1 for value in row.values)
    lengths = {'joint coherence': 1, 'coherence by_size': 4, 'probe by_size': 5}
    assert len(row.values) == lengths[row.metric]


def test_rows_are_json(results: dict[str, Any]):
  rows = published.matching(results)
  assert json.loads(json.dumps(rows, allow_nan=False)) == rows
