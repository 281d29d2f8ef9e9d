"""Importance-weighted bounds: IWAE, and DReG's gradients.

  IWAE: Burda, Grosse, Salakhutdinov. Importance Weighted Autoencoders. ICLR
    2016.
  DReG and MMVAE: see presets.py.

Legend in gaussian.py; S components, K draws of each.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjsd_jax import decoding, gaussian, mixture
from mmjsd_jax.decoding import LogLikelihoodFn
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.presets import Objective


class ImportanceTerms(NamedTuple):
  """What an importance-weighted bound is made of, in nats.

  Attributes:
    log_weights: of every draw, weighed as the objective is. Shape [S, K, B].
    log_likelihoods: their means over draws, without weights. Shape [M, B].
    divergence: mean of log q(z | X) - log p(z). Shape [B].
    style_divergences: likewise of the styles. Shape [M, B].
  """

  log_weights: jax.Array
  log_likelihoods: jax.Array
  divergence: jax.Array
  style_divergences: jax.Array


def importance_bound(
  log_weights: jax.Array, mixture_weights: jax.Array, *, looser: bool = False
) -> jax.Array:
  """log of the weighted mean importance weight. Shape [B].

  log sum_s w_s / K sum_k exp(log_weights_sk): stratified over the components,
  an unbiased estimate of p(X) if the weights' denominator is the density of
  the whole mixture (the balance heuristic). `looser` takes the mean over s
  outside the logarithm: MMVAE, Eq. 3.

  Args:
    log_weights: log p(X, z_sk) - log q(z_sk | X). Shape [S, K, B].
    mixture_weights: Shape [S, B].
    looser: see above.
  """
  num_samples = log_weights.shape[1]
  per_component = jax.nn.logsumexp(log_weights, axis=1) - jnp.log(
    jnp.asarray(num_samples, log_weights.dtype)
  )
  counts = mixture_weights > 0
  if looser:
    return jnp.sum(
      mixture_weights * jnp.where(counts, per_component, 0), axis=0
    )
  return jax.nn.logsumexp(per_component, axis=0, b=mixture_weights)


def draw_terms(
  key: jax.Array,
  key_styles: jax.Array,
  joint: Mixture,
  styles: Sequence[Gaussian] | None,
  log_likelihood_fn: LogLikelihoodFn,
  *,
  objective: Objective,
  present: jax.Array | None,
  beta: jax.Array,
  likelihood_weights: jax.Array,
  style_weights: jax.Array,
) -> ImportanceTerms:
  """K draws of every component, each decoded once by every modality.

  Arguments as of `objectives.elbo`; `style_weights` contain beta_style.

  Args:
    key: PRNG key, consumed.
    key_styles: PRNG key, consumed.
    joint: q(z | X), the proposal.
    styles: q(s_m | x_m), the styles' proposals.
    log_likelihood_fn: see LogLikelihoodFn.
    objective: its `bound`, `looser` and `num_samples` decide.
    present: Bool, shape [M, B], or None.
    beta: Scalar.
    likelihood_weights: Shape [M].
    style_weights: Shape [M].
  """
  z = mixture.sample_components(key, joint, objective.num_samples)
  num_components, num_samples, batch, num_latents = z.shape
  per_draw = (num_components, num_samples, batch)
  draws = jax.tree.map(
    lambda leaf: leaf.reshape(*per_draw, leaf.shape[-1]),
    decoding.style_draws(key_styles, styles, num_components * num_samples),
  )
  proposal, style_proposals = joint, styles
  tag = jnp.zeros(per_draw, z.dtype)
  if objective.bound == 'dreg':
    proposal, style_proposals = jax.lax.stop_gradient((joint, styles))
    axes = (1,) if objective.looser else (0, 1)
    (z, draws), tag = _doubly_reparameterised(axes, (z, draws), tag)
  num_modalities = likelihood_weights.shape[0]
  flat_z, flat_draws = jax.tree.map(
    # Not -1, which has no answer for a modality without a style.
    lambda leaf: leaf.reshape(num_components * num_samples, *leaf.shape[2:]),
    (z, draws),
  )
  log_likelihoods = decoding.log_likelihoods(
    log_likelihood_fn,
    decoding.for_every_modality(flat_z, num_modalities),
    flat_draws,
    present,
  ).reshape((num_modalities, *per_draw))
  log_ratio = mixture.log_density(z, proposal) - _log_prior(z)
  # A component that an example lacks has weight zero: keep its draws finite.
  log_ratio = jnp.where(joint.weights[:, None] > 0, log_ratio, 0)
  style_ratios = jnp.zeros_like(log_likelihoods)
  if styles is not None:
    style_ratios = jnp.stack(
      [
        gaussian.log_density(draw, _lifted(q, draw.ndim)) - _log_prior(draw)
        for draw, q in zip(draws, style_proposals or (), strict=True)
      ]
    )
  log_weights = (
    tag
    - beta * log_ratio
    - beta * jnp.tensordot(style_weights, style_ratios, 1)
    + jnp.tensordot(likelihood_weights, log_likelihoods, 1)
  )
  shares = joint.weights[:, None] / num_samples  # [S, 1, B]
  return ImportanceTerms(
    log_weights,
    jnp.sum(shares[None] * log_likelihoods, axis=(1, 2)),
    jnp.sum(shares * log_ratio, axis=(0, 1)),
    jnp.sum(shares[None] * style_ratios, axis=(1, 2)),
  )


def _lifted(q: Gaussian, rank: int) -> Gaussian:
  """q with axes of length one in front, up to `rank`."""
  return jax.tree.map(
    lambda leaf: leaf.reshape((1,) * (rank - leaf.ndim) + leaf.shape), q
  )


def _log_prior(z: jax.Array) -> jax.Array:
  """log N(z; 0, I). [..., D] -> [...]."""
  return -0.5 * jnp.sum(gaussian.LOG_2PI + jnp.square(z), axis=-1)


# The identity on (draws, tag). `tag` is added to the log-weights, so that its
# cotangent, divided by its sum, is the normalised importance weight of every
# draw: DReG multiplies the gradient through z by it once more (Tucker et al.
# 2019, Eq. 8). So one decode serves both the weights and the gradient.
def _doubly_reparameterised(axes, draws, tag):
  @jax.custom_vjp
  def identity(draws, tag):
    return draws, tag

  def forward(draws, tag):
    return (draws, tag), None

  def backward(_, cotangents):
    bars, tag_bar = cotangents
    total = jnp.sum(tag_bar, axis=axes, keepdims=True)
    share = tag_bar / jnp.where(total == 0, 1, total)
    bars = jax.tree.map(lambda bar: bar * share[..., None], bars)
    return bars, jnp.zeros_like(tag_bar)

  identity.defvjp(forward, backward)
  return identity(draws, tag)
