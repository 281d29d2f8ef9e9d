"""Streamed training: the same bits, wherever it begins and whoever reads."""

import contextlib
import functools
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from array_record.python import array_record_module
from jax.sharding import NamedSharding, PartitionSpec
from linear_world import make_world
from tensorflow_datasets.proto import tf_example_pb2
from train_world import NUM_EXAMPLES, SETTINGS, mesh_of

from mmjsd_jax import blocks, step, train
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split, Streamed
from mmjsd_jax.data.records import DamagedRecord, Records
from mmjsd_jax.diagnosis import diagnose
from mmjsd_jax.interruption import Stopped

LENGTHS = (20, 16)
NAMES = ('m0', 'm1')
# Three steps to a block: they end within epochs and lines of metrics.
BLOCK_BYTES = 3 * SETTINGS.batch_size * 8 + 1


@functools.cache
def make_split():
  rng = np.random.default_rng(0)
  inputs = {
    name: rng.integers(256, size=(NUM_EXAMPLES, 4), dtype=np.uint8)
    for name in NAMES
  }
  return Split(inputs, np.arange(NUM_EXAMPLES, dtype=np.int32) % 10)


split = pytest.fixture(make_split, scope='module')


def open_records(folder):
  paths = sorted(map(str, folder.glob('*.array_record')))
  return Records(paths, LENGTHS, dict.fromkeys(NAMES, (4,)))


def streamed(folder):
  return Streamed(open_records(folder), NAMES, np.arange(NUM_EXAMPLES))


def write_records(folder):
  """The split in two files, as TFDS writes it."""
  folder.mkdir()
  split, rows = make_split(), iter(range(NUM_EXAMPLES))
  for number, length in enumerate(LENGTHS):
    writer = array_record_module.ArrayRecordWriter(
      str(folder / f'{number}.array_record'), 'group_size:1,uncompressed'
    )
    for _ in range(length):
      row = next(rows)
      example = tf_example_pb2.Example()
      features = example.features.feature
      features['label'].int64_list.value.append(int(split.labels[row]))
      for name, items in split.inputs.items():
        features[name].bytes_list.value.append(items[row].tobytes())
      writer.write(example.SerializeToString())
    writer.close()


@pytest.fixture
def folder(tmp_path):
  """Of the records."""
  folder = tmp_path / 'records'
  write_records(folder)
  return folder


@pytest.fixture
def small_blocks(monkeypatch):
  monkeypatch.setattr(blocks, 'BLOCK_BYTES', BLOCK_BYTES)


@functools.cache
def model():
  made = make_world('mopoe', num_modalities=2).model
  return made._replace(
    modality_list=tuple(
      modality._replace(to_float=lambda x: x.astype(jnp.float32) / 255)
      for modality in made.modality_list
    )
  )


def run(workdir, data, *, num_devices=1, stop_requested=lambda: False):
  """The last state and all lines of metrics."""
  mesh = mesh_of(num_devices)
  with contextlib.closing(Checkpoints(workdir, keep=5)) as checkpoints:
    told = list(
      train.train(
        model(),
        SETTINGS,
        data,
        None,
        train.begin(model(), SETTINGS, checkpoints, mesh),
        checkpoints,
        mesh,
        stop_requested=stop_requested,
      )
    )
    like = step.init_state(model(), SETTINGS, mesh)
    state, _ = checkpoints.restore(like, SETTINGS.num_steps)
  return jax.device_get(state), [line.metrics for line in told]


def assert_bit_equal(left, right):
  jax.tree.map(np.testing.assert_array_equal, left, right)


@pytest.fixture(scope='module')
def resident(split, tmp_path_factory):
  return run(tmp_path_factory.mktemp('resident'), split)


@pytest.mark.exact
@pytest.mark.usefixtures('small_blocks')
def test_streamed_training_is_bit_equal_to_resident(resident, folder, tmp_path):
  assert_bit_equal(run(tmp_path, streamed(folder)), resident)


@pytest.mark.exact
@pytest.mark.usefixtures('small_blocks')
def test_so_it_is_on_eight_devices(split, folder, tmp_path):
  resident = run(tmp_path / 'resident', split, num_devices=8)
  found = run(tmp_path / 'a', streamed(folder), num_devices=8)
  assert_bit_equal(found, resident)


@pytest.mark.exact
@pytest.mark.usefixtures('small_blocks')
def test_a_stopped_run_goes_on_in_the_middle_of_epoch_and_block(
  resident, folder, tmp_path, monkeypatch
):
  monkeypatch.setattr(train, 'DISPATCH_SECONDS', 0.0)  # a step at a time
  asked = iter([False] * 4 + [True])
  with pytest.raises(Stopped, match='saved at step 5 of 10'):
    run(
      tmp_path / 'a',
      streamed(folder),
      stop_requested=lambda: next(asked, False),
    )
  assert_bit_equal(run(tmp_path / 'a', streamed(folder))[0], resident[0])


def test_hosts_read_the_parts_of_the_same_batches(split, folder):
  order = step.make_order(SETTINGS, NUM_EXAMPLES)
  sharding = NamedSharding(mesh_of(8), PartitionSpec(None, 'data'))
  epoch_fn = functools.cache(functools.partial(blocks.epoch_on_host, order))
  steps = range(2, 7)
  rows = [
    np.asarray(order.batch(jnp.int32(n), order.epoch(jnp.int32(n))))
    for n in steps
  ]
  for num_hosts in (1, 2, 4):
    hosts = np.array_split(jax.devices(), num_hosts)
    parts = [
      blocks.read_batches(
        streamed(folder),
        order,
        steps,
        blocks.columns_of(sharding, SETTINGS.batch_size, devices.tolist()),
        epoch_fn,
      )
      for devices in hosts
    ]
    for name in NAMES:
      assert {part[name].shape[1] for part in parts} == {8 // num_hosts}
      together = np.concatenate([part[name] for part in parts], axis=1)
      np.testing.assert_array_equal(together, split.inputs[name][rows])


@pytest.mark.usefixtures('small_blocks')
def test_few_blocks_are_in_memory(folder, monkeypatch):
  made, most = [], 0
  make = jax.make_array_from_callback

  def watched(*arguments):
    nonlocal most
    array = make(*arguments)
    made.append(weakref.ref(array))
    most = max(most, sum(reference() is not None for reference in made))
    return array

  monkeypatch.setattr(jax, 'make_array_from_callback', watched)
  data = streamed(folder).only(('m0',))
  order = step.make_order(SETTINGS, NUM_EXAMPLES)
  feed = blocks.Blocks(data, order, range(200), mesh_of(1))
  with contextlib.closing(feed):
    for number in range(200):
      block, end = feed.at(number)
      assert block.inputs['m0'].nbytes <= blocks.BLOCK_BYTES
      assert number < end <= number + block.inputs['m0'].shape[0]
  assert 2 <= most <= blocks.NUM_AHEAD + 2


def test_the_last_block_ends_with_the_run(folder):
  order = step.make_order(SETTINGS, NUM_EXAMPLES)
  data = streamed(folder)
  assert blocks.block_length(data, 8, 10) == 10
  feed = blocks.Blocks(data, order, range(3, 10), mesh_of(1))
  with contextlib.closing(feed):
    block, end = feed.at(3)
    assert (int(block.first_step), end) == (3, 10)


def test_what_is_not_finite_is_told_of_a_block(folder):
  order = step.make_order(SETTINGS, NUM_EXAMPLES)
  mesh = mesh_of(1)
  state = step.init_state(model(), SETTINGS, mesh)
  encoder = state.params['m1']['encoder']
  encoder['Dense_0']['kernel'] *= jnp.float32(3e38)
  feed = blocks.Blocks(streamed(folder), order, range(3), mesh)
  with contextlib.closing(feed):
    found = diagnose(model(), SETTINGS, state, feed.at(0)[0])
  assert found[0] == 'KL of the posterior of m1'


def test_members_with_orders_of_their_own_are_refused(folder):
  mesh = mesh_of(1)
  beginning = train.Beginning(step.init_state(model(), SETTINGS, mesh), 0.0)
  members = [train.Member(SETTINGS, None, beginning)] * 2
  together = train.train_together(
    model(), members, streamed(folder), None, mesh
  )
  with pytest.raises(ValueError, match='2 members .*stream must be False'):
    next(together)


# --- damage -------------------------------------------------------------------


def test_a_damaged_record_ends_training_by_name(split, folder, tmp_path):
  path = folder / '1.array_record'
  content = path.read_bytes()
  item = split.inputs['m1'][LENGTHS[0] + 5].tobytes()
  assert content.count(item) == 1
  path.write_bytes(content.replace(item, bytes(4)))
  with pytest.raises(DamagedRecord) as error:
    run(tmp_path / 'a', streamed(folder))
  assert str(error.value).startswith(f'{path}: record 5 is damaged (')
  assert '\n' not in str(error.value)


def test_a_record_of_another_form_is_named(folder):
  records = open_records(folder)
  records.shapes['m1'] = (5,)
  with pytest.raises(DamagedRecord, match='1.*record 0 .*4 bytes of m1, not 5'):
    records.read(np.array([LENGTHS[0]]), NAMES)


def test_a_file_with_another_number_of_records_is_refused(folder):
  (folder / '1.array_record').rename(folder / '0.array_record')
  path = folder / '0.array_record'
  with pytest.raises(ValueError, match='expected 20 records; got 16'):
    Records([str(path)], LENGTHS[:1], {})
