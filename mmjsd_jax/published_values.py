"""What papers print for MNIST-SVHN-Text: published_values.json.

A cell is a number or `{'mean': .., 'std': ..}`, in [0, 1] or in nats; a table
also has its place in the paper, its quantity (`paper_columns.QUANTITIES`) and
keys of caveats. A table of the supplement may add rows to one of the paper.
"""

import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any, NamedTuple


class Row(NamedTuple):
  """A model's printed row.

  Attributes:
    where: the table of the supplement that it is taken from; '' for the table
      itself.
    cells: column to cell.
  """

  where: str
  cells: Mapping[str, Any]


@functools.cache
def load() -> Mapping[str, Any]:
  """The contents of published_values.json."""
  path = importlib.resources.files('mmjsd_jax') / 'published_values.json'
  return json.loads(path.read_text(encoding='utf-8'))


def title(data_set: str) -> str:
  """What a data set of `load()['data_sets']` is called."""
  return load()['data_sets'][data_set]['title']


def letters(data_set: str) -> tuple[str, ...]:
  """What headings call its modalities, in order."""
  return tuple(load()['data_sets'][data_set]['letters'])


def table(paper: str, number: str) -> Mapping[str, Any]:
  """A table without what the supplement adds."""
  return load()['papers'][paper]['tables'][number]


def rows(paper: str, number: str) -> dict[str, Row]:
  """Printed rows by model as the paper calls it, the supplement's included."""
  found: dict[str, Row] = {}
  for part in _parts(paper, number):
    where = part['where'] if 'continues' in part else ''
    for model, cells in part['rows'].items():
      found.setdefault(model, Row(where, cells))
  return found


def caveats(paper: str, number: str) -> tuple[str, ...]:
  """What to know about the numbers, a text each."""
  keys = [key for part in _parts(paper, number) for key in part['caveats']]
  return tuple(load()['caveats'][key] for key in dict.fromkeys(keys))


def _parts(paper: str, number: str) -> list[Mapping[str, Any]]:
  others = load()['papers'][paper]['tables'].values()
  later = [other for other in others if other.get('continues') == number]
  return [table(paper, number), *later]
