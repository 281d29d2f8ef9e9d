"""The grid of objectives, and the papers' methods as values of it.

An `Objective` picks one value on each axis: the joint posterior, the
regulariser, extra unimodal ELBOs, and the bound.

References, beside mmJSD and MoPoE (gaussian.py):
  MVAE: Wu, Goodman. Multimodal Generative Models for Scalable Weakly-Supervised
    Learning. NeurIPS 2018.
  MMVAE: Shi, Siddharth, Paige, Torr. Variational Mixture-of-Experts
    Autoencoders for Multi-Modal Deep Generative Models. NeurIPS 2019.
  Workshop: Sutter, Daunhawer, Vogt. Multimodal Generative Learning Utilizing
    Jensen-Shannon-Divergence. 2019 (the early version of mmJSD, on dSprites).
  DReG: Tucker, Lawson, Gu, Maddison. Doubly Reparameterized Gradient Estimators
    for Monte Carlo Objectives. ICLR 2019.
"""

from typing import NamedTuple

from mmjsd_jax import mixture, power_set, subsets

# A gigabyte of components at a batch of 256 and 256 latents.
MAX_LISTED_MODALITIES = 12
# Beyond, the subsets of one step take minutes.
MAX_COUNTED_MODALITIES = 16


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
    num_subsets: N. Subsets that each example draws for MoPoE's KL: an unbiased
      estimate, by power_set.kl_estimate. 0 counts all.
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
  num_subsets: int = 0
  num_samples: int = 1
  looser: bool = False
  subset_posterior: str = 'product'


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
  return check_objective(PRESETS[preset]._replace(**changes))


def check_objective(objective: Objective) -> Objective:
  """The objective, if its fields have a meaning together.

  Raises:
    ValueError: an unknown value, or a pair that has no meaning together.
  """
  for field, choices in CHOICES.items():
    value = getattr(objective, field)
    if value not in choices:
      raise ValueError(f'{field} must be one of {choices}; got {value!r}')
  for field, default in Objective._field_defaults.items():
    value = getattr(objective, field)
    if not isinstance(value, type(default)):
      expected = type(default).__name__
      raise ValueError(f'{field} must be of type {expected}; got {value!r}')
  if objective.num_subsets < 0:
    raise ValueError(
      f'num_subsets must be at least 0; got {objective.num_subsets}'
    )
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


def lists_components(objective: Objective) -> str:
  """What makes a step compute every component of a mixture; or ''."""
  for field, needs in (
    ('bound', objective.bound != 'elbo'),
    ('regulariser', objective.regulariser == 'kl_mixture'),
    (
      'sampling',
      objective.joint_likelihood and objective.sampling == 'every_component',
    ),
  ):
    if needs:
      return f'{field}={getattr(objective, field)!r}'
  return ''


def check_num_modalities(objective: Objective, num_modalities: int) -> None:
  """Refuses more subsets than a step could go through.

  Raises:
    ValueError: names the field, what was expected and what was got.
  """
  if objective.posterior != 'mopoe':
    return
  why = lists_components(objective)
  if why:
    most = MAX_LISTED_MODALITIES
  elif objective.regulariser == 'kl' and not objective.num_subsets:
    why, most = 'num_subsets=0', MAX_COUNTED_MODALITIES
  else:
    why, most = "posterior='mopoe'", power_set.MAX_MODALITIES
  if num_modalities > most:
    raise ValueError(
      f'{why} needs at most {most} modalities, of which there are '
      f'{2**most - 1:,} subsets; got {num_modalities}'
    )


def idle_fields(objective: Objective) -> dict[str, str]:
  """Fields that change nothing in this cell -> what makes them idle."""
  idle = {}
  if objective.bound == 'elbo':
    idle['looser'] = "bound='elbo'"
    if not objective.joint_likelihood:
      idle['sampling'] = 'joint_likelihood=False'
      if objective.regulariser in ('kl', 'jsd_geometric'):
        idle['num_samples'] = idle['sampling']
  else:
    idle['sampling'] = f'bound={objective.bound!r}'
  if objective.posterior != 'mopoe':
    idle['num_subsets'] = f'posterior={objective.posterior!r}'
  elif lists_components(objective):
    idle['num_subsets'] = lists_components(objective)
  elif objective.regulariser != 'kl':
    idle['num_subsets'] = f'regulariser={objective.regulariser!r}'
  if not objective.unimodal_elbos:
    idle['unimodal_weights_as_released'] = 'unimodal_elbos=False'
    if objective.posterior == 'moe' and objective.subset_posterior != 'product':
      idle['prior_expert'] = (
        f"posterior='moe' and subset_posterior={objective.subset_posterior!r}"
      )
  return idle


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
