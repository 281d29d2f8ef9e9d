"""Texts of attributes: the words, and where they start."""

import numpy as np
import pytest

from mmjsd_jax.data import attribute_text, text
from mmjsd_jax.data.celeba_lists import ATTRIBUTES


def _texts(has, ids=None, seed=0):
  ids = [f'{n}.jpg' for n in range(len(has))] if ids is None else ids
  codes = attribute_text.compose(ATTRIBUTES, has, ids, seed=seed)
  assert codes.dtype == np.uint8 and codes.shape == (len(has), 256)
  return [''.join(text.ALPHABET[code] for code in row) for row in codes]


def _has(*names):
  return np.isin(ATTRIBUTES, names)[None]


def test_attributes_are_named_in_their_order():
  names = ('Male', 'Wearing_Hat', '5_o_Clock_Shadow', 'Young')
  (placed,) = _texts(_has(*names))
  assert placed.strip('*') == '5 o clock shadow, male, wearing hat, young'


def test_codes_are_those_of_the_papers():
  (placed,) = attribute_text.compose(
    ATTRIBUTES, _has('Bald', 'Male'), ['a'], seed=0
  )
  # originals of mmJSD: letters from 0, ',' 37, '*' 55, ' ' 69.
  words = placed[placed != 55].tolist()
  assert words == [1, 0, 11, 3, 37, 69, 12, 0, 11, 4]


def test_what_is_too_long_is_left_out_from_the_end():
  (placed,) = _texts(np.ones((1, 40), bool))
  words = placed.strip('*').split(', ')
  wanted = [name.lower().replace('_', ' ') for name in ATTRIBUTES]
  assert words == wanted[: len(words)]
  assert 256 - len(wanted[len(words)]) - 2 < len(placed.strip('*')) <= 256


def test_a_picture_without_attributes_has_fillers_alone():
  assert _texts(np.zeros((1, 40), bool)) == ['*' * 256]


def test_a_picture_has_its_text_in_every_subset():
  has = np.random.default_rng(0).random((20, 40)) < 0.2
  ids = [f'{n:06d}.jpg' for n in range(20)]
  every = _texts(has, ids)
  assert _texts(has[5:9], ids[5:9]) == every[5:9]
  others = _texts(has, ids, seed=1)
  assert [t.strip('*') for t in others] == [t.strip('*') for t in every]
  assert sum(a == b for a, b in zip(every, others, strict=True)) < 5


def test_starts_are_uniform_and_leave_the_last_place():
  has = np.repeat(_has('Young'), 4000, axis=0)
  starts = np.array([placed.index('y') for placed in _texts(has)])
  assert starts.min() == 0 and starts.max() == 256 - len('young') - 1
  # Of a uniform draw from 251 places: mean 125, standard deviation 72.5.
  assert abs(starts.mean() - 125) < 5 * 72.5 / np.sqrt(len(starts))
  assert abs(starts.std() - 72.5) < 4


def test_names_with_other_characters_are_refused():
  with pytest.raises(ValueError, match="got 'ä' in 'bärtig'"):
    attribute_text.compose(['Bärtig'], np.ones((1, 1), bool), ['a'], seed=0)
