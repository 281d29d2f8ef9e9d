"""Examples as people have them, to arrays that a model takes, and back.

Legend in gaussian.py; N examples are along the first axis. What an item is,
goes by the modality's kind:
  image   uint8, or floats of which 0 is black and 1 is white; NaN is absent;
  text    a string, or integers [L], places in the alphabet;
  vector  numbers; NaN is absent.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy import typing as npt

from mmjsd_jax.data.text import ALPHABET, encode
from mmjsd_jax.modalities import text
from mmjsd_jax.model import Modality


class Format(NamedTuple):
  """What the items of one modality are.

  Attributes:
    name: of the modality.
    kind: 'image', 'text' or 'vector'.
    shape: of one item, of a text (L,).
    alphabet: of a text.
  """

  name: str
  kind: str
  shape: tuple[int, ...]
  alphabet: str = ''

  @property
  def dtype(self) -> type:
    """Of items that are stored."""
    return np.float32 if self.kind == 'vector' else np.uint8

  def __str__(self) -> str:
    shape = ', '.join(map(str, ('N', *self.shape)))
    return {
      'image': f'uint8, or floats from 0 to 1, [{shape}]',
      'text': f'strings [N] of at most {self.shape[0]} characters, or codes'
      f' from 0 to {len(self.alphabet) - 1} as integers [{shape}]',
      'vector': f'numbers [{shape}]',
    }[self.kind]


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


def make_formats(modality_list: Sequence[Modality]) -> tuple[Format, ...]:
  """What items a model takes, by its networks."""

  def make(modality: Modality) -> Format:
    if modality.to_float is text.to_float:
      return Format(modality.name, 'text', modality.shape, ALPHABET)
    kind = 'image' if len(modality.shape) == 3 else 'vector'
    return Format(modality.name, kind, modality.shape)

  return tuple(map(make, modality_list))


def make_examples(
  formats: Sequence[Format],
  inputs: Mapping[str, npt.ArrayLike],
  present: Mapping[str, npt.ArrayLike] | None = None,
) -> Examples:
  """Examples for a model, of whatever is given of them.

  Args:
    formats: of all its modalities.
    inputs: modality name -> B items, see above. An item of NaN alone is absent,
      and so is every item of a modality without an entry.
    present: modality name -> Bool [B], False where the item is absent, whatever
      it holds.

  Raises:
    ValueError: names the modality, what was expected and what was got.
  """
  known = tuple(form.name for form in formats)
  for name in (*inputs, *(present or {})):
    if name not in known:
      raise ValueError(f'modalities must be some of {known}; got {name!r}')
  given = {name: np.asarray(x) for name, x in inputs.items()}
  num_examples = _num_examples(given, known)
  arrays, masks = {}, []
  for form in formats:
    x = given.get(form.name)
    if x is None:
      shape = (num_examples, *form.shape)
      x, mask = np.zeros(shape, form.dtype), np.zeros(num_examples, bool)
    else:
      mask = _mask(form.name, present or {}, num_examples)
      x, mask = _MAKERS[form.kind](form, x, mask)
    arrays[form.name] = x
    masks.append(mask)
  return Examples(arrays, np.stack(masks))


def as_stored(form: Format, decoded: np.ndarray) -> np.ndarray:
  """What a decoder returns, as items that can be given again.

  Images are rounded to uint8; of texts the likeliest characters are taken, as
  strings, with the blanks in front; vectors stay as they are.

  Args:
    form: of the modality.
    decoded: Shape [..., *shape], of texts [..., L, symbols].
  """
  if form.kind == 'image':
    return np.rint(np.clip(decoded, 0, 1) * 255).astype(np.uint8)
  if form.kind == 'text':
    characters = np.array(list(form.alphabet))[decoded.argmax(-1)]
    length = characters.shape[-1]
    words = np.ascontiguousarray(characters).view(f'<U{length}')[..., 0]
    return np.strings.rstrip(words, ' ')
  return decoded


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


def _texts(
  form: Format, x: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  if x.dtype.kind in 'US' and x.ndim == 1:
    words = np.where(mask, x.astype(str), '')
    try:
      return encode(words.tolist(), form.shape[0]), mask
    except ValueError as error:
      raise ValueError(f'{form.name}: {error}') from None
  _require(form, x, np.issubdtype(x.dtype, np.integer))
  x = _where(mask, x)
  least, most = x.min(), x.max()
  if not 0 <= least <= most < len(form.alphabet):
    raise ValueError(f'{form.name} must be {form}; got {least} to {most}')
  return x.astype(np.uint8), mask


def _images(
  form: Format, x: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  _require(form, x, x.dtype == np.uint8 or np.issubdtype(x.dtype, np.floating))
  if x.dtype == np.uint8:
    return _where(mask, x), mask
  x, mask = _floats(form, x, mask)
  least, most = x.min(), x.max()
  if not 0 <= least <= most <= 1:
    raise ValueError(
      f'{form.name} must be {form}; got floats from {least:g} to {most:g}'
    )
  return x, mask


def _vectors(
  form: Format, x: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  is_number = x.dtype == bool or np.issubdtype(x.dtype, np.integer)
  _require(form, x, is_number or np.issubdtype(x.dtype, np.floating))
  return _floats(form, x, mask)


_MAKERS = {'text': _texts, 'image': _images, 'vector': _vectors}


def _floats(
  form: Format, x: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """float32, zero where absent, and which items are there."""
  x = x.astype(np.float32)
  mask = mask & ~np.isnan(x).reshape(len(x), -1).all(axis=1)
  x = _where(mask, x)
  finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
  if not finite.all():
    raise ValueError(
      f'{form.name} must be finite, or NaN in the whole of an example; got '
      f'another value in example {np.argmin(finite)}'
    )
  return x, mask


def _where(mask: np.ndarray, x: np.ndarray) -> np.ndarray:
  """x, zero where absent."""
  if mask.all():
    return x
  return np.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, x.dtype.type(0))


def _require(form: Format, x: np.ndarray, is_of_dtype: bool) -> None:
  if not is_of_dtype or x.shape[1:] != form.shape:
    raise ValueError(
      f'{form.name} must be {form}; got {x.dtype} {list(x.shape)}'
    )
