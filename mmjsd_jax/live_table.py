"""A table in the terminal that is rewritten while runs go on.

It stands below the log. Where the log goes to a file there is none, and the log
has a line for whatever happens.
"""

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator
from typing import TextIO

from mmjsd_jax.run import TellFn

# Cursor up by so many lines, to the first column; clear from there on.
_UP, _CLEAR = '\x1b[{}F', '\x1b[J'


class LiveTable:
  """A line per run, in the order in which they are first told of."""

  def __init__(self, stream: TextIO):
    """Writes to `stream`, a terminal."""
    self._stream = stream
    self._states: dict[str, str] = {}
    self._height = 0

  def tell(self, name: str, state: str) -> None:
    """What a run is at; the latest to be told of stay in sight."""
    self._erase()
    self._states[name] = state
    self._latest = name
    self._draw()

  def write(self, text: str) -> None:
    """A text above the table."""
    self._erase()
    self._stream.write(text)
    self._draw()

  def flush(self) -> None:
    """As of a file."""
    self._stream.flush()

  def _erase(self) -> None:
    if self._height:
      self._stream.write(_UP.format(self._height) + _CLEAR)

  def _draw(self) -> None:
    columns, rows = shutil.get_terminal_size()
    lines = self._lines(max(rows - 2, 1))
    self._height = len(lines)
    for line in lines:
      self._stream.write(line[: columns - 1] + '\n')
    self._stream.flush()

  def _lines(self, most: int) -> list[str]:
    """All lines, or those around the run that was told of last."""
    if not self._states:
      return []
    width = max(map(len, self._states))
    lines = [f'{n:{width}}  {state}' for n, state in self._states.items()]
    if len(lines) <= most:
      return lines
    latest = list(self._states).index(self._latest)
    first = min(max(latest - most // 2, 0), len(lines) - most + 1)
    kept = lines[first : first + most - 1]
    return [*kept, f'... and {len(lines) - len(kept)} more']


@contextlib.contextmanager
def shown() -> Iterator[TellFn | None]:
  """The function that tells a live table, or None where there is no terminal.

  Meanwhile this package's log is written above the table.
  """
  if not sys.stderr.isatty():
    yield None
    return
  table = LiveTable(sys.stderr)
  handlers = [
    handler
    for handler in logging.getLogger('mmjsd_jax').handlers
    if isinstance(handler, logging.StreamHandler)
    and handler.stream is sys.stderr
  ]
  for handler in handlers:
    handler.setStream(table)
  try:
    yield table.tell
  finally:
    for handler in handlers:
      handler.setStream(sys.stderr)
