"""The mode 'generate': from a file of examples, or from the prior, to files."""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from mmjsd_jax import figures
from mmjsd_jax.data.text import ALPHABET
from mmjsd_jax.example_files import (
  ID,
  ROWS,
  Given,
  check_given,
  open_parts,
  parse_given,
  placing,
)
from mmjsd_jax.examples import make_examples
from mmjsd_jax.output_files import ARRAY_SUFFIXES, check_output, write_rows
from mmjsd_jax.trained import Arrays, Trained, check_source

# Of the picture: examples, and draws of each.
_COLUMNS = 10
_DRAWS = 10


class Generation(NamedTuple):
  """What is to be generated, and has been found possible.

  Attributes:
    model: that generates.
    given: the files of examples; None generates from the prior.
    output: an .npz or a folder; a picture of the first examples, a .png, is
      put beside it.
    targets: modalities that are generated.
    num_samples: draws of each example, or of the prior.
    num_rows: of the output.
    source: of the latents without examples, as of `Trained.sample`.
    seed: of the draws.
  """

  model: Trained
  given: Given | None
  output: pathlib.Path
  targets: tuple[str, ...]
  num_samples: int
  num_rows: int
  source: str
  seed: int


def prepare(
  model: Trained,
  *,
  given: str,
  output: str,
  targets: Sequence[str],
  num_samples: int,
  source: str,
  seed: int,
) -> Generation:
  """Checks all that can be checked before any work is done.

  Args:
    model: that generates.
    given: a file, 'm0+m2=file', or tables, 'm0=table,m2=table'; '' generates
      from the prior.
    output: see Generation.
    targets: modalities; () is all.
    num_samples: draws of each example, or of the prior.
    source: of the latents without examples, as of `Trained.sample`.
    seed: of the draws.

  Raises:
    ValueError: what was told cannot be done.
    OSError: a file that is missing or cannot be read or written.
  """
  path = pathlib.Path(output)
  check_output(path, ARRAY_SUFFIXES)
  check_output(_picture(path), ('.png',))
  names = tuple(targets) or model.modalities
  if strange := [name for name in names if name not in model.modalities]:
    raise ValueError(
      f'--targets must be of {model.modalities}; got {", ".join(strange)}'
    )
  check_source(model, source)
  if given and source != 'prior':
    raise ValueError(f'--source={source} must stand without --given')
  files, num_rows = None, num_samples
  if given:
    files = parse_given(given, model.specs, model.declaration)
    num_rows = check_given(files)
  return Generation(
    model, files, path, names, num_samples, num_rows, source, seed
  )


def execute(job: Generation, check: Callable[[], None]) -> None:
  """Writes what is generated, whole or not at all.

  Args:
    job: of `prepare`.
    check: called now and then; it may raise what ends the work.

  Raises:
    ValueError: examples further down the file that cannot be used.
    OSError: something cannot be read or written.
  """
  picture = None
  with write_rows(job.output, job.num_rows) as append:
    for shown, rows in _from_file(job) if job.given else _from_prior(job):
      picture = picture or shown
      append(rows)
      check()
  if picture:
    figures.write_png(picture[0], _picture(job.output))


def _from_file(
  job: Generation,
) -> Iterator[tuple[list[figures.Pixels], Arrays]]:
  model = job.model
  assert job.given is not None
  with open_parts(job.given) as parts:
    for part in parts:
      with placing(part):
        decoded = model.generate(
          part.inputs,
          job.targets,
          job.num_samples,
          key=job.seed,
          present=part.present,
          first=part.first,
        )
      rows = model.as_given(decoded)
      if job.num_samples == 1:
        rows = {name: x[:, 0] for name, x in rows.items()}
      shown: list[figures.Pixels] = []
      if not part.first:
        stored = make_examples(model.specs, part.inputs, part.present).inputs
        given = {name: stored[name] for name in part.inputs}
        shown = _conditional(model, given, decoded)
      yield shown, rows | {ID: part.ids}


def _from_prior(
  job: Generation,
) -> Iterator[tuple[list[figures.Pixels], Arrays]]:
  for first in range(0, job.num_rows, ROWS):
    count = min(ROWS, job.num_rows - first)
    decoded = job.model.sample(
      job.seed, count, targets=job.targets, first=first, source=job.source
    )
    shown = [] if first else _samples(job.model, decoded)
    yield shown, job.model.as_given(decoded)


def _picture(output: pathlib.Path) -> pathlib.Path:
  return output.with_suffix('.png')


def _conditional(
  model: Trained, given: Arrays, decoded: Arrays
) -> list[figures.Pixels]:
  """Examples above what was generated from them; none of vectors."""
  inputs, targets = _drawable(model, given), _drawable(model, decoded)
  if not targets:
    return []
  rows = {
    name: np.swapaxes(x[:_COLUMNS, :_DRAWS], 0, 1)
    for name, x in targets.items()
  }
  return [
    figures.conditional_grid(
      [x[:_COLUMNS] for x in inputs.values()],
      [row for draws in rows.values() for row in draws],
      input_labels=[f'input {name}' for name in inputs],
      sample_labels=[
        label
        for name, draws in rows.items()
        for label in [name] + [''] * (len(draws) - 1)
      ],
    )
  ]


def _samples(model: Trained, decoded: Arrays) -> list[figures.Pixels]:
  shown = _drawable(model, decoded)
  if not shown:
    return []
  count = min(len(next(iter(shown.values()))), _COLUMNS * _DRAWS)
  columns = min(count, _COLUMNS)
  return [
    figures.random_samples_figure(
      shown, num_rows=count // columns, num_columns=columns
    )
  ]


def _drawable(model: Trained, items: Arrays) -> Arrays:
  """Those of `items` that `pictures` can show."""
  shown = {
    spec.name
    for spec in model.specs
    if (spec.kind == 'image' and spec.shape[-1] in (1, 3))
    or (spec.kind == 'text' and spec.alphabet == ALPHABET)
  }
  return {name: x for name, x in items.items() if name in shown}
