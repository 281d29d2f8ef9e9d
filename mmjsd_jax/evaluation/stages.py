"""The stages of an evaluation, as they begin, and how long each takes."""

import logging
import time
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Stages:
  """A clock that knows what is being measured, as `evaluate.ProgressFn`.

  What was done since the last call belongs to the stage that a call names.

  Attributes:
    seconds: stage -> seconds spent on it, in order of first mention.
  """

  def __init__(self, check: Callable[[], None] = lambda: None):
    """Starts the clock. `check` is called with every call, and may raise."""
    self.seconds: dict[str, float] = {}
    self._check = check
    self._last = time.monotonic()

  def __call__(self, stage: str, done: int = 1, total: int = 1) -> None:
    """Part of a stage is done.

    Args:
      stage: which.
      done: of its parts.
      total: parts in all.
    """
    self._check()
    if stage not in self.seconds and total > 1:
      _log.info('evaluation: %s (%d parts)', stage, total)
    now = time.monotonic()
    self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
    self._last = now
