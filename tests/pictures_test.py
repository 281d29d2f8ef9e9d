"""RGB pictures of images and of texts."""

import numpy as np
import pytest

from mmjsd_jax import pictures
from mmjsd_jax.data import text

LENGTH = 8


def _one_hot(codes: np.ndarray) -> np.ndarray:
  return np.eye(len(text.ALPHABET), dtype=np.float32)[codes]


def test_rgb_stays_as_it_is():
  images = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 6, 3), np.uint8)
  np.testing.assert_array_equal(pictures.to_pixels(images, num_axes=2), images)


def test_grey_becomes_three_equal_channels():
  images = np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 4, 6, 1)
  pixels = pictures.to_pixels(images, num_axes=1)
  assert pixels.shape == (1, 4, 6, 3) and pixels.dtype == np.uint8
  for channel in range(3):
    np.testing.assert_array_equal(
      pixels[..., channel], np.rint(images[..., 0] * 255)
    )


@pytest.mark.parametrize('scale', [1, 2, 3])
def test_a_text_has_the_size_that_is_told(scale: int):
  codes = text.encode(text.WORDS, LENGTH).reshape(2, 5, LENGTH)
  pixels = pictures.to_pixels(codes, num_axes=2, scale=scale)
  assert pixels.shape == (2, 5, 14 * scale, (4 * LENGTH + 2) * scale, 3)


def test_codes_one_hot_and_logits_are_the_same_text():
  codes = text.encode(text.WORDS, LENGTH)
  noise = np.random.default_rng(0).uniform(0, 0.9, (10, LENGTH, 71))
  expected = pictures.to_pixels(codes, num_axes=1, scale=2)
  for scores in (
    _one_hot(codes),
    _one_hot(codes).astype(np.uint8),
    -100 + 50 * (_one_hot(codes) + noise.astype(np.float32)),
  ):
    np.testing.assert_array_equal(
      pictures.to_pixels(scores, num_axes=1, scale=2), expected
    )


def test_different_texts_look_different():
  codes = np.arange(len(text.ALPHABET), dtype=np.uint8)
  codes = codes[codes != 59]  # the second '-'
  pixels = pictures.to_pixels(codes[:, None], num_axes=1, scale=2)
  assert len({picture.tobytes() for picture in pixels}) == len(codes)


def test_text_is_dark_on_light():
  blank, word = pictures.to_pixels(
    text.encode(['', 'eight'], LENGTH), num_axes=1, scale=2
  )
  assert (blank > 200).all()
  assert 0.03 < (word < 128).any(axis=-1).mean() < 0.3


def test_the_place_of_a_word_is_seen():
  codes = text.encode(['one'], LENGTH)
  moved = np.roll(codes, 4, axis=1)
  here, there = pictures.to_pixels(
    np.concatenate([codes, moved]), num_axes=1, scale=2
  )
  np.testing.assert_array_equal(np.roll(here, 4 * 4 * 2, axis=1), there)


def test_a_drawn_text_cannot_be_spoilt():
  codes = text.encode(['two'], LENGTH)
  first = pictures.to_pixels(codes, num_axes=1)
  kept = first.copy()
  first[:] = 0
  np.testing.assert_array_equal(pictures.to_pixels(codes, num_axes=1), kept)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(value: float):
  scores = np.zeros((2, LENGTH, 71), np.float32)
  scores[1, 3, 70] = value
  with pytest.raises(ValueError, match=r'finite.*first at \(1, 3, 70\)'):
    pictures.to_pixels(scores, num_axes=1)


def test_codes_outside_the_alphabet_are_refused():
  with pytest.raises(ValueError, match='expected codes 0 to 70; got 69 to 71'):
    pictures.to_pixels(np.array([[69, 71]]), num_axes=1)


@pytest.mark.parametrize(
  'items',
  [
    np.zeros((2, LENGTH), np.float32),
    np.zeros((2, LENGTH, 70), np.float32),
    np.zeros((2, 4, 6, 2), np.uint8),
    np.zeros((0, LENGTH), np.uint8),
    np.zeros((), np.uint8),
    np.zeros((2, 4, 6, 1), np.int32),
  ],
  ids=['float codes', 'symbols', 'channels', 'empty', 'rank', 'int'],
)
def test_other_arrays_are_refused(items: np.ndarray):
  with pytest.raises(ValueError, match='expected .* got'):
    pictures.to_pixels(items, num_axes=1)


def _long(words: str, length: int = 64) -> np.ndarray:
  """A text with filler around it, as the papers' long ones. Shape [1, L]."""
  return text.encode([words.center(length, '*')], length)


def test_a_long_text_is_wrapped_without_its_filler():
  words = 'square, zero point eight, left'
  pixels = pictures.to_pixels(_long(words), num_axes=1, scale=2)
  assert pixels.shape == (1, (4 * 7 + 6) * 2, (4 * 16 + 6) * 2, 3)
  assert pictures.is_wrapped(_long(words), num_axes=1)
  moved = text.encode([words.ljust(64, '*')], 64)
  np.testing.assert_array_equal(
    pictures.to_pixels(moved, num_axes=1, scale=2), pixels
  )
  # Two lines of words, in the middle.
  is_dark = (pixels[0] < 128).any(axis=(1, 2))
  assert 0.2 < np.flatnonzero(is_dark).min() / len(is_dark)
  assert np.flatnonzero(is_dark).max() / len(is_dark) < 0.8
  other = pictures.to_pixels(_long(words), num_axes=1, scale=2, per_line=40)
  assert other.shape == (1, (2 * 7 + 6) * 2, (4 * 40 + 6) * 2, 3)


def test_a_long_text_shows_all_of_its_characters():
  # Between its words it would break into four lines.
  words = 'abcdefghij klmnopqrst uvwxyzabcd efghijklmn'
  codes = text.encode([words], 48)
  pixels = pictures.to_pixels(codes, num_axes=1)[0]
  is_dark = (pixels != pixels[0, 0]).any(axis=-1)
  for place, character in enumerate(words):
    y, x = place // 16 * 7 + 3, place % 16 * 4 + 3
    is_there = is_dark[y : y + 7, x : x + 4].any()
    assert is_there or character == ' ', place


def test_a_line_of_text_is_not_wrapped():
  assert not pictures.is_wrapped(text.encode(['a' * 16], 16), num_axes=1)
  assert not pictures.is_wrapped(np.zeros((1, 64, 64, 3)), num_axes=1)
  assert pictures.is_wrapped(np.zeros((1, 64, 71)), num_axes=1)
