"""sweep.html: what a sweep ran and what it measured, on one page.

The page is rendered from sweep_template.html.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmjsd_jax import (
  __version__,
  comparisons,
  html_page,
  intervals,
  measured,
  pages,
  tables,
)
from mmjsd_jax.html_page import Image
from mmjsd_jax.measured import AXES, Measured
from mmjsd_jax.paper_columns import FEATURES
from mmjsd_jax.sweep_curves import Chart
from mmjsd_jax.tables import MISSING, Results, Table, get


def table(points: Sequence[Measured], axis: str) -> Table:
  """The headline numbers: mean and standard deviation over seeds.

  Args:
    points: of one sweep, with those that are missing.
    axis: of `measured.AXES`.
  """
  columns = _columns(points)
  names = measured.varying(point.others for point in points)
  rows = []
  for values in measured.curves(points).values():
    for value, group in values.items():
      done = sum(point.results is not None for point in group)
      rows.append(
        (
          ', '.join((group[0].model, *measured.values(group[0].others, names))),
          f'{value:g}',
          str(done) if done == len(group) else f'{done} of {len(group)}',
          *(
            _cell(group, done, read_fn, format_fn)
            for read_fn, format_fn in columns.values()
          ),
        )
      )
  quality = (
    " Quality is the papers' average precision of generated images (PRD on "
    f'{FEATURES}) over that of a perfect generator.'
    if any(name.startswith('quality') for name in columns)
    else ''
  )
  return Table(
    'Mean ± standard deviation over runs that differ in the seed'
    f'{_about_intervals(points)}. log p(X) is in nats per example, by '
    f'importance sampling.{quality} "missing" was not measured; what no run '
    f'measured has no column.{measured.about_factors(points)}',
    (', '.join(('model', *names)), AXES[axis].label, 'runs', *columns),
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
  charts: Mapping[str, Chart],
  errors: Mapping[str, str],
  command: str,
  states: Mapping[str, str],
) -> str:
  """The HTML page, which opens without a network.

  Args:
    title: the heading.
    points: of one sweep, with those that are missing.
    axis: of `measured.AXES`.
    charts: by name, in the order of the page.
    errors: name of a point that failed to why.
    command: what made the page, and goes on with what is missing.
    states: name of a point to what it is at, while the sweep goes on.

  Raises:
    ValueError: a chart that is no PNG.
  """
  runs = {point.name: point.results for point in points if point.results}
  compared = comparisons.compare(points)
  return html_page.render(
    'sweep_template.html',
    title=title,
    subtitle=_subtitle(points, axis, errors),
    num_points=len(points),
    num_runs=len(runs),
    num_data=len({run['data']['fingerprint'] for run in runs.values()}),
    substitutions=pages.substitutions(runs),
    errors=_by_text(errors),
    states=Table(
      'What every run is at. This page is replaced after each of them, and has '
      'figures when all have been run.',
      ('run', 'state'),
      tuple(states.items()),
    ),
    numbers=table(points, axis),
    about_compared=comparisons.ABOUT,
    compared=comparisons.tables_by_measure(compared, axis),
    images=[
      Image(
        chart.title,
        chart.caption,
        html_page.embedded(name, chart.png),
        is_wide=True,
      )
      for name, chart in charts.items()
    ],
    runs=_runs(runs),
    command=command,
    commands=[run['command'] for run in runs.values()],
    sources=pages.sources(runs),
  )


def _subtitle(
  points: Sequence[Measured], axis: str, errors: Mapping[str, str]
) -> str:
  """How far the sweep is, and when it was there."""
  finished = [point.results['finished'] for point in points if point.results]
  failed, waiting = len(errors), len(points) - len(finished) - len(errors)
  told = [f'{len(finished)} done']
  told += [f'{failed} failed'] if failed else []
  told += [f'{waiting} not run yet'] if waiting else []
  program = f'mmjsd_jax {__version__}'
  if finished:
    program += f', last run finished {html_page.time(max(finished))}'
  return (
    f'{len(points)} runs along {AXES[axis].label}: {", ".join(told)}. '
    f'{program}.'
  )


def _by_text(texts: Mapping[str, str]) -> dict[str, list[str]]:
  """What is told, to whom it is told of."""
  found: dict[str, list[str]] = {}
  for name, text in texts.items():
    found.setdefault(text, []).append(name)
  return found


def _runs(runs: Mapping[str, Results]) -> tuple[Table, Table]:
  """What is equal in all runs, and a row of the rest for each of them."""
  read_fns: dict[str, Callable[[Results], str]] = {
    'steps': lambda run: tables.count(run['training'].get('steps')),
    'epochs': lambda run: tables.count(run['training'].get('epochs')),
    'training, s': lambda run: tables.count(run['training'].get('seconds')),
    'evaluation, s': lambda run: tables.count(
      get(run, 'evaluation', 'seconds')
    ),
    'device': lambda run: tables.device(run['environment']),
    'data (SHA-256)': pages.fingerprint,
    'versions': pages.versions,
    'finished': lambda run: html_page.time(run['finished']),
  }
  columns = {
    heading: [read_fn(run) for run in runs.values()]
    for heading, read_fn in read_fns.items()
  }
  differing = {
    heading: cells for heading, cells in columns.items() if len(set(cells)) > 1
  }
  return (
    Table(
      'Equal in all runs.',
      ('what', 'value'),
      tuple(
        (heading, cells[0])
        for heading, cells in columns.items()
        if cells and heading not in differing
      ),
    ),
    Table(
      'What differs. A name leads to the report of that run, in its folder '
      'beside this page, where the metrics are defined.',
      ('run', *differing),
      tuple(zip(runs, *differing.values(), strict=True)),
    ),
  )


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
