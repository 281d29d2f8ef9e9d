"""The order of examples: a function of (key, step)."""

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax.order import Order

NUM_EXAMPLES = 36


def test_every_epoch_is_another_permutation(key):
  order = Order(key, NUM_EXAMPLES, 9)
  epochs = np.asarray(jax.vmap(order.epoch)(jnp.array([0, 4, 8])))
  np.testing.assert_array_equal(
    np.sort(epochs), np.tile(np.arange(NUM_EXAMPLES), (3, 1))
  )
  assert len(np.unique(epochs, axis=0)) == 3


def test_an_epoch_serves_every_example_once(key):
  order = Order(key, NUM_EXAMPLES, 9)
  rows = [
    order.batch(jnp.int32(step), order.epoch(jnp.int32(step)))
    for step in range(4, 8)
  ]
  assert sorted(np.concatenate(rows)) == list(range(NUM_EXAMPLES))


def test_next_epoch_carries_what_epoch_computes(key):
  order = Order(key, NUM_EXAMPLES, 9)
  current = order.epoch(jnp.int32(0))
  for step in range(1, 9):
    current = order.next_epoch(jnp.int32(step), current)
    np.testing.assert_array_equal(current, order.epoch(jnp.int32(step)))
