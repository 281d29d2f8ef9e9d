"""Image grids as in the papers: reconstructions, samples, conditional grids.

Arrays in, pixels or PNG bytes out; nothing is shown or kept. The charts are in
`curves.py`.

    R rows, C columns, N examples, [h, w, 3] pixels of one image.

Images are uint8, or floats where 0 is black and 1 is white. Floats outside
[0, 1] are clipped: a decoder's mean is not bounded. NaN and infinities are an
error, never a black square.
"""

import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy import typing as npt
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
  from mmjsd_jax.evaluation.samples import FigureSamples

Pixels = npt.NDArray[np.uint8]

_WHITE = 255
_BLOCK_GAP = 10
_MARGIN = 5
_FONT_SIZE = 15
# Blocks side by side are shown smaller than they are.
_TITLE_SIZE = 26


def grid(images: npt.ArrayLike, *, gap: int = 1, scale: int = 2) -> Pixels:
  """A mosaic of images with white gaps, without a border.

  Args:
    images: one image per cell. Shape [R, C, h, w, 3]; uint8, or float in
      [0, 1], clipped.
    gap: white pixels between neighbours.
    scale: how many pixels wide and high each pixel becomes, without smoothing.

  Returns:
    Shape [R * h * scale + (R - 1) * gap, C * w * scale + (C - 1) * gap, 3].

  Raises:
    ValueError: wrong shape or dtype, no images, or a value that is not finite.
  """
  if gap < 0 or scale < 1:
    raise ValueError(
      f'expected gap >= 0 and scale >= 1, got gap={gap}, scale={scale}'
    )
  pixels = _to_pixels(images, rank=5)
  num_rows, num_columns, height, width, _ = pixels.shape
  pixels = pixels.repeat(scale, axis=2).repeat(scale, axis=3)
  step_y, step_x = height * scale + gap, width * scale + gap
  shape = num_rows * step_y - gap, num_columns * step_x - gap, 3
  canvas = np.full(shape, _WHITE, np.uint8)
  for row in range(num_rows):
    for column in range(num_columns):
      y, x = row * step_y, column * step_x
      canvas[y : y + step_y - gap, x : x + step_x - gap] = pixels[row, column]
  return canvas


def conditional_grid(
  inputs: npt.ArrayLike,
  samples: npt.ArrayLike,
  *,
  input_labels: Sequence[str] | None = None,
  sample_labels: Sequence[str] | None = None,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """Inputs in the first rows, a black line, then what was sampled from them.

  A column is one test example, as in Sutter et al. 2020 (mmJSD), Fig. 1.

  Args:
    inputs: one row per input modality. Shape [I, C, h, w, 3].
    samples: one row per draw or generated modality. Shape [R, C, h, w, 3].
    input_labels: written to the left of the input rows, I of them; '' for none.
    sample_labels: as `input_labels`, R of them.
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or different numbers of columns or of labels.
  """
  inputs, samples = np.asarray(inputs), np.asarray(samples)
  if inputs.shape[1:] != samples.shape[1:]:
    raise ValueError(
      'expected inputs and samples with the same columns and image shape, got '
      f'{inputs.shape} and {samples.shape}'
    )
  top = grid(inputs, gap=gap, scale=scale)
  bottom = grid(samples, gap=gap, scale=scale)
  if input_labels is not None or sample_labels is not None:
    cell = inputs.shape[2] * scale + gap
    labels = [
      _checked_labels('input_labels', input_labels, len(inputs)),
      _checked_labels('sample_labels', sample_labels, len(samples)),
    ]
    margin = _margin(labels[0] + labels[1])
    top = _with_row_labels(top, labels[0], cell, margin)
    bottom = _with_row_labels(bottom, labels[1], cell, margin)
  return np.concatenate([top, _separator(top.shape[1]), bottom])


def reconstruction_figure(
  originals: Mapping[str, npt.ArrayLike],
  reconstructions: Mapping[str, npt.ArrayLike],
  *,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """For every modality a row of originals above a row of reconstructions.

  Args:
    originals: modality name to images. Shape [N, h, w, 3] each.
    reconstructions: the same names and shapes.
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure, rows named on the left. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or the names or shapes differ.
  """
  if list(originals) != list(reconstructions) or not originals:
    raise ValueError(
      'expected the same modalities in the same order, at least one, got '
      f'{list(originals)} and {list(reconstructions)}'
    )
  blocks = []
  margin = _margin([f'{name} rebuilt' for name in originals])
  for name, original in originals.items():
    pair = [np.asarray(original), np.asarray(reconstructions[name])]
    if pair[0].shape != pair[1].shape:
      raise ValueError(
        f'expected reconstructions of {name} shaped as its originals, '
        f'{pair[0].shape}, got {pair[1].shape}'
      )
    rows = np.stack([_to_pixels(images, rank=4) for images in pair])
    block = grid(rows, gap=gap, scale=scale)
    cell = rows.shape[2] * scale + gap
    labels = [f'{name} input', f'{name} rebuilt']
    blocks.append(_with_row_labels(block, labels, cell, margin))
  return _stack_rows(blocks)


def random_samples_figure(
  samples: Mapping[str, npt.ArrayLike],
  *,
  num_rows: int = 10,
  num_columns: int = 10,
  blocks_per_row: int = 3,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """Samples from the prior, one named block of images per modality.

  The same place in every block is decoded from the same latent.

  Args:
    samples: modality name to images, of which the first
      num_rows * num_columns are used. Shape [N, h, w, 3] each.
    num_rows: rows of a block.
    num_columns: columns of a block.
    blocks_per_row: how many modalities stand side by side.
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or too few samples.
  """
  if not samples:
    raise ValueError('expected samples of at least one modality, got none')
  needed = num_rows * num_columns
  blocks = []
  for name, images in samples.items():
    pixels = _to_pixels(images, rank=4)
    if len(pixels) < needed:
      raise ValueError(
        f'expected at least {needed} samples of {name}, got {len(pixels)}'
      )
    cells = pixels[:needed].reshape(num_rows, num_columns, *pixels.shape[1:])
    blocks.append(_with_title(grid(cells, gap=gap, scale=scale), name))
  rows = []
  for start in range(0, len(blocks), blocks_per_row):
    row = blocks[start : start + blocks_per_row]
    rows.append(_stack_rows([block.swapaxes(0, 1) for block in row]))
  return _stack_rows([row.swapaxes(0, 1) for row in rows])


def sample_figures(
  samples: 'FigureSamples', *, draws_per_target: int = 3
) -> dict[str, Pixels]:
  """All image figures of a run, by the names that the report knows.

  Args:
    samples: images of C examples, and what was generated from them.
    draws_per_target: rows of every modality in the grid from one input; the
      grids from all other modalities show every draw.

  Returns:
    'reconstructions', 'random_samples', 'conditional_<source>' and, for every
    modality, 'conditional_<all others>'.
  """
  originals = samples.originals
  found = {
    'reconstructions': reconstruction_figure(
      originals, samples.reconstructions
    ),
    'random_samples': random_samples_figure(samples.prior),
  }
  if samples.from_source:
    source, targets = samples.source, samples.from_source
    found[f'conditional_{source}'] = conditional_grid(
      originals[source][None],
      np.concatenate([x[:draws_per_target] for x in targets.values()]),
      input_labels=[f'input {source}'],
      sample_labels=[
        target if row == 0 else ''
        for target, x in targets.items()
        for row in range(len(x[:draws_per_target]))
      ],
    )
  for target, draws in samples.from_rest.items():
    inputs = [name for name in originals if name != target]
    # With two modalities, this replaces a grid from one input by a longer one.
    found[f'conditional_{"+".join(inputs)}'] = conditional_grid(
      np.stack([originals[name] for name in inputs]),
      draws,
      input_labels=[f'input {name}' for name in inputs],
      sample_labels=[target] + [''] * (len(draws) - 1),
    )
  return found


def to_png(pixels: Pixels) -> bytes:
  """PNG bytes of an image. Shape [H, W, 3], uint8."""
  buffer = io.BytesIO()
  Image.fromarray(_to_pixels(pixels, rank=3)).save(buffer, 'PNG', optimize=True)
  return buffer.getvalue()


def write_png(figure: Pixels | bytes, path: str | os.PathLike[str]) -> None:
  """Writes pixels, or a finished PNG, whole or not at all."""
  path = pathlib.Path(path)
  data = figure if isinstance(figure, bytes) else to_png(figure)
  partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
  try:
    partial.write_bytes(data)
    os.replace(partial, path)
  finally:
    partial.unlink(missing_ok=True)


def _to_pixels(images: npt.ArrayLike, *, rank: int) -> Pixels:
  """uint8 pixels of images, checked. Same shape."""
  images = np.asarray(images)
  if images.ndim != rank or images.shape[-1] != 3 or 0 in images.shape:
    raise ValueError(
      f'expected RGB images, an array of rank {rank} whose last axis is 3 and '
      f'none empty, got shape {images.shape}'
    )
  if images.dtype == np.uint8:
    return images
  if not np.issubdtype(images.dtype, np.floating):
    raise ValueError(f'expected uint8 or float images, got {images.dtype}')
  images = images.astype(np.float64)
  is_bad = ~np.isfinite(images)
  if is_bad.any():
    first = tuple(int(index) for index in np.argwhere(is_bad)[0])
    raise ValueError(
      f'expected finite pixels, got {int(is_bad.sum())} that are NaN or '
      f'infinite, the first at {first}'
    )
  return np.rint(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)


def _separator(width: int) -> Pixels:
  """A black line of 2 pixels between two white ones of 4."""
  line = np.full((10, width, 3), _WHITE, np.uint8)
  line[4:6] = 0
  return line


def _stack_rows(blocks: Sequence[Pixels]) -> Pixels:
  """Blocks below each other with a gap between, padded to one width."""
  width = max(block.shape[1] for block in blocks)
  rows = []
  for block in blocks:
    padding = width - block.shape[1]
    rows += [
      np.full((_BLOCK_GAP, width, 3), _WHITE, np.uint8),
      np.pad(block, ((0, 0), (0, padding), (0, 0)), constant_values=_WHITE),
    ]
  return np.concatenate(rows[1:])


def _checked_labels(
  name: str, labels: Sequence[str] | None, count: int
) -> list[str]:
  if labels is None:
    return [''] * count
  if len(labels) != count:
    raise ValueError(f'expected {count} {name}, got {len(labels)}')
  return list(labels)


def _margin(labels: Sequence[str]) -> int:
  """Pixels that the longest label needs, with a little air."""
  font = ImageFont.load_default(_FONT_SIZE)
  return max(int(font.getlength(label)) for label in labels) + 3 * _MARGIN


def _with_row_labels(
  block: Pixels, labels: Sequence[str], cell: int, margin: int
) -> Pixels:
  canvas = np.full((len(block), margin, 3), _WHITE, np.uint8)
  middles = [(row * cell + cell // 2) for row in range(len(labels))]
  written = _write(canvas, labels, middles, _FONT_SIZE)
  return np.concatenate([written, block], axis=1)


def _with_title(block: Pixels, title: str) -> Pixels:
  canvas = np.full((_TITLE_SIZE + 8, block.shape[1], 3), _WHITE, np.uint8)
  written = _write(canvas, [title], [len(canvas) // 2], _TITLE_SIZE)
  return np.concatenate([written, block])


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
