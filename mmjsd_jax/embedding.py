"""The mode 'embed': from a file of examples to a table of their latents."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

from mmjsd_jax.example_files import (
  ID,
  Given,
  check_given,
  open_parts,
  parse_given,
  placing,
)
from mmjsd_jax.output_files import SUFFIXES, check_output, write_rows
from mmjsd_jax.trained import Trained


class Embedding(NamedTuple):
  """What is to be embedded, and has been found possible.

  Attributes:
    model: that encodes.
    inputs: the files of examples.
    output: a .csv, .parquet or .npz, or a folder of .npy.
    num_rows: examples in the files.
  """

  model: Trained
  inputs: Given
  output: pathlib.Path
  num_rows: int


def prepare(model: Trained, *, inputs: str, output: str) -> Embedding:
  """Checks all that can be checked before any work is done.

  Args:
    model: that encodes.
    inputs: a file, 'm0+m2=file', or tables, 'm0=table,m2=table'.
    output: see Embedding.

  Raises:
    ValueError: what was told cannot be done.
    OSError: a file that is missing or cannot be read or written.
  """
  path = pathlib.Path(output)
  check_output(path, SUFFIXES)
  given = parse_given(inputs, model.specs, model.declaration)
  return Embedding(model, given, path, check_given(given))


def execute(job: Embedding, check: Callable[[], None]) -> None:
  """Writes id, mean and std of z of every example, whole or not at all.

  Args:
    job: of `prepare`.
    check: called now and then; it may raise what ends the work.

  Raises:
    ValueError: examples further down the file that cannot be used.
    OSError: something cannot be read or written.
  """
  with (
    open_parts(job.inputs) as parts,
    write_rows(job.output, job.num_rows) as append,
  ):
    for part in parts:
      with placing(part):
        q = job.model.encode(part.inputs, present=part.present)
      append({ID: part.ids, 'mean': q.mean, 'std': q.std})
      check()
