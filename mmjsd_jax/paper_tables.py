"""The papers' tables of a data set, our numbers below the printed ones.

What mmJSD (Sutter et al. 2020; 2019) and MoPoE (Sutter et al. 2021) print is of
published_values.py, ours from results.json of any number of runs. What the
column headings mean is said in paper_columns.py.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjsd_jax import experiments, published_values, tables
from mmjsd_jax.experiments import Experiment
from mmjsd_jax.paper_columns import (
  ABOUT_FEATURES,
  PERFECT_AVERAGE_PRECISION,
  QUANTITIES,
  Layout,
  Row,
  features_of,
)
from mmjsd_jax.tables import MISSING, NOT_APPLICABLE, Results, Table, get, share

# Data set to (paper, number) in the order of the page.
TABLES: Mapping[str, tuple[tuple[str, str], ...]] = {
  'mnist_svhn_text': (
    *(('mmJSD', number) for number in ('1', '2', '3', '4')),
    *(('MoPoE', number) for number in ('2', '3', '4', '6', '7')),
  ),
  'celeba': (('mmJSD', '5'), ('MoPoE', '5')),
  'dsprites_text': (('mmJSD, workshop', '1a'), ('mmJSD, workshop', '1b')),
}

# Label of a model that the paper has and we do not.
NOT_RUN = 'ours, n = 0'

_EQUATION_5 = experiments.TITLES['mopoe_eq5']


class PaperTable(NamedTuple):
  """A table as a paper has it, and what to know about its printed numbers.

  Attributes:
    title: paper, number and contents.
    table: per model its printed row and ours.
    caveats: sentences about the printed numbers.
  """

  title: str
  table: Table
  caveats: tuple[str, ...]


def make_tables(runs: Sequence[Results]) -> list[PaperTable]:
  """All of a data set; of PRD curves also over those of a perfect generator.

  Args:
    runs: as for `make_table`.

  Raises:
    ValueError: as `make_table`.
  """
  made = []
  for paper, number in TABLES[_check(runs)]:
    made.append(make_table(runs, paper, number))
    if published_values.table(paper, number)['quantity'] == 'average_precision':
      made.append(make_table(runs, paper, number, normalised=True))
  return made


def make_table(
  runs: Sequence[Results], paper: str, number: str, *, normalised: bool = False
) -> PaperTable:
  """One table of a paper, with rows of ours.

  A model that the paper has and no run of ours gets a row of 'missing', which
  also stands for every number that was not measured; '-' is for what the paper
  does not print. Rows of ours are means over runs that differ in the seed, with
  the standard deviation (of a sample: n - 1), and where a run has them also
  those of the authors' estimators and of the other posteriors of several
  inputs.

  Args:
    runs: contents of results.json on one data set with all its modalities; any
      objectives, any number of seeds.
    paper: of `TABLES`, such as 'mmJSD'.
    number: the table's, such as '2'.
    normalised: divides by `PERFECT_AVERAGE_PRECISION`.

  Raises:
    ValueError: a table of other data, runs on different data sets or on one
      that is in no table, fewer modalities than it has, or one seed twice.
  """
  data_set = _check(runs)
  if (paper, number) not in TABLES[data_set]:
    raise ValueError(
      f'expected paper and number among {TABLES[data_set]}, got '
      f'{(paper, number)}'
    )
  printed = published_values.table(paper, number)
  quantity = QUANTITIES[printed['quantity']]
  columns = tuple(printed['columns'])
  if 'Random' in columns:  # beside it what it should have been
    columns = ('Random', 'Joint', *columns[1:])
  layout = Layout(
    quantity,
    columns,
    published_values.letters(data_set),
    tuple(runs[0]['data']['modalities']),
    1 / PERFECT_AVERAGE_PRECISION if normalised else 1,
    features_of(runs),
  )
  title = f'{paper}, {printed["where"]}: {printed["title"]}'
  caption = _caption(paper, printed, runs, layout)
  if normalised:
    title += ', over that of a perfect generator'
    caption += f' All are divided by {PERFECT_AVERAGE_PRECISION:.4f}.'
  rows = [
    *_model_rows(paper, number, experiments.group(runs), layout),
    *quantity.baselines_fn(runs, layout),
  ]
  headings = (_heading(column) for column in columns)
  table = Table(caption, ('model', 'numbers', *headings), tuple(rows))
  return PaperTable(title, table, published_values.caveats(paper, number))


def has_tables(results: Results) -> bool:
  """Whether a paper has a table of this data set and these modalities."""
  data = results['data']
  return data['name'] in TABLES and len(data['modalities']) == len(
    published_values.letters(data['name'])
  )


def settings(runs: Sequence[Results]) -> Table:
  """What the papers and the runs trained with, a row per experiment.

  Args:
    runs: as for `make_table`.

  Raises:
    ValueError: as `make_table`.
  """
  data_set = _check(runs)
  rows = []
  for paper in dict.fromkeys(paper for paper, _ in TABLES[data_set]):
    contents = published_values.load()['papers'][paper]['settings']
    printed = (
      str(contents.get(data_set, {}).get(key, NOT_APPLICABLE))
      for key in ('latent', 'beta', 'batch_size', 'lr', 'epochs')
    )
    rows.append((paper, 'published', *printed, *[NOT_APPLICABLE] * 2))
  for experiment in experiments.group(runs):
    first = experiment.runs[0]
    styles = ' + '.join(str(size) for size in experiments.style_dims(first))
    shared = get(first, 'config', 'model', 'latent_dim')
    rows.append(
      (
        experiment.model,
        _label(experiment),
        f'{shared} shared' + (f', styles {styles}' if styles else ''),
        str(get(first, 'config', 'objective', 'beta')),
        tables.count(first['training'].get('batch_size')),
        str(get(first, 'config', 'train', 'learning_rate')),
        tables.count(first['training'].get('epochs')),
        str(first['objective'].get('subset_posterior', MISSING)),
        ', '.join(experiments.seeds(experiment.runs)),
      )
    )
  columns = (
    'model',
    'numbers',
    'latents',
    'beta',
    'batch',
    'learning rate',
    'epochs',
    'several inputs by',
    'seeds',
  )
  return Table('', columns, tuple(rows))


def _check(runs: Sequence[Results]) -> str:
  """The data set that all runs are on."""
  data_sets = {
    (results['data']['name'], tuple(results['data']['modalities']))
    for results in runs
  }
  if len(data_sets) != 1:
    raise ValueError(f'expected runs on one data set, got {sorted(data_sets)}')
  ((name, modalities),) = data_sets
  if name not in TABLES:
    raise ValueError(f'expected runs on one of {tuple(TABLES)}, got {name!r}')
  letters = published_values.letters(name)
  if len(modalities) != len(letters):
    raise ValueError(
      f'expected {len(letters)} modalities of {name}, got {modalities}'
    )
  return name


def _heading(column: str) -> str:
  """'latent_I' and 'I->T' of published_values.json for reading."""
  column = column.replace('latent_', 'latents of ')
  return column.replace('->', ' → ').replace('/', ', ')


def _model_rows(
  paper: str, number: str, ours: Sequence[Experiment], layout: Layout
) -> list[Row]:
  printed = _printed(paper, number)
  models = {model for model, _ in printed}
  if _EQUATION_5 not in models:  # else two are compared, and nothing else
    models |= {experiment.model for experiment in ours}
  rows: list[Row] = []
  for model in sorted(models, key=experiments.place):
    drawn = [experiment for experiment in ours if experiment.model == model]
    for part in dict.fromkeys(part for _, part in printed):
      if (model, part) in printed:
        where, cells = printed[model, part]
        label = f'published ({where})' if where else 'published'
        values = (_print(cells.get(name), layout) for name in layout.columns)
        rows.append((model, _of_part(label, part), *values))
      for experiment in drawn:
        rows += _our_rows(experiment, part, layout)
    if not drawn:
      rows.append((model, NOT_RUN, *[MISSING] * len(layout.columns)))
  return rows


def _printed(
  paper: str, number: str
) -> dict[tuple[str, str], published_values.Row]:
  """(model, part of the table that it has a row in, or '') to its row."""
  suffix = (
    ' (MS)' if published_values.table(paper, number).get('has_styles') else ''
  )
  found = {}
  for name, row in published_values.rows(paper, number).items():
    model, _, part = name.partition('/')
    model = {'Eq. (5)': _EQUATION_5}.get(model, model)
    found[f'{model}{suffix}', part] = row
  return found


def _our_rows(experiment: Experiment, part: str, layout: Layout) -> list[Row]:
  """By our estimators, those of the authors, and other posteriors."""
  blocks = [results['metrics'] for results in experiment.runs]
  measured = {'': blocks, 'measured as released': [*map(_released, blocks)]}
  readings = {name for block in blocks for name in get(block, 'readings') or {}}
  for name in sorted(readings):
    title = f'several inputs by {name}'.replace('_', ' ')
    measured[title] = [get(block, 'readings', name) for block in blocks]
  rows: list[Row] = []
  for title, read in measured.items():
    cells = _cells(read, part, layout)
    if not title or set(cells) != {MISSING}:
      label = _of_part(_label(experiment), title)
      rows.append((experiment.model, _of_part(label, part), *cells))
  return rows


def _released(block: Any) -> dict[str, Any]:
  """What the authors' estimators give."""
  factors = get(block, 'factors', 'as_released')
  return {**(get(block, 'as_released') or {}), 'factors': factors}


def _of_part(label: str, part: str) -> str:
  return f'{label}; {part}' if part else label


def _label(experiment: Experiment) -> str:
  return '; '.join((f'ours, n = {len(experiment.runs)}', *experiment.details))


def _print(cell: Any, layout: Layout) -> str:
  if cell is None:
    return NOT_APPLICABLE
  mean, std = cell, None
  if isinstance(cell, Mapping):
    mean, std = cell['mean'], layout.scale * cell['std']
  print_fn = layout.quantity.print_fn if layout.scale == 1 else share
  return print_fn(layout.scale * mean, std)


def _cells(blocks: Sequence[Any], part: str, layout: Layout) -> list[str]:
  cells = []
  for column in layout.columns:
    column = f'{part}/{column}' if part else column
    read = (layout.quantity.read_fn(block, layout, column) for block in blocks)
    found = [layout.scale * value for value in read if tables.is_number(value)]
    if not found:
      cells.append(MISSING)
      continue
    # Rounded, since equal numbers may differ from their mean in the last bit.
    std = round(float(np.std(found, ddof=1)), 4) if len(found) > 1 else None
    text = layout.quantity.format_fn(float(np.mean(found)), std)
    is_of_all = len(found) == len(blocks)
    cells.append(text if is_of_all else f'{text} (n = {len(found)})')
  return cells


def _caption(
  paper: str,
  printed: Mapping[str, Any],
  runs: Sequence[Results],
  layout: Layout,
) -> str:
  contents = published_values.load()['papers'][paper]
  letters = ', '.join(
    f'{letter} is {name}'
    for letter, name in zip(layout.letters, layout.modalities, strict=True)
  )
  ours = layout.quantity.ours.format(features=ABOUT_FEATURES[layout.features])
  sentences = [
    f'Published: {contents["source"]}, {printed["where"]}; {contents["runs"]}.',
    f'Ours: {letters}; {ours}; mean ± standard deviation over n runs that '
    'differ in the seed.',
  ]
  if printed['quantity'] == 'log_likelihood':
    sentences.append(_importance_samples(runs))
  return ' '.join((*sentences, *_data_sentences(runs)))


def _importance_samples(runs: Sequence[Results]) -> str:
  told = set()
  for results in runs:
    for title, block in (
      ('', get(results, 'metrics')),
      ('measured as released ', get(results, 'metrics', 'as_released')),
    ):
      if likelihood := get(block, 'log_likelihood'):
        draws = tables.count(get(likelihood, 'num_importance_samples'))
        examples = tables.count(get(likelihood, 'num_examples'))
        told.add(f'{title}K = {draws}, {examples} examples')
  return f'Ours: {"; ".join(sorted(told)) or MISSING}.'


def _data_sentences(runs: Sequence[Results]) -> list[str]:
  """What our data were, where they are not the papers'."""
  data_set = runs[0]['data']['name']
  printed = published_values.load()['data_sets'][data_set]['num_examples']
  expected = '{train:,} + {test:,}'.format(**printed) if printed else 'not said'
  told: dict[str, list[str]] = {}
  for results in runs:
    model, data = experiments.model_name(results), results['data']
    got = f'{data["num_train"]:,} + {data["num_test"]:,}'
    if got != expected:
      text = f'{got} training and test examples (published: {expected})'
      told.setdefault(text, []).append(model)
    for text in results['substitutions']:
      told.setdefault(f'Substituted: {text.rstrip(".")}', []).append(model)
  sentences = []
  for text, models in told.items():
    everyone = len(models) == len(runs)
    whose = '' if everyone else f' of {", ".join(dict.fromkeys(models))}'
    sentences.append(f'Ours{whose}: {text}.')
  return sentences
