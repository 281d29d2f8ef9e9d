"""Every file that is read: cut, changed and lying, as by a disk or a stranger.

Such a file is refused by a ValueError or OSError of one line that names it, or
it is read as what it can still be: never a crash, and never other data where
the format has a checksum.
"""

import gzip
import io
import json
import os
import pathlib
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.io
from PIL import Image, PngImagePlugin

from mmjsd_jax import config as configuration
from mmjsd_jax import files, journal, pages, workdir
from mmjsd_jax.data import backgrounds, dataset, digits, idx, polymnist, svhn
from mmjsd_jax.data.records import DamagedRecord
from mmjsd_jax.evaluation import weights

pytestmark = [
  pytest.mark.usefixtures('no_local_data'),
  # numpy tells of headers that Python 2 may have written.
  pytest.mark.filterwarnings('ignore:Reading `.npy`'),
]

_RESULTS = pathlib.Path(__file__).parent / 'data' / 'results.json'
_RNG = np.random.default_rng(0)
_IMAGES = _RNG.integers(256, size=(2, 28, 28), dtype=np.uint8)
_PICTURE = np.zeros((28, 29, 3), np.uint8)
_PICTURE[5:9, 3:20] = (200, 30, 5)
_SHAPES = {'a': ((3,), np.float32), 'b/c': ((2, 2), np.int32)}
_ARRAYS = {'a': np.ones(3, np.float32), 'b/c': np.eye(2, dtype=np.int32)}


def _svhn_bytes(deflated: bool) -> bytes:
  pixels = np.zeros((32, 32, 3, 2), np.uint8)
  pixels[4:7] = 9
  stream = io.BytesIO()
  arrays = {'X': pixels, 'y': np.array([[1], [10]], np.uint8)}
  scipy.io.savemat(stream, arrays, do_compression=deflated)
  return stream.getvalue()


def _picture_bytes(kind: str) -> bytes:
  stream = io.BytesIO()
  Image.fromarray(_PICTURE).save(stream, kind)
  return stream.getvalue()


def _npz_bytes(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
  stream = io.BytesIO()
  save(stream, **arrays)
  return stream.getvalue()


def _run_bytes() -> bytes:
  config = configuration.default()
  config.train.num_steps = 10
  run = {
    'config': configuration.to_dict(config),
    'data': {'source': 'x', 'fingerprint': 'y'},
  }
  return json.dumps(run).encode()


def _read_config(path: pathlib.Path) -> Any:
  return workdir.stored_config(path.parent)


def _is_config(config: Any) -> bool:
  return config.is_locked and isinstance(config.seed, int)


def _is_images(found: np.ndarray) -> bool:
  return found.shape == (2, 28, 28) and found.dtype == np.uint8


def _is_svhn(found: svhn.Svhn) -> bool:
  return (
    found.images.shape == (len(found.labels), 32, 32, 3)
    and found.images.dtype == np.uint8
    and 0 <= found.labels.min() <= found.labels.max() <= 9
  )


def _is_picture(found: np.ndarray) -> bool:
  return found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3


def _has_steps(found: list[Any]) -> bool:
  return all(line['step'] + 1 for line in found)


class Format(NamedTuple):
  """A format, a small valid file of it, and its reader.

  Attributes:
    name: of the file.
    content: of the file.
    read: of what is tested.
    is_valid: whether what was read could have been written; None if the format
      has a checksum, so that it must be what was written.
    is_prefix_valid: whether a file that was cut may be read, if `is_valid`.
  """

  name: str
  content: bytes
  read: Callable[[pathlib.Path], Any]
  is_valid: Callable[[Any], bool] | None = None
  is_prefix_valid: bool = False


_IDX = idx.header((2, 28, 28)) + _IMAGES.tobytes()
_LINES = [{'step': 10 * n, 'loss': 1.5} for n in range(1, 5)]
FORMATS = (
  Format('a-ubyte', _IDX, lambda p: idx.read(p, (28, 28)), _is_images),
  Format(
    'a-ubyte.gz', gzip.compress(_IDX, mtime=0), lambda p: idx.read(p, (28, 28))
  ),
  Format('plain.mat', _svhn_bytes(False), svhn.read_mat, _is_svhn),
  Format('deflated.mat', _svhn_bytes(True), svhn.read_mat),
  Format('a.png', _picture_bytes('png'), backgrounds._read_picture),
  Format(
    'a.jpg', _picture_bytes('jpeg'), backgrounds._read_picture, _is_picture
  ),
  *(
    Format(
      f'{save.__name__}.npz',
      _npz_bytes(save, **_ARRAYS),
      lambda p: weights.load(p, _SHAPES),
    )
    for save in (np.savez, np.savez_compressed)
  ),
  Format('run.json', _run_bytes(), _read_config, _is_config),
  Format(
    'results.json',
    json.dumps(json.loads(_RESULTS.read_bytes())).encode()[:-1] + b'}',
    lambda p: pages.load([p]),
    lambda runs: len(runs) == 1,
  ),
  Format(
    'metrics.jsonl',
    ''.join(json.dumps(line) + '\n' for line in _LINES).encode(),
    lambda p: journal.read_metrics(p.parent),
    _has_steps,
    is_prefix_valid=True,
  ),
)
_each_format = pytest.mark.parametrize('form', FORMATS, ids=lambda f: f.name)


def _same(first: Any, second: Any) -> bool:
  if isinstance(first, dict):
    return all(_same(first[key], second[key]) for key in first)
  if isinstance(first, svhn.Svhn):
    return all(map(np.array_equal, first, second))
  if isinstance(first, np.ndarray):
    return first.dtype == second.dtype and np.array_equal(first, second)
  return first == second


def _read(form: Format, path: pathlib.Path, content: bytes) -> Any:
  """What is read from `content`, or None where it is properly refused."""
  # Some disks wait for what is written over a file.
  path.unlink(missing_ok=True)
  path.write_bytes(content)
  try:
    return form.read(path)
  except (ValueError, OSError) as error:
    assert path.name in str(error) and '\n' not in str(error), repr(error)
    return None


@_each_format
def test_a_file_cut_anywhere_is_refused(form, tmp_path):
  path = tmp_path / form.name
  size = len(form.content)
  whole = _read(form, path, form.content)
  assert whole is not None
  step = max(1, size // 300)
  for length in {*range(0, size, step), *range(max(size - 60, 0), size)}:
    found = _read(form, path, form.content[:length])
    if form.is_prefix_valid and found is not None:
      assert found == whole[: len(found)]
    else:
      # Cut behind all data, as the end mark of a picture is.
      assert found is None or _same(whole, found), length


@_each_format
def test_a_changed_byte_is_refused_or_changes_what_it_may(form, tmp_path):
  path = tmp_path / form.name
  whole = _read(form, path, form.content)
  rng = np.random.default_rng(1)
  size = len(form.content)
  changes = [
    (place, value)
    for place in {*range(min(size, 100)), *range(max(size - 40, 0), size)}
    for value in (0, 255, form.content[place] ^ 255)
  ]
  changes += [
    (place, form.content[place] ^ 1 << int(rng.integers(8)))
    for place in rng.integers(size, size=200).tolist()
  ]
  num_refused = 0
  for place, value in changes:
    content = bytearray(form.content)
    content[place] = value
    found = _read(form, path, bytes(content))
    num_refused += found is None
    if found is not None and form.is_valid is None:
      assert _same(whole, found), (place, value)
    elif found is not None:
      assert form.is_valid(found), (place, value)
  assert num_refused


# --- files that lie about their size ----------------------------------------


def _mat_of(num_bytes: int) -> bytes:
  """A deflated X whose header agrees with its tag; its values are cut off."""
  start = np.array([14, 48 + num_bytes], '<u4').tobytes()
  flags = np.array([6, 8, 9, 0], '<u4').tobytes()
  count = num_bytes // (32 * 32 * 3)
  shape = np.array([5, 16, 32, 32, 3, count], '<u4').tobytes()
  name = np.array([1 | 1 << 16, ord('X'), 2, num_bytes], '<u4').tobytes()
  body = zlib.compress(start + flags + shape + name) + bytes(num_bytes // 1000)
  tag = np.array([15, len(body)], '<u4').tobytes()
  return bytes(124) + b'\x00\x01IM' + tag + body


def _npz_of(content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
  stream = io.BytesIO()
  with zipfile.ZipFile(stream, 'w', method) as archive:
    archive.writestr('a.npy', content)
    archive.writestr('b/c.npy', b'')
  return stream.getvalue()


def _npy_of(shape: tuple[int, ...], num_bytes: int) -> bytes:
  stream = io.BytesIO()
  header = {'descr': '<f4', 'fortran_order': False, 'shape': shape}
  np.lib.format.write_array_header_1_0(stream, header)
  return stream.getvalue() + bytes(num_bytes)


def _png_with_text(num_bytes: int) -> bytes:
  stream, info = io.BytesIO(), PngImagePlugin.PngInfo()
  info.add_text('k', '0' * num_bytes, zip=True)
  Image.fromarray(_PICTURE).save(stream, 'png', pnginfo=info)
  return stream.getvalue()


def _load_npz(path: pathlib.Path) -> Any:
  return weights.load(path, _SHAPES)


@pytest.mark.parametrize(
  ('name', 'make', 'read', 'message'),
  [
    (
      'a.mat',
      lambda: _mat_of(2_000_000_000),
      svhn.read_mat,
      'X of at most 1,073,741,824 bytes; got 1,999,997,952',
    ),
    (
      'gz',
      lambda: gzip.compress(idx.header((2**31, 2**31 - 1, 2**31)) + bytes(99)),
      lambda path: idx.read(path, (2**31 - 1, 2**31)),
      'items that fit in',
    ),
    (
      'bomb.npz',
      lambda: _npz_of(_npy_of((3,), 50 << 20)),
      _load_npz,
      'a in 12 bytes, got more',
    ),
    (
      'huge.npz',
      lambda: _npz_of(_npy_of((2**40, 2**20), 0)),
      _load_npz,
      r'float32 \(3,\) as a, got float32 \(1099511627776, 1048576\)',
    ),
    (
      'lzma.npz',
      lambda: _npz_of(_npy_of((3,), 12), zipfile.ZIP_LZMA),
      _load_npz,
      'a stored or deflated, got 14',
    ),
    (
      'a.png',
      lambda: _png_with_text(50 << 20),
      backgrounds._read_picture,
      'expected a JPEG or PNG',
    ),
    (
      'deep.json',
      lambda: b'[' * 200_000 + b']' * 200_000,
      files.read_json,
      'at most 64 levels',
    ),
    (
      'deeper_than_ours.json',
      lambda: b'{"a":' * 65 + b'1' + b'}' * 65,
      files.read_json,
      'at most 64 levels',
    ),
  ],
  ids=lambda value: value if isinstance(value, str) and '.' in value else '',
)
def test_what_claims_or_inflates_to_gigabytes_costs_no_memory(
  name, make, read, message, tmp_path
):
  path = tmp_path / name
  path.write_bytes(make())
  size = path.stat().st_size
  tracemalloc.start()
  try:
    with pytest.raises(ValueError, match=message) as info:
      read(path)
    assert tracemalloc.get_traced_memory()[1] < 2 * size + (8 << 20)
  finally:
    tracemalloc.stop()
  assert path.name in str(info.value) and '\n' not in str(info.value)


def test_a_json_file_of_gigabytes_is_not_read(tmp_path):
  path = tmp_path / 'a.json'
  path.touch()
  os.truncate(path, 1 << 32)  # takes no room on the disk
  with pytest.raises(ValueError, match='a.json: expected at most 67,108,864'):
    files.read_json(path)


# --- other faults -----------------------------------------------------------


@pytest.mark.parametrize(
  'form',
  [
    form for form in FORMATS if form.name.endswith(('ubyte', 'gz', 'mat', 'on'))
  ],
  ids=lambda form: form.name,
)
def test_a_disk_that_fails_is_told_with_the_file(form, tmp_path, monkeypatch):
  path = tmp_path / form.name
  path.write_bytes(form.content)

  class Failing(io.FileIO):
    def read(self, *_):
      raise OSError(5, 'Input/output error')

    readinto = readall = read

  def opens(file, *_, **__):
    return io.BufferedReader(Failing(file))

  monkeypatch.setattr('builtins.open', opens)
  monkeypatch.setattr('io.open', opens)
  with pytest.raises(OSError, match=f'Input/output error: .*{form.name}'):
    form.read(path)


_BAD_VALUES = (
  *(None, 'x', -1, 1.5, True, [], {}, [[]], [None], [{}], [1, 'a'], {'a': 1}),
  *(10**400, float('nan'), float('inf')),
)


@pytest.mark.parametrize('value', _BAD_VALUES, ids=lambda v: repr(v)[:9])
def test_a_stored_key_of_another_kind_is_refused_by_name(value, tmp_path):
  stored = json.loads(_run_bytes())
  for key in configuration.flatten(stored['config']):
    changed = json.loads(_run_bytes())
    *groups, last = key.split('.')
    group = changed['config']
    for name in groups:
      group = group[name]
    group[last] = value
    (tmp_path / 'run.json').write_text(json.dumps(changed))
    try:
      assert _is_config(workdir.stored_config(tmp_path))
    except ValueError as error:
      assert 'run.json' in str(error) and '\n' not in str(error)


@pytest.mark.parametrize(
  'line', [b'{"step": 1', b'\xff\xfe', b'', b'7', b'{}', b'{"step": "a"}']
)
def test_a_damaged_line_amid_the_metrics_is_told_by_its_number(line, tmp_path):
  (tmp_path / 'metrics.jsonl').write_bytes(
    b'{"step": 1}\n' + line + b'\n{"step": 3}\n'
  )
  with pytest.raises(ValueError, match=r'metrics.jsonl, line 2: expected'):
    journal.read_metrics(tmp_path)
  with pytest.raises(ValueError, match='line 2'):
    workdir.check(tmp_path, configuration.default(), 'train')


@pytest.mark.parametrize('content', [b'[]', b'{}', b'7', b'null', b'{"a": 1}'])
def test_other_json_is_no_results(content, tmp_path):
  path = tmp_path / 'results.json'
  path.write_bytes(content)
  with pytest.raises(ValueError, match='results.json: expected the results'):
    pages.load([path])


def test_idx_files_without_images_are_refused(tmp_path):
  for stem in ('train', 't10k'):
    for name, shape in (('images-idx3', (0, 28, 28)), ('labels-idx1', (0,))):
      (tmp_path / f'{stem}-{name}-ubyte').write_bytes(idx.header(shape))
  with pytest.raises(ValueError, match='train-images-idx3-ubyte: expected im'):
    digits.load_idx(tmp_path)


def test_fashion_mnist_is_not_taken_for_mnist(data_dir):
  if not (data_dir / 'fashion_mnist').is_dir():
    pytest.skip('Fashion-MNIST is not here')
  found = digits.find_digits('idx', str(data_dir / 'fashion_mnist'))
  assert found.source.startswith('Fashion-MNIST (60,000 + 10,000 images)')
  assert 'clothes and not digits' in str(found.substituted)


# --- copies prepared by TFDS --------------------------------------------------


@pytest.fixture(scope='module')
def copy(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A small PolyMNIST."""
  from mmjsd_jax.data import polymnist_builder

  root = tmp_path_factory.mktemp('copy')
  for stem in ('train', 't10k'):
    labels = np.arange(2, dtype=np.uint8)
    for name, array in (('images-idx3', _IMAGES), ('labels-idx1', labels)):
      content = idx.header(array.shape) + array.tobytes()
      (root / f'{stem}-{name}-ubyte').write_bytes(content)
  builder = polymnist_builder.Polymnist(
    data_dir=root, directory=str(root), digits='idx'
  )
  builder.download_and_prepare()
  return root / 'polymnist' / '1.0.0'


def _load_streamed(copy: pathlib.Path) -> str:
  """The fingerprint of what is read of it, record by record."""
  found = polymnist.load_streamed(directory=copy, options={})
  every = np.arange(found.streamed.num_examples)
  return dataset.fingerprint(found.streamed.take(every), found.test)


def _load_prepared(copy: pathlib.Path) -> str:
  return polymnist.load_prepared(copy).fingerprint


@pytest.mark.parametrize('load', [_load_prepared, _load_streamed])
def test_a_damaged_copy_is_refused_or_the_same(copy, load):
  whole = load(copy)
  rng = np.random.default_rng(0)
  refusals = []
  for path in sorted(copy.iterdir()):
    content = path.read_bytes()
    size = len(content.rstrip(b'\0'))
    places = rng.integers(size, size=12).tolist()
    damaged = [content[:place] for place in (0, *places[:4])]
    for place in places:
      damaged.append(bytearray(content))
      damaged[-1][place] ^= 1 << int(rng.integers(8))
    for change in damaged:
      path.write_bytes(change)
      try:
        found = load(copy)
      except (ValueError, DamagedRecord) as error:
        assert str(copy) in str(error) and '\n' not in str(error)
        refusals.append(path.suffix)
      else:
        assert found == whole
    path.write_bytes(content)
  # Every kind of file was seen to be refused.
  assert len(set(refusals)) == len({path.suffix for path in copy.iterdir()})


def test_a_copy_that_claims_more_than_it_holds_costs_no_memory(copy):
  path = copy / 'dataset_info.json'
  content = path.read_text()
  told = json.loads(content)
  told['splits'][0]['shardLengths'] = [str(10**15)]
  path.write_text(json.dumps(told))
  try:
    with pytest.raises(ValueError, match='got a damaged one'):
      polymnist.load_prepared(copy)
  finally:
    path.write_text(content)
