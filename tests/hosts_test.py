"""One run on 1 and 8 devices, and on 4 devices in each of 2 processes."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import blocks_test
import hosts_world
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from train_world import AskedTimes, mesh_of

from mmjsd_jax import blocks, hosts, members, mixture, order, train
from mmjsd_jax import step as steps
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.interruption import Stopped
from mmjsd_jax.mixture import Mixture

# Two processes wait for each other, the longer the more else the machine does.
pytestmark = [pytest.mark.timeout(600), pytest.mark.whole]


@pytest.fixture(scope='module')
def one(tmp_path_factory):
  """Losses, state and metrics on one device."""
  folder = tmp_path_factory.mktemp('one')
  lines, state = hosts_world.train_in(folder, mesh_of(1))
  return lines, state, hosts_world.evaluate_on(state.params)


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
  """What each of the processes found."""
  folder = tmp_path_factory.mktemp('two')
  _begin_streamed(folder)
  with socket.create_server(('127.0.0.1', 0)) as free:
    port = str(free.getsockname()[1])
  program = pathlib.Path(hosts_world.__file__)
  logs = [folder / f'log{n}' for n in range(2)]
  running = []
  for number, log in enumerate(logs):
    with log.open('w') as file:
      running.append(
        subprocess.Popen(
          [sys.executable, program, str(number), port, folder],
          stdout=file,
          stderr=file,
          env=os.environ | {'PYTHONPATH': str(program.parent.parent)},
        )
      )
  try:
    statuses = [process.wait(timeout=500) for process in running]
  finally:
    for process in running:
      process.kill()
  assert statuses == [0, 0], '\n'.join(log.read_text() for log in logs)
  return [
    json.loads((folder / f'results{n}.json').read_text()) for n in range(2)
  ]


def _begin_streamed(folder):
  """A streamed run on one device, stopped in the middle of an epoch."""
  blocks_test.write_records(folder / 'records')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train, 'DISPATCH_SECONDS', 0.0)
    patch.setattr(blocks, 'BLOCK_BYTES', blocks_test.BLOCK_BYTES)
    with pytest.raises(Stopped, match='saved at step 3 of 10'):
      blocks_test.run(
        folder / 'streamed',
        blocks_test.streamed(folder / 'records'),
        stop_requested=AskedTimes(3),
      )


def assert_same_run(lines, expected):
  np.testing.assert_allclose(lines, expected, rtol=1e-5)


def assert_same_metrics(found, expected):
  """What is counted is equal, what is computed is equal to rounding."""
  assert found['coherence'] == expected['coherence']
  assert found['probe'] == expected['probe']
  jax.tree.map(
    lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5),
    found['log_likelihood'],
    expected['log_likelihood'],
  )


@pytest.mark.parametrize('shard', [False, True])
def test_devices_change_no_loss(one, shard, tmp_path, monkeypatch):
  monkeypatch.setattr(order, 'LEAST_SHARDED', 4)
  lines, state = hosts_world.train_in(tmp_path, mesh_of(8), shard_params=shard)
  assert_same_run(lines, one[0])
  spread = [not x.is_fully_replicated for x in jax.tree.leaves(state)]
  assert any(spread) == shard


def test_large_arrays_stay_in_parts(monkeypatch):
  monkeypatch.setattr(order, 'LEAST_SHARDED', 4)
  made, dataset = hosts_world.world()
  mesh = mesh_of(8)
  settings = hosts_world.SETTINGS._replace(shard_params=True)
  data = order.to_device(dataset.train, mesh)
  state = steps.init_state(made.model, settings, mesh)
  state = members.stack_states([state], mesh, shard=True)
  before = [leaf.sharding for leaf in jax.tree.leaves(state)]
  state, *_ = members.make_train_steps(made.model, settings, mesh)(
    members.stack_hypers([settings], mesh),
    state,
    members.first_epochs([settings], data, 0, mesh),
    data,
    jnp.int32(1),
  )
  after = [leaf.sharding for leaf in jax.tree.leaves(state)]
  assert after == before
  kernel = state.params['m0']['decoder']['kernel']  # [1, 2, 8]
  assert kernel.sharding.spec == PartitionSpec(None, None, 'data')
  moment = optax.tree.get(state.opt_state, 'mu')['m0']['decoder']['kernel']
  assert moment.sharding == kernel.sharding


def test_devices_change_no_metric(one):
  _, state, metrics = one
  everywhere = order.everywhere(mesh_of(8))
  found = hosts_world.evaluate_on(jax.device_put(state.params, everywhere))
  assert_same_metrics(found, metrics)


def test_statistics_are_of_the_whole_batch(key):
  mesh, norm = mesh_of(8), nn.BatchNorm(use_running_average=False, momentum=0.0)
  x = 3 + jax.random.normal(key, (24, 5))
  variables = norm.init(key, x)

  @jax.jit
  def normalise(rows):
    batch = x[order.over_devices(rows, mesh)]
    return norm.apply(variables, batch, mutable=['batch_stats'])

  normalised, found = normalise(jnp.arange(24))
  assert len({str(x.index) for x in normalised.addressable_shards}) == 8
  np.testing.assert_allclose(normalised.mean(0), np.zeros(5), atol=1e-5)
  for name, expected in (('mean', x.mean(0)), ('var', x.var(0))):
    got = found['batch_stats'][name]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_strata_are_of_the_whole_batch(key):
  # Of 16 components no device with its 3 examples could draw each.
  index = jnp.arange(16.0)[:, None, None] + jnp.zeros((16, 24, 1))
  posterior = Mixture(Gaussian(index, index), jnp.full((16, 24), 1 / 16))

  def draw(posterior):
    drawn = mixture.select(key, posterior, method='stratified')
    return drawn.mean[:, 0].astype(int)

  spread = NamedSharding(mesh_of(8), PartitionSpec(None, 'data'))
  found = jax.jit(draw)(jax.device_put(posterior, spread))
  assert set(np.bincount(found, minlength=16)) == {1, 2}
  np.testing.assert_array_equal(found, jax.jit(draw)(posterior))


def test_processes_change_no_loss(one, two_processes):
  for found in two_processes:
    assert_same_run(found['lines'], one[0])
    assert_same_run(found['sharded_lines'], one[0])
    for x, y in zip(found['params'], jax.tree.leaves(one[1]), strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_processes_change_no_metric(one, two_processes):
  assert two_processes[0]['metrics'] == two_processes[1]['metrics']
  assert_same_metrics(two_processes[0]['metrics'], one[2])


def test_processes_train_a_population_as_one_process_does(
  two_processes, tmp_path
):
  names = ('loss', 'validation_loss', 'learning_rate')

  def numbers(members):
    return [
      [line[name] for name in names] for run in members.values() for line in run
    ]

  alone = hosts_world.train_population_in(tmp_path)
  for found in two_processes:
    np.testing.assert_allclose(
      numbers(found['members']), numbers(alone), rtol=1e-5
    )


def test_processes_leave_out_the_same_steps(two_processes, tmp_path):
  lines, state = hosts_world.train_in(
    tmp_path, mesh_of(1), **hosts_world.SKIPPING
  )
  for found in two_processes:
    assert_same_run(found['skipping_lines'], lines)
    assert found['num_skipped'] == state.num_skipped == 2


def test_a_streamed_run_goes_on_with_more_processes(two_processes, tmp_path):
  _, lines = blocks_test.run(tmp_path, blocks_test.make_split())
  for found in two_processes:
    assert_same_run(found['streamed_losses'], [line['loss'] for line in lines])


def test_a_signal_to_one_process_saves_and_ends_all(two_processes):
  for found in two_processes:
    assert found['errors']['stopped'] == ['saved at step 1 of 6', 143]


def test_what_goes_wrong_in_one_process_is_told_by_all(two_processes):
  first, second = (found['errors'] for found in two_processes)
  other = 'OtherFailed: process [1] failed; its log says why'
  assert first['other_folder'] == first['other_error'] == other
  assert 'folder that all processes share' in second['other_folder']
  assert second['other_error'] == 'ValueError: no such file'
  message = 'data must be the same in all processes; another than in process 0'
  assert message in first['other_data']
  assert first['other_data'] == second['other_data']


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (('localhost:1', 2, None), 'go together'),
    (('localhost:1', 2, 2), 'from 0 to 1; got 2'),
  ],
)
def test_flags_that_find_no_processes_are_refused(flags, message):
  with pytest.raises(ValueError, match=message):
    hosts.start(*flags)
