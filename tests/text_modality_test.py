"""Tests of what is particular to text: its likelihood's form, its places."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.data import text as data_text
from mmjsd_jax.modalities import text

WORDS = ('zero', 'one', 'two', 'three', 'seven', 'abcdefg', 'abcdefgh')
NUM_DRAWS = 200


@pytest.fixture(scope='module')
def placed():
  """Codes of every word, drawn many times. Shape [words, draws, 8]."""
  codes = jnp.asarray(data_text.encode(WORDS, 8))
  many = jnp.repeat(codes, NUM_DRAWS, axis=0)
  found = jit(text.place)(jax.random.key(0), many)
  assert found.dtype == codes.dtype
  return np.asarray(found).reshape(len(WORDS), NUM_DRAWS, 8)


def test_alphabet_is_that_of_the_data():
  assert len(data_text.ALPHABET) == text.NUM_SYMBOLS
  assert data_text.BLANK == text.BLANK
  assert data_text.ALPHABET[text.BLANK] == ' '


def test_placing_leaves_the_word_as_it_is(placed):
  for word, rows in zip(WORDS, placed, strict=True):
    assert {found.strip() for found in data_text.decode(rows)} == {word}


def test_starts_are_uniform_and_leave_the_last_position_blank(placed):
  for word, rows in zip(WORDS, placed, strict=True):
    found = np.argmax(rows != text.BLANK, axis=-1)
    num_starts = max(1, 8 - len(word))  # 0, .., 8 - 1 - len(word)
    counts = np.bincount(found)
    assert len(counts) == num_starts
    expected = NUM_DRAWS / num_starts
    # Five standard deviations of a binomial count.
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    if len(word) < 8:
      assert (rows[:, 7] == text.BLANK).all()


def test_likeliest_characters_of_short_words_placed_anywhere_are_blanks(key):
  # README, Deviations: what a perfect model without styles says of an image.
  for word in data_text.WORDS:
    codes = np.repeat(data_text.encode([word], text.LENGTH), 3000, axis=0)
    placed = text.place(key, jnp.asarray(codes))
    likeliest = np.argmax(text.to_float(placed).mean(axis=0), axis=-1)
    assert np.all(likeliest == text.BLANK) == (len(word) == 3), word


def test_places_follow_from_the_key(placed):
  codes = jnp.asarray(data_text.encode(WORDS * 4, 8))
  place = jit(text.place)
  keys = jax.random.split(jax.random.key(1))
  first, again, other = (place(keys[i], codes) for i in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert (first != other).any()
  mapped = jit(jax.vmap(text.place))(keys, jnp.stack([codes, codes]))
  np.testing.assert_array_equal(mapped, jnp.stack([first, other]))


def test_an_empty_text_stays_empty(key):
  blank = jnp.full((3, 8), text.BLANK, jnp.uint8)
  np.testing.assert_array_equal(jit(text.place)(key, blank), blank)


def test_codes_of_another_rank_are_refused(key):
  with pytest.raises(ValueError, match='B, length'):
    text.place(key, jnp.zeros(8, jnp.uint8))


def test_one_hot_of_codes(placed):
  one_hot = jit(text.to_float)(placed)
  assert one_hot.shape == (*placed.shape, 71)
  assert one_hot.dtype == jnp.float32
  np.testing.assert_array_equal(one_hot.argmax(-1), placed)
  np.testing.assert_array_equal(one_hot.sum(-1), 1)
  np.testing.assert_array_equal(text.to_float(one_hot), one_hot)


def _decode(as_released, scale, z):
  decoder = text.Decoder(as_released=as_released)
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: jnp.asarray(scale * rng.normal(size=leaf.shape), jnp.float32),
    jax.eval_shape(decoder.init, jax.random.key(0), z),
  )
  return decoder, params, jit(decoder.apply)(params, z)


def test_as_released_probabilities_are_normalised_log_probabilities(key):
  z = jax.random.normal(key, (5, 8))
  *_, raw = _decode(False, 0.1, z)
  *_, released = _decode(True, 0.1, z)
  lengths = -np.asarray(jax.nn.log_softmax(raw.astype(jnp.float32)), np.float64)
  expected = lengths / lengths.sum(axis=-1, keepdims=True)
  np.testing.assert_allclose(jax.nn.softmax(released), expected, rtol=1e-5)
  np.testing.assert_array_equal(released.argmax(-1), raw.argmin(-1))


def test_as_released_is_finite_where_a_symbol_is_certain(key):
  z = 100 * jax.random.normal(key, (5, 8))
  with jax.debug_nans(True):
    decoder, params, released = _decode(True, 1.0, z)
    # Certain: its -log softmax is rounded to zero.
    assert released.min() < -80

    def loss(params):
      return jnp.mean(jax.nn.log_softmax(decoder.apply(params, z))[..., 0])

    grads = jit(jax.grad(loss))(params)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
