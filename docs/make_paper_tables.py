"""The papers' tables of a data set with our numbers, as Markdown.

  python docs/make_paper_tables.py runs/*/results.json > docs/mnist_svhn_text.md

All runs are on one data set that papers have tables of; those that differ in
the seed alone become one row: mean and standard deviation. No number is typed
by hand: to change one, run again.
"""

import sys
from collections.abc import Mapping, Sequence

from mmjsd_jax import pages, paper_tables, published_values
from mmjsd_jax.tables import Results


def main(arguments: Sequence[str]) -> None:
  """Prints the page about the files named in `arguments`."""
  runs = pages.load_arguments(__doc__.partition('\n')[0], arguments)
  print(make_page(runs), end='')


def make_page(runs: Mapping[str, Results]) -> str:
  """The Markdown page.

  Args:
    runs: label to the contents of a results.json.

  Raises:
    ValueError: as `paper_tables.make_table`.
  """
  results = list(runs.values())
  made = paper_tables.make_tables(results)
  parts = [
    f'# {published_values.title(results[0]["data"]["name"])}',
    'Made by `docs/make_paper_tables.py` from the `results.json` of each run. '
    'Below what a paper prints stands what was measured here. A number that '
    'was not measured is "missing"; "-" is what the paper does not print.',
    '## Runs',
    *pages.what_was_run(runs),
    '## Settings',
    pages.markdown(paper_tables.settings(results)),
  ]
  for title, table, caveats in made:
    parts += [f'## {title}', pages.markdown(table)]
    if caveats:
      parts.append('\n'.join(f'- {caveat}' for caveat in caveats))
  return '\n\n'.join(parts) + '\n'


if __name__ == '__main__':
  main(sys.argv[1:])
