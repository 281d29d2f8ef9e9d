"""What makes a configuration valid: every value alone, then values together.

Nothing here loads data or asks for a device. Values come flat, by their dotted
keys, as `config.flatten` gives them.
"""

import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

from mmjsd_jax import objectives, power_set, subsets
from mmjsd_jax.data import (
  backgrounds,
  celeba,
  dsprites_text,
  mnist_svhn_text,
  polymnist,
)
from mmjsd_jax.data.declaration import ModalitySpec, from_json
from mmjsd_jax.number_lists import MAX_NUMBERS, parse_numbers
from mmjsd_jax.objectives import Objective
from mmjsd_jax.rules import MAX_STEPS, RULES

Values = Mapping[str, Any]  # dotted key -> value

# Fewer have no nearest neighbours and clusters to speak of.
FEWEST_QUALITY_SAMPLES = 10
# More are evaluated by name alone: these have 1,023 subsets.
MOST_MODALITIES_IN_FULL = 10
# Lists of config.population to the keys whose values they are.
POPULATION_KEYS = {
  'seed': 'seed',
  'beta': 'objective.beta',
  'beta_style': 'objective.beta_style',
  'learning_rate': 'train.learning_rate',
}
_POPULATION = tuple(f'population.{name}' for name in POPULATION_KEYS)
# Data sets whose tuples have all modalities, unless some are taken away.
_COMPLETE = ('polymnist', 'mnist_svhn_text', 'celeba', 'dsprites_text')
# Keys that mean something to these data sets alone.
_DIGITS = ('polymnist', 'mnist_svhn_text')
_ONLY_OF = {
  'data.digits': _DIGITS,
  'data.embedded_repeats': _DIGITS,
  'data.allow_download': _DIGITS,
  'data.backgrounds': ('polymnist',),
  'data.num_pairings': ('mnist_svhn_text',),
  'data.pairing': ('mnist_svhn_text',),
  'data.test_split': ('celeba',),
  'data.sprites': ('dsprites_text',),
  'data.num_examples': ('dsprites_text',),
  'data.test_share': ('dsprites_text',),
  'model.hidden_dim': ('polymnist',),
  'model.width': ('celeba',),
  'model.first_colour': (*_DIGITS, 'celeba'),
  'model.text_likelihood': (*_DIGITS, 'celeba'),
}
# 4 GB of float32, before anything is decoded.
_MAX_LATENTS = 2**30


def check(values: Values, defaults: Values) -> None:
  """Refuses what cannot work, or would have no effect, before data are loaded.

  Args:
    values: of the configuration.
    defaults: all keys there are, and their defaults.

  Raises:
    ValueError: names the key, what was expected and what was got.
  """
  for key in sorted(defaults.keys() ^ values.keys()):
    is_missing = key in defaults
    raise ValueError(
      f'config.{key} is {"missing" if is_missing else "unknown"}'
    )
  for key, value in values.items():
    rule = RULES[key]
    _require(rule.holds(value), key, rule.expected, value)
  objective = make_objective(values)
  _check_data(values)
  _check_weights(values)
  _check_training(values)
  _check_population(values)
  _check_evaluation(values)
  for key, why in _without_effect(values, objective):
    _require(
      values[key] == defaults[key],
      key,
      f'{defaults[key]!r}, as it has no effect with {why}',
      values[key],
    )
  _check_some_modalities(values)


def make_objective(values: Values) -> Objective:
  """The preset with the fields of objective.change applied.

  Raises:
    ValueError: fields that have no meaning together, or no effect.
  """
  prefix = 'objective.change.'
  changes = {
    key.removeprefix(prefix): value
    for key, value in values.items()
    if key.startswith(prefix) and value is not None
  }
  preset = values['objective.preset']
  try:
    objective = objectives.make_objective(preset, **changes)
  except ValueError as error:
    raise ValueError(
      f'config.objective.change must fit the preset {preset!r}: {error}'
    ) from None
  idle = objectives.idle_fields(objective)
  for field, value in changes.items():
    kept = getattr(objectives.PRESETS[preset], field)
    _require(
      field not in idle or value == kept,
      prefix + field,
      f'None or {kept!r}, as it has no effect with {idle.get(field)}',
      value,
    )
  return objective


def check_modalities(values: Values, modalities: tuple[str, ...]) -> None:
  """Refuses what does not fit the data set's modalities.

  Args:
    values: of a configuration that is valid but for this.
    modalities: all that the data set has, in its order.

  Raises:
    ValueError: names the key, what was expected and what was got.
  """
  chosen = values['data.modalities']
  for name in chosen:
    _require(
      name in modalities, 'data.modalities', f'names of {modalities}', name
    )
  used = chosen or modalities
  _require(
    used == tuple(name for name in modalities if name in used),
    'data.modalities',
    f'distinct names in the order of {modalities}',
    used,
  )
  try:
    objectives.check_num_modalities(make_objective(values), len(used))
  except ValueError as error:
    raise ValueError(f'config.objective.change: {error}') from None
  _require(
    bool(values['evaluation.subsets']) or len(used) <= MOST_MODALITIES_IN_FULL,
    'evaluation.subsets',
    f'names of subsets with more than {MOST_MODALITIES_IN_FULL} modalities, as '
    f'{len(used)} have {2 ** len(used) - 1:,}',
    (),
  )
  _check_subsets(values['evaluation.subsets'], used)
  _require(
    values['evaluation.condition_on'] in ('', *used),
    'evaluation.condition_on',
    f'one of {used}',
    values['evaluation.condition_on'],
  )
  _require(
    len(used) > 1 or not values['data.missing'],
    'data.missing',
    f'0, as every tuple keeps a modality and {used} is the only one',
    values['data.missing'],
  )
  _require(
    'text' in used or values['model.text_likelihood'] == 'categorical',
    'model.text_likelihood',
    f"'categorical', as none of {used} is text",
    values['model.text_likelihood'],
  )
  for key, extra in (
    ('model.style_dim', 0),
    ('objective.pi', 1),
    ('objective.likelihood_weights', 0),
    ('objective.style_weights', 0),
  ):
    _require(
      len(values[key]) in (0, len(used) + extra),
      key,
      f'{len(used) + extra} numbers for the modalities {used}'
      + (' and the prior' if extra else ''),
      len(values[key]),
    )
  _check_memory(values, len(used))


def check_num_steps(values: Values, num_steps: int) -> None:
  """Refuses a length of the run that cannot work.

  Args:
    values: of a valid configuration.
    num_steps: steps that it comes to.

  Raises:
    ValueError: names the key, what was expected and what was got.
  """
  _require(
    num_steps <= MAX_STEPS,
    'train.num_epochs',
    f'so few that it comes to at most {MAX_STEPS:,} steps',
    f'{num_steps:,} steps',
  )
  warmup = values['objective.beta_warmup_steps']
  _require(
    values['evaluation.checkpoint'] == 'final' or warmup <= num_steps,
    'evaluation.checkpoint',
    f"'final', as no checkpoint is best before objective.beta_warmup_steps = "
    f'{warmup} are over, and there are {num_steps} steps',
    values['evaluation.checkpoint'],
  )


def _check_data(values: Values) -> None:
  num_examples, share = values['data.num_examples'], values['data.test_share']
  _require(
    not num_examples or 0 < round(share * num_examples) < num_examples,
    'data.num_examples, data.test_share',
    'such that there is an example to train and one to test on',
    (num_examples, share),
  )
  if values['data.stream']:
    _require(
      values['data.name'] in ('polymnist', 'celeba'),
      'data.stream',
      "False, as data.name is not 'polymnist' or 'celeba': the tuples of other "
      'sets share their items, which fit in memory',
      True,
    )
    _require(
      bool(values['data.dir']) or values['data.name'] == 'celeba',
      'data.stream, data.dir',
      'False, or True and the folder of a prepared copy',
      (True, ''),
    )
    _require(
      not values['data.missing'],
      'data.missing',
      '0 with data.stream = True, as streamed tuples are complete',
      values['data.missing'],
    )
  declared = values['data.declaration']
  if values['data.name'] == 'custom':
    specs = _specs(values)
    _require(
      all(spec.weight == 1 for spec in specs)
      or not (
        values['objective.likelihood_weights']
        or values['objective.weigh_by_size']
      ),
      'objective.likelihood_weights, objective.weigh_by_size',
      '() and False, as config.data.declaration has weights',
      (
        values['objective.likelihood_weights'],
        values['objective.weigh_by_size'],
      ),
    )
  else:
    _require(
      not declared,
      'data.declaration',
      "'', as data.name is not 'custom'",
      declared,
    )
  if tuple(values['data.backgrounds']) not in ((), backgrounds.TEXTURES):
    try:
      backgrounds.list_files(values['data.backgrounds'])
    except (OSError, ValueError) as error:
      raise ValueError(f'config.data.backgrounds: {error}') from None


def _specs(values: Values) -> tuple[ModalitySpec, ...]:
  """Of the modalities that are declared; () of data in memory."""
  if not values['data.declaration']:
    return ()
  try:
    return from_json(values['data.declaration']).specs
  except ValueError as error:
    raise ValueError(f'config.data.declaration: {error}') from None


def _check_weights(values: Values) -> None:
  pi = values['objective.pi']
  _require(
    # Far enough from 0 to be above it in float32.
    not pi or (abs(sum(pi) - 1) < 1e-6 and sum(pi[:-1]) > 1e-6),
    'objective.pi',
    'weights that sum to 1, not all of it on the prior (last)',
    pi,
  )
  weights = values['objective.likelihood_weights']
  _require(
    not weights or any(weights),
    'objective.likelihood_weights',
    'not all 0',
    weights,
  )


def _check_training(values: Values) -> None:
  epochs, steps = values['train.num_epochs'], values['train.num_steps']
  _require(
    (epochs > 0) != (steps > 0),
    'train.num_epochs, train.num_steps',
    'exactly one of them above 0',
    (epochs, steps),
  )
  if steps:
    check_num_steps(values, steps)
  log_every = values['train.log_every']
  _require(
    values['train.checkpoint_every'] % log_every == 0,
    'train.checkpoint_every',
    f'a multiple of train.log_every = {log_every}',
    values['train.checkpoint_every'],
  )


def _check_population(values: Values) -> None:
  lists = [parse_numbers(values[key]) for key in _POPULATION]
  num_members = math.prod(len(numbers) or 1 for numbers in lists)
  _require(
    num_members <= MAX_NUMBERS,
    ', '.join(_POPULATION),
    f'at most {MAX_NUMBERS} members',
    num_members,
  )
  _require(
    not values['data.stream']
    or not any(lists)
    or values['population.together'] == 1,
    'population.together',
    '1 with data.stream = True, as members go through the data in orders of '
    'their own',
    values['population.together'],
  )
  _require(
    values['population.together'] < 2
    or values['train.non_finite'] != 'restore',
    'train.non_finite',
    "'stop' or 'skip' with population.together > 1",
    values['train.non_finite'],
  )


def _check_evaluation(values: Values) -> None:
  _require(
    bool(values['evaluation.num_probe_samples']),
    'evaluation.num_probe_samples',
    'one size at least',
    (),
  )
  path = values['evaluation.inception_weights']
  _require(
    not path or pathlib.Path(path).is_file(),
    'evaluation.inception_weights',
    "a file, or '' for none",
    path,
  )
  num_samples = values['evaluation.num_quality_samples']
  _require(
    not path or num_samples > 0,
    'evaluation.num_quality_samples',
    'at least 1 with evaluation.inception_weights',
    num_samples,
  )
  if not num_samples:
    return
  for key in ('num_quality_samples', 'num_test_examples'):
    count = values[f'evaluation.{key}']
    _require(
      count == 0 or count >= FEWEST_QUALITY_SAMPLES,
      f'evaluation.{key}',
      f'0 or at least {FEWEST_QUALITY_SAMPLES} to measure sample quality',
      count,
    )


def _check_subsets(names: tuple[str, ...], modalities: tuple[str, ...]) -> None:
  seen: dict[bytes, str] = {}
  for name in names:
    try:
      row = subsets.parse_subset(name, modalities).tobytes()
    except ValueError as error:
      raise ValueError(f'config.evaluation.subsets: {error}') from None
    _require(
      row not in seen,
      'evaluation.subsets',
      'distinct subsets',
      (seen.get(row), name),
    )
    seen[row] = name


def _check_memory(values: Values, num_modalities: int) -> None:
  """Refuses more latents in a step than any device of today could hold."""
  objective = make_objective(values)
  num_components = {
    'poe': 1,
    'moe': num_modalities,
    'mopoe': 2**num_modalities - 1,
  }[objective.posterior]
  if not objectives.lists_components(objective):
    num_components = min(num_components, power_set.CHUNK)
  size = values['model.latent_dim'] + sum(values['model.style_dim'])
  # Monte Carlo regularisers and importance weights draw from all components.
  num_draws = objective.num_samples * (num_components + 1)
  num_latents = num_draws * values['train.batch_size'] * size
  _require(
    num_latents <= _MAX_LATENTS,
    'objective.change.num_samples, train.batch_size, model.latent_dim',
    f'so small that a step draws at most {_MAX_LATENTS} latents',
    f'{num_latents}',
  )


def _without_effect(
  values: Values, objective: Objective
) -> Iterator[tuple[str, str]]:
  """Keys that change nothing here, and what they would have to go with."""
  name, source = values['data.name'], values['data.digits']
  for key, names in _ONLY_OF.items():
    if name not in names:
      yield key, f'data.name = {name!r}'
  if name == 'dsprites_text' and values['data.sprites'] == 'rendered':
    yield 'data.dir', "data.sprites = 'rendered'"
  if not values['data.missing']:
    yield 'data.missing_how', 'data.missing = 0'
    if name in _COMPLETE:
      yield 'data.incomplete', f'data.missing = 0 and data.name = {name!r}'
  if values['data.stream']:
    yield 'data.allow_download', 'data.stream = True'
  if source in ('embedded', 'idx'):
    yield 'data.allow_download', f'data.digits = {source!r}'
  if not values['model.style_dim']:
    for key in (
      'objective.beta_style',
      'objective.style_weights',
      'population.beta_style',
    ):
      yield key, 'model.style_dim = ()'
  if not values['evaluation.sampler']:
    yield 'evaluation.sampler_components', "evaluation.sampler = ''"
  if not any(values[key] for key in _POPULATION):
    yield 'population.together', 'no list of numbers in config.population'
  if (
    not objective.regulariser.startswith('jsd')
    and objective.subset_posterior != 'dynamic_prior'
  ):
    yield (
      'objective.pi',
      f'regulariser = {objective.regulariser!r} and subset_posterior = '
      f'{objective.subset_posterior!r}',
    )


def _check_some_modalities(values: Values) -> None:
  """`check_modalities` of those that the data set may turn out to have."""
  possible: list[tuple[str, ...]] = [polymnist.MODALITIES]
  if values['data.name'] == 'custom':
    if not values['data.declaration']:
      return  # known when the data are there
    possible = [tuple(spec.name for spec in _specs(values))]
  if values['data.name'] == 'celeba':
    possible = [celeba.MODALITIES]
  if values['data.name'] == 'dsprites_text':
    possible = [dsprites_text.MODALITIES]
  if values['data.name'] == 'mnist_svhn_text':
    possible = [mnist_svhn_text.MODALITIES]
    if values['data.digits'] == 'auto':
      possible.append(mnist_svhn_text.EMBEDDED_MODALITIES)
    elif values['data.digits'] == 'embedded':
      possible = [mnist_svhn_text.EMBEDDED_MODALITIES]
  errors = []
  for modalities in possible:
    try:
      check_modalities(values, modalities)
    except ValueError as error:
      errors.append(error)
  if len(errors) == len(possible):
    raise errors[0]


def _require(holds: bool, key: str, expected: str, got: Any) -> None:
  if not holds:
    raise ValueError(f'config.{key} must be {expected}; got {_short(got)}')


def _short(value: Any) -> str:
  """Its repr on one line, however long."""
  text = ' '.join(repr(value).split())
  return text if len(text) <= 200 else f'{text[:197]}...'
