"""What a sweep has measured: points, their headline numbers, seeds together."""

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from mmjsd_jax import experiments, factor_tables, objectives, tables
from mmjsd_jax.paper_columns import FEATURES
from mmjsd_jax.tables import Results, get

# What else varies: (name of a setting, its value).
Others = tuple[tuple[str, str], ...]


class Axis(NamedTuple):
  """Along what the points of a sweep are shown.

  Attributes:
    label: what its values are.
    keys: the config keys that hold them.
    read_fn: a configuration, as in results.json, to the value.
    is_logarithmic: whether ratios of values are what counts.
  """

  label: str
  keys: tuple[str, ...]
  read_fn: Callable[[Mapping[str, Any]], float]
  is_logarithmic: bool = False


class Measured(NamedTuple):
  """A point of a sweep, run or not.

  Attributes:
    name: the point's.
    model: the objective as the papers call it.
    preset: the objective's.
    x: its value on the axis.
    results: contents of results.json; None for a point that is missing.
    others: what is set beside the axis, the objective and the seed.
  """

  name: str
  model: str
  preset: str
  x: float
  results: Results | None
  others: Others = ()

  @property
  def curve(self) -> str:
    """What it is compared with others for: the model, and what else is set."""
    return ', '.join(filter(None, (self.model, in_words(self.others))))


class Spread(NamedTuple):
  """Mean and standard deviation over seeds.

  Attributes:
    mean: None of no numbers.
    std: of a sample (n - 1); None of fewer than two.
    num: how many numbers there were.
  """

  mean: float | None
  std: float | None
  num: int


def _style_dim(config: Mapping[str, Any]) -> float:
  sizes = set(config['model']['style_dim']) or {0}
  if len(sizes) > 1:
    raise ValueError(
      'expected config.model.style_dim to be equal for all modalities, got '
      f'{config["model"]["style_dim"]}'
    )
  return sizes.pop()


def _prior_weight(config: Mapping[str, Any]) -> float:
  if not config['objective']['pi']:
    raise ValueError(
      'expected config.objective.pi in the grid, the weight of the prior last'
    )
  return config['objective']['pi'][-1]


AXES = {
  'beta': Axis(
    'beta',
    ('objective.beta',),
    lambda config: config['objective']['beta'],
    is_logarithmic=True,
  ),
  'style_dim': Axis(
    'dimensions of each modality-specific space',
    ('model.style_dim', 'model.latent_dim'),
    _style_dim,
  ),
  'missing': Axis(
    'share of modalities taken away',
    ('data.missing',),
    lambda config: config['data']['missing'],
  ),
  'prior_weight': Axis(
    'weight of the pre-defined prior', ('objective.pi',), _prior_weight
  ),
}

# Values that pages and figures say in words.
WORDS: Mapping[str, Mapping[str, str]] = {
  'data.missing_how': {'at_random': 'at random', 'by_class': 'by class'},
  'data.incomplete': {'keep': 'kept', 'drop': 'dropped'},
}
# Their names need not stand beside them.
_WORDED = tuple(key.rpartition('.')[2] for key in WORDS)


def place(
  name: str,
  settings: Mapping[str, Any],
  config: Mapping[str, Any],
  axis: str,
  results: Results | None = None,
) -> Measured:
  """The point where the axis has it.

  Args:
    name: the point's.
    settings: what the grid and the seeds set, by config key.
    config: the point's configuration, as in results.json.
    axis: of `AXES`.
    results: contents of results.json.

  Raises:
    ValueError: an unknown axis, or one on which the configuration has no value.
  """
  if axis not in AXES:
    raise ValueError(f'expected an axis of {tuple(AXES)}, got {axis!r}')
  preset = config['objective']['preset']
  samples = config['objective']['change']['num_samples']
  samples = samples or objectives.PRESETS[preset].num_samples
  others = tuple(
    (
      key.rpartition('.')[2],
      WORDS[key][value] if key in WORDS else str(value),
    )
    for key, value in settings.items()
    if key not in (*AXES[axis].keys, 'objective.preset', 'seed')
  )
  model = experiments.TITLES[preset].format(samples)
  x = AXES[axis].read_fn(config)
  return Measured(name, model, preset, x, results, others)


def in_words(others: Others) -> str:
  """'batch_size 64, by class, dropped'."""
  return ', '.join(
    value if name in _WORDED else f'{name} {value}' for name, value in others
  )


def varying(found: Iterable[Others]) -> list[str]:
  """Names of the settings that have several values."""
  sets: dict[str, set[str]] = {}
  for name, value in itertools.chain.from_iterable(found):
    sets.setdefault(name, set()).add(value)
  return [name for name, values in sets.items() if len(values) > 1]


def values(others: Others, names: Iterable[str]) -> list[str]:
  """Those of the settings of these names."""
  found = dict(others)
  return [found[name] for name in names if name in found]


def curves(
  points: Sequence[Measured],
) -> dict[str, dict[float, list[Measured]]]:
  """Curve to value on the axis, ascending, to the points of all seeds."""
  grouped: dict[str, dict[float, list[Measured]]] = {}
  for point in sorted(points, key=lambda point: point.x):
    grouped.setdefault(point.curve, {}).setdefault(point.x, []).append(point)
  order = dict.fromkeys(point.curve for point in points)
  return {curve: grouped[curve] for curve in order}


def modalities(points: Iterable[Measured]) -> tuple[str, ...]:
  """Those of the first point that was run; empty if none was."""
  for point in points:
    if point.results is not None:
      return tuple(point.results['data']['modalities'])
  return ()


def spread(
  points: Iterable[Measured], read_fn: Callable[[Results], Any]
) -> Spread:
  """What `read_fn` reads in the points' results, over the seeds."""
  found = numbers(points, read_fn)
  return Spread(
    statistics.fmean(found) if found else None,
    statistics.stdev(found) if len(found) > 1 else None,
    len(found),
  )


def numbers(
  points: Iterable[Measured], read_fn: Callable[[Results], Any]
) -> list[float]:
  """The numbers themselves, without those that were not measured."""
  read = (read_fn(point.results) for point in points if point.results)
  return [value for value in read if tables.is_number(value)]


def has_factors(points: Iterable[Measured]) -> bool:
  """Whether factors were measured in place of a class."""
  return any(
    get(point.results, 'metrics', 'factors')
    for point in points
    if point.results
  )


def probe(results: Results, num_inputs: int) -> float | None:
  """Accuracy of the linear probe with the fewest latents, mean over subsets.

  Of data with factors the macro mean over these, by their measure.
  """
  if get(results, 'metrics', 'factors'):
    found = factor_tables.by_size(factor_tables.probe_means(results))
    return found.get(str(num_inputs))
  n = tables.probe_sizes(results)[0]
  return get(results, 'metrics', 'probe', n, 'by_size', str(num_inputs))


def coherence(results: Results, num_inputs: int) -> float | None:
  """Mean conditional coherence; without inputs, the joint coherence.

  Of data with factors what classifiers score on generated samples, the macro
  mean over factors by their measure; None without inputs.
  """
  if get(results, 'metrics', 'factors'):
    found = factor_tables.by_size(factor_tables.generated_means(results))
    return found.get(str(num_inputs))
  block = get(results, 'metrics', 'coherence')
  if num_inputs == 0:
    return get(block, 'joint')
  return get(block, 'conditional', 'by_size', str(num_inputs))


def generation(results: Results, pair: str) -> float | None:
  """`coherence` of one 'a+b->c'."""
  if get(results, 'metrics', 'factors'):
    return factor_tables.generated_means(results).get(pair)
  return get(results, 'metrics', 'coherence', 'conditional', 'pairs', pair)


def limits(
  results: Results, name: str, target: str = ''
) -> dict[str, float | None]:
  """'chance' of 'probe', and of 'coherence' also the 'ceiling'.

  Args:
    results: of a run.
    name: 'probe' or 'coherence'.
    target: of which modality the ceiling is; '' is their mean.
  """
  if get(results, 'metrics', 'factors'):
    chance = factor_tables.chance(results)
    ceiling = factor_tables.ceiling(results, target)
  else:
    block = get(results, 'metrics', name)
    chance = get(block, 'chance')
    ceiling = (
      get(block, 'ceiling', target) if target else tables.mean_ceiling(results)
    )
  return {'chance': chance} | ({} if name == 'probe' else {'ceiling': ceiling})


def about_factors(points: Iterable[Measured]) -> str:
  """A sentence for captions where factors are measured; else ''."""
  found = {
    factor_tables.measure(point.results) for point in points if point.results
  } - {''}
  if not found:
    return ''
  return (
    ' Probe and coherence are macro means over the factors of the data: '
    f'{" or ".join(sorted(found))} of logistic regression on latents, and of '
    'classifiers on what is generated.'
  )


def quality(results: Results, num_inputs: int) -> float | None:
  """Mean normalised average precision (PRD) of images, on `FEATURES`.

  Over all image modalities that are generated from so many others; without
  inputs, from the prior. None where one of them was not measured.
  """
  block = get(results, 'metrics', 'quality')
  images = get(block, 'random') or {}
  if num_inputs == 0:
    found = list(images.values())
  else:
    pairs = get(block, 'conditional', 'pairs')
    found = [
      get(pairs, pair)
      for pair in generations(results['data']['modalities'], num_inputs)
      if pair.rpartition('->')[2] in images
    ]
  return tables.mean(
    get(samples, FEATURES, 'prd', 'normalised') for samples in found
  )


def quality_ceiling(results: Results) -> float | None:
  """The same measure of other real images."""
  images = get(results, 'metrics', 'quality', 'random') or {}
  return tables.mean(
    get(samples, FEATURES, 'prd_floor', 'normalised')
    for samples in images.values()
  )


def log_likelihood(results: Results) -> float | None:
  """log p(X) of all modalities in nats per example."""
  return get(results, 'metrics', 'log_likelihood', 'joint', 'value')


def inputs(size: int) -> str:
  """'1 input', '2 inputs'."""
  return '1 input' if size == 1 else f'{size} inputs'


def generations(names: Sequence[str], num_inputs: int) -> list[str]:
  """'a+b->c' for every subset of a size and every other modality."""
  return [
    f'{"+".join(subset)}->{target}'
    for subset in itertools.combinations(names, num_inputs)
    for target in names
    if target not in subset
  ]


def headline(results: Results) -> dict[str, Any]:
  """The numbers above by number of inputs, in plain JSON types."""
  num = len(results['data']['modalities'])
  return {
    'probe': {str(k): probe(results, k) for k in range(1, num + 1)},
    'coherence': {str(k): coherence(results, k) for k in range(num)},
    'quality': {str(k): quality(results, k) for k in range(num)},
    'log_likelihood': log_likelihood(results),
  }
