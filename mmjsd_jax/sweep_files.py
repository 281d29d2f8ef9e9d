"""What a sweep leaves about all of its points: sweep.json, page, figures."""

import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mmjsd_jax import (
  __version__,
  ablation,
  comparisons,
  figures,
  gap_curves,
  measured,
  sweep_page,
  tables,
  trade_off,
)
from mmjsd_jax import config as configuration
from mmjsd_jax.files import file_name, write_atomically, write_json
from mmjsd_jax.grid import Point, Sweep
from mmjsd_jax.measured import Measured
from mmjsd_jax.sweep_curves import Chart
from mmjsd_jax.tables import Results

_log = logging.getLogger(__name__)

# By the names that a sweep asks for.
FIGURES: Mapping[str, Callable[[Sequence[Measured], str], dict[str, Chart]]] = {
  'trade_off': trade_off.trade_off,
  'ablation': ablation.ablation,
  'gaps': gap_curves.gaps,
}


class Plan(NamedTuple):
  """A sweep that has been found possible."""

  sweep: Sweep
  points: list[Point]
  workdir: pathlib.Path
  command: str


class Outcome(NamedTuple):
  """What became of a point.

  Attributes:
    status: 'computed', 'kept' from before, 'failed', or 'pending'.
    results: contents of results.json of the first two.
    error: why it failed.
  """

  status: str
  results: Results | None = None
  error: str = ''


def place(
  sweep: Sweep, point: Point, results: Results | None = None
) -> Measured:
  """The point where the axis of the sweep has it.

  Raises:
    ValueError: as `measured.place`.
  """
  config = configuration.to_dict(point.config)
  return measured.place(point.name, point.settings, config, sweep.axis, results)


def _placed(plan: Plan, outcomes: dict[str, Outcome]) -> list[Measured]:
  return [
    place(plan.sweep, point, outcomes[point.name].results)
    for point in plan.points
  ]


def summary(outcome: Outcome) -> str:
  """': why' of one that failed, '; headline numbers' of others."""
  if outcome.results is None:
    return f': {outcome.error}'
  what, value = 'joint coherence', measured.coherence(outcome.results, 0)
  if value is None:  # as of factors, or where nothing judges it
    num_inputs = len(outcome.results['data']['modalities'])
    what, value = 'probe', measured.probe(outcome.results, num_inputs)
  likelihood = measured.log_likelihood(outcome.results)
  return f'; {what} {tables.share(value)}, log p(X) {tables.nats(likelihood)}'


def state(outcome: Outcome) -> str:
  """'waiting', 'done; headline numbers' or 'failed: why'."""
  if outcome.status == 'pending':
    return 'waiting'
  told = 'failed' if outcome.status == 'failed' else 'done'
  return told + summary(outcome)


def write_numbers(plan: Plan, outcomes: dict[str, Outcome]) -> None:
  """Writes sweep.json.

  Raises:
    OSError: it cannot be written.
  """
  sweep = plan.sweep
  tree = {
    'schema': 1,
    'name': sweep.name,
    'version': __version__,
    'command': plan.command,
    'base': sweep.base,
    'shared': dict(sweep.shared),
    'axis': sweep.axis,
    'figures': list(sweep.figures),
    'points': [_entry(point, outcomes[point.name]) for point in plan.points],
    'comparisons': [
      comparisons.entry(compared)
      for compared in comparisons.compare(_placed(plan, outcomes))
    ],
  }
  write_json(plan.workdir / 'sweep.json', tree)


def _entry(point: Point, outcome: Outcome) -> dict[str, Any]:
  results = outcome.results
  return {
    'name': point.name,
    'settings': point.settings,
    'status': outcome.status,
    'error': outcome.error or None,
    'results': f'{point.name}/results.json' if results else None,
    'metrics': measured.headline(results) if results else None,
  }


def write_page(
  plan: Plan, outcomes: dict[str, Outcome], *, is_last: bool
) -> None:
  """Writes sweep.html and, behind the last point, the figures.

  Raises:
    OSError: something cannot be written.
  """
  sweep = plan.sweep
  points = _placed(plan, outcomes)
  drawn: dict[str, Chart] = {}
  if is_last and any(point.results for point in points):
    for name in sweep.figures:
      drawn |= FIGURES[name](points, sweep.axis)
    _write_charts(plan.workdir, drawn)
  page = sweep_page.page(
    title=sweep.title or sweep.name,
    points=points,
    axis=sweep.axis,
    charts=drawn,
    errors={n: o.error for n, o in outcomes.items() if o.status == 'failed'},
    command=plan.command,
    states={} if is_last else {n: state(o) for n, o in outcomes.items()},
  )
  write_atomically(plan.workdir / 'sweep.html', page)
  if is_last:
    _log.info('page: %s', plan.workdir / 'sweep.html')


def _write_charts(workdir: pathlib.Path, charts: Mapping[str, Chart]) -> None:
  folder = workdir / 'figures'
  folder.mkdir(exist_ok=True)
  for name, chart in charts.items():
    figures.write_png(chart.png, folder / f'{file_name(name)}.png')
