"""CelebA for TensorFlow Datasets (TFDS), without TensorFlow; decoded once.

Importing this module makes the name known to TFDS:

    import tensorflow_datasets as tfds
    import mmjsd_jax.data.celeba_builder

    source = tfds.data_source('celeba', split='train')
    source[0]['image']    # uint8 [64, 64, 3]
    source[0]['text']     # uint8 [256], places in mmjsd_jax.data.text.ALPHABET
    source[0]['factors']  # uint8 [40], 1 where the attribute is present

The first call decodes CelebA from $MMJSD_DATA_DIR, as downloaded or as TFDS's
`celeb_a`; nothing is fetched. Later calls, and TFDS in projects without this
package, read what was written, 2.3 GB. CelebA's terms forbid passing it on.
"""

import hashlib
import logging
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mmjsd_jax import files
from mmjsd_jax.data import celeba, prepared
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.data.digits import DATA_DIR_VARIABLE
from mmjsd_jax.data.in_memory_builder import InMemoryBuilder

_log = logging.getLogger(__name__)


class Celeba(InMemoryBuilder):
  """Writes CelebA as ArrayRecord; see the module for how to use it.

  Args:
    directory: where CelebA lies; see `celeba.find`.
    seed: see `celeba.load`.
    test_split: see `celeba.load`.
    **kwargs: `data_dir` and the like, for TFDS.

  Raises:
    ValueError: if the directory holds a set with other options.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  TITLE = 'CelebA'

  def __init__(
    self,
    *,
    directory: str = '',
    seed: int = 0,
    test_split: str = 'test',
    **kwargs: Any,
  ):
    options = {'directory': directory, 'seed': seed, 'test_split': test_split}
    super().__init__(options=options, allow_download=False, **kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    stored = {**celeba.LAYOUT.shapes, 'factors': (len(celeba.FACTORS),)}
    features = {
      # By default TFDS writes each byte as a varint of up to two.
      name: tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding='bytes')
      for name, shape in stored.items()
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description='A face, and the names of its attributes as a text.',
      features=tfds.features.FeaturesDict(features),
      homepage='http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html',
      citation=_CITATION,
      license='Non-commercial research only; not to be passed on.',
      metadata=tfds.core.MetadataDict(),
      disable_shuffling=True,
    )

  def _load(self) -> Dataset:
    return celeba.load(**self._options)

  def _generate_examples(
    self, split: Split, rows: range
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    assert split.factors is not None
    factors = split.factors.astype(np.uint8)
    for row in rows:
      items = {name: items[row] for name, items in split.inputs.items()}
      yield row, {**items, 'factors': factors[row]}


_CITATION = """\
@inproceedings{liu2015faceattributes,
  title={Deep Learning Face Attributes in the Wild},
  author={Liu, Ziwei and Luo, Ping and Wang, Xiaogang and Tang, Xiaoou},
  booktitle={International Conference on Computer Vision},
  year={2015}
}
"""


def load(
  *,
  directory: str = '',
  seed: int = 0,
  test_split: str = 'test',
  in_memory: bool = True,
) -> Dataset:
  """CelebA, which is decoded when it is first seen, and then kept.

  A copy that `directory`, or the one that MMJSD_DATA_DIR names, holds already
  is read. Else one is made from the files there, in `files.cache_dir()`; when
  they change, another. What an interruption leaves of a copy is never read.

  Args:
    directory: see `celeba.find`.
    seed: see `celeba.load`.
    test_split: see `celeba.load`.
    in_memory: False leaves the training split on the disk.

  Raises:
    ValueError: as `celeba.load`; or a copy that is damaged, or in `directory`
      with other options.
    FileNotFoundError: as `celeba.load`.
    DamagedRecord: one of the records that are read is damaged.
  """
  options = {'seed': seed, 'test_split': test_split}
  named = directory or os.environ.get(DATA_DIR_VARIABLE, '')
  root = pathlib.Path(named)
  if not named or not prepared.find(root, celeba.NAME):
    source = celeba.find(directory)
    stamp = hashlib.sha256(f'{options} {_stamp(source)}'.encode()).hexdigest()
    root = files.cache_dir() / celeba.NAME / stamp[:16]
    if not prepared.find(root, celeba.NAME):
      _log.info('decoding CelebA from %s, once: kept in %s', source.place, root)
      _make(root, directory=directory, **options)
  return celeba.load_prepared(root, options=options, in_memory=in_memory)


def _stamp(source: celeba.Source) -> str:
  """Names, sizes and times of the files: another when one of them changes."""
  lines = []
  for path in source.paths:
    entries = sorted(path.iterdir()) if path.is_dir() else [path]
    for entry in entries:
      told = entry.stat()
      lines.append(f'{entry!r} {told.st_size} {told.st_mtime_ns}')
  return '\n'.join(lines)


def _make(root: pathlib.Path, **options: Any) -> None:
  """A whole copy under `root`, or none."""
  for left in (root / celeba.NAME).glob('incomplete.*'):  # by TFDS
    if files.is_abandoned(left):
      shutil.rmtree(left, ignore_errors=True)
  builder = Celeba(data_dir=os.fspath(root), **options)
  try:
    builder.download_and_prepare()
  except OSError:
    if not prepared.find(root, celeba.NAME):  # else another process was faster
      raise
