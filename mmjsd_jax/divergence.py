"""Jensen-Shannon divergences of M + 1 distributions, the last one the prior.

mmJSD, Definition 1: JS_pi({q_j}) = sum_j pi_j KL(q_j || f({q_v})). With an
arithmetic mean f it is the classical divergence, which the paper derives; with
the geometric mean (Definition 3) it has a closed form, which the paper uses.
Legend in gaussian.py. In nats, one number per example.
"""

import jax
import jax.numpy as jnp

from mmjsd_jax import gaussian, mixture
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture


def with_prior(experts: Gaussian) -> Gaussian:
  """Experts [M, B, D] and N(0, I) behind them. Shape [M + 1, B, D]."""
  return jax.tree.map(
    lambda leaf: jnp.concatenate([leaf, jnp.zeros_like(leaf[:1])]), experts
  )


def prior_last_weights(
  num_modalities: int,
  present: jax.Array | None = None,
  weights: jax.Array | None = None,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> jax.Array:
  """pi over the present modalities and the prior, summing to one.

  Args:
    num_modalities: M.
    present: Bool, shape [M, B]; None means all.
    weights: pi of the complete example, the prior last. Shape [M + 1]; None
      means uniform, 1 / (M + 1).
    dtype: of the result.

  Returns:
    Shape [M + 1, B], or [M + 1] if `present` is None. An absent modality has
    weight zero, and the others keep their proportions; all are zero where pi
    gives the prior nothing and no modality is present.
  """
  if weights is None:
    weights = jnp.full((num_modalities + 1,), 1 / (num_modalities + 1), dtype)
  if weights.shape != (num_modalities + 1,):
    raise ValueError(
      f'pi must have shape ({num_modalities + 1},), one weight per modality '
      f'and the prior last; got {weights.shape}'
    )
  if present is None:
    return weights
  kept = jnp.concatenate([present, jnp.ones_like(present[:1])])
  weights = jnp.where(kept, weights[:, None], 0)
  total = jnp.sum(weights, axis=0, keepdims=True)
  return weights / jnp.where(total > 0, total, 1)


def geometric_js(components: Gaussian, weights: jax.Array) -> jax.Array:
  """sum_k w_k KL(q_k || G), G the weighted geometric mean. Shape [B].

  mmJSD, Eqs. 4 and 5 with Definition 3; the prior's own term is included.
  Gradients flow through G.

  Args:
    components: Shape [K, B, D]; for mmJSD the experts and the prior.
    weights: sum to one over K. Shape [K] or [K, B]. A component of weight zero
      is skipped exactly, whatever its slot holds.
  """
  centre = gaussian.geometric_mean(components, weights)
  return _weighted_kl(components, weights, centre, reverse=False)


def geometric_js_dual(components: Gaussian, weights: jax.Array) -> jax.Array:
  """sum_k w_k KL(G || q_k) = -log normaliser of G. Shape [B].

  Nielsen 2019, the dual of `geometric_js`.
  """
  centre = gaussian.geometric_mean(components, weights)
  return _weighted_kl(components, weights, centre, reverse=True)


def arithmetic_js(
  key: jax.Array,
  components: Gaussian,
  weights: jax.Array,
  *,
  num_samples: int = 1,
) -> jax.Array:
  """sum_k w_k KL(q_k || sum_v w_v q_v) by stratified Monte Carlo. Shape [B].

  mmJSD, Definition 1 with the mixture prior. Unbiased; at most log K.

  Args:
    key: PRNG key, consumed.
    components: Shape [K, B, D].
    weights: sum to one over K. Shape [K] or [K, B].
    num_samples: draws from every component.
  """
  weights, components = _counted(components, weights)
  whole = Mixture(components, weights)
  z = mixture.sample_components(key, whole, num_samples)  # [K, N, B, D]
  own = gaussian.log_density(
    z, jax.tree.map(lambda leaf: leaf[:, None], components)
  )
  log_ratio = own - mixture.log_density(z, whole)
  log_ratio = jnp.where(weights[:, None] > 0, log_ratio, 0)
  return jnp.sum(weights * jnp.mean(log_ratio, axis=1), axis=0)


def _weighted_kl(components, weights, centre, *, reverse) -> jax.Array:
  weights, components = _counted(components, weights)
  centre = jax.tree.map(lambda leaf: leaf[None], centre)
  pair = (centre, components) if reverse else (components, centre)
  return jnp.sum(weights * gaussian.kl(*pair), axis=0)


def _counted(
  components: Gaussian, weights: jax.Array
) -> tuple[jax.Array, Gaussian]:
  """Weights as [K, B], and N(0, I) in the slots that have weight zero."""
  if weights.ndim == 1:
    weights = jnp.broadcast_to(weights[:, None], components.mean.shape[:-1])
  counts = (weights > 0)[..., None]
  return weights, jax.tree.map(
    lambda leaf: jnp.where(counts, leaf, 0), components
  )
