"""The points of a sweep, run in turn, and the files about all of them.

In the workdir stand, beside a folder for every point, sweep.json, sweep.md and
figures/.
"""

import contextlib
import functools
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from mmjsd_jax import (
  __version__,
  ablation,
  comparisons,
  figures,
  gap_curves,
  grid,
  hosts,
  measured,
  run,
  sweep_page,
  tables,
  trade_off,
)
from mmjsd_jax import config as configuration
from mmjsd_jax import job as jobs
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.files import (
  file_name,
  read_json,
  write_atomically,
  write_json,
)
from mmjsd_jax.grid import Point, Sweep
from mmjsd_jax.interruption import Interruption, Stopped
from mmjsd_jax.job import Job
from mmjsd_jax.measured import Measured
from mmjsd_jax.sweep_curves import Chart
from mmjsd_jax.tables import Results
from mmjsd_jax.train import NonFiniteLoss

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


def prepare(config: str, workdir: str | None, *, command: str) -> Plan:
  """Checks everything that can be checked before any point is run.

  Args:
    config: '<file>' or '<file>:<argument>' of the sweep.
    workdir: folder of the sweep; None for runs/<name>.
    command: that makes this sweep.

  Raises:
    ValueError: a sweep that cannot work, or a workdir with other things.
    OSError: files that are missing.
  """
  sweep = grid.load(config)
  folder = pathlib.Path(workdir or pathlib.Path('runs', file_name(sweep.name)))
  plan = Plan(sweep, grid.points(sweep), folder, command)
  check(plan)
  return plan


def check(plan: Plan) -> None:
  """Refuses a sweep that cannot work, or a workdir with other things.

  Raises:
    ValueError: see above.
  """
  for point in plan.points:
    _place(plan.sweep, point)
  for name in plan.sweep.figures:
    if name not in FIGURES:
      raise ValueError(f'expected figures of {tuple(FIGURES)}, got {name!r}')
  _check_workdir(plan.workdir, plan.sweep)


def execute(
  plan: Plan, interruption: Interruption | None = None
) -> dict[str, Outcome]:
  """Runs the points in turn; writes sweep.json after each, then the page.

  Raises:
    Stopped: interrupted; the same sweep goes on.
    OSError: another process works in the workdir, or sweep.json, figures or
      page cannot be written. What fails at a point is in its outcome.
  """
  with claimed(plan) as outcomes:
    run_points(plan, outcomes, functools.partial(_prepare, plan), interruption)
  return outcomes


@contextlib.contextmanager
def claimed(plan: Plan) -> Iterator[dict[str, Outcome]]:
  """Holds the workdir for this program alone, with sweep.json written.

  Of several processes the first one holds it for all.

  Yields:
    Name of every point to what is known of it.

  Raises:
    OSError: another program holds it, or it cannot be written; or the processes
      see other points finished.
  """
  with contextlib.ExitStack() as stack:
    with hosts.together():
      if hosts.is_first():
        plan.workdir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(workdirs.locked(plan.workdir))
    outcomes = {point.name: _known(plan, point) for point in plan.points}
    _tell(plan, outcomes)
    yield outcomes


def run_points(
  plan: Plan,
  outcomes: dict[str, Outcome],
  prepare_fn: Callable[[Point], Job],
  interruption: Interruption | None = None,
) -> None:
  """Runs the points that are pending.

  Args:
    plan: the sweep.
    outcomes: of `claimed`; changed.
    prepare_fn: the job of a point.
    interruption: asked where work can stop. None: nothing interrupts.

  Raises:
    Stopped, OSError: see `execute`.
  """
  for index, point in enumerate(plan.points):
    clock = time.monotonic()
    outcome = outcomes[point.name]
    if outcome.status == 'pending':
      outcome = _run_point(plan, point, prepare_fn, interruption)
      outcomes[point.name] = outcome
      _tell(plan, outcomes)
    _log.info(
      'point %d of %d, %s: %s in %s%s',
      index + 1,
      len(plan.points),
      point.name,
      outcome.status,
      tables.duration(time.monotonic() - clock),
      _summary(outcome),
    )
  with hosts.together():
    if hosts.is_first():
      _write_page(plan, outcomes)


def _place(
  sweep: Sweep, point: Point, results: Results | None = None
) -> Measured:
  config = configuration.to_dict(point.config)
  return measured.place(point.name, point.settings, config, sweep.axis, results)


def _placed(plan: Plan, outcomes: dict[str, Outcome]) -> list[Measured]:
  return [
    _place(plan.sweep, point, outcomes[point.name].results)
    for point in plan.points
  ]


def _check_workdir(workdir: pathlib.Path, sweep: Sweep) -> None:
  """Refuses a folder that holds anything but this sweep."""
  if not workdir.exists():
    return
  if not workdir.is_dir():
    raise ValueError(f'workdir must be a folder; {workdir} is a file')
  path = workdir / 'sweep.json'
  if not path.exists():
    found = sorted(file.name for file in workdir.iterdir())
    if found and found != [workdirs.LOCK]:
      raise ValueError(
        f'workdir must be empty or hold a sweep; {workdir} holds {found[:5]}'
      )
    return
  try:
    name = read_json(path)['name']
  except (ValueError, TypeError, KeyError) as error:
    raise ValueError(
      f'{path} must hold the name of a sweep; it is damaged: {error!r}'
    ) from None
  if name != sweep.name:
    raise ValueError(
      f'{workdir} holds the sweep {name}, not {sweep.name}; choose another '
      '--workdir'
    )


def _prepare(plan: Plan, point: Point) -> Job:
  # Programs of one point are of no use to the next, and fill the memory.
  jax.clear_caches()
  folder = plan.workdir / point.name
  return jobs.prepare(
    point.config,
    folder,
    mode='train_and_evaluate',
    command=grid.command(plan.sweep, point, folder),
  )


def _run_point(
  plan: Plan,
  point: Point,
  prepare_fn: Callable[[Point], Job],
  interruption: Interruption | None,
) -> Outcome:
  folder = plan.workdir / point.name
  _log.info('%s begins', point.name)
  try:
    run.execute(prepare_fn(point), interruption)
    results = _finished(folder, point)
  except Stopped:
    raise
  except Exception as error:  # other points may well work
    if not hosts.is_alone() and not isinstance(error, NonFiniteLoss):
      raise  # another process may still be at this point
    if isinstance(error, (ValueError, OSError, ImportError, NonFiniteLoss)):
      return Outcome('failed', error=' '.join(str(error).split()))
    _log.exception('%s failed', point.name)
    return Outcome('failed', error=' '.join(repr(error).split()))
  if results is None:
    return Outcome('failed', error=f'the run left no results in {folder}')
  return Outcome('computed', results)


def _known(plan: Plan, point: Point) -> Outcome:
  """What is known of a point before this sweep runs it."""
  results = _finished(plan.workdir / point.name, point)
  return Outcome('kept' if results else 'pending', results)


def _finished(folder: pathlib.Path, point: Point) -> Results | None:
  """The results of this very configuration, if they are there and whole."""
  try:
    results = read_json(folder / 'results.json')
  except (FileNotFoundError, ValueError):
    return None
  config = configuration.to_dict(point.config)
  return results if tables.get(results, 'config') == config else None


def _summary(outcome: Outcome) -> str:
  if outcome.results is None:
    return f': {outcome.error}'
  joint = measured.coherence(outcome.results, 0)
  likelihood = measured.log_likelihood(outcome.results)
  return (
    f'; joint coherence {tables.share(joint)}, log p(X) '
    f'{tables.nats(likelihood)}'
  )


def _tell(plan: Plan, outcomes: dict[str, Outcome]) -> None:
  """Writes sweep.json; processes that see other outcomes would part."""
  statuses = [outcome.status for outcome in outcomes.values()]
  hosts.check_same('what is finished', ' '.join(statuses))
  with hosts.together():
    if hosts.is_first():
      _write_json(plan, outcomes)


def _write_json(plan: Plan, outcomes: dict[str, Outcome]) -> None:
  sweep = plan.sweep
  tree = {
    'schema': 1,
    'name': sweep.name,
    'version': __version__,
    'command': plan.command,
    'base': sweep.base,
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


def _write_page(plan: Plan, outcomes: dict[str, Outcome]) -> None:
  sweep = plan.sweep
  points = _placed(plan, outcomes)
  pictures: dict[str, str] = {}
  if any(point.results for point in points):
    for name in sweep.figures:
      charts = FIGURES[name](points, sweep.axis)
      pictures |= _write_charts(plan.workdir, charts)
  page = sweep_page.page(
    title=sweep.title or sweep.name,
    points=points,
    axis=sweep.axis,
    figures=pictures,
    errors={n: o.error for n, o in outcomes.items() if o.status == 'failed'},
    command=plan.command,
  )
  write_atomically(plan.workdir / 'sweep.md', page)
  _log.info('page: %s', plan.workdir / 'sweep.md')


def _write_charts(
  workdir: pathlib.Path, charts: dict[str, Chart]
) -> dict[str, str]:
  """Path, relative to the workdir, to caption."""
  (workdir / 'figures').mkdir(exist_ok=True)
  captions = {}
  for name, chart in charts.items():
    path = f'figures/{file_name(name)}.png'
    figures.write_png(chart.png, workdir / path)
    captions[path] = chart.caption
  return captions
