"""PolyMNIST: five modalities, one digit, each on its own background.

The recipe of Sutter et al. 2021 (MoPoE), App. D.1, and of the authors' program:
for each digit and each modality one permutation of that digit's MNIST images; a
random 28 x 28 crop of the modality's background; where MNIST is above 128 the
crop is inverted. What the modalities share is the digit, and nothing else.

Differs from the authors' program, whose seed is parsed but not used, and whose
loader lists files unsorted: here everything follows from a seed, and tuples are
sorted by digit and then by number, so that a tuple never mixes digits. Their
files can therefore not be made again bit by bit.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjsd_jax.data import backgrounds as backgrounds_lib
from mmjsd_jax.data import digits as digits_lib
from mmjsd_jax.data import prepared
from mmjsd_jax.data.dataset import (
  Dataset,
  Split,
  Streamed,
  fingerprint,
  sample,
)

NAME = 'polymnist'
MODALITIES = ('m0', 'm1', 'm2', 'm3', 'm4')
NUM_CLASSES = 10
_THRESHOLD = 128
_CROP = backgrounds_lib.CROP
LAYOUT = prepared.Layout(
  NAME, dict.fromkeys(MODALITIES, (_CROP, _CROP, 3)), NUM_CLASSES
)
_SPLITS = ('train', 'test')
# Tuples worked on at a time, which bounds what is held beside the result.
_CHUNK = 512


def make_tuples(
  digits: digits_lib.Digits,
  backgrounds: list[np.ndarray],
  *,
  seed: int,
  split: str,
  num_repeats: int = 1,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """The tuples of one split, sorted by digit, then by repeat and number.

  Crops start at x in [0, W - 28) and y in [0, H - 28), as in the authors'
  program; the last possible crop is therefore never drawn, except from a
  picture that is 28 wide or high, where the only one is.

  Args:
    digits: N images and their labels.
    backgrounds: five pictures, uint8 [H, W, 3], H and W 28 or more.
    seed: not negative. Permutations and crops follow from it, the split, the
      repeat and the modality; no two of those share random numbers.
    split: 'train' or 'test'.
    num_repeats: R, how often the recipe is followed, each time with other
      permutations and other crops. 1 is the paper's.

  Returns:
    Modality name -> uint8 [R * N, 28, 28, 3], and labels int32 [R * N].

  Raises:
    ValueError: if an argument is not as described.
  """
  recipe = Recipe(
    digits, backgrounds, seed=seed, split=split, num_repeats=num_repeats
  )
  return recipe.read(np.arange(len(recipe)), MODALITIES)


class Recipe:
  """The tuples of `make_tuples`, made when they are asked for.

  Attributes:
    shapes: modality name -> shape of an item.
  """

  def __init__(
    self,
    digits: digits_lib.Digits,
    backgrounds: list[np.ndarray],
    *,
    seed: int,
    split: str,
    num_repeats: int = 1,
  ):
    _check(digits, backgrounds, seed, split, num_repeats)
    self.shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
      MODALITIES, (_CROP, _CROP, 3)
    )
    by_digit = [
      np.flatnonzero(digits.labels == digit) for digit in range(NUM_CLASSES)
    ]
    counts = [len(rows) for rows in by_digit]
    # labels[order] is sorted; a stable sort keeps repeats in order.
    labels = np.repeat(np.arange(NUM_CLASSES, dtype=np.int32), counts)
    labels = np.tile(labels, num_repeats)
    order = np.argsort(labels, kind='stable')
    self._labels = labels[order]
    # Value v becomes 255 - v by flipping its bits.
    self._flips = np.where(
      digits.images > _THRESHOLD, np.uint8(255), np.uint8(0)
    )
    self._windows, self._places = {}, {}
    for m, (name, background) in enumerate(
      zip(MODALITIES, backgrounds, strict=True)
    ):
      height, width = background.shape[:2]
      # Colours of a row side by side, so that a crop is 28 runs of 84 bytes.
      self._windows[name] = np.lib.stride_tricks.sliding_window_view(
        np.ascontiguousarray(background).reshape(height, 3 * width),
        (_CROP, 3 * _CROP),
      )
      rows, ys, xs = [], [], []
      for repeat in range(num_repeats):
        rng = np.random.default_rng([seed, _SPLITS.index(split), repeat, m])
        rows += [rng.permutation(members) for members in by_digit]
        ys.append(rng.integers(max(height - _CROP, 1), size=sum(counts)))
        xs.append(rng.integers(max(width - _CROP, 1), size=sum(counts)))
      self._places[name] = [
        np.concatenate(parts)[order] for parts in (rows, ys, xs)
      ]

  def __len__(self) -> int:
    return len(self._labels)

  def read(
    self, rows: np.ndarray, names: Sequence[str]
  ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The tuples `rows`; see `records.Records.read`."""
    inputs = {name: self._compose(name, rows) for name in names}
    return inputs, self._labels[rows]

  def _compose(self, name: str, rows: np.ndarray) -> np.ndarray:
    """Crops of the background, inverted where the digits have ink."""
    windows, places = self._windows[name], self._places[name]
    output = np.empty((len(rows), _CROP, _CROP, 3), np.uint8)
    for start in range(0, len(rows), _CHUNK):
      part = slice(start, start + _CHUNK)
      images, ys, xs = (place[rows[part]] for place in places)
      crops = windows[ys, 3 * xs].reshape(-1, _CROP, _CROP, 3)
      flips = self._flips[images][..., None]
      np.bitwise_xor(crops, flips, out=output[part])
    return output


def _check(
  digits: digits_lib.Digits,
  backgrounds: list[np.ndarray],
  seed: int,
  split: str,
  num_repeats: int,
) -> None:
  images, labels = digits
  if images.dtype != np.uint8 or images.shape[1:] != (_CROP, _CROP):
    raise ValueError(
      f'expected digit images uint8 [N, 28, 28]; got {images.dtype}'
      f' {list(images.shape)}'
    )
  if labels.shape != images.shape[:1]:
    raise ValueError(
      f'expected labels of shape [{len(images)}]; got {list(labels.shape)}'
    )
  if labels.size and not 0 <= labels.min() <= labels.max() < NUM_CLASSES:
    raise ValueError(
      f'expected labels 0 to 9; got {labels.min()} to {labels.max()}'
    )
  if len(backgrounds) != len(MODALITIES):
    raise ValueError(
      f'expected {len(MODALITIES)} backgrounds; got {len(backgrounds)}'
    )
  for name, picture in zip(MODALITIES, backgrounds, strict=True):
    if picture.dtype != np.uint8 or picture.shape[2:] != (3,):
      raise ValueError(
        f'expected the background of {name} uint8 [H, W, 3]; got'
        f' {picture.dtype} {list(picture.shape)}'
      )
    if min(picture.shape[:2]) < _CROP:
      raise ValueError(
        f'expected the background of {name} to be at least 28 x 28; got'
        f' {picture.shape[1]} x {picture.shape[0]}'
      )
  if seed < 0:
    raise ValueError(f'expected a seed of 0 or more; got {seed}')
  if split not in _SPLITS:
    raise ValueError(f'expected split train or test; got {split!r}')
  if num_repeats < 1:
    raise ValueError(f'expected num_repeats of 1 or more; got {num_repeats}')


def load(
  *,
  digits: str = 'auto',
  directory: str = '',
  backgrounds: tuple[str, ...] = (),
  seed: int = 0,
  num_repeats: int = 1,
  embedded_repeats: int | None = None,
  allow_download: bool = False,
  in_memory: bool = True,
) -> Dataset:
  """PolyMNIST made from digits and backgrounds.

  Args:
    digits: one of `digits.SOURCES`; see `digits.find_digits`.
    directory: where MNIST (and `polymnist_backgrounds`) lie; '' for the
      directory that MMJSD_DATA_DIR names, if any.
    backgrounds: five files or one folder; empty for the default; see
      `backgrounds.find_backgrounds`.
    seed: of the permutations and crops.
    num_repeats: how many times over the training digits are used; the test
      split is always made once.
    embedded_repeats: taken for `num_repeats` if the digits are the embedded
      ones, of which there are few.
    allow_download: whether MNIST may be fetched.
    in_memory: False makes training tuples whenever they are taken; `train` is
      then a sample of `streamed`.

  Returns:
    The data set; MNIST gives 60,000 and 10,000 tuples, 0.8 GB.

  Raises:
    ValueError: if an argument or a file is bad.
    FileNotFoundError: if what was asked for is not there.
    ConnectionError: if MNIST was to be fetched and cannot be reached.
  """
  found = digits_lib.find_digits(
    digits, directory, allow_download=allow_download
  )
  if found.is_embedded and embedded_repeats is not None:
    num_repeats = embedded_repeats
  pictures = backgrounds_lib.find_backgrounds(backgrounds, directory)
  recipe = Recipe(
    found.train,
    pictures.images,
    seed=seed,
    split='train',
    num_repeats=num_repeats,
  )
  streamed = Streamed(recipe, MODALITIES, np.arange(len(recipe)))
  train = sample(streamed) if not in_memory else streamed.take(streamed.rows)
  test = Split(
    *make_tuples(found.test, pictures.images, seed=seed, split='test')
  )
  repeats = f', {num_repeats} repeats' if num_repeats > 1 else ''
  return Dataset(
    name=NAME,
    modalities=MODALITIES,
    num_classes=NUM_CLASSES,
    train=train,
    test=test,
    source=(
      f'PolyMNIST of {len(recipe):,} + {len(test.labels):,} tuples (seed'
      f' {seed}{repeats}): {found.source}; backgrounds {pictures.source}'
    ),
    substituted=' '.join(
      filter(None, (found.substituted, pictures.substituted))
    )
    or None,
    fingerprint=fingerprint(train if in_memory else streamed, test),
    streamed=None if in_memory else streamed,
  )


def load_prepared(directory: str | os.PathLike[str]) -> Dataset:
  """PolyMNIST as `polymnist_builder.Polymnist` prepared it.

  Args:
    directory: root of the data sets (TFDS's `data_dir`), or the folder
      `polymnist/1.0.0` in it.

  Returns:
    The data set that `load` gave when the copy was prepared.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy does not hold what was written into it.
    DamagedRecord: if a record is damaged.
  """
  return prepared.load_records(directory, LAYOUT, options={})


def load_streamed(
  *, directory: str | os.PathLike[str], options: Mapping[str, Any]
) -> Dataset:
  """The same, whose training split stays on the disk; see `prepared.stream`.

  Args:
    directory: see `load_prepared`.
    options: of `polymnist_builder.Polymnist`, which the copy must have.

  Raises:
    FileNotFoundError: if there is no copy.
    ValueError: if the copy is damaged, or was prepared with other options.
    DamagedRecord: if one of the records that are read is damaged.
  """
  return prepared.stream(directory, LAYOUT, options=options)
