"""Mixtures of diagonal Gaussians: density, sampling, divergence to the prior.

Legend in gaussian.py. In nats, one number per example.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjsd_jax import gaussian
from mmjsd_jax.gaussian import Gaussian

SAMPLING_METHODS = ('stratified', 'categorical', 'stratified_as_released')


class Mixture(NamedTuple):
  """sum_s weights_s N(components_s), per example.

  Attributes:
    components: Shape [S, B, D], finite also where the weight is zero.
    weights: sum to one over S; zero marks a component that an example lacks.
      All zero for an example that has none. Shape [S, B].
  """

  components: Gaussian
  weights: jax.Array


def log_density(z: jax.Array, mixture: Mixture) -> jax.Array:
  """log sum_s w_s q_s(z), in nats.

  Args:
    z: points. Shape [..., B, D].
    mixture: Shape [S, B, D].

  Returns:
    Shape [..., B]; -inf for an example without components.
  """
  densities = jax.vmap(lambda q: gaussian.log_density(z, _lift(q, z)))(
    mixture.components
  )  # [S, ..., B]
  log_weights = _lift_rows(_safe_log(mixture.weights), densities)
  # The gradient of logsumexp is NaN where an example has no component at all.
  exists = _lift_rows(
    jnp.any(mixture.weights > 0, axis=0, keepdims=True), densities
  )  # [1, ..., B]
  terms = jnp.where(exists, densities + log_weights, 0)
  return jnp.where(exists[0], jax.nn.logsumexp(terms, axis=0), -jnp.inf)


def choose_components(
  key: jax.Array, weights: jax.Array, *, method: str = 'stratified'
) -> jax.Array:
  """The mixture component that each example of a batch draws from.

  'stratified': the batch is cut into B equal strata of probability, laid over
    the examples in random order, with one draw for the position within all of
    them. Every example has exactly its own weights as probabilities, and where
    all have the same, component s serves w_s * B of them to within one.
  'categorical': every example draws on its own.
  'stratified_as_released': the authors' cut (mixture_component_selection in
    the mmJSD and MoPoE code): floor(w_s * B) examples for every component but
    the last, which takes all that remain. At B = 256 and MoPoE's 31 subsets
    that is 8 each and 16 for the full set. They cut the batch in order; here
    the order is drawn, so that the batch need not be shuffled.

  Args:
    key: PRNG key, consumed.
    weights: sum to one over S. Shape [S, B].
    method: one of SAMPLING_METHODS.

  Returns:
    Component indices, int32, shape [B]. A component of weight zero is never
    chosen, unless an example has no other.
  """
  num_components, batch = weights.shape
  position = positions(key, batch, method=method, dtype=weights.dtype)
  shares = weights
  if method == 'stratified_as_released':
    shares = jnp.floor(weights * batch) / batch
  edges = jnp.cumsum(shares, axis=0)
  # Asked for, since a cumulative sum may round differently from row to row.
  fits = (position[None] < edges) & (weights > 0)
  # Rounding, or the released code's remainder, lands past the last edge.
  last = num_components - 1 - jnp.argmax(weights[::-1] > 0, axis=0)
  index = jnp.where(jnp.any(fits, axis=0), jnp.argmax(fits, axis=0), last)
  return index.astype(jnp.int32)


def positions(
  key: jax.Array,
  batch: int,
  *,
  method: str,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> jax.Array:
  """Where each example of a batch draws from, in [0, 1). Shape [B].

  Args:
    key: PRNG key, consumed.
    batch: B.
    method: as of `choose_components`.
    dtype: of the result.

  Raises:
    ValueError: an unknown method.
  """
  if method not in SAMPLING_METHODS:
    raise ValueError(
      f'sampling must be one of {SAMPLING_METHODS}; got {method!r}'
    )
  key_order, key_noise = jax.random.split(key)
  noise = jax.random.uniform(key_noise, (batch,), dtype)
  if method == 'categorical':
    return noise
  rank = jax.random.permutation(key_order, batch).astype(dtype)
  # A noise of its own for each example would let the counts vary by two.
  offset = noise[:1] if method == 'stratified' else 0.5
  return (rank + offset) / batch


def select(
  key: jax.Array, mixture: Mixture, *, method: str = 'stratified'
) -> Gaussian:
  """The component that each example drew. Shape [B, D]."""
  index = choose_components(key, mixture.weights, method=method)
  chosen = jnp.arange(mixture.weights.shape[0])[:, None] == index[None]
  # A masked sum, not a gather: its gradient is a select, not a scatter.
  return jax.tree.map(
    lambda leaf: jnp.sum(jnp.where(chosen[..., None], leaf, 0), axis=0),
    mixture.components,
  )


def sample(
  key: jax.Array, mixture: Mixture, *, method: str = 'stratified'
) -> jax.Array:
  """One reparameterised draw per example. Shape [B, D]."""
  key_component, key_noise = jax.random.split(key)
  return gaussian.sample(
    key_noise, select(key_component, mixture, method=method)
  )


def sample_components(
  key: jax.Array, mixture: Mixture, num_samples: int
) -> jax.Array:
  """`num_samples` draws from every component. Shape [S, K, B, D]."""
  q = jax.tree.map(
    lambda leaf: jnp.broadcast_to(
      leaf[:, None], (leaf.shape[0], num_samples, *leaf.shape[1:])
    ),
    mixture.components,
  )
  return gaussian.sample(key, q)


def moments(mixture: Mixture) -> Gaussian:
  """The Gaussian with the mixture's mean and variances. Shape [B, D]."""
  weights = mixture.weights[..., None]
  means = mixture.components.mean
  mean = jnp.sum(weights * means, axis=0)
  squares = jnp.exp(mixture.components.log_var) + jnp.square(means - mean[None])
  return Gaussian(mean, jnp.log(jnp.sum(weights * squares, axis=0)))


def kl_bound(mixture: Mixture, prior: Gaussian | None = None) -> jax.Array:
  """sum_s w_s KL(q_s || prior), in nats: what the papers use. Shape [B].

  By Jensen's inequality an upper bound on the mixture's KL (mmJSD, Eq. 6);
  too large by the components' mutual information with z, at most log S.

  Args:
    mixture: Shape [S, B, D].
    prior: Shape [B, D]; None means N(0, I).
  """
  if prior is None:
    divergences = gaussian.kl_to_standard_normal(mixture.components)
  else:
    divergences = gaussian.kl(mixture.components, _lift(prior, None))
  return jnp.sum(mixture.weights * divergences, axis=0)


def kl_monte_carlo(
  key: jax.Array,
  mixture: Mixture,
  *,
  num_samples: int,
  prior: Gaussian | None = None,
) -> jax.Array:
  """KL(mixture || prior), unbiased, in nats. Shape [B].

  Stratified: `num_samples` draws from every component, weighted by w_s.

  Args:
    key: PRNG key, consumed.
    mixture: Shape [S, B, D].
    num_samples: draws from every component.
    prior: Shape [B, D]; None means N(0, I).
  """
  z = sample_components(key, mixture, num_samples)  # [S, K, B, D]
  if prior is None:
    prior = jax.tree.map(lambda leaf: leaf[0], mixture.components)
    prior = gaussian.standard_normal_like(prior)
  log_ratio = log_density(z, mixture) - gaussian.log_density(z, _lift(prior, z))
  # Draws of a component of weight zero may lie where the mixture has no mass.
  log_ratio = jnp.where(mixture.weights[:, None] > 0, log_ratio, 0)
  return jnp.sum(mixture.weights * jnp.mean(log_ratio, axis=1), axis=0)


def _safe_log(weights: jax.Array) -> jax.Array:
  """log w, and -inf without a NaN gradient where w is zero."""
  return jnp.where(
    weights > 0, jnp.log(jnp.where(weights > 0, weights, 1)), -jnp.inf
  )


def _lift(q: Gaussian, z: jax.Array | None) -> Gaussian:
  """`q` [B, D] with leading axes of length one up to z's (or one) rank."""
  extra = 1 if z is None else z.ndim - q.mean.ndim
  return jax.tree.map(lambda leaf: leaf.reshape((1,) * extra + leaf.shape), q)


def _lift_rows(weights: jax.Array, densities: jax.Array) -> jax.Array:
  """Weights [S, B] as [S, 1, ..., 1, B], of the densities' rank."""
  num_components, batch = weights.shape
  middle = (1,) * (densities.ndim - 2)
  return weights.reshape((num_components, *middle, batch))
