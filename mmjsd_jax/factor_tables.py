"""Tables of factors, out of the block 'factors' of results.json.

A factor is one of several things that is known of every tuple, such as an
attribute of CelebA or the shape of dSprites. Where there are few, tables have a
column for each, as Table 1 of mmJSD's workshop paper, else a row.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from mmjsd_jax.tables import (
  MISSING,
  NOT_APPLICABLE,
  Results,
  Table,
  get,
  mean,
  share,
)

# More factors than these have rows in place of columns.
_MAX_COLUMNS = 8

_ABOUT = {
  'average_precision': 'Average precision: scores rank the test examples, and '
  'those that have the attribute should come first. A random order has the '
  'prevalence, the share of examples that have it; a perfect one has 1.',
  'accuracy': 'Accuracy: who always tells the commonest class has the '
  'prevalence, its share.',
}

_RELEASED = (
  "By the authors' released code, for comparison with their papers only: "
  'latents as they are, average precision of hard predictions by probes, '
  'classifiers in training mode, means over batches of 256. '
)


class Section(NamedTuple):
  """A heading of the report, and what stands below it.

  Attributes:
    title: the heading.
    means: macro means, a row each.
    factors: every factor by itself.
    is_long: whether these are many.
  """

  title: str
  means: Table
  factors: Table
  is_long: bool


def sections(results: Results) -> list[Section]:
  """Tables of latents and of samples; empty without factors.

  Where the authors' estimators were computed, too, they are two more.
  """
  block = get(results, 'metrics', 'factors')
  if not block:
    return []
  found = _sections(block)
  if released := get(block, 'as_released'):
    kept = ('names', 'metric', 'prevalence', 'num_without_positives')
    theirs = {key: block.get(key) for key in kept} | released
    found += [
      section._replace(
        title=f'{section.title}, as released',
        means=section.means._replace(caption=_RELEASED + section.means.caption),
      )
      for section in _sections(theirs)
    ]
  return found


def sizes(block: Any) -> list[str]:
  """Numbers of training latents that were probed, ascending; as recorded.

  Args:
    block: 'factors' of the metrics.
  """
  return sorted(get(block, 'probe') or {}, key=int)


def probe_means(results: Results) -> dict[str, float | None]:
  """Subset to the probes' macro mean, of the fewest latents; maybe empty."""
  block = get(results, 'metrics', 'factors')
  least = sizes(block)[:1]
  return (get(block, 'probe', *least, 'mean') or {}) if least else {}


def generated_means(results: Results) -> dict[str, float | None]:
  """'a+b->c' to the macro mean of what is generated, of targets not given."""
  means = get(results, 'metrics', 'factors', 'generated_mean') or {}
  return {
    f'{subset}->{target}': value
    for subset, targets in means.items()
    for target, value in targets.items()
    if target not in subset.split('+')
  }


def by_size(means: Mapping[str, float | None]) -> dict[str, float | None]:
  """Number of inputs to the mean over subsets, or over 'subset->target'.

  None where one of them was not measured.
  """
  groups: dict[str, list[float | None]] = {}
  for name, value in means.items():
    size = name.partition('->')[0].count('+') + 1
    groups.setdefault(str(size), []).append(value)
  return {size: mean(values) for size, values in groups.items()}


def chance(results: Results) -> float | None:
  """Macro mean of the prevalences, over factors that have positives."""
  return _prevalence(get(results, 'metrics', 'factors'))


def ceiling(results: Results, target: str = '') -> float | None:
  """What the classifiers score on real test data, '' the mean of modalities."""
  found = get(results, 'metrics', 'factors', 'ceiling_mean') or {}
  return found.get(target) if target else mean(found.values())


def measure(results: Results) -> str:
  """What the numbers are: 'average precision' or 'accuracy'; '' of none."""
  return (get(results, 'metrics', 'factors', 'metric') or '').replace('_', ' ')


def _sections(block: Any) -> list[Section]:
  made = {
    'probe': ('From latents', _probe, _probe_factors),
    'generated': ('From what is generated', _generated, _generated_factors),
  }
  is_long = len(block['names']) > _MAX_COLUMNS
  return [
    Section(title, means_fn(block), factors_fn(block), is_long)
    for key, (title, means_fn, factors_fn) in made.items()
    if get(block, key)
  ]


def _probe(block: Any) -> Table:
  counts = sizes(block)
  untrained = counts if get(block, 'probe_untrained') else []
  subsets = dict.fromkeys(
    subset for n in counts for subset in get(block, 'probe', n, 'mean') or {}
  )
  caption = (
    'Linear probes of the posterior mean: logistic regression, one for each '
    f'factor, scored on the test set; macro mean over {_number(block)}. '
    f'{_ABOUT[block["metric"]]}'
  )
  if gave_up := sum(
    get(block, 'probe', n, 'num_not_converged') or 0 for n in counts
  ):
    caption += f' {gave_up} of the fits stopped at the limit of iterations.'
  return Table(
    caption,
    (
      'given',
      *(f'{int(n):,} training latents' for n in counts),
      *(f'untrained, {int(n):,}' for n in untrained),
      'prevalence',
    ),
    tuple(
      (
        subset,
        *(share(get(block, 'probe', n, 'mean', subset)) for n in counts),
        *(
          share(get(block, 'probe_untrained', n, 'mean', subset))
          for n in untrained
        ),
        share(_prevalence(block)),
      )
      for subset in subsets
    ),
  )


def _probe_factors(block: Any) -> Table:
  least, *_ = sizes(block) or ['0']
  return _of_factors(
    f'Every factor by itself, probed with {int(least):,} training latents.',
    block,
    get(block, 'probe', least, 'subsets') or {},
  )


def _generated(block: Any) -> Table:
  ceilings, chance = get(block, 'ceiling_mean'), share(_prevalence(block))
  caption = (
    'A classifier for each modality, trained on real data, tells the factors '
    'of what is generated from a draw of q(z | x of a subset); macro mean over '
    f'{_number(block)}. The ceiling is the same of real test data. A target '
    'among what is given is rebuilt.'
  )
  if get(block, 'drawn_text'):
    caption += (
      ' Of text the likeliest characters are judged and, where that is said, a '
      'draw of p(x | z).'
    )
  return Table(
    caption,
    ('given and target', 'generated', 'ceiling', 'prevalence'),
    tuple(
      (label, share(value), share(get(ceilings, target)), chance)
      for label, target, value in _samples_of(block, '_mean')
    ),
  )


def _generated_factors(block: Any) -> Table:
  found = {label: values for label, _, values in _samples_of(block, '')}
  real = get(block, 'ceiling') or {}
  return _of_factors(
    'Every factor of what is generated by itself; real: the ceilings.',
    block,
    found | {f'{name}, real': values for name, values in real.items()},
  )


def _samples_of(block: Any, suffix: str) -> list[tuple[str, str, Any]]:
  """(label, target, what is told of it) of every subset and modality.

  Args:
    block: of `sizes`.
    suffix: '_mean' for macro means, '' for every factor.
  """
  return [
    (f'{subset} → {target}{how}', target, told)
    for subset in get(block, 'generated') or {}
    for key, how in (('generated', ''), ('drawn_text', ', drawn'))
    for target, told in (get(block, key + suffix, subset) or {}).items()
  ]


def _of_factors(
  caption: str, block: Any, found: Mapping[str, Mapping[str, Any]]
) -> Table:
  """A table of `found`, name to factor to value, and of the prevalences."""
  names = block['names']
  found = {**found, 'prevalence': block['prevalence']}
  if any(
    value is None for values in found.values() for value in values.values()
  ):
    caption += ' "-": no test example has it.'
  lines = {
    label: tuple(_cell(values, name) for name in names)
    for label, values in found.items()
  }
  if len(names) <= _MAX_COLUMNS:
    rows = tuple((label, *cells) for label, cells in lines.items())
    return Table(caption, ('from', *names), rows)
  rows = tuple(zip(names, *lines.values(), strict=True))
  return Table(caption, ('factor', *lines), rows)


def _cell(values: Mapping[str, Any], name: str) -> str:
  if name not in values:
    return MISSING
  return NOT_APPLICABLE if values[name] is None else share(values[name])


def _number(block: Any) -> str:
  """'40 factors', or how many of them have positives."""
  count, without = len(block['names']), block.get('num_without_positives') or 0
  if not without:
    return f'{count} factors'
  return f'{count - without} of {count} factors: the others have no positives'


def _prevalence(block: Any) -> float | None:
  found = get(block, 'prevalence') or {}
  return mean([value for value in found.values() if value])
