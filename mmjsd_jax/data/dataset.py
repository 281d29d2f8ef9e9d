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


def fingerprint(train: Split, test: Split) -> str:
  """SHA-256, as 64 hex digits, over names, shapes, dtypes and every value."""
  digest = hashlib.sha256()
  for split in (train, test):
    for name, array in [*sorted(split.inputs.items()), ('label', split.labels)]:
      digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
      digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()
