"""Log-likelihoods log p(x | z) of one modality, in nats.

x has shape [B, ...], the decoder's output [..., B, ...]: any number of sample
axes in front. The sum runs over all axes behind B, so each function returns
shape [..., B].
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mmjsd_jax.gaussian import LOG_2PI


def laplace(x: jax.Array, loc: jax.Array, *, scale: float = 0.75) -> jax.Array:
  """Laplace(loc, scale); 0.75 is the papers' scale for every image."""
  residuals = _sum_events(jnp.abs(_lift(x, loc) - loc), x) / scale
  log_normaliser = jnp.log(2 * jnp.asarray(scale, loc.dtype))
  return -math.prod(x.shape[1:]) * log_normaliser - residuals


def normal(x: jax.Array, loc: jax.Array, *, scale: float = 1.0) -> jax.Array:
  """Normal(loc, scale), the scale being the standard deviation."""
  squares = _sum_events(jnp.square((_lift(x, loc) - loc) / scale), x)
  log_normaliser = 0.5 * LOG_2PI + jnp.log(jnp.asarray(scale, loc.dtype))
  return -math.prod(x.shape[1:]) * log_normaliser - 0.5 * squares


def normal_learned(
  x: jax.Array, output: jax.Array, *, min_scale: float = 0.01
) -> jax.Array:
  """Normal of which the decoder gives the standard deviation, too.

  It is min_scale + (1 - min_scale) exp(r): without a least one, the density of
  a column that is constant would have no bound.

  Args:
    x: Shape [B, ...].
    output: means and r, along the last axis. Shape [..., B, ..., 2].
    min_scale: above 0 and below 1.
  """
  loc, raw = output[..., 0], output[..., 1]
  log_scale = jnp.logaddexp(math.log(min_scale), math.log1p(-min_scale) + raw)
  squares = jnp.square((_lift(x, loc) - loc) * jnp.exp(-log_scale))
  return _sum_events(-0.5 * (LOG_2PI + squares) - log_scale, x)


def bernoulli(x: jax.Array, logits: jax.Array) -> jax.Array:
  """Bernoulli with the given logits, x in {0, 1}.

  For grey x in [0, 1] this is the usual relaxation, not a normalised density.
  """
  return _sum_events(_lift(x, logits) * logits - jax.nn.softplus(logits), x)


def categorical(x: jax.Array, logits: jax.Array) -> jax.Array:
  """Categorical over the last axis of `logits`: log softmax(logits)[x].

  Differs from the mmJSD and MoPoE code, which hands log-softmax outputs over
  as probabilities and so fits the target to be the least likely character.

  Args:
    x: class indices, integer. Shape [B, ...].
    logits: Shape [..., B, ..., V].
  """
  if not jnp.issubdtype(x.dtype, jnp.integer):
    raise ValueError(f'categorical x must be integer indices; got {x.dtype}')
  log_probs = jax.nn.log_softmax(logits)
  index = jnp.broadcast_to(_lift(x, log_probs[..., 0]), log_probs.shape[:-1])
  picked = jnp.take_along_axis(log_probs, index[..., None], axis=-1)[..., 0]
  return _sum_events(picked, x)


def one_hot_categorical(x: jax.Array, logits: jax.Array) -> jax.Array:
  """Categorical over the last axis: sum of x * log softmax(logits).

  Args:
    x: one-hot, as networks see text. Shape [B, ..., V].
    logits: Shape [..., B, ..., V].
  """
  return _sum_events(_lift(x, logits) * jax.nn.log_softmax(logits), x)


LIKELIHOODS: dict[str, Callable[..., jax.Array]] = {
  'laplace': laplace,
  'normal': normal,
  'normal_learned': normal_learned,
  'bernoulli': bernoulli,
  'categorical': categorical,
  'one_hot_categorical': one_hot_categorical,
}


def _lift(x: jax.Array, output: jax.Array) -> jax.Array:
  """x with axes of length one in front, up to the output's rank.

  Raises:
    ValueError: x's shape is not the end of the output's.
  """
  if output.shape[output.ndim - x.ndim :] != x.shape or output.ndim < x.ndim:
    raise ValueError(
      f'the output must have shape [..., *{x.shape}] as x has; got '
      f'{output.shape}'
    )
  return x.reshape((1,) * (output.ndim - x.ndim) + x.shape)


def _sum_events(values: jax.Array, x: jax.Array) -> jax.Array:
  return jnp.sum(
    values, axis=tuple(range(values.ndim - x.ndim + 1, values.ndim))
  )
