"""Examples as people have them, to arrays that a model takes, and back.

Legend in gaussian.py; N examples are along the first axis. Items are what
`data.preparation` takes, by the kind of their modality, besides
  image   float images of NaN alone are absent;
  text    places in the alphabet, integers [N, L], serve as well as strings, of
          which those that are empty, None or NaN are absent;
  vector  rows of NaN alone are absent.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy import typing as npt

from mmjsd_jax.data.declaration import ModalitySpec
from mmjsd_jax.data.preparation import as_array, has_text, prepare, restore
from mmjsd_jax.data.text import ALPHABET
from mmjsd_jax.modalities import text
from mmjsd_jax.model import Modality


class Examples(NamedTuple):
  """B examples, some modalities of which may be absent.

  Attributes:
    inputs: every modality's name -> as stored, zero where absent. [B, ...].
    present: Bool, shape [M, B].
  """

  inputs: dict[str, np.ndarray]
  present: np.ndarray

  @property
  def num_examples(self) -> int:
    """B."""
    return self.present.shape[1]

  def take(self, rows: np.ndarray) -> 'Examples':
    """The examples `rows`."""
    inputs = {name: x[rows] for name, x in self.inputs.items()}
    return Examples(inputs, self.present[:, rows])


def make_specs(modality_list: Sequence[Modality]) -> tuple[ModalitySpec, ...]:
  """What the items of a model on one of this package's data sets are."""

  def make(modality: Modality) -> ModalitySpec:
    name, shape = modality.name, modality.shape
    if modality.to_float is text.to_float:
      return ModalitySpec(
        name,
        'text',
        alphabet=ALPHABET,
        length=shape[0],
        filler=modality.filler,
        shape=shape,
      )
    return ModalitySpec(
      name, 'image' if len(shape) == 3 else 'vector', shape=shape
    )

  return tuple(map(make, modality_list))


def make_examples(
  specs: Sequence[ModalitySpec],
  inputs: Mapping[str, npt.ArrayLike],
  present: Mapping[str, npt.ArrayLike] | None = None,
) -> Examples:
  """Examples for a model, of whatever is given of them.

  Args:
    specs: of all its modalities.
    inputs: modality name -> B items, see above; every item of a modality
      without an entry is absent.
    present: modality name -> Bool [B], False where the item is absent, whatever
      it holds.

  Raises:
    ValueError: names the modality, what was expected and what was got.
  """
  known = tuple(spec.name for spec in specs)
  for name in (*inputs, *(present or {})):
    if name not in known:
      raise ValueError(f'modalities must be some of {known}; got {name!r}')
  given = {name: as_array(x) for name, x in inputs.items()}
  num_examples = _num_examples(given, known)
  arrays, masks = {}, []
  for spec in specs:
    mask = np.zeros(num_examples, bool)
    dtype: npt.DTypeLike = np.float32 if spec.kind == 'vector' else np.uint8
    if spec.name in given:
      x = given[spec.name]
      mask = _mask(spec.name, present or {}, num_examples)
      mask = mask & _is_there(spec, x, mask)
      items = _prepared(spec, x[mask])
      dtype = items.dtype
    arrays[spec.name] = np.zeros((num_examples, *spec.shape), dtype)
    if spec.name in given:
      arrays[spec.name][mask] = items
    masks.append(mask)
  return Examples(arrays, np.stack(masks))


def as_given(spec: ModalitySpec, decoded: np.ndarray) -> np.ndarray:
  """What a decoder returns, as items that can be given again.

  Args:
    spec: of the modality.
    decoded: as of `preparation.restore`.

  Returns:
    uint8 images, strings, or vectors in the user's units. Shape [..., *shape],
    of strings [...].
  """
  items = restore(spec, decoded)
  if spec.kind == 'image':
    return np.rint(np.clip(items, 0, 1) * 255).astype(np.uint8)
  # As wide as the longest text can be: arrays of all examples are alike.
  return items.astype(f'<U{spec.length}' if spec.kind == 'text' else np.float32)


def _num_examples(given: dict[str, np.ndarray], known: tuple[str, ...]) -> int:
  if not given:
    raise ValueError(f'need inputs of at least one of {known}; got none')
  sizes = {name: x.shape[:1] for name, x in given.items()}
  first = next(iter(sizes.values()))
  if first in ((), (0,)) or set(sizes.values()) != {first}:
    shapes = {name: x.shape for name, x in given.items()}
    raise ValueError(
      f'inputs must have the same number of examples, at least 1; got {shapes}'
    )
  return first[0]


def _mask(
  name: str, present: Mapping[str, npt.ArrayLike], num_examples: int
) -> np.ndarray:
  mask = np.asarray(present.get(name, np.ones(num_examples, bool)))
  if mask.dtype != bool or mask.shape != (num_examples,):
    raise ValueError(
      f'present of {name} must be bool [{num_examples}]; got {mask.dtype} '
      f'{list(mask.shape)}'
    )
  return mask


def _is_there(
  spec: ModalitySpec, x: np.ndarray, mask: np.ndarray
) -> np.ndarray:
  """Which items are neither NaN nor, of strings, empty. Bool [N]."""
  if spec.kind == 'text' and x.ndim == 1 and x.dtype.kind in 'UO':
    return has_text(x)
  if not np.issubdtype(x.dtype, np.floating) or x.ndim == 1:
    return np.ones(len(x), bool)
  is_nan = np.isnan(x).reshape(len(x), -1)
  is_part = mask & is_nan.any(axis=1) & ~is_nan.all(axis=1)
  if is_part.any():
    row = int(np.argmax(is_part))
    raise ValueError(
      f'{spec.name} must be NaN in a whole row or nowhere in it; got'
      f' {np.sum(is_part)} of {len(x)} rows that are in part, the first row'
      f' {row}, at place {np.argmax(is_nan[row])}'
    )
  return ~is_nan.all(axis=1)


def _prepared(spec: ModalitySpec, x: np.ndarray) -> np.ndarray:
  if spec.kind != 'text':
    return prepare(spec, x)
  if x.ndim == 1 and x.dtype.kind in 'USO':
    return prepare(spec, x.astype(str))
  most = len(spec.alphabet) - 1
  if x.shape[1:] != spec.shape or not np.issubdtype(x.dtype, np.integer):
    raise ValueError(
      f'{spec.name} must be strings [N], or codes from 0 to {most} as integers '
      f'[N, {spec.length}]; got {x.dtype} {list(x.shape)}'
    )
  if x.size and not 0 <= x.min() <= x.max() <= most:
    raise ValueError(
      f'{spec.name} must be codes from 0 to {most}; got {x.min()} to {x.max()}'
    )
  return x.astype(np.uint8)
