"""CelebA as TensorFlow Datasets has prepared it; see `tfds_source`.

Only copies that are there already, as ArrayRecord: to prepare one, TFDS needs
TensorFlow, and files from a place that often refuses programs. Pictures have
lost their names in them.
"""

import pathlib
from typing import Any

import numpy as np

from mmjsd_jax.data import tfds_source
from mmjsd_jax.data.celeba_lists import ATTRIBUTES, PARTS
from mmjsd_jax.data.celeba_pictures import Pictures

_NAME = 'celeb_a'
_PATTERN = '*.array_record*'


def locate(root: pathlib.Path) -> pathlib.Path | None:
  """The newest copy under `root` that can be read without TensorFlow."""
  copies = (root / _NAME).glob(f'*/{_PATTERN}')
  return max((path.parent for path in copies), default=None)


def place(root: pathlib.Path) -> str:
  """The pattern of the files that make a copy under `root`."""
  return str(root / _NAME / '*' / _PATTERN)


def read(folder: pathlib.Path) -> Pictures:
  """The pictures of a copy, in its order, called 'train-0' and so on.

  Raises:
    ValueError: the copy is damaged; names it.
    ModuleNotFoundError: a package that TFDS needs is missing.
  """
  tfds = tfds_source.import_tfds('CelebA')
  from tensorflow_datasets.proto import tf_example_pb2

  method = tfds.decode.DeserializeMethod.RAW_BYTES

  def read_builder(builder: Any) -> Pictures:
    sources = [
      builder.as_data_source(part, deserialize_method=method) for part in PARTS
    ]
    lengths = [len(source) for source in sources]
    ends = np.cumsum(lengths).tolist()

    def features(row: int) -> Any:
      part = next(part for part, end in enumerate(ends) if row < end)
      record = sources[part][row - ends[part] + lengths[part]]
      return tf_example_pb2.Example.FromString(record).features.feature

    def attributes(row: int) -> list[int]:
      example = features(row)
      return [
        example[f'attributes/{name}'].int64_list.value[0] for name in ATTRIBUTES
      ]

    def read_picture(row: int) -> bytes:
      return features(row)['image'].bytes_list.value[0]

    has = [attributes(row) for row in range(sum(lengths))]
    return Pictures(
      folder,
      [
        f'{part}-{number}'
        for part, length in zip(PARTS, lengths, strict=True)
        for number in range(length)
      ],
      np.array(has, bool),
      np.repeat(np.arange(len(PARTS), dtype=np.uint8), lengths),
      read_picture,
    )

  return tfds_source.read_copy(tfds, folder, read_builder)[-1]
