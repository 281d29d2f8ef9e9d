"""Seconds by stage."""

import logging

import pytest

from mmjsd_jax.evaluation import stages


@pytest.fixture
def clock(monkeypatch):
  """Goes on by what is written into it."""
  now = [100.0]
  monkeypatch.setattr(stages.time, 'monotonic', lambda: now[0])
  return now


def test_time_belongs_to_the_stage_that_is_then_named(clock):
  told = stages.Stages()
  for stage, seconds in (('first', 2.0), ('second', 3.0), ('first', 4.0)):
    clock[0] += seconds
    told(stage)
  assert list(told.seconds.items()) == [('first', 6.0), ('second', 3.0)]


def test_stages_of_many_parts_are_logged_once(caplog):
  caplog.set_level(logging.INFO)
  told = stages.Stages()
  told('alone')
  told('long', 1, 2)
  told('long', 2, 2)
  assert caplog.messages == ['evaluation: long (2 parts)']


def test_every_part_asks_whether_to_go_on(clock):
  class Stopped(Exception):
    pass

  def check():
    if clock[0] > 100:
      raise Stopped

  told = stages.Stages(check)
  told('first')
  clock[0] += 1
  with pytest.raises(Stopped):
    told('second')
  assert list(told.seconds) == ['first']
