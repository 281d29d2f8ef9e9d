"""Pictures put together: rows of them, names beside and above, blocks.

Pixels in, pixels out, on white. What the pictures show is up to `figures.py`.

    C columns, [h, w, 3] pixels of one picture.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmjsd_jax.pictures import Pixels

SEPARATOR = 10  # pixels across

_WHITE = 255
_BLOCK_GAP = 10
_MARGIN = 5
_FONT_SIZE = 15
# Blocks side by side are shown smaller than they are.
_TITLE_SIZE = 26


def mosaic(rows: Sequence[Pixels], *, gap: int, width: int = 0) -> Pixels:
  """Rows of pictures below each other with white gaps, without a border.

  Args:
    rows: as many columns in each, [C, h, w, 3]; sizes may differ by row.
    gap: white pixels between neighbours.
    width: of a column, in pixels, in whose middle pictures stand; at least
      that of the widest.
  """
  width = max(width, *(row.shape[2] for row in rows))
  num_columns = len(rows[0])
  lines = []
  for row in rows:
    _, height, picture, _ = row.shape
    line = white(height + gap, num_columns * (width + gap))
    for column in range(num_columns):
      x = column * (width + gap) + (width - picture) // 2
      line[:height, x : x + picture] = row[column]
    lines.append(line)
  canvas = np.concatenate(lines)
  return canvas[: len(canvas) - gap, : canvas.shape[1] - gap]


def columns(
  parts: Sequence[Sequence[Pixels]], *, titles: Sequence[str], gap: int
) -> Pixels:
  """Groups of columns side by side, pictures in the middle of their rows.

  Args:
    parts: groups of columns, as many pictures in each, [R, h, w, 3]; sizes may
      differ by column.
    titles: written above the groups.
    gap: white pixels between neighbours.
  """
  height = max(column.shape[1] for part in parts for column in part)
  blocks = []
  for part, title in zip(parts, titles, strict=True):
    upright = [column.swapaxes(1, 2) for column in part]
    block = mosaic(upright, gap=gap, width=height).swapaxes(0, 1)
    block = _below([block, white(0, margin([title]))])
    blocks.append(with_title(block, title, size=_FONT_SIZE))
  return _beside(blocks)


def margin(labels: Sequence[str]) -> int:
  """Pixels that the longest label needs, with a little air."""
  font = ImageFont.load_default(_FONT_SIZE)
  return max(int(font.getlength(label)) for label in labels) + 3 * _MARGIN


def with_row_labels(
  block: Pixels, labels: Sequence[str], heights: Sequence[int], left: int
) -> Pixels:
  """A block with names to the left of its rows.

  Args:
    block: of `mosaic`.
    labels: one for each row; '' for none.
    heights: of the rows, with the gap below.
    left: pixels that the labels get, of `margin`.
  """
  ends = np.cumsum(heights)
  middles = [
    int(end) - height + height // 2
    for end, height in zip(ends, heights, strict=True)
  ]
  written = _write(white(len(block), left), labels, middles, _FONT_SIZE)
  return np.concatenate([written, block], axis=1)


def with_title(block: Pixels, title: str, *, size: int = _TITLE_SIZE) -> Pixels:
  """A block with its name above, `size` pixels high."""
  canvas = white(size + 8, block.shape[1])
  written = _write(canvas, [title], [len(canvas) // 2], size)
  return np.concatenate([written, block])


def separator(width: int) -> Pixels:
  """A black line of 2 pixels between two white ones of 4."""
  line = white(SEPARATOR, width)
  line[4:6] = 0
  return line


def with_edges(block: Pixels, *, top: Pixels, left: Pixels) -> Pixels:
  """A block behind two black lines, `top` above it and `left` beside it."""
  y, x = len(top) + SEPARATOR, left.shape[1] + SEPARATOR
  canvas = white(y + len(block), x + block.shape[1])
  canvas[y - SEPARATOR : y] = separator(canvas.shape[1])
  upright = separator(len(canvas)).swapaxes(0, 1)
  canvas[:, x - SEPARATOR : x] = np.minimum(
    canvas[:, x - SEPARATOR : x], upright
  )
  canvas[: len(top), x:] = top
  canvas[y:, : left.shape[1]] = left
  canvas[y:, x:] = block
  return canvas


def stack(blocks: Sequence[Pixels]) -> Pixels:
  """Blocks below each other with a gap between, padded to one width."""
  gap = white(_BLOCK_GAP, 0)
  return _below([part for block in blocks for part in (gap, block)][1:])


def flow(blocks: Sequence[Pixels], max_width: int) -> Pixels:
  """Blocks side by side as far as they fit, the others below."""
  rows: list[list[Pixels]] = []
  for block in blocks:
    used = sum(b.shape[1] + _BLOCK_GAP for b in rows[-1]) if rows else max_width
    if used + block.shape[1] > max_width:
      rows.append([])
    rows[-1].append(block)
  return stack([_beside(row) for row in rows])


def _beside(blocks: Sequence[Pixels]) -> Pixels:
  """Blocks side by side with a gap between, padded to one height."""
  return stack([block.swapaxes(0, 1) for block in blocks]).swapaxes(0, 1)


def _below(blocks: Sequence[Pixels]) -> Pixels:
  """Blocks below each other, padded to one width."""
  width = max(block.shape[1] for block in blocks)
  return np.concatenate(
    [
      np.pad(
        block,
        ((0, 0), (0, width - block.shape[1]), (0, 0)),
        constant_values=_WHITE,
      )
      for block in blocks
    ]
  )


def white(height: int, width: int) -> Pixels:
  """Empty paper. Shape [height, width, 3]."""
  return np.full((height, width, 3), _WHITE, np.uint8)


def _write(
  canvas: Pixels, texts: Sequence[str], middles: Sequence[int], size: int
) -> Pixels:
  """Texts from the left edge, each centred on its height."""
  image = Image.fromarray(canvas)
  draw = ImageDraw.Draw(image)
  font = ImageFont.load_default(size)
  for text, y in zip(texts, middles, strict=True):
    draw.text((_MARGIN, y), text, fill='black', font=font, anchor='lm')
  return np.asarray(image)
