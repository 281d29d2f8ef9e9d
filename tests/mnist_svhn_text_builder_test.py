"""The TFDS builder: what it writes is read back, and never by TensorFlow."""

import json
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.io

from mmjsd_jax.data import idx, mnist_svhn_text

_REPOSITORY = pathlib.Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='module')
def options(tmp_path_factory):
  """Options of a small set: 20 and 10 images of each, two of a digit and one.

  With 3 pairings that makes 60 and 30 triples.
  """
  root = tmp_path_factory.mktemp('inputs')
  rng = np.random.default_rng(0)
  for stem, file, count in (('train', 'train', 20), ('t10k', 'test', 10)):
    labels = rng.permutation(np.arange(count, dtype=np.uint8) % 10)
    grey = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
    for name, array in (('images-idx3', grey), ('labels-idx1', labels)):
      content = idx.header(array.shape) + array.tobytes()
      (root / f'{stem}-{name}-ubyte').write_bytes(content)
    colour = rng.integers(256, size=(32, 32, 3, count), dtype=np.uint8)
    digits = rng.permutation(1 + np.arange(count, dtype=np.uint8) % 10)
    scipy.io.savemat(
      root / f'{file}_32x32.mat', {'X': colour, 'y': digits[:, None]}
    )
  return {'directory': str(root), 'seed': 3, 'num_pairings': 3}


@pytest.fixture(scope='module')
def prepared(options, tmp_path_factory):
  root = tmp_path_factory.mktemp('prepared')
  _builder(root, options).download_and_prepare()
  return root


def _builder(root, options):
  from mmjsd_jax.data import mnist_svhn_text_builder

  return mnist_svhn_text_builder.MnistSvhnText(data_dir=root, **options)


def _load_prepared(root):
  from mmjsd_jax.data import mnist_svhn_text_builder

  return mnist_svhn_text_builder.load_prepared(root)


def test_what_is_read_is_what_load_made(prepared, options):
  wanted = mnist_svhn_text.load(digits='idx', **options)
  found = _load_prepared(prepared)
  assert len(wanted.train.labels) == 60 and len(wanted.test.labels) == 30
  for split, expected in (
    (found.train, wanted.train),
    (found.test, wanted.test),
  ):
    np.testing.assert_array_equal(split.labels, expected.labels)
    assert split.labels.dtype == expected.labels.dtype
    for name in mnist_svhn_text.MODALITIES:
      np.testing.assert_array_equal(split.inputs[name], expected.inputs[name])
      np.testing.assert_array_equal(split.tables[name], expected.tables[name])
  assert found.fingerprint == wanted.fingerprint
  assert found.substituted == wanted.substituted
  assert 'SVHN is a part' in str(found.substituted)
  assert found.source.startswith(wanted.source)
  again = _load_prepared(prepared / 'mnist_svhn_text' / '1.0.0')
  assert again.fingerprint == wanted.fingerprint


def test_tfds_knows_it_by_name(prepared, options):
  import tensorflow_datasets as tfds

  source = tfds.data_source(
    'mnist_svhn_text', split='test', data_dir=prepared, builder_kwargs=options
  )
  assert len(source) == 30
  example = source[29]
  assert example['mnist'].shape == (28, 28, 1)
  assert example['svhn'].shape == (32, 32, 3)
  assert example['svhn'].dtype == example['mnist'].dtype == np.uint8
  assert example['label'] == 9 and example['word'] == b'nine'


def test_other_projects_read_it_without_tensorflow_or_jax(prepared, options):
  code = f"""
import sys
import tensorflow_datasets as tfds
read = tfds.data_source('mnist_svhn_text', split='train',
                        data_dir={str(prepared)!r})
import mmjsd_jax.data.mnist_svhn_text_builder
made = tfds.data_source('mnist_svhn_text', split='train',
                        data_dir={str(prepared / 'anew')!r},
                        builder_kwargs={options!r})
assert len(read) == len(made) == 60
assert all((read[i]['svhn'] == made[i]['svhn']).all() for i in range(60))
assert not {{'tensorflow', 'jax'}} & set(sys.modules)
"""
  subprocess.run(
    [sys.executable, '-W', 'error', '-c', code],
    check=True,
    cwd=_REPOSITORY,
    timeout=120,
  )


def test_other_options_are_not_read_from_an_old_copy(prepared, options):
  with pytest.raises(ValueError, match="expected .*'seed': 4.* got one prep"):
    _builder(prepared, {**options, 'seed': 4})


def test_a_builder_survives_pickling(prepared, options):
  builder = _builder(prepared, options)
  again = pickle.loads(pickle.dumps(builder))
  assert again._options == builder._options
  assert again.info.splits['train'].num_examples == 60


@pytest.mark.parametrize('digits', ['auto', 'embedded'])
def test_the_embedded_set_is_not_written(tmp_path, digits):
  with pytest.raises(ValueError, match=f"mnist, idx, tfds; got '{digits}'"):
    _builder(tmp_path, {'digits': digits})


def test_without_mnist_and_svhn_nothing_is_written(tmp_path):
  builder = _builder(tmp_path, {})
  with pytest.raises(ConnectionError, match='cannot download MNIST'):
    builder.download_and_prepare()
  assert not list(tmp_path.rglob('*.json'))
  with pytest.raises(FileNotFoundError, match='looked for dataset_info.json'):
    _load_prepared(tmp_path)


def test_a_changed_copy_is_refused(tmp_path, options):
  _builder(tmp_path, options).download_and_prepare()
  path = tmp_path / 'mnist_svhn_text' / '1.0.0' / 'metadata.json'
  told = json.loads(path.read_text())
  path.write_text(json.dumps({**told, 'fingerprint': '0' * 64}))
  with pytest.raises(ValueError, match='the copy is damaged'):
    _load_prepared(tmp_path)
