"""The six descriptions of digits, from tables to a data set."""

import pathlib
import runpy

import numpy as np
import pytest

from mmjsd_jax.data import dataset, own_files
from mmjsd_jax.data.declaration import from_json

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAKE = runpy.run_path(str(ROOT / 'docs' / 'make_six_views.py'))


def _write(folder, digits):
  for name, digit in zip(MAKE['VIEWS'], digits, strict=True):
    table = np.hstack([np.random.default_rng(0).normal(size=(9, 2)), digit])
    header = '0,1,0'  # as it is: the digit has no name of its own
    np.savetxt(
      folder / f'mfeat-{name}.csv', table, '%g', ',', header=header, comments=''
    )


def test_tables_become_the_declared_data_set(tmp_path):
  digit = np.arange(9)[:, None] % 3
  _write(tmp_path, [digit] * 6)
  arrays = MAKE['read'](tmp_path)
  np.savez(tmp_path / 'six_views.npz', **arrays)
  made = runpy.run_path(str(ROOT / 'configs' / 'six_views.py'))['get_config']()
  found = own_files.load(
    from_json(made.data.declaration), directory=str(tmp_path)
  )
  dataset.check(found)
  assert found.modalities == MAKE['VIEWS']
  assert found.train.num_examples + found.test.num_examples == 9
  assert found.num_classes == 3
  assert {spec.shape for spec in found.specs} == {(2,)}


def test_tables_of_other_digits_are_refused(tmp_path):
  digit = np.arange(9)[:, None] % 3
  _write(tmp_path, [digit] * 5 + [digit[::-1]])
  with pytest.raises(ValueError, match='mfeat-zer.csv: expected the digits of'):
    MAKE['read'](tmp_path)
