"""What the charts of a sweep share: styles, lines with bars, what is missing.

A point is the mean over seeds, its bars are the standard deviation.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines

from mmjsd_jax import charts, measured, tables
from mmjsd_jax.measured import Measured, Spread
from mmjsd_jax.tables import Results

DASHES = ('-', '--', '-.', ':')

# Results of a run to 'chance' and 'ceiling' of a panel, where it has them.
LimitsFn = Callable[[Results], dict[str, float | None]]


class Chart(NamedTuple):
  """A figure of a sweep.

  Attributes:
    png: the picture.
    title: what stands where it is not seen.
    caption: what it shows and how to read it.
  """

  png: bytes
  title: str
  caption: str


def styles(points: Sequence[Measured]) -> dict[str, dict[str, Any]]:
  """A colour per objective, a dash and a marker per curve."""
  counts: dict[str, int] = {}
  found = {}
  presets = {point.curve: point.preset for point in points}
  for index, (curve, preset) in enumerate(presets.items()):
    count = counts.get(preset, 0)
    counts[preset] = count + 1
    found[curve] = {
      'color': charts.COLOURS.get(preset, 'black'),
      'linestyle': DASHES[count % len(DASHES)],
      'marker': charts.MARKERS[index % len(charts.MARKERS)],
    }
  return found


def draw_line(
  axes: mpl_axes.Axes,
  x: Sequence[Spread],
  y: Sequence[Spread],
  style: Mapping[str, Any],
) -> None:
  """A line through means that are there, with bars at two seeds and more."""
  axes.errorbar(
    [number(spread) for spread in x],
    [number(spread) for spread in y],
    xerr=[spread.std or 0 for spread in x],
    yerr=[spread.std or 0 for spread in y],
    linewidth=1.8,
    elinewidth=1,
    markersize=7,
    markeredgecolor='white',
    **style,
  )


def number(spread: Spread) -> float:
  """The mean of at least one number."""
  assert spread.mean is not None  # spreads of nothing are not drawn
  return spread.mean


def say_missing(axes: mpl_axes.Axes, count: int) -> None:
  """Says how many runs' values are in no point of the panel."""
  if count:
    text = f'{count} value{"s" if count > 1 else ""} missing'
    axes.set_title(text, fontsize=9, loc='right', color=charts.GREY)


def draw_limits(
  axes: mpl_axes.Axes, points: Sequence[Measured], limits_fn: LimitsFn
) -> None:
  """Chance and ceiling, each the mean over all runs."""
  limits = [limits_fn(point.results) for point in points if point.results]
  for name in ('chance', 'ceiling'):
    found = [v for limit in limits if tables.is_number(v := limit.get(name))]
    if found:
      charts.draw_limit(axes, name, statistics.fmean(found))


def legend(
  figure: mpl_figure.Figure, points: Sequence[Measured], num_sizes: int = 0
) -> None:
  """Every curve, those without a point too, and the dashes of sizes."""
  handles: list[mpl_lines.Line2D] = []
  labels: list[str] = []
  curves = measured.curves(points)
  for curve, style in styles(points).items():
    is_empty = not any(
      point.results for group in curves[curve].values() for point in group
    )
    if num_sizes:
      style |= {'linestyle': ''}
    handles.append(mpl_lines.Line2D([], [], markersize=8, **style))
    labels.append(f'{curve} (missing)' if is_empty else curve)
  for size in range(num_sizes + 1 if num_sizes else 0):
    style = {'color': charts.GREY, 'linestyle': DASHES[size % len(DASHES)]}
    handles.append(mpl_lines.Line2D([], [], **style))
    labels.append(measured.inputs(size))
  figure.legend(
    handles,
    labels,
    loc='outside lower center',
    ncols=_columns(figure, labels),
    frameon=False,
    fontsize=11,
  )


def _columns(figure: mpl_figure.Figure, labels: Sequence[str]) -> int:
  """So many labels of 11 points, with what is beside them, fit into a line."""
  width = 6.6 * max(map(len, labels)) + 53  # points
  return max(1, min(len(labels), int(72 * figure.get_figwidth() / width)))
