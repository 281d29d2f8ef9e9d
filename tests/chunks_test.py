"""Fixed-size chunks."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmjsd_jax.evaluation import chunks


@pytest.mark.parametrize(('num_rows', 'size'), [(1, 4), (7, 3), (6, 3), (3, 1)])
def test_every_row_counts_once_and_shapes_are_one(num_rows, size):
  found = list(chunks.padded_chunks(num_rows, size))
  counted = np.concatenate([c.rows[: c.num_valid] for c in found])
  np.testing.assert_array_equal(counted, np.arange(num_rows))
  assert {c.rows.shape for c in found} == {(size,)}
  assert all(c.rows.max() < num_rows for c in found)


@pytest.mark.parametrize(('num_rows', 'size'), [(0, 4), (4, 0)])
def test_nothing_to_cut_is_refused(num_rows, size):
  with pytest.raises(ValueError, match='at least one row'):
    list(chunks.padded_chunks(num_rows, size))


@pytest.fixture
def params():
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  return {'w': jax.device_put(np.ones(3), NamedSharding(mesh, PartitionSpec()))}


@chunks.over_devices_of_params
def parts_of(model, params, num_rows, axis):
  """Of how many different parts of a chunk the devices have one."""
  del params
  shape = (2, num_rows) if axis == 1 else (num_rows, 2)
  found = model(np.zeros(shape), axis=axis)
  return len({str(shard.index) for shard in found.addressable_shards})


@pytest.mark.parametrize('axis', [0, 1])
def test_devices_share_a_chunk_that_they_divide(params, axis):
  spread_fn = jax.jit(chunks.spread, static_argnames='axis')
  for place_fn in (chunks.put, spread_fn):
    assert parts_of(place_fn, params, 16, axis) == 8
    assert parts_of(place_fn, params, 12, axis) == 1
    assert parts_of(place_fn, {'w': np.ones(3)}, 16, axis) == 1


def test_a_size_that_devices_share_is_their_multiple(params):
  size_of = chunks.over_devices_of_params(
    lambda _, __, n: chunks.shared_size(n)
  )
  assert [size_of(None, params, n) for n in (50, 56, 1)] == [56, 56, 8]
  assert size_of(None, {'w': np.ones(3)}, 50) == 50


def test_a_copy_lies_on_every_device(params):
  assert parts_of(chunks.put, params, 16, None) == 1
