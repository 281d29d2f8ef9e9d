"""The modes in which a trained model is used, and the options of each."""

import functools
import logging
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mmjsd_jax import embedding, export, generation
from mmjsd_jax.interruption import Interruption
from mmjsd_jax.trained import Trained, load

_log = logging.getLogger(__name__)

WorkFn = Callable[[Interruption], None]

# Mode -> options that it takes -> their defaults; None must be given.
OPTIONS: dict[str, dict[str, Any]] = {
  'generate': {
    'output': None,
    'given': '',
    'targets': [],
    'num_samples': 1,
    'source': 'prior',
    'seed': 0,
    'checkpoint': 'final',
  },
  'embed': {'output': None, 'inputs': None, 'checkpoint': 'final'},
  'export': {'output': None, 'checkpoint': 'final'},
}


def check_options(mode: str, options: Mapping[str, Any]) -> dict[str, Any]:
  """The options of a mode, with its defaults.

  Args:
    mode: any, also one in which no trained model is used.
    options: name -> value, None where it was not given.

  Raises:
    ValueError: one that the mode does not have, or lacks.
  """
  known = OPTIONS.get(mode, {})
  given = {name: x for name, x in options.items() if x is not None}
  if strange := [name for name in given if name not in known]:
    raise ValueError(
      f'--mode={mode} takes {_flags(known) or "none of these"}; got '
      f'{_flags(strange)}'
    )
  complete = known | given
  if missing := [name for name, x in complete.items() if x is None]:
    raise ValueError(f'--mode={mode} needs {_flags(missing)}')
  return complete


def prepare(
  mode: str,
  workdir: pathlib.Path,
  options: Mapping[str, Any],
  *,
  trusted: Collection[str] = (),
) -> WorkFn:
  """What does the work, which has been found possible.

  Args:
    mode: of OPTIONS.
    workdir: of the run.
    options: of `check_options`.
    trusted: as of `trained.load`.

  Raises:
    ValueError: what was told cannot be done.
    OSError: a file that is missing or cannot be read or written.
  """
  told = dict(options)
  model = load(workdir, told.pop('checkpoint'), trusted=trusted)
  _log.info('%s, step %d', workdir, model.step)
  if mode == 'export':
    return functools.partial(_export, model, workdir, **told)
  module: Any = {'generate': generation, 'embed': embedding}[mode]
  return functools.partial(_write, module, module.prepare(model, **told))


def _write(module: Any, job: Any, interruption: Interruption) -> None:
  module.execute(job, interruption.check)
  _log.info('%d rows: %s', job.num_rows, job.output)


def _export(
  model: Trained,
  workdir: pathlib.Path,
  interruption: Interruption,
  *,
  output: str,
) -> None:
  del interruption
  export.export(model, workdir, pathlib.Path(output))
  _log.info('export: %s', output)


def _flags(names: Collection[str]) -> str:
  return ', '.join(f'--{name}' for name in names)
