"""Coherence and log-likelihood against the share of modalities that is missing.

Beside them what MultiVae's case study shows of PolyMNIST, read off its plot
(docs/source/examples/coherence.png of github.com/AgatheSenellart/MultiVae at
2822b3b, mean of 4 seeds, 800 epochs): conditional coherence without gaps and
with half of the modalities missing, incomplete tuples kept.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines

from mmjsd_jax import charts, experiments, measured, sweep_curves
from mmjsd_jax.measured import Measured, Spread
from mmjsd_jax.sweep_curves import Chart
from mmjsd_jax.tables import Results, get

# Objective -> share missing -> coherence from 1, 2, 3 and 4 inputs.
PUBLISHED = {
  'mmvae': {0.0: (0.8, 0.8, 0.8, 0.8), 0.5: (0.76, 0.76, 0.76, 0.76)},
  'mopoe': {0.0: (0.61, 0.75, 0.8, 0.83), 0.5: (0.5, 0.63, 0.7, 0.735)},
  'mvae': {0.0: (0.21, 0.32, 0.42, 0.51), 0.5: (0.28, 0.395, 0.465, 0.515)},
}
_HOW = measured.WORDS['data.missing_how']
_USES = measured.WORDS['data.incomplete']
_DASHES: dict[str, Any] = {'keep': '-', 'drop': '--'}
_STARS = (
  ' Hollow stars: MultiVae on PolyMNIST, incomplete tuples kept, read off a '
  'plot of 4 seeds; models trained for 800 epochs.'
)


class _Panel(NamedTuple):
  """What stands upwards; `size`: inputs of a coherence, 0 of other measures."""

  title: str
  read_fn: Callable[[Results], float | None]
  size: int = 0


def gaps(points: Sequence[Measured], axis: str) -> dict[str, Chart]:
  """Coherence from one input and from all others, and log p(X).

  Where nothing judges coherence, the linear probe of one input and of all.

  Args:
    points: of one sweep over `data.missing`, with those that are missing.
    axis: 'missing'.

  Returns:
    'gaps': a row for every way of taking modalities away.
  """
  panels = _panels(points)
  has_stars = _has_stars(points)
  figure = mpl_figure.Figure(figsize=(13, 8.4), dpi=120, layout='constrained')
  grid = figure.subplots(len(_HOW), len(panels), squeeze=False)
  for row, (how, said) in zip(grid, _HOW.items(), strict=True):
    for axes, panel in zip(row, panels, strict=True):
      axes.set_title(panel.title, fontsize=13, loc='left', fontweight='bold')
      axes.set_xlabel(f'{measured.AXES[axis].label}, {said}', fontsize=11)
      charts.tidy(axes)
      if not _draw(axes, points, panel, how):
        charts.say_missing(axes)
        continue
      axes.set_xticks(sorted({point.x for point in points}))
      if panel.size:
        axes.set_ylim(-0.02, 1.04)
        sweep_curves.draw_limits(
          axes, points, functools.partial(measured.limits, name='coherence')
        )
      if how == 'at_random' and has_stars:
        _draw_published(axes, points, panel.size)
  _legend(figure, points, has_stars)
  return {
    'gaps': Chart(
      charts.figure_png(figure),
      'What gaps cost',
      'Models whose training tuples lack modalities, taken away at random '
      '(above) or by class, the last classes lacking the most (below). Higher '
      'is better in all panels: a line that falls is what gaps cost, and where '
      'the solid line is above the dashed one, incomplete tuples are worth '
      'keeping. Solid: they were trained on; dashed: only complete ones were. '
      'A point is the mean over seeds, its bar is the standard deviation; test '
      'tuples are complete.' + (_STARS if has_stars else ''),
    )
  }


def _panels(points: Sequence[Measured]) -> list[_Panel]:
  num = len(measured.modalities(points))
  panels = []
  if any(get(point.results, 'metrics', 'coherence') for point in points):
    for size in dict.fromkeys((1, max(num - 1, 1))):
      read_fn = functools.partial(measured.coherence, num_inputs=size)
      panels.append(
        _Panel(f'Coherence from {measured.inputs(size)}', read_fn, size)
      )
  else:
    for size in dict.fromkeys((1, max(num, 1))):
      read_fn = functools.partial(measured.probe, num_inputs=size)
      panels.append(_Panel(f'Linear probe of {measured.inputs(size)}', read_fn))
  return [*panels, _Panel('log p(X), nats', measured.log_likelihood)]


def _has_stars(points: Sequence[Measured]) -> bool:
  """Whether something is published of such data and objectives."""
  is_known = any(point.preset in PUBLISHED for point in points)
  return is_known and len(measured.modalities(points)) == 5


def _draw(
  axes: mpl_axes.Axes, points: Sequence[Measured], panel: _Panel, how: str
) -> bool:
  """A line for each objective and use of tuples; False if there is none."""
  is_drawn = False
  for preset in dict.fromkeys(point.preset for point in points):
    for use, dashes in _DASHES.items():
      groups: dict[float, list[Measured]] = {}
      for point in sorted(points, key=lambda point: point.x):
        if point.preset == preset and _is_of(point, how, use):
          groups.setdefault(point.x, []).append(point)
      found = {
        x: spread
        for x, group in groups.items()
        if (spread := measured.spread(group, panel.read_fn)).num
      }
      if any(x > 0 for x in found):
        is_drawn = True
        style = {
          'color': charts.COLOURS.get(preset, 'black'),
          'linestyle': dashes,
          'marker': 'o',
        }
        where = [Spread(x, None, 1) for x in found]
        sweep_curves.draw_line(axes, where, list(found.values()), style)
  return is_drawn


def _is_of(point: Measured, how: str, use: str) -> bool:
  """Whether a point is on the line; without gaps it is on all of them."""
  options = get(point.results, 'config', 'data')
  return bool(options) and (
    point.x == 0
    or (options['missing_how'], options['incomplete']) == (how, use)
  )


def _draw_published(
  axes: mpl_axes.Axes, points: Sequence[Measured], size: int
) -> None:
  for preset in dict.fromkeys(point.preset for point in points):
    for share, values in PUBLISHED.get(preset, {}).items():
      if size:
        axes.plot(
          [share],
          [values[size - 1]],
          linestyle='',
          marker='*',
          markerfacecolor='none',
          markeredgecolor=charts.COLOURS[preset],
          markersize=11,
        )


def _legend(
  figure: mpl_figure.Figure, points: Sequence[Measured], has_stars: bool
) -> None:
  handles, labels = [], []
  for preset in dict.fromkeys(point.preset for point in points):
    colour = charts.COLOURS.get(preset, 'black')
    handles.append(mpl_lines.Line2D([], [], color=colour, marker='o'))
    labels.append(experiments.TITLES[preset].format('K'))
  for use, dashes in _DASHES.items():
    line = mpl_lines.Line2D([], [], color='black')
    line.set_linestyle(dashes)
    handles.append(line)
    labels.append(f'incomplete tuples {_USES[use]}')
  if has_stars:
    star = mpl_lines.Line2D([], [], color=charts.GREY, marker='*')
    star.set(linestyle='', markerfacecolor='none', markersize=11)
    handles.append(star)
    labels.append('MultiVae, kept')
  figure.legend(
    handles,
    labels,
    loc='outside lower center',
    ncols=len(labels),
    frameon=False,
    fontsize=11,
  )
