"""Five pictures made by arithmetic, where PolyMNIST's backgrounds are missing.

Branches, waves, petals, stars and shingles, after the paper's five. Each looks
much the same in every crop of 28 pixels: what differs between crops of a
photograph is the first thing that a model learns, and with the few embedded
digits there is no time for that. They are the same on every call, belong to
this package, and are nobody else's pictures.
"""

import numpy as np

SIZE = 512


def make_textures() -> dict[str, np.ndarray]:
  """The five by name, each uint8 [512, 512, 3], in the paper's order."""
  makers = {
    'branches': _branches,
    'waves': _waves,
    'petals': _petals,
    'stars': _stars,
    'shingles': _shingles,
  }
  textures = {}
  for number, (name, make) in enumerate(makers.items()):
    picture = make(np.random.default_rng(number))
    values = np.rint(255 * np.clip(picture, 0, 1))
    textures[name] = values.astype(np.uint8, order='C')
  return textures


# Pictures are float64 [SIZE, SIZE, 3] in [0, 1], y down and x to the right.


def _branches(rng: np.random.Generator) -> np.ndarray:
  """Thin forked branches all over a pale sky."""
  picture = np.full((SIZE, SIZE, 3), [0.78, 0.90, 0.98])
  picture += 0.06 * (_noise(rng, 16)[..., None] - 0.5)
  for _ in range(700):
    x, y = rng.uniform(0, SIZE, 2)
    angle, width = rng.uniform(0, 2 * np.pi), rng.uniform(1, 2.5)
    bark = np.array([0.34, 0.24, 0.14]) * rng.uniform(0.7, 1.4)
    for _ in range(4):
      length = rng.uniform(6, 14)
      end = x + length * np.cos(angle), y + length * np.sin(angle)
      _stroke(picture, x, y, *end, width, bark)
      (x, y), angle = end, angle + rng.uniform(-0.9, 0.9)
  return picture


def _waves(rng: np.random.Generator) -> np.ndarray:
  """Wavy bands in orange and yellow."""
  y, x = _grid()
  bend = 40 * (_noise(rng, 96) - 0.5) + 22 * np.sin(x / 53 + y / 91)
  band = 0.5 + 0.5 * np.sin((y + bend) / 2.5 + 2 * _noise(rng, 24))
  return _mix([0.88, 0.34, 0.06], [0.99, 0.80, 0.24], band)


def _petals(rng: np.random.Generator) -> np.ndarray:
  """Soft blotches of pink with a fine grain."""
  picture = _mix([0.98, 0.82, 0.86], [0.86, 0.52, 0.72], _noise(rng, 9))
  return picture + 0.10 * (_noise(rng, 2)[..., None] - 0.5)


def _stars(rng: np.random.Generator) -> np.ndarray:
  """Stars of many sizes and tints on a dark sky with a little nebula."""
  cloud = _noise(rng, 40) * _noise(rng, 15)
  picture = _mix([0.01, 0.01, 0.04], [0.16, 0.08, 0.28], cloud)
  for _ in range(1500):
    x, y = rng.uniform(0, SIZE, 2)
    size = 0.5 + 0.35 * rng.exponential()
    tint = np.array([0.8, 0.85, 1.0]) + rng.uniform(-0.2, 0.2, 3)
    glow = 0.4 + rng.exponential(0.6)
    reach = int(5 * size) + 1
    rows = slice(max(int(y) - reach, 0), int(y) + reach + 1)
    columns = slice(max(int(x) - reach, 0), int(x) + reach + 1)
    part = picture[rows, columns]
    across = np.arange(part.shape[1]) + columns.start - x
    down = np.arange(part.shape[0]) + rows.start - y
    square = down[:, None] ** 2 + across**2
    part += glow * np.exp(-square / (2 * size**2))[..., None] * tint
  return picture


def _shingles(rng: np.random.Generator) -> np.ndarray:
  """Rows of overlapping rounded tiles, each its own shade of slate."""
  wide, high = 11.0, 7
  slate = np.array([0.30, 0.33, 0.36])
  grid = _grid()
  picture = np.zeros((SIZE, SIZE, 3))
  # From the bottom up, as every row hangs over the one below it.
  for row in range(SIZE // high, -2, -1):
    top = max(row * high, 0)
    part = picture[top : (row + 2) * high]
    y, x = (axis[top : top + len(part)] for axis in grid)
    across = x / wide + 0.5 * (row % 2)
    tile = across.astype(int)
    middle = (across - tile - 0.5) * wide
    bottom = (row + 1.6) * high - 0.06 * middle**2
    count = int(SIZE / wide) + 3
    shade = rng.uniform(0.7, 1.1, count)[tile]
    # Darker towards the rim.
    rim = np.clip((bottom - y) / 2.5, 0, 1)
    rim *= np.clip((wide / 2 - np.abs(middle)) / 1.5, 0.15, 1)
    shade *= 0.25 + 0.75 * rim
    colour = slate * shade[..., None]
    part[:] = np.where((y <= bottom)[..., None], colour, part)
  return picture * (0.75 + 0.5 * _noise(rng, 4))[..., None]


def _grid() -> tuple[np.ndarray, np.ndarray]:
  y, x = np.mgrid[:SIZE, :SIZE].astype(np.float64)
  return y, x


def _noise(rng: np.random.Generator, cell: int) -> np.ndarray:
  """Smooth noise in [0, 1] with features of about `cell` pixels."""
  count = SIZE // cell + 2
  values = rng.random((count, count))
  position = np.arange(SIZE) / cell
  low = position.astype(int)
  part = position - low
  part = part * part * (3 - 2 * part)
  rows = values[low] * (1 - part)[:, None] + values[low + 1] * part[:, None]
  return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _blend(
  start: np.ndarray, end: np.ndarray, weight: np.ndarray
) -> np.ndarray:
  return start + (end - start) * weight[..., None]


def _mix(
  start: list[float], end: list[float], weight: np.ndarray
) -> np.ndarray:
  return _blend(np.array(start), np.array(end), weight)


def _stroke(
  picture: np.ndarray,
  x0: float,
  y0: float,
  x1: float,
  y1: float,
  width: float,
  colour: np.ndarray,
) -> None:
  """Draws a line with round, softened edges into `picture`."""
  half = max(width / 2, 0.7)
  margin = int(half) + 2
  left, top = (max(int(min(a)) - margin, 0) for a in ((x0, x1), (y0, y1)))
  right, low = (max(int(max(a)) + margin, 0) for a in ((x0, x1), (y0, y1)))
  part = picture[top:low, left:right]
  y = np.arange(part.shape[0])[:, None] + top - y0
  x = np.arange(part.shape[1]) + left - x0
  dx, dy = x1 - x0, y1 - y0
  along = np.clip((x * dx + y * dy) / (dx * dx + dy * dy), 0, 1)
  distance = np.hypot(x - along * dx, y - along * dy)
  part[:] = _blend(part, colour, np.clip(half + 0.5 - distance, 0, 1))
