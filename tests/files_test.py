"""Files that are there whole or not at all."""

import json
import math
import os
import pathlib
import re

import numpy as np
import pytest

from mmjsd_jax import files


def test_json_is_written_and_replaced(tmp_path):
  path = tmp_path / 'a.json'
  files.write_json(path, {'a': [1, (2.5, None)], 'b': 'µ'})
  assert json.loads(path.read_text()) == {'a': [1, [2.5, None]], 'b': 'µ'}
  files.write_json(path, {})
  assert json.loads(path.read_text()) == {}
  assert os.listdir(tmp_path) == ['a.json']


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_becomes_null(tmp_path, value):
  path = tmp_path / 'a.json'
  files.write_json(path, {'a': {'b': [1.0, value]}})
  assert json.loads(path.read_text()) == {'a': {'b': [1.0, None]}}


@pytest.mark.parametrize(
  'stage', ['converting', 'writing', 'syncing', 'replacing']
)
def test_failure_leaves_the_old_file_and_nothing_else(
  tmp_path, monkeypatch, stage
):
  path = tmp_path / 'a.json'
  files.write_json(path, {'a': 1})
  tree = {'a': 2}
  if stage == 'converting':
    tree = {'a': np.zeros(2)}  # no JSON type

  def fail(*_, **__):
    raise OSError(28, 'No space left on device')

  if stage == 'writing':
    monkeypatch.setattr(pathlib.Path, 'write_bytes', fail)
  elif stage == 'syncing':
    monkeypatch.setattr(os, 'fsync', fail)
  elif stage == 'replacing':
    monkeypatch.setattr(os, 'replace', fail)
  with pytest.raises((OSError, TypeError)) as told:
    files.write_json(path, tree)
  if stage != 'converting':
    assert str(told.value) == f"[Errno 28] No space left on device: '{path}'"
  monkeypatch.undo()
  assert json.loads(path.read_text()) == {'a': 1}
  assert os.listdir(tmp_path) == ['a.json']


def test_what_a_killed_writer_left_is_removed_and_a_living_one_s_is_not(
  tmp_path,
):
  for name in ('.a.json.1.partial', '.b.json.2.partial', '.a.json.3.partial'):
    (tmp_path / name).touch()
  before = set(os.listdir(tmp_path)) - {'.a.json.3.partial'}
  for name in ('.b.json.2.partial', '.a.json.3.partial'):
    os.utime(tmp_path / name, (0, 0))  # long ago
  files.write_json(tmp_path / 'a.json', {})
  assert set(os.listdir(tmp_path)) == before | {'a.json'}


def test_what_is_renamed_has_reached_the_disk(tmp_path, monkeypatch):
  done = []

  def told(function, name_fn):
    def call(*args):
      done.append(name_fn(*args))
      return function(*args)

    return call

  monkeypatch.setattr(
    os, 'fsync', told(os.fsync, lambda fd: os.readlink(f'/proc/self/fd/{fd}'))
  )
  monkeypatch.setattr(os, 'replace', told(os.replace, lambda *_: 'renamed'))
  files.write_json(tmp_path / 'a.json', {})
  partial, *others = done
  assert re.fullmatch(rf'{tmp_path}/\.a\.json\.\w+\.partial', partial)
  assert others == ['renamed', str(tmp_path)]


@pytest.mark.parametrize(
  ('variables', 'expected'),
  [
    ({'MMJSD_CACHE_DIR': '/a', 'XDG_CACHE_HOME': '/b'}, '/a'),
    ({'XDG_CACHE_HOME': '/b'}, '/b/mmjsd_jax'),
    ({'HOME': '/c'}, '/c/.cache/mmjsd_jax'),
  ],
)
def test_cache_lies_where_the_environment_says(
  monkeypatch, variables, expected
):
  for name in ('MMJSD_CACHE_DIR', 'XDG_CACHE_HOME'):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert files.cache_dir() == pathlib.Path(expected)
