"""The training program: order, determinism, resuming, sharding, faults."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from linear_world import make_world

from mmjsd_jax import train
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split

NUM_EXAMPLES = 36
SETTINGS = train.Settings(
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


def world(preset='mopoe'):
  made = make_world(preset, num_modalities=2, num_examples=NUM_EXAMPLES)
  return made.model, Split(made.inputs, np.zeros(NUM_EXAMPLES, np.int32))


def mesh_of(num_devices):
  return jax.make_mesh(
    (num_devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:num_devices],
  )


def run(folder, *, mesh=None, preset='mopoe', validation=None, **changes):
  """The last state, and all that training told on the way."""
  model, split = world(preset)
  settings = SETTINGS._replace(**changes)
  mesh = mesh or mesh_of(1)
  checkpoints = Checkpoints(folder, keep=5)
  told = list(
    train.train(model, settings, split, validation, checkpoints, mesh)
  )
  like = train.init_state(model, settings, mesh)
  state, _ = checkpoints.restore(like, settings.num_steps)
  checkpoints.close()
  return jax.device_get(state), told


def assert_bit_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  return run(tmp_path_factory.mktemp('uninterrupted'))


def test_every_epoch_is_another_permutation(key):
  order = train.Order(key, NUM_EXAMPLES, 9)
  epochs = np.asarray(jax.vmap(order.epoch)(jnp.array([0, 4, 8])))
  np.testing.assert_array_equal(
    np.sort(epochs), np.tile(np.arange(NUM_EXAMPLES), (3, 1))
  )
  assert len(np.unique(epochs, axis=0)) == 3


def test_an_epoch_serves_every_example_once(key):
  order = train.Order(key, NUM_EXAMPLES, 9)
  rows = [
    order.batch(jnp.int32(step), order.epoch(jnp.int32(step)))
    for step in range(4, 8)
  ]
  assert sorted(np.concatenate(rows)) == list(range(NUM_EXAMPLES))


def test_next_epoch_carries_what_epoch_computes(key):
  order = train.Order(key, NUM_EXAMPLES, 9)
  current = order.epoch(jnp.int32(0))
  for step in range(1, 9):
    current = order.next_epoch(jnp.int32(step), current)
    np.testing.assert_array_equal(current, order.epoch(jnp.int32(step)))


def test_training_lowers_the_loss(uninterrupted):
  _, told = uninterrupted
  assert told[-1].metrics['loss'] < told[0].metrics['loss']


def test_loss_is_its_terms_put_together(uninterrupted):
  for progress in uninterrupted[1]:
    terms = progress.metrics
    weighted = sum(
      weight * terms[f'log_likelihood/m{index}']
      for index, weight in enumerate(SETTINGS.likelihood_weights)
    )
    expected = SETTINGS.beta * terms['regulariser'] - weighted
    np.testing.assert_allclose(terms['loss'], expected, rtol=1e-5)


def test_resumed_run_is_bit_equal(uninterrupted, tmp_path):
  run(tmp_path, num_steps=5)
  state, told = run(tmp_path)
  assert_bit_equal(state, uninterrupted[0])
  assert [progress.step for progress in told] == [10]
  assert told[0].metrics == uninterrupted[1][-1].metrics


def test_dispatch_length_changes_nothing(uninterrupted, tmp_path):
  state, _ = run(tmp_path, log_every=1)
  assert_bit_equal(state, uninterrupted[0])


def test_finished_run_is_left_alone(tmp_path):
  run(tmp_path, num_steps=5)
  _, told = run(tmp_path, num_steps=5)
  assert told == []


def test_seed_changes_the_run(uninterrupted, tmp_path):
  state, _ = run(tmp_path, seed=4)
  left, right = jax.tree.leaves(state.params), uninterrupted[0].params
  assert not np.array_equal(left[0], jax.tree.leaves(right)[0])


@pytest.mark.parametrize('preset', ['mopoe', 'mvae'])
def test_eight_devices_compute_what_one_does(preset, tmp_path):
  one, _ = run(tmp_path / 'one', preset=preset)
  eight, _ = run(tmp_path / 'eight', mesh=mesh_of(8), preset=preset)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    one,
    eight,
  )


def test_validation_loss_counts_every_example_once():
  model, split = world('mvae')
  rows = slice(0, 11)  # a chunk of 8, and one of 3 that is filled up to 8
  held_out = Split(
    {name: x[rows] for name, x in split.inputs.items()}, split.labels[rows]
  )
  mesh = mesh_of(1)
  params = train.init_state(model, SETTINGS, mesh).params
  loss = train.make_validation_loss(model, SETTINGS, held_out, mesh)(params)

  _, _, key_noise = jax.random.split(jax.random.key(SETTINGS.seed), 3)
  key_chunks = jax.random.fold_in(key_noise, 2**32 - 1)
  total = 0.0
  for index, (first, count) in enumerate([(0, 8), (8, 3)]):
    filled = np.minimum(np.arange(first, first + 8), 10)
    terms = model.elbo(
      jax.random.fold_in(key_chunks, index),
      params,
      {name: x[filled] for name, x in split.inputs.items()},
      beta=SETTINGS.beta,
      likelihood_weights=jnp.array(SETTINGS.likelihood_weights),
    )
    total -= float(terms.objective[:count].sum())
  np.testing.assert_allclose(loss, total / 11, rtol=1e-5)


def test_validation_loss_is_told_and_chooses_the_best(tmp_path):
  _, validation = world()
  _, told = run(tmp_path, validation=validation, num_steps=15)
  losses = {p.step: p.metrics['validation_loss'] for p in told}
  checkpoints = Checkpoints(tmp_path, keep=5)
  assert checkpoints.best_step() == min(losses, key=losses.__getitem__)
  checkpoints.close()


def test_non_finite_loss_names_its_step(tmp_path):
  model, split = world()
  for x in split.inputs.values():
    x[:] = 1e30  # the square overflows
  checkpoints = Checkpoints(tmp_path)
  with pytest.raises(train.NonFiniteLoss, match='at step 0;'):
    list(train.train(model, SETTINGS, split, None, checkpoints, mesh_of(1)))
  assert checkpoints.latest_step() is None
  checkpoints.close()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'batch_size': 12}, 'multiple of the 8 devices; got 12'),
    ({'batch_size': 40}, 'at most the 36 training examples; got 40'),
  ],
)
def test_batches_that_do_not_fit_are_refused(changes, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    run(tmp_path, mesh=mesh_of(8), **changes)


def test_beta_rises_from_zero_to_its_value(tmp_path):
  _, told = run(
    tmp_path, log_every=1, checkpoint_every=1, num_steps=6, beta_warmup_steps=4
  )
  for step, progress in enumerate(told):
    metrics = progress.metrics
    fit = metrics['log_likelihood/m0'] + 2 * metrics['log_likelihood/m1']
    beta = SETTINGS.beta * min(step / 4, 1)
    expected = beta * metrics['regulariser'] - fit
    np.testing.assert_allclose(metrics['loss'], expected, rtol=1e-4)


def test_no_step_of_the_warm_up_is_the_best(tmp_path):
  run(tmp_path, log_every=1, checkpoint_every=1, beta_warmup_steps=9)
  checkpoints = Checkpoints(tmp_path, keep=5)
  assert checkpoints.best_step() in (9, 10)
  checkpoints.close()
