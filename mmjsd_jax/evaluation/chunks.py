"""Fixed-size chunks: one compiled shape however many examples there are."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Chunk(NamedTuple):
  """Part of a data set, filled up to a fixed size.

  Attributes:
    rows: indices into the data set; past the end, the last row is repeated.
      Shape [size].
    num_valid: how many of the leading rows count. The rest are filling: cut
      them off whatever is computed from them.
  """

  rows: np.ndarray
  num_valid: int


def padded_chunks(num_rows: int, size: int) -> Iterator[Chunk]:
  """Chunks that hold each of `num_rows` rows exactly once.

  Args:
    num_rows: rows of the data set, at least one.
    size: rows of every chunk.

  Raises:
    ValueError: no row, or chunks of no row.
  """
  if num_rows < 1 or size < 1:
    raise ValueError(
      f'need at least one row and chunks of at least one; got {num_rows} rows '
      f'in chunks of {size}'
    )
  for start in range(0, num_rows, size):
    rows = np.minimum(np.arange(start, start + size), num_rows - 1)
    yield Chunk(rows, min(size, num_rows - start))
