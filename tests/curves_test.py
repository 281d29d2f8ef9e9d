"""The charts: which numbers they draw, and that nothing is hidden."""

import copy
import io
import json
import pathlib
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib import figure as mpl_figure
from PIL import Image

from mmjsd_jax import charts, curves, published

_DATA = pathlib.Path(__file__).parent / 'data'


@pytest.fixture
def results() -> dict[str, Any]:
  """Made-up results of a run with three modalities."""
  return json.loads((_DATA / 'results.json').read_text(encoding='utf-8'))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[mpl_figure.Figure]:
  """The figures, kept in place of being rendered."""
  kept: list[mpl_figure.Figure] = []

  def keep(figure: mpl_figure.Figure) -> bytes:
    kept.append(figure)
    return b''

  monkeypatch.setattr(charts, 'figure_png', keep)
  return kept


def _line(axes: Any, label: str) -> list[tuple[float, float]]:
  (line,) = [line for line in axes.lines if line.get_label() == label]
  return list(zip(*line.get_data(), strict=True))


def _texts(axes: Any) -> list[str]:
  return [text.get_text() for text in axes.texts]


def test_the_three_panels_show_by_size(
  results: dict[str, Any], drawn: list[mpl_figure.Figure]
):
  curves.curves_figure({'run': results})
  metrics = results['metrics']
  expected = (
    metrics['probe']['500'],
    metrics['coherence']['conditional'],
    metrics['log_likelihood'],
  )
  for axes, block in zip(drawn[0].axes, expected, strict=True):
    points = {(int(k), v) for k, v in block['by_size'].items()}
    assert set(_line(axes, 'run')) == points
  probe, coherence, likelihood = drawn[0].axes
  ceiling = np.mean(list(metrics['coherence']['ceiling'].values()))
  assert _texts(probe) == ['chance 0.1']
  assert _texts(coherence) == ['chance 0.1', f'ceiling {ceiling:.3g}']
  assert _texts(likelihood) == []


def test_a_metric_that_no_run_has_is_said_to_be_missing(
  results: dict[str, Any], drawn: list[mpl_figure.Figure]
):
  del results['metrics']['probe']
  results['metrics']['log_likelihood']['by_size'] = {'1': None}
  curves.curves_figure({'run': results})
  probe, coherence, likelihood = drawn[0].axes
  assert _texts(probe) == ['not measured']
  assert _texts(likelihood) == ['not measured']
  assert 'not measured' not in _texts(coherence)


@pytest.mark.parametrize(
  ('protocol', 'marker'),
  [
    ('matches', 'published'),
    (published.BACKGROUND_DIFFERENCE, 'published, one background differs'),
    ('differs: 10 epochs (published: 300)', None),
  ],
  ids=['matches', 'background', 'differs'],
)
def test_published_points_need_the_protocol(
  results: dict[str, Any],
  drawn: list[mpl_figure.Figure],
  protocol: str,
  marker: str | None,
):
  row = {'metric': 'coherence by_size 1', 'value': 0.66, 'protocol': protocol}
  results['published'] = [row]
  curves.curves_figure({'run': results})
  labels = {str(line.get_label()) for line in drawn[0].axes[1].lines}
  stars = {label for label in labels if label.startswith('published')}
  assert stars == ({marker} if marker else set())


def test_a_colour_per_objective_and_a_dash_per_run(
  results: dict[str, Any], drawn: list[mpl_figure.Figure]
):
  other = copy.deepcopy(results)
  other['objective']['preset'] = 'mmjsd'
  curves.curves_figure({'a': results, 'b': results, 'c': other})
  lines = {line.get_label(): line for line in drawn[0].axes[0].lines}
  a, b, c = lines['a'], lines['b'], lines['c']
  assert a.get_color() == b.get_color() != c.get_color()
  assert a.get_linestyle() != b.get_linestyle()


def test_the_loss_is_drawn_as_recorded(
  results: dict[str, Any], drawn: list[mpl_figure.Figure]
):
  history = results['training']['history']
  history[1] |= {'validation_loss': 5000.0, 'loss': None}
  curves.loss_figure({'run': results})
  loss, likelihood, _ = drawn[0].axes
  assert _line(loss, 'run') == [
    (row['step'], row['loss']) for row in history if row['loss'] is not None
  ]
  assert _line(loss, 'run, validation') == [(history[1]['step'], 5000.0)]
  assert len(_line(likelihood, 'run')) == len(history)


@pytest.mark.parametrize('last', [6000, 70_000])
def test_steps_are_named_more_than_once(drawn, results, last):
  results['training']['history'] = [
    {'step': step, 'loss': 1.0} for step in (250, last)
  ]
  curves.loss_figure({'run': results})
  axis = drawn[0].axes[0].xaxis
  axis.axes.set_xlim(250, last)
  names = [
    axis.get_major_formatter()(place)
    for place in axis.get_majorticklocs()
    if 250 <= place <= last
  ]
  expected = ['300', '1k', '3k', '10k', '30k']
  assert names == expected[: len(names)] and len(names) > 2


def test_charts_are_png_and_leave_no_global_state(results: dict[str, Any]):
  before = dict(matplotlib.rcParams)
  first = curves.curves_figure({'run': results})
  assert Image.open(io.BytesIO(first)).size == (1560, 552)
  assert dict(matplotlib.rcParams) == before
  assert 'matplotlib.pyplot' not in vars(curves)


def test_no_runs_are_refused():
  with pytest.raises(ValueError, match='at least one run'):
    curves.curves_figure({})
