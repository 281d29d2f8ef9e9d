"""MNIST-SVHN-Text for TensorFlow Datasets (TFDS), without TensorFlow.

Importing this module makes the name known to TFDS:

    import tensorflow_datasets as tfds
    import mmjsd_jax.data.mnist_svhn_text_builder

    source = tfds.data_source('mnist_svhn_text', split='train')
    source[0]['mnist']  # uint8 [28, 28, 1]
    source[0]['svhn']   # uint8 [32, 32, 3]
    source[0]['word']   # b'zero'
    source[0]['label']  # 0

The first call makes the data set, from MNIST and SVHN in $MMJSD_DATA_DIR, or
TFDS's own copies of them, or else downloads of those; later calls, and TFDS in
projects without this package, read what was written. Examples are in the order
of `mnist_svhn_text.pair`, sorted by digit: shuffle them.

Every example holds its pixels, 3,856 bytes, so the 1,121,360 training triples
of 20 pairings would be 4.3 GB of the same images over and over. The default is
therefore 4 pairings, 0.9 GB, which are the first 4 of the 20. `mnist_row` and
`svhn_row` number the images of a split: examples with the same row have the
same image.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mmjsd_jax.data import mnist_svhn_text, prepared, text
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.data.in_memory_builder import InMemoryBuilder

_SHAPES = {'mnist': (28, 28, 1), 'svhn': (32, 32, 3)}


class MnistSvhnText(InMemoryBuilder):
  """Writes MNIST-SVHN-Text as ArrayRecord; see the module for how to use it.

  There is no embedded set here: its images are neither MNIST's nor SVHN's.

  Args:
    digits: 'mnist', 'idx' or 'tfds'; see `mnist_svhn_text.load`.
    directory: where MNIST and SVHN lie; see `mnist_svhn_text.load`.
    seed: of the pairs.
    num_pairings: see `mnist_svhn_text.pair`.
    pairing: see `mnist_svhn_text.pair`.
    allow_download: whether MNIST and SVHN may be fetched if they are nowhere on
      disk.
    **kwargs: `data_dir` and the like, for TFDS.

  Raises:
    ValueError: if `digits` is another one, or the directory holds a set with
      other options.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  TITLE = 'MNIST-SVHN-Text'

  def __init__(
    self,
    *,
    digits: str = 'mnist',
    directory: str = '',
    seed: int = 0,
    num_pairings: int = 4,
    pairing: str = 'min',
    allow_download: bool = True,
    **kwargs: Any,
  ):
    if digits not in _SOURCES:
      raise ValueError(
        f'expected digits to be one of {", ".join(_SOURCES)}; got {digits!r}'
      )
    options = {
      'digits': digits,
      'directory': directory,
      'seed': seed,
      'num_pairings': num_pairings,
      'pairing': pairing,
    }
    super().__init__(options=options, allow_download=allow_download, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    images = {
      # By default TFDS writes each byte as a varint of up to two.
      name: tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding='bytes')
      for name, shape in _SHAPES.items()
    }
    rows = {
      f'{name}_row': tfds.features.Scalar(dtype=np.int32) for name in _SHAPES
    }
    label = tfds.features.ClassLabel(num_classes=mnist_svhn_text.NUM_CLASSES)
    return tfds.core.DatasetInfo(
      builder=self,
      description=(
        'A handwritten digit, a house number and a word that share a digit.'
      ),
      features=tfds.features.FeaturesDict(
        {**images, 'word': tfds.features.Text(), 'label': label, **rows}
      ),
      homepage='https://github.com/thomassutter/mmjsd',
      citation=_CITATION,
      metadata=tfds.core.MetadataDict(),
      disable_shuffling=True,
    )

  def _load(self) -> Dataset:
    return mnist_svhn_text.load(
      **self._options, allow_download=self._allow_download
    )

  def _generate_examples(
    self, split: Split, rows: range
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    for number in rows:
      label = int(split.labels[number])
      example: dict[str, Any] = {'label': label, 'word': text.WORDS[label]}
      for name in _SHAPES:
        row = int(split.tables[name][number])
        example[f'{name}_row'] = row
        example[name] = split.inputs[name][row]
      yield number, example


_SOURCES = ('mnist', 'idx', 'tfds')
_CITATION = """\
@inproceedings{sutter2020multimodal,
  title={Multimodal Generative Learning Utilizing {Jensen-Shannon}-Divergence},
  author={Sutter, Thomas M. and Daunhawer, Imant and Vogt, Julia E.},
  booktitle={Advances in Neural Information Processing Systems},
  year={2020}
}
"""


def load_prepared(directory: str | os.PathLike[str]) -> Dataset:
  """The set as `MnistSvhnText` prepared it.

  Args:
    directory: root of the data sets (TFDS's `data_dir`), or the folder
      `mnist_svhn_text/1.0.0` in it.

  Returns:
    The data set that `mnist_svhn_text.load` gave when the copy was prepared.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy does not hold what was written into it.
  """
  return prepared.load(
    directory,
    _read,
    name=mnist_svhn_text.NAME,
    modalities=mnist_svhn_text.MODALITIES,
    num_classes=mnist_svhn_text.NUM_CLASSES,
  )


def _read(source: Sequence[Any]) -> Split:
  labels = np.empty(len(source), np.int32)
  tables = {name: np.empty(len(source), np.int32) for name in _SHAPES}
  images: dict[str, dict[int, np.ndarray]] = {name: {} for name in _SHAPES}
  for number, example in enumerate(source):
    labels[number] = example['label']
    for name in _SHAPES:
      row = int(example[f'{name}_row'])
      tables[name][number] = row
      images[name].setdefault(row, example[name])
  inputs = {
    name: np.stack([rows[row] for row in sorted(rows)])
    for name, rows in images.items()
  }
  inputs['text'] = text.encode(text.WORDS, mnist_svhn_text.TEXT_LENGTH)
  return Split(inputs, labels, {**tables, 'text': labels})
