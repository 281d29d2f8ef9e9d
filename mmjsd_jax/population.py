"""A population: runs that differ in seeds and plain numbers, trained together.

It is a sweep whose points share data, model and compiled programs. Each has a
workdir of its own, as if it had been run alone; beside them stand what a sweep
has, and population.json, which says how many were trained in one program.
"""

import contextlib
import logging
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from mmjsd_jax import config as configuration
from mmjsd_jax import grid, hosts, run, sweep_run
from mmjsd_jax import job as jobs
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.files import read_json, write_json
from mmjsd_jax.grid import Point, Sweep
from mmjsd_jax.interruption import Interruption
from mmjsd_jax.job import Job
from mmjsd_jax.number_lists import parse_numbers
from mmjsd_jax.sweep_run import Plan
from mmjsd_jax.together import choose_together, device_limit, foretell
from mmjsd_jax.train import NonFiniteLoss

_log = logging.getLogger(__name__)


class Population(NamedTuple):
  """A population that has been found possible."""

  plan: Plan
  jobs: dict[str, Job]  # by the name of the member; model and data are shared
  together: int  # members in one program; 0 is to be measured


def prepare(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  mode: str,
  argv: Sequence[str],
) -> Population:
  """Checks everything that can be checked before any work is done.

  Args:
    config: with lists of numbers in config.population.
    workdir: of the population.
    mode: 'train_and_evaluate' or 'train'.
    argv: arguments of the command.

  Raises:
    ValueError: a configuration that cannot work, data that are not what they
      should be, or a workdir that holds something else.
    OSError: files that are missing or cannot be read or written.
  """
  if mode == 'evaluate':
    raise ValueError(
      'a population is evaluated behind its training; to measure a member '
      'again, give --mode=evaluate and --workdir=<folder of the member>'
    )
  configuration.validate(config)
  if config.population.together > 1 and not hosts.is_alone():
    raise ValueError(
      'config.population.together must be 0 or 1 with several processes, which '
      f'train members in turn; got {config.population.together}'
    )
  sweep = _sweep(config)
  plan = Plan(
    sweep,
    grid.points(sweep, configuration.without_population(config)),
    workdir,
    _command(argv),
  )
  sweep_run.check(plan)
  first: Job | None = None
  made: dict[str, Job] = {}
  for point in plan.points:
    folder = workdir / point.name
    command = _command(_alone(argv, point, folder))
    if first is None:
      job = first = jobs.prepare(
        point.config, folder, mode=mode, command=command
      )
    else:
      job = jobs.with_numbers(first, point.config, folder, command)
    made[point.name] = job
  return Population(plan, made, config.population.together)


def execute(
  population: Population, interruption: Interruption
) -> dict[str, str]:
  """Trains the members, evaluates each, and writes the page about all.

  Args:
    population: of `prepare`.
    interruption: asked where work can stop.

  Returns:
    Name of a member that failed to why.

  Raises:
    Stopped: interrupted; the same population goes on.
    MemoryError: so many members do not fit on the device together.
    OSError: a workdir is in use, or something cannot be written.
  """
  plan = population.plan
  with sweep_run.claimed(plan) as outcomes:
    pending = {
      name: job
      for name, job in population.jobs.items()
      if outcomes[name].status == 'pending'
    }
    failed: dict[str, NonFiniteLoss] = {}
    if hosts.is_alone():  # several processes share each member
      failed = _train_together(population, pending, interruption)
    if next(iter(population.jobs.values())).mode == 'train':
      return _train_others(pending, failed, interruption)

    def prepare_fn(point: Point) -> Job:
      if point.name in failed:
        raise failed[point.name]
      return pending[point.name]

    sweep_run.run_points(plan, outcomes, prepare_fn, interruption)
  return {
    name: outcome.error
    for name, outcome in outcomes.items()
    if outcome.status == 'failed'
  }


def _train_together(
  population: Population, pending: dict[str, Job], interruption: Interruption
) -> dict[str, NonFiniteLoss]:
  """Trains those that are trained together; the name of who failed to why."""
  path = population.plan.workdir / 'population.json'
  notes = _read(path)
  waiting = {
    name: job
    for name, job in pending.items()
    # Who was taken out is tried again by itself.
    if name not in notes['alone'] and not _is_trained(job)
  }
  failed: dict[str, NonFiniteLoss] = {}
  if not waiting:
    return failed
  job, *_ = waiting.values()
  together = population.together or notes['together']
  if job.settings.non_finite == 'restore':
    together = 1  # a member goes back by itself
  if not together:
    settings = [job.settings for job in waiting.values()]
    together = choose_together(job.model, settings, job.resident)
  notes['together'] = together
  write_json(path, notes)
  _log.info(
    '%d members to train, %s',
    len(waiting),
    'in turn' if together == 1 else f'{together} together',
  )
  for group in _groups(waiting, together):
    if len(group) == 1:
      continue  # as a run by itself
    _check_memory([waiting[name] for name in group])
    errors = run.train_members([waiting[name] for name in group], interruption)
    failed |= {group[index]: error for index, error in errors.items()}
    notes['alone'] += [group[index] for index in errors]
    write_json(path, notes)
  return failed


def _groups(waiting: dict[str, Job], together: int) -> list[list[str]]:
  """Names of at most so many, with a checkpoint of the same step or none."""
  groups: list[tuple[list[str], set[int]]] = []
  for name, job in waiting.items():
    steps = set(_steps(job))
    for group, common in groups:
      if len(group) < together and (common & steps or common == steps):
        group.append(name)
        common &= steps
        break
    else:
      groups.append(([name], steps))
  return [group for group, _ in groups]


def _train_others(
  pending: dict[str, Job],
  failed: dict[str, NonFiniteLoss],
  interruption: Interruption,
) -> dict[str, str]:
  """Trains who is left, each by itself."""
  for name, job in pending.items():
    if name not in failed:
      try:
        run.execute(job, interruption)
      except NonFiniteLoss as error:
        failed[name] = error
  return {name: str(error) for name, error in failed.items()}


def _check_memory(group: Sequence[Job]) -> None:
  settings = [job.settings for job in group]
  forecast = foretell(group[0].model, settings, group[0].resident)
  limit = device_limit()
  needs = (
    f'{len(group)} members together need {_gb(forecast.total)} of the '
    f"device's {_gb(limit)}: {_gb(forecast.states)} of states, "
    f'{_gb(forecast.copies)} of copies for checkpoints, {_gb(forecast.data)} '
    f'of data, {_gb(forecast.temporaries)} of temporary arrays, '
    f'{_gb(forecast.host)} of the host'
  )
  if forecast.total > limit:
    num_devices = len(group) // forecast.num_members
    most = num_devices * forecast.most_members(limit)
    raise MemoryError(
      f'{needs}; config.population.together must be at most {most}'
      if most
      else f'{needs}; not even one fits'
    )
  _log.info('%s', needs)


def _is_trained(job: Job) -> bool:
  return max(_steps(job), default=0) >= job.settings.num_steps


def _steps(job: Job) -> tuple[int, ...]:
  with contextlib.closing(Checkpoints(job.workdir)) as checkpoints:
    return checkpoints.steps()


def _read(path: pathlib.Path) -> dict[str, Any]:
  """population.json: members in one program, and those trained by themselves.

  Raises:
    OSError: it is damaged.
  """
  if not path.exists():
    return {'together': 0, 'alone': []}
  try:
    notes = read_json(path)
    return {'together': int(notes['together']), 'alone': list(notes['alone'])}
  except (ValueError, TypeError, KeyError) as error:
    raise OSError(
      f'{path} must hold how members are trained; it is damaged: {error!r}; '
      'remove it to choose anew'
    ) from None


def _sweep(config: ml_collections.ConfigDict) -> Sweep:
  """The same as a sweep; always along beta, which the page's figures show."""
  lists: dict[str, Sequence[Any]] = {
    key: parse_numbers(config.population[name]) or (_value(config, key),)
    for name, key in configuration.POPULATION_KEYS.items()
    if config.population[name] or name in ('seed', 'beta')
  }
  seeds = lists.pop('seed')
  betas = lists['objective.beta']
  return Sweep(
    name=config.name,
    base=config.name,
    grid={key: tuple(map(float, numbers)) for key, numbers in lists.items()},
    axis='beta',
    figures=('trade_off', 'ablation') if len(betas) > 1 else ('trade_off',),
    seeds=seeds,
    title=f'Population {config.name}',
  )


def _value(config: ml_collections.ConfigDict, key: str) -> Any:
  return configuration.flatten(config.to_dict())[key]


def _command(argv: Sequence[str]) -> str:
  return shlex.join(['python', '-m', 'mmjsd_jax.main', *argv])


def _alone(
  argv: Sequence[str], point: Point, workdir: pathlib.Path
) -> list[str]:
  """The arguments that train and evaluate one member by itself."""
  kept, is_value = [], False
  for argument in argv:
    name, has_value, _ = argument.lstrip('-').partition('=')
    if is_value:
      is_value = False
    elif name == 'workdir' or name.startswith('config.population.'):
      is_value = not has_value
    else:
      kept.append(argument)
  settings = (f'--config.{k}={value}' for k, value in point.settings.items())
  return [*kept, *settings, f'--workdir={workdir}']


def _gb(num_bytes: int) -> str:
  return f'{num_bytes / 1e9:.2f} GB'
