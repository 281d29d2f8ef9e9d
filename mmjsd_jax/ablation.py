"""Probe, coherence and quality of samples along the axis of a sweep."""

import functools
from collections.abc import Callable, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from mmjsd_jax import charts, measured, printed_points, sweep_curves
from mmjsd_jax.measured import AXES, Axis, Measured, Spread
from mmjsd_jax.paper_columns import FEATURES
from mmjsd_jax.printed_points import Printed
from mmjsd_jax.sweep_curves import DASHES, Chart, LimitsFn
from mmjsd_jax.tables import Results

# Title, unit, numbers of inputs, measure, limits and what papers print of it.
_Panel = tuple[
  str, str, range, Callable[[Results, int], float | None], LimitsFn, str
]


def ablation(points: Sequence[Measured], axis: str) -> dict[str, Chart]:
  """Linear probe, coherence and quality of samples along the axis.

  The three panels of Sutter et al. 2020 (mmJSD), supplement, Fig. 1, 3 and 4.
  Dashes tell the number of inputs.

  Args:
    points: of one sweep, with those that are missing.
    axis: of `measured.AXES`.

  Returns:
    'ablation_<axis>'.
  """
  figure = mpl_figure.Figure(figsize=(13, 4.8), dpi=120, layout='constrained')
  num = len(measured.modalities(points))
  panels: tuple[_Panel, ...] = (
    (
      'Linear probe',
      'accuracy',
      range(1, num + 1),
      measured.probe,
      functools.partial(measured.limits, name='probe'),
      'probe',
    ),
    (
      'Coherence',
      'share of the right class',
      range(num),
      measured.coherence,
      functools.partial(measured.limits, name='coherence'),
      'coherence',
    ),
    (
      'Quality of samples',
      'normalised average precision',
      range(num),
      measured.quality,
      lambda results: {'ceiling': measured.quality_ceiling(results)},
      '',  # of other features
    ),
  )
  drawn: list[Printed] = []
  for axes, (title, unit, sizes, read_fn, limits_fn, quantity) in zip(
    figure.subplots(1, 3), panels, strict=True
  ):
    axes.set_title(title, fontsize=13, loc='left', fontweight='bold')
    if quantity and measured.has_factors(points):
      unit = 'macro mean over factors'
    axes.set_ylabel(unit, fontsize=11)
    axes.set_xlabel(AXES[axis].label, fontsize=11)
    charts.tidy(axes)
    _scale(axes, points, AXES[axis])
    lines = [
      _draw_along(axes, points, size, read_fn) for size in reversed(sizes)
    ]
    if not any(lines):
      charts.say_missing(axes)
      continue
    axes.set_ylim(-0.02, 1.04)
    sweep_curves.say_missing(axes, len(points) * len(sizes) - sum(lines))
    sweep_curves.draw_limits(axes, points, limits_fn)
    for size in sizes if quantity else ():
      printed = printed_points.along(points, axis, quantity, size)
      printed_points.draw(axes, printed, str(size))
      drawn += printed
  sweep_curves.legend(figure, points, num)
  number = {'beta': 1, 'style_dim': 3, 'prior_weight': 4}[axis]
  caption = (
    'Linear probe of the latent, conditional coherence (with 0 inputs: joint '
    'coherence) and quality of generated images (with 0 inputs: drawn from '
    'the prior) by number of input modalities, as in Sutter et al. 2020 '
    f'(mmJSD), supplement, Fig. {number}. Quality is the average precision '
    f'(PRD on {FEATURES}) over that of a perfect generator. Higher is better '
    f'in all three; a line tells what {AXES[axis].label} does to it. A point '
    'is the mean over seeds, its bar is the standard deviation. Dotted lines: '
    'what chance has, and the ceiling, which is what real data score; in the '
    'middle panel both are those of conditional coherence.'
    + measured.about_factors(points)
    + printed_points.about(drawn, ('probe', 'coherence'))
    + (' Beside a star stands the number of inputs.' if drawn else '')
  )
  title = f'Probe, coherence and quality of samples by {AXES[axis].label}'
  return {f'ablation_{axis}': Chart(charts.figure_png(figure), title, caption)}


def _draw_along(
  axes: mpl_axes.Axes,
  points: Sequence[Measured],
  size: int,
  read_fn: Callable[[Results, int], float | None],
) -> int:
  """Draws a measure of `size` inputs; returns how many runs have it."""
  count = 0
  styles = sweep_curves.styles(points)
  for curve, values in measured.curves(points).items():
    x, y = [], []
    for value, group in values.items():
      spread = measured.spread(group, lambda results: read_fn(results, size))
      if spread.num:
        x.append(Spread(value, None, 1))
        y.append(spread)
        count += spread.num
    if x:
      style = styles[curve] | {'linestyle': DASHES[size % len(DASHES)]}
      sweep_curves.draw_line(axes, x, y, style)
  return count


def _scale(axes: mpl_axes.Axes, points: Sequence[Measured], axis: Axis) -> None:
  """A tick at every value that the sweep asks for, measured or not."""
  values = sorted({point.x for point in points})
  if axis.is_logarithmic and values[0] > 0:
    axes.set_xscale('log')
  margin = 0.05 * (values[-1] - values[0]) or 0.5
  if axes.get_xscale() == 'log':
    axes.set_xlim(values[0] / 1.25, values[-1] * 1.25)
  else:
    axes.set_xlim(values[0] - margin, values[-1] + margin)
  axes.xaxis.set_major_locator(ticker.FixedLocator(values))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.xaxis.set_major_formatter(
    ticker.FuncFormatter(lambda value, _: f'{value:g}')
  )
