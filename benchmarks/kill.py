"""Kills a run again and again, and compares it with one that nobody killed.

  python benchmarks/kill.py --kills=30 --stops=10

Both are the same command on the embedded digits, with the real networks and a
small evaluation. SIGKILL comes at a random moment: of the whole run, of a start
with no compiled programs, while a checkpoint is written, or while results are.
SIGTERM and SIGINT come at random moments, and the run must end within 10 s. The
same command then goes on from what is left. Whenever it comes to its end, it
must have the bits of the other run in its last checkpoint, the same best step,
its lines of metrics.jsonl but for their times, and its metrics in results.json.
The exit status is 1 if anything differs.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

from mmjsd_jax import snapshot
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.journal import read_metrics

OPTIONS = (
  '--config=configs/polymnist.py:smoke',
  "--config.data.modalities=('m0', 'm3')",
  '--config.data.digits=embedded',
  '--config.train.batch_size=16',
  '--config.train.num_steps=48',
  '--config.train.log_every=4',
  '--config.train.checkpoint_every=8',
  '--config.evaluation.num_probe_samples=(100,)',
  '--config.evaluation.num_joint_samples=64',
  '--config.evaluation.num_test_examples=64',
  '--config.evaluation.untrained_baseline=False',
)
TIMES = ('seconds', 'samples_per_second')
KILLS = ('any moment', 'checkpoint', 'any moment', 'results', 'compilation')
STOPS = {'SIGTERM': signal.SIGTERM, 'SIGINT': signal.SIGINT}
# What is in the workdir while something is written.
PATTERNS = {
  'checkpoint': 'checkpoints/.*.partial',
  'results': 'figures/*',
}


class Outcome(NamedTuple):
  """All of a run that must not depend on how often it was killed."""

  best_step: int | None
  best: dict[str, Any]  # checksums of its arrays
  newest: dict[str, Any]
  metrics: list[dict[str, float]]
  results: dict[str, Any]


def main() -> None:
  """Prints a line for every kill and for every end."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=30)
  parser.add_argument('--stops', type=int, default=10)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  rng = random.Random(options.seed)
  kinds = [
    *itertools.islice(itertools.cycle(KILLS), options.kills),
    *itertools.islice(itertools.cycle(STOPS), options.stops),
  ]
  rng.shuffle(kinds)
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    cold = _finish(root / 'cold', root / 'cache')
    warm = _finish(root / 'whole', root / 'cache')
    print(f'uninterrupted: {cold:.0f} s, with warm caches {warm:.0f} s')
    expected = _outcome(root / 'whole')
    _report(expected, _outcome(root / 'cold'), 'a second uninterrupted run')
    life = itertools.count()
    workdir = root / f'life_{next(life)}'
    for done, kind in enumerate(kinds):
      seconds = {'compilation': cold, 'checkpoint': 0.02, 'results': 0.02}
      delay = rng.uniform(0, seconds.get(kind, warm))
      while (words := _kill(workdir, root / 'cache', kind, delay)) is None:
        # It came to its end before.
        _report(expected, _outcome(workdir), f'after {done} kills and stops')
        workdir = root / f'life_{next(life)}'
        delay *= 0.9
      print(f'{done + 1:3} {kind}: {words}', flush=True)
    _finish(workdir, root / 'cache')
    _report(expected, _outcome(workdir), f'after {len(kinds)} kills and stops')


def _report(expected: Outcome, got: Outcome, when: str) -> None:
  """Says that the outcomes are equal, or ends the program."""
  for name, left, right in zip(Outcome._fields, expected, got, strict=True):
    if left != right:
      sys.exit(f'{when}: {name} differs: expected {left}, got {right}')
  print(f'    {when}: bit-equal', flush=True)


def _outcome(workdir: pathlib.Path) -> Outcome:
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    best, newest = checkpoints.best_step(), checkpoints.latest_step()
  folder = workdir / 'checkpoints'
  return Outcome(
    best,
    snapshot.read_manifest(folder / str(best)).leaves,
    snapshot.read_manifest(folder / str(newest)).leaves,
    [
      {name: value for name, value in line.items() if name not in TIMES}
      for line in read_metrics(workdir)
    ],
    json.loads((workdir / 'results.json').read_text('utf-8'))['metrics'],
  )


def _start(workdir: pathlib.Path, cache: pathlib.Path, log: int):
  return subprocess.Popen(
    [
      *(sys.executable, '-m', 'mmjsd_jax.main', *OPTIONS),
      f'--workdir={workdir}',
    ],
    cwd=pathlib.Path(__file__).resolve().parent.parent,
    env={
      **os.environ,
      'MMJSD_CACHE_DIR': str(cache),
      'JAX_COMPILATION_CACHE_DIR': str(cache / 'compilation'),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    },
    stderr=log,
  )


def _finish(workdir: pathlib.Path, cache: pathlib.Path) -> float:
  """Seconds that a run took to its end."""
  clock = time.monotonic()
  with tempfile.TemporaryFile('w+') as log:
    if _start(workdir, cache, log).wait():
      log.seek(0)
      sys.exit(f'{workdir} failed:\n{log.read()}')
  return time.monotonic() - clock


def _kill(
  workdir: pathlib.Path, cache: pathlib.Path, kind: str, delay: float
) -> str | None:
  """Starts a run and ends it `delay` seconds after `kind` has come.

  Returns:
    When, its last words, and how long it took to end; None if it came to its
    end first.
  """
  if kind == 'compilation':
    cache = cache.with_name('half_a_cache')  # what earlier kills left of it
  begin = clock = time.monotonic()
  old = set(workdir.rglob('*'))
  come = False
  with tempfile.TemporaryFile('w+') as log:
    process = _start(workdir, cache, log)
    while process.poll() is None:
      now = time.monotonic()
      if not come:
        clock = now
        # Until its first line the program is not yet there to listen.
        come = (
          not set(workdir.glob(PATTERNS[kind])) <= old
          if kind in PATTERNS
          else kind not in STOPS or os.fstat(log.fileno()).st_size > 0
        )
      if come and now - clock >= delay:
        break
      time.sleep(0.001)
    number = STOPS.get(kind, signal.SIGKILL)
    asked = time.monotonic()
    process.send_signal(number)
    status = process.wait()
    took = time.monotonic() - asked
    log.seek(0)
    lines = log.read().splitlines()
  if status == 0:
    return None
  # Negative, too, for a program that is already ending and no longer listens.
  expected = {-number} if number == signal.SIGKILL else {-number, 128 + number}
  if status not in expected or took > 10:
    sys.exit('\n'.join((f'status {status} after {took:.1f} s:', *lines)))
  last = lines[-1][:100] if lines else ''
  return f'at {asked - begin:.1f} s, "{last}", ended in {took:.1f} s'


if __name__ == '__main__':
  main()
