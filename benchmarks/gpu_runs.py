"""Whole runs by the command line, timed from its start to its end.

For benchmarks/gpu.py.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import gpu_data

ROOT = pathlib.Path(__file__).resolve().parent.parent
GRACE_SECONDS = 30


class Run(NamedTuple):
  """A run of the papers' length, or as much of it as there was time for."""

  data: str
  seconds: float  # of the command, from nothing to its end
  training_seconds: float  # with the last compilation, as the run counts them
  step: int  # the last
  finished: bool  # within its time
  samples_per_second: float  # the median line of metrics
  loss: float  # the last


class Failed(Exception):
  """The command ended with an error."""


def measure(
  config: str, *changes: str, seconds: float, scale: int = 1
) -> tuple[Run, str]:
  """Trains by `config`, for at most so many seconds.

  Compiled programs are not taken from an earlier run.

  Args:
    config: such as 'configs/polymnist.py:paper'.
    *changes: further arguments.
    seconds: then it gets SIGTERM.
    scale: noise in place of the data has so many times fewer examples.

  Returns:
    What was measured, and the command.

  Raises:
    Failed: with the command's last line.
  """
  dataset = pathlib.Path(config.partition(':')[0]).stem
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    environment = os.environ | {'MMJSD_CACHE_DIR': str(folder / 'cache')}
    environment['PYTHONPATH'] = os.pathsep.join(
      filter(None, (str(ROOT), os.environ.get('PYTHONPATH')))
    )
    # The first is for the process that measures, and not for a user's run.
    for variable in (
      'XLA_PYTHON_CLIENT_PREALLOCATE',
      'JAX_COMPILATION_CACHE_DIR',
    ):
      environment.pop(variable, None)
    data = 'noise in place of the data set'
    if gpu_data.is_at_hand(dataset):
      data = f'the data set in {os.environ["MMJSD_DATA_DIR"]}'
    else:
      data += ', of its shapes and numbers' if scale == 1 else ', a little'
      gpu_data.write_files(dataset, folder, scale)
      environment['MMJSD_DATA_DIR'] = name
    arguments = ['--mode=train', f'--config={config}', *changes]
    command = ['-m', 'mmjsd_jax.main', *arguments]
    begin = time.monotonic()
    finished = _execute(
      [sys.executable, *command, f'--workdir={folder / "run"}'],
      environment,
      seconds,
    )
    took = time.monotonic() - begin
    run = _read(folder / 'run', data, took, finished)
    return run, ' '.join(['python', *command])


def _execute(
  command: list[str], environment: dict[str, str], seconds: float
) -> bool:
  """Whether the command came to its end."""
  with tempfile.TemporaryFile('w+') as log:
    process = subprocess.Popen(
      command, cwd=ROOT, env=environment, stdout=log, stderr=log
    )
    try:
      status = process.wait(seconds)
    except subprocess.TimeoutExpired:
      process.terminate()
      try:
        status = process.wait(GRACE_SECONDS)
      except subprocess.TimeoutExpired:
        process.kill()
        status = process.wait()
    # Negative: the signal came before the run listened.
    if status not in (0, 128 + signal.SIGTERM, -signal.SIGTERM):
      log.seek(0)
      *_, last = [line.strip() for line in log if line.strip()] or ['']
      raise Failed(f'status {status}: {last}')
  return status == 0


def _read(
  workdir: pathlib.Path, data: str, seconds: float, finished: bool
) -> Run:
  # Of members together, those of one.
  path = next(workdir.rglob('metrics.jsonl'), None)
  lines = path.read_text().splitlines() if path else []
  if not lines:
    raise Failed(f'no line of metrics within {seconds:.0f} s')
  metrics = [json.loads(line) for line in lines]
  return Run(
    data,
    seconds,
    metrics[-1]['seconds'],
    metrics[-1]['step'],
    finished,
    statistics.median(line['samples_per_second'] for line in metrics),
    metrics[-1]['loss'],
  )
