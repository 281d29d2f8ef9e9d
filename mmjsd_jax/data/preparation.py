"""From values as users have them to what models take, and back.

Vectors are standardised by the training part, and stay so: their likelihoods
are densities of the standardised values. `log_scale_sum` brings these back to
the users' units.

N examples, C columns, L characters.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy import typing as npt

from mmjsd_jax.data import text
from mmjsd_jax.data.declaration import ModalitySpec


def complete(
  spec: ModalitySpec, values: np.ndarray, in_train: np.ndarray
) -> ModalitySpec:
  """The specification with what is found in the data, and its defaults.

  Sums are rounded once, so that every machine finds the same mean and standard
  deviation to the bit.

  Args:
    spec: of the modality.
    values: of the examples that have it. Shape [N, ...].
    in_train: which of them are in the training part, one at least. Bool [N].

  Raises:
    ValueError: values that are not of this kind; names the modality.
  """
  spec = spec.with_defaults()
  if spec.kind == 'text':
    words = [str(word) for word in values]
    alphabet = spec.alphabet or _alphabet(words, spec.filler)
    length = spec.length or max(1, *map(len, words))
    if len(alphabet) > 256:
      raise ValueError(
        f'{spec.name} must have at most 256 different characters; got'
        f' {len(alphabet)}'
      )
    return spec._replace(alphabet=alphabet, length=length, shape=(length,))
  _check_numbers(spec, values)
  if spec.kind == 'image':
    height, width, *channels = values.shape[1:]
    return spec._replace(shape=(height, width, *(channels or [1])))
  spec = spec._replace(shape=values.shape[1:])
  if not spec.standardise or spec.likelihood == 'bernoulli':
    return spec
  mean, std = zip(*map(_mean_and_std, values[in_train].T), strict=True)
  return spec._replace(mean=mean, std=std)


def as_array(values: npt.ArrayLike) -> np.ndarray:
  """What a user gives as an array, in which NaN and None are not strings."""
  array = np.asarray(values)
  if array.dtype.kind == 'U' and not isinstance(values, np.ndarray):
    return np.asarray(values, object)
  return array


def has_text(values: np.ndarray) -> np.ndarray:
  """Which of N are strings, and not empty. Bool [N]."""
  return np.array(
    [isinstance(x, str) and x != '' for x in values.tolist()], bool
  )


def prepare(spec: ModalitySpec, values: np.ndarray) -> np.ndarray:
  """Values as models take them, from those of a user.

  Args:
    spec: of the modality, completed.
    values: vectors [N, C] of numbers; images [N, height, width, channels], or
      [N, height, width] of one channel, uint8 or floats in [0, 1]; or N texts.

  Returns:
    float32 [N, C]; images as they came, floats as float32; uint8 [N, L].

  Raises:
    ValueError: values of another shape or kind; names the modality.
  """
  if spec.kind == 'text':
    try:
      return text.encode(
        [str(word) for word in values],
        spec.length,
        spec.alphabet,
        filler=spec.filler,
      )
    except ValueError as error:
      raise ValueError(f'{spec.name}: {error}') from None
  values = np.asarray(values)
  _check_numbers(spec, values)
  if spec.kind == 'image' and values.ndim == 3:
    values = values[..., None]
  if values.shape[1:] != spec.shape:
    raise ValueError(
      f'{spec.name} must have shape [N, {_listed(spec.shape)}]; got'
      f' [{_listed(values.shape)}]'
    )
  if spec.kind == 'image':
    if values.dtype != np.uint8:
      values = values.astype(np.float32)
  else:
    values = values.astype(np.float64)
    if spec.mean:
      values = (values - np.array(spec.mean)) / np.array(spec.std)
    with np.errstate(over='ignore'):  # refused below
      values = values.astype(np.float32)
  if not np.isfinite(values).all():
    raise ValueError(f'{spec.name} must be within the range of float32')
  return values


def undo(spec: ModalitySpec, prepared: np.ndarray) -> np.ndarray:
  """What `prepare` was given, from what it gave: images are as they are."""
  if spec.kind == 'text':
    codes = prepared.reshape(-1, spec.length)
    words = text.decode(codes, spec.alphabet, filler=spec.filler)
    return np.array(words).reshape(prepared.shape[:-1])
  if spec.mean:
    return prepared * np.array(spec.std) + np.array(spec.mean)
  return prepared


def restore(spec: ModalitySpec, decoded: np.ndarray) -> np.ndarray:
  """What a model decodes, in the units of the user.

  Args:
    spec: of the modality, completed.
    decoded: of `Model.decode`: means [..., *shape], of texts scores
      [..., L, characters].

  Returns:
    Means of vectors and images, [..., *shape]; the likeliest texts, as strings,
    [...].
  """
  decoded = np.asarray(decoded)
  if spec.kind == 'text':
    decoded = np.argmax(decoded, axis=-1)
  return undo(spec, decoded)


def log_scale_sum(spec: ModalitySpec) -> float:
  """Sum of the logs of a vector's standard deviations, in nats.

  log p of a row in the user's units is log p of the standardised row less this.
  0 where nothing was standardised.
  """
  return math.fsum(map(math.log, spec.std))


def _alphabet(words: Sequence[str], filler: str) -> str:
  """The papers' where it is enough: figures are written in that."""
  characters = {filler, *''.join(words)}
  if characters <= set(text.ALPHABET):
    return text.ALPHABET
  return ''.join(sorted(characters))


def _mean_and_std(column: np.ndarray) -> tuple[float, float]:
  """Of numbers [N]; a constant column has a standard deviation of 1."""
  numbers = column.astype(np.float64)
  if numbers.min() == numbers.max():
    return float(numbers[0]), 1.0
  mean = math.fsum(numbers.tolist()) / len(numbers)
  squares = np.square(numbers - mean)
  return mean, math.sqrt(math.fsum(squares.tolist()) / len(numbers))


def _check_numbers(spec: ModalitySpec, values: np.ndarray) -> None:
  is_uint8 = values.dtype == np.uint8
  is_float = np.issubdtype(values.dtype, np.floating)
  if spec.kind == 'image':
    expected = 'uint8 or floats [N, height, width] or [.., channels]'
    holds = (is_uint8 or is_float) and values.ndim in (3, 4)
  else:
    expected = 'numbers [N, columns]'
    is_number = is_float or np.issubdtype(values.dtype, np.integer)
    holds = (is_number or values.dtype == bool) and values.ndim == 2
  if not holds or 0 in values.shape[1:]:
    raise ValueError(
      f'{spec.name} must be {expected}; got {values.dtype} {values.shape}'
    )
  if spec.kind == 'image':
    what, in_unit = 'an image of floats', not is_uint8
  else:
    what, in_unit = 'bernoulli', spec.likelihood == 'bernoulli'
  if in_unit and values.size and not 0 <= values.min() <= values.max() <= 1:
    raise ValueError(
      f'{spec.name} must be in [0, 1] to be {what}; got {values.min()} to'
      f' {values.max()}'
    )


def _listed(shape: Sequence[int]) -> str:
  return ', '.join(map(str, shape))
