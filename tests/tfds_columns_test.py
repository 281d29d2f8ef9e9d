"""Data sets that TFDS prepared, as own data: read, matched, and refused."""

import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from mmjsd_jax.data import dataset, own_files
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
  from_json,
)

ROWS = {'train': 5, 'validation': 3}
PIXELS = np.arange(5 * 6, dtype=np.uint8).reshape(5, 2, 3, 1)
GENES = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
NOTES = ['ä', 'b', '', 'cd', 'e']


class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A few examples of each kind of feature."""

  pkg_dir_path = pathlib.Path(__file__).parent
  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    features = tfds.features
    return tfds.core.DatasetInfo(
      builder=self,
      features=features.FeaturesDict(
        {
          'scan': features.Image(shape=(2, 3, 1)),
          'genes': features.Tensor(shape=(2,), dtype=np.float32),
          'age': np.float32,
          'note': features.Text(),
          'patient': features.Text(),
          'is_seen': np.bool_,
          'more': {'weight': np.float32},
          'label': features.ClassLabel(names=['ill', 'well']),
          'visits': features.Sequence(np.int64),
        }
      ),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {name: self._generate_examples(name) for name in ROWS}

  def _generate_examples(self, split):
    for row in range(ROWS[split]):
      yield (
        row,
        {
          'scan': Image.fromarray(PIXELS[row, ..., 0]),
          'genes': GENES[row],
          'age': 30 + row,
          'note': NOTES[row],
          'patient': f'{split}{row}',
          'is_seen': row != 1,
          'more': {'weight': 60 + row},
          'label': row % 2,
          'visits': list(range(row)),
        },
      )


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  folder = tmp_path_factory.mktemp('prepared')
  Toy(data_dir=folder, file_format='array_record').download_and_prepare()
  return folder


@pytest.fixture(autouse=True)
def _no_other_copy(no_local_data):
  pass


def _declared(*modalities, **options):
  return Declaration(
    tuple(
      Declared(ModalitySpec(name, kind, **spec), source)
      for name, kind, source, spec in modalities
    ),
    **options,
  )


def _order(found):
  """Rows of TFDS's split in the order in which TFDS has shuffled them."""
  return found[..., 0, 0, 0].astype(int) // 6


def test_features_of_every_kind_are_modalities(root):
  file = 'tfds:toy@{train|validation}'
  raw = {'standardise': False}
  declaration = _declared(
    ('scan', 'image', Source(file), {}),
    ('genes', 'vector', Source(file, present='is_seen'), raw),
    ('note', 'text', Source(file), {}),
    ('body', 'vector', Source(file, columns=('age', 'more/weight')), raw),
    ('age', 'vector', Source(file), raw),
    id='patient',
    labels=Source(file, 'label'),
  )
  found = own_files.load(from_json(declaration.to_json()), directory=str(root))
  dataset.check(found)
  for split, count in ((found.train, 5), (found.test, 3)):
    rows = _order(split.inputs['scan'])
    assert sorted(rows) == list(range(count))
    np.testing.assert_array_equal(split.inputs['scan'], PIXELS[rows])
    np.testing.assert_array_equal(split.present['genes'], rows != 1)
    seen = split.present['genes']
    np.testing.assert_array_equal(
      split.inputs['genes'][seen], GENES[rows[seen]]
    )
    body = np.stack([30 + rows, 60 + rows], axis=1)
    np.testing.assert_array_equal(split.inputs['body'], body)
    np.testing.assert_array_equal(split.inputs['age'], body[:, :1])
    np.testing.assert_array_equal(split.labels, rows % 2)
    np.testing.assert_array_equal(split.present['note'], rows != 2)
  assert ' bcdeä' in {spec.alphabet for spec in found.specs}


def test_examples_of_tfds_and_of_files_are_matched_by_id(root):
  ids = [f'train{row}' for row in range(4)]
  np.savez(root / 'x.npz', patient=ids, x=np.eye(4))
  declaration = _declared(
    ('scan', 'image', Source('tfds:toy:1.0.0@train'), {}),
    ('x', 'vector', Source('x.npz'), {'standardise': False}),
    id='patient',
    test_share=0.4,
  )
  found = own_files.load(declaration, directory=str(root), seed=1)
  for split in (found.train, found.test):
    rows = _order(split.inputs['scan'])
    seen = split.present.get('x', np.ones(len(rows), bool))
    np.testing.assert_array_equal(seen, rows < 4)
    np.testing.assert_array_equal(
      split.inputs['x'][seen], np.eye(4)[rows[seen]]
    )


def test_copies_are_looked_for_where_tfds_has_them(root, monkeypatch, tmp_path):
  declaration = _declared(('genes', 'vector', Source('tfds:toy@train'), {}))
  with pytest.raises(FileNotFoundError, match='as prepared by TFDS is missing'):
    own_files.load(declaration, directory=str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', str(root))
  assert own_files.load(declaration, directory=str(tmp_path)).num_classes == 0


@pytest.mark.parametrize(
  ('file', 'options', 'message'),
  [
    ('toy@test', {}, "1.0.0: expected a split 'test'; got train, validation"),
    ('toy@train', {'key': 'gene'}, "a feature 'gene'; got .*more/weight"),
    ('toy@train', {'key': 'more'}, "expected a feature 'more'; got"),
    ('toy@train', {'key': 'visits'}, 'expected visits of one shape, int64'),
    (
      'toy@train',
      {'columns': ('age', 'genes')},
      "one number in the column 'genes'; got \\(2,\\)",
    ),
    ('toy:2.0.0@train', {}, 'toy as prepared by TFDS is missing; .*2.0.0'),
    (
      'toy/big@train',
      {},
      '`tfds build toy/big --file_format=array_record` prepares it',
    ),
    (
      'toy@train',
      {'key': 'note'},
      r'genes must be numbers \[N, columns\]; got object',
    ),
  ],
)
def test_what_cannot_be_read_is_named(root, file, options, message):
  declaration = _declared(
    ('genes', 'vector', Source(f'tfds:{file}', **options), {})
  )
  with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
    own_files.load(declaration, directory=str(root))
  assert '\n' not in str(error.value)


def test_copies_that_need_tensorflow_are_refused(tmp_path):
  folder = tmp_path / 'toy' / '1.10.0'
  folder.mkdir(parents=True)
  (tmp_path / 'toy' / '1.9.0').mkdir()
  for place in (folder, folder.with_name('1.9.0')):
    (place / 'dataset_info.json').write_text('{}')
  (folder / 'toy-train.tfrecord-00000-of-00001').write_bytes(b'')
  declaration = _declared(('genes', 'vector', Source('tfds:toy@train'), {}))
  with pytest.raises(FileNotFoundError, match='1.10.0: .* only TensorFlow rea'):
    own_files.load(declaration, directory=str(tmp_path))


@pytest.mark.parametrize(
  'file', ['tfds:', 'tfds:toy', 'tfds:../toy@train', 'tfds:toy@{a|}', 'tfds:@a']
)
def test_names_that_tfds_does_not_have_are_refused(file):
  with pytest.raises(ValueError, match='file of genes: expected .tfds:name'):
    _declared(('genes', 'vector', Source(file), {})).to_json()


def test_other_files_may_have_names_of_splits_of_their_own(tmp_path):
  for name, rows in (('fit', 3), ('held out', 2)):
    np.save(tmp_path / f'x {name}.npy', np.eye(rows, 2))
  file = 'x {fit|held out}.npy'
  declaration = _declared(('x', 'vector', Source(file), {}))
  found = own_files.load(declaration, directory=str(tmp_path))
  assert (found.train.num_examples, found.test.num_examples) == (3, 2)
