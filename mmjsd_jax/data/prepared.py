"""Reads data sets that this package's TFDS builders prepared."""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from mmjsd_jax.data import tfds_source
from mmjsd_jax.data.dataset import Dataset, Split, fingerprint


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
  root = pathlib.Path(directory).expanduser()
  found = [root, *sorted(root.glob(f'{name}/*'), reverse=True)]
  found = [path for path in found if (path / 'dataset_info.json').is_file()]
  if not found:
    raise FileNotFoundError(
      f'prepared {name} not found; looked for dataset_info.json in {root} and'
      f' {root / name}/*'
    )
  import tensorflow_datasets as tfds

  got, told, splits = tfds_source.read_copy(tfds, found[0], read_fn)
  if got != name:
    raise ValueError(f'{found[0]}: expected {name}; got {got}')
  train, test = splits['train'], splits['test']
  digest = fingerprint(train, test)
  if digest != told.get('fingerprint'):
    raise ValueError(
      f'{found[0]}: expected data with fingerprint {told.get("fingerprint")};'
      f' got {digest}: the copy is damaged'
    )
  return Dataset(
    name=name,
    modalities=modalities,
    num_classes=num_classes,
    train=train,
    test=test,
    source=f'{told.get("source")}; read from {found[0]}',
    substituted=told.get('substituted'),
    fingerprint=digest,
  )
