"""Kills a run again and again, and compares it with one that nobody killed.

  python benchmarks/kill.py --kills=30

Both are the same command on the embedded digits, with the real networks and a
small evaluation. SIGKILL comes at a random moment: of the whole run, of a start
with no compiled programs, while a checkpoint is written, or while results are.
The same command then goes on from what is left. Whenever it comes to its end,
it must have the bits of the other run in its last checkpoint, its lines of
metrics.jsonl but for their times, and its metrics in results.json. The exit
status is 1 if anything differs.
"""

import argparse
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
KINDS = ('any moment', 'checkpoint', 'any moment', 'results', 'compilation')
# What is in the workdir while something is written.
PATTERNS = {
  'checkpoint': 'checkpoints/.*.partial',
  'results': 'figures/*',
}


class Outcome(NamedTuple):
  """All of a run that must not depend on how often it was killed."""

  checkpoints: list[str]
  leaves: dict[str, Any]
  metrics: list[dict[str, float]]
  results: dict[str, Any]


def main() -> None:
  """Prints a line for every kill and for every end."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=30)
  parser.add_argument('--seed', type=int, default=0)
  options = parser.parse_args()
  rng = random.Random(options.seed)
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder)
    cold = _finish(root / 'cold', root / 'cache')
    warm = _finish(root / 'whole', root / 'cache')
    print(f'uninterrupted: {cold:.0f} s, with warm caches {warm:.0f} s')
    expected = _outcome(root / 'whole')
    _report(expected, _outcome(root / 'cold'), 'a second uninterrupted run')
    done = 0
    life = itertools.count()
    workdir = root / f'life_{next(life)}'
    while done < options.kills:
      kind = KINDS[done % len(KINDS)]
      seconds = {'compilation': cold, 'any moment': warm}.get(kind, 0.02)
      words = _kill(workdir, root / 'cache', kind, rng.uniform(0, seconds))
      if words is None:  # it came to its end before
        _report(expected, _outcome(workdir), f'after {done} kills')
        workdir = root / f'life_{next(life)}'
      else:
        done += 1
        print(f'{done:3} {kind}: {words}', flush=True)
    _finish(workdir, root / 'cache')
    _report(expected, _outcome(workdir), f'after {done} kills')


def _report(expected: Outcome, got: Outcome, when: str) -> None:
  """Says that the outcomes are equal, or ends the program."""
  for name, left, right in zip(Outcome._fields, expected, got, strict=True):
    if left != right:
      sys.exit(f'{when}: {name} differs: expected {left}, got {right}')
  print(f'    {when}: bit-equal', flush=True)


def _outcome(workdir: pathlib.Path) -> Outcome:
  checkpoints = sorted(
    (path for path in (workdir / 'checkpoints').iterdir()),
    key=lambda path: int(path.name),
  )
  return Outcome(
    [path.name for path in checkpoints],
    snapshot.read_manifest(checkpoints[-1]).leaves,
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
  """Starts a run and kills it `delay` seconds after `kind` has come.

  Returns:
    When, and its last words; None if it came to its end first.
  """
  if kind == 'compilation':
    cache = cache.with_name(f'cache_{delay}')
  begin = clock = time.monotonic()
  old = {path: path.stat().st_mtime_ns for path in workdir.rglob('*')}
  come = kind not in PATTERNS
  with tempfile.TemporaryFile('w+') as log:
    process = _start(workdir, cache, log)
    while process.poll() is None:
      now = time.monotonic()
      if not come and any(
        path not in old for path in workdir.glob(PATTERNS[kind])
      ):
        come, clock = True, now
      if come and now - clock >= delay:
        break
      time.sleep(0.001)
    process.kill()
    log.seek(0)
    lines = log.read().splitlines()
    if (status := process.wait()) == 0:
      return None
    if status != -signal.SIGKILL:
      sys.exit('\n'.join(('it failed:', *lines)))
  return f'{now - begin:.1f} s, at "{lines[-1][9:] if lines else ""}"'


if __name__ == '__main__':
  main()
