"""Checkpoints: bit-equal, the newest and the best."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmjsd_jax import snapshot
from mmjsd_jax.checkpoint import Checkpoints


class State(NamedTuple):
  weights: jax.Array
  step: jax.Array


def state_at(step):
  weights = jax.random.normal(jax.random.key(step), (3, 2))
  return State(weights, jnp.int32(step))


@pytest.fixture
def checkpoints(tmp_path):
  opened = Checkpoints(tmp_path, keep=2)
  yield opened
  opened.close()


def test_nothing_saved_is_none(checkpoints):
  assert checkpoints.latest_step() is None
  assert checkpoints.best_step() is None


def test_restored_state_is_bit_equal(checkpoints):
  checkpoints.save(state_at(7), seconds=1.25, loss=3.0)
  checkpoints.wait()
  state, seconds = checkpoints.restore(state_at(0), 7)
  jax.tree.map(np.testing.assert_array_equal, state, state_at(7))
  assert seconds == 1.25


def test_the_newest_and_the_best_stay(checkpoints):
  for step, loss in ((1, 5.0), (2, 1.0), (3, 4.0), (4, 3.0), (5, 2.0)):
    checkpoints.save(state_at(step), seconds=0.0, loss=loss)
    checkpoints.wait()
  assert checkpoints.latest_step() == 5
  assert checkpoints.best_step() == 2
  for step in (2, 4, 5):
    checkpoints.restore(state_at(0), step)
  with pytest.raises(FileNotFoundError):
    checkpoints.restore(state_at(0), 3)


def test_of_equal_losses_the_newest_is_the_best(checkpoints):
  for step, loss in ((1, math.inf), (2, math.inf), (3, math.nan)):
    checkpoints.save(state_at(step), seconds=0.0, loss=loss)
  checkpoints.wait()
  assert checkpoints.best_step() == 3
  checkpoints.save(state_at(4), seconds=0.0, loss=1.0)
  checkpoints.save(state_at(5), seconds=0.0, loss=math.nan)
  checkpoints.wait()
  assert checkpoints.best_step() == 4


def test_a_step_may_be_saved_again(checkpoints):
  for seconds in (1.0, 2.0):
    checkpoints.save(state_at(7), seconds=seconds, loss=0.0)
  _, seconds = checkpoints.restore(state_at(0), 7)
  assert seconds == 2.0


def test_where_arrays_lay_is_not_saved(checkpoints, tmp_path):
  def on(num_devices, spec):
    mesh = jax.make_mesh(
      (num_devices,),
      ('data',),
      axis_types=(AxisType.Auto,),
      devices=jax.devices()[:num_devices],
    )
    weights = jax.random.normal(jax.random.key(0), (16, 8))
    return State(
      jax.device_put(weights, NamedSharding(mesh, spec)), jnp.int32(1)
    )

  states = [
    on(8, PartitionSpec('data')),
    on(2, PartitionSpec(None, 'data')),
    on(1, PartitionSpec()),
  ]
  for step, state in enumerate(states):
    state = state._replace(step=jnp.int32(step))
    checkpoints.save(state, seconds=0.0, loss=-step)
  checkpoints.wait()
  folder = tmp_path / 'checkpoints'
  kinds = [snapshot.read_manifest(folder / n).leaves['weights'] for n in '12']
  assert kinds[0] == kinds[1]
  assert not list(folder.rglob('*sharding*'))
  for like in states:
    found, _ = checkpoints.restore(like, 2)
    assert found.weights.sharding == like.weights.sharding
    np.testing.assert_array_equal(found.weights, states[0].weights)
