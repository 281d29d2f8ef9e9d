"""Tables of a run, as text cells, out of the contents of results.json.

Used by the report and by docs/make_results.py. A number that is not there is
the cell 'missing': it is never left out and never zero.
"""

import math
import re
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeGuard

import numpy as np

Results = Mapping[str, Any]

MISSING = 'missing'
NOT_APPLICABLE = '-'

# With what may follow, which is an error, '(all)' or '[an interval]'.
_NUMBER = re.compile(r'[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?( [±(\[].*)?$')


class Table(NamedTuple):
  """A table: the first column and the header row are headings.

  Attributes:
    caption: what is in it and how to read it.
    columns: headings, that of the first column included.
    rows: one cell per column.
  """

  caption: str
  columns: tuple[str, ...]
  rows: tuple[tuple[str, ...], ...]

  def has_words(self) -> list[bool]:
    """Whether a column has cells that are no numbers, column by column."""
    known = (MISSING, NOT_APPLICABLE)
    return [
      any(
        row[i] not in known and not _NUMBER.match(row[i]) for row in self.rows
      )
      for i in range(len(self.columns))
    ]


def share(value: float | None, error: float | None = None) -> str:
  """A share in [0, 1], three decimals; two digits where that would be 0.00."""
  if not is_number(value):
    return MISSING
  text = f'{value:.2g}' if 0 < value < 0.01 else f'{value:.3f}'
  return text if not is_number(error) else f'{text} ± {error:.2g}'


def nats(value: float | None, error: float | None = None) -> str:
  """Nats with one decimal and, where there is one, the standard error."""
  if not is_number(value):
    return MISSING
  text = f'{value:,.1f}'
  return text if not is_number(error) else f'{text} ± {error:,.1f}'


def distance(value: float | None, error: float | None = None) -> str:
  """A distance with three significant digits, and its standard error."""
  if not is_number(value):
    return MISSING
  text = f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'
  return text if not is_number(error) else f'{text} ± {error:.2g}'


def count(value: float | None) -> str:
  """A number of things with separators; one decimal unless it is whole."""
  if not is_number(value):
    return MISSING
  return f'{value:,.0f}' if value == int(value) else f'{value:,.1f}'


def device(environment: Results) -> str:
  """The device by name and number; for a CPU, its cores."""
  name = environment.get('device')
  if name is None:
    return MISSING
  if environment.get('platform') == 'cpu':
    num_cores = environment.get('cpu_count')
    if not num_cores:
      return str(name)
    return f'{name}, {num_cores} core{"s" if num_cores > 1 else ""}'
  return f'{environment.get("num_devices", 1)} x {name}'


def duration(seconds: float | None) -> str:
  """Seconds as hours, minutes and seconds, the smaller ones if they matter."""
  if not is_number(seconds):
    return MISSING
  if seconds < 59.95:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest} s'
  return f'{minutes // 60:,} h {minutes % 60} min'


def is_number(value: Any) -> TypeGuard[float]:
  """Whether there is a number, and a finite one."""
  return isinstance(value, int | float) and math.isfinite(value)


def mean(values: Iterable[Any]) -> float | None:
  """Of numbers; None where there are none, or one of them is no number."""
  found = list(values)
  is_whole = found and all(is_number(value) for value in found)
  return statistics.fmean(found) if is_whole else None


def get(tree: Any, *keys: str) -> Any:
  """tree[key][key]..., or None as soon as a key is not there."""
  for key in keys:
    if not isinstance(tree, Mapping):
      return None
    tree = tree.get(key)
  return tree


def relative_coherence(results: Results, size: int) -> float | None:
  """Mean over pairs of that size of coherence / the target's ceiling."""
  ceilings = get(results, 'metrics', 'coherence', 'ceiling') or {}
  pairs = get(results, 'metrics', 'coherence', 'conditional', 'pairs') or {}
  ratios = []
  for pair, value in pairs.items():
    subset, _, target = pair.partition('->')
    if subset.count('+') + 1 != size or target in subset.split('+'):
      continue
    ceiling = ceilings.get(target)
    if not (is_number(value) and ceiling):
      return None
    ratios.append(value / ceiling)
  return float(np.mean(ratios)) if ratios else None


def probe_by_size(results: Results) -> Table:
  """Accuracy of the linear probes against number of inputs."""
  probe = get(results, 'metrics', 'probe')
  counts = probe_sizes(results)
  rows = [
    (
      _inputs(size, results),
      *(share(get(probe, n, 'by_size', str(size))) for n in counts),
      *(
        share(get(probe, 'untrained', n, 'by_size', str(size))) for n in counts
      ),
      share(get(probe, 'chance')),
    )
    for size in _sizes(results)
  ]
  return Table(
    'Accuracy on the test set of logistic regression on the posterior mean, '
    'averaged over subsets of a size. Ceiling 1. ' + _probe_settings(probe),
    (
      'input modalities',
      *(f'{probe_size(results, n)} training latents' for n in counts),
      *(f'untrained, {probe_size(results, n)}' for n in counts),
      'chance',
    ),
    tuple(rows),
  )


def probe_subsets(results: Results) -> Table:
  """Accuracy of the linear probes for every subset."""
  probe = get(results, 'metrics', 'probe')
  counts = probe_sizes(results)
  names = _ordered(
    name for n in counts for name in get(probe, n, 'subsets') or {}
  )
  return Table(
    'Linear probe accuracy for every subset of input modalities.',
    ('subset', *(f'{probe_size(results, n)} training latents' for n in counts)),
    tuple(
      (name, *(share(get(probe, n, 'subsets', name)) for n in counts))
      for name in names
    ),
  )


def num_examples(results: Results) -> Table | None:
  """How many examples every subset had; None where all had all."""
  n = probe_sizes(results)[0]
  probed = get(results, 'metrics', 'probe', n, 'num_examples') or {}
  judged = get(results, 'metrics', 'coherence', 'num_examples') or {}
  names = _ordered((*probed, *judged))
  if not names:
    return None
  return Table(
    'Some examples lack modalities or their class. A subset is measured on '
    'those that have all its modalities and a class.',
    ('subset', f'training, of {int(n):,}', 'test, probe', 'test, coherence'),
    tuple(
      (
        name,
        *(map(count, probed[name]) if probed else ('all', 'all')),
        count(judged[name]) if judged else 'all',
      )
      for name in names
    ),
  )


def coherence_by_size(results: Results) -> Table:
  """Conditional coherence against number of inputs."""
  coherence = get(results, 'metrics', 'coherence')
  by_size = get(coherence, 'conditional', 'by_size')
  last = _sizes(results)[-1]
  ceiling = share(mean_ceiling(results))
  return Table(
    'Share of generated samples that a classifier assigns to the class of the '
    'inputs, averaged over subsets of a size and all modalities not in '
    'the subset. Outputs agree: share of draws whose generated modalities all '
    'show one class, right or wrong.',
    (
      'input modalities',
      'coherence',
      'relative to ceiling',
      'ceiling',
      'chance',
      'outputs agree',
    ),
    tuple(
      (
        str(size),
        share(get(by_size, str(size))),
        share(relative_coherence(results, size)),
        ceiling,
        share(get(coherence, 'chance')),
        # A single output agrees with itself.
        share(get(coherence, 'cogeneration', 'by_size', str(size)))
        if size < last - 1
        else NOT_APPLICABLE,
      )
      for size in _sizes(results)[:-1]
    ),
  )


def coherence_matrix(results: Results) -> Table:
  """Conditional coherence from single modalities: source by target."""
  coherence = get(results, 'metrics', 'coherence')
  pairs = get(coherence, 'conditional', 'pairs')
  names = _judged(results)
  rows = []
  for source in results['data']['modalities']:
    cells = [
      NOT_APPLICABLE
      if source == target
      else share(get(pairs, f'{source}->{target}'))
      for target in names
    ]
    rows.append((f'from {source}', *cells))
  rebuilt = (share(get(coherence, 'reconstruction', name)) for name in names)
  rows.append(('from all', *rebuilt))
  ceilings = (share(get(coherence, 'ceiling', name)) for name in names)
  rows.append(('ceiling', *ceilings))
  rows.append(('chance', *[share(get(coherence, 'chance'))] * len(names)))
  return Table(
    'Conditional coherence from one modality (row) to another (column); from '
    'all modalities, the column among them.',
    ('inputs', *(f'to {name}' for name in names)),
    tuple(rows),
  )


def text(results: Results) -> Table:
  """Three ways of judging generated text, side by side."""
  coherence = get(results, 'metrics', 'coherence')
  found = get(coherence, 'exact_match', 'pairs') or {}
  return Table(
    'Generated texts. Exact match: the likeliest characters spell the word of '
    'the inputs, to the letter, wherever it starts; a generator that always '
    'spells some word scores chance. Coherence: the classifier sees the class '
    'in the likeliest characters; drawn: in a draw of p(x | z). Where inputs '
    'leave open at which place a word starts, the likeliest characters of a '
    'short one are blanks, and the draw alone tells what the model knows.',
    ('inputs and text', 'exact match', 'coherence', 'drawn', 'chance'),
    tuple(
      (
        pair,
        share(value),
        share(get(coherence, 'conditional', 'pairs', pair)),
        share(get(coherence, 'drawn_text', 'pairs', pair)),
        share(get(coherence, 'chance')),
      )
      for pair, value in found.items()
    ),
  )


def coherence_pairs(results: Results) -> Table:
  """Conditional coherence of every subset and target."""
  pairs = get(results, 'metrics', 'coherence', 'conditional', 'pairs') or {}
  names = _judged(results)
  subsets = _ordered(pair.split('->')[0] for pair in pairs)
  return Table(
    'Conditional coherence from every subset (row) to every other modality '
    '(column).',
    ('subset', *(f'to {name}' for name in names)),
    tuple(
      (
        subset,
        *(
          NOT_APPLICABLE
          if name in subset.split('+')
          else share(pairs.get(f'{subset}->{name}'))
          for name in names
        ),
      )
      for subset in subsets
    ),
  )


def joint_coherence(results: Results) -> Table:
  """Joint coherence, with its ceiling and chance level."""
  coherence = get(results, 'metrics', 'coherence')
  ceiling, is_measured = joint_ceiling(results)
  fitted = get(coherence, 'joint_from_sampler')
  rows = [
    (
      'N(0, I), the prior',
      share(get(coherence, 'joint'), get(coherence, 'joint_standard_error')),
      count(get(coherence, 'num_joint_samples')),
    )
  ]
  caption = (
    'Share of draws from the prior whose decoded modalities are all assigned '
    'to the same class, with the binomial standard error.'
  )
  if fitted:
    num_components = get(fitted, 'num_components')
    rows.append(
      (
        f'Gaussian mixture, K = {num_components}',
        share(get(fitted, 'value'), get(fitted, 'standard_error')),
        count(get(fitted, 'num_samples')),
      )
    )
    caption += (
      ' The mixture was fitted after training to posteriors, given all'
      f' modalities, of {count(get(fitted, "num_examples"))} training examples'
      ' and takes the place of the prior of the shared latents; decoders are'
      ' the same. What it gains is what the prior misses of them.'
    )
    if not get(fitted, 'converged'):
      caption += ' Its fit stopped at the limit of iterations.'
  how = (
    'measured on real tuples' if is_measured else 'if errors are independent'
  )
  chance = share(get(coherence, 'joint_chance'))
  return Table(
    caption,
    ('z drawn from', 'joint coherence', f'ceiling ({how})', 'chance', 'draws'),
    tuple(
      (name, value, share(ceiling), chance, draws)
      for name, value, draws in rows
    ),
  )


def log_likelihood(results: Results) -> Table:
  """The joint log-likelihood, before and after training, and the ELBO."""
  likelihood = get(results, 'metrics', 'log_likelihood')
  num_examples = get(likelihood, 'num_examples')
  rows = []
  for name, key in (
    ('trained', 'joint'),
    ('untrained', 'untrained_joint'),
    ('ELBO, trained', 'joint_bound'),
  ):
    entry = get(likelihood, key) or {}
    value = nats(entry.get('value'), entry.get('standard_error'))
    rows.append((name, value, count(entry.get('num_importance_samples'))))
  return Table(
    'log p(x) of all modalities together, in nats per example, with the '
    f'standard error over {count(num_examples)} test examples. The proposal '
    'is the posterior of all modalities. The ELBO is a mean over its draws.',
    ('model', 'log p(x), nats', 'draws K'),
    tuple(rows),
  )


def log_likelihood_by_size(results: Results) -> Table:
  """Log-likelihood against number of inputs."""
  likelihood = get(results, 'metrics', 'log_likelihood')
  return Table(
    'log p(x) of all modalities together, the proposal being the posterior of '
    'a subset, averaged over subsets of a size; '
    f'K = {count(get(likelihood, "num_importance_samples"))}, '
    f'{count(get(likelihood, "num_examples"))} test examples.',
    ('input modalities', 'log p(x), nats'),
    tuple(
      (_inputs(size, results), nats(get(likelihood, 'by_size', str(size))))
      for size in _sizes(results)
    ),
  )


def log_likelihood_subsets(results: Results) -> Table:
  """Log-likelihood for every subset, with standard errors."""
  likelihood = get(results, 'metrics', 'log_likelihood')
  return Table(
    'log p(x) of all modalities together by proposal, with the standard error '
    'over test examples.',
    ('subset', 'log p(x), nats'),
    tuple(
      (name, nats(value, get(likelihood, 'standard_error', name)))
      for name, value in (get(likelihood, 'subsets') or {}).items()
    ),
  )


def readings(results: Results) -> Table:
  """Every choice of the posterior of several inputs, by number of inputs."""
  n = probe_sizes(results)[0]
  last = _sizes(results)[-1]
  rows = [
    (
      title,
      _inputs(size, results),
      share(get(block, 'probe', n, 'by_size', str(size))),
      share(get(block, 'coherence', 'conditional', 'by_size', str(size)))
      if size < last
      else NOT_APPLICABLE,
      nats(get(block, 'log_likelihood', 'by_size', str(size))),
    )
    for title, block in _readings(results).items()
    for size in _sizes(results)
  ]
  return Table(
    'The same model, measured with each choice of the posterior of several '
    'inputs: the mixture of the modalities, which mmJSD trains with; their '
    'product; the geometric mean of the modalities and the prior (dynamic '
    'prior). The first is the one that all other sections show.',
    (
      'posterior',
      'input modalities',
      f'probe, {int(n):,} training latents',
      'coherence',
      'log p(x), nats',
    ),
    tuple(rows),
  )


def readings_pairs(results: Results) -> Table:
  """Conditional coherence of every subset and target, by posterior."""
  found = {
    title: get(block, 'coherence', 'conditional', 'pairs') or {}
    for title, block in _readings(results).items()
  }
  pairs = dict.fromkeys(pair for of_one in found.values() for pair in of_one)
  return Table(
    'Conditional coherence of every subset and target, by the posterior of '
    'several inputs.',
    ('inputs and target', *found),
    tuple(
      (pair, *(share(of_one.get(pair)) for of_one in found.values()))
      for pair in pairs
    ),
  )


def as_released(results: Results) -> Table:
  """What the authors' estimators give, against number of inputs."""
  block = get(results, 'metrics', 'as_released')
  coherence, likelihood = get(block, 'coherence'), get(block, 'log_likelihood')
  last = _sizes(results)[-1]
  rows = [
    (
      _inputs(size, results),
      share(get(block, 'probe', '500', 'by_size', str(size))),
      share(get(coherence, 'conditional', 'by_size', str(size)))
      if size < last
      else NOT_APPLICABLE,
      nats(get(likelihood, 'by_size', str(size))),
    )
    for size in _sizes(results)
  ]
  joint = share(get(coherence, 'joint'), get(coherence, 'joint_standard_error'))
  return Table(
    "The same model measured as the authors' released code does."
    + (f' Joint coherence: {joint}.' if coherence else '')
    + ' Log-likelihood with '
    f'K = {count(get(likelihood, "num_importance_samples"))}, '
    f'{count(get(likelihood, "num_examples"))} test examples.',
    (
      'input modalities',
      'probe, 500 training latents',
      'coherence',
      'log p(x), nats',
    ),
    tuple(rows),
  )


def published_values(metric: str, rows: Iterable[Mapping[str, Any]]) -> Table:
  """Published values of one metric, a row per source, below this run's.

  Args:
    metric: what the rows' `metric` begins with, such as 'coherence by_size'.
    rows: entries of `published` in results.json.
  """
  ours: dict[str, str] = {}
  released: dict[str, str] = {}
  sources: dict[tuple[str, str, str], dict[str, str]] = {}
  for row in rows:
    size = row['metric'].removeprefix(metric).strip()
    ours[size] = share(row.get('reproduced'))
    if is_number(row.get('reproduced_as_released')):
      released[size] = share(row['reproduced_as_released'])
    key = row['source'], row.get('kind', MISSING), row['protocol']
    cells = sources.setdefault(key, {})
    cells[size] = share(row['value'], row.get('std'))
  sizes = sorted(ours, key=lambda size: int(size or 0))
  return Table(
    'Published values with their standard deviation over runs, where printed. '
    'This run is one trained model.',
    (
      'source',
      *(_inputs_title(size) if size else 'value' for size in sizes),
      'kind',
      'protocol',
    ),
    (
      *(
        (
          name,
          *(cells.get(size, MISSING) for size in sizes),
          NOT_APPLICABLE,
          NOT_APPLICABLE,
        )
        for name, cells in (
          ('this run', ours),
          ('this run, measured as released', released),
        )
        if cells
      ),
      *(
        (
          source,
          *(cells.get(size, NOT_APPLICABLE) for size in sizes),
          kind,
          protocol.partition(':')[0],
        )
        for (source, kind, protocol), cells in sources.items()
      ),
    ),
  )


def key_values(
  tree: Mapping[str, Any], caption: str, *, none: str = 'None'
) -> Table:
  """A nested mapping as dotted keys and values; `none` stands for None."""
  rows = tuple((key, _told(value, none)) for key, value in _flatten(tree))
  return Table(caption, ('key', 'value'), rows)


def _told(value: Any, none: str) -> str:
  if value is None:
    return none
  return "''" if value == '' else str(value)


def probe_sizes(results: Results) -> list[str]:
  """Numbers of training latents that were probed, ascending; as recorded."""
  probe = get(results, 'metrics', 'probe') or {}
  return sorted((key for key in probe if key.isdigit()), key=int) or ['500']


def probe_size(results: Results, n: str) -> str:
  """One of `probe_sizes` for reading: where there are gaps, it is the most."""
  has_gaps = get(results, 'metrics', 'probe', n, 'num_examples')
  return f'{"up to " if has_gaps else ""}{int(n):,}'


def mean_ceiling(results: Results) -> float | None:
  """Mean accuracy of the classifiers on real test images.

  At every size each modality is a target equally often, so this is the ceiling
  of every entry of `by_size`.
  """
  ceilings = get(results, 'metrics', 'coherence', 'ceiling') or {}
  names = _judged(results)
  values = [ceilings[name] for name in names if is_number(ceilings.get(name))]
  return float(np.mean(values)) if len(values) == len(names) else None


def _judged(results: Results) -> list[str]:
  """The modalities that coherence is measured of: all but those left out."""
  judged = get(results, 'metrics', 'coherence', 'judged')
  return judged or results['data']['modalities']


def joint_ceiling(results: Results) -> tuple[float | None, bool]:
  """Ceiling of joint coherence, and whether it was measured."""
  coherence = get(results, 'metrics', 'coherence')
  measured = get(coherence, 'joint_ceiling')
  if is_number(measured):
    return measured, True
  if mean_ceiling(results) is None:
    return None, False
  return math.prod(get(coherence, 'ceiling').values()), False


def _readings(results: Results) -> dict[str, Any]:
  """Name of the posterior -> metrics; the run's own first."""
  own = get(results, 'objective', 'subset_posterior') or MISSING
  metrics = get(results, 'metrics')
  found = {own: metrics, **(get(metrics, 'readings') or {})}
  return {name.replace('_', ' '): block for name, block in found.items()}


def _sizes(results: Results) -> list[int]:
  return list(range(1, len(results['data']['modalities']) + 1))


def _inputs(size: int, results: Results) -> str:
  return f'{size} (all)' if size == _sizes(results)[-1] else str(size)


def _ordered(names: Iterable[str]) -> list[str]:
  """Without duplicates, by size; otherwise as first seen."""
  return sorted(dict.fromkeys(names), key=lambda name: name.count('+'))


def _probe_settings(probe: Any) -> str:
  penalty = get(probe, 'penalty') or MISSING
  standardised = get(probe, 'standardised')
  how = {True: 'standardised', False: 'as they are'}.get(standardised, MISSING)
  text = f'Penalty: {penalty}. Features: {how}.'
  blocks = [get(probe, n) for n in probe or {} if n.isdigit()]
  if gave_up := sum(get(block, 'num_not_converged') or 0 for block in blocks):
    text += f' {gave_up} of the fits stopped at the limit of iterations.'
  return text


def _inputs_title(size: str) -> str:
  return f'{size} input' if size == '1' else f'{size} inputs'


def _flatten(
  tree: Mapping[str, Any], prefix: str = ''
) -> Iterable[tuple[str, Any]]:
  for key, value in tree.items():
    if isinstance(value, Mapping) and value:
      yield from _flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value
