"""What a run writes while it trains: metrics, TensorBoard, the progress line.

Of several processes the first one writes.

metrics.jsonl has one line per log interval. A run that goes on from a
checkpoint first drops the lines behind it, so that no step is told twice.
"""

import contextlib
import json
import logging
import os
import pathlib
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar
from tqdm import tqdm

from mmjsd_jax import hosts
from mmjsd_jax.files import naming, write_atomically
from mmjsd_jax.train import Progress

_log = logging.getLogger(__name__)


class Journal:
  """Writes every `Progress` to metrics.jsonl, TensorBoard and the terminal."""

  def __init__(
    self,
    workdir: pathlib.Path,
    *,
    first_step: int,
    num_steps: int,
    name: str = '',
    tell_fn: Callable[[str, str], None] | None = None,
  ):
    """Opens the files of `workdir` to go on behind `first_step`.

    Args:
      workdir: the run's folder.
      first_step: lines up to this one are kept.
      num_steps: of the whole run.
      name: tells the run from others in the terminal.
      tell_fn: told (name of the folder, how far it is), in place of a line or
        a bar in the terminal.
    """
    if not hosts.is_first():
      return
    self._path = workdir / 'metrics.jsonl'
    kept = [
      line for line in read_metrics(workdir) if line['step'] <= first_step
    ]
    write_atomically(
      self._path, ''.join(json.dumps(line) + '\n' for line in kept)
    )
    self._file = self._path.open('a', encoding='utf-8')
    self._board = _Board(workdir / 'tensorboard', first_step)
    self._num_steps = num_steps
    self._prefix = f'{name}, ' if name else ''
    self._bar = None
    self._tell_fn = tell_fn
    if tell_fn is None and sys.stderr.isatty():
      self._bar = tqdm(
        desc=name or None,
        total=num_steps,
        initial=first_step,
        unit='step',
        dynamic_ncols=True,
      )

  def write(self, progress: Progress) -> None:
    """One line of metrics."""
    if not hosts.is_first():
      return
    line = {
      'step': progress.step,
      'seconds': round(progress.seconds, 3),
      'samples_per_second': round(progress.samples_per_second, 1),
      **progress.metrics,
    }
    with naming(self._path):
      self._file.write(json.dumps(line) + '\n')
      self._file.flush()
      os.fsync(self._file.fileno())  # before the checkpoint that goes with it
    self._board.write(progress)
    self._tell(progress)

  def close(self) -> None:
    """Closes the files."""
    if not hosts.is_first():
      return
    with contextlib.ExitStack() as stack:  # each, whatever the others raise
      stack.enter_context(naming(self._path))
      stack.callback(self._file.close)
      stack.callback(self._board.close)
      if self._bar is not None:
        stack.callback(self._bar.close)

  def _tell(self, progress: Progress) -> None:
    rate = f'{progress.samples_per_second:.0f} samples/s'
    loss = f'loss {progress.metrics["loss"]:.1f}'
    if self._tell_fn is not None:
      where = f'training, step {progress.step} of {self._num_steps}'
      self._tell_fn(self._path.parent.name, f'{where}: {loss}')
    elif self._bar is not None:
      self._bar.set_postfix_str(f'{loss}, {rate}', refresh=False)
      self._bar.update(progress.step - self._bar.n)
    else:
      _log.info(
        '%sstep %d of %d: %s, %s',
        self._prefix,
        progress.step,
        self._num_steps,
        loss,
        rate,
      )


class _Board:
  """TensorBoard's file of events.

  Written at once: SummaryWriter's thread dies of a full disk, and the program
  waits for it for ever.
  """

  def __init__(self, folder: pathlib.Path, first_step: int):
    folder.mkdir(exist_ok=True)
    # By a part of its name TensorBoard knows it.
    name = f'events.out.tfevents.{time.time_ns()}.{platform.node()}'
    self._path = folder / name
    with naming(self._path):
      self._writer = RecordWriter(str(self._path))
      self._write(file_version='brain.Event:2')
      # TensorBoard forgets what it knows from this step on.
      start = SessionLog(status=SessionLog.START)
      self._write(step=first_step + 1, session_log=start)

  def write(self, progress: Progress) -> None:
    with naming(self._path):
      for name, value in progress.metrics.items():
        self._write(step=progress.step, summary=scalar(name, value))
      self._writer.flush()

  def close(self) -> None:
    with naming(self._path):
      self._writer.close()

  def _write(self, **content: Any) -> None:
    event = Event(wall_time=time.time(), **content)
    self._writer.write(event.SerializeToString())


def read_metrics(workdir: pathlib.Path) -> list[dict[str, Any]]:
  """The lines of metrics.jsonl, without a last one that was cut off.

  Raises:
    ValueError: names the file and the first line that is none of ours.
    OSError: the file cannot be read.
  """
  path = workdir / 'metrics.jsonl'
  if not path.exists():
    return []
  *lines, _ = path.read_bytes().split(b'\n')
  found = []
  for number, line in enumerate(lines, start=1):
    try:
      found.append(json.loads(line))
      found[-1]['step'] + 0  # as every line has
    except (ValueError, TypeError, KeyError, RecursionError):
      raise ValueError(
        f'{path}, line {number}: expected a JSON object with a step, got'
        f' {line[:40]!r}; take the line out to go on without it'
      ) from None
  return found
