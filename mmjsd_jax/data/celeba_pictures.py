"""The pictures of CelebA, decoded and made small as in the authors' programs.

N pictures, A = 40 attributes.
"""

import concurrent.futures
import io
import os
import pathlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

IMAGE_SHAPE = (64, 64, 3)
_SIZE = (178, 218)
# 148 x 148 from column 15 and row 35 on.
_BOX = (15, 35, 163, 183)
# Pictures that a thread decodes at a time.
_CHUNK = 256


class Pictures(NamedTuple):
  """Pictures that are yet to be decoded, and what is known of them.

  Attributes:
    place: what they are in.
    ids: their names in there, N of them.
    has: which of `celeba_lists.ATTRIBUTES` every picture has. Bool [N, A].
    parts: index into `celeba_lists.PARTS` of every picture. uint8 [N].
    read_fn: number of a picture to its JPEG file; any thread may call it.
    differs: one sentence if the lists are not those published; else None.
  """

  place: pathlib.Path
  ids: Sequence[str]
  has: np.ndarray
  parts: np.ndarray
  read_fn: Callable[[int], bytes]
  differs: str | None = None


def decode(pictures: Pictures, rows: np.ndarray) -> np.ndarray:
  """The pictures `rows` as models take them, decoded on all cores.

  A terminal shows a bar.

  Returns:
    uint8 [n, 64, 64, 3].

  Raises:
    ValueError: a damaged file, or a picture of another size; names it.
  """
  from tqdm import tqdm

  images = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)

  def fill(start: int) -> int:
    part = rows[start : start + _CHUNK].tolist()
    for index, row in enumerate(part, start):
      try:
        images[index] = shrink(pictures.read_fn(row))
      except (ValueError, zipfile.BadZipFile, zlib.error) as error:
        place = pictures.place / pictures.ids[row]
        raise ValueError(f'{place}: {error}') from error
    return len(part)

  with (
    tqdm(total=len(rows), desc='CelebA', unit='picture', disable=None) as bar,
    concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
  ):
    # After the first error nothing more is begun.
    for count in pool.map(fill, range(0, len(rows), _CHUNK)):
      bar.update(count)
  return images


def shrink(jpeg: bytes) -> np.ndarray:
  """The middle of a picture, 148 x 148, made 64 x 64.

  By Pillow's bicubic interpolation, as in the authors' programs.

  Args:
    jpeg: content of a file of 178 x 218 pixels in RGB.

  Returns:
    uint8 [64, 64, 3].

  Raises:
    ValueError: anything else; says what was expected and what was got.
  """
  from PIL import Image

  small = None
  try:
    with Image.open(io.BytesIO(jpeg), formats=['JPEG']) as picture:
      form = (*picture.size, picture.mode)
      if form == (*_SIZE, 'RGB'):
        middle = picture.crop(_BOX)
        small = middle.resize(IMAGE_SHAPE[:2], Image.Resampling.BICUBIC)
  # Pillow's readers raise any of these on damaged files.
  except (
    *(OSError, SyntaxError, ValueError, IndexError, EOFError),
    Image.DecompressionBombError,
  ) as error:
    what = ' '.join(str(error).split())
    raise ValueError(
      f'expected a whole JPEG file; got a damaged one ({what})'
    ) from error
  if small is None:
    raise ValueError(
      'expected {} x {} pixels in {}; got {} x {} in {}'.format(
        *_SIZE, 'RGB', *form
      )
    )
  return np.asarray(small)
