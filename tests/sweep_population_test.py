"""Points of a sweep that are trained as a population are their solo runs."""

import contextlib
import json

import jax
import numpy as np
import population_test
import pytest
import run_test
import sweep_world
import train_world

from mmjsd_jax import companions, grid, run, sweep_files, sweep_run
from mmjsd_jax.interruption import Interruption, Stopped

NAMES = [f'beta_{beta}-seed_0' for beta in (1, 5)]
one_device = population_test.one_device


def _plan(workdir):
  sweep = grid.Sweep('s', 'b', {'objective.beta': (1.0, 5.0)}, 'beta', ())
  points = grid.points(sweep, run_test._config())
  return sweep_files.Plan(sweep, points, workdir, 'the command')


@pytest.fixture
def unmeasured(monkeypatch):
  """Results are made up; training is not."""

  def evaluate(job, *_):
    point = grid.Point(job.workdir.name, {}, job.config)
    results = json.dumps(sweep_world.make_results(point))
    (job.workdir / 'results.json').write_text(results)

  monkeypatch.setattr(run, '_evaluate', evaluate)
  monkeypatch.setattr(sweep_run.jax, 'clear_caches', lambda: None)


@pytest.fixture
def solo(tmp_path, unmeasured):
  config = run_test._config(**{'objective.beta': 5.0})
  run.execute(run_test._prepare(config, tmp_path / 'solo'))
  return population_test._state(tmp_path / 'solo')


def test_in_turn_a_point_is_its_solo_run_bit_for_bit(
  tmp_path, solo, monkeypatch
):
  told = []
  monkeypatch.setattr(
    sweep_run.live_table,
    'shown',
    lambda: contextlib.nullcontext(lambda *words: told.append(words)),
  )
  outcomes = sweep_run.execute(_plan(tmp_path / 's'))
  assert [outcome.status for outcome in outcomes.values()] == ['computed'] * 2
  state = population_test._state(tmp_path / 's' / NAMES[1])
  train_world.assert_bit_equal(solo, state)
  states = [said.partition(':')[0] for name, said in told if name == NAMES[1]]
  assert states == [
    'waiting',
    'training, step 2 of 4',
    'training, step 4 of 4',
    'evaluating',
    states[-1],
  ]
  assert states[-1].startswith('done; joint coherence 0.05')


def test_together_it_goes_on_and_is_its_solo_run_to_rounding(
  tmp_path, solo, monkeypatch
):
  monkeypatch.setattr(companions, 'choose_together', lambda *_: 2)
  trained = []
  train_members = run.train_members

  def note(jobs, *others):
    trained.append([job.workdir.name for job in jobs])
    return train_members(jobs, *others)

  monkeypatch.setattr(run, 'train_members', note)
  asked = Interruption()
  monkeypatch.setattr(asked, 'requested', lambda: True)
  with pytest.raises(Stopped):
    sweep_run.execute(_plan(tmp_path / 's'), asked)
  outcomes = sweep_run.execute(_plan(tmp_path / 's'))
  assert [outcome.status for outcome in outcomes.values()] == ['computed'] * 2
  assert trained == [NAMES, NAMES]
  state = population_test._state(tmp_path / 's' / NAMES[1])
  for left, right in zip(
    jax.tree.leaves(solo.params), jax.tree.leaves(state.params), strict=True
  ):
    np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
  sweep_run.execute(_plan(tmp_path / 's'))
  assert len(trained) == 2
