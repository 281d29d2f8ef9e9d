"""Weights on disk."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax.evaluation import weights

TREE = {
  'layer': {'kernel': jnp.arange(6.0).reshape(2, 3), 'bias': jnp.ones(3)},
  'pair': (jnp.zeros(()), jnp.arange(4)),
}


@pytest.fixture
def path(tmp_path):
  path = tmp_path / 'folder' / 'weights.npz'
  weights.write(path, TREE)
  return path


def test_what_was_written_is_read(path):
  found = weights.read(path, jax.eval_shape(lambda: TREE))
  jax.tree.map(np.testing.assert_array_equal, found, TREE)
  assert [file.name for file in path.parent.iterdir()] == ['weights.npz']


def test_nothing_is_read_from_no_file(tmp_path, caplog):
  assert weights.read(tmp_path / 'none.npz', TREE) is None
  assert not caplog.text


@pytest.mark.parametrize('damage', ['empty', 'cut short', 'turned', 'other'])
def test_a_damaged_file_is_reported(damage, path, caplog):
  content = path.read_bytes()
  middle = len(content) // 3
  path.write_bytes(
    {
      'empty': b'',
      'cut short': content[: len(content) // 2],
      'turned': content[:middle] + b'\xff' * 300 + content[middle + 300 :],
      'other': b'weights' * 100,
    }[damage]
  )
  with caplog.at_level(logging.WARNING):
    assert weights.read(path, TREE) is None
  assert 'is damaged' in caplog.text and 'weights.npz' in caplog.text


@pytest.mark.parametrize(
  'bias', [jnp.ones(4), jnp.ones(3, jnp.int32)], ids=['shape', 'dtype']
)
def test_weights_of_another_kind_are_not_taken(bias, path, caplog):
  other = {**TREE, 'layer': {**TREE['layer'], 'bias': bias}}
  assert weights.read(path, other) is None
  assert 'float32 (3,)' in caplog.text


def test_a_tree_that_has_more_is_not_taken(path):
  assert weights.read(path, {**TREE, 'more': jnp.ones(1)}) is None


def test_a_folder_that_cannot_be_is_only_reported(tmp_path, caplog):
  (tmp_path / 'file').write_text('no folder')
  weights.write(tmp_path / 'file' / 'weights.npz', TREE)
  assert 'not kept' in caplog.text
