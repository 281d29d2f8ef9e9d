"""Bimodal CelebA: a face, and the names of its attributes as a text.

The recipe of mmJSD and MoPoE: the middle of the aligned picture, 64 x 64, and
its attributes in 256 characters (`attribute_text`). Parts are the official
ones.

Differs from the authors' programs, which test on the part that is meant for
validation: here the default is the part that is meant for testing.

There is no class; the 40 attributes are factors, each absent or present.
"""

import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mmjsd_jax.data import (
  attribute_text,
  celeba_files,
  celeba_pictures,
  celeba_tfds,
  prepared,
  tfds_source,
)
from mmjsd_jax.data.celeba_lists import ATTRIBUTES, PARTS
from mmjsd_jax.data.celeba_pictures import Pictures
from mmjsd_jax.data.dataset import Dataset, Factor, Split, fingerprint
from mmjsd_jax.data.digits import DATA_DIR_VARIABLE

NAME = 'celeba'
MODALITIES = ('image', 'text')
TEST_SPLITS = ('test', 'validation')
FACTORS = tuple(Factor(name, ('absent', 'present')) for name in ATTRIBUTES)
NUM_PICTURES = 202_599
LAYOUT = prepared.Layout(
  NAME,
  {
    'image': celeba_pictures.IMAGE_SHAPE,
    'text': (attribute_text.LENGTH,),
  },
  factors=FACTORS,
)


class Source(NamedTuple):
  """CelebA where it was found.

  Attributes:
    place: for messages.
    paths: files, and folders of files, that it is in.
    read_fn: gives what is in them.
  """

  place: pathlib.Path
  paths: Sequence[pathlib.Path]
  read_fn: Callable[[], Pictures]


def find(directory: str = '') -> Source:
  """CelebA as it is downloaded, or else a copy of TensorFlow Datasets.

  It is looked for in `directory` if given, else in the directory that the
  environment variable MMJSD_DATA_DIR names; the copy there, or in the default
  directory of TensorFlow Datasets if none is named.

  Raises:
    FileNotFoundError: it is not there, or not all of it; says where it should
      be.
  """
  named = directory or os.environ.get(DATA_DIR_VARIABLE, '')
  looked = []
  if named:
    if download := celeba_files.locate(named):
      return Source(
        download.folder,
        [path for path in download[1:] if path],
        functools.partial(celeba_files.read, download),
      )
    looked = celeba_files.places(named)
  root = tfds_source.root_of(named)
  if copy := celeba_tfds.locate(root):
    return Source(copy, [copy], functools.partial(celeba_tfds.read, copy))
  where = '' if directory or not named else f' in {DATA_DIR_VARIABLE}={named}'
  raise FileNotFoundError(
    f'CelebA not found{where}; looked for'
    f' {", ".join([*looked, celeba_tfds.place(root)])}; name a directory that'
    ' holds img_align_celeba or img_align_celeba.zip, list_attr_celeba.txt and'
    f' list_eval_partition.txt (or set {DATA_DIR_VARIABLE} to one)'
  )


def load(
  *, directory: str = '', seed: int = 0, test_split: str = 'test'
) -> Dataset:
  """CelebA, decoded: minutes for all of it. `celeba_builder.load` keeps it.

  Args:
    directory: see `find`.
    seed: of the places where texts start.
    test_split: 'test', or 'validation' as the authors'; the other part is left
      out.

  Returns:
    The data set; all of CelebA takes 2.3 GB. Where pictures are missing on
    purpose, `substituted` says that it is a subset.

  Raises:
    ValueError: another `test_split`; a part without pictures; a list or a
      picture that is damaged or does not fit; names file and line.
    FileNotFoundError: CelebA, or a picture of it, is missing.
  """
  if test_split not in TEST_SPLITS:
    raise ValueError(
      f'expected test_split to be one of {", ".join(TEST_SPLITS)}; got'
      f' {test_split!r}'
    )
  source = find(directory)
  pictures = source.read_fn()
  counts = {
    part: int(np.sum(pictures.parts == number))
    for number, part in enumerate(PARTS)
  }
  for part in ('train', test_split):
    if not counts[part]:
      raise ValueError(
        f'{source.place}: expected pictures of the part {part!r}; got none'
      )
  train = _split(pictures, 'train', seed)
  test = _split(pictures, test_split, seed)
  (left_out,) = set(TEST_SPLITS) - {test_split}
  return Dataset(
    name=NAME,
    modalities=MODALITIES,
    num_classes=0,
    train=train,
    test=test,
    source=(
      f'CelebA of {counts["train"]:,} + {counts[test_split]:,} pictures and'
      f' texts (seed {seed}) from {source.place}; tested on its {test_split}'
      f' part; the {counts[left_out]:,} pictures of its {left_out} part are'
      ' left out'
    ),
    substituted=' '.join(
      filter(None, (_subset(len(pictures.ids)), pictures.differs))
    )
    or None,
    fingerprint=fingerprint(train, test),
    factors=FACTORS,
  )


def _split(pictures: Pictures, part: str, seed: int) -> Split:
  rows = np.flatnonzero(pictures.parts == PARTS.index(part))
  has = pictures.has[rows]
  ids = [pictures.ids[row] for row in rows.tolist()]
  return Split(
    {
      'image': celeba_pictures.decode(pictures, rows),
      'text': attribute_text.compose(ATTRIBUTES, has, ids, seed=seed),
    },
    np.full(len(rows), -1, np.int32),
    factors=has.astype(np.int32),
  )


def _subset(count: int) -> str | None:
  if count == NUM_PICTURES:
    return None
  return f'CelebA is a subset: {count:,} of {NUM_PICTURES:,} pictures.'


def load_prepared(
  directory: str | os.PathLike[str],
  *,
  options: Mapping[str, Any],
  in_memory: bool,
) -> Dataset:
  """CelebA as `celeba_builder.Celeba` prepared it.

  Args:
    directory: root of the data sets (TFDS's `data_dir`), or the folder
      `celeba/1.0.0` in it.
    options: of `celeba_builder.Celeba`, which the copy must have.
    in_memory: False leaves the training split on the disk.

  Raises:
    FileNotFoundError: there is no copy.
    ValueError: the copy is damaged, or was prepared with other options.
    DamagedRecord: one of the records that are read is damaged.
  """
  read = prepared.load_records if in_memory else prepared.stream
  return read(directory, LAYOUT, options=options)
