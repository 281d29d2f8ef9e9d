"""Objectives of a sweep compared in pairs, seed by seed.

Runs of equal seeds see the same examples in the same order, so that their
differences vary less than the runs do.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from mmjsd_jax import experiments, intervals, measured, tables
from mmjsd_jax.intervals import Paired
from mmjsd_jax.measured import AXES, Measured, Others
from mmjsd_jax.tables import MISSING, Results, Table, get

ReadFn = Callable[[Results], float | None]

ABOUT = (
  'Exploratory: every pair of objectives of the sweep by the same measures, '
  'all of them shown, nothing corrected for their number, and no test of '
  'significance. A difference is between runs of equal seed. In brackets the '
  f'{intervals.LEVEL:.0%} percentile bootstrap interval of their mean, from '
  f'{intervals.MIN_VALUES} seeds on; of few seeds it is too narrow.'
)


class Comparison(NamedTuple):
  """Two objectives at one place of the axis, by one measure.

  Attributes:
    first: preset.
    second: preset; differences are the first one's number less this one's.
    others: what else is set in the sweep, here equal; see `Measured`.
    x: where on the axis.
    measure: of `measures`.
    paired: seed by seed.
  """

  first: str
  second: str
  others: Others
  x: float
  measure: str
  paired: Paired


def measures(num_modalities: int) -> dict[str, ReadFn]:
  """What is compared, whatever comes out of it: four headline numbers."""
  most = max(num_modalities - 1, 1)
  return {
    'probe, all inputs': functools.partial(
      measured.probe, num_inputs=num_modalities
    ),
    'joint coherence': functools.partial(measured.coherence, num_inputs=0),
    f'coherence, {measured.inputs(most)}': functools.partial(
      measured.coherence, num_inputs=most
    ),
    'log p(X)': measured.log_likelihood,
  }


def compare(points: Sequence[Measured]) -> list[Comparison]:
  """Every pair of objectives at every place that both have, by all measures.

  Args:
    points: of one sweep, with those that are missing.
  """
  places: dict[tuple[Others, float], dict[str, list[Measured]]] = {}
  order = list(dict.fromkeys(point.others for point in points))
  for point in sorted(points, key=lambda p: (order.index(p.others), p.x)):
    place = places.setdefault((point.others, point.x), {})
    place.setdefault(point.preset, []).append(point)
  presets = dict.fromkeys(point.preset for point in points)
  read_fns = measures(len(measured.modalities(points)))
  return [
    Comparison(first, second, *where, measure, paired)
    for first, second in itertools.combinations(presets, 2)
    for where, groups in places.items()
    for measure, read_fn in read_fns.items()
    if (
      paired := intervals.paired(
        _by_seed(groups.get(first, ()), read_fn),
        _by_seed(groups.get(second, ()), read_fn),
      )
    ).differences
  ]


def tables_by_measure(
  compared: Sequence[Comparison], axis: str
) -> dict[str, Table]:
  """All comparisons, a table for each measure and a row for each of its own.

  Args:
    compared: of `compare`.
    axis: of `measured.AXES`.
  """
  names = measured.varying(comparison.others for comparison in compared)
  columns = (
    ', '.join(('difference', *names)),
    AXES[axis].label,
    'mean',
    'of each seed',
    'same sign as the mean',
  )
  return {
    measure: Table(
      f'Differences in {measure}{_unit(measure)}.',
      columns,
      tuple(_row(c, names) for c in compared if c.measure == measure),
    )
    for measure in dict.fromkeys(c.measure for c in compared)
  }


def entry(comparison: Comparison) -> dict[str, Any]:
  """The same in plain JSON types."""
  paired = comparison.paired
  tree = comparison._asdict() | paired._asdict()
  del tree['paired']
  interval = list(paired.interval) if paired.interval else None
  return tree | {
    'others': measured.in_words(comparison.others),
    'differences': {str(k): v for k, v in paired.differences.items()},
    'interval': interval,
  }


def _by_seed(points: Sequence[Measured], read_fn: ReadFn) -> dict[int, float]:
  return {
    get(point.results, 'config', 'seed'): value
    for point in points
    for value in measured.numbers([point], read_fn)
  }


def _unit(measure: str) -> str:
  return ', in nats per example' if measure == 'log p(X)' else ''


def _row(comparison: Comparison, names: Sequence[str]) -> tuple[str, ...]:
  paired = comparison.paired
  sign = functools.partial(_signed, is_share=comparison.measure != 'log p(X)')
  titles = [
    experiments.TITLES[preset].format('K')
    for preset in (comparison.first, comparison.second)
  ]
  num = len(paired.differences)
  interval = (
    f' [{", ".join(map(sign, paired.interval))}]' if paired.interval else ''
  )
  return (
    ', '.join((' − '.join(titles), *measured.values(comparison.others, names))),
    f'{comparison.x:g}',
    sign(paired.mean) + interval,
    ', '.join(f'{k}: {sign(v)}' for k, v in paired.differences.items()),
    f'{paired.num_agreeing} of {num}',
  )


def _signed(value: float | None, *, is_share: bool) -> str:
  if not tables.is_number(value):
    return MISSING
  return f'{value:+.3f}' if is_share else f'{value:+,.1f}'
