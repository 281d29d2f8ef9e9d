"""Diagonal Gaussians in log-variance form: densities, divergences, products.

References:
  mmJSD: Sutter, Daunhawer, Vogt. Multimodal Generative Learning Utilizing
    Jensen-Shannon-Divergence. NeurIPS 2020.
  MoPoE: Sutter, Daunhawer, Vogt. Generalized Multimodal ELBO. ICLR 2021.
  Nielsen. On the Jensen-Shannon symmetrization of distances relying on
    abstract means. Entropy 2019.

Legend, used throughout the maths: B batch, M modalities, S subsets (mixture
components), D shared latent, K importance samples. Everything is in nats and
reduces over D alone: one number per example.

No epsilon is added to any variance. In float32 the functions are accurate for
log-variances between -20 and +20 and finite to about +-80. The density of a
draw is as accurate as float32 holds z - mean: at log_var = -20 and a mean of 30
to two digits in its gradient.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

LOG_2PI = math.log(2 * math.pi)


class Gaussian(NamedTuple):
  """N(mean, diag(exp(log_var))). Both fields have shape [..., D]."""

  mean: jax.Array
  log_var: jax.Array


def standard_normal_like(q: Gaussian) -> Gaussian:
  """N(0, I), the pre-defined prior, in the shape and dtype of `q`."""
  return Gaussian(jnp.zeros_like(q.mean), jnp.zeros_like(q.log_var))


def log_density(z: jax.Array, q: Gaussian) -> jax.Array:
  """log q(z), in nats.

  Args:
    z: points. Shape [..., D].
    q: density. Shape broadcastable to z's.

  Returns:
    Shape [...].
  """
  squares = jnp.square(z - q.mean) * jnp.exp(-q.log_var)
  return -0.5 * jnp.sum(LOG_2PI + q.log_var + squares, axis=-1)


def sample(key: jax.Array, q: Gaussian) -> jax.Array:
  """One reparameterised draw, mean + exp(log_var / 2) * noise. Shape [..., D].

  Args:
    key: PRNG key, consumed.
    q: density to draw from. Shape [..., D].
  """
  noise = jax.random.normal(key, q.mean.shape, q.mean.dtype)
  return q.mean + jnp.exp(0.5 * q.log_var) * noise


def kl(q: Gaussian, p: Gaussian) -> jax.Array:
  """KL(q || p) between diagonal Gaussians, in nats. Shape [...].

  1/2 sum_d [v_q/v_p - 1 - log(v_q/v_p) + (m_q - m_p)^2/v_p], with expm1 so
  that nearly equal variances lose no digits.

  Args:
    q: first argument. Shape [..., D].
    p: second argument. Shape broadcastable with q's.
  """
  log_ratio = q.log_var - p.log_var
  squares = jnp.square(q.mean - p.mean) * jnp.exp(-p.log_var)
  return 0.5 * jnp.sum(jnp.expm1(log_ratio) - log_ratio + squares, axis=-1)


def kl_to_standard_normal(q: Gaussian) -> jax.Array:
  """KL(q || N(0, I)), in nats. Shape [...]."""
  terms = jnp.expm1(q.log_var) - q.log_var + jnp.square(q.mean)
  return 0.5 * jnp.sum(terms, axis=-1)


class Natural(NamedTuple):
  """Natural parameters: products of Gaussians are sums of these.

  An absent expert is (0, 0): exactly zero weight and zero gradient.
  """

  precision: jax.Array  # 1 / variance
  shift: jax.Array  # mean / variance


def to_natural(q: Gaussian, present: jax.Array | None = None) -> Natural:
  """Natural parameters of `q`, zero where absent.

  Args:
    q: Shape [..., D].
    present: True where the expert counts. Shape [...]. What stands in an
      absent expert's slot, NaN and infinity included, has no effect.
  """
  if present is not None:
    mask = present[..., None]
    # Replaced before any arithmetic: 0 * NaN would reach the gradient.
    q = Gaussian(jnp.where(mask, q.mean, 0), jnp.where(mask, q.log_var, 0))
  precision = jnp.exp(-q.log_var)
  if present is not None:
    precision = jnp.where(mask, precision, 0)
  return Natural(precision, precision * q.mean)


def from_natural(natural: Natural) -> Gaussian:
  """The Gaussian of the given natural parameters; N(0, I) where they are 0."""
  empty = natural.precision == 0
  precision = jnp.where(empty, 1, natural.precision)
  return Gaussian(natural.shift / precision, -jnp.log(precision))


def natural_kl_to_standard_normal(natural: Natural) -> jax.Array:
  """KL(q || N(0, I)) of natural parameters [..., D], in nats. Shape [...].

  As `kl_to_standard_normal` of `from_natural`, with less work: 1/P - 1 as
  (1 - P) / P loses no digits where the precision P is near 1.
  """
  empty = natural.precision == 0
  precision = jnp.where(empty, 1, natural.precision)
  variance = 1 / precision
  squares = jnp.square(natural.shift * variance)
  terms = (1 - precision) * variance + jnp.log(precision) + squares
  return 0.5 * jnp.sum(terms, axis=-1)


@jax.custom_vjp
def sums(table: jax.Array, terms: jax.Array) -> jax.Array:
  """Sums of the terms that each row of a table weighs. Shape [S, B, D].

  One matrix product, whose gradient is another; left to itself, JAX would
  transpose the cotangent, 31 * 256 * 512 numbers for PolyMNIST, in memory. The
  table has no gradient, and there is no forward-mode derivative.

  Args:
    table: Shape [S, M].
    terms: Shape [M, B, D].
  """
  # 'highest': GPUs and TPUs would round precisions to 10 or 8 bits.
  return jnp.tensordot(table, terms, 1, precision='highest')


sums.defvjp(
  lambda table, terms: (sums(table, terms), table),
  lambda table, cotangent: (jnp.zeros_like(table), sums(table.T, cotangent)),
)


def product(
  experts: Gaussian,
  *,
  present: jax.Array | None = None,
  prior_expert: bool | jax.Array = False,
) -> Gaussian:
  """Product of experts, normalised. Shape [..., D] without the leading axis.

  Precisions add; means are averaged by precision. MoPoE, Definition 1.1.

  Differs from the released code, which adds 1e-8 to every variance: at
  log_var = -20 that makes the variance 5.9 times too large.

  Args:
    experts: Shape [M, B, D].
    present: which experts count. Bool, shape [M, B]; None means all.
    prior_expert: multiply N(0, I) in as well (as MVAE does). Scalar, or of
      shape [B, 1].

  Returns:
    Shape [B, D]. With no expert present the product is empty: N(0, I).
  """
  natural = to_natural(experts, present)
  prior = jnp.asarray(prior_expert, natural.precision.dtype)
  # A matrix product: XLA's sums over a leading axis are slow on CPU.
  ones = jnp.ones(len(natural.shift), natural.shift.dtype)
  precision, shift = jax.tree.map(
    lambda leaf: jnp.tensordot(ones, leaf, 1, precision='highest'), natural
  )
  return from_natural(Natural(precision + prior, shift))


def geometric_mean(components: Gaussian, weights: jax.Array) -> Gaussian:
  """Weighted geometric mean prod_k q_k^(w_k), normalised. Shape [B, D].

  With N(0, I) among the components it is mmJSD's dynamic prior (Definition 3).
  Variance (sum_k w_k / v_k)^-1. Supplement Eq. 11 prints (sum_k w_k v_k)^-1, a
  misprint; the authors' code computes what stands here.

  Args:
    components: Shape [K, B, D].
    weights: sum to one over K. Shape [K] or [K, B]. A component of weight zero
      is skipped exactly, whatever its slot holds.
  """
  weights = _per_example(weights, components)
  natural = to_natural(components, weights > 0)
  return from_natural(
    Natural(
      jnp.sum(weights[..., None] * natural.precision, axis=0),
      jnp.sum(weights[..., None] * natural.shift, axis=0),
    )
  )


def geometric_mean_log_normaliser(
  components: Gaussian, weights: jax.Array
) -> jax.Array:
  """log of the integral of prod_k q_k(z)^(w_k) dz, at most 0. Shape [B].

  Nielsen 2019: minus this is the dual geometric Jensen-Shannon divergence.

  Args:
    components: Shape [K, B, D].
    weights: sum to one over K. Shape [K] or [K, B].
  """
  weights = _per_example(weights, components)
  centre = geometric_mean(components, weights)
  counts = (weights > 0)[..., None]
  mean = jnp.where(counts, components.mean, 0)
  log_var = jnp.where(counts, components.log_var, 0)
  squares = jnp.square(mean - centre.mean[None]) * jnp.exp(-log_var)
  terms = weights[..., None] * (log_var + squares)
  return 0.5 * jnp.sum(centre.log_var - terms.sum(0), axis=-1)


def _per_example(weights: jax.Array, components: Gaussian) -> jax.Array:
  """Weights [K] or [K, B] as [K, B]."""
  shape = components.mean.shape[:-1]
  if weights.shape not in (shape, shape[:1]):
    raise ValueError(
      f'weights must have shape {shape[:1]} or {shape} for components of '
      f'shape {components.mean.shape}; got {weights.shape}'
    )
  if weights.ndim == 1:
    weights = weights.reshape(weights.shape + (1,) * (len(shape) - 1))
  return jnp.broadcast_to(weights, shape)
