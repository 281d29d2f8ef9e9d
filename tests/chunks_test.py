"""Fixed-size chunks."""

import numpy as np
import pytest

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
