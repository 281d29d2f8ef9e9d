"""A run's folder: run.json says which configuration and data it belongs to.

Beside it stand metrics.jsonl, tensorboard/, checkpoints/ and, at the end,
results.json, report.html, figures/ and perhaps sampler.npz. One process at a
time works in it: it holds .lock, which the system lets go of when the process
ends, however it ends.
"""

import contextlib
import fcntl
import logging
import os
import pathlib
import platform
import tempfile
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import ml_collections

from mmjsd_jax import config as configuration
from mmjsd_jax import hosts
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.data.declaration import (
  ModalitySpec,
  check_spec,
  from_json,
  from_tree,
  named_networks,
  to_tree,
)
from mmjsd_jax.files import naming, read_json, write_json
from mmjsd_jax.journal import read_metrics

_log = logging.getLogger(__name__)

LOCK = '.lock'


def check(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, mode: str
) -> None:
  """Refuses a folder that cannot be written, is in use or holds another run.

  Raises:
    ValueError: another run, with what differs, or other files, or damaged ones.
    FileNotFoundError: `mode` is 'evaluate' and there is no run.
    OSError: a folder that cannot be written or in which a process works.
  """
  if mode == 'evaluate':
    _stored_run(workdir)
  read_metrics(workdir)
  try:
    # The folder itself is made when the run has been found possible.
    folder = next(f for f in (workdir, *workdir.parents) if f.exists())
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise OSError(
      f'workdir must be a folder that can be written; {workdir}: '
      f'{error.strerror}'
    ) from None
  if hosts.is_first() and (workdir / LOCK).exists():
    with locked(workdir):
      pass
  _check_run(workdir, config)


def check_data(workdir: pathlib.Path, dataset: Dataset) -> None:
  """Refuses other data than those that the run in `workdir` began on.

  Raises:
    ValueError: see above.
  """
  if not (workdir / 'run.json').exists():
    return
  began = _stored_run(workdir)['data']
  if began['fingerprint'] != dataset.fingerprint:
    raise ValueError(
      f'{workdir} holds a run on other data: {began["source"]}; now: '
      f'{dataset.source}'
    )


@contextlib.contextmanager
def claimed(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  dataset: Dataset,
  mode: str,
  *,
  gaps: Sequence[str] = (),
) -> Iterator[None]:
  """Holds the folder for this program alone, with run.json written.

  `gaps` are the modalities that some training tuples lack. Of several processes
  the first one holds it for all.

  Raises:
    OSError: another program holds it or has, since `check`, begun another run
      in it; or it cannot be written; or the processes were given other runs.
  """
  hosts.check_same('config', str(configuration.to_dict(config)))
  hosts.check_same('data', dataset.fingerprint)
  with contextlib.ExitStack() as stack:
    with hosts.together():
      if hosts.is_first():
        stack.enter_context(_claimed(workdir, config, dataset, mode, gaps))
    yield


@contextlib.contextmanager
def _claimed(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  dataset: Dataset,
  mode: str,
  gaps: Sequence[str],
) -> Iterator[None]:
  workdir.mkdir(parents=True, exist_ok=True)
  with locked(workdir):
    try:
      _check_run(workdir, config)
      check_data(workdir, dataset)
    except ValueError as error:
      raise FileExistsError(str(error)) from None
    if mode != 'evaluate':
      data = {
        'source': dataset.source,
        'substituted': dataset.substituted,
        'modalities': list(dataset.modalities),
        'fingerprint': dataset.fingerprint,
        'specs': [to_tree(spec) for spec in dataset.specs],
        'gaps': list(gaps),
      }
      run = {'config': configuration.to_dict(config), 'data': data}
      write_json(workdir / 'run.json', run)
    yield


def stored_config(
  workdir: pathlib.Path, *, trusted: Collection[str] = ()
) -> ml_collections.ConfigDict:
  """The configuration of the run in `workdir`.

  Args:
    workdir: of the run.
    trusted: networks of the user's own, 'package.module:function', that may be
      imported if the run has them, which runs their code.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: run.json is damaged, or has keys or values of other kinds, or
      names networks that are not trusted.
  """
  path, stored = workdir / 'run.json', _stored_run(workdir)['config']
  try:
    config = configuration.from_dict(stored)
    configuration.validate(config)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None
  if config.data.declaration:
    _check_trusted(path, from_json(config.data.declaration).specs, trusted)
  return config


def stored_data(workdir: pathlib.Path) -> dict[str, Any]:
  """What the run in `workdir` knows of its data without having them.

  Returns:
    'source' and 'substituted' as of Dataset, 'modalities' in their order, and
    'gaps', those of them that some training tuples lack.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: run.json is damaged, or of a version that stored less.
  """
  data = {'substituted': None, 'gaps': []} | _stored_run(workdir)['data']
  for key in ('modalities', 'gaps'):
    names = data.get(key)
    if not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
      raise ValueError(
        f'{workdir / "run.json"} must name the modalities in data.{key}; '
        f'got {names!r}. The training command, given once more, stores them'
      )
  return data


def stored_specs(
  workdir: pathlib.Path, *, trusted: Collection[str] = ()
) -> tuple[ModalitySpec, ...]:
  """What the modalities are, if the run in `workdir` is on users' own data.

  With the shapes, means and standard deviations that training found, so that
  a model needs no data; () of other data sets.

  Args:
    workdir: of the run.
    trusted: as of `stored_config`.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: run.json is damaged, or names networks that are not trusted.
  """
  trees = _stored_run(workdir)['data'].get('specs', [])
  place = f'{workdir / "run.json"}: data.specs'
  try:
    if not isinstance(trees, list):
      raise ValueError(f'{place} must be a list; got {trees!r}')
    specs = tuple(from_tree(ModalitySpec, tree, place) for tree in trees)
    for spec in specs:
      check_spec(spec)
  except ValueError as error:
    raise ValueError(f'{place}: {error}') from None
  _check_trusted(workdir / 'run.json', specs, trusted)
  return specs


def own_networks(
  config: ml_collections.ConfigDict | None,
) -> tuple[str, ...]:
  """The networks that a user's configuration names, and so trusts."""
  if config is None or not config.data.declaration:
    return ()
  return named_networks(from_json(config.data.declaration).specs)


def _check_trusted(
  path: pathlib.Path, specs: Sequence[ModalitySpec], trusted: Collection[str]
) -> None:
  named = named_networks(specs)
  if strange := [name for name in named if name not in trusted]:
    raise ValueError(
      f'{path} names {strange}, code that would be imported and run: give '
      '--config=<file> of your own, which names it, too'
    )


def _check_run(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> None:
  if not (workdir / 'run.json').exists():
    names = (
      sorted(p.name for p in workdir.iterdir()) if workdir.exists() else []
    )
    # What a process that was killed at once may leave.
    names = [n for n in names if n != LOCK and not n.endswith('.partial')]
    if names:
      raise ValueError(
        f'workdir must be empty or hold a run of this program; {workdir} '
        f'holds {names[:5]}'
      )
    return
  changed = configuration.differences(
    _stored_run(workdir)['config'], configuration.to_dict(config)
  )
  if changed:
    raise ValueError(
      f'{workdir} holds a run of another configuration; choose another '
      f'--workdir. It differs in {"; ".join(changed)}'
    )


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
  """Holds a folder for this process alone.

  Raises:
    OSError: another process holds it, or it cannot be written.
  """
  with (workdir / LOCK).open('a+', encoding='utf-8') as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      raise BlockingIOError(
        f'{workdir} is in use by {file.read()}; wait for it, or choose another '
        '--workdir'
      ) from None
    except OSError as error:
      _log.warning(
        '%s lies where files cannot be locked (%s): see to it that no second '
        'run is started on it',
        workdir,
        error.strerror,
      )
    with naming(workdir / LOCK):
      file.truncate(0)
      file.write(f'process {os.getpid()} on {platform.node()}')
      file.flush()
    yield


def _stored_run(workdir: pathlib.Path) -> dict[str, Any]:
  path = workdir / 'run.json'
  if not path.exists():
    raise FileNotFoundError(f'{workdir} holds no run: {path.name} is missing')
  try:
    run = read_json(path)
    # What is read below: fails here if it is not there.
    run['config'].items(), run['data']['source'], run['data']['fingerprint']
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(
      f'{path} must hold the config and the data of a run; it is damaged: '
      f'{error!r}'
    ) from None
  return run
