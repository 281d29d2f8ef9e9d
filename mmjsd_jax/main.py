"""The command: python -m mmjsd_jax.main --config=configs/polymnist.py."""

import difflib
import functools
import pathlib
import sys

from mmjsd_jax.allocator import configure_allocator

configure_allocator()  # before JAX allocates

import jax  # noqa: E402
from absl import app, flags  # noqa: E402
from ml_collections import config_flags  # noqa: E402

from mmjsd_jax import command, hosts, population, run, usage  # noqa: E402
from mmjsd_jax import config as configuration  # noqa: E402
from mmjsd_jax import job as jobs  # noqa: E402
from mmjsd_jax import workdir as workdirs  # noqa: E402
from mmjsd_jax.interruption import Stopped, listen  # noqa: E402
from mmjsd_jax.train import NonFiniteLoss  # noqa: E402
from mmjsd_jax.trained import CHECKPOINTS, SOURCES  # noqa: E402

MODES = ('train_and_evaluate', 'train', 'evaluate', *usage.OPTIONS)

_CONFIG = config_flags.DEFINE_config_file(
  'config', help_string='Configuration file, such as configs/polymnist.py.'
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run. Default: runs/<config name>.'
)
_MODE = flags.DEFINE_enum('mode', MODES[0], MODES, 'What to do.')
# Of the modes in which a trained model is used.
_OPTIONS = (
  flags.DEFINE_string('output', None, 'Where to write; must not exist yet.'),
  flags.DEFINE_string(
    'given',
    None,
    'generate: [m0+m2=]file.npz or folder, or m0=table,m2=table; none: see'
    ' --source.',
  ),
  flags.DEFINE_string(
    'inputs', None, 'embed: [m0+m2=]file.npz or folder, or m0=table,m2=table.'
  ),
  flags.DEFINE_list('targets', None, 'generate: modalities. Default: all.'),
  flags.DEFINE_integer(
    'num_samples', None, 'generate: draws, of each example if given.', 1
  ),
  flags.DEFINE_enum(
    'source', None, SOURCES, 'generate without --given: of z. Default: prior.'
  ),
  flags.DEFINE_integer('seed', None, 'generate: of the draws.', 0, 2**32 - 1),
  flags.DEFINE_enum('checkpoint', None, CHECKPOINTS, 'Default: final.'),
)
_DISTRIBUTED = flags.DEFINE_bool(
  'distributed', False, 'Several processes, found as on a TPU pod or by SLURM.'
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'Several processes: host:port of process 0.'
)
_NUM_PROCESSES = flags.DEFINE_integer(
  'num_processes', None, 'How many processes there are.', lower_bound=1
)
_PROCESS_ID = flags.DEFINE_integer(
  'process_id', None, 'Which of them this is, from 0.', lower_bound=0
)


def main(argv: list[str]) -> None:
  """Runs what the flags say; every foreseen error is one line."""
  command.use_compilation_cache()
  with listen(hosts.largest) as interrupted:
    try:
      _find_processes()
      command.log_to_stderr()
      with hosts.together():
        if len(argv) > 1:
          raise ValueError(f'unexpected arguments {argv[1:]}; flags need --')
        work = _prepared()
    except (ValueError, OSError, ImportError) as error:
      command.exit_with(error)
    try:
      work(interrupted)
    except Stopped as stop:
      interrupted.exit(stop)
    except (NonFiniteLoss, MemoryError, OSError) as error:
      command.exit_with(error)
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      command.exit_with(f'the device has not enough memory: {error}')


def _find_processes():
  processes = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  if _DISTRIBUTED.value or any(value is not None for value in processes):
    hosts.start(*processes)


def _prepared():
  """What does the work, which has been found possible."""
  mode = _MODE.value
  options = {option.name: option.value for option in _OPTIONS}
  options = usage.check_options(mode, options)
  if mode in usage.OPTIONS:
    return _use(options)
  config, workdir = _config_and_workdir()
  is_population = configuration.is_population(config)
  return (_population if is_population else _run)(config, workdir)


def _use(options):
  """What uses a trained model."""
  if _WORKDIR.value is None or not hosts.is_alone():
    raise ValueError(
      f'--mode={_MODE.value} needs --workdir=<folder of a run>, and one process'
    )
  trusted = workdirs.own_networks(_CONFIG.value)
  work = usage.prepare(
    _MODE.value, pathlib.Path(_WORKDIR.value), options, trusted=trusted
  )

  def execute(interrupted):
    try:
      work(interrupted)
    except ValueError as error:  # in the files, further down
      command.exit_with(error)

  return execute


def _run(config, workdir):
  """What executes a single run, which has been found possible."""
  job = jobs.prepare(config, workdir, mode=_MODE.value, command=_command())
  return functools.partial(run.execute, job)


def _population(config, workdir):
  """What executes a population, which has been found possible."""
  prepared = population.prepare(
    config, workdir, mode=_MODE.value, argv=sys.argv[1:]
  )

  def execute(interrupted):
    if failed := population.execute(prepared, interrupted):
      command.exit_with(
        f'{len(failed)} of {len(prepared.jobs)} members failed: '
        f'{", ".join(failed)}',
        status=1,
      )

  return execute


def _config_and_workdir():
  workdir = pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None
  config = _CONFIG.value
  if config is None:
    if _MODE.value != 'evaluate' or workdir is None:
      raise ValueError(
        'need --config=<file>, or --mode=evaluate --workdir=<folder of a run>'
      )
    config = workdirs.stored_config(workdir)
  if workdir is None:
    configuration.validate(config)  # its name becomes a folder
    workdir = pathlib.Path('runs', config.name)
  return config, workdir


def _parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, with every error told in one line."""
  try:
    return flags.FLAGS(argv)
  except (AttributeError, KeyError) as error:
    # ml_collections names only the part of the key that it did not find.
    command.exit_with(_unknown_key(argv) or error)
  except flags.Error as error:
    # An error in the config file comes with its traceback; its last line tells.
    *_, message = str(error).strip().splitlines()
    if _unknown_key(argv) is None and "flag 'config." in message:
      message += '; --config=<file> must stand before it'
    command.exit_with(message.removeprefix('ValueError: '))
  except (TypeError, ValueError, OSError) as error:
    command.exit_with(error)


def _unknown_key(argv: list[str]) -> str | None:
  """What is wrong with the first --config.<key> that there is not."""
  known = configuration.flatten(configuration.default().to_dict())
  for argument in argv:
    name = argument.lstrip('-').partition('=')[0]
    key = name.removeprefix('config.')
    if key != name and not any(k.startswith(key) for k in known):
      closest = max(known, key=functools.partial(_likeness, key))
      return f'unknown key {name}; the closest known one is config.{closest}'
  return None


def _likeness(key: str, known: str) -> tuple[float, float]:
  """By the last part first: the group may be missing, or be the error."""
  pairs = ((key.rpartition('.')[2], known.rpartition('.')[2]), (key, known))
  first, second = (difflib.SequenceMatcher(None, *p).ratio() for p in pairs)
  return first, second


def _command() -> str:
  return ' '.join(['python -m mmjsd_jax.main', *sys.argv[1:]])


def console() -> None:
  """Entry point of the `mmjsd-jax` script."""
  app.run(main, flags_parser=_parse_flags)


if __name__ == '__main__':
  console()
