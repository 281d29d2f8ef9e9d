"""The drawn images of dSprites, against published ones and plain geometry."""

import math

import numpy as np
import pytest

from mmjsd_jax.data import sprites


def _row(*classes):
  return np.ravel_multi_index(classes, sprites.GRID)


def _images_of(data_dir, name, rows):
  """Published images, and where in the grid they are."""
  with np.load(data_dir / 'dsprites' / name, allow_pickle=False) as arrays:
    places = arrays['original_dataset_indices']
    images = arrays['imgs']
  return images[rows], places[rows]


@pytest.mark.parametrize(
  ('name', 'rows'),
  [
    # Of 20,000 at random, and nine polygons of 180 at 16 x 16 places each.
    ('dsprites_subset.npz', np.arange(0, 20_000, 50)),
    (
      'dsprites_downsampled.npz',
      (np.arange(7, 180, 20)[:, None] * 256 + np.arange(256)).ravel(),
    ),
  ],
)
def test_published_images_are_drawn_but_for_a_pixel(data_dir, name, rows):
  published, places = _images_of(data_dir, name, rows)
  differ = (255 * published != sprites.draw(places)).sum(axis=(1, 2))
  assert differ.max() <= 1
  assert np.count_nonzero(differ) <= 2


def _is_inside(outline, x, y):
  """Whether pixel centres lie in a polygon: its corners go around them once."""
  centre_x, centre_y = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
  corners = 16 + 32 * np.array([x, y]) / 31 + outline / 256
  corners = np.rint(256 * corners) / 256
  places = corners @ [1, 1j] - (centre_x + 1j * centre_y)[..., None]
  turns = np.angle(np.roll(places, -1, axis=-1) / places).sum(axis=-1)
  return np.abs(turns) > math.pi


@pytest.mark.parametrize('shape', range(3), ids=sprites.SHAPES)
def test_pixels_whose_centres_are_inside_are_white(shape):
  for scale, orientation, x, y in [(5, 3, 0, 31), (0, 17, 13, 8)]:
    row = _row(0, shape, scale, orientation, x, y)
    inside = _is_inside(sprites._outline(row // 1024), x, y)
    assert inside.sum() > 50
    np.testing.assert_array_equal(
      sprites.draw(np.array([row]))[0], 255 * inside
    )


def test_rows_may_come_in_any_order_and_twice():
  rows = np.array([_row(0, 2, 1, 5, 3, 4), 7, _row(0, 2, 1, 5, 30, 4), 7])
  images = sprites.draw(rows)
  assert images.dtype == np.uint8 and set(np.unique(images)) == {0, 255}
  for row, image in zip(rows, images, strict=True):
    np.testing.assert_array_equal(image, sprites.draw(row[None])[0])
  assert sprites.draw(rows[:0]).shape == (0, 64, 64)


def test_the_last_orientation_is_the_first():
  first, last = (
    np.array([_row(0, shape, 3, orientation, 9, 20) for shape in range(3)])
    for orientation in (0, 39)
  )
  np.testing.assert_array_equal(sprites.draw(first), sprites.draw(last))


def test_the_grid_is_that_of_the_published_file():
  assert sprites.NUM_IMAGES == 737_280
  assert sprites.classes(np.array([0, 1, 32, 1024, 737_279])).tolist() == [
    [0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 1, 0],
    [0, 0, 0, 1, 0, 0],
    [0, 2, 5, 39, 31, 31],
  ]
