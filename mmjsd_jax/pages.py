"""What pages about several runs tell of them, and Markdown of it."""

import argparse
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from mmjsd_jax import tables
from mmjsd_jax.files import read_json
from mmjsd_jax.tables import Results, Table, duration, get

_PROGRAMS = ('python', 'jax', 'flax', 'optax', 'numpy', 'scikit-learn')


def load_arguments(
  description: str, arguments: Sequence[str]
) -> dict[str, Results]:
  """What `load` gives for a program's arguments; an error ends the program.

  Args:
    description: of the program.
    arguments: paths of results.json files.
  """
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument('results', nargs='+', type=pathlib.Path)
  paths = parser.parse_args(arguments).results
  try:
    return load(paths)
  except (ValueError, OSError) as error:
    parser.error(str(error))


def load(paths: Iterable[pathlib.Path]) -> dict[str, Results]:
  """Results by objective, and by folder where an objective occurs twice.

  Args:
    paths: of results.json files.

  Raises:
    ValueError: one file twice, or one that is not the results.json of a run.
    OSError: a file cannot be read.
  """
  loaded = [(path, _results(path)) for path in paths]
  presets = [results['objective']['preset'] for _, results in loaded]
  runs: dict[str, Results] = {}
  for (path, results), preset in zip(loaded, presets, strict=True):
    is_unique = presets.count(preset) == 1
    label = preset if is_unique else f'{preset} ({path.parent})'
    if label in runs:
      raise ValueError(f'expected different files, got {path} twice')
    runs[label] = results
  return runs


# What the pages read without asking whether it is there.
_NEEDED: Mapping[tuple[str, ...], type] = {
  ('objective', 'preset'): str,
  ('version',): str,
  ('command',): str,
  ('finished',): str,
  ('data', 'fingerprint'): str,
  ('data', 'source'): str,
  ('substitutions',): list,
  ('training',): dict,
  ('environment',): dict,
  ('metrics',): dict,
}


def _results(path: pathlib.Path) -> Results:
  results = read_json(path)
  for keys, kind in _NEEDED.items():
    if not isinstance(got := get(results, *keys), kind):
      raise ValueError(
        f'{path}: expected the results.json of a run, with'
        f' {".".join(keys)} of type {kind.__name__}, got'
        f' {type(got).__name__}'
      )
  return results


def what_was_run(runs: Mapping[str, Results]) -> list[str]:
  """Time, hardware, versions, commands, data and what was substituted.

  Args:
    runs: label to the contents of a results.json.
  """
  commands = '\n'.join(results['command'] for results in runs.values())
  data = '\n'.join(f'- `{start}`: {what}' for start, what in sources(runs))
  substituted = [
    f'- {", ".join(labels)}: {text}'
    for text, labels in substitutions(runs).items()
  ]
  return [
    markdown(_runs(runs)),
    f'```\n{commands}\n```',
    'Data:',
    data,
    *(
      ['Substituted:', '\n'.join(substituted)]
      if substituted
      else ['Nothing was substituted.']
    ),
  ]


def sources(runs: Mapping[str, Results]) -> list[tuple[str, str]]:
  """The data sets of the runs: start of the fingerprint, and what it is.

  Args:
    runs: label to the contents of a results.json.
  """
  found = ((fingerprint(r), r['data']['source']) for r in runs.values())
  return list(dict.fromkeys(found))


def substitutions(runs: Mapping[str, Results]) -> dict[str, list[str]]:
  """What was substituted, to the labels of the runs where it was.

  Args:
    runs: label to the contents of a results.json.
  """
  texts: dict[str, list[str]] = {}
  for label, results in runs.items():
    for text in results['substitutions']:
      texts.setdefault(text, []).append(label)
  return texts


def fingerprint(results: Results) -> str:
  """As much of that of a run's data as tables have."""
  return results['data']['fingerprint'][:12]


def versions(results: Results) -> str:
  """The programs of a run, with their versions."""
  environment = results['environment']
  others = (
    f'{name} {environment[name]}' for name in _PROGRAMS if environment.get(name)
  )
  return f'mmjsd_jax {results["version"]}, ' + ', '.join(others)


def markdown(table: Table) -> str:
  """The table with its caption above it."""

  def line(cells: Iterable[str]) -> str:
    return '| ' + ' | '.join(cell.replace('|', '\\|') for cell in cells) + ' |'

  rule = '|' + ' --- |' * len(table.columns)
  lines = [line(table.columns), rule, *(line(row) for row in table.rows)]
  return '\n'.join(([table.caption, ''] if table.caption else []) + lines)


def _runs(runs: Mapping[str, Results]) -> Table:
  rows = []
  for label, results in runs.items():
    training = results['training']
    rows.append(
      (
        label,
        tables.count(training.get('steps')),
        tables.count(training.get('epochs')),
        duration(training.get('seconds')),
        duration(get(results, 'evaluation', 'seconds')),
        tables.device(results['environment']),
        fingerprint(results),
        versions(results),
        results['finished'],
      )
    )
  columns = (
    'run',
    'steps',
    'epochs',
    'training',
    'evaluation',
    'device',
    'data (SHA-256)',
    'versions',
    'finished',
  )
  return Table('', columns, tuple(rows))
