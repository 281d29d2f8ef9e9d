"""Users' files as data sets: each format, ids, splits, and what is refused."""

import gzip
import os

import numpy as np
import pyarrow
import pytest
from pyarrow import csv, parquet

from mmjsd_jax.data import dataset, own_files
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
  from_json,
)

IDS = ['p07', 'p1', 'p2', 'p3', 'p4']
VALUES = np.random.default_rng(0).normal(5, 2, (5, 3)).round(3)
VALUES[3] = np.nan
IMAGES = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
SPLIT = ['train', 'train', 'test', 'train', 'test']


def _table(**columns):
  return pyarrow.table(
    {'id': IDS}
    | {f'c{n}': column for n, column in enumerate(VALUES.T)}
    | columns
  )


def _write(path, table):
  if path.suffix == '.parquet':
    parquet.write_table(table, path)
  else:
    opened = gzip.open if path.suffix == '.gz' else open
    with opened(path, 'wb') as file:
      csv.write_csv(table, file)


@pytest.fixture
def folder(tmp_path):
  """The same vectors in every format, images of four of five ids, and classes.

  The row of VALUES that is NaN is empty in the tables.
  """
  labels = {'class': list('abaab'), 'part': SPLIT}
  for suffix in ('csv', 'csv.gz', 'parquet'):
    _write(tmp_path / f'a.{suffix}', _table(**labels))
  np.savez(tmp_path / 'a.npz', id=IDS, a=VALUES, part=SPLIT)
  seen = ~np.isnan(VALUES[:, 0])
  np.savez(tmp_path / 'm.npz', id=IDS, x=np.nan_to_num(VALUES), seen=seen)
  (tmp_path / 'a').mkdir()
  (tmp_path / 'b').mkdir()
  for one, row in zip(IDS, VALUES, strict=True):
    np.save(tmp_path / 'a' / f'{one}.npy', row)
  for one, image in zip(IDS[:4], IMAGES, strict=True):
    np.save(tmp_path / 'b' / f'{one}.npy', image)
  return tmp_path


def _declared(source, **options):
  images = Declared(ModalitySpec('b', 'image'), Source('b'))
  vectors = Declared(ModalitySpec('a', 'vector'), source)
  return Declaration(
    (vectors, images),
    **{
      'id': 'id',
      'labels': Source('a.csv', 'class'),
      'split': Source('a.csv', 'part'),
      **options,
    },
  )


@pytest.mark.parametrize(
  'source',
  [
    Source('a.csv'),
    Source('a.csv.gz', columns=('c0', 'c1', 'c2')),
    Source('a.parquet', columns=('c0', 'c1', 'c2')),
    Source('a.npz'),
    Source('m.npz', 'x', present='seen'),
    Source('a'),
  ],
  ids=lambda source: source.file,
)
def test_every_format_gives_the_same_data_set(folder, source):
  declaration = from_json(_declared(source).to_json())
  found = own_files.load(declaration, directory=str(folder))
  dataset.check(found)
  fitted = VALUES[:2]
  np.testing.assert_allclose(
    found.train.inputs['a'],
    [*(fitted - fitted.mean(axis=0)) / fitted.std(axis=0), [0, 0, 0]],
    rtol=1e-5,
  )
  np.testing.assert_array_equal(found.train.present['a'], [1, 1, 0])
  np.testing.assert_array_equal(found.test.present['b'], [1, 0])
  np.testing.assert_array_equal(
    found.train.inputs['b'][..., 0], IMAGES[[0, 1, 3]]
  )
  assert found.train.labels.tolist() == [0, 1, 0]
  assert found.test.labels.tolist() == [0, 1]


@pytest.mark.parametrize('by_id', ['', 'id'])
def test_every_split_may_have_files_of_its_own(tmp_path, by_id):
  for split, rows in (('train', slice(0, 3)), ('test', slice(3, 5))):
    ids = {'id': IDS[rows]} if by_id else {}
    np.savez(tmp_path / f'a_{split}.npz', a=np.nan_to_num(VALUES)[rows], **ids)
    _write(
      tmp_path / f'l_{split}.csv', pyarrow.table({'class': list('abcde')[rows]})
    )
  notes = {'note': ['x', '', 'zz']} | ({'id': IDS[:3]} if by_id else {})
  _write(tmp_path / 'n_train.csv', pyarrow.table(notes))
  declaration = Declaration(
    (
      Declared(ModalitySpec('a', 'vector'), Source('a_{split}.npz')),
      Declared(
        ModalitySpec('n', 'text'),
        Source('n_{split}.csv', 'note', splits=('train',)),
      ),
    ),
    id=by_id,
    labels=Source('l_{split}.csv', 'class', rows_of='a' if by_id else ''),
  )
  found = own_files.load(declaration, directory=str(tmp_path))
  assert (found.train.num_examples, found.test.num_examples) == (3, 2)
  np.testing.assert_array_equal(found.train.present['n'], [1, 0, 1])
  np.testing.assert_array_equal(found.test.present['n'], [0, 0])
  assert found.test.labels.tolist() == [3, 4]


def test_ids_that_stand_in_labels_alone_are_left_out_of_their_split(tmp_path):
  for split, ids in (('train', 'pqr'), ('test', 'st')):
    measured = [*ids][1:]
    values = np.arange(float(len(measured)))
    _write(
      tmp_path / f'a_{split}.csv', pyarrow.table({'id': measured, 'x': values})
    )
    _write(
      tmp_path / f'l_{split}.csv',
      pyarrow.table({'id': [*ids], 'class': [*ids]}),
    )
  spec = ModalitySpec('a', 'vector')
  declaration = Declaration(
    (Declared(spec, Source('a_{split}.csv')),),
    id='id',
    labels=Source('l_{split}.csv', 'class'),
  )
  found = own_files.load(declaration, directory=str(tmp_path))
  assert (found.train.num_examples, found.test.num_examples) == (2, 1)
  assert "1 of the training part (id 'p'), 1 of the test" in found.substituted
  assert found.num_classes == 3


def test_files_are_looked_for_in_the_data_directory(folder, monkeypatch):
  monkeypatch.setenv('MMJSD_DATA_DIR', str(folder))
  assert own_files.load(_declared(Source('a.csv'))).num_classes == 2


def test_npy_files_are_matched_by_order(tmp_path):
  np.save(tmp_path / 'a.npy', np.nan_to_num(VALUES))
  np.save(tmp_path / 'b.npy', np.zeros((5, 2, 2), np.uint8))
  declaration = Declaration(
    (
      Declared(ModalitySpec('a', 'vector'), Source('a.npy')),
      Declared(ModalitySpec('b', 'image'), Source('b.npy')),
    ),
    test_share=0.4,
  )
  found = own_files.load(declaration, directory=str(tmp_path), seed=3)
  assert (found.train.num_examples, found.test.num_examples) == (3, 2)


def test_ids_are_read_as_they_are_written(tmp_path):
  (tmp_path / 'a.csv').write_text('id,x\n007,1\n7,2\n')
  spec = ModalitySpec('a', 'vector')
  declaration = Declaration((Declared(spec, Source('a.csv')),), id='id')
  found = own_files.load(declaration, directory=str(tmp_path), seed=0)
  assert found.train.num_examples + found.test.num_examples == 2


@pytest.mark.parametrize(
  ('content', 'options', 'message'),
  [
    ('id,x\np,1\nq,male\n', {}, "numbers in column 'x'; got 'male' in row 1"),
    (
      'id,x,x\np,1,2\n',
      {},
      "expected distinct names of columns; got 'x' twice",
    ),
    ('id,x\np,1\np,2\n', {}, "a of a.csv must be distinct; got 'p' in rows 0"),
    ('id,x\n,1\nq,2\n', {}, 'ids of a of a.csv must not be empty; .* row 0'),
    ('id,x,y\np,1,\nq,2,3\n', {}, "first id 'p', in column 'y'"),
    ('id,x\np,1\nq,2,3\n', {}, 'a.csv: cannot be read: .* 2 columns, got 3'),
    ('', {}, 'a.csv: cannot be read: Empty CSV'),
    ('i,x\np,1\n', {}, "a.csv: expected a column 'id'; got 'i', 'x'"),
    ('id\np\n', {}, r"a.csv: expected columns with values; got \['id'\]"),
    ('id,x\np,2021-01-01\n', {}, "numbers in column 'x'; got datetime.date"),
    (
      'id,x,m\np,1,2\n',
      {'present': 'm'},
      'a.csv: expected booleans or 0 and 1 to say what is present; got float',
    ),
  ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, content, options, message):
  (tmp_path / 'a.csv').write_text(content)
  source = Source('a.csv', **options)
  declaration = Declaration(
    (Declared(ModalitySpec('a', 'vector'), source),), id='id'
  )
  with pytest.raises(ValueError, match=message) as error:
    own_files.load(declaration, directory=str(tmp_path))
  assert '\n' not in str(error.value)


class _Evil:
  def __reduce__(self):
    return os.mkdir, ('harm',)


def _pickled(path):
  np.savez(path, a=np.array([_Evil()], object))


@pytest.mark.parametrize(
  ('file', 'write', 'message'),
  [
    ('a.npz', _pickled, 'a.npz: cannot be read: .*allow_pickle=False'),
    ('a.npz', lambda p: p.write_bytes(b'PK\3\4 nonsense'), 'a.npz: cannot be'),
    ('a.npy', lambda p: p.write_bytes(b''), 'a.npy: cannot be read'),
    (
      'a.npz',
      lambda p: np.savez(p, b=[1]),
      r"cannot be read: expected an array 'a'; got \['b",
    ),
    ('a.parquet', lambda p: p.write_bytes(b'x'), 'a.parquet: cannot be read'),
    ('a.mat', lambda p: p.write_bytes(b'x'), 'a.mat: expected a folder or a'),
    ('a', lambda p: p.mkdir(), 'a: expected .npy files, one for each example'),
  ],
  ids=['pickle', 'zip', 'npy', 'key', 'parquet', 'suffix', 'folder'],
)
def test_files_that_do_not_fit_are_named(
  tmp_path, monkeypatch, file, write, message
):
  monkeypatch.chdir(tmp_path)
  write(tmp_path / file)
  spec = ModalitySpec('a', 'vector')
  declaration = Declaration((Declared(spec, Source(file)),))
  with pytest.raises(ValueError, match=message):
    own_files.load(declaration, directory=str(tmp_path))
  assert not (tmp_path / 'harm').exists()


def test_a_file_that_is_missing_is_named(folder):
  with pytest.raises(FileNotFoundError, match='a: .*typo.csv is missing'):
    own_files.load(_declared(Source('typo.csv')), directory=str(folder))


def test_arrays_of_a_folder_are_of_one_shape(folder):
  np.save(folder / 'b' / 'p9.npy', np.zeros((3, 3), np.uint8))
  message = r'p9.npy: expected uint8 \(2, 3\) as in p07.npy; got uint8 \(3, 3\)'
  with pytest.raises(ValueError, match=message):
    own_files.load(_declared(Source('a.csv')), directory=str(folder))


def test_rows_of_another_modality_must_be_as_many(folder):
  labels = Source('few.csv', 'class', rows_of='a')
  (folder / 'few.csv').write_text('class\nx\n')
  message = 'few.csv must have the 5 rows of a.csv; got 1'
  with pytest.raises(ValueError, match=message):
    own_files.load(
      _declared(Source('a.csv', columns=('c0',)), labels=labels),
      directory=str(folder),
    )


def test_columns_of_both_splits_must_be_the_same(tmp_path):
  for split, name in (('train', 'x'), ('test', 'y')):
    (tmp_path / f'{split}.csv').write_text(f'{name}\n1\n2\n')
  spec = ModalitySpec('a', 'vector')
  declaration = Declaration((Declared(spec, Source('{split}.csv')),))
  with pytest.raises(ValueError, match='a must have the same .*') as error:
    own_files.load(declaration, directory=str(tmp_path))
  assert str(error.value).endswith(
    "got (1,) and (1,), only train.csv has 'x', only test.csv has 'y'"
  )
  (tmp_path / 'train.csv').write_text('x,y\n1,1\n')
  with pytest.raises(ValueError, match=r"and \(1,\), only train.csv has 'x'$"):
    own_files.load(declaration, directory=str(tmp_path))
  (tmp_path / 'test.csv').write_text('y,x\n1,1\n')
  with pytest.raises(ValueError, match="column 'y' in the place of 'x'$"):
    own_files.load(declaration, directory=str(tmp_path))
