"""MNIST-SVHN-Text: a grey digit, a house number and a word that share a digit.

The recipe of Sutter et al. 2020 (mmJSD), Sec. 4.1, and of the authors' program,
taken from that of Shi et al. 2019 (MMVAE): of each digit the first n = min(how
many MNIST has, how many SVHN has) images of both, then 20 times a permutation
of either, side by side. The word is the digit's name in 8 characters; where it
starts is drawn whenever it is looked at (`modalities.text.place`).

Tuples are tables of rows: pixels lie in memory once, whatever the number of
pairings.

Differs from the authors' program, which draws its pairs anew and without a seed
at every start: here everything follows from a seed. With `pairing='all'` every
MNIST image is used, and not the first n of its digit.

Without MNIST or SVHN, scikit-learn's digits take the place of both: grey as the
first modality, and in colour over textures as the second, rendered anew for
each pairing as there are few. No image of that set is a house number, and none
is called so.
"""

import os

import numpy as np

from mmjsd_jax.data import colour_digits, text
from mmjsd_jax.data import digits as digits_lib
from mmjsd_jax.data import svhn as svhn_lib
from mmjsd_jax.data.dataset import Dataset, Split, fingerprint

NAME = 'mnist_svhn_text'
MODALITIES = ('mnist', 'svhn', 'text')
EMBEDDED_MODALITIES = ('digits', 'colour_digits', 'text')
NUM_CLASSES = 10
PAIRINGS = ('min', 'all')
# Characters in a text; mmJSD, App. C.
TEXT_LENGTH = 8
_SPLITS = ('train', 'test')


def pair(
  labels_a: np.ndarray,
  labels_b: np.ndarray,
  *,
  num_pairings: int = 20,
  seed: int,
  split: str,
  pairing: str = 'min',
  max_per_digit: int = 10_000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rows of two sets of images side by side, always of the same digit.

  Args:
    labels_a: digits of the first set. Integers [A], 0 to 9.
    labels_b: digits of the second set. Integers [B], 0 to 9.
    num_pairings: R, how often each image that is used is paired.
    seed: not negative. Permutations follow from it, the split, the digit, the
      set and the number of the pairing; more pairings leave the first as they
      were.
    split: 'train' or 'test'.
    pairing: 'min' for the paper's: of each digit the first n images of both
      sets, n = min(how many there are of it in either, `max_per_digit`). 'all'
      for every image of the first set R times, and of the second as many as
      that takes: one permutation after the other.
    max_per_digit: of no effect on 'all'.

  Returns:
    Rows of the first set, rows of the second, and their digits, sorted by
    digit, then by pairing. Each int32 [N]; for 'min' N is R times the sum of n,
    for 'all' R * A.

  Raises:
    ValueError: if an argument is not as described, or for 'all' a digit of the
      first set is not in the second.
  """
  _check(labels_a, labels_b, num_pairings, seed, split, pairing, max_per_digit)
  rows_a, rows_b, counts = [], [], []
  for digit in range(NUM_CLASSES):
    of_a, of_b = (np.flatnonzero(x == digit) for x in (labels_a, labels_b))
    if pairing == 'min':
      count = min(len(of_a), len(of_b), max_per_digit)
      of_a, of_b = of_a[:count], of_b[:count]
    elif len(of_a) and not len(of_b):
      raise ValueError(
        "expected every digit of the first set in the second for pairing='all';"
        f' got no {digit}'
      )
    start = (seed, _SPLITS.index(split), digit)
    total = num_pairings * len(of_a)
    rows_a.append(_permutations(of_a, total, (*start, 0)))
    rows_b.append(_permutations(of_b, total, (*start, 1)))
    counts.append(total)
  return (
    np.concatenate(rows_a).astype(np.int32),
    np.concatenate(rows_b).astype(np.int32),
    np.repeat(np.arange(NUM_CLASSES, dtype=np.int32), counts),
  )


def _permutations(
  rows: np.ndarray, total: int, seed: tuple[int, ...]
) -> np.ndarray:
  """The first `total` of permutations of `rows`, one after the other."""
  made = [np.zeros(0, rows.dtype)]
  for repeat in range(-(-total // max(len(rows), 1))):
    rng = np.random.default_rng([*seed, repeat])
    made.append(rng.permutation(rows))
  return np.concatenate(made)[:total]


def _check(
  labels_a: np.ndarray,
  labels_b: np.ndarray,
  num_pairings: int,
  seed: int,
  split: str,
  pairing: str,
  max_per_digit: int,
) -> None:
  for name, labels in (('labels_a', labels_a), ('labels_b', labels_b)):
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
      raise ValueError(
        f'expected {name} as integers [N]; got {labels.dtype}'
        f' {list(labels.shape)}'
      )
    if labels.size and not 0 <= labels.min() <= labels.max() < NUM_CLASSES:
      raise ValueError(
        f'expected {name} 0 to 9; got {labels.min()} to {labels.max()}'
      )
  if num_pairings < 1:
    raise ValueError(f'expected num_pairings of 1 or more; got {num_pairings}')
  if seed < 0:
    raise ValueError(f'expected a seed of 0 or more; got {seed}')
  if split not in _SPLITS:
    raise ValueError(f'expected split train or test; got {split!r}')
  if pairing not in PAIRINGS:
    raise ValueError(
      f'expected pairing to be one of {", ".join(PAIRINGS)}; got {pairing!r}'
    )
  if max_per_digit < 1:
    raise ValueError(
      f'expected max_per_digit of 1 or more; got {max_per_digit}'
    )


# --- the whole --------------------------------------------------------------


def load(
  *,
  digits: str = 'auto',
  directory: str = '',
  seed: int = 0,
  num_pairings: int = 20,
  pairing: str = 'min',
  embedded_repeats: int | None = None,
  allow_download: bool = False,
) -> Dataset:
  """MNIST-SVHN-Text made in memory, or the embedded set in its place.

  Args:
    digits: one of `digits.SOURCES`: 'idx' is for the published files of both,
      'tfds' for copies of TensorFlow Datasets of both, 'mnist' for either.
      'auto' is for either as well, and where one of the two is missing, for the
      embedded set; but if a directory is named and holds neither, that is an
      error. 'embedded' is for that set.
    directory: where both lie; see `digits.find_digits` and `svhn.find_svhn`.
    seed: of the pairs, and of the embedded set's colours.
    num_pairings: see `pair`; also of the test split, as in the papers.
    pairing: see `pair`.
    embedded_repeats: taken for `num_pairings` if the set is the embedded one.
    allow_download: whether MNIST and SVHN may be fetched.

  Returns:
    The data set, with tables. The whole of MNIST and SVHN gives 1,121,360 and
    200,000 tuples, 0.3 GB. Images that no tuple has are left out.

  Raises:
    ValueError: if an argument or a file is bad.
    FileNotFoundError: if what was asked for is not there.
    ConnectionError: if MNIST or SVHN was to be fetched and cannot be reached.
  """
  found = None
  why = 'were asked for'
  if digits != 'embedded':
    try:
      found = _find(digits, directory, allow_download)
    except _Missing as missing:
      why = f'were taken. {missing}'
  if found is None:
    modalities, what = EMBEDDED_MODALITIES, 'Embedded digits'
    if embedded_repeats is not None:
      num_pairings = embedded_repeats
    found = _embedded(why, seed, num_pairings)
  else:
    modalities, what = MODALITIES, 'MNIST-SVHN-Text'
  train, test, line, substituted = found
  splits = []
  for name, images in zip(_SPLITS, (train, test), strict=True):
    pairs = pair(
      images[0].labels,
      images[1].labels,
      num_pairings=num_pairings,
      seed=seed,
      split=name,
      pairing=pairing,
    )
    if modalities == EMBEDDED_MODALITIES:
      pairs = _own_renderings(pairs, images[0].labels, num_pairings)
    splits.append(_tabulate(modalities, images, pairs))
  counts = ' + '.join(f'{len(split.labels):,}' for split in splits)
  how = '' if pairing == 'min' else ', of every image of the first set'
  return Dataset(
    name=NAME,
    modalities=modalities,
    num_classes=NUM_CLASSES,
    train=splits[0],
    test=splits[1],
    source=(
      f'{what} of {counts} tuples (seed {seed}, {num_pairings} pairings{how}):'
      f' {line}; the names of the digits in {TEXT_LENGTH} characters'
    ),
    substituted=substituted,
    fingerprint=fingerprint(*splits),
  )


# Images [N, height, width, channels] and labels of the two sets of one split.
_Images = digits_lib.Digits | svhn_lib.Svhn
_Found = tuple[
  tuple[_Images, _Images], tuple[_Images, _Images], str, str | None
]

_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


class _Missing(Exception):
  """Why the embedded set is taken."""


def _find(digits: str, directory: str, allow_download: bool) -> _Found:
  """MNIST and SVHN; for 'auto', `_Missing` if the embedded set may stand in."""
  errors: list[OSError] = []
  try:
    grey = digits_lib.find_digits(
      'mnist' if digits == 'auto' else digits,
      directory,
      allow_download=allow_download,
    )
  except (FileNotFoundError, ConnectionError) as error:
    errors.append(error)
  try:
    colour_train, colour_test, colour_line, partial = svhn_lib.find_svhn(
      {'idx': 'mat', 'tfds': 'tfds'}.get(digits, 'auto'),
      directory,
      allow_download=allow_download,
    )
  except (FileNotFoundError, ConnectionError) as error:
    errors.append(error)
  if errors:
    named = directory or os.environ.get(digits_lib.DATA_DIR_VARIABLE)
    if digits != 'auto' or (named and len(errors) == 2):
      raise errors[0]
    raise _Missing('; '.join(map(str, errors))) from errors[0]
  return (
    (_with_channel(grey.train), colour_train),
    (_with_channel(grey.test), colour_test),
    f'{grey.source}; {colour_line}',
    ' '.join(filter(None, (grey.substituted, partial))) or None,
  )


def _with_channel(images: digits_lib.Digits) -> digits_lib.Digits:
  return images._replace(images=images.images[..., None])


def _embedded(why: str, seed: int, num_renderings: int) -> _Found:
  """Grey digits, and the same in as many colours as there are pairings."""
  splits = digits_lib.load_embedded()
  train, test = (
    (
      _with_channel(grey),
      digits_lib.Digits(
        colour_digits.render(
          grey.images, seed=seed, split=split, num_renderings=num_renderings
        ),
        grey.labels,
      ),
    )
    for split, grey in zip(_SPLITS, splits, strict=True)
  )
  return (
    train,
    test,
    f"scikit-learn's digits ({len(train[0].labels):,} +"
    f' {len(test[0].labels):,} images, 8 x 8 made 28 x 28, and 32 x 32 in'
    ' colour over textures made by arithmetic, anew for each pairing)',
    "Scikit-learn's bundled handwritten digits, once grey and once in colour"
    f' over textures, not MNIST and SVHN, {why}.',
  )


def _own_renderings(
  pairs: _Pairs, labels: np.ndarray, num_pairings: int
) -> _Pairs:
  """The same pairs, those of pairing r with rendering r of the second set."""
  rows_a, rows_b, digits = pairs
  rendering = np.concatenate(
    [
      np.repeat(np.arange(num_pairings, dtype=np.int32), count)
      for count in np.bincount(labels, minlength=NUM_CLASSES)
    ]
  )
  return rows_a, rows_b + np.int32(len(labels)) * rendering, digits


def _tabulate(
  modalities: tuple[str, ...],
  images: tuple[_Images, _Images],
  pairs: _Pairs,
) -> Split:
  """A split of the images that pairs have, and tables of where they are."""
  *rows, labels = pairs
  inputs, tables = {}, {}
  for name, (items, _), chosen in zip(modalities, images, rows, strict=False):
    used = np.zeros(len(items), bool)
    used[chosen] = True
    if not used.all():
      chosen = (np.cumsum(used) - 1)[chosen].astype(np.int32)
      items = items[used]
    inputs[name], tables[name] = items, chosen
  inputs['text'] = text.encode(text.WORDS, TEXT_LENGTH)
  tables['text'] = labels
  return Split(inputs, labels, tables)
