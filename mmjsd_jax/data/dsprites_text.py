"""dSprites with text: a shape as an image, and what it is in words.

The set of the workshop version of mmJSD (Sutter, Daunhawer, Vogt 2019), App.
B.1: texts of 64 characters from the factors of dSprites, as in 'square, zero
point eight, left, upper mid', filled up with '*'. Where a text starts is drawn
whenever it is looked at (`modalities.text.place`), so that there are 648 texts
in a table.

The paper leaves open, and here it is so:

- orientations, 40 angles from 0 to 2 pi, go to the nearest of 0, 90, 180 and
  270 degrees, 10 to each word;
- positions, 32 values from 0 to 1, are cut at 1/3 and 2/3: 11, 10 and 11;
- a tenth of the grid, drawn at random, is the test part (`test_share`).

Images are those of the published file where it is found, and else drawn anew;
see `sprites`.
"""

import itertools
import os
import pathlib
import pickletools
import zipfile
from collections.abc import Sequence

import numpy as np

from mmjsd_jax.array_files import Header, open_arrays, read_header, refusing
from mmjsd_jax.data import sprites, text
from mmjsd_jax.data.dataset import Dataset, Factor, Split, fingerprint
from mmjsd_jax.data.digits import DATA_DIR_VARIABLE

NAME = 'dsprites_text'
MODALITIES = ('image', 'text')
SOURCES = ('auto', 'npz', 'rendered')
FILE = 'dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz'
TEXT_LENGTH = 64
FILLER = '*'
# What a text says, in its order but for y, which it has before x.
FACTORS = (
  Factor('shape', sprites.SHAPES),
  Factor(
    'scale',
    (
      *('zero point five', 'zero point six', 'zero point seven'),
      *('zero point eight', 'zero point nine', 'one point zero'),
    ),
  ),
  Factor('orientation', ('upright', 'left', 'upside down', 'right')),
  Factor('pos x', ('left', 'mid', 'right')),
  Factor('pos y', ('lower', 'mid', 'upper')),
)
_FOLDERS = ('', 'dsprites')
_CHUNK = 4096
_NOTE = 'note_on_this_copy'
_MOST_METADATA = 1 << 20  # bytes
_NUM_COMPARED = 200


def texts() -> list[str]:
  """What there is to say: 648 texts, the last of FACTORS varying fastest."""
  return [
    f'{shape}, {scale}, {orientation}, {y} {x}'
    for shape, scale, orientation, x, y in itertools.product(
      *(factor.classes for factor in FACTORS)
    )
  ]


def name_classes(classes: np.ndarray) -> np.ndarray:
  """Classes of FACTORS, from those of dSprites' grid.

  Args:
    classes: of colour, shape, scale, orientation, x and y. Integers [N, 6].

  Returns:
    uint8 [N, 5].
  """
  _, shape, scale, orientation, x, y = classes.T
  quarter = (8 * orientation + 39) // 78 % 4  # 4 * orientation / 39, rounded
  third_x, third_y = (np.minimum(3 * at // 31, 2) for at in (x, y))
  named = (shape, scale, quarter, third_x, 2 - third_y)  # y points downwards
  return np.stack(named, axis=-1).astype(np.uint8)


def load(
  *,
  source: str = 'auto',
  directory: str = '',
  seed: int = 0,
  num_examples: int = 0,
  test_share: float = 0.1,
) -> Dataset:
  """dSprites with text, of the published images or of drawn ones.

  Args:
    source: one of `SOURCES`. 'npz' is the published file; 'rendered' draws the
      images; 'auto' does so where no directory is named and the file is not in
      the one that MMJSD_DATA_DIR names.
    directory: that holds the file, itself or in `dsprites`; '' for the one that
      MMJSD_DATA_DIR names, if any.
    seed: of what is drawn: the test part, and a part of the grid. A part with
      more examples has those of one with fewer, each in the same split.
    num_examples: of both splits together; 0 is the whole grid, 737,280 images
      in 3 GB. No other images are drawn or kept.
    test_share: of the examples, to test on; the same share of the whole grid.

  Returns:
    The data set; it has factors and no labels.

  Raises:
    ValueError: if an argument or the file is bad.
    FileNotFoundError: if the file is not where it should be; says where it
      looked.
  """
  if not 0 <= num_examples <= sprites.NUM_IMAGES:
    raise ValueError(
      f'expected num_examples of 0 to {sprites.NUM_IMAGES:,}; got'
      f' {num_examples:,}'
    )
  substituted: str | None
  path, why = _find(source, directory)
  parts = _draw_parts(num_examples or sprites.NUM_IMAGES, test_share, seed)
  if path is None:
    images = [sprites.draw(rows)[..., None] for rows in parts]
    where, substituted = 'drawn from their geometry', _RENDERED.format(why)
  else:
    images = read_npz(path, parts)
    where, substituted = f'from {path}', _said_of(path, images[0], parts[0])
  train, test = map(_with_texts, images, parts)
  counts = f'{train.num_examples:,} + {test.num_examples:,}'
  return Dataset(
    name=NAME,
    modalities=MODALITIES,
    num_classes=0,
    train=train,
    test=test,
    source=(
      f'dSprites with text of {counts} of {sprites.NUM_IMAGES:,} pairs (seed'
      f' {seed}): images {where}; texts of {TEXT_LENGTH} characters'
    ),
    substituted=substituted,
    fingerprint=fingerprint(train, test),
    factors=FACTORS,
  )


# Counted over both files of published images that are smaller than the grid.
_RENDERED = (
  "The images are drawn from dSprites' geometry, not the published ones; of"
  ' 66,080 published ones, 6 differ from it by one pixel each. {}'
)


def _find(source: str, directory: str) -> tuple[pathlib.Path | None, str]:
  """The file, or None to draw the images, and why."""
  if source not in SOURCES:
    raise ValueError(
      f'expected source to be one of {", ".join(SOURCES)}; got {source!r}'
    )
  if source == 'rendered':
    return None, 'They were asked for.'
  named = directory or os.environ.get(DATA_DIR_VARIABLE, '')
  places = []
  if named:
    root = pathlib.Path(named).expanduser()
    places = [root / folder / FILE for folder in _FOLDERS]
  for path in places:
    if path.is_file():
      return path, ''
  looked = f'{FILE} not found; looked for {", ".join(map(str, places))}'
  if not places:
    looked = f'{FILE} not found, as no directory was named'
  if directory or source == 'npz':
    raise FileNotFoundError(
      f'{looked}; name a directory that holds it (or set {DATA_DIR_VARIABLE} to'
      " one), or ask for source='rendered'"
    )
  return None, f'{looked}.'


def _draw_parts(
  num_examples: int, test_share: float, seed: int
) -> list[np.ndarray]:
  """Rows of the grid to train and to test on, each ascending."""
  order = np.random.default_rng(seed).permutation(sprites.NUM_IMAGES)
  num_test = round(test_share * num_examples)
  if not 0 < num_test < num_examples:
    raise ValueError(
      'expected num_examples and test_share that leave one example at least to'
      f' train and to test on; got {num_examples} and {test_share}'
    )
  first_train = round(test_share * sprites.NUM_IMAGES)
  return [
    np.sort(order[first_train:][: num_examples - num_test]),
    np.sort(order[:first_train][:num_test]),
  ]


def _with_texts(images: np.ndarray, rows: np.ndarray) -> Split:
  factors = name_classes(sprites.classes(rows))
  sizes = tuple(len(factor.classes) for factor in FACTORS)
  table = np.ravel_multi_index(tuple(factors.T), sizes)
  return Split(
    {
      'image': images,
      'text': text.encode(texts(), TEXT_LENGTH, filler=FILLER),
    },
    np.full(len(rows), -1, np.int32),
    {'text': table.astype(np.int32)},
    factors=factors,
  )


# --- the published file -------------------------------------------------------


def read_npz(
  path: str | os.PathLike[str], parts: Sequence[np.ndarray]
) -> list[np.ndarray]:
  """Images of some rows of the grid, from dSprites' own file.

  Args:
    path: of an .npz with imgs, uint8 [737280, 64, 64], 0 or 1, in the order of
      the grid, as latents_classes, [737280, 6], has to say.
    parts: rows, ascending, in each part.

  Returns:
    Of each part, 0 or 255. uint8 [N, 64, 64, 1].

  Raises:
    ValueError: if the file is not exactly that, or damaged; one line that names
      the file and the array.
  """
  path = pathlib.Path(path)
  shape = (sprites.SIDE, sprites.SIDE)
  found = [np.empty((len(rows), *shape, 1), np.uint8) for rows in parts]
  with open_arrays(path, ('imgs', 'latents_classes')) as arrays:
    _check_header(path, 'imgs', 'uint8', shape, arrays.headers['imgs'])
    _check_header(
      path, 'latents_classes', 'int64', (6,), arrays.headers['latents_classes']
    )
    start = 0
    for chunk in arrays.chunks(_CHUNK):
      images = chunk['imgs']
      stop = start + len(images)
      grid = sprites.classes(np.arange(start, stop))
      _check_rows(
        path,
        start,
        np.any(chunk['latents_classes'] != grid, axis=1),
        'latents_classes in the order of the grid',
      )
      _check_rows(
        path, start, images.max(axis=(1, 2)) > 1, 'imgs of 0 and 1 alone'
      )
      for kept, rows in zip(found, parts, strict=True):
        first, last = np.searchsorted(rows, (start, stop))
        taken = images[rows[first:last] - start]
        np.multiply(taken[..., None], 255, out=kept[first:last])
      start = stop
  return found


def _check_header(
  path: pathlib.Path, name: str, dtype: str, shape: tuple[int, ...], got: Header
) -> None:
  expected = (sprites.NUM_IMAGES, *shape)
  if (got.dtype, got.shape) != (np.dtype(dtype), expected):
    raise ValueError(
      f'{path}: expected {name} {dtype} {list(expected)}; got {got.dtype}'
      f' {list(got.shape)}'
    )


def _check_rows(
  path: pathlib.Path, start: int, is_bad: np.ndarray, expected: str
) -> None:
  if is_bad.any():
    raise ValueError(
      f'{path}: expected {expected}; got others in row'
      f' {start + np.argmax(is_bad):,}'
    )


def _said_of(
  path: pathlib.Path, images: np.ndarray, rows: np.ndarray
) -> str | None:
  """What is to be said of images that are not, or not all, the published."""
  some = np.linspace(0, len(rows) - 1, _NUM_COMPARED).astype(int)
  differ = images[some, ..., 0] != sprites.draw(rows[some])
  num_others = np.sum(differ.sum(axis=(1, 2)) > 1)
  said = [f'{path} says of itself: {note}'] if (note := _note(path)) else []
  if num_others:
    said.append(
      f"The images in {path} are not dSprites': {num_others} of {_NUM_COMPARED}"
      ' that were compared differ from its geometry by more than a pixel.'
    )
  return ' '.join(said) or None


def _note(path: pathlib.Path) -> str:
  """What a copy says of itself, '' if nothing.

  The metadata are a pickle, which could run code; it is looked through for the
  note, and not carried out.
  """
  with refusing(path), zipfile.ZipFile(path) as archive:
    if 'metadata.npy' not in archive.namelist():
      return ''
    with archive.open('metadata.npy') as file:
      read_header(file)
      pickled = file.read(_MOST_METADATA)
    strings = [
      argument
      for _, argument, _ in pickletools.genops(pickled)
      if isinstance(argument, str)
    ]
  if _NOTE not in strings[:-1]:
    return ''
  return ' '.join(strings[strings.index(_NOTE) + 1].split())
