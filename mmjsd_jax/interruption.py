"""SIGTERM and SIGINT: the program ends soon, and where nothing is lost.

Work asks `Interruption.requested` where it can stop. Where nothing asks for a
while, as during a compilation, the program ends all the same: what a run has on
disk is whole at every moment, so the same command goes on.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

# Schedulers kill after 30 s as a rule.
GRACE_SECONDS = 8.0
# One request may come twice: to the process, and to its group or launcher.
ECHO_SECONDS = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
  """Work was asked to stop and has saved what was to be saved."""


class Interruption:
  """Whether a signal has asked this program to end, and which.

  Several processes hear of a signal to any one of them, where all ask.
  """

  def __init__(self, largest: Callable[[int], int] = int):
    """Takes what gives the largest of the numbers of all processes."""
    self._largest = largest
    self._signal: signal.Signals | None = None
    self._came = 0.0
    self._heard = threading.Event()

  def requested(self) -> bool:
    """Whether the work shall stop here. Whoever hears True ends soon."""
    number = self._largest(self._signal or 0)
    if not number:
      return False
    if self._signal is None:
      self._came = time.monotonic()
      self._signal = signal.Signals(number)
    self._heard.set()
    return True

  def check(self) -> None:
    """Stops work that has nothing to save.

    Raises:
      Stopped: a signal came.
    """
    if self.requested():
      raise Stopped('nothing was to be saved')

  def exit(self, reason: object) -> NoReturn:
    """Ends the program, telling why.

    The status is 128 + the signal's number, as shells have it: not zero, so
    that a scheduler starts the run again.
    """
    try:
      print(self._message(reason), file=sys.stderr, flush=True)
    except OSError:  # whoever reads it is gone: it is not to be flushed again
      sys.stderr = None
    sys.exit(self._status)

  def _watch(self, file_descriptor: int) -> None:
    """Reads signals until the other end closes."""
    while numbers := os.read(file_descriptor, 1):
      if numbers[0] not in _SIGNALS:
        continue
      if self._signal is not None:
        if time.monotonic() - self._came > ECHO_SECONDS:
          self._exit_now('at once: a second one came')
        continue
      self._came = time.monotonic()
      self._signal = signal.Signals(numbers[0])
      threading.Thread(target=self._insist, daemon=True).start()

  def _insist(self) -> None:
    if not self._heard.wait(GRACE_SECONDS):
      self._exit_now('in work that cannot stop by itself')

  def _exit_now(self, reason: str) -> NoReturn:
    try:
      print(self._message(reason), file=sys.stderr, flush=True)
    finally:  # whoever reads stderr may be gone
      os._exit(self._status)

  @property
  def _status(self) -> int:
    return 128 + (self._signal or 0)

  def _message(self, reason: object) -> str:
    name = self._signal.name if self._signal else 'a request'
    return f'stopped by {name}, {reason}; the same command goes on'


@contextlib.contextmanager
def listen(
  largest: Callable[[int], int] = int,
) -> Iterator[Interruption]:
  """Takes over SIGTERM and SIGINT; a second one, later, ends it at once.

  In the main thread. A thread reads them, since Python tells the main thread of
  a signal only when that returns from compiled code.
  """
  interruption = Interruption(largest)
  reading, writing = os.pipe()
  os.set_blocking(writing, False)
  before = signal.set_wakeup_fd(writing)
  handlers = {s: signal.signal(s, lambda *_: None) for s in _SIGNALS}
  thread = threading.Thread(
    target=interruption._watch, args=(reading,), daemon=True
  )
  thread.start()
  try:
    yield interruption
  finally:
    for number, handler in handlers.items():
      signal.signal(number, handler)
    signal.set_wakeup_fd(before)
    os.close(writing)
    thread.join()
    os.close(reading)
