"""Members trained together: each is what it would be by itself."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_world

from mmjsd_jax import members, order, together, train
from mmjsd_jax import step as steps
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.interruption import Stopped
from mmjsd_jax.snapshot import DamagedCheckpoint

CHANGES = (
  {'seed': 3},
  {'seed': 4, 'beta': 0.5},
  {'seed': 4, 'beta': 20.0},
  {'seed': 5, 'learning_rate': 1e-3},
)
NO_NUMBER = {'learning_rate': 1e30}
# vmap makes other matrix products of a step; after ten steps of Adam.
ROUNDING = {'rtol': 1e-4, 'atol': 1e-5}


def run(
  folder,
  changes,
  *,
  validated=False,
  told=None,
  stop_requested=lambda: False,
  **common,
):
  """The members' last states, and what was told of each."""
  model, split = train_world.world()
  settings = [
    train_world.SETTINGS._replace(**{**common, **change}) for change in changes
  ]
  told = {} if told is None else told
  with contextlib.ExitStack() as stack:
    runs = []
    for index, member in enumerate(settings):
      saved = Checkpoints(folder / str(index), keep=5)
      stack.callback(saved.close)
      runs.append((member, saved))
    beginnings = train.begin_together(model, runs)
    for index, line in train.train_together(
      model,
      [train.Member(*r, b) for r, b in zip(runs, beginnings, strict=True)],
      split,
      split if validated else None,
      members.member_mesh(len(runs)),
      stop_requested=stop_requested,
    ):
      told.setdefault(index, []).append(line)
    like = steps.init_state(model, settings[0], train_world.mesh_of(1))
    states = []
    for _, saved in runs:
      saved.wait()
      restored = saved.restore_newest(like)
      states.append(restored and jax.device_get(restored[0]))
  return states, told


@pytest.fixture
def one_device(monkeypatch):
  monkeypatch.setattr(members.jax, 'device_count', lambda: 1)


@pytest.fixture(scope='module')
def by_themselves(tmp_path_factory):
  """What each member is without the others."""
  folder = tmp_path_factory.mktemp('alone')
  _, split = train_world.world()
  return [
    train_world.run(folder / str(index), validation=split, **changes)
    for index, changes in enumerate(CHANGES)
  ]


def assert_close(left, right):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, **ROUNDING), left, right
  )


def assert_told_alike(told, alone):
  assert [line.step for line in told] == [line.step for line in alone]
  for line, expected in zip(told, alone, strict=True):
    assert line.metrics == pytest.approx(expected.metrics, **{'rel': 1e-4})


def test_members_of_one_program_are_their_solo_runs(
  by_themselves, one_device, tmp_path
):
  states, told = run(tmp_path, CHANGES, validated=True)
  for index, (alone, lines) in enumerate(by_themselves):
    assert_close(states[index], alone)
    assert_told_alike(told[index], lines)
  with contextlib.closing(Checkpoints(tmp_path / '2')) as checkpoints:
    assert checkpoints.steps() == (5, 10)


@pytest.mark.exact
def test_members_over_devices_are_their_solo_runs(by_themselves, tmp_path):
  assert members.member_mesh(len(CHANGES)).size == 4
  states, _ = run(tmp_path, CHANGES)
  for state, (alone, _) in zip(states, by_themselves, strict=True):
    train_world.assert_bit_equal(state, alone)


def test_two_members_on_each_device_are_their_solo_runs(
  by_themselves, monkeypatch, tmp_path
):
  monkeypatch.setattr(members.jax, 'device_count', lambda: 2)
  states, _ = run(tmp_path, CHANGES)
  for state, (alone, _) in zip(states, by_themselves, strict=True):
    assert_close(state, alone)


def test_a_program_serves_all_that_differ_in_numbers():
  model, _ = train_world.world()
  programs = {
    members.make_train_steps(
      model, train_world.SETTINGS._replace(**changes), train_world.mesh_of(1)
    )
    for changes in (*CHANGES, {'num_steps': 7})
  }
  assert len(programs) == 1


# --- stops --------------------------------------------------------------------


def test_members_that_are_stopped_go_on_bit_equal(
  one_device, monkeypatch, tmp_path
):
  whole, lines = run(tmp_path / 'whole', CHANGES[:2])
  monkeypatch.setattr(train, 'DISPATCH_SECONDS', 0.0)
  told = {}
  asked = train_world.AskedTimes(7)
  with pytest.raises(Stopped, match='saved at step 7 of 10'):
    run(tmp_path / 'cut', CHANGES[:2], told=told, stop_requested=asked)
  states, told = run(tmp_path / 'cut', CHANGES[:2], told=told)
  train_world.assert_bit_equal(states, whole)
  for index in range(2):
    assert [p.metrics for p in told[index]] == [p.metrics for p in lines[index]]


def test_members_go_on_from_the_newest_step_that_all_have(one_device, tmp_path):
  whole, _ = run(tmp_path, CHANGES[:2])
  model, _ = train_world.world()
  with contextlib.ExitStack() as stack:
    saved = [Checkpoints(tmp_path / str(index)) for index in range(2)]
    for checkpoints in saved:
      stack.callback(checkpoints.close)
    saved[1].remove_after(5)  # as after a kill between two saves
    beginnings = train.begin_together(
      model, [(train_world.SETTINGS, checkpoints) for checkpoints in saved]
    )
    assert [int(beginning.state.step) for beginning in beginnings] == [5, 5]
    assert saved[0].steps() == (5,)  # what is newer is computed again
  states, told = run(tmp_path, CHANGES[:2])
  assert [p.step for p in told[0]] == [p.step for p in told[1]] == [10]
  train_world.assert_bit_equal(states, whole)


def test_nothing_is_removed_where_no_step_is_whole(one_device, tmp_path):
  run(tmp_path, CHANGES[:2], num_steps=5)
  (tmp_path / '1' / 'checkpoints' / '5' / 'manifest').write_text('damaged')
  with pytest.raises(DamagedCheckpoint, match='checkpoint 5 in .*1.*damaged'):
    run(tmp_path, CHANGES[:2])
  with contextlib.closing(Checkpoints(tmp_path / '0')) as checkpoints:
    assert checkpoints.steps() == (5,)


def test_a_member_cut_out_to_be_saved_outlives_the_next_step():
  model, split = train_world.world()
  settings, mesh = train_world.SETTINGS, train_world.mesh_of(1)
  data = order.to_device(split, mesh)
  initial = steps.init_state(model, settings, mesh)
  expected = jax.device_get(initial)
  state = members.stack_states([initial], mesh)
  cut = members.member_state(state, 0)
  members.make_train_steps(model, settings, mesh)(
    members.stack_hypers([settings], mesh),
    state,
    members.first_epochs([settings], data, 0, mesh),
    data,
    jnp.int32(1),
  )
  assert state.step.is_deleted()
  train_world.assert_bit_equal(jax.device_get(cut), expected)


# --- what is not finite -------------------------------------------------------


def test_a_member_that_is_not_finite_leaves_the_others_alone(
  by_themselves, one_device, tmp_path
):
  states, told = run(
    tmp_path, (CHANGES[0], NO_NUMBER, CHANGES[1]), validated=True
  )
  (error,) = told[1]
  assert isinstance(error, train.NonFiniteLoss)
  assert str(error).startswith('step 1: loss or gradient is not finite. First')
  assert states[1] is None
  for index, alone in ((0, 0), (2, 1)):
    assert_close(states[index], by_themselves[alone][0])
    assert_told_alike(told[index], by_themselves[alone][1])


def test_training_ends_where_no_member_is_left(one_device, tmp_path):
  _, told = run(tmp_path, (NO_NUMBER, NO_NUMBER | {'seed': 4}))
  assert [len(lines) for lines in told.values()] == [1, 1]


def test_a_member_skips_for_itself_alone(one_device, tmp_path):
  states, told = run(
    tmp_path, (CHANGES[0], NO_NUMBER), num_steps=5, non_finite='skip'
  )
  assert [int(state.num_skipped) for state in states] == [0, 4]
  assert [int(state.step) for state in states] == [5, 5]
  assert told[1][0].metrics['skipped_steps'] == 4


# --- memory -------------------------------------------------------------------


def test_what_is_foretold_grows_with_the_members(one_device):
  model, split = train_world.world()

  def foretold(number):
    return together.foretell(model, [train_world.SETTINGS] * number, split)

  two, four = foretold(2), foretold(4)
  state = steps.init_state(model, train_world.SETTINGS, train_world.mesh_of(1))
  one = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) - state.step.nbytes
  assert two.states == 2 * one + state.step.nbytes
  assert four.states - two.states == 2 * one
  assert two.copies == two.states
  assert two.host == 2 * two.states + two.temporaries  # of a CPU
  assert two.data == four.data == split.inputs['m0'].nbytes * 2
  assert four.temporaries > two.temporaries
  assert four.most_members(four.total) == 4
  assert four.most_members(four.total - 1) == 3


def test_training_finds_compiled_what_was_foretold(one_device, caplog):
  model, split = train_world.world()
  settings, mesh = [train_world.SETTINGS] * 2, members.member_mesh(2)
  together.foretell(model, settings, split)
  caplog.set_level('WARNING', 'jax')
  with jax.log_compiles():
    together.examples_per_second(model, settings, split)
  assert [line for line in caplog.messages if 'Finished' in line]
  assert not [
    line for line in caplog.messages if 'compilation of jit(steps)' in line
  ]
  assert mesh.size == 1
