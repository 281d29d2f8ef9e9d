"""Reads data sets that this package's TFDS builders prepared."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from mmjsd_jax.data import tfds_source
from mmjsd_jax.data.dataset import (
  Dataset,
  Split,
  Streamed,
  fingerprint,
  sample,
)
from mmjsd_jax.data.records import Records

_Read = TypeVar('_Read')


def load(
  directory: str | os.PathLike[str],
  read_fn: Callable[[Sequence[Any]], Split],
  *,
  name: str,
  modalities: tuple[str, ...],
  num_classes: int,
) -> Dataset:
  """The data set that a builder wrote, checked against what it wrote.

  Args:
    directory: root of the data sets (TFDS's `data_dir`), or the folder
      `<name>/<version>` in it.
    read_fn: TFDS's examples to a split.
    name: of the data set.
    modalities: of the data set.
    num_classes: of the data set.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy does not hold what was written into it.
  """
  folder, told, (train, test) = _read_copy(
    directory,
    name,
    lambda builder: tuple(
      read_fn(builder.as_data_source(split)) for split in ('train', 'test')
    ),
  )
  digest = fingerprint(train, test)
  if digest != told.get('fingerprint'):
    raise ValueError(
      f'{folder}: expected data with fingerprint {told.get("fingerprint")};'
      f' got {digest}: the copy is damaged'
    )
  return Dataset(
    name=name,
    modalities=modalities,
    num_classes=num_classes,
    train=train,
    test=test,
    source=f'{told.get("source")}; read from {folder}',
    substituted=told.get('substituted'),
    fingerprint=digest,
  )


def stream(
  directory: str | os.PathLike[str],
  read_fn: Callable[[Sequence[Any]], Split],
  *,
  name: str,
  modalities: tuple[str, ...],
  num_classes: int,
  shape: tuple[int, ...],
  options: Mapping[str, Any],
) -> Dataset:
  """The same, whose training split stays on the disk.

  The test split is read whole. Of the training split it is checked that every
  file has the records that it should; each of them is checked against its hash
  when it is read.

  Args:
    directory: see `load`.
    read_fn: see `load`.
    name: see `load`.
    modalities: see `load`; each an image, and every example has its own.
    num_classes: see `load`.
    shape: of an image of any modality.
    options: some of those that the builder must have had.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy is damaged, or was prepared with other options.
    DamagedRecord: if one of the first records that are read is.
  """
  folder, told, (streamed, test) = _read_copy(
    directory,
    name,
    lambda builder: (
      _open(builder, dict.fromkeys(modalities, shape)),
      read_fn(builder.as_data_source('test')),
    ),
  )
  prepared = dict(told.get('options') or {})
  prepared = {key: prepared.get(key) for key in options}
  if prepared != options:
    raise ValueError(
      f'{folder}: expected {name} prepared with {dict(options)}; got one'
      f' prepared with {prepared}'
    )
  digest = told.get('fingerprint')
  if not isinstance(digest, str):
    raise ValueError(
      f'{folder}: expected a fingerprint of the data in metadata.json; got'
      f' {digest!r}'
    )
  return Dataset(
    name=name,
    modalities=modalities,
    num_classes=num_classes,
    train=sample(streamed),
    test=test,
    source=f'{told.get("source")}; streamed from {folder}',
    substituted=told.get('substituted'),
    fingerprint=digest,
    streamed=streamed,
  )


def _open(builder: Any, shapes: dict[str, tuple[int, ...]]) -> Streamed:
  info = builder.info.splits['train']
  records = Records(
    [os.fspath(path) for path in info.filepaths],
    info.shard_lengths,
    shapes,
  )
  return Streamed(records, tuple(shapes), np.arange(len(records)))


def _read_copy(
  directory: str | os.PathLike[str], name: str, read_fn: Callable[[Any], _Read]
) -> tuple[pathlib.Path, dict[str, Any], _Read]:
  """Folder and metadata of the copy of `name`, and what is read of it."""
  root = pathlib.Path(directory).expanduser()
  found = [root, *sorted(root.glob(f'{name}/*'), reverse=True)]
  found = [path for path in found if (path / 'dataset_info.json').is_file()]
  if not found:
    raise FileNotFoundError(
      f'prepared {name} not found; looked for dataset_info.json in {root} and'
      f' {root / name}/*; mmjsd_jax.data.{name}_builder prepares one'
    )
  import tensorflow_datasets as tfds

  got, told, read = tfds_source.read_copy(tfds, found[0], read_fn)
  if got != name:
    raise ValueError(f'{found[0]}: expected {name}; got {got}')
  return found[0], told, read
