"""Signals: whole processes, since signals are theirs."""

import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mmjsd_jax.interruption import Interruption, Stopped

pytestmark = pytest.mark.whole

_WORK = """
import hashlib, sys, time
from mmjsd_jax import interruption
interruption.GRACE_SECONDS = 0.3
interruption.ECHO_SECONDS = 0.05
kind = sys.argv[1]
with interruption.listen() as asked:
  print('begun', flush=True)
  if kind == 'deaf':  # as in a compilation: the main thread runs C
    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)
  while not asked.requested():
    time.sleep(0.01)
  if kind == 'slow':  # saves for longer than the grace
    time.sleep(1)
  asked.exit('saved at step 7')
"""


def _stop(kind, *signals, work=_WORK):
  """Exit status and last words of a process that gets signals."""
  with subprocess.Popen(
    [sys.executable, '-c', work, kind],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=pathlib.Path(__file__).resolve().parent.parent,
  ) as process:
    try:
      assert process.stdout.readline() == 'begun\n'
      for number in signals:
        process.send_signal(number)
        time.sleep(0.1)
      _, words = process.communicate(timeout=20)
    finally:
      process.kill()
  return process.returncode, words


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_work_that_asks_ends_by_itself(number):
  assert _stop('asks', number) == (
    128 + number,
    f'stopped by {number.name}, saved at step 7; the same command goes on\n',
  )


def test_saving_may_take_longer_than_the_grace():
  status, words = _stop('slow', signal.SIGTERM)
  assert status == 143
  assert 'saved at step 7' in words


def test_work_that_never_asks_is_ended():
  status, words = _stop('deaf', signal.SIGTERM)
  assert status == 143
  assert 'in work that cannot stop by itself' in words


def test_a_second_signal_ends_at_once():
  status, words = _stop('slow', signal.SIGINT, signal.SIGINT)
  assert status == 130
  assert 'at once: a second one came' in words


def test_a_request_that_comes_twice_is_one():
  work = _WORK.replace('ECHO_SECONDS = 0.05', 'ECHO_SECONDS = 10')
  status, words = _stop('slow', signal.SIGTERM, signal.SIGTERM, work=work)
  assert status == 143
  assert 'saved at step 7' in words


@pytest.mark.parametrize('kind', ['asks', 'deaf'])
def test_a_terminal_that_is_gone_changes_nothing(kind):
  gone = 'sys.stderr = open("/dev/full", "w")'
  work = _WORK.replace('kind = sys', f'{gone}\nkind = sys')
  assert _stop(kind, signal.SIGTERM, work=work) == (143, '')


def test_without_a_signal_nothing_is_asked():
  interruption = Interruption()
  assert not interruption.requested()
  interruption.check()


def test_check_stops():
  interruption = Interruption()
  interruption._signal = signal.SIGTERM
  with pytest.raises(Stopped, match='nothing was to be saved'):
    interruption.check()
