"""Bars of factors: which are drawn, and where chance is."""

import factor_world
import numpy as np
import pytest

from mmjsd_jax import charts, factor_figures


@pytest.fixture
def drawn(monkeypatch):
  """The figures, kept in place of being rendered."""
  kept = []

  def keep(figure):
    kept.append(figure)
    return b''

  monkeypatch.setattr(charts, 'figure_png', keep)
  return kept


def test_every_subset_and_target_has_a_panel_of_bars(drawn):
  results = factor_world.make_run()
  found = factor_figures.bars(results)
  assert list(found) == ['factors_probe', 'factors_generated']
  titles = [[a.get_title(loc='left') for a in f.axes] for f in drawn]
  assert titles == [
    ['latents of image', 'latents of text', 'latents of image, text'],
    ['text, given image', 'image, given text'],
  ]
  axes = drawn[0].axes[1]
  names = drawn[0].axes[0].get_yticklabels()
  assert [name.get_text() for name in names] == [*factor_world.ATTRIBUTES]
  widths = [bar.get_width() for bar in axes.patches]
  values = results['metrics']['factors']['probe']['500']['subsets']['text']
  assert np.isnan(widths[0])
  assert widths[1:] == [values['Male'], values['Smiling']]
  ticks = axes.collections[0].get_offsets()
  prevalence = results['metrics']['factors']['prevalence']
  np.testing.assert_allclose(ticks[:, 0], [*prevalence.values()])
  np.testing.assert_allclose(ticks[:, 1], range(3))


def test_only_what_was_measured_is_drawn(drawn):
  results = factor_world.make_run('dsprites_text')
  del results['metrics']['factors']['probe']
  assert list(factor_figures.bars(results)) == ['factors_generated']
  assert factor_figures.bars({'metrics': {}}) == {}
