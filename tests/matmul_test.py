"""Tests of the matrix product and its hand-written gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax.modalities.matmul import matmul

# Rows, inputs, outputs: few rows, many inputs, many outputs.
SHAPES = [(8, 16, 4), (64, 16, 4), (64, 4, 16)]


def make(shape):
  num_rows, num_inputs, num_outputs = shape
  rng = np.random.default_rng(0)
  x = rng.normal(size=(num_rows, num_inputs)).astype(np.float32)
  kernel = rng.normal(size=(num_inputs, num_outputs)).astype(np.float32)
  return x, kernel


def loss(product, x, kernel):
  return jnp.sum(jnp.sin(product(x, kernel)))


@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_gradients_equal_those_of_the_plain_product(shape):
  grads_fn = jax.jit(jax.grad(loss, (1, 2)), static_argnums=0)
  got = grads_fn(matmul, *make(shape))
  expected = grads_fn(jnp.matmul, *make(shape))
  for one, other in zip(got, expected, strict=True):
    # Sums of at most 64 products in float32.
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_vmapped_gradients_equal_those_one_by_one():
  x, kernel = make(SHAPES[1])
  xs, kernels = np.stack([x, 2 * x]), np.stack([kernel, kernel - 1])
  grads_fn = jax.grad(lambda x, kernel: loss(matmul, x, kernel), (0, 1))
  both = jax.jit(jax.vmap(grads_fn))(xs, kernels)
  for index in range(2):
    one = jax.jit(grads_fn)(xs[index], kernels[index])
    for got, expected in zip(both, one, strict=True):
      np.testing.assert_allclose(got[index], expected, rtol=1e-5, atol=1e-5)
