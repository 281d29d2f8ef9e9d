"""A population: runs that differ in seeds and plain numbers, trained together.

It is a sweep whose points share data, model and compiled programs. Each has a
workdir of its own, as if it had been run alone; beside them stand what a sweep
has, and population.json, which says how many were trained in one program.
"""

import pathlib
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections

from mmjsd_jax import companions, grid, hosts, live_table, run, sweep_run
from mmjsd_jax import config as configuration
from mmjsd_jax import job as jobs
from mmjsd_jax.grid import Point, Sweep
from mmjsd_jax.interruption import Interruption
from mmjsd_jax.job import Job
from mmjsd_jax.number_lists import parse_numbers
from mmjsd_jax.run import TellFn
from mmjsd_jax.sweep_files import Plan
from mmjsd_jax.train import NonFiniteLoss


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
  made: dict[str, Job] = {}
  for point in plan.points:
    folder = workdir / point.name
    made[point.name] = jobs.prepare_beside(
      next(iter(made.values()), None),
      point.config,
      folder,
      mode=mode,
      command=_command(_alone(argv, point, folder)),
    )
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
  with sweep_run.claimed(plan) as outcomes, live_table.shown() as tell_fn:
    pending = {
      name: job
      for name, job in population.jobs.items()
      if outcomes[name].status == 'pending'
    }
    failed: dict[str, NonFiniteLoss] = {}
    if hosts.is_alone():  # several processes share each member
      failed = companions.train(
        pending,
        plan.workdir / 'population.json',
        interruption,
        together=population.together,
        tell_fn=tell_fn,
      )
    if next(iter(population.jobs.values())).mode == 'train':
      return _train_others(pending, failed, interruption, tell_fn)

    def prepare_fn(point: Point) -> Job:
      if point.name in failed:
        raise failed[point.name]
      return pending[point.name]

    sweep_run.run_points(plan, outcomes, prepare_fn, interruption, tell_fn)
  return {
    name: outcome.error
    for name, outcome in outcomes.items()
    if outcome.status == 'failed'
  }


def _train_others(
  pending: dict[str, Job],
  failed: dict[str, NonFiniteLoss],
  interruption: Interruption,
  tell_fn: TellFn | None,
) -> dict[str, str]:
  """Trains who is left, each by itself."""
  for name, job in pending.items():
    if name not in failed:
      try:
        run.execute(job, interruption, tell_fn)
      except NonFiniteLoss as error:
        failed[name] = error
  return {name: str(error) for name, error in failed.items()}


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
