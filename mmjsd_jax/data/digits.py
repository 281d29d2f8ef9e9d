"""Handwritten digits, 28 x 28 grey: MNIST, or those scikit-learn carries.

Three sources, all of which give a training and a test set:

- 'idx': the four published MNIST files, gzipped or not, in a directory;
- 'tfds': a copy of MNIST that TensorFlow Datasets prepared as ArrayRecord, or,
  if asked for, a download of it;
- 'embedded': the 1,797 8 x 8 digits of `sklearn.datasets.load_digits` (the test
  set of UCI "Optical Recognition of Handwritten Digits"), made 28 x 28.

'auto' takes the first that is there, and says so when that is the last; 'mnist'
takes one of the first two or fails. Local files come first and nothing is
downloaded unless asked for.
"""

import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from mmjsd_jax.data import idx, tfds_source
from mmjsd_jax.data.dataset import not_published
from mmjsd_jax.data.mnist_tfds import MNIST

SOURCES = ('auto', 'mnist', 'idx', 'tfds', 'embedded')
DATA_DIR_VARIABLE = 'MMJSD_DATA_DIR'


class Digits(NamedTuple):
  """Digit images and what they show.

  Attributes:
    images: uint8 [N, 28, 28], 0 background to 255 ink.
    labels: int32 [N], 0 to 9.
  """

  images: np.ndarray
  labels: np.ndarray


class Found(NamedTuple):
  """Digits, and where they came from.

  Attributes:
    train: training digits.
    test: test digits.
    source: one line saying where they are from.
    substituted: one sentence if they are not MNIST's; None if they are.
    is_embedded: whether they are the embedded ones, of which there are few.
  """

  train: Digits
  test: Digits
  source: str
  substituted: str | None
  is_embedded: bool = False


def find_digits(
  source: str, directory: str = '', *, allow_download: bool = False
) -> Found:
  """Digits from the source named, or from the first one that is there.

  For 'auto' that is: `directory` if given, else the directory that the
  environment variable MMJSD_DATA_DIR names if set, else a copy in the default
  directory of TensorFlow Datasets, else a download if allowed, else the
  embedded digits. A directory that somebody named is never passed over: if it
  holds no MNIST, that is an error (or, if allowed, where a download goes).
  'mnist' is the same without the embedded digits, 'idx' without any copy of
  TensorFlow Datasets; 'tfds' looks in `directory` or its default directory.

  Args:
    source: one of `SOURCES`.
    directory: where to look; '' for nowhere in particular.
    allow_download: whether TensorFlow Datasets may fetch MNIST.

  Returns:
    The digits. Files that have MNIST's names and other contents are taken, and
    `substituted` says so.

  Raises:
    ValueError: if the source is unknown or a file is damaged.
    FileNotFoundError: if MNIST is not where it should be; says where it looked.
    ConnectionError: if a download was asked for and MNIST cannot be reached.
  """
  if source not in SOURCES:
    raise ValueError(
      f'expected digits to be one of {", ".join(SOURCES)}; got {source!r}'
    )
  if source == 'embedded':
    return _embedded('were asked for')

  named, where = directory, ''
  if not named and source != 'tfds':
    named = os.environ.get(DATA_DIR_VARIABLE, '')
    where = f' in {DATA_DIR_VARIABLE}={named}' if named else ''
  if source != 'tfds' and (folder := _idx_folder(named)):
    return _compared(folder, *load_idx(folder))
  if source == 'idx':
    raise _not_found(_idx_places(named), where)

  root = tfds_source.root_of(named)
  if source == 'tfds' or MNIST.has_copy(root):
    return _from_tfds(root, allow_download)
  places = [*_idx_places(named), MNIST.place(root)]
  error: OSError = _not_found(places, where)
  if allow_download:
    try:
      return _from_tfds(root, allow_download)
    except ConnectionError as offline:
      error = offline
  if named or source == 'mnist':
    raise error
  return _embedded(f'were taken, as no data directory was named. {error}')


def _from_tfds(root: pathlib.Path, allow_download: bool) -> Found:
  train, test = load_tfds(root, allow_download=allow_download)
  line = f'MNIST ({_counts(train, test)}) from {root}'
  return Found(train, test, line, None)


def _embedded(why: str) -> Found:
  train, test = load_embedded()
  return Found(
    train,
    test,
    f"scikit-learn's digits ({_counts(train, test)}, 8 x 8 made 28 x 28)",
    f"Scikit-learn's bundled handwritten digits, not MNIST, {why}.",
    is_embedded=True,
  )


def _counts(train: Digits, test: Digits) -> str:
  return f'{len(train.labels):,} + {len(test.labels):,} images'


def _not_found(places: list[str], where: str = '') -> FileNotFoundError:
  return FileNotFoundError(
    f'MNIST not found{where}; looked for {", ".join(places) or "nothing"}; name'
    f' a directory that holds its four files (or set {DATA_DIR_VARIABLE} to'
    " one), or ask for digits='embedded'"
  )


# --- idx files --------------------------------------------------------------

_IDX_FILES = (
  ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
  ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
)
# Of the contents, so that a file is known with or without its gzip wrapping.
# Taken from files whose own MD5s are the published ones, as below.
_OFFICIAL_MD5 = {
  'train-images-idx3-ubyte': '6bbc9ace898e44ae57da46a324031adb',
  'train-labels-idx1-ubyte': 'a25bea736e30d166cdddb491f175f624',
  't10k-images-idx3-ubyte': '2646ac647ad5339dbf082846283269ea',
  't10k-labels-idx1-ubyte': '27ae3e4e09519cfbb04c329615203637',
}
# Has files of the same names and shapes.
_FASHION_MD5 = {
  'train-images-idx3-ubyte': 'f4a8712d7a061bf5bd6d2ca38dc4d50a',
  'train-labels-idx1-ubyte': '9018921c3c673c538a1fc5bad174d6f9',
  't10k-images-idx3-ubyte': '8181f5470baa50b63fa0f6fddb340f0a',
  't10k-labels-idx1-ubyte': '15d484375f8d13e6eb1aabb0c3f46965',
}
# The last is where torchvision puts them.
_IDX_FOLDERS = ('', 'mnist', 'MNIST/raw')


def load_idx(directory: str | os.PathLike[str]) -> tuple[Digits, Digits]:
  """MNIST from its four idx files, gzipped or plain.

  Args:
    directory: holds the files itself, or in `mnist` or `MNIST/raw`.

  Returns:
    Training and test digits, in the files' order.

  Raises:
    FileNotFoundError: if a file is missing.
    ValueError: if a file is damaged or empty, or images and labels differ in
      number.
  """
  folder = _idx_folder(directory)
  if folder is None:
    raise _not_found(_idx_places(directory))
  splits = []
  for image_name, label_name in _IDX_FILES:
    images = idx.read(_idx_file(folder, image_name), (28, 28))
    labels = idx.read(_idx_file(folder, label_name), ())
    if len(images) != len(labels):
      raise ValueError(
        f'{folder}: expected as many labels as images, got {len(images)} in'
        f' {image_name} and {len(labels)} in {label_name}'
      )
    if not labels.size:
      raise ValueError(f'{folder / image_name}: expected images; got none')
    if labels.max() > 9:
      raise ValueError(
        f'{folder / label_name}: expected labels 0 to 9, got {labels.max()}'
      )
    splits.append(Digits(images, labels.astype(np.int32)))
  return splits[0], splits[1]


def _idx_folder(directory: str | os.PathLike[str]) -> pathlib.Path | None:
  """The folder at or below `directory` that holds any of the four files."""
  if not os.fspath(directory):
    return None
  for name in _IDX_FOLDERS:
    folder = pathlib.Path(directory).expanduser() / name
    if any(_idx_paths(folder, stem) for stem in _OFFICIAL_MD5):
      return folder
  return None


def _idx_file(folder: pathlib.Path, stem: str) -> pathlib.Path:
  paths = _idx_paths(folder, stem)
  if not paths:
    raise _not_found([f'{folder / stem}[.gz]'])
  return paths[0]


def _idx_paths(folder: pathlib.Path, stem: str) -> list[pathlib.Path]:
  paths = (folder / f'{stem}.gz', folder / stem)
  return [path for path in paths if path.is_file()]


def _idx_places(directory: str | os.PathLike[str]) -> list[str]:
  if not os.fspath(directory):
    return []
  root = pathlib.Path(directory).expanduser()
  return [str(root / name / '*-ubyte[.gz]') for name in _IDX_FOLDERS]


def _compared(folder: pathlib.Path, train: Digits, test: Digits) -> Found:
  """What `load_idx` found in `folder`, by the checksums of its files."""
  digests = {}
  for split, names in zip((train, test), _IDX_FILES, strict=True):
    for name, array in zip(names, split, strict=True):
      digest = hashlib.md5(idx.header(array.shape), usedforsecurity=False)
      digest.update(array.astype(np.uint8).data)
      digests[name] = digest.hexdigest()
  where = f'({_counts(train, test)}) from {folder}'
  if digests == _FASHION_MD5:
    return Found(
      train,
      test,
      f'Fashion-MNIST {where}',
      'The images are those of Fashion-MNIST, clothes and not digits.',
    )
  others = [name for name in digests if digests[name] != _OFFICIAL_MD5[name]]
  if not others:
    return Found(train, test, f'MNIST {where}', None)
  return Found(
    train,
    test,
    f'MNIST {where} (checksum differs from the official MNIST)',
    not_published('MNIST', others, folder),
  )


# --- TensorFlow Datasets ----------------------------------------------------


def load_tfds(
  data_dir: str | os.PathLike[str] = '', *, allow_download: bool = False
) -> tuple[Digits, Digits]:
  """MNIST from a copy that TensorFlow Datasets prepared as ArrayRecord.

  Neither the copy nor a download of it needs TensorFlow. A missing network
  costs five seconds.

  Args:
    data_dir: root of the data sets; by default $TFDS_DATA_DIR, or else
      ~/tensorflow_datasets.
    allow_download: whether to fetch MNIST where there is no copy.

  Returns:
    Training and test digits, in the copy's order (not that of the idx files).

  Raises:
    FileNotFoundError: if there is no copy and no leave to download.
    ConnectionError: if MNIST cannot be reached.
    ModuleNotFoundError: if a package it needs is missing.
  """
  splits = MNIST.load(
    tfds_source.root_of(data_dir), allow_download=allow_download
  )
  return Digits(*splits['train']), Digits(*splits['test'])


# --- embedded ---------------------------------------------------------------

_TEST_EVERY = 5


def load_embedded() -> tuple[Digits, Digits]:
  """The 1,797 digits bundled with scikit-learn, 1,442 to train and 355 to test.

  Every fifth image of each class is a test image. All 1,797 differ, so no image
  is in both splits; the set's 13 writers are, as it does not tell them apart.
  As in MNIST a digit fills a box of 20 x 20 in the middle, here by bicubic
  interpolation; full ink (16) becomes 255.
  """
  from PIL import Image
  from sklearn import datasets

  bunch = datasets.load_digits()
  labels = bunch.target.astype(np.int32)
  images = np.zeros((len(labels), 28, 28), np.uint8)
  for row, small in enumerate(bunch.images.astype(np.float32) * (255 / 16)):
    large = Image.fromarray(small).resize((20, 20), Image.Resampling.BICUBIC)
    # Bicubic interpolation overshoots at edges.
    images[row, 4:24, 4:24] = np.clip(np.rint(np.asarray(large)), 0, 255)
  is_test = np.zeros(len(labels), bool)
  for digit in range(10):
    rows = np.flatnonzero(labels == digit)
    is_test[rows[_TEST_EVERY - 1 :: _TEST_EVERY]] = True
  return (
    Digits(images[~is_test], labels[~is_test]),
    Digits(images[is_test], labels[is_test]),
  )
