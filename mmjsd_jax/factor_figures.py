"""Bars of factors: how well each is told from latents and from samples.

As Sutter et al. 2020 (mmJSD), supplement, Fig. 6 and 7, with the names beside
the bars, for 40 of them to be read. results.json in, PNG bytes out.
"""

from collections.abc import Mapping
from typing import Any

from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines

from mmjsd_jax import charts, factor_tables
from mmjsd_jax.tables import Results, get, is_number

_NUM_COLUMNS = 3


def bars(results: Results) -> dict[str, bytes]:
  """Both figures, those of them that were measured.

  Args:
    results: contents of results.json.

  Returns:
    'factors_probe', a panel for each subset, and 'factors_generated', one for
    each subset and modality outside it.
  """
  block = get(results, 'metrics', 'factors')
  least = factor_tables.sizes(block)[:1]
  probed = get(block, 'probe', *least, 'subsets') if least else {}
  generated = {
    f'{target}, given {subset}': values
    for subset, targets in (get(block, 'generated') or {}).items()
    for target, values in targets.items()
    if target not in subset.split('+')
  }
  panels = {
    'factors_probe': {f'latents of {s}': x for s, x in (probed or {}).items()},
    'factors_generated': generated,
  }
  return {
    name: _draw(block, found, results['objective']['preset'])
    for name, found in panels.items()
    if found
  }


def _draw(
  block: Any, panels: Mapping[str, Mapping[str, Any]], preset: str
) -> bytes:
  """A panel of horizontal bars for each entry of `panels`."""
  names = block['names']
  num_columns = min(len(panels), _NUM_COLUMNS)
  num_rows = -(-len(panels) // num_columns)
  figure = mpl_figure.Figure(
    figsize=(12.7, num_rows * (1.1 + 0.22 * len(names))),
    dpi=120,
    layout='constrained',
  )
  grid = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
  colour = charts.COLOURS.get(preset, 'black')
  places = range(len(names))
  for axes in grid.flat[len(panels) :]:
    axes.set_visible(False)
  for axes, (title, values) in zip(grid.flat, panels.items(), strict=False):
    axes.set_title(
      title.replace('+', ', '), fontsize=12, loc='left', fontweight='bold'
    )
    charts.tidy(axes)
    axes.grid(visible=False, axis='y')
    heights = [_number(values.get(name)) for name in names]
    axes.barh(places, heights, height=0.72, color=colour, alpha=0.8)
    axes.scatter(
      [_number(block['prevalence'].get(name)) for name in names],
      places,
      marker='|',
      s=70,
      linewidths=1.8,
      color='black',
      zorder=3,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(list(places), names, fontsize=10)
    axes.set_xlabel(block['metric'].replace('_', ' '), fontsize=11)
  tick = mpl_lines.Line2D(
    [], [], color='black', linestyle='', marker='|', markersize=9
  )
  figure.legend(
    [tick],
    ['prevalence: what chance has'],
    loc='outside lower center',
    frameon=False,
    fontsize=11,
  )
  return charts.figure_png(figure)


def _number(value: Any) -> float:
  """NaN, which is not drawn, for what is no number."""
  return value if is_number(value) else float('nan')
