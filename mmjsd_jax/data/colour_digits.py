"""Digits in colour over textures: what stands in for house numbers.

Used where SVHN is missing (`mnist_svhn_text`). The pictures are made by
arithmetic from scikit-learn's digits; no photograph is among them.
"""

import numpy as np

from mmjsd_jax.data import textures

_SPLITS = ('train', 'test')
# Keeps what is drawn here apart from the pairs of `mnist_svhn_text`.
_STREAM = 32
_SIDE = 32
# How far from the middle a digit may lie, in pixels.
_MAX_SHIFT = 2
# The least difference in brightness between a digit and its background.
_MIN_CONTRAST = 90
# How much of a texture's own contrast is kept.
_TEXTURE_STRENGTH = 0.6
# Rec. 601.
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], np.float32)
# Images worked on at a time, which bounds what is held beside the result.
_CHUNK = 512


def render(
  images: np.ndarray, *, seed: int, split: str, num_renderings: int = 1
) -> np.ndarray:
  """Digits in one colour each, over crops of textures, slightly moved.

  A crop of 32 x 32 of one of the five textures, their contrast reduced; a
  colour that is clearly brighter or darker than the crop; a shift of up to 2
  pixels either way. Ink is how opaque the colour is.

  Args:
    images: 0 background to 255 ink. uint8 [N, 28, 28].
    seed: not negative. What is drawn follows from it, the split and the number
      of the rendering.
    split: 'train' or 'test'.
    num_renderings: R, how often all digits are rendered.

  Returns:
    The first rendering of all digits, then the second, and so on. uint8
    [R * N, 32, 32, 3].
  """
  count = len(images)
  pictures = np.stack(list(textures.make_textures().values()))
  middle = pictures.mean((1, 2), keepdims=True)
  pictures = (middle + (pictures - middle) * _TEXTURE_STRENGTH).astype('f4')
  margin = (_SIDE - images.shape[1]) // 2
  padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
  output = np.empty((num_renderings * count, _SIDE, _SIDE, 3), np.uint8)
  near = np.arange(_SIDE)
  for repeat in range(num_renderings):
    rng = np.random.default_rng([seed, _SPLITS.index(split), _STREAM, repeat])
    picture = rng.integers(len(pictures), size=count)
    y, x = rng.integers(textures.SIZE - _SIDE + 1, size=(2, count))
    down, right = rng.integers(-_MAX_SHIFT, _MAX_SHIFT + 1, (2, count))
    for start in range(0, count, _CHUNK):
      rows = np.arange(start, min(start + _CHUNK, count))
      crops = pictures[
        picture[rows, None, None],
        y[rows, None, None] + near[:, None],
        x[rows, None, None] + near,
      ]
      # What leaves at one side comes in at the other; both are background.
      ink = padded[
        rows[:, None, None],
        (near[:, None] - down[rows, None, None]) % _SIDE,
        (near - right[rows, None, None]) % _SIDE,
      ]
      colours = _draw_colours(rng, crops.mean((1, 2)) @ _BRIGHTNESS)
      crops += (colours[:, None, None] - crops) * (
        ink[..., None] / np.float32(255)
      )
      output[repeat * count + rows] = np.rint(crops)
  return output


def _draw_colours(
  rng: np.random.Generator, brightness: np.ndarray
) -> np.ndarray:
  """Colours [N, 3] far enough from `brightness` [N], all 0 to 255."""
  colours = np.empty((len(brightness), 3), np.float32)
  left = np.arange(len(brightness))
  while left.size:
    colours[left] = rng.uniform(0, 255, (len(left), 3))
    contrast = np.abs(colours[left] @ _BRIGHTNESS - brightness[left])
    left = left[contrast < _MIN_CONTRAST]
  return colours
