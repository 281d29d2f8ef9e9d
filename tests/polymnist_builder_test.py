"""The TFDS builder: what it writes is read back, and never by TensorFlow."""

import json
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmjsd_jax.data import idx, polymnist

_REPOSITORY = pathlib.Path(__file__).parents[1]


pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='module')
def options(tmp_path_factory):
  """Options of a small PolyMNIST: 40 and 20 tuples."""
  root = tmp_path_factory.mktemp('inputs')
  rng = np.random.default_rng(0)
  for stem, count in (('train', 40), ('t10k', 20)):
    images = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
    labels = rng.integers(10, size=count, dtype=np.uint8)
    for name, array in (('images-idx3', images), ('labels-idx1', labels)):
      content = idx.header(array.shape) + array.tobytes()
      (root / f'{stem}-{name}-ubyte').write_bytes(content)
  (root / 'pictures').mkdir()
  for number in range(5):
    pixels = rng.integers(256, size=(35, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / 'pictures' / f'{number}.png')
  return {
    'directory': str(root),
    'backgrounds': (str(root / 'pictures'),),
    'seed': 3,
  }


@pytest.fixture(scope='module')
def prepared(options, tmp_path_factory):
  root = tmp_path_factory.mktemp('prepared')
  builder = _builder(root, options)
  builder.download_and_prepare()
  return root


def _builder(root, options):
  from mmjsd_jax.data import polymnist_builder

  return polymnist_builder.Polymnist(data_dir=root, **options)


def test_what_is_read_is_what_make_tuples_made(prepared, options):
  wanted = polymnist.load(**options)
  found = polymnist.load_prepared(prepared)
  for split, expected in (
    (found.train, wanted.train),
    (found.test, wanted.test),
  ):
    np.testing.assert_array_equal(split.labels, expected.labels)
    assert split.labels.dtype == expected.labels.dtype
    for name in polymnist.MODALITIES:
      np.testing.assert_array_equal(split.inputs[name], expected.inputs[name])
  assert found.fingerprint == wanted.fingerprint
  assert found.substituted == wanted.substituted
  assert found.source.startswith(wanted.source)
  again = polymnist.load_prepared(prepared / 'polymnist' / '1.0.0')
  assert again.fingerprint == wanted.fingerprint


def test_tfds_knows_it_by_name(prepared, options):
  import tensorflow_datasets as tfds

  source = tfds.data_source(
    'polymnist', split='test', data_dir=prepared, builder_kwargs=options
  )
  assert len(source) == 20
  assert source[0]['m4'].shape == (28, 28, 3)
  assert source[0]['m4'].dtype == np.uint8


def test_other_projects_read_it_without_tensorflow_or_jax(prepared, options):
  code = f"""
import sys
import tensorflow_datasets as tfds
read = tfds.data_source('polymnist', split='train', data_dir={str(prepared)!r})
import mmjsd_jax.data.polymnist_builder
made = tfds.data_source('polymnist', split='train',
                        data_dir={str(prepared / 'anew')!r},
                        builder_kwargs={options!r})
assert len(read) == len(made) == 40
assert all((read[i]['m1'] == made[i]['m1']).all() for i in range(40))
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
  assert again.info.splits['train'].num_examples == 40


def test_without_mnist_nothing_is_written(tmp_path):
  builder = _builder(tmp_path, {})
  with pytest.raises(ConnectionError, match='cannot download MNIST'):
    builder.download_and_prepare()
  assert not list(tmp_path.rglob('*.json'))
  with pytest.raises(FileNotFoundError, match='looked for dataset_info.json'):
    polymnist.load_prepared(tmp_path)


def test_a_split_in_several_files_is_read_in_order(
  tmp_path, options, monkeypatch
):
  from mmjsd_jax.data import in_memory_builder

  monkeypatch.setattr(in_memory_builder, '_SHARD_TUPLES', 15)
  _builder(tmp_path, options).download_and_prepare()
  names = {path.name for path in tmp_path.rglob('*train*')}
  assert names == {
    f'polymnist-train.array_record-0000{n}-of-00003' for n in range(3)
  }
  found = polymnist.load_prepared(tmp_path)
  assert found.fingerprint == polymnist.load(**options).fingerprint


def test_a_changed_copy_is_refused(tmp_path, options):
  _builder(tmp_path, options).download_and_prepare()
  path = tmp_path / 'polymnist' / '1.0.0' / 'metadata.json'
  told = json.loads(path.read_text())
  path.write_text(json.dumps({**told, 'fingerprint': '0' * 64}))
  with pytest.raises(ValueError, match='the copy is damaged'):
    polymnist.load_prepared(tmp_path)


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  for name in ('in_memory_builder', 'polymnist_builder'):
    monkeypatch.delitem(sys.modules, f'mmjsd_jax.data.{name}', raising=False)
  with pytest.raises(ModuleNotFoundError, match='pip install importlib_res'):
    import mmjsd_jax.data.polymnist_builder  # noqa: F401
