"""The shape every data set of this package has once it is in memory."""

import hashlib
from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
  """One split; row n of every array belongs to the same tuple.

  Attributes:
    inputs: modality name -> uint8 [N, 28, 28, 3], values 0 to 255.
    labels: int32 [N].
  """

  inputs: dict[str, np.ndarray]
  labels: np.ndarray


class Dataset(NamedTuple):
  """Both splits, and where they came from.

  Attributes:
    name: 'polymnist'.
    modalities: names, in the order of the paper.
    num_classes: labels are in [0, num_classes).
    train: training split.
    test: test split.
    source: one line for a person: where the data came from, and counts.
    substituted: what stands in for the papers' data and why; None if nothing.
    fingerprint: what `fingerprint(train, test)` gives.
  """

  name: str
  modalities: tuple[str, ...]
  num_classes: int
  train: Split
  test: Split
  source: str
  substituted: str | None
  fingerprint: str


def check(dataset: Dataset) -> None:
  """Refuses arrays that training or evaluation could not use.

  Raises:
    ValueError: names the split and the array, what was expected and what was
      got.
  """
  splits = {'train': dataset.train, 'test': dataset.test}
  for name, (inputs, labels) in splits.items():
    _require(
      tuple(inputs) == dataset.modalities,
      f'inputs of the {name} split',
      f'the modalities {dataset.modalities}',
      tuple(inputs),
    )
    _require(
      labels.ndim == 1
      and labels.size > 0
      and np.issubdtype(labels.dtype, np.integer),
      f'labels of the {name} split',
      'integers [N], N at least 1',
      _describe(labels),
    )
    _require(
      0 <= labels.min() <= labels.max() < dataset.num_classes,
      f'labels of the {name} split',
      f'in [0, {dataset.num_classes})',
      f'{labels.min()} to {labels.max()}',
    )
    for modality in dataset.modalities:
      item_shape = dataset.train.inputs[modality].shape[1:]
      _check_array(
        f'{modality} of the {name} split',
        inputs[modality],
        (len(labels), *item_shape),
      )


def _check_array(what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
  _require(
    array.dtype == np.uint8 or np.issubdtype(array.dtype, np.floating),
    what,
    'uint8 or floats',
    _describe(array),
  )
  _require(array.shape == shape, what, f'of shape {shape}', _describe(array))
  if array.dtype != np.uint8:
    finite = np.isfinite(array).reshape(len(array), -1)
    _require(
      bool(finite.all()),
      what,
      'finite',
      f'{np.sum(~finite)} values that are not, the first in example'
      f' {np.argmin(finite.all(axis=1))}',
    )


def _describe(array: np.ndarray) -> str:
  return f'{array.dtype} {array.shape}'


def _require(holds: bool, what: str, expected: str, got: object) -> None:
  if not holds:
    raise ValueError(f'{what} must be {expected}; got {got}')


def fingerprint(train: Split, test: Split) -> str:
  """SHA-256, as 64 hex digits, over names, shapes, dtypes and every value."""
  digest = hashlib.sha256()
  for split in (train, test):
    for name, array in [*sorted(split.inputs.items()), ('label', split.labels)]:
      digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()
