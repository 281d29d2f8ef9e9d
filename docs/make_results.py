"""Markdown tables of several runs, out of their results.json.

  python docs/make_results.py runs/*/results.json > docs/results.md

One table per metric with a row per run, published values below them. No number
is typed by hand: to change one, run again.
"""

import sys
from collections.abc import Mapping, Sequence

from mmjsd_jax import pages, tables
from mmjsd_jax.pages import markdown
from mmjsd_jax.tables import Results, Table, get, nats, share


def main(arguments: Sequence[str]) -> None:
  """Prints the tables of the files named in `arguments`."""
  runs = pages.load_arguments(__doc__.partition('\n')[0], arguments)
  print(make_results(runs), end='')


def make_results(runs: Mapping[str, Results]) -> str:
  """The Markdown page.

  Args:
    runs: label to the contents of a results.json.
  """
  parts = [
    '# Results',
    'Made by `docs/make_results.py` from the `results.json` of each run; a '
    'number that was not measured is "missing". Metrics are defined at the end '
    "of every run's `report.html`. A row is one trained model.",
    '## Runs',
    *pages.what_was_run(runs),
    '## Linear probe',
    *(markdown(_probe(runs, n)) for n in _probe_sizes(runs)),
    '## Conditional coherence',
    markdown(_coherence(runs)),
    '## Joint coherence',
    markdown(_joint(runs)),
    '## Log-likelihood',
    markdown(_log_likelihood(runs)),
    markdown(_joint_log_likelihood(runs)),
    *_published(runs),
  ]
  return '\n\n'.join(parts) + '\n'


def _probe_sizes(runs: Mapping[str, Results]) -> list[str]:
  sizes = {n for results in runs.values() for n in tables.probe_sizes(results)}
  return sorted(sizes, key=int)


def _num_modalities(runs: Mapping[str, Results]) -> int:
  return max(len(results['data']['modalities']) for results in runs.values())


def _sizes(count: int) -> list[str]:
  return [str(size) for size in range(1, count + 1)]


def _probe(runs: Mapping[str, Results], n: str) -> Table:
  sizes = _sizes(_num_modalities(runs))
  rows = []
  for label, results in runs.items():
    probe = get(results, 'metrics', 'probe')
    untrained = get(probe, 'untrained')
    for title, block in ((label, probe), (f'{label}, untrained', untrained)):
      cells = (share(get(block, n, 'by_size', size)) for size in sizes)
      rows.append((title, *cells, share(get(probe, 'chance'))))
  return Table(
    f'Accuracy with {int(n):,} training latents, by number of inputs.',
    ('run', *sizes, 'chance'),
    tuple(rows),
  )


def _coherence(runs: Mapping[str, Results]) -> Table:
  sizes = _sizes(_num_modalities(runs) - 1)
  rows = []
  for label, results in runs.items():
    coherence = get(results, 'metrics', 'coherence')
    by_size = get(coherence, 'conditional', 'by_size')
    rows.append(
      (
        label,
        *(share(get(by_size, size)) for size in sizes),
        share(tables.mean_ceiling(results)),
        share(get(coherence, 'chance')),
      )
    )
  return Table(
    'By number of inputs.', ('run', *sizes, 'ceiling', 'chance'), tuple(rows)
  )


def _joint(runs: Mapping[str, Results]) -> Table:
  rows = []
  for label, results in runs.items():
    _, joint, ceiling, chance, draws = tables.joint_coherence(results).rows[0]
    rows.append((label, joint, ceiling, chance, draws))
  return Table(
    'With the binomial standard error over draws.',
    ('run', 'joint coherence', 'ceiling', 'chance', 'draws'),
    tuple(rows),
  )


def _log_likelihood(runs: Mapping[str, Results]) -> Table:
  sizes = _sizes(_num_modalities(runs))
  rows = []
  for label, results in runs.items():
    likelihood = get(results, 'metrics', 'log_likelihood')
    rows.append(
      (
        label,
        *(nats(get(likelihood, 'by_size', size)) for size in sizes),
        tables.count(get(likelihood, 'num_importance_samples')),
        tables.count(get(likelihood, 'num_examples')),
      )
    )
  return Table(
    'log p(x) of all modalities in nats per example, by number of inputs of '
    'the proposal; K importance samples.',
    ('run', *sizes, 'K', 'examples'),
    tuple(rows),
  )


def _joint_log_likelihood(runs: Mapping[str, Results]) -> Table:
  rows = []
  for label, results in runs.items():
    trained, untrained, elbo = tables.log_likelihood(results).rows
    rows.append((label, *trained[1:], *untrained[1:], *elbo[1:]))
  return Table(
    'log p(x) of all modalities in nats per example, the proposal being the '
    'posterior of all.',
    ('run', 'trained', 'K', 'untrained', 'K', 'ELBO', 'draws'),
    tuple(rows),
  )


def _published(runs: Mapping[str, Results]) -> list[str]:
  """Every run's published values beside its own, one table per metric."""
  titles = {
    'probe by_size': 'Published linear probes',
    'coherence by_size': 'Published conditional coherence',
    'joint coherence': 'Published joint coherence',
  }
  parts = []
  for metric, title in titles.items():
    rows: list[tuple[str, ...]] = []
    columns: tuple[str, ...] = ()
    differences: dict[str, list[str]] = {}
    for label, results in runs.items():
      found = [
        row
        for row in results.get('published') or []
        if row['metric'].startswith(metric)
      ]
      if not found:
        continue
      table = tables.published_values(metric, found)
      columns = ('run', *table.columns)
      rows += [(label, *row) for row in table.rows]
      for row in found:
        runs_of = differences.setdefault(row['protocol'], [])
        runs_of += [label] if label not in runs_of else []
    if rows:
      notes = (
        f'- {", ".join(labels)}: protocol {protocol}'
        for protocol, labels in differences.items()
      )
      table = Table('', columns, tuple(rows))
      parts += [f'## {title}', markdown(table), '\n'.join(notes)]
  return parts


if __name__ == '__main__':
  main(sys.argv[1:])
