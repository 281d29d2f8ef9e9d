"""Coherence against log-likelihood, a line per model of a sweep."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure

from mmjsd_jax import charts, measured, printed_points, sweep_curves, tables
from mmjsd_jax.measured import AXES, Measured
from mmjsd_jax.sweep_curves import Chart, LimitsFn
from mmjsd_jax.tables import Results, get

_READING = (
  'A line is a model, with its lowest and highest {axis} written beside it. A '
  'point is the mean over seeds, its bars are the standard deviation. Dotted '
  'lines: chance, and the ceiling, which is what real data score. The best '
  'place is the top right corner.'
)


def trade_off(points: Sequence[Measured], axis: str) -> dict[str, Chart]:
  """Coherence against log-likelihood, a line per model along the axis.

  Sutter et al. 2021 (MoPoE): of draws from the prior, Fig. 1, and of what is
  generated from all other modalities, Fig. 5, down to one, Fig. 6.

  Args:
    points: of one sweep, with those that are missing.
    axis: of `measured.AXES`.

  Returns:
    'trade_off_joint', then 'trade_off_from_2' and so on.
  """
  reading = _READING.format(axis=AXES[axis].label)
  joint = _Plane(
    'Joint coherence',
    'log p(X), nats per example',
    measured.log_likelihood,
    lambda results: measured.coherence(results, 0),
    lambda results: {
      'chance': get(results, 'metrics', 'coherence', 'joint_chance'),
      'ceiling': tables.joint_ceiling(results)[0],
    },
  )
  made = {}
  if not measured.has_factors(points):  # joint samples have no truth
    made['trade_off_joint'] = Chart(
      _draw_planes([joint], 1, points),
      'Joint coherence against log-likelihood',
      'Joint coherence against the log-likelihood of all modalities, as in '
      f'Sutter et al. 2021 (MoPoE), Fig. 1. {reading}'
      f'{_about_printed([joint], points)}',
    )
  names = measured.modalities(points)
  for size in range(len(names) - 1, 0, -1):
    planes = [_plane(pair) for pair in measured.generations(names, size)]
    columns = len(names) - size
    png = _draw_planes(planes, columns if columns > 1 else len(names), points)
    figure = {2: ', Fig. 5', 1: ', Fig. 6'}.get(size, '')
    made[f'trade_off_from_{size}'] = Chart(
      png,
      f'Coherence from {measured.inputs(size)} against log-likelihood',
      'Conditional coherence against log p(X), estimated with draws from the '
      f'posterior given the inputs, as in Sutter et al. 2021 (MoPoE){figure}. '
      f'{reading}{_about_printed(planes, points)}'
      f'{measured.about_factors(points)}',
    )
  return made


_ReadFn = Callable[[Results], Any]


class _Plane(NamedTuple):
  """One panel of a trade-off: what is right, what is up, and its limits.

  `pair` is 'a+b->c', or '' of draws from the prior.
  """

  title: str
  x_label: str
  x_fn: _ReadFn
  y_fn: _ReadFn
  limits_fn: LimitsFn
  pair: str = ''


def _plane(pair: str) -> _Plane:
  subset, _, target = pair.partition('->')
  return _Plane(
    f'{subset.replace("+", ", ")} → {target}',
    f'log p(X) given {subset.replace("+", ", ")}',
    lambda results: get(
      results, 'metrics', 'log_likelihood', 'subsets', subset
    ),
    functools.partial(measured.generation, pair=pair),
    functools.partial(measured.limits, name='coherence', target=target),
    pair,
  )


def _about_printed(planes: Sequence[_Plane], points: Sequence[Measured]) -> str:
  drawn = [
    printed
    for plane in planes
    for printed in printed_points.against_likelihood(points, plane.pair)
  ]
  return printed_points.about(drawn, ('coherence', 'log_likelihood'))


def _draw_planes(
  planes: Sequence[_Plane],
  num_columns: int,
  points: Sequence[Measured],
) -> bytes:
  rows = -(-len(planes) // num_columns)
  figure = mpl_figure.Figure(
    figsize=(2.2 + 4.6 * num_columns, 1 + 3.8 * rows),
    dpi=120,
    layout='constrained',
  )
  panels = figure.subplots(rows, num_columns, squeeze=False).flat
  for axes, plane in zip(panels, planes, strict=True):
    axes.set_title(plane.title, fontsize=13, loc='left', fontweight='bold')
    axes.set_xlabel(plane.x_label, fontsize=11)
    axes.set_ylabel('coherence', fontsize=11)
    charts.tidy(axes)
    if not _draw_plane(axes, plane, points):
      charts.say_missing(axes)
      continue
    printed = printed_points.against_likelihood(points, plane.pair)
    printed_points.draw(axes, printed)
    axes.margins(x=0.12)
    axes.set_ylim(-0.02, 1.04)
    sweep_curves.say_missing(axes, len(points) - len(_on_plane(plane, points)))
    sweep_curves.draw_limits(axes, points, plane.limits_fn)
  sweep_curves.legend(figure, points)
  return charts.figure_png(figure)


def _on_plane(plane: _Plane, points: Sequence[Measured]) -> list[Measured]:
  """Those with both numbers: else a mean of one would be of other runs."""
  return [
    point
    for point in points
    if point.results
    and tables.is_number(plane.x_fn(point.results))
    and tables.is_number(plane.y_fn(point.results))
  ]


def _draw_plane(
  axes: mpl_axes.Axes, plane: _Plane, points: Sequence[Measured]
) -> bool:
  """Draws a line per curve; False if there was nothing to draw."""
  is_drawn = False
  styles = sweep_curves.styles(points)
  for curve, values in measured.curves(_on_plane(plane, points)).items():
    found = [
      (
        value,
        measured.spread(group, plane.x_fn),
        measured.spread(group, plane.y_fn),
      )
      for value, group in values.items()
    ]
    is_drawn = True
    spreads = ([x for _, x, _ in found], [y for _, _, y in found])
    sweep_curves.draw_line(axes, *spreads, styles[curve])
    for value, x, y in dict.fromkeys((found[0], found[-1])):
      axes.annotate(
        f'{value:g}',
        (sweep_curves.number(x), sweep_curves.number(y)),
        xytext=(5, 6),
        textcoords='offset points',
        fontsize=9,
        color=styles[curve]['color'],
      )
  return is_drawn
