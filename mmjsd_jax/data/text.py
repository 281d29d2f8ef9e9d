"""Text as codes of characters: the alphabet of the papers, and the ten words.

W words, L characters to a word.

The alphabet is that of the programs of Sutter et al. 2020 (mmJSD) and 2021
(MoPoE): 71 characters, of which '-' is there twice and so 70 are different. A
look-up gives the first, 36, so that no text has code 59; networks are 71 wide
all the same.
"""

import string
from collections.abc import Sequence

import numpy as np

ALPHABET = (
  string.ascii_lowercase
  + string.digits
  + '-,;.!?:\'"\\/|_@#$%^&*~`+-=<>()[]{} \n'
)
BLANK = ALPHABET.index(' ')
WORDS = (
  *('zero', 'one', 'two', 'three', 'four'),
  *('five', 'six', 'seven', 'eight', 'nine'),
)


def encode(
  words: Sequence[str],
  length: int,
  alphabet: str = ALPHABET,
  *,
  filler: str = ' ',
) -> np.ndarray:
  """Codes of words, each from the left and followed by blanks or a filler.

  Differs from the papers' programs, which leave a character that is not in the
  alphabet without a code, and which place a word when they encode it.

  Args:
    words: W words of at most `length` characters, all in `alphabet`.
    length: L, at least 1.
    alphabet: at most 256 characters, `filler` among them.
    filler: the character that follows a word to the end.

  Returns:
    Places in `alphabet`. uint8 [W, L].

  Raises:
    ValueError: names the first word that is too long or has other characters.
  """
  if length < 1:
    raise ValueError(f'expected a length of 1 or more; got {length}')
  codes = np.full((len(words), length), alphabet.index(filler), np.uint8)
  for row, word in enumerate(words):
    if len(word) > length:
      raise ValueError(
        f'expected words of at most {length} characters; got {word!r}, which'
        f' has {len(word)}'
      )
    for column, character in enumerate(word):
      code = alphabet.find(character)
      if code < 0:
        raise ValueError(
          f'expected characters of the alphabet {alphabet!r}; got'
          f' {character!r} in {word!r}'
        )
      codes[row, column] = code
  return codes


def decode(
  codes: np.ndarray, alphabet: str = ALPHABET, *, filler: str = ' '
) -> list[str]:
  """The words that codes spell, without the blanks or fillers around them.

  Args:
    codes: places in `alphabet`. Integers [W, L].
    alphabet: that of `encode`.
    filler: that of `encode`.

  Returns:
    W words; fillers within a word stay.

  Raises:
    ValueError: if `codes` is anything else.
  """
  codes = np.asarray(codes)
  if codes.ndim != 2 or not np.issubdtype(codes.dtype, np.integer):
    raise ValueError(
      f'expected codes as integers [W, L]; got {codes.dtype}'
      f' {list(codes.shape)}'
    )
  if codes.size and not 0 <= codes.min() <= codes.max() < len(alphabet):
    raise ValueError(
      f'expected codes 0 to {len(alphabet) - 1}; got {codes.min()} to'
      f' {codes.max()}'
    )
  return [
    ''.join(alphabet[code] for code in row).strip(filler)
    for row in codes.tolist()
  ]
