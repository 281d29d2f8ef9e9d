"""Trained classifiers on disk: .npz, without pickles."""

import logging
import os
import pathlib
import struct
import zipfile
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

# Layer -> {'kernel', 'bias'}, or a layer's layers; and 'batch_stats'.
Params = dict[str, Any]

# What reading a damaged file raises.
_DAMAGED = (
  OSError,
  ValueError,
  KeyError,
  EOFError,
  NotImplementedError,
  struct.error,
  zipfile.BadZipFile,
  zlib.error,
)
_log = logging.getLogger(__name__)


class Classifiers(NamedTuple):
  """One trained classifier per modality.

  Attributes:
    params: modality name -> weights, batch normalisation's running statistics
      among them.
    test_accuracy: modality name -> accuracy on real test data, in [0, 1].
  """

  params: dict[str, Params]
  test_accuracy: dict[str, float]


def write(path: pathlib.Path, classifiers: Classifiers) -> None:
  """Writes a file, whole or not at all; a failure is only a warning."""
  arrays = {
    name: np.asarray(value)
    for name, value in flatten_dict(classifiers.params, sep='/').items()
  }
  for modality, accuracy in classifiers.test_accuracy.items():
    arrays[f'{modality}/test_accuracy'] = np.asarray(accuracy)
  partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with partial.open('wb') as file:
        np.savez(file, allow_pickle=False, **arrays)
      os.replace(partial, path)
    finally:
      partial.unlink(missing_ok=True)
  except OSError as error:
    _log.warning('classifiers are not kept: %s', error)


def read(path: pathlib.Path, shapes: dict[str, Params]) -> Classifiers | None:
  """Classifiers from a file; None, and perhaps a warning, if it has none.

  Args:
    path: of a file that `write` wrote.
    shapes: modality name -> shapes of its weights; a file of others is damaged.
  """
  if not path.is_file():
    return None
  try:
    # Opened here: np.load leaves a file open if it is not an archive.
    with path.open('rb') as file, np.load(file, allow_pickle=False) as arrays:
      params = {
        name: _checked(arrays[name], leaf)
        for name, leaf in flatten_dict(shapes, sep='/').items()
      }
      accuracy = {
        modality: float(arrays[f'{modality}/test_accuracy'])
        for modality in shapes
      }
  except _DAMAGED as error:
    _log.warning('training anew, since %s is damaged: %r', path, error)
    return None
  return Classifiers(unflatten_dict(params, sep='/'), accuracy)


def _checked(array: np.ndarray, leaf: jax.ShapeDtypeStruct) -> jax.Array:
  if array.shape != leaf.shape or array.dtype != leaf.dtype:
    raise ValueError(
      f'expected {leaf.dtype} {leaf.shape}, got {array.dtype} {array.shape}'
    )
  return jnp.asarray(array)
