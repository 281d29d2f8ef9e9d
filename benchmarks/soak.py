"""Trains for a long time and watches what must not grow.

  python benchmarks/soak.py --minutes=60 --picture=soak.png

Once a second: resident memory, the arrays that JAX holds on the device, the
number of compiled programs, the number of checkpoints. What comes before the
third checkpoint, and the first tenth of the time, warms up. The exit status is
1 if, from the first half of the rest to the second, memory grows by more than a
share of --growth, if a program is compiled, or if there are ever more
checkpoints than are to be kept, with one that has just been written. Of a half
the median counts. The arrays have grown where their least and their most have:
a checkpoint on its way to the disk holds a second copy, for all of a half where
they come every second and the disk is slow, and for none of the other.

A checkpoint comes every --every steps; the papers' protocol has 2,340. Orbax
keeps some memory at every save, which many saves in a short time show.
"""

import argparse
import os
import pathlib
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import jax  # noqa: E402
import ml_collections  # noqa: E402
from matplotlib import figure as mpl_figure  # noqa: E402

from mmjsd_jax import charts, command, run  # noqa: E402
from mmjsd_jax import config as configuration  # noqa: E402
from mmjsd_jax import job as jobs  # noqa: E402
from mmjsd_jax.interruption import Stopped, listen  # noqa: E402

WARM_UP = 0.1
COMPILED = '/jax/core/compile/backend_compile_duration'
# What counts of the memory seen in a half of the time.
MEASURES: dict[str, tuple[Callable[[list[float]], float], ...]] = {
  'resident': (statistics.median,),
  'device': (min, max),
}


class Sample(NamedTuple):
  """What is seen at one moment."""

  seconds: float
  resident: float  # MB
  device: float  # MB
  compiled: int
  checkpoints: int
  num_saved: int


def main() -> None:
  """Prints what was seen; see the module."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--minutes', type=float, default=60)
  parser.add_argument('--every', type=int, default=2000)
  parser.add_argument('--growth', type=float, default=0.01)
  parser.add_argument('--picture', type=pathlib.Path)
  options = parser.parse_args()
  command.log_to_stderr()
  command.use_compilation_cache()
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder, 'run')
    config = _config(options.every)
    samples = _watch(config, workdir, 60 * options.minutes)
  if options.picture:
    options.picture.write_bytes(_picture(samples))
  sys.exit('\n'.join(_faults(config, samples, options.growth)) or None)


def _config(every: int) -> ml_collections.ConfigDict:
  """Two modalities with the real networks; it never ends by itself."""
  config = configuration.default()
  config.update_from_flattened_dict(
    {
      'name': 'soak',
      'data.digits': 'embedded',
      'data.modalities': ('m0', 'm3'),
      'data.num_validation': 100,
      'model.latent_dim': 16,
      'train.batch_size': 16,
      'train.num_steps': 10**9,
      'train.log_every': 10,
      'train.checkpoint_every': every,
    }
  )
  return config


def _watch(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, seconds: float
) -> list[Sample]:
  """Trains for so long; a sample for every second."""
  compiled = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: (
      compiled.append(event) if event == COMPILED else None
    )
  )
  job = jobs.prepare(config, workdir, mode='train', command='soak')
  samples: list[Sample] = []
  ended = threading.Event()
  begin = time.monotonic()

  def sample() -> None:
    while not ended.wait(1):
      if (now := time.monotonic() - begin) > seconds:
        os.kill(os.getpid(), signal.SIGTERM)
        return
      saved = [
        int(path.name)
        for path in workdir.glob('checkpoints/*')
        if path.name.isdigit()
      ]
      samples.append(
        Sample(
          now,
          _resident(),
          sum(array.nbytes for array in jax.live_arrays()) / 1e6,
          len(compiled),
          len(saved),
          max(saved, default=0) // config.train.checkpoint_every,
        )
      )

  with listen() as interruption:
    thread = threading.Thread(target=sample)
    thread.start()
    try:
      run.execute(job, interruption)
    except Stopped as stop:
      print(f'{stop}, {len(samples)} samples')
    finally:
      ended.set()
      thread.join()
  return samples


def _resident() -> float:
  """MB of this process in memory."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def _faults(
  config: ml_collections.ConfigDict, samples: list[Sample], growth: float
) -> list[str]:
  """Prints what was measured; returns what must not be."""
  warm = [
    sample
    for sample in samples[int(WARM_UP * len(samples)) :]
    if sample.num_saved >= 3
  ]
  first, second = warm[: len(warm) // 2], warm[len(warm) // 2 :]
  faults = []
  for name, measures in MEASURES.items():
    halves = [[getattr(sample, name) for sample in h] for h in (first, second)]
    before, after = ([of(half) for of in measures] for half in halves)
    line = f'{name} memory: {_megabytes(before)}, later {_megabytes(after)}'
    print(line)
    if all(y > (1 + growth) * x for x, y in zip(before, after, strict=True)):
      faults.append(f'grown: {line}')
  print(f'checkpoints written: {samples[-1].num_saved}')
  num_compiled = warm[-1].compiled - warm[0].compiled
  print(f'programs compiled: {warm[0].compiled}, then {num_compiled} more')
  if num_compiled:
    faults.append(f'{num_compiled} programs were compiled late')
  most = max(sample.checkpoints for sample in samples)
  allowed = config.train.keep_checkpoints + 2  # the best, and a new one
  print(f'checkpoints at once: {most}, allowed {allowed}')
  if most > allowed:
    faults.append(f'{most} checkpoints at once; allowed are {allowed}')
  return faults


def _megabytes(values: list[float]) -> str:
  return ' to '.join(f'{value:.1f}' for value in values) + ' MB'


def _picture(samples: list[Sample]) -> bytes:
  figure = mpl_figure.Figure(figsize=(9, 4), dpi=120, layout='constrained')
  axes = figure.subplots()
  minutes = [sample.seconds / 60 for sample in samples]
  for name, title in (('resident', 'resident'), ('device', 'arrays on device')):
    axes.plot(minutes, [getattr(s, name) for s in samples], label=title)
  axes.set_ylim(bottom=0)
  axes.set_xlabel('minutes')
  axes.set_ylabel('MB')
  charts.tidy(axes)
  axes.legend()
  return charts.figure_png(figure)


if __name__ == '__main__':
  main()
