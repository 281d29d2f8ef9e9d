"""Objectives of multimodal VAEs as values of one grid.

An `Objective` picks one value on each axis: the joint posterior, the
regulariser, extra unimodal ELBOs, and the bound. The presets at the bottom are
the papers' methods. Networks stay with the caller: objectives see the unimodal
posteriors and a function from latents to log-likelihoods.

References, beside mmJSD and MoPoE (gaussian.py):
  MVAE: Wu, Goodman. Multimodal Generative Models for Scalable Weakly-Supervised
    Learning. NeurIPS 2018.
  MMVAE: Shi, Siddharth, Paige, Torr. Variational Mixture-of-Experts
    Autoencoders for Multi-Modal Deep Generative Models. NeurIPS 2019.
  Workshop: Sutter, Daunhawer, Vogt. Multimodal Generative Learning on
    dSprites. 2019 (the early version of mmJSD).
  DReG: Tucker, Lawson, Gu, Maddison. Doubly Reparameterized Gradient Estimators
    for Monte Carlo Objectives. ICLR 2019.

Legend in gaussian.py. In nats, one number per example; nothing here averages
over the batch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mmjsd_jax import divergence, gaussian, mixture, subsets
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture

# z -> log p(x_m | z[m]): latents [M, N, B, D], of which z[m] is for modality m
# to decode, to log-likelihoods [M, N, B]. With modality-specific latents it is
# called with z and a tuple of them, [N, B, D_m] each. The caller puts finite
# values in the place of absent modalities' data; their log-likelihoods are left
# out here.
LogLikelihoodFn = Callable[..., jax.Array]


class Objective(NamedTuple):
  """One cell of the grid. Static: hashable, compared by value.

  Attributes:
    posterior: joint posterior q(z | X). 'poe' is one product of all experts,
      'moe' a mixture of the experts, 'mopoe' a mixture of the products of all
      2^M - 1 subsets.
    regulariser: 'kl' to N(0, I), of a mixture by Jensen's bound; 'kl_mixture'
      the same without Jensen's bound, by Monte Carlo; 'jsd_geometric' and
      'jsd_arithmetic' the Jensen-Shannon divergence of the experts and N(0, I).
    bound: 'elbo'; 'iwae' with importance weights; 'dreg', the same value with
      doubly reparameterised gradients. Those are unbiased where the joint
      posterior is one component ('poe'). For a mixture they are MMVAE's, whose
      expectation is not the bound's gradient: draws of one component are
      reparameterised as if the whole mixture had been drawn from.
    prior_expert: into which products N(0, I) goes: subsets.PRIOR_EXPERTS.
    sampling: component of a mixture that an example decodes in the ELBO: one
      of mixture.SAMPLING_METHODS, or 'every_component' to decode them all.
    joint_likelihood: whether the joint posterior's samples are decoded.
    unimodal_elbos: whether an ELBO of every modality on its own is added.
    unimodal_weights_as_released: log-likelihood weights of 1 in those, as the
      authors' code has for MVAE, instead of the joint term's.
    num_samples: K. Draws from the joint posterior for 'elbo', from each of its
      components for 'iwae' and 'dreg'.
    looser: average the modalities' bounds outside the logarithm (MMVAE, Eq. 3)
      instead of inside.
    subset_posterior: q(z | X_k) in evaluation: 'mixture' or 'product' of the
      subset's experts, or 'dynamic_prior', their geometric mean with N(0, I).
  """

  posterior: str = 'mopoe'
  regulariser: str = 'kl'
  bound: str = 'elbo'
  prior_expert: str = 'never'
  sampling: str = 'stratified'
  joint_likelihood: bool = True
  unimodal_elbos: bool = False
  unimodal_weights_as_released: bool = False
  num_samples: int = 1
  looser: bool = False
  subset_posterior: str = 'product'


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


CHOICES = {
  'posterior': ('poe', 'moe', 'mopoe'),
  'regulariser': ('kl', 'kl_mixture', 'jsd_geometric', 'jsd_arithmetic'),
  'bound': ('elbo', 'iwae', 'dreg'),
  'prior_expert': subsets.PRIOR_EXPERTS,
  'sampling': (*mixture.SAMPLING_METHODS, 'every_component'),
  'subset_posterior': ('mixture', 'product', 'dynamic_prior'),
}


def make_objective(preset: str, **changes) -> Objective:
  """The preset with some of its fields changed.

  Raises:
    ValueError: an unknown preset, field or value, or a pair that has no
      meaning together.
  """
  if preset not in PRESETS:
    raise ValueError(
      f'objective must be one of {tuple(PRESETS)}; got {preset!r}'
    )
  unknown = set(changes) - set(Objective._fields)
  if unknown:
    raise ValueError(
      f'objective fields are {Objective._fields}; got {sorted(unknown)}'
    )
  return _checked(PRESETS[preset]._replace(**changes))


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
    return Mixture(_where_present(experts, present), weights)
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
    with_prior = {
      'never': jnp.array(False),
      'full_set': jnp.all(row),
      'always': jnp.array(True),
    }[objective.prior_expert]
    q = gaussian.product(experts, present=present, prior_expert=with_prior)
  weights = jnp.ones((1, batch), experts.mean.dtype)
  return Mixture(jax.tree.map(lambda leaf: leaf[None], q), weights)


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
    experts: unimodal posteriors q(z | x_m). Shape [M, B, D].
    log_likelihood_fn: see LogLikelihoodFn.
    objective: the cell of the grid.
    present: which modalities each example has. Bool, shape [M, B]; None means
      all. An absent modality has exactly no influence: its expert's slot may
      hold NaN. An example without any modality contributes zero.
    beta: weight of the regulariser, at least 0. Scalar.
    pi: weights of the Jensen-Shannon divergence, one per modality and the
      prior last, summing to one. Shape [M + 1]; None means uniform.
    likelihood_weights: w_m. Shape [M]; None means ones.
    styles: q(s_m | x_m), one per modality, each of its own size. Shape
      [B, D_m]. Every draw of z has its own draw of each, which
      `log_likelihood_fn` gets beside z. None means none.
    beta_style: weight of their KL, relative to beta. Scalar.
    style_weights: w^s_m. Shape [M]; None means ones.

  Raises:
    ValueError: shapes or dtypes that do not fit.
  """
  _check_inputs(experts, present, objective, likelihood_weights, style_weights)
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
  experts = _where_present(experts, present)
  if styles is not None:
    styles = _checked_styles(styles, present, experts.mean.shape)
  if style_weights is None:
    style_weights = jnp.ones(num_modalities, dtype)
  style_weights = jnp.asarray(beta_style * style_weights, dtype)
  joint = joint_posterior(experts, objective, present=present, pi=pi)

  if objective.bound != 'elbo':
    log_weights, fits, regulariser, style_kls = _importance_log_weights(
      key_joint,
      key_styles,
      joint,
      styles,
      log_likelihood_fn,
      objective,
      present,
      beta,
      weights,
      style_weights,
    )
    value = importance_bound(
      log_weights, joint.weights, looser=objective.looser
    )
    value = jnp.where(_any_present(joint), value, 0)
    nothing = jnp.zeros_like(fits)
    return ElboTerms(value, fits, regulariser, nothing, nothing, style_kls)

  regulariser = _regulariser(
    key_regulariser, experts, joint, objective, present, pi
  )
  draws, draw_weights = _joint_draws(key_joint, joint, objective)
  z = _for_every_modality(draws, num_modalities)  # [M, N, B, D]
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
  style_draws = _style_draws(key_styles, styles, z.shape[1])
  log_likelihoods = _log_likelihoods(log_likelihood_fn, z, style_draws, present)

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


def _importance_log_weights(
  key,
  key_styles,
  joint,
  styles,
  log_likelihood_fn,
  objective,
  present,
  beta,
  weights,
  style_weights,
):
  """Log-weights [S, K, B], and the mean log-likelihoods and divergences."""
  z = mixture.sample_components(key, joint, objective.num_samples)
  num_components, num_samples, batch, num_latents = z.shape
  per_draw = (num_components, num_samples, batch)
  draws = jax.tree.map(
    lambda leaf: leaf.reshape(*per_draw, leaf.shape[-1]),
    _style_draws(key_styles, styles, num_components * num_samples),
  )
  proposal, style_proposals = joint, styles
  tag = jnp.zeros(per_draw, z.dtype)
  if objective.bound == 'dreg':
    proposal, style_proposals = jax.lax.stop_gradient((joint, styles))
    axes = (1,) if objective.looser else (0, 1)
    (z, draws), tag = _doubly_reparameterised(axes, (z, draws), tag)
  num_modalities = weights.shape[0]
  flat_z, flat_draws = jax.tree.map(
    lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (z, draws)
  )
  log_likelihoods = _log_likelihoods(
    log_likelihood_fn,
    _for_every_modality(flat_z, num_modalities),
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
        for draw, q in zip(draws, style_proposals, strict=True)
      ]
    )
  log_weights = (
    tag
    - beta * log_ratio
    - beta * jnp.tensordot(style_weights, style_ratios, 1)
    + jnp.tensordot(weights, log_likelihoods, 1)
  )
  shares = joint.weights[:, None] / num_samples  # [S, 1, B]
  return (
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


def _joint_draws(key, joint, objective):
  """Draws of the joint posterior [N, B, D] and their weights [N, B]."""
  num_samples = objective.num_samples
  if objective.sampling == 'every_component':
    z = mixture.sample_components(key, joint, num_samples)
    weights = jnp.repeat(joint.weights / num_samples, num_samples, axis=0)
    return z.reshape((-1, *z.shape[2:])), weights
  z = jax.vmap(lambda k: mixture.sample(k, joint, method=objective.sampling))(
    jax.random.split(key, num_samples)
  )
  weights = jnp.full(z.shape[:2], 1 / num_samples, z.dtype)
  return z, weights


def _regulariser(key, experts, joint, objective, present, pi):
  """D of the joint posterior or of the experts. Shape [B]."""
  if objective.regulariser == 'kl':
    return mixture.kl_bound(joint)
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
    _where_present(style, present[index]) for index, style in enumerate(styles)
  )


def _style_draws(key, styles, num_draws):
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


def _log_likelihoods(log_likelihood_fn, z, style_draws, present):
  """Log-likelihoods [M, N, B], zero where absent."""
  values = log_likelihood_fn(z, *([style_draws] if style_draws else []))
  if values.shape != z.shape[:-1]:
    raise ValueError(
      f'log_likelihood_fn must return shape {z.shape[:-1]} for latents of '
      f'shape {z.shape}; got {values.shape}'
    )
  if present is None:
    return values
  return jnp.where(present[:, None], values, 0)


def _for_every_modality(z: jax.Array, num_modalities: int) -> jax.Array:
  """The same draws [N, B, D] for every modality. Shape [M, N, B, D]."""
  return jnp.broadcast_to(z[None], (num_modalities, *z.shape))


def _where_present(experts, present):
  if present is None:
    return experts
  return jax.tree.map(
    lambda leaf: jnp.where(present[..., None], leaf, 0), experts
  )


def _any_present(joint: Mixture) -> jax.Array:
  return jnp.any(joint.weights > 0, axis=0)


def _check_inputs(experts, present, objective, *weights):
  _checked(objective)
  shape = experts.mean.shape
  if len(shape) != 3 or experts.log_var.shape != shape:
    raise ValueError(
      'experts must have mean and log_var of one shape [M, B, D]; got '
      f'{shape} and {experts.log_var.shape}'
    )
  if present is not None and (
    present.shape != shape[:2] or present.dtype != bool
  ):
    raise ValueError(
      f'present must be bool of shape {shape[:2]}; got {present.dtype} of '
      f'shape {present.shape}'
    )
  names = ('likelihood_weights', 'style_weights')
  for name, values in zip(names, weights, strict=True):
    if values is not None and jnp.shape(values) != shape[:1]:
      raise ValueError(
        f'{name} must have shape {shape[:1]}; got {jnp.shape(values)}'
      )


def _checked(objective: Objective) -> Objective:
  for field, choices in CHOICES.items():
    value = getattr(objective, field)
    if value not in choices:
      raise ValueError(f'{field} must be one of {choices}; got {value!r}')
  if objective.num_samples < 1:
    raise ValueError(
      f'num_samples (K) must be at least 1; got {objective.num_samples}'
    )
  if objective.bound != 'elbo':
    needs = {
      'regulariser': 'kl',
      'joint_likelihood': True,
      'unimodal_elbos': False,
    }
    for field, value in needs.items():
      if getattr(objective, field) != value:
        raise ValueError(
          f'bound={objective.bound!r} needs {field}={value!r}; got '
          f'{getattr(objective, field)!r}'
        )
  if not (objective.joint_likelihood or objective.unimodal_elbos):
    raise ValueError(
      'joint_likelihood and unimodal_elbos are both False: nothing is decoded'
    )
  return objective


PRESETS = {
  # MVAE Eq. 4 as Sutter et al. train it: the joint ELBO and every unimodal
  # one, no random subsets. The mmJSD code takes KL(q_m || p) of the raw expert
  # in the unimodal ELBOs; here, as in the MoPoE code, of its product with the
  # prior expert, from which z is drawn. Not a bound on log p(X).
  'mvae': Objective(
    posterior='poe', prior_expert='always', unimodal_elbos=True
  ),
  # MMVAE as mmJSD Eq. 6 and MoPoE Eq. 9 have it: one draw, Jensen's bound.
  'mmvae': Objective(posterior='moe', subset_posterior='mixture'),
  # MMVAE Eq. 3 with its authors' gradients. Theirs has Laplace posteriors and
  # a learnt prior; the mmJSD tables' I = 30 rows have the Gaussians used here.
  'mmvae_dreg': Objective(
    posterior='moe',
    bound='dreg',
    num_samples=30,
    looser=True,
    subset_posterior='mixture',
  ),
  # mmJSD Eq. 5 with Definition 3. The MoPoE code's version also decodes draws
  # of the prior; this one, as the mmJSD code, draws from the experts alone.
  'mmjsd': Objective(posterior='moe', regulariser='jsd_geometric'),
  # MoPoE Eq. 6; the KL by Jensen's bound and the prior expert as in its code.
  'mopoe': Objective(posterior='mopoe', prior_expert='full_set'),
  # MoPoE Eq. 5 (Table 7): the mean of the ELBOs of all subsets (Eq. 4), each
  # with a draw and a decoding of its own. Equals 'mopoe' in expectation.
  'mopoe_eq5': Objective(
    posterior='mopoe', prior_expert='full_set', sampling='every_component'
  ),
  # Workshop Eq. 17: unimodal ELBOs and the product's KL; the product itself is
  # never decoded.
  'mmpoe': Objective(
    posterior='poe', joint_likelihood=False, unimodal_elbos=True
  ),
}
