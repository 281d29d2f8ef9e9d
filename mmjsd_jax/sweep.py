"""The command: python -m mmjsd_jax.sweep --config=configs/sweeps/<figure>.py.

Trains and evaluates one model in many settings, as populations where possible
and in turn otherwise, and draws the figure of a paper that compares them. A
point whose results are there is kept, one that was interrupted goes on from its
checkpoint, and one that fails does not stop the others.
"""

import sys

from mmjsd_jax.allocator import configure_allocator

configure_allocator()  # before JAX allocates

from absl import app, flags  # noqa: E402

from mmjsd_jax import command, sweep_run  # noqa: E402
from mmjsd_jax.interruption import Stopped, listen  # noqa: E402


def main(argv: list[str]) -> None:
  """Runs what the flags say; every foreseen error is one line."""
  command.log_to_stderr()
  command.use_compilation_cache()
  try:
    if len(argv) > 1:
      raise ValueError(f'unexpected arguments {argv[1:]}; flags need --')
    if not flags.FLAGS.config:
      raise ValueError('need --config=<file>, such as configs/sweeps/...')
    plan = sweep_run.prepare(
      flags.FLAGS.config,
      flags.FLAGS.workdir,
      command=' '.join(['python -m mmjsd_jax.sweep', *sys.argv[1:]]),
    )
  except (ValueError, OSError, ImportError) as error:
    command.exit_with(error)
  with listen() as interruption:
    try:
      outcomes = sweep_run.execute(plan, interruption)
    except Stopped as stop:
      interruption.exit(stop)
    except OSError as error:
      command.exit_with(error)
  if failed := [n for n, o in outcomes.items() if o.status == 'failed']:
    command.exit_with(
      f'{len(failed)} of {len(outcomes)} points failed: {", ".join(failed)}',
      status=1,
    )


def _parse_flags(argv: list[str]) -> list[str]:
  """absl's parser, with every error told in one line."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    command.exit_with(error)


def console() -> None:
  """Entry point of the command."""
  # Here, since `main` has flags of the same names.
  flags.DEFINE_string(
    'config', None, 'File of a sweep, such as configs/sweeps/mst_beta.py.'
  )
  flags.DEFINE_string(
    'workdir', None, 'Folder of the sweep. Default: runs/<name of the sweep>.'
  )
  app.run(main, flags_parser=_parse_flags)


if __name__ == '__main__':
  console()
