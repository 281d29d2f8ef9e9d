"""The training program: order, determinism, resuming, sharding, faults."""

import contextlib

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from train_world import (
  NUM_EXAMPLES,
  SETTINGS,
  AskedTimes,
  assert_bit_equal,
  mesh_of,
  run,
  world,
)

from mmjsd_jax import members, order, train
from mmjsd_jax import step as steps
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.diagnosis import diagnose
from mmjsd_jax.interruption import Stopped


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  return run(tmp_path_factory.mktemp('uninterrupted'))


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


@pytest.mark.parametrize('seconds', [0.0, 1e9])
def test_dispatch_length_changes_nothing(
  uninterrupted, tmp_path, monkeypatch, seconds
):
  monkeypatch.setattr(train, 'DISPATCH_SECONDS', seconds)
  state, told = run(tmp_path)
  assert_bit_equal(state, uninterrupted[0])
  assert [p.metrics for p in told] == [p.metrics for p in uninterrupted[1]]


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
  params = steps.init_state(model, SETTINGS, mesh).params
  loss = steps.make_validation_loss(model, SETTINGS, held_out, mesh)(
    steps.make_hyper(SETTINGS), params
  )

  _, _, key_noise = jax.random.split(jax.random.key(SETTINGS.seed), 3)
  key_chunks = jax.random.fold_in(key_noise, 2**32 - 1)
  elbo = jax.jit(model.elbo)
  total = 0.0
  for index, (first, count) in enumerate([(0, 8), (8, 3)]):
    filled = np.minimum(np.arange(first, first + 8), 10)
    terms = elbo(
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


@pytest.mark.parametrize('times', [1, 5, 7])
def test_a_run_that_is_stopped_anywhere_is_bit_equal(
  uninterrupted, tmp_path, monkeypatch, times
):
  monkeypatch.setattr(train, 'DISPATCH_SECONDS', 0.0)  # a step at a time
  told = []
  with pytest.raises(Stopped, match=f'saved at step {times} of 10'):
    run(tmp_path, stop_requested=AskedTimes(times), told=told)
  state, told = run(tmp_path, told=told)
  assert_bit_equal(state, uninterrupted[0])
  assert [p.step for p in told] == [5, 10]
  assert [p.metrics for p in told] == [p.metrics for p in uninterrupted[1]]


def test_a_line_of_metrics_is_told_before_its_checkpoint(tmp_path):
  model, split = world()
  mesh = mesh_of(1)
  with contextlib.closing(Checkpoints(tmp_path, keep=5)) as checkpoints:
    beginning = train.begin(model, SETTINGS, checkpoints, mesh)
    for progress in train.train(
      model, SETTINGS, split, None, beginning, checkpoints, mesh
    ):
      checkpoints.wait()
      assert checkpoints.latest_step() == {5: None, 10: 5}[progress.step]


# --- what is not finite -------------------------------------------------------


def poisoned(number):
  """The split with an example of step `number` whose square overflows."""
  _, split = world()
  shuffled = steps.make_order(SETTINGS, NUM_EXAMPLES)
  step = jnp.int32(number)
  rows = shuffled.batch(step, shuffled.epoch(step))
  split.inputs['m1'][rows[0]] = 1e30
  return split


@pytest.mark.parametrize('bad_step', [0, 2])
def test_non_finite_loss_names_step_and_origin(tmp_path, bad_step):
  told = []
  with pytest.raises(train.NonFiniteLoss) as error:
    run(tmp_path, split=poisoned(bad_step), told=told)
  assert str(error.value).startswith(
    f'step {bad_step}: loss or gradient is not finite. First: '
    'KL of the posterior of m1; then: log_likelihood/m0'
  )
  assert not told
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.latest_step() is None


def test_what_is_not_finite_is_told_in_order():
  model, split = world()
  data = order.to_device(split, mesh_of(1))
  state = steps.init_state(model, SETTINGS, mesh_of(1))
  assert diagnose(model, SETTINGS, state, data) == []
  encoder = state.params['m0']['encoder']
  encoder['Dense_0']['kernel'] *= jnp.float32(1e38)
  found = diagnose(model, SETTINGS, state, data)
  assert found[0] == 'mean of the posterior of m0'
  assert 'gradient of the encoder of m0' in found
  assert not [name for name in found if name.startswith('parameters')]


def test_a_skipped_step_changes_nothing_and_is_counted(tmp_path, caplog):
  skip = {'split': poisoned(2), 'non_finite': 'skip', 'log_every': 4}
  state, (line,) = run(tmp_path / 'a', num_steps=4, **skip)
  assert 'step 2: loss or gradient is not finite' in caplog.text
  assert 'The step is skipped' in caplog.text
  assert (int(state.step), int(state.num_skipped)) == (4, 1)
  assert int(state.tally.num_steps) == 3
  assert int(optax.tree.get(state.opt_state, 'count')) == 3
  assert line.metrics['skipped_steps'] == 1
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
  # Stopped right behind the step, it goes on as if it had not been.
  run(tmp_path / 'b', num_steps=3, **skip)
  resumed, _ = run(tmp_path / 'b', num_steps=4, **skip)
  assert_bit_equal(resumed, state)


def test_a_line_of_skipped_steps_alone_is_left_out(tmp_path):
  _, told = run(
    tmp_path,
    split=poisoned(2),
    non_finite='skip',
    log_every=1,
    checkpoint_every=1,
    num_steps=4,
  )
  assert [progress.step for progress in told] == [1, 2, 4]


def test_a_restart_counts_the_steps_skipped_before_it(tmp_path):
  _, split = world()
  split.inputs['m1'][:] = 1e30
  bad = {'split': split, 'non_finite': 'skip'}
  run(tmp_path, num_steps=5, **bad)
  with pytest.raises(train.NonFiniteLoss, match='step 9: .* 9 steps before it'):
    run(tmp_path, num_steps=20, **bad)


def test_a_gradient_whose_square_overflows_is_told():
  model, split = world()
  data = order.to_device(split, mesh_of(1))
  settings = SETTINGS._replace(likelihood_weights=(1e25, 1.0))
  state = steps.init_state(model, settings, mesh_of(1))
  found = diagnose(model, settings, state, data)
  assert found == ['norm of the gradient']


def test_what_is_restored_does_not_depend_on_stops(tmp_path):
  with pytest.raises(Stopped, match='saved at step 0 of 10'):
    run(tmp_path, non_finite='restore', stop_requested=AskedTimes(1))
  with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
    assert checkpoints.latest_step() is None


def test_any_number_of_steps_is_one_program(tmp_path, monkeypatch):
  monkeypatch.setattr(train, 'DISPATCH_SECONDS', 0.0)
  made = []

  def make(*arguments):
    made.append(members.make_train_steps(*arguments))
    return made[-1]

  monkeypatch.setattr(train, 'make_train_steps', make)
  members._make_train_steps.cache_clear()  # of programs that others have used
  run(tmp_path / 'one')
  run(tmp_path / 'eight', mesh=mesh_of(8))
  assert [program._cache_size() for program in made] == [1, 1]


def test_skipping_ends_where_nothing_else_is_left(tmp_path):
  _, split = world()
  split.inputs['m1'][:] = 1e30
  with pytest.raises(train.NonFiniteLoss, match='step 9: .* 9 steps before it'):
    run(tmp_path, split=split, non_finite='skip', num_steps=20)


def test_the_lowered_rate_is_part_of_the_run(uninterrupted, tmp_path):
  run(tmp_path, num_steps=5)
  state, (line,) = run(
    tmp_path, num_steps=10, rate_factor=0.5, non_finite='restore'
  )
  assert state.rate_scale == 0.5
  assert line.metrics['learning_rate'] == SETTINGS.learning_rate / 2
  again, _ = run(tmp_path, num_steps=10, non_finite='restore')
  assert again.rate_scale == 0.5
  left, right = (jax.tree.leaves(s.params) for s in (state, uninterrupted[0]))
  assert not np.array_equal(left[0], right[0])


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


def test_learning_rate_rises_to_its_value(tmp_path):
  model, _ = world()
  first = jax.flatten_util.ravel_pytree(steps.init_params(model, SETTINGS))[0]

  def moved(warmup):
    state, _ = run(
      tmp_path / str(warmup),
      num_steps=1,
      log_every=1,
      checkpoint_every=1,
      learning_rate_warmup_steps=warmup,
    )
    return jax.flatten_util.ravel_pytree(state.params)[0] - first

  whole = moved(0)
  assert (whole != 0).any()
  np.testing.assert_array_equal(moved(1), whole)
  np.testing.assert_allclose(moved(4), whole / 4, atol=1e-6)
