"""Digits in colour: drawn from a seed, and told apart from their background."""

import hashlib

import numpy as np
import pytest

from mmjsd_jax.data import colour_digits, digits, textures

_BRIGHTNESS = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope='module')
def few():
  return digits.load_embedded()[1].images[:60]


def _render(few, **settings):
  return colour_digits.render(few, **{'seed': 0, 'split': 'train', **settings})


def test_types_and_shapes(few):
  images = _render(few, num_renderings=3)
  assert images.shape == (180, 32, 32, 3) and images.dtype == np.uint8
  assert _render(few[:0]).shape == (0, 32, 32, 3)


def test_a_seed_gives_the_same_and_splits_and_seeds_give_others(few):
  first = _render(few)
  np.testing.assert_array_equal(first, _render(few))
  assert (first != _render(few, seed=1)).any((1, 2, 3)).all()
  assert (first != _render(few, split='test')).any((1, 2, 3)).all()


def test_more_renderings_leave_the_first_as_it_was(few):
  twice = _render(few, num_renderings=2)
  np.testing.assert_array_equal(twice[:60], _render(few))
  assert (twice[:60] != twice[60:]).any((1, 2, 3)).all()


def test_many_digits_are_drawn_as_few_are_placed(few):
  # More than are worked on at a time.
  many = np.tile(few, (10, 1, 1))
  assert _render(many).shape == (600, 32, 32, 3)
  assert len({bytes(image) for image in _render(many)}) == 600


def test_without_ink_there_is_texture_and_with_ink_there_is_one_colour():
  blank = np.zeros((40, 28, 28), np.uint8)
  full = blank.copy()
  full[:, 10:18, 10:18] = 255
  empty, inked = _render(blank), _render(full)
  changed = (empty != inked).any(-1)
  for before, after, mask in zip(empty, inked, changed, strict=True):
    # The square of 8 x 8, moved by at most 2 from the middle.
    rows, columns = np.nonzero(mask)
    assert 62 <= mask.sum() <= 64
    for places in (rows, columns):
      assert 10 <= places.min() and places.max() <= 21
    colour = np.unique(after[mask], axis=0)
    assert len(colour) == 1
    contrast = (colour[0] - before.mean((0, 1))) @ _BRIGHTNESS
    assert abs(contrast) >= 89
  middles = [
    picture.mean((0, 1)) for picture in textures.make_textures().values()
  ]
  nearest = [
    np.argmin([np.abs(image.mean((0, 1)) - m).sum() for m in middles])
    for image in empty
  ]
  assert set(nearest) == set(range(5))


def test_renderings_are_those_of_earlier_releases():
  # Golden: this function when it was added, under NumPy 2.4.6. Coarse, as
  # rounding may differ between machines.
  square = np.zeros((50, 28, 28), np.uint8)
  square[:, 8:20, 8:20] = 255
  images = colour_digits.render(square, seed=42, split='test')
  centres = images[:, 16, 16].astype(int) // 32
  assert hashlib.sha256(str(centres.tolist()).encode()).hexdigest()[:16] == (
    '5cba85e95cc6304b'
  )
