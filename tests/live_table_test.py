"""The table below the log: what a terminal shows of it, and when there is."""

import io
import logging
import re

import pytest

from mmjsd_jax import live_table
from mmjsd_jax.live_table import LiveTable


class _Terminal(io.StringIO):
  """Knows the two sequences that the table moves with."""

  def isatty(self):
    return True

  def screen(self):
    lines = ['']
    for part in re.split('(\x1b\\[\\d+F|\x1b\\[J|\n)', self.getvalue()):
      if part == '\n':
        lines.append('')
      elif part.endswith('F') and part.startswith('\x1b'):
        self.above = int(part[2:-1])
        assert lines[-1] == ''
      elif part == '\x1b[J':
        del lines[len(lines) - 1 - self.above :]
        lines.append('')
      else:
        lines[-1] += part
    return lines[:-1]


@pytest.fixture(autouse=True)
def size(monkeypatch):
  monkeypatch.setenv('COLUMNS', '40')
  monkeypatch.setenv('LINES', '6')


def test_a_run_has_one_line_with_what_was_told_last():
  terminal = _Terminal()
  table = LiveTable(terminal)
  table.tell('a', 'waiting')
  table.tell('bb', 'waiting')
  table.tell('a', 'training, step 2 of 4: loss 3.0')
  assert terminal.screen() == [
    'a   training, step 2 of 4: loss 3.0',
    'bb  waiting',
  ]


def test_the_log_stands_above_the_table():
  terminal = _Terminal()
  table = LiveTable(terminal)
  table.write('first\n')
  table.tell('a', 'waiting')
  table.write('second\n')
  table.tell('a', 'done')
  assert terminal.screen() == ['first', 'second', 'a  done']


def test_lines_and_rows_fit_the_terminal():
  terminal = _Terminal()
  table = LiveTable(terminal)
  for index in range(9):
    table.tell(f'run {index}', 'waiting ' * 9)
  table.tell('run 5', 'evaluating')
  lines = terminal.screen()
  assert lines[-1] == '... and 6 more'
  assert 'run 5  evaluating' in lines
  assert len(lines) == 4 and max(map(len, lines)) < 40


def test_there_is_a_table_in_a_terminal_only(monkeypatch):
  monkeypatch.setattr(live_table.sys, 'stderr', io.StringIO())
  with live_table.shown() as tell_fn:
    assert tell_fn is None


def test_the_log_goes_back_to_the_terminal(monkeypatch):
  terminal = _Terminal()
  monkeypatch.setattr(live_table.sys, 'stderr', terminal)
  handler = logging.StreamHandler(terminal)
  logger = logging.getLogger('mmjsd_jax')
  logger.addHandler(handler)
  try:
    with live_table.shown() as tell_fn:
      tell_fn('a', 'waiting')
      logger.warning('told')
      tell_fn('a', 'done')
    logger.warning('behind')
  finally:
    logger.removeHandler(handler)
  assert terminal.screen() == ['told', 'a  done', 'behind']
