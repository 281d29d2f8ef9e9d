"""Street View House Numbers (SVHN), cropped: 32 x 32 colour images of digits.

Netzer et al. 2011, `train_32x32.mat` and `test_32x32.mat` of
http://ufldl.stanford.edu/housenumbers, for non-commercial use. They are read as
they are published, or from a copy that TensorFlow Datasets prepared. The
"extra" images are not used.
"""

import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from mmjsd_jax import files
from mmjsd_jax.data import mat, tfds_source
from mmjsd_jax.data.dataset import not_published
from mmjsd_jax.data.digits import DATA_DIR_VARIABLE
from mmjsd_jax.data.svhn_tfds import SVHN

SOURCES = ('auto', 'mat', 'tfds')
NUM_TRAIN = 73_257
NUM_TEST = 26_032


class Svhn(NamedTuple):
  """Images of house numbers and the digit in the middle of each.

  Attributes:
    images: uint8 [N, 32, 32, 3].
    labels: int32 [N], 0 to 9.
  """

  images: np.ndarray
  labels: np.ndarray


def find_svhn(
  source: str = 'auto', directory: str = '', *, allow_download: bool = False
) -> tuple[Svhn, Svhn, str, str | None]:
  """SVHN from the source named, or from the first one that has it.

  For 'auto' that is: the two files in `directory` if given, else in the
  directory that the environment variable MMJSD_DATA_DIR names; then a copy of
  TensorFlow Datasets there, or in its default directory if none is named; then,
  if allowed, a download of it.

  Args:
    source: one of `SOURCES`: either, the files only, or TensorFlow Datasets.
    directory: where to look; '' for nowhere in particular.
    allow_download: whether TensorFlow Datasets may fetch SVHN.

  Returns:
    Training images, test images, one line saying where they are from, and one
    sentence if they are not SVHN, whole and as published (None if they are).

  Raises:
    ValueError: if the source is unknown or a file is damaged.
    FileNotFoundError: if SVHN is not where it should be; says where it looked.
    ConnectionError: if a download was asked for and SVHN cannot be reached.
  """
  if source not in SOURCES:
    raise ValueError(
      f'expected source to be one of {", ".join(SOURCES)}; got {source!r}'
    )
  named, where = directory, ''
  if not named and source != 'tfds':
    named = os.environ.get(DATA_DIR_VARIABLE, '')
    where = f' in {DATA_DIR_VARIABLE}={named}' if named else ''
  if source != 'tfds' and (folder := _mat_folder(named)):
    train, test = load_mat(folder)
    line, partial = _line(train, test, folder), _partial(train, test)
    if not partial and (others := _not_published(folder)):
      line += ' (checksum differs from the official SVHN)'
      partial = not_published('SVHN', others, folder)
    return train, test, line, partial
  if source == 'mat':
    raise _not_found(_mat_places(named), where)

  root = tfds_source.root_of(named)
  if source == 'auto' and not SVHN.has_copy(root) and not allow_download:
    raise _not_found([*_mat_places(named), SVHN.place(root)], where)
  splits = SVHN.load(root, allow_download=allow_download)
  train, test = Svhn(*splits['train']), Svhn(*splits['test'])
  return train, test, _line(train, test, root), _partial(train, test)


def _line(train: Svhn, test: Svhn, place: pathlib.Path) -> str:
  counts = f'{len(train.labels):,} + {len(test.labels):,} images'
  return f'SVHN ({counts}) from {place}'


def _partial(train: Svhn, test: Svhn) -> str | None:
  counts = len(train.labels), len(test.labels)
  if counts == (NUM_TRAIN, NUM_TEST):
    return None
  what = 'is a part'
  if counts[0] > NUM_TRAIN or counts[1] > NUM_TEST:
    what = 'is not the published set'
  return (
    f'SVHN {what}: {counts[0]:,} of {NUM_TRAIN:,} training and'
    f' {counts[1]:,} of {NUM_TEST:,} test digits.'
  )


def _not_found(places: list[str], where: str = '') -> FileNotFoundError:
  return FileNotFoundError(
    f'SVHN not found{where}; looked for {", ".join(places) or "nothing"}; name'
    f' a directory that holds {" and ".join(_MAT_FILES)} (or set'
    f' {DATA_DIR_VARIABLE} to one)'
  )


# --- MATLAB files -----------------------------------------------------------

# MD5 of the published files, from torchvision.
_MAT_FILES = {
  'train_32x32.mat': 'e26dedcc434d2e4c54c9b2d4a06d8373',
  'test_32x32.mat': 'eb5a983be6a315427106f1b164d9cef3',
}
_MAT_FOLDERS = ('', 'svhn')
# Images turned at a time; their bytes lie far apart in the file.
_CHUNK = 512


def load_mat(directory: str | os.PathLike[str]) -> tuple[Svhn, Svhn]:
  """SVHN from `train_32x32.mat` and `test_32x32.mat`, or parts of it.

  Args:
    directory: holds the files itself, or in `svhn`.

  Returns:
    Training and test images, in the files' order.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: as `read_mat`.
  """
  folder = _mat_folder(directory)
  if folder is None:
    raise _not_found(_mat_places(directory))
  for name in _MAT_FILES:
    if not (folder / name).is_file():
      raise _not_found([str(folder / name)])
  train, test = (read_mat(folder / name) for name in _MAT_FILES)
  return train, test


def read_mat(path: str | os.PathLike[str]) -> Svhn:
  """Images and labels of one MATLAB file of SVHN's.

  Args:
    path: holds X, uint8 [32, 32, 3, N], and y, [N, 1], the digits 1 to 9 and 10
      for 0; a 0 is taken for 0 too.

  Returns:
    The N images, in the file's order.

  Raises:
    ValueError: if the file is not exactly that, or damaged; one line that names
      it and says what it is instead.
  """
  arrays = mat.read(path, ('X', 'y'))
  pixels, given = arrays['X'], arrays['y']
  # MATLAB drops a last dimension of 1.
  pixels = pixels[..., None] if pixels.ndim == 3 else pixels
  if pixels.dtype != np.uint8 or pixels.shape[:-1] != (32, 32, 3):
    raise ValueError(
      f'{path}: expected X uint8 [32, 32, 3, N]; got {pixels.dtype}'
      f' {list(pixels.shape)}'
    )
  count = pixels.shape[-1]
  if given.shape not in ((count, 1), (1, count)) or not count:
    raise ValueError(
      f'{path}: expected y [{max(count, 1)}, 1], a label for each image; got'
      f' {list(given.shape)}'
    )
  labels = given.ravel()
  bad = ~((labels >= 0) & (labels <= 10) & (labels == np.floor(labels)))
  if bad.any():
    raise ValueError(
      f'{path}: expected labels 1 to 10, 10 for the digit 0; got'
      f' {labels[bad][0]} for image {np.argmax(bad)}'
    )
  images = np.empty((count, 32, 32, 3), np.uint8)
  for start in range(0, count, _CHUNK):
    part = slice(start, start + _CHUNK)
    images[part] = np.moveaxis(pixels[..., part], -1, 0)
  return Svhn(images, labels.astype(np.int32) % 10)


def _mat_folder(directory: str | os.PathLike[str]) -> pathlib.Path | None:
  """The folder at or below `directory` that holds either of the files."""
  if not os.fspath(directory):
    return None
  for name in _MAT_FOLDERS:
    folder = pathlib.Path(directory).expanduser() / name
    if any((folder / file).is_file() for file in _MAT_FILES):
      return folder
  return None


def _mat_places(directory: str | os.PathLike[str]) -> list[str]:
  if not os.fspath(directory):
    return []
  root = pathlib.Path(directory).expanduser()
  return [str(root / name / '*_32x32.mat') for name in _MAT_FOLDERS]


def _not_published(folder: pathlib.Path) -> list[str]:
  """Names of the files that are not the published ones."""
  others = []
  for name, published in _MAT_FILES.items():
    with files.naming(folder / name), open(folder / name, 'rb') as stream:
      if hashlib.file_digest(stream, _md5).hexdigest() != published:
        others.append(name)
  return others


def _md5() -> 'hashlib._Hash':
  return hashlib.md5(usedforsecurity=False)
