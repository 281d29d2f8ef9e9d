"""Arrays of any modality as RGB pictures: images as they are, text written.

    h, w pixels of an image, L characters of a text.

Images are uint8, or floats where 0 is black and 1 is white. Floats outside
[0, 1] are clipped: a decoder's mean is not bounded. NaN and infinities are an
error, never a black square.
"""

import functools
import re
import textwrap
from typing import NamedTuple

import numpy as np
from numpy import typing as npt
from PIL import Image, ImageDraw, ImageFont

from mmjsd_jax.data.text import ALPHABET

Pixels = npt.NDArray[np.uint8]


class _Line(NamedTuple):
  """Sizes of a line of text, in pixels of an image."""

  height: int
  baseline: float
  above: int  # empty, above the first line and below the last
  beside: int


_ALONE = _Line(14, 9.52, 0, 1)
_ONE = _Line(7, 5.6, 3, 3)  # of several
# Characters are as wide as each other, so that a word's place is seen.
_PITCH = 4
_PAPER, _INK = (236, 236, 228), (0, 0, 60)
_FONT_SIZE = 6.5
_NEWLINE = '»'  # one that the font has and the alphabet lacks
# Characters of a line in the papers' pictures of texts.
PER_LINE = 16
_FILLER = '*'  # of the papers' long texts


def to_pixels(
  items: npt.ArrayLike,
  *,
  num_axes: int,
  scale: int = 1,
  per_line: int = PER_LINE,
) -> Pixels:
  """RGB pictures of images or of texts, told apart by their shapes.

  A text of more characters than a line has is wrapped between words; blanks
  and '*' around it are left out, and of several '*' within one is left.

  Args:
    items: after the leading axes, one of
      [h, w, 3] RGB images,
      [h, w, 1] grey images,
      [L] codes of characters, of data/text.py, as integers,
      [L, 71] one-hot texts, logits or other scores of which the largest wins.
    num_axes: how many leading axes there are; they are kept.
    scale: how many pixels wide and high each pixel of an image becomes,
      without smoothing. Text is written that much larger.
    per_line: characters of a line, P.

  Returns:
    Shape [..., h * scale, w * scale, 3]; in pixels of that size a text is 14
    high and 4 * L + 2 wide, and one that is wrapped 7 * ceil(L / P) + 6 high
    and 4 * P + 6 wide.

  Raises:
    ValueError: wrong shape or dtype, no items, codes outside the alphabet, or
      a value that is not finite.
  """
  items = np.asarray(items)
  kind = _kind(items, num_axes)
  if items.size == 0 or not kind:
    raise ValueError(
      f'expected {num_axes} leading axes and behind them [h, w, 3] or '
      f'[h, w, 1] of an image, integers [L] or scores [L, {len(ALPHABET)}] of '
      f'a text, none empty; got {items.dtype} of shape {items.shape}'
    )
  if kind == 'image':
    pixels = _image(items)
    pixels = np.broadcast_to(pixels, (*pixels.shape[:-1], 3))
    return pixels.repeat(scale, axis=-3).repeat(scale, axis=-2)
  codes = _codes(items) if kind == 'scores' else items
  return _texts(codes, scale, per_line)


def can_be_shown(items: npt.ArrayLike, *, num_axes: int) -> bool:
  """Whether `to_pixels` knows such items, by their shape and dtype."""
  return bool(_kind(np.asarray(items), num_axes))


def is_wrapped(items: npt.ArrayLike, *, num_axes: int) -> bool:
  """Whether they are texts of more than one line of `PER_LINE`."""
  items = np.asarray(items)
  is_text = _kind(items, num_axes) in ('codes', 'scores')
  return is_text and items.shape[num_axes] > PER_LINE


def _kind(items: np.ndarray, num_axes: int) -> str:
  shape = items.shape[num_axes:]
  if len(shape) == 3 and shape[-1] in (1, 3):
    return 'image'
  if len(shape) == 1 and np.issubdtype(items.dtype, np.integer):
    return 'codes'
  return 'scores' if len(shape) == 2 and shape[-1] == len(ALPHABET) else ''


def _image(images: np.ndarray) -> Pixels:
  """Pixels as uint8. Same shape."""
  if images.dtype == np.uint8:
    return images
  if not np.issubdtype(images.dtype, np.floating):
    raise ValueError(f'expected uint8 or float images, got {images.dtype}')
  _check_finite(images, 'pixels')
  images = np.clip(images.astype(np.float64), 0.0, 1.0)
  return np.rint(images * 255.0).astype(np.uint8)


def _codes(scores: np.ndarray) -> np.ndarray:
  _check_finite(scores, 'scores of characters')
  return np.argmax(scores, axis=-1)


def _check_finite(values: np.ndarray, what: str) -> None:
  is_bad = ~np.isfinite(values)
  if is_bad.any():
    first = tuple(int(index) for index in np.argwhere(is_bad)[0])
    raise ValueError(
      f'expected finite {what}, got {int(is_bad.sum())} that are NaN or '
      f'infinite, the first at {first}'
    )


def _texts(codes: np.ndarray, scale: int, per_line: int) -> Pixels:
  """Written texts, of the size that `to_pixels` tells."""
  if not 0 <= codes.min() <= codes.max() < len(ALPHABET):
    raise ValueError(
      f'expected codes 0 to {len(ALPHABET) - 1}; got {codes.min()} to '
      f'{codes.max()}'
    )
  rows = codes.reshape(-1, codes.shape[-1]).tolist()
  # Not text.decode, which strips the blanks that say where a word stands.
  written = [
    _written(''.join(ALPHABET[code] for code in row), scale, per_line)
    for row in rows
  ]
  return np.stack(written).reshape(*codes.shape[:-1], *written[0].shape)


@functools.lru_cache(maxsize=512)
def _written(text: str, scale: int, per_line: int) -> Pixels:
  """One text, dark on light."""
  text = text.replace('\n', _NEWLINE)
  num_lines = -(-len(text) // per_line)
  lines, columns, line = [text], len(text), _ALONE
  if num_lines > 1:
    lines, columns, line = _wrapped(text, per_line, num_lines), per_line, _ONE
  width, height = columns * _PITCH, num_lines * line.height
  size = width + 2 * line.beside, height + 2 * line.above
  image = Image.new('RGB', (size[0] * scale, size[1] * scale), _PAPER)
  draw = ImageDraw.Draw(image)
  top = line.above + (num_lines - len(lines)) * line.height / 2
  for number, written in enumerate(lines):
    y = (top + number * line.height + line.baseline) * scale
    for place, character in enumerate(written):
      x = ((place + 0.5) * _PITCH + line.beside) * scale
      font = _font(character, scale)
      draw.text((x, y), character, fill=_INK, font=font, anchor='ms')
  return np.asarray(image)


def _wrapped(text: str, per_line: int, most: int) -> list[str]:
  """Lines broken between words, or anywhere if that takes more than `most`."""
  run = f'{re.escape(_FILLER)}+'
  text = re.sub(run, _FILLER, text).strip(_FILLER + ' ')
  lines = textwrap.wrap(text, per_line)
  if len(lines) > most:
    starts = range(0, len(text), per_line)
    lines = [text[start : start + per_line] for start in starts]
  return lines


@functools.lru_cache(maxsize=256)
def _font(
  character: str, scale: int
) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
  """PIL's own font, smaller for the wide ones: they would hide neighbours."""
  font = ImageFont.load_default(_FONT_SIZE * scale)
  room = 1.2 * _PITCH * scale / font.getlength(character)
  return ImageFont.load_default(_FONT_SIZE * scale * min(room, 1))
