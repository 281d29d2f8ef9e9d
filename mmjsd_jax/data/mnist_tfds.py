"""MNIST by way of TensorFlow Datasets; see `tfds_source`."""

from collections.abc import Iterator
from typing import Any

from mmjsd_jax.data import idx
from mmjsd_jax.data.tfds_source import TfdsSource

_URL = 'https://storage.googleapis.com/cvdf-datasets/mnist/'
_FILES = {
  'train': ('train-images-idx3-ubyte.gz', 'train-labels-idx1-ubyte.gz'),
  'test': ('t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz'),
}


def _make_builder(tfds: Any) -> Any:
  """TFDS's builder unpacks archives and encodes PNGs by TensorFlow.

  Its features, addresses and checksums are used as they are.
  """

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

  return MNIST


MNIST = TfdsSource(
  title='MNIST',
  name='mnist',
  version='3.0.1',
  shape=(28, 28),
  url=_URL,
  probed=_FILES['test'][1],
  advice=(
    'put its four idx files in a directory and set MMJSD_DATA_DIR to it, or ask'
    " for digits='embedded'"
  ),
  make_builder=_make_builder,
)
