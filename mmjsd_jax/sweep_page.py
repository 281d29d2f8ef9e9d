"""sweep.json and sweep.md: what a sweep ran, and what it measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmjsd_jax import comparisons, intervals, measured, pages, tables
from mmjsd_jax.measured import AXES, Measured
from mmjsd_jax.paper_columns import FEATURES
from mmjsd_jax.tables import MISSING, Table


def table(points: Sequence[Measured], axis: str) -> Table:
  """The headline numbers: mean and standard deviation over seeds.

  Args:
    points: of one sweep, with those that are missing.
    axis: of `measured.AXES`.
  """
  columns = _columns(points)
  rows = []
  for curve, values in measured.curves(points).items():
    for value, group in values.items():
      done = sum(point.results is not None for point in group)
      rows.append(
        (
          curve,
          f'{value:g}',
          str(done) if done == len(group) else f'{done} of {len(group)}',
          *(
            _cell(group, done, read_fn, format_fn)
            for read_fn, format_fn in columns.values()
          ),
        )
      )
  return Table(
    'Mean ± standard deviation over runs that differ in the seed'
    f'{_about_intervals(points)}. Quality is '
    "the papers' average precision of generated images (PRD on "
    f'{FEATURES}) over that of a perfect generator; log p(X) is in nats per '
    'example, by importance sampling. "missing" was not measured; what no run '
    f'measured has no column.{measured.about_factors(points)}',
    ('model', AXES[axis].label, 'runs', *columns),
    tuple(rows),
  )


def _about_intervals(points: Sequence[Measured]) -> str:
  most = max(
    sum(point.results is not None for point in group)
    for values in measured.curves(points).values()
    for group in values.values()
  )
  if most < intervals.MIN_VALUES:
    return f'; fewer than {intervals.MIN_VALUES} seeds have no interval'
  return (
    f', and the {intervals.LEVEL:.0%} percentile bootstrap interval of the '
    f'mean, from {intervals.MIN_VALUES} seeds on; of few seeds it is too narrow'
  )


def page(
  *,
  title: str,
  points: Sequence[Measured],
  axis: str,
  figures: Mapping[str, str],
  errors: Mapping[str, str],
  command: str,
  states: Mapping[str, str],
) -> str:
  """The Markdown page.

  Args:
    title: the heading.
    points: of one sweep, with those that are missing.
    axis: of `measured.AXES`.
    figures: path of a picture, relative to the page, to its caption.
    errors: name of a point that failed to why.
    command: what made the page, and goes on with what is missing.
    states: name of a point to what it is at, while the sweep goes on.
  """
  parts = [f'# {title}', f'```\n{command}\n```']
  if states:
    rows = tuple(states.items())
    parts += [
      '## Under way',
      'The figures are drawn when all points have been run.',
      pages.markdown(Table('', ('point', 'state'), rows)),
    ]
  if errors:
    parts += [
      '## Missing',
      f'{len(errors)} of {len(points)} runs failed and are in no number and '
      'no figure. The command above tries them again.',
      '\n'.join(f'- `{name}`: {why}' for name, why in errors.items()),
    ]
  parts += ['## Table', pages.markdown(table(points, axis))]
  if compared := comparisons.compare(points):
    parts += [
      '## Objectives compared',
      pages.markdown(comparisons.table(compared, axis)),
    ]
  if figures:
    parts.append('## Figures')
    for path, caption in figures.items():
      parts += [f'![{path}]({path})', caption]
  runs = {point.name: point.results for point in points if point.results}
  if runs:
    parts.append('## Runs')
    fingerprints = {run['data']['fingerprint'] for run in runs.values()}
    if len(fingerprints) > 1:
      parts.append(
        f'**The runs were on {len(fingerprints)} different data sets, listed '
        'below: their numbers do not compare.**'
      )
    parts += pages.what_was_run(runs)
  return '\n\n'.join(parts) + '\n'


def _columns(points: Sequence[Measured]) -> dict[str, tuple[Any, Any]]:
  """Heading to (function of results, format); only what some run measured."""
  num_modalities = len(measured.modalities(points))
  columns: dict[str, tuple[Any, Any]] = {}
  for size in range(1, num_modalities + 1):
    columns[f'probe, {measured.inputs(size)}'] = (
      _reader('probe', size),
      tables.share,
    )
  for size in range(num_modalities):
    heading = (
      f'coherence, {measured.inputs(size)}' if size else 'joint coherence'
    )
    columns[heading] = _reader('coherence', size), tables.share
  for size in range(num_modalities):
    heading = f'quality, {measured.inputs(size) if size else "random"}'
    columns[heading] = _reader('quality', size), tables.share
  columns['log p(X)'] = measured.log_likelihood, tables.nats
  return {
    heading: column
    for heading, column in columns.items()
    if measured.numbers(points, column[0])
  }


def _reader(name: str, size: int) -> Any:
  read_fn = {
    'probe': measured.probe,
    'coherence': measured.coherence,
    'quality': measured.quality,
  }[name]
  return lambda results: read_fn(results, size)


def _cell(
  group: Sequence[Measured], done: int, read_fn: Any, format_fn: Any
) -> str:
  spread = measured.spread(group, read_fn)
  if spread.mean is None:
    return MISSING
  # Rounded, since equal numbers may differ from their mean in the last bit.
  std = None if spread.std is None else round(spread.std, 4)
  text = format_fn(spread.mean, std)
  if interval := intervals.bootstrap(measured.numbers(group, read_fn)):
    text += f' [{", ".join(map(format_fn, interval))}]'
  return text if spread.num == done else f'{text} (n = {spread.num})'
