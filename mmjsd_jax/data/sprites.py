"""The images of dSprites, drawn from their geometry.

White shapes on black (Matthey, Higgins, Hassabis, Lerchner 2017,
github.com/google-deepmind/dsprites-dataset): one image for every combination of
colour (1), shape (3), scale (6), orientation (40) and position (32 x 32); the
last of these varies fastest, so that an image has a row in this grid.

A shape is a polygon: scaled, turned, moved, its corners brought to the nearest
1/256 of a pixel; a pixel is white whose centre lies inside. From there on it is
arithmetic of integers, the same on every machine. The published images come
from a program that was not published; this rule was found from them, and is
right but for a pixel here and there: docs/data_sets.md counts them.

N images, V corners of a polygon.
"""

import functools
import math

import numpy as np

# Classes of colour, shape, scale, orientation, x and y.
GRID = (1, 3, 6, 40, 32, 32)
NUM_IMAGES = math.prod(GRID)
SIDE = 64
SHAPES = ('square', 'ellipse', 'heart')
_PARTS = 256  # of a pixel, the corners' unit
_PLACES = GRID[-2] * GRID[-1]  # of a polygon
_ONES = np.uint64(2**64 - 1)


def classes(rows: np.ndarray) -> np.ndarray:
  """Classes of rows of the grid, integers [N, 6], as GRID has them."""
  return np.stack(np.unravel_index(rows, GRID), axis=-1)


def draw(rows: np.ndarray) -> np.ndarray:
  """The images of rows of the grid.

  Args:
    rows: in [0, NUM_IMAGES), in any order. Integers [N].

  Returns:
    0 or 255. uint8 [N, 64, 64].
  """
  polygons, places = np.divmod(rows, _PLACES)
  order = np.argsort(polygons, kind='stable')
  starts = np.flatnonzero(np.diff(polygons[order]))
  images = np.empty((len(rows), SIDE, SIDE), np.uint8)
  for members in np.split(order, starts + 1):
    if members.size:
      outline = _outline(int(polygons[members[0]]))
      images[members] = _draw(outline, *np.divmod(places[members], GRID[-1]))
  return images


def _outline(polygon: int) -> np.ndarray:
  """Corners around the origin, in 1/256 of a pixel, y downwards. [V, 2]."""
  shape, scale, orientation = np.unravel_index(polygon, GRID[1:4])
  # The last angle is the first one again. Float32 is what the published images
  # were drawn in: in float64 nine of them differ by a pixel, not six.
  angle = float(np.float32(2 * math.pi * (orientation % 39) / 39))
  cosine, sine = np.float32(math.cos(angle)), np.float32(math.sin(angle))
  size = np.float32(0.5 + 0.1 * float(scale))
  u, v = size * _corners(SHAPES[shape]).astype(np.float32).T
  turned = [cosine * u + sine * v, cosine * v - sine * u]
  return _PARTS * np.stack(turned, axis=-1)


@functools.cache
def _corners(shape: str) -> np.ndarray:
  """Corners at scale 1, upright, in pixels. [V, 2]."""
  if shape == 'square':
    return 9.6 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
  if shape == 'ellipse':
    t = 2 * math.pi * np.arange(100) / 100
    return 9.6 * np.stack([1.33 * np.cos(t), np.sin(t) / 1.33], axis=-1)
  t = 2 * math.pi * np.arange(150) / 150
  height = np.cos(np.outer(t, [1, 2, 3, 4])) @ [13, -5, -2, -1]
  return 9.6 * np.stack([np.sin(t) ** 3, -height / 14.5 - 0.15], axis=-1)


def _draw(outline: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """A polygon at the positions (x, y), classes [N] each. uint8 [N, 64, 64].

  Of every line of pixels a 64-bit word: an edge that crosses the line at the
  height of the centres inverts all pixels right of the crossing.
  """
  columns, x = np.unique(x, return_inverse=True)
  lines, y = np.unique(y, return_inverse=True)
  corners_x, corners_y = (
    _moved(outline[:, axis], at) for axis, at in enumerate((columns, lines))
  )
  centres = np.arange(SIDE, dtype=np.int32) * _PARTS + _PARTS // 2
  is_above = corners_y[:, None] < centres[:, None]  # [lines, 64, V]
  line, row, edge = np.nonzero(is_above != np.roll(is_above, -1, axis=-1))
  following = (edge + 1) % len(outline)
  start_y = corners_y[line, edge]
  rise = (corners_y[line, following] - start_y)[:, None]
  start_x = corners_x.T[edge]  # [crossings, columns]
  run = corners_x.T[following] - start_x
  down = (centres[row] - start_y)[:, None]
  # The first column whose centre is at start_x + run * down / rise or beyond.
  first = -(((_PARTS // 2 - start_x) * rise - run * down) // (_PARTS * rise))
  inverted = np.left_shift(_ONES, first.astype(np.uint64))
  starts = np.flatnonzero(np.diff(line * SIDE + row, prepend=-1))
  words = np.zeros((len(lines), SIDE, len(columns)), '<u8')
  words[line[starts], row[starts]] = np.bitwise_xor.reduceat(inverted, starts)
  octets = words[y, :, x][..., None].view(np.uint8)  # [N, 64, 8]
  return 255 * np.unpackbits(octets, axis=-1, bitorder='little')


def _moved(corners: np.ndarray, at: np.ndarray) -> np.ndarray:
  """Corners [V] along one axis at positions [P]. int32 [P, V]."""
  moved = _PARTS * (16 + 32 * at[:, None] / 31) + corners
  return np.rint(moved.astype(np.float32)).astype(np.int32)
