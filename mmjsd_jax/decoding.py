"""Draws of latents to log-likelihoods, through a function of the caller's.

Legend in gaussian.py; N draws.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from mmjsd_jax import gaussian
from mmjsd_jax.gaussian import Gaussian

LogLikelihoodFn = Callable[..., jax.Array]
"""z to log p(x_m | z[m]).

Latents [M, N, B, D], of which z[m] is for modality m to decode, to
log-likelihoods [M, N, B]. With modality-specific latents it is called with z
and a tuple of them, [N, B, D_m] each. The caller puts finite values in the
place of absent modalities' data; their log-likelihoods are left out here.
"""


def style_draws(
  key: jax.Array, styles: Sequence[Gaussian] | None, num_draws: int
) -> tuple[jax.Array, ...]:
  """Draws of every style, [num_draws, B, D_m] each; () without styles."""
  return tuple(
    gaussian.sample(
      jax.random.fold_in(key, index),
      jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[None], (num_draws, *leaf.shape)),
        style,
      ),
    )
    for index, style in enumerate(styles or ())
  )


def log_likelihoods(
  log_likelihood_fn: LogLikelihoodFn,
  z: jax.Array,
  styles: tuple[jax.Array, ...],
  present: jax.Array | None,
) -> jax.Array:
  """Log-likelihoods [M, N, B], zero where absent.

  Raises:
    ValueError: the function returns anything else.
  """
  values = log_likelihood_fn(z, *([styles] if styles else []))
  shape = getattr(values, 'shape', None)
  if shape != z.shape[:-1]:
    got = f'a {type(values).__name__}' if shape is None else shape
    raise ValueError(
      f'log_likelihood_fn must return an array of shape {z.shape[:-1]} for '
      f'latents of shape {z.shape}; got {got}'
    )
  if present is None:
    return values
  return jnp.where(present[:, None], values, 0)


def for_every_modality(z: jax.Array, num_modalities: int) -> jax.Array:
  """The same draws [N, B, D] for every modality. Shape [M, N, B, D]."""
  return jnp.broadcast_to(z[None], (num_modalities, *z.shape))
