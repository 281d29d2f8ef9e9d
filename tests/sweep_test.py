"""The command for sweeps: errors of one line, and its exit status."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.whole
_ROOT = pathlib.Path(__file__).resolve().parent.parent
_BASE = """
from mmjsd_jax import config as defaults

def get_config(arg=None):
  config = defaults.default()
  config.train.num_steps = 4
  config.data.digits = 'idx'
  config.data.dir = 'nowhere'
  return config
"""
_SWEEP = """
from mmjsd_jax import grid

def get_config(arg=None):
  return grid.Sweep(
    'tiny', 'base.py', {'objective.beta': [1.0, 5.0]}, 'beta', ('ablation',)
  )
"""


def _run(folder, *arguments):
  (folder / 'base.py').write_text(_BASE)
  (folder / 'sweep.py').write_text(_SWEEP)
  environment = {k: v for k, v in os.environ.items() if k != 'MMJSD_DATA_DIR'}
  done = subprocess.run(
    [sys.executable, '-m', 'mmjsd_jax.sweep', *arguments],
    cwd=folder,
    env=environment | {'PYTHONPATH': str(_ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.stdout == ''
  return done


# Real starts, of a few seconds each.
@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--config=swep.py', 'config file swep.py is missing'),
    ('--confg=sweep.py', "Unknown command line flag 'confg'"),
  ],
)
def test_bad_input_ends_in_one_line(tmp_path, argument, message):
  done = _run(tmp_path, argument)
  assert done.returncode == 2
  (line,) = done.stderr.splitlines()
  assert line.startswith(f'error: {message}')
  assert not (tmp_path / 'runs').exists()


def test_failing_points_are_told_and_make_the_status_1(tmp_path):
  done = _run(tmp_path, '--config=sweep.py')
  assert done.returncode == 1
  *_, last = done.stderr.splitlines()
  assert last == ('error: 2 of 2 points failed: beta_1-seed_0, beta_5-seed_0')
  stored = json.loads((tmp_path / 'runs/tiny/sweep.json').read_text())
  for point in stored['points']:
    assert 'nowhere' in point['error']
