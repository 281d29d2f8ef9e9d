"""From unimodal posteriors to those of several modalities.

Legend in gaussian.py.
"""

import jax
import jax.numpy as jnp

from mmjsd_jax import divergence, gaussian, subsets
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.presets import Objective


def joint_posterior(
  experts: Gaussian,
  objective: Objective,
  *,
  present: jax.Array | None = None,
  pi: jax.Array | None = None,
) -> Mixture:
  """q(z | X) of the objective. Components [S, B, D], weights [S, B].

  'poe': S = 1, MVAE Eq. 3 (there with the prior expert). 'moe': S = M, MMVAE
  Eq. 2; weights follow pi without the prior where the regulariser is a
  Jensen-Shannon divergence, else they are equal. 'mopoe': S = 2^M - 1, equal
  weights, MoPoE Definition 1.2.

  Args:
    experts: unimodal posteriors. Shape [M, B, D].
    objective: the cell of the grid.
    present: Bool, shape [M, B]; None means all. Absent experts have weight
      zero, whatever stands in their slots.
    pi: weights of the Jensen-Shannon divergence, the prior last. [M + 1].
  """
  num_modalities, batch, _ = experts.mean.shape
  dtype = experts.mean.dtype
  everywhere = jnp.ones((num_modalities, batch), bool)
  mask = everywhere if present is None else present
  if objective.posterior == 'poe':
    with_prior = objective.prior_expert != 'never'
    product = gaussian.product(
      experts, present=present, prior_expert=with_prior
    )
    weights = jnp.any(mask, axis=0, keepdims=True).astype(dtype)
    return Mixture(jax.tree.map(lambda leaf: leaf[None], product), weights)
  if objective.posterior == 'moe':
    if objective.regulariser.startswith('jsd') and pi is not None:
      weights = jnp.where(mask, pi[:-1, None], 0)
    else:
      weights = mask.astype(dtype)
    total = jnp.sum(weights, axis=0, keepdims=True)
    weights = weights / jnp.where(total > 0, total, 1)
    return Mixture(where_present(experts, present), weights)
  table = subsets.membership(num_modalities)
  components = subsets.posteriors(
    experts, table, present=present, prior_expert=objective.prior_expert
  )
  return Mixture(components, subsets.uniform_weights(table, mask, dtype=dtype))


def subset_posterior(
  experts: Gaussian,
  row: jax.Array,
  objective: Objective,
  *,
  pi: jax.Array | None = None,
) -> Mixture:
  """q(z | X_k), by which an objective's model is judged on a subset.

  MVAE and MoPoE: the product of the subset's experts, with the prior expert
  where the objective has it. MMVAE: their mixture. mmJSD: its joint posterior
  is a mixture, yet the published numbers for several inputs come from products
  and from the dynamic prior; 'product' is the preset.

  Args:
    experts: Shape [M, B, D].
    row: the modalities in the subset. Bool, shape [M]; may be traced.
    objective: its `subset_posterior` and `prior_expert` decide.
    pi: as in `joint_posterior`.

  Returns:
    A mixture of S = M components for 'mixture', else of S = 1.
  """
  num_modalities, batch, _ = experts.mean.shape
  present = jnp.broadcast_to(row[:, None], (num_modalities, batch))
  if objective.subset_posterior == 'mixture':
    mixed = objective._replace(posterior='moe')
    return joint_posterior(experts, mixed, present=present, pi=pi)
  if objective.subset_posterior == 'dynamic_prior':
    weights = divergence.prior_last_weights(
      num_modalities, present, pi, experts.mean.dtype
    )
    q = gaussian.geometric_mean(divergence.with_prior(experts), weights)
  else:
    with_prior = subsets.has_prior(row, objective.prior_expert)
    q = gaussian.product(experts, present=present, prior_expert=with_prior)
  weights = jnp.ones((1, batch), experts.mean.dtype)
  return Mixture(jax.tree.map(lambda leaf: leaf[None], q), weights)


def where_present(experts: Gaussian, present: jax.Array | None) -> Gaussian:
  """The experts, with N(0, I) in the slots of absent ones."""
  if present is None:
    return experts
  return jax.tree.map(
    lambda leaf: jnp.where(present[..., None], leaf, 0), experts
  )
