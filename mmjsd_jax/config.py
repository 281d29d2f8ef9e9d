"""The configuration: every key with its default.

Files in configs/ overlay these defaults. The ConfigDict is locked: a mistyped
key fails at start. Only this module, main and run see it; below, functions take
plain arguments.
"""

import copy
import json
from typing import Any

import ml_collections
from ml_collections import config_dict

from mmjsd_jax import validation
from mmjsd_jax.objectives import Objective
from mmjsd_jax.validation import POPULATION_KEYS as POPULATION_KEYS


def default() -> ml_collections.ConfigDict:
  """All keys and their defaults."""
  config = ml_collections.ConfigDict()
  config.name = 'polymnist'  # names the default workdir, runs/<name>
  config.seed = 0  # parameters, order of examples, draws

  data = config.data = ml_collections.ConfigDict()
  data.name = 'polymnist'
  # Of 'custom', users' own files: Declaration.to_json() of data/declaration.py.
  data.declaration = ''
  data.digits = 'auto'  # where the digits come from: digits.SOURCES
  # Folder of the digits' files, or of one's own; '' looks where README says.
  data.dir = ''
  # Five picture files, a folder or 'textures'; () takes the default set.
  data.backgrounds = ()
  data.modalities = ()  # which modalities to use; () takes all
  data.seed = 0  # of the set itself: permutations and crops
  data.embedded_repeats = 10  # passes of the recipe over the embedded digits
  data.allow_download = False  # let TFDS download MNIST
  data.num_pairings = 20  # MNIST-SVHN-Text: partners of every image; mmJSD
  data.pairing = 'min'  # 'all': those of MNIST without a partner, too
  data.test_split = 'test'  # of CelebA; 'validation' is what its papers take
  data.sprites = 'auto'  # dSprites' images: dsprites_text.SOURCES
  data.num_examples = 0  # of dSprites, drawn at random; 0 is all 737,280
  data.test_share = 0.1  # of dSprites, to test on; ours, mmJSD has no number
  # The training split stays on the disk: in data.dir lies a prepared copy.
  data.stream = False
  data.num_validation = 0  # training tuples held out to choose the best step
  # Share of modalities of training tuples that is taken away; each keeps one.
  data.missing = 0.0
  data.missing_how = 'at_random'  # 'by_class': rising with the class
  data.incomplete = 'keep'  # or 'drop': train on complete tuples alone

  config.model = ml_collections.ConfigDict()
  config.model.latent_dim = 512  # D; MoPoE, App. D
  config.model.hidden_dim = 512  # encoder's dense layer; originally D
  config.model.width = 128  # CelebA: channels of the first layers; mmJSD's code
  # Latents of every modality alone, one number each; () is none.
  config.model.style_dim = ()
  config.model.text_likelihood = 'categorical'  # or 'as_released', inverted
  # Decode so many draws at a time, and again for the gradient; 0 is all.
  config.model.draws_per_decode = 0
  # What decoders of colour images start from: 'as_released' is PyTorch's draw,
  # 'median' the median training colour of the modality (ours).
  config.model.first_colour = 'as_released'

  objective = config.objective = ml_collections.ConfigDict()
  objective.preset = 'mopoe'  # objectives.PRESETS
  objective.beta = 2.5  # weight of the regulariser; MoPoE, App. D
  objective.beta_warmup_steps = 0  # in which beta rises from 0 to its value
  objective.pi = ()  # Jensen-Shannon weights, prior last; () is uniform
  objective.likelihood_weights = ()  # one per modality; () by the next key
  objective.weigh_by_size = False  # largest modality 1, others by their size
  objective.beta_style = 1.0  # weight of the styles' KL, relative to beta
  objective.style_weights = ()  # one per modality; () is ones
  # Fields of objectives.Objective that differ from the preset's; None keeps it.
  objective.change = ml_collections.ConfigDict(
    {
      field: config_dict.placeholder(kind)
      for field, kind in Objective.__annotations__.items()
    }
  )

  train = config.train = ml_collections.ConfigDict()
  train.batch_size = 256  # over all devices
  train.num_epochs = 0  # either epochs ...
  train.num_steps = 0  # ... or steps
  train.learning_rate = 1e-3  # Adam; MoPoE, App. D
  train.learning_rate_warmup_steps = 0  # in which it rises to that
  train.compute_dtype = 'float32'  # of networks; or 'bfloat16'
  train.log_every = 100  # steps per line of metrics
  train.checkpoint_every = 1000  # steps; a multiple of log_every
  train.keep_checkpoints = 2  # the newest so many, and the best one
  # A loss or gradient that is not finite: 'stop', 'skip' the step's update, or
  # 'restore' the newest checkpoint and halve the learning rate.
  train.non_finite = 'stop'
  train.shard_params = False  # large parameters in parts, one on each device

  # Runs that differ in these numbers, all combinations, trained together: such
  # as '0:5' or '0.5,1,2.5'; '' is the number above alone.
  population = config.population = ml_collections.ConfigDict()
  population.seed = ''
  population.beta = ''
  population.beta_style = ''
  population.learning_rate = ''
  population.together = 0  # in one program; 1 is in turn, 0 is by measurement

  evaluation = config.evaluation = ml_collections.ConfigDict()
  evaluation.checkpoint = 'final'  # or 'best'
  evaluation.seed = 0
  evaluation.subsets = ()  # such as ('m0', 'm0+m1'); () takes all 2^M - 1
  evaluation.sampling = 'stratified'  # mixture component that is drawn
  evaluation.num_probe_samples = (500, 3000)  # 500: MoPoE, App. B
  evaluation.num_joint_samples = 10000
  evaluation.num_importance_samples = 32  # K, per subset
  evaluation.num_joint_importance_samples = 512  # K, from the full set
  evaluation.num_log_likelihood_examples = 256
  evaluation.num_test_examples = 0  # drawn at random; 0 is all
  evaluation.untrained_baseline = True  # the same metrics before training
  evaluation.as_released = False  # also the authors' estimators
  # What z is drawn from beside the prior: 'gmm', a Gaussian mixture fitted to
  # the training split's posteriors; '' is nothing.
  evaluation.sampler = 'gmm'
  evaluation.sampler_components = 10  # as MultiVae's sampler
  # mmJSD: also with the other posteriors of several inputs.
  evaluation.readings = False
  # Images in each set that sample quality compares; 0 is not measured. mmJSD
  # has 10,000.
  evaluation.num_quality_samples = 0
  # File of Inception's weights, .npz, to measure them by FID, too; '' is none.
  evaluation.inception_weights = ''
  evaluation.condition_on = (
    ''  # input of the conditional grids; '' is the first
  )

  return config.lock()


def parse_arg(arg: str | None, known: tuple[str, ...]) -> dict[str, str]:
  """'paper,objective=mmjsd' as {'paper': '', 'objective': 'mmjsd'}.

  Args:
    arg: what stands behind the colon of --config=<file>:<arg>, or None.
    known: the names that may occur.

  Raises:
    ValueError: an unknown name.
  """
  parsed = {}
  for part in filter(None, (arg or '').split(',')):
    name, _, value = part.partition('=')
    if name not in known:
      raise ValueError(f'config argument must be of {known}; got {name!r}')
    parsed[name] = value
  return parsed


def parse_seeds(parsed: dict[str, str], default: int) -> tuple[int, ...]:
  """0, 1, ...: as many seeds as 'seeds=<number>' has, else the default.

  Args:
    parsed: of `parse_arg`.
    default: how many without the argument.

  Raises:
    ValueError: no whole number of at least 1.
  """
  number = parsed.get('seeds', str(default))
  if not number.isdecimal() or int(number) < 1:
    raise ValueError(
      'config argument seeds must be a whole number of at least 1; got '
      f'{number!r}'
    )
  return tuple(range(int(number)))


def make_objective(config: ml_collections.ConfigDict) -> Objective:
  """The preset with config.objective.change applied."""
  return validation.make_objective(_values(config))


def validate(config: ml_collections.ConfigDict) -> None:
  """Refuses what cannot work, before any data are loaded.

  Raises:
    ValueError: names the key, what was expected and what was got.
  """
  try:
    values = _values(config)
  except AttributeError:
    raise ValueError(
      'config must be a ConfigDict with the keys of config.default(); got a '
      f'{type(config).__name__}'
    ) from None
  validation.check(values, _values(default()))


def validate_for_modalities(
  config: ml_collections.ConfigDict, modalities: tuple[str, ...]
) -> None:
  """Refuses what does not fit the data set's modalities.

  Raises:
    ValueError: names the key, what was expected and what was got.
  """
  validation.check_modalities(_values(config), modalities)


def is_population(config: ml_collections.ConfigDict) -> bool:
  """Whether it is of several runs that are trained together."""
  return any(config.population[name] for name in POPULATION_KEYS)


def without_population(
  config: ml_collections.ConfigDict,
) -> ml_collections.ConfigDict:
  """What the runs of a population share."""
  shared = copy.deepcopy(config)
  shared.population = default().population
  return shared


def num_steps(config: ml_collections.ConfigDict, num_examples: int) -> int:
  """The run's length in steps, with so many training examples.

  Raises:
    ValueError: names the key, what was expected and what was got.
  """
  steps = config.train.num_steps or (
    config.train.num_epochs * (num_examples // config.train.batch_size)
  )
  validation.check_num_steps(_values(config), steps)
  return steps


# What may change between two starts of one run: how long it trains, what is
# measured, where parameters lie, and what happens where the loss is not finite;
# nothing else that the parameters at a given step depend on.
_FREE = (
  'evaluation',
  'train.num_epochs',
  'train.num_steps',
  'train.keep_checkpoints',
  'train.non_finite',
  'train.shard_params',
)


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
  """'key: old -> new' for every key in which two runs differ.

  A key that an older version did not know has today's default.
  """
  defaults = flatten(to_dict(default()))
  old, new = defaults | flatten(old), defaults | flatten(new)
  return [
    f'{key}: {old.get(key, "(absent)")!r} -> {new.get(key, "(absent)")!r}'
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
    and not any(key == free or key.startswith(free + '.') for free in _FREE)
  ]


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested dict as {'a.b': value}."""
  flat = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      flat.update(flatten(value, f'{prefix}{key}.'))
    else:
      flat[prefix + key] = value
  return flat


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Plain JSON types, as they stand in config.json and results.json."""
  return json.loads(json.dumps(config.to_dict()))


def from_dict(tree: dict[str, Any]) -> ml_collections.ConfigDict:
  """A stored configuration over today's defaults.

  Raises:
    ValueError: a key that this version does not know, or a value that is not
      of its type.
  """
  config = default()
  known = flatten(config.to_dict())
  for key, value in flatten(tree).items():
    if key not in known:
      raise ValueError(f'stored config has an unknown key {key!r}')
    value = tuple(value) if isinstance(value, list) else value
    try:
      config.update_from_flattened_dict({key: value})
    except (TypeError, OverflowError):
      raise ValueError(
        f'stored config.{key} must be like {known[key]!r}; got {value!r}'
      ) from None
  return config


def _values(config: ml_collections.ConfigDict) -> dict[str, Any]:
  return flatten(config.to_dict())
