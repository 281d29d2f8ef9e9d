"""Numbers as the command line lists them."""

import pytest

from mmjsd_jax.number_lists import parse_numbers


@pytest.mark.parametrize(
  ('text', 'numbers'),
  [
    ('', ()),
    ('7', (7,)),
    ('0:3', (0, 1, 2)),
    ('0.5,1,2.5', (0.5, 1, 2.5)),
    ('9,0:2,1e-3', (9, 0, 1, 0.001)),
  ],
)
def test_lists_and_ranges_are_read(text, numbers):
  assert parse_numbers(text) == numbers


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('3:3', "range of 1 to 1000 numbers, got '3:3'"),
    ('0:1001', "got '0:1001'"),
    ('1,0:2', "different numbers, got '1,0:2'"),
    ('0:600,600:1200', 'at most 1000 different'),
    ('1,', "float: ''"),
  ],
)
def test_others_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    parse_numbers(text)
