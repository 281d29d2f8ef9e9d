"""Text: the papers' alphabet, and words to codes and back."""

import numpy as np
import pytest

from mmjsd_jax.data import text


def test_the_alphabet_is_the_papers():
  # As listed by the programs of mmJSD and MoPoE (alphabet.json).
  assert len(text.ALPHABET) == 71 and len(set(text.ALPHABET)) == 70
  places = {'a': 0, 'z': 25, '0': 26, '9': 35, ',': 37, '*': 55, ' ': 69}
  assert {text.ALPHABET.index(one): n for one, n in places.items()} == {
    n: n for n in places.values()
  }
  assert text.ALPHABET[70] == '\n'
  assert text.BLANK == 69


def test_the_hyphen_is_there_twice_and_the_first_is_taken():
  assert [n for n, c in enumerate(text.ALPHABET) if c == '-'] == [36, 59]
  assert text.encode(['-'], 1).tolist() == [[36]]
  assert text.decode(np.array([[36, 59]])) == ['--']


def test_words_are_left_aligned_and_followed_by_blanks():
  codes = text.encode(['one', ''], 8)
  assert codes.dtype == np.uint8
  assert codes.tolist() == [[14, 13, 4, *[69] * 5], [69] * 8]


def test_the_ten_words_fit_and_come_back():
  codes = text.encode(text.WORDS, 8)
  assert codes.shape == (10, 8) and len(text.WORDS) == 10
  assert tuple(text.decode(codes)) == text.WORDS
  # The last place is always blank, wherever the word starts.
  assert max(map(len, text.WORDS)) < 8


def test_every_character_comes_back():
  inside = f'x{text.ALPHABET}x'
  assert text.decode(text.encode([inside], 73)) == [inside]


def test_decode_drops_blanks_around_a_word_only():
  codes = text.encode(['  o ne  ', 'two\n'], 8)
  assert text.decode(codes) == ['o ne', 'two\n']


@pytest.mark.parametrize(
  ('words', 'length', 'message'),
  [
    (['one', 'Two'], 8, "got 'T' in 'Two'"),
    (['n\u00e4her'], 8, "got '\u00e4' in"),
    (['one', 'three'], 4, "at most 4 characters; got 'three', which has 5"),
    (['one'], 0, 'length of 1 or more; got 0'),
  ],
)
def test_what_has_no_code_is_refused(words, length, message):
  with pytest.raises(ValueError, match=message) as info:
    text.encode(words, length)
  assert '\n' not in str(info.value)


@pytest.mark.parametrize(
  ('codes', 'message'),
  [
    ([[0, 71]], 'codes 0 to 70; got 0 to 71'),
    ([[-1, 5]], 'got -1 to 5'),
    ([0, 1], r'integers \[W, L\]; got int64 \[2\]'),
    ([[0.0]], 'got float64'),
  ],
)
def test_what_is_no_code_is_refused(codes, message):
  with pytest.raises(ValueError, match=message):
    text.decode(np.array(codes))


def test_texts_are_filled_up_with_what_is_asked_for():
  codes = text.encode(['a b'], 5, filler='*')
  assert text.decode(codes) == ['a b**']
  assert text.decode(codes, filler='*') == ['a b']
