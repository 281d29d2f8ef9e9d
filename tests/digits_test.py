"""Digits: where they are found, and that damaged files are refused."""

import gzip
import pathlib
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest

from mmjsd_jax.data import digits, idx, tfds_source

_REPOSITORY = pathlib.Path(__file__).parents[1]
_NUM_TRAIN, _NUM_TEST = 30, 20


pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='session')
def mnist_directory(data_dir):
  if not (data_dir / 'mnist').is_dir():
    pytest.skip('MNIST is not here: set MMJSD_DATA_DIR to where it is')
  return data_dir


def _write(path, array, zipped):
  content = idx.header(array.shape) + array.tobytes()
  if zipped:
    path = path.with_name(f'{path.name}.gz')
    content = gzip.compress(content, mtime=0)
  path.write_bytes(content)
  return path


@pytest.fixture(params=[False, True], ids=['plain', 'gz'])
def folder(request, tmp_path):
  """Four small files, as MNIST's."""
  rng = np.random.default_rng(0)
  for stem, count in (('train', _NUM_TRAIN), ('t10k', _NUM_TEST)):
    images = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
    labels = rng.integers(10, size=count, dtype=np.uint8)
    _write(tmp_path / f'{stem}-images-idx3-ubyte', images, request.param)
    _write(tmp_path / f'{stem}-labels-idx1-ubyte', labels, request.param)
  return tmp_path


def _one_line(info):
  assert '\n' not in str(info.value)
  return str(info.value)


# --- real files -------------------------------------------------------------


def test_official_mnist_is_read_and_recognised(mnist_directory):
  train, test, line, substituted, _ = digits.find_digits(
    'auto', str(mnist_directory)
  )
  assert train.images.shape == (60_000, 28, 28)
  assert test.images.shape == (10_000, 28, 28)
  assert train.images.dtype == np.uint8 and train.labels.dtype == np.int32
  assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
  # Published counts of the ten digits.
  assert np.bincount(test.labels).tolist() == [
    *(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
  ]
  assert train.images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
  assert 'checksum' not in line and '60,000 + 10,000' in line
  assert substituted is None


# --- idx --------------------------------------------------------------------


def test_small_files_are_read_and_their_checksum_reported(folder):
  train, test, line, substituted, _ = digits.find_digits('idx', str(folder))
  assert len(train.images) == len(train.labels) == _NUM_TRAIN
  assert len(test.images) == len(test.labels) == _NUM_TEST
  rng = np.random.default_rng(0)
  expected = rng.integers(256, size=(_NUM_TRAIN, 28, 28), dtype=np.uint8)
  np.testing.assert_array_equal(train.images, expected)
  assert 'checksum differs from the official MNIST' in line
  assert 'train-images-idx3-ubyte' in substituted
  assert "not MNIST's as published" in substituted


@pytest.mark.parametrize('below', ['mnist', 'MNIST/raw'])
def test_files_are_found_below_the_directory(folder, tmp_path, below):
  root = tmp_path / 'root'
  (root / below).parent.mkdir(parents=True)
  (root / below).symlink_to(folder)
  assert len(digits.load_idx(root)[0].labels) == _NUM_TRAIN


def test_a_missing_file_is_named(folder):
  for path in folder.glob('t10k-labels*'):
    path.unlink()
  with pytest.raises(FileNotFoundError, match='t10k-labels') as info:
    digits.load_idx(folder)
  _one_line(info)


def test_a_count_mismatch_is_refused(folder):
  for path in folder.glob('t10k-labels*'):
    path.unlink()
  _write(folder / 't10k-labels-idx1-ubyte', np.zeros(7, np.uint8), False)
  with pytest.raises(ValueError, match=r'got 20 in .* and 7 in') as info:
    digits.load_idx(folder)
  _one_line(info)


def test_labels_above_nine_are_refused(folder):
  for path in folder.glob('t10k-labels*'):
    path.unlink()
  labels = np.full(_NUM_TEST, 11, np.uint8)
  _write(folder / 't10k-labels-idx1-ubyte', labels, False)
  with pytest.raises(ValueError, match='labels 0 to 9, got 11'):
    digits.load_idx(folder)


@pytest.mark.parametrize('zipped', [False, True], ids=['plain', 'gz'])
@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', 'got an empty file'),
    (b'\x89PNG\r\n\x1a\n' + bytes(90), 'magic 00000803; got 89504e47'),
    (bytes([0, 0, 13, 3]) + bytes(900), r'dtype code 08 .* got 0d'),
    (bytes([0, 0, 8, 1]) + bytes(900), 'expected 3 dimensions; got 1'),
    (bytes([0, 0, 8]), 'got the end of the file'),
    (bytes([0, 0, 8, 3, 0, 0]), 'a header of 16 bytes; got 6'),
    (idx.header((2, 28, 27)) + bytes(1512), r'\(28, 28\); got \(28, 27\)'),
    (idx.header((2, 28, 28)) + bytes(1567), 'expected 1,568 bytes|fit in'),
    (idx.header((2, 28, 28)) + bytes(1569), '1,568 bytes of data; got more'),
  ],
)
def test_a_bad_idx_file_is_refused(tmp_path, zipped, content, message):
  path = tmp_path / 'file'
  path.write_bytes(gzip.compress(content) if zipped else content)
  with pytest.raises(ValueError, match=message) as info:
    idx.read(path, (28, 28))
  assert str(path) in _one_line(info)


@pytest.mark.parametrize('zipped', [False, True], ids=['plain', 'gz'])
@pytest.mark.parametrize(
  'shape',
  [(2**32 - 1, 28, 28), (900_000, 28, 28), (1_000_001, 28, 28)],
  ids=str,
)
def test_a_header_that_lies_costs_no_memory(tmp_path, zipped, shape):
  path = tmp_path / 'file'
  content = idx.header(shape) + bytes(784)
  path.write_bytes(gzip.compress(content) if zipped else content)
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match='got a header that says') as info:
      idx.read(path, (28, 28))
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
  finally:
    tracemalloc.stop()
  _one_line(info)


def test_a_gzip_bomb_is_read_no_further_than_its_header_says(tmp_path):
  path = tmp_path / 'file'
  content = idx.header((2, 28, 28)) + bytes(1568)
  path.write_bytes(gzip.compress(content + bytes(30 << 20)))
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match='got more'):
      idx.read(path, (28, 28))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
  finally:
    tracemalloc.stop()


@pytest.mark.parametrize('zipped', [False, True], ids=['plain', 'gz'])
def test_a_file_cut_anywhere_is_refused(tmp_path, zipped):
  images = np.random.default_rng(0).integers(
    256, size=(3, 28, 28), dtype=np.uint8
  )
  whole = _write(tmp_path / 'whole', images, zipped).read_bytes()
  path = tmp_path / 'cut'
  regions = [*range(40), *range(40, len(whole) - 20, 97)]
  for length in [*regions, *range(len(whole) - 20, len(whole))]:
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError) as info:
      idx.read(path, (28, 28))
    _one_line(info)
  path.write_bytes(whole)
  np.testing.assert_array_equal(idx.read(path, (28, 28)), images)


@pytest.mark.parametrize('zipped', [False, True], ids=['plain', 'gz'])
def test_a_changed_byte_is_refused_or_changes_values_only(tmp_path, zipped):
  rng = np.random.default_rng(1)
  images = rng.integers(256, size=(3, 28, 28), dtype=np.uint8)
  whole = _write(tmp_path / 'whole', images, zipped).read_bytes()
  path = tmp_path / 'changed'
  for place in [*range(24), *rng.integers(24, len(whole), size=60)]:
    content = bytearray(whole)
    content[place] ^= int(rng.integers(1, 256))
    path.write_bytes(content)
    try:
      assert idx.read(path, (28, 28)).shape == (3, 28, 28)
    except ValueError as error:
      assert '\n' not in str(error)


# --- where they are found ---------------------------------------------------


def test_an_unknown_source_lists_the_known():
  with pytest.raises(ValueError, match="auto, mnist, idx.*got 'minst'"):
    digits.find_digits('minst')


@pytest.mark.parametrize('source', ['auto', 'mnist', 'idx'])
def test_a_directory_without_mnist_is_an_error(tmp_path, source):
  with pytest.raises(FileNotFoundError, match='looked for') as info:
    digits.find_digits(source, str(tmp_path))
  assert str(tmp_path / 'mnist') in _one_line(info)


def test_an_environment_variable_without_mnist_is_an_error(
  tmp_path, monkeypatch
):
  monkeypatch.setenv('MMJSD_DATA_DIR', str(tmp_path))
  with pytest.raises(FileNotFoundError, match='not found in MMJSD_DATA_DIR='):
    digits.find_digits('auto')


def test_the_environment_variable_yields_to_the_directory(folder, monkeypatch):
  monkeypatch.setenv('MMJSD_DATA_DIR', str(folder))
  assert str(folder) in digits.find_digits('auto')[2]
  with pytest.raises(FileNotFoundError):
    digits.find_digits('auto', str(folder / 'elsewhere'))


@pytest.mark.parametrize('source', ['mnist', 'idx', 'tfds'])
def test_only_auto_takes_the_embedded_digits(source):
  with pytest.raises(FileNotFoundError):
    digits.find_digits(source)


def test_nothing_at_all_gives_the_embedded_digits_and_says_so():
  train, _, line, substituted, is_embedded = digits.find_digits('auto')
  assert is_embedded
  assert len(train.labels) == 1442 and '1,442 + 355' in line
  assert substituted is not None
  assert 'not MNIST' in str(substituted) and 'MMJSD_DATA_DIR' in str(
    substituted
  )


def test_finding_nothing_imports_neither_tfds_nor_jax():
  code = (
    'import sys; from mmjsd_jax.data import digits, backgrounds, polymnist;'
    "heavy = {'jax', 'PIL', 'sklearn', 'tensorflow_datasets', 'tensorflow'};"
    "assert not heavy & set(sys.modules); digits.find_digits('auto');"
    "assert not {'jax', 'tensorflow_datasets'} & set(sys.modules)"
  )
  subprocess.run(
    [sys.executable, '-c', code], check=True, cwd=_REPOSITORY, timeout=120
  )


# --- TensorFlow Datasets ----------------------------------------------------


def test_a_missing_network_is_told_at_once(tmp_path):
  start = time.monotonic()
  with pytest.raises(ConnectionError, match='no network in tests') as info:
    digits.load_tfds(tmp_path, allow_download=True)
  assert time.monotonic() - start < 10
  assert 'MMJSD_DATA_DIR' in _one_line(info)
  assert not list(tmp_path.iterdir())


def test_auto_without_a_network_takes_the_embedded_digits():
  found = digits.find_digits('auto', allow_download=True)
  assert 'no network in tests' in str(found.substituted)
  with pytest.raises(ConnectionError):
    digits.find_digits('mnist', allow_download=True)


def test_a_probe_gives_up_in_time(monkeypatch):
  monkeypatch.undo()

  def hang(*_, **__):
    time.sleep(1)
    raise OSError

  monkeypatch.setattr(tfds_source.urllib.request, 'urlopen', hang)
  start = time.monotonic()
  assert 'no answer' in str(tfds_source._probe('https://example.invalid', 0.1))
  assert time.monotonic() - start < 0.9


def test_a_probe_tells_a_refusal(monkeypatch):
  monkeypatch.undo()
  for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
    monkeypatch.delenv(name, raising=False)
  # Port 9 is 'discard'; nothing listens there.
  assert 'refused' in str(tfds_source._probe('http://127.0.0.1:9/', 5.0))


def test_a_copy_in_tfrecord_files_is_told_apart(tmp_path):
  copy = tmp_path / 'mnist' / '3.0.1'
  copy.mkdir(parents=True)
  (copy / 'mnist-test.tfrecord-00000-of-00001').touch()
  with pytest.raises(FileNotFoundError, match='only TensorFlow reads') as info:
    digits.load_tfds(tmp_path)
  _one_line(info)


@pytest.mark.parametrize(
  'package', ['importlib_resources', 'tensorflow_datasets']
)
def test_a_missing_package_is_named(tmp_path, monkeypatch, package):
  monkeypatch.setitem(sys.modules, package, None)
  with pytest.raises(ModuleNotFoundError, match=f'needs the package {package}'):
    digits.load_tfds(tmp_path, allow_download=True)


def test_a_download_makes_a_copy_that_is_found(folder, tmp_path, monkeypatch):
  tfds = pytest.importorskip('tensorflow_datasets')
  fetched = []

  def download(self, urls):
    fetched.extend(urls.values())
    return {
      name: next(folder.glob(name.removesuffix('.gz') + '*')) for name in urls
    }

  monkeypatch.setattr(tfds_source, '_probe', lambda *_: None)
  monkeypatch.setattr(tfds.download.DownloadManager, 'download', download)
  root = tmp_path / 'tfds'
  train, test = digits.load_tfds(root, allow_download=True)
  assert len(fetched) == 4
  assert all(url.startswith('https://storage.googleapis') for url in fetched)

  monkeypatch.setattr(tfds_source, '_probe', lambda *_: 'must not be asked')
  again, _, line, substituted, _ = digits.find_digits('auto', str(root))
  np.testing.assert_array_equal(again.images, train.images)
  assert str(root) in line and substituted is None
  assert 'tensorflow' not in sys.modules
  # TFDS writes in an order of its own.
  for found, wanted in zip((train, test), digits.load_idx(folder), strict=True):
    rows = [sorted(map(bytes, split.images)) for split in (found, wanted)]
    assert rows[0] == rows[1]
    labels = dict(zip(map(bytes, wanted.images), wanted.labels, strict=True))
    assert [labels[bytes(image)] for image in found.images] == list(
      found.labels
    )
  assert len(tfds.data_source('mnist', split='test', data_dir=root)) == 20


# --- embedded ---------------------------------------------------------------


def test_embedded_digits_look_like_mnist():
  train, test = digits.load_embedded()
  assert train.images.shape == (1442, 28, 28)
  assert test.images.shape == (355, 28, 28)
  assert train.images.dtype == np.uint8 and train.labels.dtype == np.int32
  images = np.concatenate([train.images, test.images])
  # Ink is bright, within the middle 20 x 20, and about as much as in MNIST,
  # where 0.132 of the test pixels are above 128.
  assert images.max() == 255
  assert not images[:, :4].any() and not images[:, 24:].any()
  assert not images[:, :, :4].any() and not images[:, :, 24:].any()
  assert 0.10 < (images > 128).mean() < 0.18


def test_embedded_splits_share_no_image_and_hold_every_digit():
  train, test = digits.load_embedded()
  assert not set(map(bytes, train.images)) & set(map(bytes, test.images))
  assert np.bincount(test.labels).min() >= 34
  share = np.bincount(test.labels) / np.bincount(train.labels)
  np.testing.assert_allclose(share, 0.25, atol=0.01)


def test_embedded_digits_are_the_same_every_time():
  first, second = digits.load_embedded(), digits.load_embedded()
  np.testing.assert_array_equal(first[0].images, second[0].images)
  np.testing.assert_array_equal(first[1].labels, second[1].labels)
