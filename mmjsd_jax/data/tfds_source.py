"""Image sets by way of TensorFlow Datasets (TFDS), without TensorFlow.

TFDS reads what it has prepared as ArrayRecord without TensorFlow, but its own
builders cannot prepare it so. A `TfdsSource` brings one that can.
"""

import os
import pathlib
import threading
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from mmjsd_jax import files

_Read = TypeVar('_Read')
_PROBE_SECONDS = 5.0
TFRECORD_HINT = (
  'the copy there is in TFRecord files, which only TensorFlow reads: prepare it'
  " with file_format='array_record'"
)


class TfdsSource(NamedTuple):
  """A set of images and labels that TFDS knows.

  Attributes:
    title: for messages.
    name: as TFDS has it.
    version: likewise.
    shape: of an image.
    url: where its files are.
    probed: the smallest of them, asked for before a download.
    advice: what to do where `url` cannot be reached.
    make_builder: TFDS to a builder class that needs no TensorFlow.
  """

  title: str
  name: str
  version: str
  shape: tuple[int, ...]
  url: str
  probed: str
  advice: str
  make_builder: Callable[[Any], Any]

  def place(self, root: pathlib.Path) -> str:
    """The pattern of the files that make a copy under `root`."""
    return str(root / self.name / self.version / '*.array_record*')

  def has_copy(self, root: pathlib.Path) -> bool:
    """Whether `root` has a copy that TFDS reads without TensorFlow."""
    return any((root / self.name / self.version).glob('*.array_record*'))

  def load(
    self, root: pathlib.Path, *, allow_download: bool
  ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images and labels of both splits, in the order of the copy under `root`.

    Args:
      root: directory of the data sets.
      allow_download: whether to prepare a copy there if there is none.

    Returns:
      'train' and 'test', each images uint8 [N, *shape] and labels int32 [N].

    Raises:
      ValueError: if the copy is damaged; names it.
      FileNotFoundError: if there is no copy and no leave to download.
      ConnectionError: if `url` cannot be reached.
      ModuleNotFoundError: if a package it needs is missing.
    """
    if not self.has_copy(root) and not allow_download:
      hint = 'allow the download to fetch it'
      if any(map(is_tfrecord, (root / self.name).glob('*'))):
        hint = TFRECORD_HINT
      raise FileNotFoundError(
        f'{self.title} not found; looked for {self.place(root)}; {hint}'
      )
    tfds = import_tfds(self.title)
    if not self.has_copy(root):
      self._download(tfds, root)
    folder = root / self.name / self.version
    return read_copy(
      tfds,
      folder,
      lambda builder: {
        name: self._read(builder.as_data_source(name))
        for name in ('train', 'test')
      },
    )[-1]

  def _read(self, source: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    images = np.empty((len(source), *self.shape), np.uint8)
    labels = np.empty(len(source), np.int32)
    for row, example in enumerate(source):
      images[row] = np.reshape(example['image'], self.shape)
      labels[row] = example['label']
    return images, labels

  def _download(self, tfds: Any, root: pathlib.Path) -> None:
    """Prepares a copy under `root`, where `tfds.data_source` finds it."""
    # TFDS alone takes 205 s to find that there is no network.
    problem = _probe(self.url + self.probed, _PROBE_SECONDS)
    if problem:
      raise ConnectionError(
        f'cannot download {self.title} from {self.url}: {problem};'
        f' {self.advice}'
      )
    with tfds.core.registered.skip_registration():
      make = self.make_builder(tfds)
    builder = make(data_dir=os.fspath(root), file_format='array_record')
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )


def read_copy(
  tfds: Any, folder: pathlib.Path, read_fn: Callable[[Any], _Read]
) -> tuple[str, dict[str, Any], _Read]:
  """Name and metadata of a prepared copy, and what is read of it.

  A copy may come from a stranger: that it runs no code is checked first.

  Args:
    tfds: the module.
    folder: holds dataset_info.json.
    read_fn: TFDS's builder of the copy to what is wanted of it.

  Raises:
    ValueError: if the copy is damaged, or names classes that are not TFDS's
      own; names the folder.
  """
  try:
    _check_features(folder / 'features.json')
    builder = tfds.builder_from_directory(folder)
    return builder.name, dict(builder.info.metadata or {}), read_fn(builder)
  except Exception as error:  # TFDS, protobuf and ArrayRecord raise any kind
    what = ' '.join(str(error).split())
    raise ValueError(
      f'{folder}: expected a whole copy of a data set; got a damaged one'
      f' ({type(error).__name__}: {what[:300]})'
    ) from error


# Where TFDS keeps the classes that our sets' features are of.
_FEATURES = 'tensorflow_datasets.core.features.'


def _check_features(path: pathlib.Path) -> None:
  """Refuses names of other classes: TFDS would import the modules of any."""
  nodes = [files.read_json(path)]
  while nodes:
    node = nodes.pop()
    if isinstance(node, dict):
      nodes += node.values()
    elif isinstance(node, list):
      nodes += node
    # With '{' it may be JSON with such names, which TFDS reads in its turn.
    elif isinstance(node, str) and set(node) & set('.{'):
      if not node.startswith(_FEATURES):
        raise ValueError(f'{path.name} names {node!r}, which is not of TFDS')


def is_tfrecord(folder: pathlib.Path) -> bool:
  """Whether a copy is in files that only TensorFlow reads."""
  return not any(folder.glob('*.array_record*')) and any(
    folder.glob('*.tfrecord*')
  )


def root_of(directory: str | os.PathLike[str]) -> pathlib.Path:
  """`directory`; for '' what TFDS takes by default, told without importing it.

  The import costs a second.
  """
  return pathlib.Path(
    os.fspath(directory)
    or os.environ.get('TFDS_DATA_DIR')
    or '~/tensorflow_datasets'
  ).expanduser()


def import_tfds(title: str) -> Any:
  """The module tensorflow_datasets, to read the data set `title`.

  Raises:
    ModuleNotFoundError: it, or what it needs, is missing.
  """
  try:
    # TFDS needs the first without declaring it, and says so only deep inside.
    import importlib_resources  # noqa: F401
    import tensorflow_datasets as tfds
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
      f'{title} from TensorFlow Datasets needs the package {error.name}: pip'
      ' install tensorflow-datasets importlib_resources',
      name=error.name,
    ) from error
  return tfds


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
