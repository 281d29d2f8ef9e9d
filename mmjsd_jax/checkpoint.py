"""Checkpoints of a run: parameters, optimiser, step; the newest and the best.

A folder checkpoints/<step> is whole: it is written in the background under
another name, forced to disk, and renamed; only then are older ones removed. The
step number is the whole state of the data, so it is all that is stored of them.

Of several processes the first one writes; all restore what it restores, from a
folder that all see.
"""

import concurrent.futures
import contextlib
import logging
import math
import os
import pathlib
import re
import shutil
from collections.abc import Iterable
from typing import Any

import jax

from mmjsd_jax import hosts, snapshot
from mmjsd_jax.files import sync
from mmjsd_jax.snapshot import DamagedCheckpoint

_NUMBER = re.compile('0|[1-9][0-9]*')
_PARTIAL = '.partial'
_log = logging.getLogger(__name__)


class Checkpoints:
  """The checkpoints of one workdir. Opening them writes nothing."""

  def __init__(self, workdir: pathlib.Path, *, keep: int = 2):
    """Opens `workdir`/checkpoints, which need not exist.

    Args:
      workdir: the run's folder.
      keep: how many of the newest stay; the one with the lowest loss stays
        besides.
    """
    self._folder = (workdir / 'checkpoints').absolute()
    self._keep = keep
    self._writer = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    self._pending: tuple[int, concurrent.futures.Future] | None = None

  def save(self, state: Any, *, seconds: float, loss: float) -> None:
    """Starts to save `state` under its step; returns before it is written.

    Args:
      state: a pytree of arrays, of which `step` is an integer; not to be
        donated before it is written.
      seconds: spent on training.
      loss: lower is better; what is not a number is never the best.

    Raises:
      OSError: of the save before; see `wait`.
    """
    self.wait()
    state = jax.tree.map(_whole, state)
    if not hosts.is_first():
      return
    loss = math.inf if math.isnan(loss) else loss
    step = int(state.step)
    writing = self._writer.submit(self._write, step, state, seconds, loss)
    self._pending = step, writing

  def steps(self) -> tuple[int, ...]:
    """The steps on disk, ascending; some may be damaged."""
    if not self._folder.is_dir():
      return ()
    names = (path.name for path in self._folder.iterdir() if path.is_dir())
    return tuple(sorted(int(name) for name in names if _NUMBER.fullmatch(name)))

  def latest_step(self) -> int | None:
    """The newest step, or None if nothing is saved."""
    return max(self.steps(), default=None)

  def best_step(self, *, damaged: float = math.inf) -> int | None:
    """The step of the lowest loss, the newest of several; None without one.

    Args:
      damaged: the loss of those whose loss cannot be read.
    """
    return next(iter(self._by_loss(damaged)), None)

  def restore(self, like: Any, step: int) -> tuple[Any, float]:
    """The state at `step`, in the shardings of `like`, and seconds spent.

    Raises:
      DamagedCheckpoint: names the folder, the step, and what is damaged.
      FileNotFoundError: there is no such step.
      AnotherModel: the checkpoint of another model.
    """
    self.wait()
    return self._restore(like, step)

  def restore_newest(
    self, like: Any, *, remove_damaged: bool = True
  ) -> tuple[Any, float] | None:
    """As `restore`, from the newest whole checkpoint; None if none was saved.

    Args:
      like: see `restore`.
      remove_damaged: removes those passed over, once a whole one is found:
        training computes them again.

    Raises:
      DamagedCheckpoint: there are checkpoints, but none is whole.
      AnotherModel: the checkpoint of another model.
    """
    self.wait()
    return self._restore_first_whole(
      like, reversed(self.steps()), remove_damaged
    )

  def restore_best(self, like: Any) -> tuple[Any, float] | None:
    """As `restore_newest`, by the lowest loss; removes nothing."""
    self.wait()
    # First those whose loss nobody knows: they may have been the best.
    order = self._by_loss(damaged=-math.inf)
    return self._restore_first_whole(like, order, remove_damaged=False)

  def remove_after(self, step: int) -> None:
    """Removes what is newer than `step`."""
    self.wait()
    for newer in self.steps():
      if newer > step:
        self._remove(newer)

  def wait(self) -> None:
    """Returns when everything is on disk.

    Raises:
      OSError: it could not be written. Told once; what was there is unharmed.
    """
    with hosts.together():
      self._wait()

  def close(self) -> None:
    """Waits, as `wait` does, for this process alone; ends the thread."""
    try:
      self._wait()
    finally:
      self._writer.shutdown()

  def _wait(self) -> None:
    if self._pending is None:
      return
    (step, writing), self._pending = self._pending, None
    try:
      writing.result()
    except OSError as error:
      raise OSError(
        f'checkpoint of step {step} could not be written to {self._folder}: '
        f'{error.strerror or error}; {self._newest_whole()}'
      ) from error

  def _newest_whole(self) -> str:
    for step in reversed(self.steps()):
      with contextlib.suppress(DamagedCheckpoint):
        snapshot.verify(self._path(step))
        return f'the newest whole one is of step {step}'
    return 'there is no whole one'

  def _path(self, step: int) -> pathlib.Path:
    return self._folder / str(step)

  def _by_loss(self, damaged: float) -> list[int]:
    """The steps, the lowest loss first, and of equal ones the newest."""
    return sorted(
      self.steps(),
      key=lambda step: (self._loss(step, damaged=damaged), -step),
    )

  def _loss(self, step: int, *, damaged: float) -> float:
    """The loss at `step`, or `damaged` where it cannot be known."""
    try:
      return snapshot.read_manifest(self._path(step)).loss
    except DamagedCheckpoint:
      return damaged

  def _restore_first_whole(
    self, like: Any, order: Iterable[int], remove_damaged: bool
  ) -> tuple[Any, float] | None:
    """In the first process; the others follow it."""
    found, step = None, -1
    with hosts.together():
      if hosts.is_first():
        found = self._first_whole(like, order, remove_damaged)
        step = -1 if found is None else int(found[0].step)
    step = hosts.from_first(step)
    with hosts.together():
      if not hosts.is_first() and step >= 0:
        try:
          found = self._restore(like, step)
        except FileNotFoundError as error:
          raise FileNotFoundError(
            f'{error}, which process 0 has restored: --workdir must be a '
            'folder that all processes share'
          ) from None
    return found

  def _restore(self, like: Any, step: int) -> tuple[Any, float]:
    if step not in self.steps():
      raise FileNotFoundError(
        f'{self._folder} holds no checkpoint {step}, but {self.steps()}'
      )
    try:
      state, seconds = snapshot.read(self._path(step), like)
      if int(state.step) != step:
        raise DamagedCheckpoint(f'it is of step {int(state.step)}')
    except DamagedCheckpoint as error:
      raise DamagedCheckpoint(
        f'checkpoint {step} in {self._folder} is damaged ({error})'
      ) from error
    return state, seconds

  def _first_whole(
    self, like: Any, order: Iterable[int], remove_damaged: bool
  ) -> tuple[Any, float] | None:
    damaged: dict[int, DamagedCheckpoint] = {}
    for step in order:
      try:
        restored = self._restore(like, step)
      except DamagedCheckpoint as error:
        damaged[step] = error
        continue
      for passed, why in damaged.items():
        _log.warning('%s; going on from checkpoint %d', why, step)
        if remove_damaged:
          self._remove(passed)
      return restored
    if damaged:
      raise DamagedCheckpoint(
        f'{"; ".join(map(str, damaged.values()))}; there is no whole one'
      )
    return None

  def _write(self, step: int, state: Any, seconds: float, loss: float) -> None:
    """Writes beside, renames, and removes what need not stay."""
    self._folder.mkdir(parents=True, exist_ok=True)
    for left in self._folder.glob(f'.*{_PARTIAL}'):  # by a killed process
      shutil.rmtree(left, ignore_errors=True)
    partial = self._folder / f'.{step}{_PARTIAL}'
    try:
      snapshot.write(partial, jax.device_get(state), seconds=seconds, loss=loss)
      if self._path(step).exists():
        self._remove(step)
      os.rename(partial, self._path(step))
    finally:
      shutil.rmtree(partial, ignore_errors=True)
    sync(self._folder)
    steps = self.steps()
    for old in {*steps[: -self._keep]} - {self.best_step()}:
      self._remove(old)

  def _remove(self, step: int) -> None:
    """Renames first: a folder half deleted must not look like a checkpoint."""
    doomed = self._folder / f'.{step}.removed{_PARTIAL}'
    shutil.rmtree(doomed, ignore_errors=True)
    os.rename(self._path(step), doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _whole(leaf: jax.Array) -> Any:
  """Fetched while all processes take part, where each has a part of it."""
  return leaf if leaf.is_fully_replicated else hosts.fetch(leaf)
