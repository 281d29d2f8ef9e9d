"""Features of data sets that TFDS prepared, whatever these are.

Copies are read without TensorFlow, and never prepared from here.
"""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mmjsd_jax.data import tfds_source
from mmjsd_jax.data.declaration import TfdsCopy


def read(
  copy: TfdsCopy, keys: Sequence[str], roots: Iterable[pathlib.Path]
) -> tuple[pathlib.Path, dict[str, np.ndarray]]:
  """The folder of a copy, and features of its examples, in their order.

  Args:
    copy: of `parse_tfds`.
    keys: features; 'a/b' is the feature b of a.
    roots: directories of data sets, of which the first that has it counts.

  Returns:
    The folder, and key -> numbers [N, ...], or strings as objects [N].

  Raises:
    FileNotFoundError: no such copy; says how to prepare one.
    ValueError: a copy that is damaged, or lacks a split or feature.
    ModuleNotFoundError: a package is missing that reads copies.
  """
  folder = _find(copy, roots)
  tfds = tfds_source.import_tfds(copy.name)
  _, _, known = tfds_source.read_copy(
    tfds,
    folder,
    lambda builder: {
      'split': list(builder.info.splits),
      'feature': _names(tfds, builder.info.features),
    },
  )
  for what, wanted in (('split', _split_names(copy)), ('feature', keys)):
    for name in wanted:
      if name not in known[what]:
        raise ValueError(
          f'{folder}: expected a {what} {name!r}; got {", ".join(known[what])}'
        )
  _, _, rows = tfds_source.read_copy(
    tfds, folder, lambda builder: _rows(tfds, builder, copy.split, keys)
  )
  return folder, {key: _array(folder, key, rows[key]) for key in keys}


def _find(copy: TfdsCopy, roots: Iterable[pathlib.Path]) -> pathlib.Path:
  """The folder of a version that can be read without TensorFlow."""
  places = [root / copy.name / copy.config for root in roots]
  for place in places:
    found = [
      folder.parent
      for folder in place.glob(f'{copy.version or "*"}/dataset_info.json')
    ]
    if found:
      folder = max(found, key=_version)
      if tfds_source.is_tfrecord(folder):
        raise FileNotFoundError(f'{folder}: {tfds_source.TFRECORD_HINT}')
      return folder
  name = '/'.join(filter(None, (copy.name, copy.config)))
  looked = [f'{place}/{copy.version or "*"}' for place in places]
  raise FileNotFoundError(
    f'{name} as prepared by TFDS is missing; looked for dataset_info.json in'
    f' {" and ".join(looked)}; where TensorFlow is, `tfds build {name}'
    ' --file_format=array_record` prepares it'
  )


def _version(folder: pathlib.Path) -> tuple[int, ...]:
  parts = folder.name.split('.')
  return tuple(int(part) for part in parts if part.isdecimal())


def _split_names(copy: TfdsCopy) -> list[str]:
  """'train' and 'test' of 'train[:80%]+test'."""
  return [part.partition('[')[0].strip() for part in copy.split.split('+')]


def _names(tfds: Any, features: Any) -> list[str]:
  """'a', and 'a/b' of features that have features themselves."""
  names = []
  for name, feature in features.items():
    if isinstance(feature, tfds.features.FeaturesDict):
      names += [f'{name}/{inner}' for inner in _names(tfds, feature)]
    else:
      names.append(name)
  return names


def _rows(
  tfds: Any, builder: Any, split: str, keys: Sequence[str]
) -> dict[str, list[Any]]:
  """Key -> value of every example; images that nobody asked for stay shut."""
  rows: dict[str, list[Any]] = {key: [] for key in keys}
  wanted = {key.partition('/')[0] for key in keys}
  shut = {
    name: tfds.decode.SkipDecoding()
    for name, feature in builder.info.features.items()
    if name not in wanted and isinstance(feature, tfds.features.Image)
  }
  for example in builder.as_data_source(split, decoders=shut):
    for key, values in rows.items():
      value = example
      for name in key.split('/'):
        value = value[name]
      values.append(value)
  return rows


def _array(folder: pathlib.Path, key: str, values: Sequence[Any]) -> np.ndarray:
  if not values:
    raise ValueError(f'{folder}: expected examples in the split; got none')
  if isinstance(values[0], bytes):
    return np.array([value.decode() for value in values], object)
  arrays = [np.asarray(value) for value in values]
  for row, array in enumerate(arrays):
    if array.shape != arrays[0].shape or array.dtype == object:
      raise ValueError(
        f'{folder}: expected {key} of one shape, {arrays[0].dtype}'
        f' {arrays[0].shape}; got {array.dtype} {array.shape} in row {row}'
      )
  return np.stack(arrays)
