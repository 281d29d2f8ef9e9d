"""SVHN by way of TensorFlow Datasets; see `tfds_source`."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjsd_jax.data import mat
from mmjsd_jax.data.tfds_source import TfdsSource

_NAME = 'svhn_cropped'
_URL = 'http://ufldl.stanford.edu/housenumbers/'
_FILES = {'train': 'train_32x32.mat', 'test': 'test_32x32.mat'}


def _make_builder(tfds: Any) -> Any:
  """TFDS's builder opens files by TensorFlow.

  It also fetches 1.3 GB of "extra" images that nothing here uses. Its features
  and checksums are used as they are.
  """
  original = tfds.builder_cls(_NAME)

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

  return SvhnCropped


SVHN = TfdsSource(
  title='SVHN',
  name=_NAME,
  version='3.1.0',
  shape=(32, 32, 3),
  url=_URL,
  probed=_FILES['test'],
  advice=(
    f'put {" and ".join(_FILES.values())} in a directory and set MMJSD_DATA_DIR'
    ' to it'
  ),
  make_builder=_make_builder,
)
