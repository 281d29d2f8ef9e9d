"""A small training run, which tests of training begin with."""

import contextlib

import jax
import numpy as np
from jax.sharding import AxisType
from linear_world import make_world

from mmjsd_jax import step as steps
from mmjsd_jax import train
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split

NUM_EXAMPLES = 36
SETTINGS = steps.Settings(
  seed=3,
  num_steps=10,
  batch_size=8,
  learning_rate=1e-2,
  beta=1.5,
  beta_warmup_steps=0,
  beta_style=1.0,
  likelihood_weights=(1.0, 2.0),
  style_weights=(1.0, 1.0),
  log_every=5,
  checkpoint_every=5,
)


def mesh_of(num_devices):
  """The first devices, along 'data'."""
  return jax.make_mesh(
    (num_devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:num_devices],
  )


def world(preset='mopoe'):
  made = make_world(preset, num_modalities=2, num_examples=NUM_EXAMPLES)
  return made.model, Split(made.inputs, np.zeros(NUM_EXAMPLES, np.int32))


def run(
  folder,
  *,
  mesh=None,
  preset='mopoe',
  split=None,
  validation=None,
  rate_factor=1.0,
  stop_requested=lambda: False,
  told=None,
  **changes,
):
  """The last state, and all that training told on the way, `told` included."""
  model, clean = world(preset)
  settings = SETTINGS._replace(**changes)
  mesh = mesh or mesh_of(1)
  told = [] if told is None else told
  with contextlib.closing(Checkpoints(folder, keep=5)) as checkpoints:
    beginning = train.begin(
      model, settings, checkpoints, mesh, rate_factor=rate_factor
    )
    told.extend(
      train.train(
        model,
        settings,
        split or clean,
        validation,
        beginning,
        checkpoints,
        mesh,
        stop_requested=stop_requested,
      )
    )
    like = steps.init_state(model, settings, mesh)
    state, _ = checkpoints.restore(like, settings.num_steps)
  return jax.device_get(state), told


def assert_bit_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


class AskedTimes:
  """Asks to stop the n-th time that it is asked."""

  def __init__(self, times):
    self._left = times

  def __call__(self):
    self._left -= 1
    return self._left == 0
