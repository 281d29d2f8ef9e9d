"""The points of a sweep, run; those that can be as populations.

In the workdir stand, beside a folder for every point, sweep.json, sweep.html
and figures/.
"""

import contextlib
import logging
import pathlib
import time
from collections.abc import Callable, Iterator

import jax

from mmjsd_jax import (
  companions,
  grid,
  hosts,
  live_table,
  run,
  sweep_files,
  tables,
)
from mmjsd_jax import config as configuration
from mmjsd_jax import job as jobs
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.files import file_name, read_json
from mmjsd_jax.grid import Point, Sweep
from mmjsd_jax.interruption import Interruption, Stopped
from mmjsd_jax.job import Job
from mmjsd_jax.run import TellFn
from mmjsd_jax.sweep_files import FIGURES, Outcome, Plan
from mmjsd_jax.tables import Results
from mmjsd_jax.train import NonFiniteLoss

_log = logging.getLogger(__name__)


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
    sweep_files.place(plan.sweep, point)
  for name in plan.sweep.figures:
    if name not in FIGURES:
      raise ValueError(f'expected figures of {tuple(FIGURES)}, got {name!r}')
  _check_workdir(plan.workdir, plan.sweep)


def execute(
  plan: Plan, interruption: Interruption | None = None
) -> dict[str, Outcome]:
  """Runs the points; writes sweep.json and the page after each, then figures.

  Those that differ in the numbers of a population alone follow each other:
  they share data and compiled programs, and are trained together where that is
  faster.

  Raises:
    Stopped: interrupted; the same sweep goes on.
    OSError: another process works in the workdir, or sweep.json, figures or
      page cannot be written. What fails at a point is in its outcome.
  """
  interruption = interruption or Interruption()
  with claimed(plan) as outcomes, live_table.shown() as tell_fn:
    prepare_fn = _Companies(plan, outcomes, interruption, tell_fn)
    run_points(plan, outcomes, prepare_fn, interruption, tell_fn)
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
  interruption: Interruption,
  tell_fn: TellFn | None = None,
) -> None:
  """Runs the points that are pending, those of a population one by one.

  Args:
    plan: the sweep.
    outcomes: of `claimed`; changed.
    prepare_fn: the job of a point.
    interruption: asked where work can stop.
    tell_fn: told what every point is at, where there is a live table.

  Raises:
    Stopped, OSError: see `execute`.
  """
  in_order = _by_population(plan.points)
  if tell_fn:
    for point in in_order:
      tell_fn(point.name, sweep_files.state(outcomes[point.name]))
  for index, point in enumerate(in_order):
    clock = time.monotonic()
    outcome = outcomes[point.name]
    if outcome.status == 'pending':
      outcome = _run_point(plan, point, prepare_fn, interruption, tell_fn)
      outcomes[point.name] = outcome
      _tell(plan, outcomes)
      _write_page(plan, outcomes)
      if tell_fn:
        tell_fn(point.name, sweep_files.state(outcome))
    _log.info(
      'point %d of %d, %s: %s in %s%s',
      index + 1,
      len(plan.points),
      point.name,
      outcome.status,
      tables.duration(time.monotonic() - clock),
      sweep_files.summary(outcome),
    )
  _write_page(plan, outcomes, is_last=True)


def _write_page(
  plan: Plan, outcomes: dict[str, Outcome], *, is_last: bool = False
) -> None:
  with hosts.together():
    if hosts.is_first():
      sweep_files.write_page(plan, outcomes, is_last=is_last)


def _by_population(points: list[Point]) -> list[Point]:
  """Points that may be a population behind each other, as first met."""
  first = list(dict.fromkeys(map(grid.population, points)))
  return sorted(points, key=lambda point: first.index(grid.population(point)))


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


class _Companies:
  """The jobs of points, of which those of a population share model and data.

  With the first point of a population all that are pending are made, and
  trained together where that is faster; each then goes on from what that left.
  """

  def __init__(
    self,
    plan: Plan,
    outcomes: dict[str, Outcome],
    interruption: Interruption,
    tell_fn: TellFn | None,
  ):
    self._plan = plan
    self._outcomes = outcomes
    self._interruption = interruption
    self._tell_fn = tell_fn
    self._name: str | None = None
    self._jobs: dict[str, Job] = {}
    self._failed: dict[str, Exception] = {}

  def __call__(self, point: Point) -> Job:
    """The point's job; what it failed of is raised."""
    if grid.population(point) != self._name:
      self._begin(grid.population(point))
    if point.name in self._failed:
      raise self._failed[point.name]
    return self._jobs[point.name]

  def _begin(self, name: str) -> None:
    # Programs of one population are of no use to the next, and fill the memory.
    jax.clear_caches()
    self._name, self._jobs, self._failed = name, {}, {}
    for point in self._plan.points:
      is_pending = self._outcomes[point.name].status == 'pending'
      if grid.population(point) == name and is_pending:
        try:
          self._jobs[point.name] = self._prepare(point)
        except Exception as error:  # others may well work
          self._failed[point.name] = error
    training = [job.training for job in self._jobs.values()]
    # Several processes share each point, and a stream is read by one run.
    if len(training) > 1 and hosts.is_alone():
      if isinstance(training[0], Split):
        self._train_together(name)

  def _prepare(self, point: Point) -> Job:
    folder = self._plan.workdir / point.name
    return jobs.prepare_beside(
      next(iter(self._jobs.values()), None),
      point.config,
      folder,
      mode='train_and_evaluate',
      command=grid.command(self._plan.sweep, point, folder),
    )

  def _train_together(self, name: str) -> None:
    path = self._plan.workdir / f'{file_name(name)}.population.json'
    try:
      self._failed |= companions.train(
        self._jobs, path, self._interruption, tell_fn=self._tell_fn
      )
    except Stopped:
      raise
    except Exception as error:  # a point by itself may well work
      _log.warning(
        '%s: not trained together but in turn: %s',
        name,
        ' '.join(repr(error).split()),
      )


def _run_point(
  plan: Plan,
  point: Point,
  prepare_fn: Callable[[Point], Job],
  interruption: Interruption,
  tell_fn: TellFn | None,
) -> Outcome:
  folder = plan.workdir / point.name
  _log.info('%s begins', point.name)
  try:
    run.execute(prepare_fn(point), interruption, tell_fn)
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


def _tell(plan: Plan, outcomes: dict[str, Outcome]) -> None:
  """Writes sweep.json; processes that see other outcomes would part."""
  statuses = [outcome.status for outcome in outcomes.values()]
  hosts.check_same('what is finished', ' '.join(statuses))
  with hosts.together():
    if hosts.is_first():
      sweep_files.write_numbers(plan, outcomes)
