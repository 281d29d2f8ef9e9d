"""Figures as in the papers: reconstructions, samples, conditional grids.

Arrays in, pixels or PNG bytes out; nothing is shown or kept. The charts are in
`curves.py`.

    R rows, C columns, N examples, [h, w, 3] pixels of one picture.

Items are images or texts as `pictures.to_pixels` takes them, written here as
[...] after their leading axes. Modalities may differ in size: columns are as
wide as the widest picture, rows as high as their own.
"""

import io
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy import typing as npt
from PIL import Image

from mmjsd_jax import layout
from mmjsd_jax.files import write_atomically
from mmjsd_jax.pictures import Pixels, can_be_shown, is_wrapped, to_pixels

if TYPE_CHECKING:
  from mmjsd_jax.evaluation.samples import FigureSamples

# Three blocks of 10 x 10 images of 28 x 28 at twice their size.
_MAX_WIDTH = 1800
# Characters of a line where texts stand beside other pictures.
_PER_LINE = 40
# Rows and columns of texts of several lines, and draws beside an example.
_MAX_TEXTS, _NUM_TEXTS = 4, 2


def grid(items: npt.ArrayLike, *, gap: int = 1, scale: int = 2) -> Pixels:
  """A mosaic of images or texts with white gaps, without a border.

  Args:
    items: one per cell. Shape [R, C, ...].
    gap: white pixels between neighbours.
    scale: how many pixels wide and high each pixel becomes, without smoothing.

  Returns:
    Shape [R * h * scale + (R - 1) * gap, C * w * scale + (C - 1) * gap, 3].

  Raises:
    ValueError: as `pictures.to_pixels`.
  """
  _check_geometry(gap, scale)
  return layout.mosaic(list(to_pixels(items, num_axes=2, scale=scale)), gap=gap)


def conditional_grid(
  inputs: Iterable[npt.ArrayLike],
  samples: Iterable[npt.ArrayLike],
  *,
  input_labels: Sequence[str] | None = None,
  sample_labels: Sequence[str] | None = None,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """Inputs in the first rows, a black line, then what was sampled from them.

  A column is one test example, as in Sutter et al. 2020 (mmJSD), Fig. 1.

  Args:
    inputs: one row per input modality, I of them. Shape [C, ...] each. Without
      any, as where vectors are given, the samples stand alone.
    samples: one row per draw or generated modality, R of them. [C, ...] each.
    input_labels: written to the left of the input rows, I of them; '' for none.
    sample_labels: as `input_labels`, R of them.
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, no rows, or different numbers of columns or of
      labels.
  """
  _check_geometry(gap, scale)
  top, bottom = (
    [to_pixels(row, num_axes=1, scale=scale) for row in rows]
    for rows in (inputs, samples)
  )
  if not bottom or len({len(row) for row in top + bottom}) != 1:
    raise ValueError(
      'expected rows of inputs and of samples, all with the same columns, got '
      f'{[len(row) for row in top]} and {[len(row) for row in bottom]} columns'
    )
  width = max(row.shape[2] for row in top + bottom)
  labels = [
    _checked_labels('input_labels', input_labels, len(top)),
    _checked_labels('sample_labels', sample_labels, len(bottom)),
  ]
  left = layout.margin(labels[0] + labels[1])
  blocks = []
  for rows, names in zip((top, bottom), labels, strict=True):
    if not rows:
      continue
    block = layout.mosaic(rows, gap=gap, width=width)
    if input_labels is not None or sample_labels is not None:
      heights = [row.shape[1] + gap for row in rows]
      block = layout.with_row_labels(block, names, heights, left)
    blocks.append(block)
  if not top:
    return blocks[0]
  line = layout.separator(blocks[0].shape[1])
  return np.concatenate([blocks[0], line, blocks[1]])


def listing(
  given: npt.ArrayLike,
  originals: npt.ArrayLike,
  draws: npt.ArrayLike,
  *,
  titles: Sequence[str],
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """A row per example: what is given, its original, and what was sampled.

  As Sutter et al. 2020 (mmJSD), Fig. 2, and 2021 (MoPoE), Fig. 4, with texts
  on the left and images on the right.

  Args:
    given: the inputs. Shape [C, ...].
    originals: what belongs to them of the sampled modality. Shape [C, ...].
    draws: sampled from the inputs. Shape [R, C, ...].
    titles: of the three parts.
    gap: white pixels between neighbours.
    scale: pixels per pixel of a text; images stay as large as they are.

  Returns:
    The figure. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or shapes that do not fit.
  """
  _check_geometry(gap, scale)
  parts = [np.asarray(part) for part in (given, originals, draws)]
  if len({len(parts[0]), len(parts[1]), *parts[2].shape[1:2]}) != 1:
    raise ValueError(
      'expected inputs [C, ...], originals [C, ...] and draws [R, C, ...], got '
      f'{[part.shape for part in parts]}'
    )
  columns = [*parts[:2], *parts[2]]
  pixels = [
    to_pixels(
      items,
      num_axes=1,
      scale=scale if is_wrapped(items, num_axes=1) else 1,
      per_line=_PER_LINE,
    )
    for items in columns
  ]
  return layout.columns(
    [pixels[:1], pixels[1:2], pixels[2:]], titles=titles, gap=gap
  )


def swapping_figure(
  originals: npt.ArrayLike,
  swapped: npt.ArrayLike,
  *,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """The content of the row's example in the style of the column's.

  As the papers' programs draw it: the examples stand in the first column,
  where their content is used, and in the first row, where their style is.

  Args:
    originals: the examples. Shape [C, ...].
    swapped: content of the first axis, style of the second. [C, C, ...].
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or shapes that do not fit.
  """
  _check_geometry(gap, scale)
  examples = to_pixels(originals, num_axes=1, scale=scale)
  cells = to_pixels(swapped, num_axes=2, scale=scale)
  if cells.shape != (len(examples), *examples.shape):
    raise ValueError(
      'expected originals [C, ...] and swapped [C, C, ...], got '
      f'{np.shape(originals)} and {np.shape(swapped)}'
    )
  canvas = layout.with_edges(
    layout.mosaic(list(cells), gap=gap),
    top=layout.mosaic([examples], gap=gap),
    left=layout.mosaic(list(examples[:, None]), gap=gap),
  )
  labels = ['style of', 'content of']
  height = examples.shape[1]
  heights = [height + layout.SEPARATOR, height + gap]
  return layout.with_row_labels(canvas, labels, heights, layout.margin(labels))


def reconstruction_figure(
  originals: Mapping[str, npt.ArrayLike],
  reconstructions: Mapping[str, npt.ArrayLike],
  *,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """For every modality a row of originals above a row of reconstructions.

  Args:
    originals: modality name to items. Shape [N, ...] each.
    reconstructions: the same names; shapes that give pictures as large.
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure, rows named on the left. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or the names or shapes differ.
  """
  _check_geometry(gap, scale)
  if list(originals) != list(reconstructions) or not originals:
    raise ValueError(
      'expected the same modalities in the same order, at least one, got '
      f'{list(originals)} and {list(reconstructions)}'
    )
  pairs = {}
  for name in originals:
    before, after = pair = [
      to_pixels(items[name], num_axes=1, scale=scale)
      for items in (originals, reconstructions)
    ]
    if before.shape != after.shape:
      raise ValueError(
        f'expected reconstructions of {name} shaped as its originals, '
        f'{np.shape(originals[name])}, got {np.shape(reconstructions[name])}'
      )
    pairs[name] = pair
  left = layout.margin([f'{name} rebuilt' for name in pairs])
  width = max(before.shape[2] for before, _ in pairs.values())
  blocks = []
  for name, pair in pairs.items():
    block = layout.mosaic(pair, gap=gap, width=width)
    labels = [f'{name} input', f'{name} rebuilt']
    heights = [row.shape[1] + gap for row in pair]
    blocks.append(layout.with_row_labels(block, labels, heights, left))
  return layout.stack(blocks)


def random_samples_figure(
  samples: Mapping[str, npt.ArrayLike],
  *,
  num_rows: int = 10,
  num_columns: int = 10,
  max_width: int = _MAX_WIDTH,
  gap: int = 1,
  scale: int = 2,
) -> Pixels:
  """Samples from the prior, one named block per modality.

  The same place in every block is decoded from the same latent.

  Args:
    samples: modality name to items, of which the first
      num_rows * num_columns are used. Shape [N, ...] each.
    num_rows: rows of a block; of texts that are wrapped four at most.
    num_columns: columns of a block.
    max_width: modalities stand side by side as far as they fit into so many
      pixels.
    gap: white pixels between neighbours.
    scale: pixels per pixel.

  Returns:
    The figure. Shape [H, W, 3].

  Raises:
    ValueError: as `grid`, or too few samples.
  """
  _check_geometry(gap, scale)
  if not samples:
    raise ValueError('expected samples of at least one modality, got none')
  needed = num_rows * num_columns
  blocks = []
  for name, items in samples.items():
    items = np.asarray(items)
    if len(items) < needed:
      raise ValueError(
        f'expected at least {needed} samples of {name}, got {len(items)}'
      )
    shown = (
      min(num_rows, _MAX_TEXTS) if is_wrapped(items, num_axes=1) else num_rows
    )
    cells = to_pixels(items[: shown * num_columns], num_axes=1, scale=scale)
    cells = cells.reshape(shown, num_columns, *cells.shape[1:])
    block = layout.mosaic(list(cells), gap=gap)
    blocks.append(layout.with_title(block, name))
  return layout.flow(blocks, max_width)


def sample_figures(
  samples: 'FigureSamples', *, draws_per_target: int = 3
) -> dict[str, Pixels]:
  """All figures of a run that show samples, by the names the report knows.

  Args:
    samples: C examples, and what was generated from them.
    draws_per_target: rows of texts of several lines, and of every modality in
      the grid from one input if it is given three or more; all other grids show
      every draw.

  Returns:
    'reconstructions', 'random_samples', 'conditional_<source>' of every source
    (of two modalities, one a text of several lines, 'listing_<source>'),
    'conditional_<all others>' of every modality, and 'swapped_<modality>' of
    those that have a style. Modalities that are no pictures are left out.
  """
  originals = {
    name: items
    for name, items in samples.originals.items()
    if can_be_shown(items, num_axes=1)
    and can_be_shown(samples.prior[name], num_axes=1)
  }
  if not originals:
    return {}
  wrapped = {n for n, x in originals.items() if is_wrapped(x, num_axes=1)}
  found = {
    'reconstructions': reconstruction_figure(
      originals, {name: samples.reconstructions[name] for name in originals}
    ),
    'random_samples': random_samples_figure(
      {name: samples.prior[name] for name in originals}
    ),
  }
  for source, targets in samples.from_one.items():
    shown = {
      target: draws
      if len(targets) < 3 and target not in wrapped
      else draws[:draws_per_target]
      for target, draws in targets.items()
      if target in originals
    }
    if source not in originals or not shown:
      continue
    if len(originals) == 2 and wrapped:
      ((target, draws),) = shown.items()
      found[f'listing_{source}'] = listing(
        originals[source],
        originals[target],
        draws[:_NUM_TEXTS] if target in wrapped else draws,
        titles=[source, f'its {target}', f'{target} drawn given {source}'],
      )
      continue
    found[f'conditional_{source}'] = conditional_grid(
      [originals[source]],
      [row for draws in shown.values() for row in draws],
      input_labels=[f'input {source}'],
      sample_labels=[
        label
        for target, draws in shown.items()
        for label in [target] + [''] * (len(draws) - 1)
      ],
    )
  for target, draws in samples.from_rest.items():
    inputs = [name for name in originals if name != target]
    if target not in originals or not inputs:
      continue
    given = '+'.join(name for name in samples.originals if name != target)
    found[f'conditional_{given}'] = conditional_grid(
      [originals[name] for name in inputs],
      draws,
      input_labels=[f'input {name}' for name in inputs],
      sample_labels=[target] + [''] * (len(draws) - 1),
    )
  for name, swapped in samples.swapped.items():
    if name not in originals:
      continue
    most = _MAX_TEXTS if name in wrapped else len(swapped)
    found[f'swapped_{name}'] = swapping_figure(
      originals[name][:most], swapped[:most, :most]
    )
  return found


def to_png(pixels: Pixels) -> bytes:
  """PNG bytes of an image. Shape [H, W, 3], uint8."""
  buffer = io.BytesIO()
  Image.fromarray(to_pixels(pixels, num_axes=0)).save(
    buffer, 'PNG', optimize=True
  )
  return buffer.getvalue()


def write_png(figure: Pixels | bytes, path: str | os.PathLike[str]) -> None:
  """Writes pixels, or a finished PNG, whole or not at all."""
  data = figure if isinstance(figure, bytes) else to_png(figure)
  write_atomically(pathlib.Path(path), data)


def _check_geometry(gap: int, scale: int) -> None:
  if gap < 0 or scale < 1:
    raise ValueError(
      f'expected gap >= 0 and scale >= 1, got gap={gap}, scale={scale}'
    )


def _checked_labels(
  name: str, labels: Sequence[str] | None, count: int
) -> list[str]:
  if labels is None:
    return [''] * count
  if len(labels) != count:
    raise ValueError(f'expected {count} {name}, got {len(labels)}')
  return list(labels)
