"""Matrix products whose gradients are fast on CPU.

XLA's CPU products are as fast as the core for x @ kernel and its gradient in x,
but two to five times slower for the gradient in the kernel, x^T @ cotangent,
where x has many columns: the columns of one row lie far apart. Here the product
is turned so that the narrower matrix is the one to be transposed, or for few
rows the transpose is written to memory first; `benchmarks/train_step.py` shows
what whole steps gain. Other devices choose their own layouts.
"""

import jax
from jax import lax


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x @ kernel. Shapes [N, C] and [C, O] to [N, O]; no forward-mode AD."""
  return x @ kernel


def _backward(
  residuals: tuple[jax.Array, jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, kernel = residuals
  return cotangent @ kernel.T, _kernel_gradient(x, cotangent)


matmul.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _backward)


def _kernel_gradient(x: jax.Array, cotangent: jax.Array) -> jax.Array:
  """x^T @ cotangent. Barriers keep XLA from turning the product back."""
  (num_rows, num_inputs), num_outputs = x.shape, cotangent.shape[1]
  if jax.default_backend() != 'cpu':
    return x.T @ cotangent
  if num_rows <= num_inputs:
    return lax.optimization_barrier(x.T) @ cotangent
  if num_inputs > num_outputs:
    return lax.optimization_barrier(cotangent.T @ x).T
  return x.T @ cotangent
