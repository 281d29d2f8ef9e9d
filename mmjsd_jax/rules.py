"""What every value of the configuration must be, whatever the others are.

The bounds are no recommendation: beyond them float32 overflows in the first
step, steps no longer fit int32, or no common machine has the memory.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from mmjsd_jax import mixture, objectives
from mmjsd_jax.data import (
  celeba,
  digits,
  dsprites_text,
  gaps,
  mnist_svhn_text,
  sprites,
)
from mmjsd_jax.files import FILE_NAME, is_file_name
from mmjsd_jax.number_lists import MAX_NUMBERS, parse_numbers
from mmjsd_jax.objectives import Objective

DATASETS = (
  'polymnist',
  'mnist_svhn_text',
  'celeba',
  'dsprites_text',
  'custom',
)
COMPUTE_DTYPES = ('float32', 'bfloat16')
NON_FINITE = ('stop', 'skip', 'restore')
MAX_STEPS = 2**31 - 1  # the step is an int32


class Rule(NamedTuple):
  """What a value must be: in words, and as a test that never raises."""

  expected: str
  holds: Callable[[Any], bool]


def _integer(least: int, most: int = MAX_STEPS) -> Rule:
  return Rule(
    f'an integer of at least {least} and at most {most}',
    # Neither bool nor what numpy has.
    lambda value: type(value) is int and least <= value <= most,
  )


def _number(least: float, most: float) -> Rule:
  return Rule(
    f'a finite number of at least {least:g} and at most {most:g}',
    lambda value: (
      isinstance(value, int | float)
      and not isinstance(value, bool)
      and least <= value <= most
    ),
  )


def _one_of(choices: tuple[str, ...]) -> Rule:
  return Rule(
    f'one of {choices}',
    lambda value: isinstance(value, str) and value in choices,
  )


def _each(rule: Rule) -> Rule:
  return Rule(
    f'a tuple, each {rule.expected}',
    lambda values: isinstance(values, tuple) and all(map(rule.holds, values)),
  )


def _listed(rule: Rule) -> Rule:
  def holds(text: Any) -> bool:
    try:
      numbers = parse_numbers(text)
    except (AttributeError, ValueError):
      return False
    return isinstance(text, str) and all(map(rule.holds, numbers))

  return Rule(
    f"at most {MAX_NUMBERS} different numbers such as '0:5' or '0.5,1,2.5', or "
    f"'', each {rule.expected}",
    holds,
  )


def _or_none(rule: Rule) -> Rule:
  return Rule(
    f'{rule.expected}, or None',
    lambda value: value is None or rule.holds(value),
  )


def _is_text(value: Any) -> bool:
  """Whether it can be written into a file; paths of other encodings cannot."""
  return (
    isinstance(value, str)
    and '\0' not in value
    and not any('\ud800' <= character <= '\udfff' for character in value)
  )


def _is_path(value: Any) -> bool:
  if not _is_text(value):
    return False
  try:
    pathlib.Path(value).expanduser().exists()
  except (OSError, RuntimeError):  # too long, or the home of no known user
    return False
  return True


_FLAG = Rule('True or False', lambda value: isinstance(value, bool))
_TEXT = Rule('a string that UTF-8 can write', _is_text)
_PATH = Rule("a path that can be looked up, in UTF-8, or ''", _is_path)
_SEED = _integer(0, 2**32 - 1)  # JAX would cut off what is beyond 32 bits
# Eight times the papers' latents.
_SIZE = _integer(1, 4096)
# The papers' largest is 384. The product of three is squared in a float32.
_WEIGHT = _number(0, 1e4)
_RATE = _number(1e-12, 1)


def _field(name: str, kind: type) -> Rule:
  """The rule of a field of Objective."""
  if name in objectives.CHOICES:
    return _one_of(objectives.CHOICES[name])
  if name == 'num_subsets':
    return _integer(0, 2**16)
  return _FLAG if kind is bool else _integer(1)


# Every key of config.default().
RULES: dict[str, Rule] = {
  'name': Rule(
    FILE_NAME, lambda value: isinstance(value, str) and is_file_name(value)
  ),
  'seed': _SEED,
  'data.name': _one_of(DATASETS),
  'data.declaration': _TEXT,
  'data.digits': _one_of(digits.SOURCES),
  'data.dir': _PATH,
  'data.backgrounds': _each(_PATH),
  'data.modalities': _each(_TEXT),
  'data.seed': _SEED,
  'data.embedded_repeats': _integer(1, 100),
  'data.allow_download': _FLAG,
  'data.num_pairings': _integer(1, 100),
  'data.pairing': _one_of(mnist_svhn_text.PAIRINGS),
  'data.test_split': _one_of(celeba.TEST_SPLITS),
  'data.sprites': _one_of(dsprites_text.SOURCES),
  'data.num_examples': _integer(0, sprites.NUM_IMAGES),
  'data.test_share': _number(1e-4, 0.9),
  'data.stream': _FLAG,
  'data.num_validation': _integer(0),
  'data.missing': _number(0, 1),
  'data.missing_how': _one_of(gaps.HOW),
  'data.incomplete': _one_of(gaps.INCOMPLETE),
  'model.latent_dim': _SIZE,
  'model.hidden_dim': _SIZE,
  'model.width': _integer(1, 1024),  # eight times the papers'
  'model.style_dim': _each(_integer(0, 4096)),
  'model.text_likelihood': _one_of(('categorical', 'as_released')),
  'model.draws_per_decode': _integer(0),
  'model.first_colour': _one_of(('as_released', 'median')),
  'objective.preset': _one_of(tuple(objectives.PRESETS)),
  'objective.beta': _WEIGHT,
  'objective.beta_warmup_steps': _integer(0),
  'objective.pi': _each(_number(0, 1)),
  'objective.likelihood_weights': _each(_WEIGHT),
  'objective.weigh_by_size': _FLAG,
  'objective.beta_style': _WEIGHT,
  'objective.style_weights': _each(_WEIGHT),
  **{
    f'objective.change.{name}': _or_none(_field(name, kind))
    for name, kind in Objective.__annotations__.items()
  },
  'train.batch_size': _integer(1, 2**16),
  'train.num_epochs': _integer(0),
  'train.num_steps': _integer(0),
  'train.learning_rate': _RATE,
  'train.learning_rate_warmup_steps': _integer(0),
  'train.compute_dtype': _one_of(COMPUTE_DTYPES),
  'train.log_every': _integer(1),
  'train.checkpoint_every': _integer(1),
  'train.keep_checkpoints': _integer(2),  # one to fall back to
  'train.non_finite': _one_of(NON_FINITE),
  'train.shard_params': _FLAG,
  'population.seed': _listed(_SEED),
  'population.beta': _listed(_WEIGHT),
  'population.beta_style': _listed(_WEIGHT),
  'population.learning_rate': _listed(_RATE),
  'population.together': _integer(0, MAX_NUMBERS),
  'evaluation.checkpoint': _one_of(('final', 'best')),
  'evaluation.seed': _SEED,
  'evaluation.subsets': _each(_TEXT),
  'evaluation.sampling': _one_of(mixture.SAMPLING_METHODS),
  'evaluation.num_probe_samples': _each(_integer(20)),
  'evaluation.num_joint_samples': _integer(1, 10**7),
  'evaluation.sampler': _one_of(('', 'gmm')),
  'evaluation.sampler_components': _integer(1, 1000),
  'evaluation.num_importance_samples': _integer(1, 10**7),
  'evaluation.num_joint_importance_samples': _integer(1, 10**7),
  'evaluation.num_log_likelihood_examples': _integer(1),
  'evaluation.num_test_examples': _integer(0),
  'evaluation.untrained_baseline': _FLAG,
  'evaluation.as_released': _FLAG,
  'evaluation.readings': _FLAG,
  'evaluation.num_quality_samples': _integer(0),
  'evaluation.inception_weights': _PATH,
  'evaluation.condition_on': _TEXT,
}
