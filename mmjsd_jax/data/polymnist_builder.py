"""PolyMNIST for TensorFlow Datasets (TFDS), without TensorFlow.

Importing this module makes the name known to TFDS:

    import tensorflow_datasets as tfds
    import mmjsd_jax.data.polymnist_builder

    source = tfds.data_source('polymnist', split='train')
    source[0]['m0']     # uint8 [28, 28, 3]
    source[0]['label']  # 0

The first call makes the data set, from MNIST in $MMJSD_DATA_DIR, or TFDS's own
copy of MNIST, or else a download of that; later calls, and TFDS in projects
without this package, read what was written. Examples are in the order of
`polymnist.make_tuples`, sorted by digit: shuffle them.

Options go through `builder_kwargs`; what they mean is said by `Polymnist`:

    tfds.data_source('polymnist', data_dir='/data', builder_kwargs=dict(
        directory='/data/mnist', backgrounds=('/data/pictures',), seed=1))
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mmjsd_jax.data import polymnist
from mmjsd_jax.data.dataset import Dataset, Split, Streamed
from mmjsd_jax.data.in_memory_builder import InMemoryBuilder


class Polymnist(InMemoryBuilder):
  """Writes PolyMNIST as ArrayRecord; see the module for how to use it.

  Args:
    digits: see `digits.find_digits`. By default MNIST or an error.
    directory: where MNIST lies; see `digits.find_digits`.
    backgrounds: five files or one folder; see `backgrounds.find_backgrounds`.
    seed: of the permutations and crops.
    num_repeats: see `polymnist.load`.
    allow_download: whether MNIST may be fetched if it is nowhere on disk.
    **kwargs: `data_dir` and the like, for TFDS.

  Raises:
    ValueError: if the directory holds PolyMNIST with other options.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  TITLE = 'PolyMNIST'

  def __init__(
    self,
    *,
    digits: str = 'mnist',
    directory: str = '',
    backgrounds: Sequence[str] | str = (),
    seed: int = 0,
    num_repeats: int = 1,
    allow_download: bool = True,
    **kwargs: Any,
  ):
    if isinstance(backgrounds, str):
      backgrounds = [backgrounds]
    options = {
      'digits': digits,
      'directory': directory,
      'backgrounds': list(backgrounds),
      'seed': seed,
      'num_repeats': num_repeats,
    }
    super().__init__(options=options, allow_download=allow_download, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    image = {
      name: tfds.features.Tensor(
        # By default TFDS writes each byte as a varint of up to two.
        shape=(28, 28, 3),
        dtype=np.uint8,
        encoding='bytes',
      )
      for name in polymnist.MODALITIES
    }
    label = tfds.features.ClassLabel(num_classes=polymnist.NUM_CLASSES)
    return tfds.core.DatasetInfo(
      builder=self,
      description=(
        'Five images that share a digit, each on a crop of a background of its'
        ' own, inverted where the digit is.'
      ),
      features=tfds.features.FeaturesDict({**image, 'label': label}),
      homepage='https://github.com/thomassutter/MoPoE',
      citation=_CITATION,
      metadata=tfds.core.MetadataDict(),
      disable_shuffling=True,
    )

  def _load(self) -> Dataset:
    backgrounds = tuple(self._options['backgrounds'])
    options = self._options | {'backgrounds': backgrounds}
    return polymnist.load(
      **options, allow_download=self._allow_download, in_memory=False
    )

  def _generate_examples(
    self, split: Split | Streamed, rows: range
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    tuples = split.take(np.arange(rows.start, rows.stop))
    for index, row in enumerate(rows):
      example = {name: items[index] for name, items in tuples.inputs.items()}
      yield row, {**example, 'label': int(tuples.labels[index])}


_CITATION = """\
@inproceedings{sutter2021generalized,
  title={Generalized Multimodal {ELBO}},
  author={Sutter, Thomas M. and Daunhawer, Imant and Vogt, Julia E.},
  booktitle={International Conference on Learning Representations},
  year={2021}
}
"""
