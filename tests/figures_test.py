"""Geometry of the figures, and what they refuse."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from mmjsd_jax import figures, layout
from mmjsd_jax.data import text
from mmjsd_jax.evaluation.samples import FigureSamples

SHAPE = (4, 6, 3)  # height, width, channels


def _images(*leading: int) -> np.ndarray:
  """Distinct grey images, none of them white."""
  values = np.arange(np.prod(leading), dtype=np.uint8).reshape(leading)
  return np.broadcast_to(values[..., None, None, None], (*leading, *SHAPE))


@pytest.mark.parametrize(('gap', 'scale'), [(0, 1), (1, 2), (2, 3)])
def test_grid_geometry_is_exact(gap: int, scale: int):
  images = _images(2, 3)
  canvas = figures.grid(images, gap=gap, scale=scale)
  height, width = 4 * scale, 6 * scale
  assert canvas.shape == (2 * height + gap, 3 * width + 2 * gap, 3)
  assert canvas.dtype == np.uint8
  is_gap = np.ones(canvas.shape[:2], bool)
  for row in range(2):
    for column in range(3):
      y, x = row * (height + gap), column * (width + gap)
      cell = canvas[y : y + height, x : x + width]
      assert (cell == images[row, column, 0, 0]).all()
      is_gap[y : y + height, x : x + width] = False
  assert (canvas[is_gap] == 255).all()


def test_upscaling_repeats_pixels_without_smoothing():
  image = np.random.default_rng(0).integers(0, 255, (1, 1, *SHAPE), np.uint8)
  canvas = figures.grid(image, scale=3)
  for dy in range(3):
    for dx in range(3):
      np.testing.assert_array_equal(canvas[dy::3, dx::3], image[0, 0])


def test_floats_are_clipped_and_rounded():
  images = np.zeros((1, 1, *SHAPE), np.float32)
  images[0, 0, 0, :4, 0] = [-0.5, 0.5, 1.0, 7.0]
  canvas = figures.grid(images, scale=1)
  np.testing.assert_array_equal(canvas[0, :4, 0], [0, 128, 255, 255])


@pytest.mark.parametrize('value', [np.nan, np.inf], ids=['nan', 'inf'])
def test_pixels_that_are_not_finite_are_refused(value: float):
  images = np.zeros((2, 2, *SHAPE), np.float32)
  images[1, 0, 2, 3, 1] = value
  with pytest.raises(ValueError, match=r'finite.*first at \(1, 0, 2, 3, 1\)'):
    figures.grid(images)


@pytest.mark.parametrize(
  'images',
  [
    np.zeros((2, *SHAPE), np.uint8),
    np.zeros((2, 2, 4, 6, 2), np.uint8),
    np.zeros((0, 2, *SHAPE), np.uint8),
    np.zeros((2, 2, *SHAPE), np.int32),
    np.zeros((2, 2, *SHAPE), bool),
  ],
  ids=['rank', 'channels', 'empty', 'int', 'bool'],
)
def test_other_arrays_are_refused(images: np.ndarray):
  with pytest.raises(ValueError, match='expected .* got'):
    figures.grid(images)


def test_inputs_and_samples_are_separated_by_a_black_line():
  inputs, samples = _images(1, 3) + 50, _images(4, 3) + 50
  top = figures.grid(inputs)
  bottom = figures.grid(samples)
  canvas = figures.conditional_grid(inputs, samples)
  np.testing.assert_array_equal(canvas[: len(top)], top)
  np.testing.assert_array_equal(canvas[-len(bottom) :], bottom)
  between = canvas[len(top) : -len(bottom)]
  is_black = (between == 0).all(axis=(1, 2))
  is_white = (between == 255).all(axis=(1, 2))
  assert is_black.sum() == 2 and (is_black ^ is_white).all()
  assert is_white[0] and is_white[-1]


def test_labels_widen_the_conditional_grid_on_the_left_only():
  inputs, samples = _images(1, 3), _images(2, 3)
  plain = figures.conditional_grid(inputs, samples)
  labelled = figures.conditional_grid(
    inputs, samples, input_labels=['input m0'], sample_labels=['m1', '']
  )
  width = plain.shape[1]
  np.testing.assert_array_equal(labelled[:, -width:], plain)
  margin = labelled[:, :-width]
  assert margin.shape[1] > 0 and (margin < 128).any()


def test_wrong_number_of_labels_is_refused():
  with pytest.raises(ValueError, match='expected 2 sample_labels, got 1'):
    figures.conditional_grid(_images(1, 3), _images(2, 3), sample_labels=['m1'])


def test_samples_stand_alone_where_no_input_can_be_drawn():
  alone = figures.conditional_grid([], _images(2, 3), gap=1, scale=1)
  below = figures.conditional_grid(_images(1, 3), _images(2, 3), gap=1, scale=1)
  np.testing.assert_array_equal(alone, below[-len(alone) :])


def test_inputs_and_samples_need_the_same_columns():
  with pytest.raises(ValueError, match='same columns'):
    figures.conditional_grid(_images(1, 3), _images(2, 4))


def test_reconstructions_stand_below_their_originals():
  originals = {'m0': _images(5), 'm1': _images(5) + 20}
  rebuilt = {'m0': _images(5) + 40, 'm1': _images(5) + 60}
  canvas = figures.reconstruction_figure(originals, rebuilt, gap=0, scale=1)
  width = 5 * SHAPE[1]
  column = canvas[:, -width, 0]
  order = [value for value in column if value != 255]
  assert order == [0] * 4 + [40] * 4 + [20] * 4 + [60] * 4


def test_reconstructions_of_other_modalities_are_refused():
  with pytest.raises(ValueError, match='same modalities'):
    figures.reconstruction_figure({'m0': _images(5)}, {'m1': _images(5)})


def test_random_samples_show_the_first_of_each_modality():
  samples = {f'm{index}': _images(9) + 20 * index for index in range(3)}
  # No grey has this blue, so the titles' letters are told from images.
  blue = np.array([0, 0, 1], bool)
  samples = {n: np.where(blue, 255 - x, x) for n, x in samples.items()}
  canvas = figures.random_samples_figure(
    samples, num_rows=2, num_columns=4, max_width=60, gap=0, scale=1
  )
  is_image = canvas[..., 2] == 255 - canvas[..., 0]
  values, counts = np.unique(canvas[is_image][:, 0], return_counts=True)
  # The first eight of every modality, not the ninth.
  assert values.tolist() == [20 * m + n for m in range(3) for n in range(8)]
  assert (counts == SHAPE[0] * SHAPE[1]).all()


def test_too_few_random_samples_are_refused():
  with pytest.raises(ValueError, match='at least 100 samples of m0, got 9'):
    figures.random_samples_figure({'m0': _images(9)})


def test_blocks_that_do_not_fit_stand_below():
  samples = {f'm{index}': _images(8) for index in range(3)}
  width = 4 * SHAPE[1]
  height = len(_random_samples(samples, width))
  assert _random_samples(samples, 3 * width + 20).shape[1] == 3 * width + 20
  # One gap of 10 pixels between two blocks.
  two_rows = _random_samples(samples, 3 * width + 19)
  assert two_rows.shape[1] == 2 * width + 10
  assert height - len(two_rows) == (height - 20) // 3 + 10


def _random_samples(samples: dict[str, np.ndarray], max_width: int):
  return figures.random_samples_figure(
    samples, num_rows=2, num_columns=4, max_width=max_width, gap=0, scale=1
  )


def test_columns_of_unlike_modalities_are_in_line():
  image = np.zeros((3, *SHAPE), np.uint8)
  words = text.encode(['one', 'two', 'six'], 8)
  canvas = figures.conditional_grid([image], [words], gap=1, scale=1)
  wide = 8 * 4 + 2  # a text's width
  assert canvas.shape[1] == 3 * wide + 2
  columns = np.flatnonzero((canvas[0] == 0).all(axis=-1))
  middle = (wide - SHAPE[1]) // 2
  expected = [
    column * (wide + 1) + middle + x for column in range(3) for x in range(6)
  ]
  assert columns.tolist() == expected
  np.testing.assert_array_equal(
    canvas[SHAPE[0] + 10 :], figures.grid(words[None], scale=1)
  )


def test_labels_stand_beside_rows_of_any_height():
  rows = [np.zeros((2, 30, 6, 3), np.uint8), text.encode(['one', 'two'], 8)]
  labels = ['', 'mmm']
  plain = figures.conditional_grid(rows[:1], rows)
  labelled = figures.conditional_grid(
    rows[:1], rows, input_labels=[''], sample_labels=labels
  )
  margin = labelled[:, : -plain.shape[1]]
  # Behind the input, the line and the first row of samples.
  start = 60 + 10 + 61
  written = 70 + np.flatnonzero((margin[70:] < 128).any(axis=(1, 2)))
  assert start <= written.min() and written.max() < start + 28


def test_swapping_shows_contents_beside_and_styles_above():
  values = np.array([10, 20, 30], np.uint8)
  examples = np.broadcast_to(values[:, None, None, None], (3, *SHAPE))
  swapped = examples[:, None] + values[None, :, None, None, None] + np.uint8(99)
  canvas = figures.swapping_figure(examples, swapped, gap=0, scale=1)
  height, width = SHAPE[:2]
  body = canvas[-3 * height :: height, -3 * width :: width, 0]
  np.testing.assert_array_equal(body, values[:, None] + values[None] + 99)
  np.testing.assert_array_equal(canvas[0, -3 * width :: width, 0], values)
  left = canvas[-3 * height :: height, -3 * width - 10 - width, 0]
  np.testing.assert_array_equal(left, values)


def test_the_lines_of_swapping_cross():
  canvas = figures.swapping_figure(
    _images(3) + 50, np.stack([_images(3) + 50] * 3), scale=1
  )
  width, height = 4 * SHAPE[1] + 2 + 10, 4 * SHAPE[0] + 2 + 10
  is_black = (canvas[:, -width:] == 0).all(axis=-1)
  assert np.flatnonzero(is_black.all(axis=1)).tolist() == [8, 9]
  upright = np.flatnonzero(is_black.all(axis=0)).tolist()
  assert upright == [SHAPE[1] + 4, SHAPE[1] + 5]
  assert len(canvas) == height and is_black.sum() == 2 * (height + width) - 4


def test_swapping_needs_a_square_of_examples():
  with pytest.raises(ValueError, match=r'expected originals .* got \(3, '):
    figures.swapping_figure(_images(3), _images(3, 2))


def _samples(
  names: tuple[str, ...], sources: tuple[str, ...] = (), styles=()
) -> FigureSamples:
  """4 columns, 5 draws."""
  draws = {name: _images(5, 4) for name in names}
  return FigureSamples(
    labels=np.arange(4),
    originals={name: _images(4) for name in names},
    reconstructions={name: _images(4) for name in names},
    prior={name: _images(100) for name in names},
    from_one={
      source: {name: draws[name] for name in names if name != source}
      for source in sources or names
    },
    from_rest=draws if len(names) > 2 else {},
    swapped={name: _images(4, 4) for name in styles},
  )


def test_a_run_has_a_grid_from_every_input_and_from_all_others():
  found = figures.sample_figures(_samples(('m0', 'm1', 'm2'), styles=['m1']))
  assert list(found) == [
    'reconstructions',
    'random_samples',
    'conditional_m0',
    'conditional_m1',
    'conditional_m2',
    'conditional_m1+m2',
    'conditional_m0+m2',
    'conditional_m0+m1',
    'swapped_m1',
  ]
  # Rows of images, and the black line between them.
  cell, line = 2 * SHAPE[0] + 1, 10
  assert len(found['conditional_m1']) == cell - 1 + line + 10 * cell - 1
  assert len(found['conditional_m0+m1']) == 2 * cell - 1 + line + 5 * cell - 1


def test_many_modalities_get_few_rows_from_one_input():
  samples = _samples(('m0', 'm1', 'm2', 'm3'), ('m2',))
  found = figures.sample_figures(samples, draws_per_target=2)
  assert {'conditional_m2', 'conditional_m0+m1+m2'} <= set(found)
  assert 'conditional_m0' not in found
  cell, line = 2 * SHAPE[0] + 1, 10
  assert len(found['conditional_m2']) == cell - 1 + line + 6 * cell - 1


def test_vectors_are_in_no_figure():
  samples = _samples(('m0', 'm1', 'm2'), styles=('m0', 'm2'))
  vectors = {'m2': np.zeros((4, 6), np.float32)}
  mixed = samples._replace(originals=samples.originals | vectors)
  found = figures.sample_figures(mixed)
  assert set(found) == {
    'reconstructions',
    'random_samples',
    'conditional_m0',
    'conditional_m1',
    'conditional_m0+m2',
    'conditional_m1+m2',
    'swapped_m0',
  }
  alone = samples._replace(originals=vectors)
  assert figures.sample_figures(alone) == {}


def test_unlike_modalities_have_all_figures():
  rng = np.random.default_rng(0)
  shapes = {'grey': (28, 28, 1), 'colour': (32, 32, 3), 'text': (8, 71)}

  def decoded(*leading):
    return {n: rng.normal(size=(*leading, *s)) for n, s in shapes.items()}

  originals = {
    'grey': rng.integers(0, 256, (4, 28, 28, 1), np.uint8),
    'colour': rng.integers(0, 256, (4, 32, 32, 3), np.uint8),
    'text': text.encode(text.WORDS[:4], 8),
  }
  found = figures.sample_figures(
    FigureSamples(
      labels=np.arange(4),
      originals=originals,
      reconstructions=decoded(4),
      prior=decoded(100),
      from_one={'grey': {n: x for n, x in decoded(3, 4).items() if n > 'h'}},
      from_rest=decoded(3, 4),
      swapped=decoded(4, 4),
    )
  )
  assert len(found) == 2 + 1 + 3 + 3
  # Blocks of columns as wide as the widest, and labels.
  assert len(found['reconstructions']) == 2 * (56 + 64 + 28) + 3 + 20
  assert len(found['swapped_text']) == 28 + 10 + 4 * 28 + 3


def _long_texts(*leading: int) -> np.ndarray:
  return np.zeros((*leading, 64, 71), np.float32)


def test_long_texts_stand_beside_what_is_generated():
  images = np.zeros((2, 64, 64, 3), np.uint8)
  drawn = np.zeros((10, 2, 64, 64, 3), np.uint8)
  texts = text.encode(['a, b'.center(64, '*')] * 2, 64)
  titles = ['text', 'its image', 'image drawn given text']
  canvas = figures.listing(texts, images, drawn, titles=titles)
  wide = (40 * 4 + 6) * 2
  own = max(64, layout.margin(['its image']))
  assert canvas.shape[1] == wide + 10 + own + 10 + 10 * 65 - 1
  is_image = (canvas[-64:, -64:] == 0).all(axis=-1)
  assert is_image.all()
  with pytest.raises(ValueError, match='expected inputs'):
    figures.listing(texts[[0, 0, 0]], images, drawn, titles=titles)


def test_a_run_with_long_texts_has_few_of_them():
  samples = FigureSamples(
    labels=np.full(10, -1),
    originals={'image': _images(10), 'text': np.full((10, 64), 5, np.uint8)},
    reconstructions={'image': _images(10), 'text': _long_texts(10)},
    prior={'image': _images(100), 'text': _long_texts(100)},
    from_one={
      'image': {'text': _long_texts(10, 10)},
      'text': {'image': _images(10, 10)},
    },
    from_rest={},
    swapped={'text': _long_texts(10, 10)},
  )
  found = figures.sample_figures(samples)
  assert list(found) == [
    'reconstructions',
    'random_samples',
    'listing_image',
    'listing_text',
    'swapped_text',
  ]
  high = (4 * 7 + 6) * 2
  # Four rows of texts, their contents beside and their styles above.
  assert len(found['swapped_text']) == high + 10 + 4 * high + 3
  # Beside the images, four rows below a title.
  assert len(found['random_samples']) == 34 + 4 * high + 3
  # A small image, its own text and two that were drawn.
  assert found['listing_image'].shape[1] < 65 + 3 * (332 + 10)


def test_png_round_trip(tmp_path: pathlib.Path):
  canvas = figures.grid(_images(2, 3))
  path = tmp_path / 'grid.png'
  figures.write_png(canvas, path)
  np.testing.assert_array_equal(np.asarray(Image.open(path)), canvas)
  assert Image.open(io.BytesIO(figures.to_png(canvas))).size == (
    canvas.shape[1],
    canvas.shape[0],
  )
  assert list(tmp_path.iterdir()) == [path]
