"""What one accelerator makes of both models: speed, and whole runs.

  benchmarks/gpu.sh [--minutes=10] [--only=PATTERN ...] [--quick]

Parts, in this order, each left out, and said so, where the time that is left is
too short:

  speed/<data set>/tf32/1          samples per second and share of the peak
  run/polymnist                    mopoe at the paper's length, 300 epochs
  run/mnist_svhn_text              mmjsd, 50 epochs over 1.12 million triples
  speed/<data set>/tf32/5          five seeds as one program
  speed/<data set>/<other>/1       in bfloat16 and in float32
  speed/<data set>/<other>/5

--quick has networks and data of a fraction of the size, on which nothing can be
said of any device, but which runs every line of this.
"""

import argparse
import fnmatch
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any, NamedTuple

# Whole runs, in processes of their own, find the memory free.
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import gpu_runs  # noqa: E402
import gpu_speed  # noqa: E402
import jax  # noqa: E402

DATASETS = ('polymnist', 'mnist_svhn_text')
NUM_SEEDS = 5
QUICK_SCALE = 16
RUN_SHARE = 0.35  # of the time, that a whole run may take
# Targets on one H200, in seconds, and times of five seeds to one.
TARGETS = {'run/polymnist': 120, 'run/mnist_svhn_text': 120}
TARGET_SEEDS = 2


class Part(NamedTuple):
  """One measurement."""

  name: str
  least: float  # it is not begun with so many seconds left
  measure: Callable[[float], dict[str, Any]]  # within so many seconds


def main() -> None:
  """Prints what was measured; see the module."""
  options = _options()
  seconds = 60 * options.minutes
  deadline = time.monotonic() + seconds
  report = {'device': _device(), 'versions': _versions(), 'parts': {}}
  _print_head(report, options.quick)
  for part in _parts(options.quick, seconds, options.change):
    if not any(fnmatch.fnmatch(part.name, p) for p in options.only):
      continue
    left = deadline - time.monotonic()
    if left < part.least:
      found = {
        'skipped': f'{max(left, 0):.0f} s are left; it takes {part.least:.0f}'
      }
    else:
      found = _measure(part, left)
    report['parts'][part.name] = found
    print(_line(part.name, found), flush=True)
    if options.output:  # after every part: what comes next may be killed
      options.output.write_text(json.dumps(report, indent=2) + '\n')
  for line in _seeds(report['parts']):
    print(line)
  if peak := _memory('peak_bytes_in_use'):
    print(f'{peak:.1f} GB at the most, of one speed')


def _options() -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--minutes', type=float, default=10)
  parser.add_argument(
    '--only', nargs='+', default=['*'], help='such as run/* speed/*/tf32/*'
  )
  parser.add_argument('--output', type=pathlib.Path, help='a JSON file')
  parser.add_argument(
    '--change',
    action='append',
    default=[],
    help='of whole runs, such as --change=--config.population.seed=0:5',
  )
  parser.add_argument('--quick', action='store_true')
  return parser.parse_args()


def _parts(quick: bool, seconds: float, changes: list[str]) -> list[Part]:
  def speed(dataset, precision, num_members):
    measure = functools.partial(
      _speed,
      (dataset, precision, num_members),
      scale=QUICK_SCALE if quick else 1,
      repeat=0.1 if quick else 1.0,
    )
    name = f'speed/{dataset}/{precision}/{num_members}'
    return Part(name, 5 if quick else 45, measure)

  def run(dataset, preset):
    arg = 'smoke' if quick else 'paper'
    measure = functools.partial(
      _run,
      (f'configs/{dataset}.py:{arg},objective={preset}', *changes),
      most=RUN_SHARE * seconds,
      scale=100 if quick else 1,
    )
    return Part(f'run/{dataset}', 10 if quick else 90, measure)

  def speeds(precisions, num_members):
    return [speed(d, p, num_members) for p in precisions for d in DATASETS]

  first, others = ['tf32'], ['bfloat16', 'float32']
  return [
    *speeds(first, 1),
    *map(run, DATASETS, ('mopoe', 'mmjsd')),
    *speeds(first, NUM_SEEDS),
    *speeds(others, 1),
    *speeds(others, NUM_SEEDS),
  ]


def _measure(part: Part, seconds: float) -> dict[str, Any]:
  """What was found, or why not."""
  try:
    return part.measure(seconds)
  except (gpu_runs.Failed, FloatingPointError) as error:
    return {'failed': str(error)}
  except jax.errors.JaxRuntimeError as error:
    return {'failed': str(error).splitlines()[0]}
  finally:
    jax.clear_caches()


def _speed(case, seconds, *, scale, repeat):
  del seconds  # compiling takes what it takes
  return gpu_speed.measure(*case, scale=scale, seconds=repeat)._asdict()


def _run(arguments, seconds, *, most, scale):
  limit = min(seconds - gpu_runs.GRACE_SECONDS, most)
  run, command = gpu_runs.measure(
    *arguments, seconds=max(limit, 1), scale=scale
  )
  return {'command': command} | run._asdict()


def _device() -> dict[str, Any]:
  device = jax.devices()[0]
  return {
    'kind': device.device_kind,
    'platform': device.platform,
    'number': jax.device_count(),
    'memory_gb': _memory('bytes_limit'),
    'driver': _driver(),
    'host': f'{platform.machine()}, {os.cpu_count()} cores',
    'peak_tflops': {
      precision: gpu_speed.peak_tflops(device.device_kind, precision)
      for precision in gpu_speed.PRECISIONS
    },
  }


def _memory(name: str) -> float:
  """In GB, what the device tells of its memory; 0 where it tells nothing."""
  return (jax.devices()[0].memory_stats() or {}).get(name, 0) / 1e9


def _driver() -> str:
  if not shutil.which('nvidia-smi'):
    return ''
  query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
  return subprocess.run(query, capture_output=True, text=True).stdout.strip()


def _versions() -> dict[str, str]:
  names = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')
  plugins = ('jax-cuda13-plugin', 'jax-cuda12-plugin', 'libtpu')
  installed = {
    str(found.metadata['Name']): found.version
    for found in importlib.metadata.distributions()
  }
  versions = {n: installed[n] for n in (*names, *plugins) if n in installed}
  return {'python': platform.python_version()} | versions


def _print_head(report: dict[str, Any], quick: bool) -> None:
  device = report['device']
  print(f'{device["number"]} x {device["kind"]}', end='')
  print(f', {device["memory_gb"]:.0f} GB for JAX' * (device['memory_gb'] > 0))
  print(', '.join(f'{k} {v}' for k, v in report['versions'].items()))
  peaks = device['peak_tflops'].items()
  known = [f'{name} {peak:g}' for name, peak in peaks if peak]
  print(f'peak, dense, TFLOP/s: {", ".join(known) or "unknown"}')
  if device['platform'] == 'cpu':
    print('no accelerator: tf32 is float32 here')
  if quick:
    print('--quick: of no meaning but that everything runs')


def _line(name: str, found: dict[str, Any]) -> str:
  head = f'{name:33s} '
  for why in ('skipped', 'failed'):
    if why in found:
      return f'{head}{why}: {found[why]}'
  if name.startswith('speed/'):
    share = found['fraction_of_peak']
    return head + '   '.join(
      (
        f'{found["samples_per_second"]:9,.0f} samples/s',
        f'{found["milliseconds"]:8.3f} ms a step',
        f'{found["gflop_per_sample"]:.3f} GFLOP a sample',
        'peak unknown' if share is None else f'{100 * share:.1f} % of the peak',
        f'compiled in {found["compile_seconds"]:.1f} s',
        f'{found["memory_mb"]:,.0f} MB',
      )
    )
  end = '' if found['finished'] else ', NOT FINISHED'
  target = f' (target {TARGETS[name]} s on one H200)'
  return (
    f'{head}{found["seconds"]:.1f} s{target * found["finished"]}: step'
    f' {found["step"]:,}{end}, {found["training_seconds"]:.1f} s of training,'
    f' {found["samples_per_second"]:,.0f} samples/s, loss {found["loss"]:.1f},'
    f' on {found["data"]}\n    {found["command"]}'
  )


def _seeds(parts: dict[str, dict[str, Any]]) -> list[str]:
  """How much longer five seeds take than one."""
  lines = []
  for name, found in parts.items():
    head, _, number = name.rpartition('/')
    alone = parts.get(f'{head}/1', {})
    if number != str(NUM_SEEDS) or not {'milliseconds'} <= found.keys() & alone:
      continue
    ratio = found['milliseconds'] / alone['milliseconds']
    lines.append(
      f'{head}: {NUM_SEEDS} seeds take {ratio:.2f} times as long as one'
      f' (target {TARGET_SEEDS} on one H200)'
    )
  return lines


if __name__ == '__main__':
  main()
