"""SVHN by way of TensorFlow Datasets (TFDS), without TensorFlow.

As `mnist_tfds`: TFDS reads what it has prepared as ArrayRecord without
TensorFlow, but the builder it has for SVHN opens files by TensorFlow, and
fetches 1.3 GB of "extra" images that nothing here uses. `_download` does
neither.
"""

import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjsd_jax.data import mat, mnist_tfds

_NAME = 'svhn_cropped'
_VERSION = '3.1.0'
_URL = 'http://ufldl.stanford.edu/housenumbers/'
_FILES = {'train': 'train_32x32.mat', 'test': 'test_32x32.mat'}

default_root = mnist_tfds.default_root


def place(root: pathlib.Path) -> str:
  """The pattern of the files that make a copy under `root`."""
  return str(root / _NAME / _VERSION / '*.array_record*')


def has_copy(root: pathlib.Path) -> bool:
  """Whether there is a copy under `root` that TFDS reads without TensorFlow."""
  return any((root / _NAME / _VERSION).glob('*.array_record*'))


def load(
  root: pathlib.Path, *, allow_download: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Images and labels of both splits, in the order of the copy under `root`.

  Args:
    root: directory of the data sets.
    allow_download: whether to prepare a copy there if there is none.

  Returns:
    'train' and 'test', each images uint8 [N, 32, 32, 3] and labels int32 [N].

  Raises:
    FileNotFoundError: if there is no copy and no leave to download.
    ConnectionError: if SVHN cannot be reached.
    ModuleNotFoundError: if a package it needs is missing.
  """
  if not has_copy(root) and not allow_download:
    hint = 'allow the download to fetch it'
    if any((root / _NAME).glob('*/*.tfrecord*')):
      hint = (
        'the copy there is in TFRecord files, which only TensorFlow reads:'
        " prepare it with file_format='array_record'"
      )
    raise FileNotFoundError(f'SVHN not found; looked for {place(root)}; {hint}')
  tfds = _import_tfds()
  if not has_copy(root):
    _download(tfds, root)
  builder = tfds.builder_from_directory(root / _NAME / _VERSION)
  splits = {}
  for name in _FILES:
    source = builder.as_data_source(name)
    images = np.empty((len(source), 32, 32, 3), np.uint8)
    labels = np.empty(len(source), np.int32)
    for row, example in enumerate(source):
      images[row] = example['image']
      labels[row] = example['label']
    splits[name] = (images, labels)
  return splits


def _import_tfds() -> Any:
  try:
    # TFDS needs the first without declaring it, and says so only deep inside.
    import importlib_resources  # noqa: F401
    import tensorflow_datasets as tfds
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f'SVHN from TensorFlow Datasets needs the package {error.name}: pip'
      ' install tensorflow-datasets importlib_resources',
      name=error.name,
    ) from error
  return tfds


def _download(tfds: Any, root: pathlib.Path) -> None:
  """Prepares SVHN under `root`, where `tfds.data_source` finds it."""
  problem = mnist_tfds._probe(_URL + _FILES['test'], mnist_tfds._PROBE_SECONDS)
  if problem:
    raise ConnectionError(
      f'cannot download SVHN from {_URL}: {problem}; put'
      f' {" and ".join(_FILES.values())} in a directory and set MMJSD_DATA_DIR'
      ' to it'
    )

  # Features and checksums are those of the builder that TFDS has.
  original = tfds.builder_cls(_NAME)
  with tfds.core.registered.skip_registration():

    class SvhnCropped(original):  # type: ignore[misc,valid-type]
      name = _NAME
      pkg_dir_path = original.pkg_dir_path
      url_infos = original.url_infos

      def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        paths = dl_manager.download(
          {split: _URL + name for split, name in _FILES.items()}
        )
        return {
          split: self._generate_examples(f'{split}_', path)
          for split, path in paths.items()
        }

      def _generate_examples(
        self, split_prefix: str, filepath: Any
      ) -> Iterator[tuple[int, dict[str, Any]]]:
        from PIL import Image

        arrays = mat.read(filepath, ('X', 'y'))
        images = np.moveaxis(arrays['X'], -1, 0)
        pairs = zip(images, arrays['y'].ravel(), strict=True)
        for row, (image, label) in enumerate(pairs):
          yield (
            row,
            {
              'image': Image.fromarray(np.ascontiguousarray(image)),
              'label': int(label) % 10,
              'id': f'{split_prefix}{row:06d}',
            },
          )

  builder = SvhnCropped(data_dir=os.fspath(root), file_format='array_record')
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(try_download_gcs=False)
  )
