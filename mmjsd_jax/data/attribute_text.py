"""Texts that name attributes: CelebA's, as mmJSD and MoPoE have them.

The recipe of the authors' programs: the names of the attributes that a picture
has, in the order of the list, lower case, '_' as a blank, with ', ' between
them; left out from the end while there are more than 256 characters; the rest
of the 256 is '*', before and behind.

Differs from the authors' program, which draws where a text starts without a
seed: here that follows from the seed and the picture's name, so that a picture
has the same text in every subset.

N pictures, A attributes.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from mmjsd_jax.data import text

LENGTH = 256  # characters; mmJSD, App. C
FILLER = '*'


def compose(
  names: Sequence[str], has: np.ndarray, ids: Sequence[str], *, seed: int
) -> np.ndarray:
  """Codes of the pictures' texts, each somewhere among fillers.

  A text of n < 255 characters starts at one of the first 256 - n places, all
  equally likely, so that the last character is a filler.

  Args:
    names: of the attributes, A of them.
    has: which of them every picture has. Bool [N, A].
    ids: of the pictures, N of them.
    seed: of the starts.

  Returns:
    Places in `text.ALPHABET`. uint8 [N, 256].

  Raises:
    ValueError: a name with other characters, or of more than 256.
  """
  words = [name.lower().replace('_', ' ') for name in names]
  text.encode(words, LENGTH)
  placed = ''.join(
    _place(_sentence(words, row), f'{seed} {name}')
    for row, name in zip(has.tolist(), ids, strict=True)
  )
  codes = np.zeros(128, np.uint8)
  # Backwards: of a character that is there twice the first place is taken.
  codes[[ord(character) for character in reversed(text.ALPHABET)]] = range(
    len(text.ALPHABET) - 1, -1, -1
  )
  return codes[np.frombuffer(placed.encode(), np.uint8)].reshape(-1, LENGTH)


def _sentence(words: Sequence[str], row: Sequence[bool]) -> str:
  chosen = [word for word, is_there in zip(words, row, strict=True) if is_there]
  while len(sentence := ', '.join(chosen)) > LENGTH:
    chosen.pop()
  return sentence


def _place(sentence: str, drawn_from: str) -> str:
  digest = hashlib.blake2b(drawn_from.encode(), digest_size=8).digest()
  num_starts = max(LENGTH - len(sentence), 1)
  start = int.from_bytes(digest) % num_starts
  return (FILLER * start + sentence).ljust(LENGTH, FILLER)
