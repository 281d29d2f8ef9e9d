"""The lists of CelebA: attributes, official parts, and pictures of a subset.

As they are published, `.txt`, or as Kaggle has them, `.csv`. Errors name file
and line.

N pictures, A = 40 attributes.
"""

import hashlib
import itertools
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from mmjsd_jax import files

PARTS = ('train', 'validation', 'test')  # in the order of their numbers
ATTRIBUTES = (
  *('5_o_Clock_Shadow', 'Arched_Eyebrows', 'Attractive', 'Bags_Under_Eyes'),
  *('Bald', 'Bangs', 'Big_Lips', 'Big_Nose', 'Black_Hair', 'Blond_Hair'),
  *('Blurry', 'Brown_Hair', 'Bushy_Eyebrows', 'Chubby', 'Double_Chin'),
  *('Eyeglasses', 'Goatee', 'Gray_Hair', 'Heavy_Makeup', 'High_Cheekbones'),
  *('Male', 'Mouth_Slightly_Open', 'Mustache', 'Narrow_Eyes', 'No_Beard'),
  *('Oval_Face', 'Pale_Skin', 'Pointy_Nose', 'Receding_Hairline'),
  *('Rosy_Cheeks', 'Sideburns', 'Smiling', 'Straight_Hair', 'Wavy_Hair'),
  *('Wearing_Earrings', 'Wearing_Hat', 'Wearing_Lipstick'),
  *('Wearing_Necklace', 'Wearing_Necktie', 'Young'),
)
_PART_NUMBERS = tuple(map(str, range(len(PARTS))))
# `_digest` of the lists whose MD5s are those that torchvision checks.
_PUBLISHED = '0b656d4d0da624ec7a8b72bc50af36578ca1a64d61ebe1d427e301072aac5ced'


def read_attributes(path: pathlib.Path) -> tuple[list[str], np.ndarray]:
  """Names of the pictures, N of them, and which of `ATTRIBUTES` they have.

  Returns:
    The names, and bool [N, A].

  Raises:
    ValueError: other attributes, values other than -1 and 1, or another number
      of pictures than the first line says.
  """
  rows = _rows(path)
  is_csv = path.suffix == '.csv'
  count = '' if is_csv else ' '.join(next(rows, (1, []))[1])
  number, header = next(rows, (2, []))
  if (attributes := tuple(header[is_csv:])) != ATTRIBUTES:
    pairs = itertools.zip_longest(ATTRIBUTES, attributes, fillvalue='nothing')
    wanted, got = next(pair for pair in pairs if pair[0] != pair[1])
    raise ValueError(
      f"{path}, line {number}: expected the names of CelebA's"
      f' {len(ATTRIBUTES)} attributes; got {got[:40]} where {wanted} should be'
    )
  ids: list[str] = []
  has = bytearray()
  for number, (name, *values) in rows:
    wrong = [value for value in values if value not in ('-1', '1')]
    if wrong or len(values) != len(ATTRIBUTES):
      got = repr(wrong[0][:40]) if wrong else f'{len(values)} values'
      raise ValueError(
        f'{path}, line {number}: expected a picture and {len(ATTRIBUTES)}'
        f' values, each -1 or 1; got {got}'
      )
    ids.append(name)
    has.extend(value == '1' for value in values)
  if not is_csv and count != str(len(ids)):
    raise ValueError(
      f'{path}, line 1: expected the number of the pictures that follow,'
      f' {len(ids)}; got {count[:40]!r}'
    )
  if len(set(ids)) != len(ids):
    raise ValueError(
      f'{path}: expected a line for each picture; got {len(ids)} lines for'
      f' {len(set(ids))} pictures'
    )
  return ids, np.frombuffer(has, bool).reshape(len(ids), len(ATTRIBUTES))


def read_parts(path: pathlib.Path, ids: Sequence[str]) -> np.ndarray:
  """The part of every picture, an index into `PARTS`. uint8 [N].

  Args:
    path: of the list.
    ids: names of the pictures, in the order that the list should have, too.

  Raises:
    ValueError: other pictures, or parts other than 0, 1 and 2.
  """
  rows = _rows(path)
  if path.suffix == '.csv':
    next(rows, None)
  parts = bytearray()
  for number, fields in rows:
    wanted = ids[len(parts)] if len(parts) < len(ids) else 'no more lines'
    if fields[:1] != [wanted] or fields[1:] not in [[n] for n in _PART_NUMBERS]:
      raise ValueError(
        f'{path}, line {number}: expected {wanted}, in the order of the'
        f' attributes, and 0, 1 or 2; got {" ".join(fields)[:80]!r}'
      )
    parts.append(int(fields[1]))
  if len(parts) != len(ids):
    raise ValueError(
      f'{path}: expected the {len(ids)} pictures that have attributes; got'
      f' {len(parts)}'
    )
  return np.frombuffer(parts, np.uint8)


def read_present(path: pathlib.Path, ids: Sequence[str]) -> np.ndarray:
  """Numbers of the pictures that the list names, rising. Integers [n].

  Args:
    path: of the list; the first word of every line is a picture.
    ids: names of all pictures.

  Raises:
    ValueError: a picture that is not one of them.
  """
  numbers = {name: row for row, name in enumerate(ids)}
  rows = set()
  for number, (name, *_) in _rows(path):
    if name not in numbers:
      raise ValueError(
        f'{path}, line {number}: expected a picture that has attributes; got'
        f' {name[:80]!r}'
      )
    rows.add(numbers[name])
  return np.array(sorted(rows), np.int64)


def line_of(path: pathlib.Path, name: str) -> int:
  """The line of a list, counted from 1, that is about the picture `name`."""
  return next(number for number, (first, *_) in _rows(path) if first == name)


def are_published(
  ids: Sequence[str], has: np.ndarray, parts: np.ndarray
) -> bool:
  """Whether this is what the published lists say, whatever their form."""
  return _digest(ids, has, parts) == _PUBLISHED


def _digest(ids: Sequence[str], has: np.ndarray, parts: np.ndarray) -> str:
  digest = hashlib.sha256('\n'.join(ids).encode())
  digest.update(np.packbits(has).data)
  digest.update(parts.data)
  return digest.hexdigest()


def _rows(path: pathlib.Path) -> Iterator[tuple[int, list[str]]]:
  """Number and fields of every line that is not blank."""
  separator = ',' if path.suffix == '.csv' else None
  # Any byte is a character of Latin-1: what is damaged is found by its line.
  with files.naming(path), open(path, encoding='latin-1') as lines:
    for number, line in enumerate(lines, 1):
      if line := line.strip():
        yield number, line.split(separator)
