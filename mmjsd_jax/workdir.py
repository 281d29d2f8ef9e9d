"""A run's folder: run.json says which configuration and data it belongs to.

Beside it stand metrics.jsonl, tensorboard/, checkpoints/ and, at the end,
results.json, report.html and figures/.
"""

import pathlib
import tempfile
from typing import Any

import ml_collections

from mmjsd_jax import config as configuration
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.files import read_json, write_json
from mmjsd_jax.journal import read_metrics


def check(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, mode: str
) -> None:
  """Refuses a folder that cannot be written or holds another run.

  Raises:
    ValueError: another run, with what differs, or other files, or damaged ones.
    FileNotFoundError: `mode` is 'evaluate' and there is no run.
    OSError: a folder that cannot be written.
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
  if not (workdir / 'run.json').exists():
    if workdir.exists() and any(workdir.iterdir()):
      raise ValueError(
        f'workdir must be empty or hold a run of this program; {workdir} '
        f'holds {sorted(path.name for path in workdir.iterdir())[:5]}'
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


def claim(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  dataset: Dataset,
  mode: str,
) -> None:
  """Writes run.json, or compares the data with those that the run began on.

  Raises:
    ValueError: the run began on other data.
    OSError: run.json cannot be written.
  """
  data = {'source': dataset.source, 'fingerprint': dataset.fingerprint}
  if (workdir / 'run.json').exists():
    began = _stored_run(workdir)['data']
    if began['fingerprint'] != data['fingerprint']:
      raise ValueError(
        f'{workdir} holds a run on other data: {began["source"]}; now: '
        f'{data["source"]}'
      )
  if mode != 'evaluate':
    run = {'config': configuration.to_dict(config), 'data': data}
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / 'run.json', run)


def stored_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The configuration of the run in `workdir`.

  Raises:
    FileNotFoundError: there is no run.
    ValueError: run.json is damaged, or has keys or values of other kinds.
  """
  path, stored = workdir / 'run.json', _stored_run(workdir)['config']
  try:
    config = configuration.from_dict(stored)
    configuration.validate(config)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None
  return config


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
