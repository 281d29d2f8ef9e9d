"""SVHN: MATLAB files are read as published, and damaged ones are refused."""

import io
import sys
import tracemalloc
import zlib

import numpy as np
import pytest
import scipy.io

from mmjsd_jax.data import mat, svhn, tfds_source

_COUNTS = {'train': 30, 'test': 20}


pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='session')
def svhn_directory(data_dir):
  if not (data_dir / 'svhn').is_dir():
    pytest.skip('SVHN is not here: set MMJSD_DATA_DIR to where it is')
  return data_dir


def _arrays(count):
  rng = np.random.default_rng(count)
  return {
    'X': rng.integers(256, size=(32, 32, 3, count), dtype=np.uint8),
    'y': rng.integers(1, 11, size=(count, 1), dtype=np.uint8),
  }


def _bytes(arrays, deflated=True):
  stream = io.BytesIO()
  scipy.io.savemat(stream, arrays, do_compression=deflated)
  return stream.getvalue()


@pytest.fixture(scope='module', params=[True, False], ids=['deflated', 'plain'])
def whole(request):
  return _bytes(_arrays(3), request.param)


@pytest.fixture
def folder(tmp_path):
  """Two small files, as SVHN's."""
  for split, count in _COUNTS.items():
    (tmp_path / f'{split}_32x32.mat').write_bytes(_bytes(_arrays(count)))
  return tmp_path


def _read(tmp_path, content):
  path = tmp_path / 'file.mat'
  path.write_bytes(content)
  return svhn.read_mat(path)


def _refusal(tmp_path, content):
  with pytest.raises(ValueError) as info:
    _read(tmp_path, content)
  assert '\n' not in str(info.value)
  assert str(tmp_path / 'file.mat') in str(info.value)
  return str(info.value)


# --- what files hold --------------------------------------------------------


def test_the_published_files_are_read_as_scipy_reads_them(svhn_directory):
  train, test, line, partial = svhn.find_svhn('auto', str(svhn_directory))
  assert train.images.dtype == np.uint8 and train.labels.dtype == np.int32
  assert train.images.shape == (len(train.labels), 32, 32, 3)
  # The first labels of the published training file.
  assert train.labels[:8].tolist() == [1, 9, 2, 3, 2, 5, 9, 3]
  counts = len(train.labels), len(test.labels)
  assert (partial is None) == (counts == (73_257, 26_032))
  assert f'{counts[0]:,} + {counts[1]:,} images' in line
  theirs = scipy.io.loadmat(svhn_directory / 'svhn' / 'test_32x32.mat')
  np.testing.assert_array_equal(test.images, theirs['X'].transpose(3, 0, 1, 2))
  np.testing.assert_array_equal(test.labels, theirs['y'][:, 0] % 10)


def test_ten_means_zero(tmp_path, whole):
  split = _read(tmp_path, whole)
  arrays = _arrays(3)
  np.testing.assert_array_equal(split.images, arrays['X'].transpose(3, 0, 1, 2))
  np.testing.assert_array_equal(split.labels, arrays['y'][:, 0] % 10)
  arrays['y'] = np.array([[10.0], [0.0], [9.0]])
  assert _read(tmp_path, _bytes(arrays)).labels.tolist() == [0, 0, 9]


def test_one_image_is_read(tmp_path):
  arrays = _arrays(1)
  arrays['X'] = arrays['X'][..., 0]
  assert _read(tmp_path, _bytes(arrays)).images.shape == (1, 32, 32, 3)


def test_many_images_keep_their_order(tmp_path):
  arrays = _arrays(1030)
  np.testing.assert_array_equal(
    _read(tmp_path, _bytes(arrays)).images, arrays['X'].transpose(3, 0, 1, 2)
  )


@pytest.mark.parametrize(
  'values',
  [
    np.arange(6.0).reshape(2, 3),
    1000 * np.arange(6, dtype=np.int64)[None],
    np.array([[0.5]], np.float32),
    np.zeros((0, 4), np.int16),
  ],
  ids=lambda values: str(values.dtype),
)
@pytest.mark.parametrize('deflated', [True, False], ids=['deflated', 'plain'])
def test_numbers_of_all_types_are_read(tmp_path, values, deflated):
  arrays = {'name_of_many_letters': values, 'other': 'text', 'v': values + 1}
  path = tmp_path / 'file.mat'
  path.write_bytes(_bytes(arrays, deflated))
  read = mat.read(path, ('v', 'name_of_many_letters'))
  for name, found in read.items():
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, arrays[name])


def test_values_of_the_other_byte_order_are_read(tmp_path):
  # A big-endian file, put together after the format's description.
  def element(kind, content):
    size = np.array([kind, len(content)], '>u4').tobytes()
    return size + content + bytes(-len(content) % 8)

  body = (
    element(6, np.array([6, 0], '>u4').tobytes())
    + element(5, np.array([1, 2], '>i4').tobytes())
    + element(1, b'v')
    + element(3, np.array([300, -2], '>i2').tobytes())
  )
  path = tmp_path / 'file.mat'
  path.write_bytes(bytes(124) + b'\x01\x00MI' + element(14, body))
  assert mat.read(path, ('v',))['v'].tolist() == [[300.0, -2.0]]


# --- bad files --------------------------------------------------------------


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'X': None}, r"expected variables X, y; got 'y'"),
    ({'y': None, 'label': np.ones(3)}, "X, y; got 'X', 'label'"),
    (
      {'y': np.array([[1], [11], [2]])},
      'labels 1 to 10, .* got 11 for image 1',
    ),
    ({'y': np.array([[1], [-1], [2]])}, 'got -1 for image 1'),
    ({'y': np.array([[1], [2], [np.nan]])}, 'got nan for image 2'),
    ({'y': np.array([[1.5], [2], [3]])}, 'got 1.5 for image 0'),
    ({'y': np.ones((2, 1))}, r'expected y \[3, 1\].* got \[2, 1\]'),
    ({'y': 'abc'}, 'y to be real numbers; got class 4'),
    ({'y': np.full((3, 1), 1j)}, 'y to be real numbers'),
    ({'X': np.zeros((28, 28, 3, 3), np.uint8)}, r'got uint8 \[28, 28, 3, 3\]'),
    ({'X': np.zeros((32, 32, 3, 3))}, r'X uint8 .* got float64 \[32'),
    ({'X': np.zeros((3, 32, 32, 3), np.uint8)}, r'got uint8 \[3, 32, 32, 3\]'),
    ({'X': np.zeros((32, 32, 3, 0), np.uint8)}, r'expected y \[1, 1\]'),
    ({'X': {'a': 1}}, 'X to be real numbers; got class 2'),
  ],
)
def test_other_contents_are_refused(tmp_path, changes, message):
  arrays = {**_arrays(3), **changes}
  content = _bytes({k: v for k, v in arrays.items() if v is not None})
  with pytest.raises(ValueError, match=message):
    _read(tmp_path, content)
  _refusal(tmp_path, content)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    (b'', "got b'' in 0 bytes"),
    (b'\x89PNG\r\n\x1a\n' + bytes(900), 'a MATLAB 5 file'),
    (bytes(124) + b'\x00\x02IM' + bytes(90), r'HDF5 \(-v7.3\)'),
    (bytes(124) + b'\x00\x01IM', 'expected variables X, y; got none'),
    (bytes(124) + b'\x00\x01IM' + bytes(5), 'ends within a tag'),
    (bytes(124) + b'\x00\x01IM' + bytes(8), 'got type 0'),
  ],
)
def test_other_formats_are_refused(tmp_path, content, message):
  with pytest.raises(ValueError, match=message):
    _read(tmp_path, content)
  _refusal(tmp_path, content)


def test_a_file_cut_anywhere_is_refused(tmp_path, whole):
  for length in [*range(0, 400, 3), *range(400, len(whole) - 20, 97)]:
    _refusal(tmp_path, whole[:length])
  for length in range(len(whole) - 20, len(whole)):
    _refusal(tmp_path, whole[:length])


def test_a_changed_byte_is_refused_or_changes_values_only(tmp_path, whole):
  rng = np.random.default_rng(0)
  for place in [*range(124, 330), *rng.integers(330, len(whole), size=300)]:
    content = bytearray(whole)
    content[place] ^= int(rng.integers(1, 256))
    try:
      assert _read(tmp_path, bytes(content)).images.shape == (3, 32, 32, 3)
    except ValueError as error:
      assert '\n' not in str(error)


def test_a_changed_byte_in_deflated_pixels_is_always_refused(tmp_path):
  whole = _bytes(_arrays(3))
  for place in range(400, 9000, 211):
    content = bytearray(whole)
    content[place] ^= 1
    _refusal(tmp_path, bytes(content))


def test_sizes_that_lie_cost_no_memory(tmp_path):
  content = bytearray(_bytes(_arrays(3), deflated=False))
  # The fourth dimension of X, at 128 + 8 (tag) + 16 (flags) + 8 (tag) + 12.
  assert content[172:176] == np.array([3], '<i4').tobytes()
  content[172:176] = np.array([2**18], '<i4').tobytes()
  # A variable that says it has three labels, and then goes on for 30 MB.
  body = bytearray(_bytes({'y': np.ones((3, 1), np.uint8)}, False)[128:])
  deflated = zlib.compress(bytes(body) + bytes(30 << 20))
  tag = np.array([15, len(deflated)], '<u4').tobytes()
  bomb = content[:128] + tag + deflated
  tracemalloc.start()
  try:
    assert 'got a tag that says 9,216' in _refusal(tmp_path, bytes(content))
    assert 'got more' in _refusal(tmp_path, bytes(bomb))
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
  finally:
    tracemalloc.stop()


# --- where they are found ---------------------------------------------------


@pytest.mark.parametrize('below', ['', 'svhn'])
def test_files_are_found_in_and_below_a_directory(
  folder, tmp_path, monkeypatch, below
):
  root = tmp_path / 'root'
  (root / below).parent.mkdir(parents=True, exist_ok=True)
  (root / below).symlink_to(folder)
  train, test, line, partial = svhn.find_svhn('mat', str(root))
  assert (len(train.labels), len(test.labels)) == (30, 20)
  assert '30 + 20 images' in line and str(root) in line
  assert partial == (
    'SVHN is a part: 30 of 73,257 training and 20 of 26,032 test digits.'
  )
  monkeypatch.setenv('MMJSD_DATA_DIR', str(root))
  assert svhn.find_svhn()[2] == line


def test_whole_files_are_no_part_and_others_than_published_are_told(
  folder, monkeypatch
):
  monkeypatch.setattr(svhn, 'NUM_TRAIN', 30)
  monkeypatch.setattr(svhn, 'NUM_TEST', 20)
  *_, line, partial = svhn.find_svhn('mat', str(folder))
  assert 'checksum differs from the official' in line
  assert 'train_32x32.mat, test_32x32.mat in' in str(partial)
  assert "not SVHN's as published" in str(partial)
  monkeypatch.setattr(svhn, 'NUM_TEST', 19)
  assert 'not the published set' in str(svhn.find_svhn('mat', str(folder))[3])


@pytest.mark.parametrize('source', svhn.SOURCES)
def test_nothing_there_says_where_it_looked(tmp_path, source):
  for directory in ('', str(tmp_path)):
    with pytest.raises(FileNotFoundError, match='SVHN not found') as info:
      svhn.find_svhn(source, directory)
    assert '\n' not in str(info.value)
  assert str(tmp_path) in str(info.value)


def test_a_missing_file_is_named(folder):
  (folder / 'test_32x32.mat').unlink()
  with pytest.raises(FileNotFoundError, match='looked for .*test_32x32.mat'):
    svhn.find_svhn('auto', str(folder))


def test_an_unknown_source_lists_the_known():
  with pytest.raises(ValueError, match="auto, mat, tfds; got 'idx'"):
    svhn.find_svhn('idx')


# --- TensorFlow Datasets ----------------------------------------------------


def test_a_missing_network_is_told_at_once(tmp_path):
  with pytest.raises(ConnectionError, match='no network in tests') as info:
    svhn.find_svhn('tfds', str(tmp_path), allow_download=True)
  assert '\n' not in str(info.value) and 'MMJSD_DATA_DIR' in str(info.value)
  assert not list(tmp_path.iterdir())


def test_a_copy_in_tfrecord_files_is_told_apart(tmp_path):
  copy = tmp_path / 'svhn_cropped' / '3.1.0'
  copy.mkdir(parents=True)
  (copy / 'svhn_cropped-test.tfrecord-00000-of-00001').touch()
  with pytest.raises(FileNotFoundError, match='only TensorFlow reads'):
    svhn.find_svhn('tfds', str(tmp_path))


def test_a_missing_package_is_named(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'tensorflow_datasets', None)
  with pytest.raises(ModuleNotFoundError, match='package tensorflow_datasets'):
    svhn.find_svhn('tfds', str(tmp_path), allow_download=True)


def test_a_download_makes_a_copy_that_is_found(folder, tmp_path, monkeypatch):
  tfds = pytest.importorskip('tensorflow_datasets')
  fetched = []

  def download(self, urls):
    fetched.extend(urls.values())
    return {name: folder / url.split('/')[-1] for name, url in urls.items()}

  monkeypatch.setattr(tfds_source, '_probe', lambda *_: None)
  monkeypatch.setattr(tfds.download.DownloadManager, 'download', download)
  root = tmp_path / 'tfds'
  train, test, line, partial = svhn.find_svhn(
    'auto', str(root), allow_download=True
  )
  assert [url.split('/')[-1] for url in fetched] == [
    'train_32x32.mat',
    'test_32x32.mat',
  ]
  assert str(root) in line and 'is a part' in str(partial)
  assert 'tensorflow' not in sys.modules

  monkeypatch.setattr(tfds_source, '_probe', lambda *_: 'must not be asked')
  again = svhn.find_svhn('auto', str(root))
  np.testing.assert_array_equal(again[0].images, train.images)
  # TFDS writes in an order of its own.
  for found, wanted in zip((train, test), svhn.load_mat(folder), strict=True):
    labels = dict(zip(map(bytes, wanted.images), wanted.labels, strict=True))
    assert len(labels) == len(found.labels)
    assert [labels[bytes(image)] for image in found.images] == list(
      found.labels
    )
  source = tfds.data_source('svhn_cropped', split='test', data_dir=root)
  assert len(source) == 20
