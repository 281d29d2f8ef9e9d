"""MNIST by way of TensorFlow Datasets (TFDS), without TensorFlow.

TFDS reads what it has prepared as ArrayRecord without TensorFlow, but the
builder it has for MNIST cannot prepare it so. `_download` can.
"""

import os
import pathlib
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjsd_jax.data import idx

_VERSION = '3.0.1'
_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
_FILES = {
  'train': ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'),
  'test': ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz'),
}
_PROBE_SECONDS = 5.0


def default_root() -> pathlib.Path:
  """What TFDS takes by default, told without the second its import costs."""
  return pathlib.Path(
    os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  ).expanduser()


def place(root: pathlib.Path) -> str:
  """The pattern of the files that make a copy under `root`."""
  return str(root / 'mnist' / _VERSION / '*.array_record*')


def has_copy(root: pathlib.Path) -> bool:
  """Whether there is a copy under `root` that TFDS reads without TensorFlow."""
  return any((root / 'mnist' / _VERSION).glob('*.array_record*'))


def load(
  root: pathlib.Path, *, allow_download: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """Images and labels of both splits, in the order of the copy under `root`.

  Args:
    root: directory of the data sets.
    allow_download: whether to prepare a copy there if there is none.

  Returns:
    'train' and 'test', each images uint8 [N, 28, 28] and labels int32 [N].

  Raises:
    FileNotFoundError: if there is no copy and no leave to download.
    ConnectionError: if MNIST cannot be reached.
    ModuleNotFoundError: if a package it needs is missing.
  """
  if not has_copy(root) and not allow_download:
    hint = 'allow the download to fetch it'
    if any((root / 'mnist').glob('*/*.tfrecord*')):
      hint = (
        'the copy there is in TFRecord files, which only TensorFlow reads:'
        " prepare it with file_format='array_record'"
      )
    raise FileNotFoundError(
      f'MNIST not found; looked for {place(root)}; {hint}'
    )
  tfds = _import_tfds()
  if not has_copy(root):
    _download(tfds, root)
  builder = tfds.builder_from_directory(root / 'mnist' / _VERSION)
  splits = {}
  for name in _FILES:
    source = builder.as_data_source(name)
    images = np.empty((len(source), 28, 28), np.uint8)
    labels = np.empty(len(source), np.int32)
    for row, example in enumerate(source):
      images[row] = example['image'][..., 0]
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
      f'MNIST from TensorFlow Datasets needs the package {error.name}: pip'
      ' install tensorflow-datasets importlib_resources',
      name=error.name,
    ) from error
  return tfds


def _download(tfds: Any, root: pathlib.Path) -> None:
  """Prepares MNIST under `root`, where `tfds.data_source('mnist')` finds it."""
  # TFDS alone takes 205 s to find that there is no network.
  problem = _probe(_URL + _FILES['test'][1], _PROBE_SECONDS)
  if problem:
    raise ConnectionError(
      f'cannot download MNIST from {_URL}: {problem}; put its four idx files in'
      " a directory and set MMJSD_DATA_DIR to it, or ask for digits='embedded'"
    )

  # The builder that TFDS has unpacks archives and encodes PNGs by TensorFlow.
  # Its features, addresses and checksums are used as they are.
  with tfds.core.registered.skip_registration():

    class MNIST(tfds.image_classification.MNIST):
      def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        names = [name for pair in _FILES.values() for name in pair]
        paths = dl_manager.download({name: _URL + name for name in names})
        return {
          split: self._generate_examples(paths[images], paths[labels])
          for split, (images, labels) in _FILES.items()
        }

      def _generate_examples(
        self, image_path: Any, label_path: Any
      ) -> Iterator[tuple[int, dict[str, Any]]]:
        from PIL import Image

        images = idx.read(image_path, (28, 28))
        labels = idx.read(label_path, ())
        pairs = zip(images, labels, strict=True)
        for row, (image, label) in enumerate(pairs):
          yield row, {'image': Image.fromarray(image), 'label': int(label)}

  builder = MNIST(data_dir=os.fspath(root), file_format='array_record')
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(try_download_gcs=False)
  )


def _probe(url: str, timeout: float) -> str | None:
  """Why `url` cannot be had within `timeout` seconds, or None if it can."""
  outcome: list[str | None] = []

  def ask() -> None:
    request = urllib.request.Request(url, method='HEAD')
    try:
      with urllib.request.urlopen(request, timeout=timeout):
        outcome.append(None)
    except (OSError, ValueError) as error:
      outcome.append(str(error))

  # In a thread, because no timeout bounds the look-up of a name.
  thread = threading.Thread(target=ask, daemon=True)
  thread.start()
  thread.join(timeout)
  return outcome[0] if outcome else f'no answer within {timeout:g} s'
