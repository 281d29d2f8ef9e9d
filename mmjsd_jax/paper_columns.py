"""What fills the columns of the papers' tables, and how it is written.

Legend of the column headings: M, S, T the first, second and third modality; A|B
modality A generated given B; A|B,C given both; A|R given nothing; X|xM log p(X)
of all modalities, the proposal being the posterior given M.

Of factors, I and T an image and its text, Img and Text the same of dSprites:
latent_I the probe of I's latents; I->T the text generated given I; Shape/Img
the shape of generated images, Img/Shape that which latents of images tell.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjsd_jax import factor_tables, tables
from mmjsd_jax.tables import NOT_APPLICABLE, Results, get, share

# Mean over both PRD curves of a perfect generator, at 1001 angles.
PERFECT_AVERAGE_PRECISION = 0.72042
# Features of our average precision: `quality.ENCODER`, which every run has.
FEATURES = 'FD-enc'
# The papers' own, `quality.INCEPTION`, where the user has the weights.
INCEPTION = 'FID'
ABOUT_FEATURES = {
  FEATURES: f'but of the features {FEATURES}, of an encoder that is trained on '
  "the same images without labels and, as Inception's, sees more of an image "
  'than its digit',
  INCEPTION: f"of Inception's features as theirs ({INCEPTION})",
}

Row = tuple[str, ...]


class Quantity(NamedTuple):
  """A measure that a table shows.

  Attributes:
    read_fn: (a block of metrics, layout, column) to our number, or None.
    baselines_fn: (results of runs, layout) to rows of what chance has, and of
      what nothing exceeds.
    format_fn: (our mean, standard deviation or None) as text.
    print_fn: the same of published numbers, as the papers print them.
    ours: how ours are measured; '{features}' in it is the layout's.
  """

  read_fn: Callable[[Any, 'Layout', str], Any]
  baselines_fn: Callable[[Sequence[Results], 'Layout'], list[Row]]
  format_fn: Callable[[float, float | None], str]
  print_fn: Callable[[float, float | None], str]
  ours: str


class Layout(NamedTuple):
  """What a table shows where.

  Attributes:
    quantity: what its cells are.
    columns: headings of the cells.
    letters: what headings call the modalities.
    modalities: what we call them.
    scale: that numbers are multiplied by. The integer 1 leaves integers, which
      are printed without decimals, what they are.
    features: of average precision: a key of `ABOUT_FEATURES`.
  """

  quantity: Quantity
  columns: tuple[str, ...]
  letters: tuple[str, ...]
  modalities: tuple[str, ...]
  scale: float
  features: str = FEATURES


def features_of(runs: Sequence[Results]) -> str:
  """Inception's where all that was measured has them, else the encoder's."""
  measured = [
    samples
    for results in runs
    for samples in (get(results, 'metrics', 'quality', 'random') or {}).values()
  ]
  has_all = measured and all(INCEPTION in samples for samples in measured)
  return INCEPTION if has_all else FEATURES


def _subset(letters: str, layout: Layout) -> str:
  """'M,S' or 'xM,xS' as results.json names it; 'Joint' and 'X' are all."""
  if letters in ('Joint', 'X'):
    return '+'.join(layout.modalities)
  chosen = [letter.removeprefix('x') for letter in letters.split(',')]
  pairs = zip(layout.letters, layout.modalities, strict=True)
  return '+'.join(name for letter, name in pairs if letter in chosen)


def _read_probe(block: Any, layout: Layout, column: str) -> Any:
  subset = _subset(column, layout)
  return get(block, 'probe', '500', 'subsets', subset)


def _read_coherence(block: Any, layout: Layout, column: str) -> Any:
  if column in ('Joint', 'Random'):
    key = {'Joint': 'joint', 'Random': 'joint_parity_as_released'}[column]
    return get(block, 'coherence', key)
  target, _, inputs = (part for part in column.partition('|'))
  source, name = (_subset(x, layout) for x in (inputs, target))
  return get(block, 'coherence', 'conditional', 'pairs', f'{source}->{name}')


def _read_quality(block: Any, layout: Layout, column: str) -> Any:
  target, _, inputs = column.partition('|')
  name = _subset(target, layout)
  if inputs == 'R':
    found = get(block, 'quality', 'random', name)
  else:
    pair = f'{_subset(inputs, layout)}->{name}'
    found = get(block, 'quality', 'conditional', 'pairs', pair)
  return get(found, layout.features, 'prd', 'average_precision_as_released')


def _read_log_likelihood(block: Any, layout: Layout, column: str) -> Any:
  # 'X|xM' is told by what is behind the line, 'X' by itself.
  subset = _subset(column.rpartition('|')[2], layout)
  return get(block, 'log_likelihood', 'subsets', subset)


def _read_factor_mean(block: Any, layout: Layout, column: str) -> Any:
  source, _, target = column.partition('->')
  if target:
    source, target = _subset(source, layout), _subset(target, layout)
    return get(block, 'factors', 'generated_mean', source, target)
  subset = _subset(column.removeprefix('latent_'), layout)
  return get(block, 'factors', 'probe', *_probed(block), 'mean', subset)


def _read_factor_of_samples(block: Any, layout: Layout, column: str) -> Any:
  factor, _, letter = column.partition('/')
  target = _subset(letter, layout)
  (source,) = set(layout.modalities) - {target}
  return get(block, 'factors', 'generated', source, target, factor.lower())


def _read_factor_of_latents(block: Any, layout: Layout, column: str) -> Any:
  part, _, factor = column.partition('/')
  found = get(block, 'factors', 'probe', *_probed(block), 'subsets')
  return get(found, _subset(part, layout), factor.lower())


def _probed(block: Any) -> list[str]:
  """The key of the probe with the fewest latents."""
  return factor_tables.sizes(get(block, 'factors'))[:1] or ['500']


def _mean(runs: Sequence[Results], *keys: str) -> float | None:
  values = [get(results, 'metrics', *keys) for results in runs]
  found = [value for value in values if tables.is_number(value)]
  return float(np.mean(found)) if found else None


def _probe_baselines(runs: Sequence[Results], layout: Layout) -> list[Row]:
  chance = share(_mean(runs, 'probe', 'chance'))
  return [('chance', NOT_APPLICABLE, *[chance] * len(layout.columns))]


def _coherence_baselines(runs: Sequence[Results], layout: Layout) -> list[Row]:
  chance = _mean(runs, 'coherence', 'chance')
  # Random counts triples of which both comparisons hold, or neither.
  parity = None if chance is None else chance**2 + (1 - chance) ** 2
  chances = {
    'Random': parity,
    'Joint': _mean(runs, 'coherence', 'joint_chance'),
  }
  ceilings = {
    letter: _mean(runs, 'coherence', 'ceiling', name)
    for letter, name in zip(layout.letters, layout.modalities, strict=True)
  }
  ceilings |= {
    'Random': None,
    'Joint': _mean(runs, 'coherence', 'joint_ceiling'),
  }
  targets = [column.partition('|')[0] for column in layout.columns]
  return [
    (
      'chance',
      NOT_APPLICABLE,
      *(share(chances.get(target, chance)) for target in targets),
    ),
    (
      'ceiling',
      'our classifiers on real data',
      *(share(ceilings[target]) for target in targets),
    ),
  ]


def _quality_baselines(runs: Sequence[Results], layout: Layout) -> list[Row]:
  best = share(layout.scale * PERFECT_AVERAGE_PRECISION)
  rows: list[Row] = [
    ('perfect generator', NOT_APPLICABLE, *[best] * len(layout.columns))
  ]
  floors = []
  for column in layout.columns:
    name = _subset(column.partition('|')[0], layout)
    keys = (layout.features, 'prd_floor', 'average_precision_as_released')
    floor = _mean(runs, 'quality', 'random', name, *keys)
    floors.append(None if floor is None else layout.scale * floor)
  if any(floor is not None for floor in floors):
    label = 'real training against real test images'
    rows.append(('floor', label, *(share(floor) for floor in floors)))
  return rows


def _factor_mean_baselines(
  runs: Sequence[Results], layout: Layout
) -> list[Row]:
  found = [factor_tables.chance(results) for results in runs]
  chance = share(tables.mean(found))
  ceilings = [
    share(_mean(runs, 'factors', 'ceiling_mean', _subset(target, layout)))
    if target
    else NOT_APPLICABLE
    for _, _, target in (column.partition('->') for column in layout.columns)
  ]
  return [
    ('chance', 'prevalence', *[chance] * len(layout.columns)),
    ('ceiling', 'our classifiers on real data', *ceilings),
  ]


def _factor_baselines(runs: Sequence[Results], layout: Layout) -> list[Row]:
  pairs = [column.partition('/') for column in layout.columns]
  chances = [
    share(_mean(runs, 'factors', 'prevalence', factor.lower()))
    for factor, _, _ in pairs
  ]
  rows: list[Row] = [('chance', 'the commonest class', *chances)]
  if all(letter for _, _, letter in pairs):
    ceilings = [
      share(
        _mean(
          runs, 'factors', 'ceiling', _subset(letter, layout), factor.lower()
        )
      )
      for factor, _, letter in pairs
    ]
    rows.append(('ceiling', 'our classifiers on real data', *ceilings))
  return rows


def _print_share(mean: float, std: float | None) -> str:
  # Two decimals, but for the few that are printed with three.
  text = f'{mean:.2f}' if round(mean, 2) == mean else f'{mean:g}'
  return text if std is None else f'{text} ± {std:.2f}'


def _print_nats(mean: float, std: float | None) -> str:
  return f'{mean:,}' if std is None else f'{mean:,} ± {std}'


QUANTITIES = {
  'probe': Quantity(
    _read_probe,
    _probe_baselines,
    share,
    _print_share,
    'test accuracy of logistic regression on 500 training latents',
  ),
  'coherence': Quantity(
    _read_coherence,
    _coherence_baselines,
    share,
    _print_share,
    'share of generated samples in which a classifier sees the class of the '
    'inputs, Joint: share of draws from the prior in which it sees one class '
    'in all modalities; of text it reads the likeliest characters (published: '
    'probabilities)',
  ),
  'average_precision': Quantity(
    _read_quality,
    _quality_baselines,
    share,
    _print_share,
    'the same mean over both PRD curves, {features}',
  ),
  'log_likelihood': Quantity(
    _read_log_likelihood,
    lambda runs, layout: [],
    tables.nats,
    _print_nats,
    'log p(X) of all modalities in nats per example, by importance sampling '
    'with likelihoods that are not weighted',
  ),
  'factor_means': Quantity(
    _read_factor_mean,
    _factor_mean_baselines,
    share,
    _print_share,
    'average precision from scores, the mean over attributes that some test '
    'example has: of logistic regression on training latents, and of a '
    'classifier on generated samples',
  ),
  'factors_generated': Quantity(
    _read_factor_of_samples,
    _factor_baselines,
    share,
    _print_share,
    'accuracy of a classifier on samples that are generated given the other '
    'modality',
  ),
  'factors_probe': Quantity(
    _read_factor_of_latents,
    _factor_baselines,
    share,
    _print_share,
    'test accuracy of logistic regression on training latents',
  ),
}
