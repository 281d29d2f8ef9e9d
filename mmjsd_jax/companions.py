"""Runs that differ in plain numbers alone, trained in one program or in turn.

How many are trained in one program is noted in a file, so that the same runs go
on together; so is who was taken out, and is tried again by itself.
"""

import contextlib
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmjsd_jax import run
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.files import read_json, write_json
from mmjsd_jax.interruption import Interruption
from mmjsd_jax.job import Job
from mmjsd_jax.run import TellFn
from mmjsd_jax.together import choose_together, device_limit, foretell
from mmjsd_jax.train import NonFiniteLoss

_log = logging.getLogger(__name__)


def train(
  pending: Mapping[str, Job],
  path: pathlib.Path,
  interruption: Interruption,
  *,
  together: int = 0,
  tell_fn: TellFn | None = None,
) -> dict[str, NonFiniteLoss]:
  """Trains those that are trained together; others are left to `run.execute`.

  Args:
    pending: jobs of equal model and data, by the names of their folders.
    path: of the file of notes.
    interruption: asked where work can stop.
    together: how many in one program; 0 is as noted, else to be measured.
    tell_fn: of `run.train_members`.

  Returns:
    Who was taken out to why.

  Raises:
    Stopped: interrupted; the same jobs go on.
    MemoryError: so many do not fit on the device together.
    OSError: a workdir is in use, or something cannot be written.
  """
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
  together = together or notes['together']
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
    errors = run.train_members(
      [waiting[name] for name in group], interruption, tell_fn
    )
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


def _gb(num_bytes: int) -> str:
  return f'{num_bytes / 1e9:.2f} GB'
