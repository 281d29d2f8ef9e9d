"""Objectives of multimodal VAEs: from unimodal posteriors to their terms.

Networks stay with the caller: objectives see the unimodal posteriors and a
function from latents to log-likelihoods. What there is to choose is in
presets.py, with the papers that it comes from.

Legend in gaussian.py. In nats, one number per example; nothing here averages
over the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjsd_jax import (
  decoding,
  divergence,
  fusion,
  gaussian,
  importance,
  mixture,
  power_set,
)
from mmjsd_jax.decoding import LogLikelihoodFn
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.power_set import PowerSet
from mmjsd_jax.presets import CHOICES as CHOICES
from mmjsd_jax.presets import PRESETS as PRESETS
from mmjsd_jax.presets import Objective as Objective
from mmjsd_jax.presets import check_num_modalities as check_num_modalities
from mmjsd_jax.presets import check_objective
from mmjsd_jax.presets import idle_fields as idle_fields
from mmjsd_jax.presets import lists_components as lists_components
from mmjsd_jax.presets import make_objective as make_objective


class ElboTerms(NamedTuple):
  """What an objective is made of. Shapes [B] and [M, B], in nats.

  Attributes:
    objective: the value to maximise. Shape [B].
    log_likelihoods: log p(x_m | z), z from the joint posterior, averaged over
      draws, without weights; 0 where absent. Shape [M, B].
    regulariser: divergence of the joint posterior, without beta. Shape [B].
    unimodal_log_likelihoods: the same in the unimodal ELBOs, 0 if there are
      none. Shape [M, B].
    unimodal_regularisers: the same in the unimodal ELBOs. Shape [M, B].
    style_regularisers: KL(q(s_m | x_m) || N(0, I)), without weights, 0 if
      there are no styles or the modality is absent. Shape [M, B].
  """

  objective: jax.Array
  log_likelihoods: jax.Array
  regulariser: jax.Array
  unimodal_log_likelihoods: jax.Array
  unimodal_regularisers: jax.Array
  style_regularisers: jax.Array


def elbo(
  key: jax.Array,
  experts: Gaussian,
  log_likelihood_fn: LogLikelihoodFn,
  *,
  objective: Objective,
  present: jax.Array | None = None,
  beta: jax.typing.ArrayLike = 1.0,
  pi: jax.Array | None = None,
  likelihood_weights: jax.Array | None = None,
  styles: Sequence[Gaussian] | None = None,
  beta_style: jax.typing.ArrayLike = 1.0,
  style_weights: jax.Array | None = None,
) -> ElboTerms:
  """The objective, to be maximised, and its terms.

    sum_m w_m log p(x_m | z) - beta D(q(z | X) || p(z)),  z ~ q(z | X),

  plus the unimodal ELBOs where the objective has them, less, for modality-
  specific latents, beta * beta_style sum_m w^s_m KL(q(s_m | x_m) || N(0, I)) in
  the joint and again in the unimodal ELBOs (mmJSD, Eq. 10); or, for 'iwae' and
  'dreg', log of the mean over K draws per component of
  exp(sum_m w_m log p(x_m | z) + beta log p(z) - beta log q(z | X)), with the
  density of the whole mixture as q, and the styles' densities likewise, weighed
  as their KL is.

  With weights and beta of one, 'kl' and no unimodal ELBOs this is a lower bound
  on log p(X). Jensen-Shannon regularisers give no bound: their dynamic prior
  depends on X (contrary to mmJSD, Lemma 2).

  Args:
    key: PRNG key, consumed.
    experts: unimodal posteriors q(z | x_m). Floating, shape [M, B, D].
    log_likelihood_fn: z to log p(x_m | z[m]): draws [M, N, B, D], of which
      modality m decodes z[m], to values [M, N, B]; the objective says how many
      draws N are. With styles it is called with z and a tuple of draws of
      these, [N, B, D_m] each.
    objective: the cell of the grid, of `make_objective`.
    present: which modalities each example has. Bool, shape [M, B]; None means
      all. An absent modality has exactly no influence: its expert's slot may
      hold NaN. Its data may not, since `log_likelihood_fn` sees them: a NaN
      there makes the decoder's gradient NaN. An example without any modality
      contributes zero.
    beta: weight of the regulariser, at least 0. Scalar.
    pi: weights of the Jensen-Shannon divergence, one per modality and the
      prior last, summing to one. Shape [M + 1]; None means uniform. Objectives
      with another regulariser do not use it.
    likelihood_weights: w_m. Shape [M]; None means ones.
    styles: q(s_m | x_m), one per modality, each of its own size. Shape
      [B, D_m]. Every draw of z has its own draw of each, which
      `log_likelihood_fn` gets beside z. None means none.
    beta_style: weight of their KL, relative to beta. Scalar.
    style_weights: w^s_m. Shape [M]; None means ones.

  Returns:
    The objective and its terms, one number per example, in nats.

  Raises:
    ValueError: types, shapes or dtypes that do not fit.
  """
  experts = _checked_gaussian('experts', experts)
  present = None if present is None else jnp.asarray(present)
  _check_inputs(
    experts,
    present,
    objective,
    vectors={
      'likelihood_weights': likelihood_weights,
      'style_weights': style_weights,
    },
    scalars={'beta': beta, 'beta_style': beta_style},
  )
  num_modalities = experts.mean.shape[0]
  dtype = experts.mean.dtype
  if likelihood_weights is None:
    likelihood_weights = jnp.ones(num_modalities, dtype)
  if pi is not None:
    pi = jnp.asarray(pi, dtype)
    if pi.shape != (num_modalities + 1,):
      raise ValueError(
        f'pi must have shape ({num_modalities + 1},), the prior last; got '
        f'{pi.shape}'
      )
  weights = jnp.asarray(likelihood_weights, dtype)
  beta = jnp.asarray(beta, dtype)
  key_joint, key_unimodal, key_regulariser, key_styles = jax.random.split(
    key, 4
  )
  experts = fusion.where_present(experts, present)
  if styles is not None:
    styles = _checked_styles(styles, present, experts.mean.shape)
  if style_weights is None:
    style_weights = jnp.ones(num_modalities, dtype)
  style_weights = jnp.asarray(beta_style * jnp.asarray(style_weights), dtype)

  if objective.bound != 'elbo':
    listed = fusion.joint_posterior(experts, objective, present=present, pi=pi)
    terms = importance.draw_terms(
      key_joint,
      key_styles,
      listed,
      styles,
      log_likelihood_fn,
      objective=objective,
      present=present,
      beta=beta,
      likelihood_weights=weights,
      style_weights=style_weights,
    )
    value = importance.importance_bound(
      terms.log_weights, listed.weights, looser=objective.looser
    )
    value = jnp.where(_any_present(listed), value, 0)
    nothing = jnp.zeros_like(terms.log_likelihoods)
    return ElboTerms(
      value,
      terms.log_likelihoods,
      terms.divergence,
      nothing,
      nothing,
      terms.style_divergences,
    )

  joint = _joint_posterior(experts, objective, present, pi)
  regulariser = _regulariser(
    key_regulariser, experts, joint, objective, present, pi
  )
  draws, draw_weights = _joint_draws(key_joint, joint, objective)
  z = decoding.for_every_modality(draws, num_modalities)  # [M, N, B, D]
  if objective.unimodal_elbos:
    unimodal = _unimodal_posteriors(experts, present, objective)
    own = gaussian.sample(key_unimodal, unimodal)[:, None]  # [M, 1, B, D]
    z = jnp.concatenate([z, own], axis=1) if objective.joint_likelihood else own
    if present is None:
      own_regularisers = gaussian.kl_to_standard_normal(unimodal)
    else:
      own_regularisers = jnp.where(
        present, gaussian.kl_to_standard_normal(unimodal), 0
      )
  style_draws = decoding.style_draws(key_styles, styles, z.shape[1])
  log_likelihoods = decoding.log_likelihoods(
    log_likelihood_fn, z, style_draws, present
  )

  zeros = jnp.zeros_like(log_likelihoods[:, 0])  # [M, B]
  joint_terms = own_terms = own_kls = zeros
  style_kls = zeros
  if styles is not None:
    # Zero where absent: those slots now hold N(0, I).
    style_kls = jnp.stack(
      [gaussian.kl_to_standard_normal(style) for style in styles]
    )
  style_terms = jnp.sum(style_weights[:, None] * style_kls, axis=0)
  num_elbos = objective.joint_likelihood + objective.unimodal_elbos
  value = -beta * (regulariser + num_elbos * style_terms)
  if objective.joint_likelihood:
    num_draws = draw_weights.shape[0]
    joint_terms = jnp.sum(
      draw_weights[None] * log_likelihoods[:, :num_draws], axis=1
    )
    value += jnp.sum(weights[:, None] * joint_terms, axis=0)
  if objective.unimodal_elbos:
    own_terms, own_kls = log_likelihoods[:, -1], own_regularisers
    own_weights = weights[:, None]
    if objective.unimodal_weights_as_released:
      own_weights = jnp.ones_like(own_weights)
    value += jnp.sum(own_weights * own_terms - beta * own_kls, axis=0)
  return ElboTerms(
    value, joint_terms, regulariser, own_terms, own_kls, style_kls
  )


def _joint_posterior(experts, objective, present, pi) -> Mixture | PowerSet:
  """q(z | X), with its components listed where a step needs all of them."""
  if objective.posterior != 'mopoe' or lists_components(objective):
    return fusion.joint_posterior(experts, objective, present=present, pi=pi)
  if present is None:
    present = jnp.ones(experts.mean.shape[:2], bool)
  return PowerSet(experts, present, objective.prior_expert)


def _joint_draws(key, joint, objective):
  """Draws of the joint posterior [N, B, D] and their weights [N, B]."""
  num_samples = objective.num_samples
  if objective.sampling == 'every_component':
    z = mixture.sample_components(key, joint, num_samples)
    weights = jnp.repeat(joint.weights / num_samples, num_samples, axis=0)
    return z.reshape((-1, *z.shape[2:])), weights
  of = power_set if isinstance(joint, PowerSet) else mixture
  z = jax.vmap(lambda k: of.sample(k, joint, method=objective.sampling))(
    jax.random.split(key, num_samples)
  )
  weights = jnp.full(z.shape[:2], 1 / num_samples, z.dtype)
  return z, weights


def _regulariser(key, experts, joint, objective, present, pi):
  """D of the joint posterior or of the experts. Shape [B]."""
  if objective.regulariser == 'kl':
    if not isinstance(joint, PowerSet):
      return mixture.kl_bound(joint)
    if not objective.num_subsets:
      return power_set.kl_bound(joint)
    return power_set.kl_estimate(key, joint, num_subsets=objective.num_subsets)
  if objective.regulariser == 'kl_mixture':
    return mixture.kl_monte_carlo(key, joint, num_samples=objective.num_samples)
  pi = divergence.prior_last_weights(
    experts.mean.shape[0], present, pi, experts.mean.dtype
  )
  components = divergence.with_prior(experts)
  if objective.regulariser == 'jsd_geometric':
    return divergence.geometric_js(components, pi)
  return divergence.arithmetic_js(
    key, components, pi, num_samples=objective.num_samples
  )


def _unimodal_posteriors(experts, present, objective):
  """q(z | x_m), with the prior expert where products have it. [M, B, D]."""
  if objective.prior_expert != 'always':
    return experts
  alone = jax.tree.map(lambda leaf: leaf[None], experts)
  mask = None if present is None else present[None]
  return gaussian.product(alone, present=mask, prior_expert=True)


def _checked_styles(styles, present, shape):
  """Styles with N(0, I) in the slots of absent modalities."""
  num_modalities, batch, _ = shape
  styles = [_checked_gaussian('styles', style) for style in styles]
  shapes = [style.mean.shape for style in styles]
  if len(styles) != num_modalities or any(
    len(shape) != 2 or shape[0] != batch for shape in shapes
  ):
    raise ValueError(
      f'styles must be {num_modalities} Gaussians of shape [{batch}, D_m]; '
      f'got {shapes}'
    )
  if present is None:
    return tuple(styles)
  return tuple(
    fusion.where_present(style, present[index])
    for index, style in enumerate(styles)
  )


def _any_present(joint: Mixture) -> jax.Array:
  return jnp.any(joint.weights > 0, axis=0)


def _checked_gaussian(name, given):
  """A Gaussian of JAX arrays, floating and of one shape."""
  if not isinstance(given, Gaussian):
    raise ValueError(
      f'{name} must be gaussian.Gaussian(mean, log_var); got a '
      f'{type(given).__name__}'
    )
  mean, log_var = map(jnp.asarray, given)
  if mean.shape != log_var.shape:
    raise ValueError(
      f'{name} must have mean and log_var of one shape; got {mean.shape} and '
      f'{log_var.shape}'
    )
  for leaf in (mean, log_var):
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
      raise ValueError(f'{name} must be floating; got {leaf.dtype}')
  return Gaussian(mean, log_var)


def _check_inputs(experts, present, objective, *, vectors, scalars):
  if not isinstance(objective, Objective):
    raise ValueError(
      f'objective must be an Objective, of make_objective; got {objective!r}'
    )
  check_objective(objective)
  shape = experts.mean.shape
  if len(shape) != 3:
    raise ValueError(f'experts must have shape [M, B, D]; got {shape}')
  check_num_modalities(objective, shape[0])
  if present is not None and (
    present.shape != shape[:2] or present.dtype != bool
  ):
    raise ValueError(
      f'present must be bool of shape {shape[:2]}; got {present.dtype} of '
      f'shape {present.shape}'
    )
  for name, value in scalars.items():
    if got := jnp.asarray(value).shape:
      raise ValueError(f'{name} must be a scalar; got shape {got}')
  for name, values in vectors.items():
    if values is None:
      continue
    got = jnp.asarray(values).shape
    if got != shape[:1]:
      raise ValueError(f'{name} must have shape {shape[:1]}; got {got}')
