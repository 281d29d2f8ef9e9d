"""The five pictures that PolyMNIST crops its backgrounds from.

The paper's are, for m0 to m4: a fractal tree, Munch's The Scream, the Lena
portrait, a star field and shingles (Sutter et al. 2021, MoPoE, App. D.1). They
are files: any five may be named. No picture is shipped with this package. Where
none is named and none lies in the data directory, and where `TEXTURES` stands
in place of names, five textures made by arithmetic are taken.
"""

import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mmjsd_jax.data import textures

NUM_BACKGROUNDS = 5
CROP = 28
FOLDER = 'polymnist_backgrounds'
TEXTURES = ('textures',)
# m0 to m4. The third is copyrighted and its use discouraged: it may be another.
PAPER = ('fractal_tree', 'the_scream', 'lena', 'star_field', 'shingles')
_FORMATS = ('JPEG', 'PNG')
_SUFFIXES = ('.jpg', '.jpeg', '.png')
# 192 MB as RGB; a picture that says it is larger is not decoded.
_MAX_PIXELS = 64_000_000
_MODES = ('1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'YCbCr')


class Backgrounds(NamedTuple):
  """Pictures, and where they came from.

  Attributes:
    images: one per modality, uint8 [H, W, 3] each of its own size.
    source: a phrase that names them, in order.
    substituted: one sentence if they are not the paper's; None if they are.
  """

  images: list[np.ndarray]
  source: str
  substituted: str | None


def find_backgrounds(
  paths: Sequence[str] = (), directory: str = ''
) -> Backgrounds:
  """The pictures named, or the ones in a data directory, or the textures.

  Args:
    paths: five files or one folder, as for `load_backgrounds`; empty for the
      folder `polymnist_backgrounds` in `directory` or, failing that, in the
      directory that MMJSD_DATA_DIR names; failing both, or of `TEXTURES`, the
      textures.
    directory: the data directory, or ''.

  Returns:
    The pictures of m0 to m4.

  Raises:
    FileNotFoundError: if a file or folder that was named is missing.
    ValueError: as `load_backgrounds`.
  """
  if tuple(paths) == TEXTURES:
    return _textures('they were asked for.')
  if not paths:
    for root in (directory, os.environ.get('MMJSD_DATA_DIR', '')):
      folder = pathlib.Path(root).expanduser() / FOLDER
      if root and folder.is_dir():
        paths = (str(folder),)
        break
    else:
      return _textures(
        f'none were named and no data directory holds a folder {FOLDER}.'
      )
  files = list_files(paths)
  stems = [file.stem for file in files]
  return Backgrounds(
    load_backgrounds(paths),
    f'{", ".join(file.name for file in files)} in {files[0].parent}',
    _compare(stems),
  )


def _textures(why: str) -> Backgrounds:
  made = textures.make_textures()
  return Backgrounds(
    list(made.values()),
    f'textures made by arithmetic ({", ".join(made)})',
    "Textures made by arithmetic are the backgrounds, not the paper's pictures:"
    f' {why}',
  )


def load_backgrounds(paths: Sequence[str] | str) -> list[np.ndarray]:
  """Five pictures from files, in order.

  Args:
    paths: five files (.jpg, .jpeg or .png), in the order m0 to m4; or one
      folder that holds exactly five. A folder is read in alphabetical order, as
      the authors' program does, except where its names are those of the paper's
      pictures (`PAPER`, all but the third needed): then in the paper's order.

  Returns:
    Five uint8 [H, W, 3], with H and W 28 or more.

  Raises:
    FileNotFoundError: if a file or folder is missing.
    ValueError: if there are not five, or one is unreadable or too small.
  """
  return [_read_picture(file) for file in list_files(paths)]


def list_files(paths: Sequence[str] | str) -> list[pathlib.Path]:
  """The five files that `load_backgrounds` reads, in its order.

  Raises:
    FileNotFoundError: if a file or folder is missing.
    ValueError: if there are not five.
  """
  if isinstance(paths, str):
    paths = [paths]
  files = [pathlib.Path(path).expanduser() for path in paths]
  for file in files:
    if not file.exists():
      raise FileNotFoundError(
        f'expected a background picture or a folder of them; {file} is missing'
      )
  where = ''
  if len(files) == 1 and files[0].is_dir():
    where = f' (.jpg, .jpeg, .png) in {files[0]}'
    files = sorted(
      file
      for file in files[0].iterdir()
      if file.suffix.lower() in _SUFFIXES and file.is_file()
    )
    files = _paper_order(files)
  if len(files) != NUM_BACKGROUNDS:
    raise ValueError(
      f'expected {NUM_BACKGROUNDS} background pictures{where}; got'
      f' {len(files)}: {", ".join(file.name for file in files) or "none"}'
    )
  return files


def _paper_order(files: list[pathlib.Path]) -> list[pathlib.Path]:
  """Puts the paper's pictures in its order, the one that is not Lena third."""
  stems = [file.stem.lower() for file in files]
  needed = [name for name in PAPER if name != 'lena']
  if len(files) != NUM_BACKGROUNDS or not set(needed) <= set(stems):
    return files
  (third,) = set(range(NUM_BACKGROUNDS)) - {stems.index(n) for n in needed}
  ordered = [files[stems.index(name)] for name in needed]
  return [*ordered[:2], files[third], *ordered[2:]]


def _compare(stems: list[str]) -> str | None:
  """What differs from the paper's pictures, going by the names of files."""
  pairs = list(zip(PAPER, (stem.lower() for stem in stems), strict=True))
  wrong = [(want, got) for want, got in pairs if want != got]
  if not wrong:
    return None
  if [want for want, _ in wrong] == ['lena']:
    return (
      f"The background of m2 is {wrong[0][1]}, in place of the paper's Lena"
      ' (copyrighted, and its use discouraged).'
    )
  return (
    f'The backgrounds are {", ".join(stems)}; going by their names they are not'
    f" the paper's ({', '.join(PAPER)})."
  )


def _read_picture(path: pathlib.Path) -> np.ndarray:
  from PIL import Image

  if not path.is_file():
    raise ValueError(f'{path}: expected a picture file; got a folder')
  try:
    with warnings.catch_warnings():
      # Pillow warns of what the check of the size below refuses anyway.
      warnings.simplefilter('ignore', Image.DecompressionBombWarning)
      with Image.open(path, formats=_FORMATS) as picture:
        # Pillow leaves a PNG's checksums aside when it decodes one.
        picture.verify()
      with Image.open(path, formats=_FORMATS) as picture:
        width, height = picture.size
        if width < CROP or height < CROP:
          raise _Refused(
            f'at least {CROP} x {CROP} pixels; got {width} x {height}'
          )
        if width * height > _MAX_PIXELS:
          raise _Refused(
            f'at most {_MAX_PIXELS:,} pixels; got {width} x {height}'
          )
        if picture.mode not in _MODES:
          raise _Refused(f'8 bits a channel; got mode {picture.mode}')
        return np.array(picture.convert('RGB'))
  except Image.DecompressionBombError as error:
    raise ValueError(
      f'{path}: expected at most {_MAX_PIXELS:,} pixels; got {error}'
    ) from error
  except _Refused as error:
    raise ValueError(f'{path}: expected {error}') from None
  # Pillow's readers raise any of these on damaged files.
  except (OSError, SyntaxError, ValueError, IndexError, EOFError) as error:
    raise ValueError(
      f'{path}: expected a JPEG or PNG picture; got an unreadable file'
      f' ({_one_line(error)})'
    ) from error


class _Refused(Exception):
  """A picture that was read and cannot be used."""


def _one_line(error: Exception) -> str:
  return ' '.join(str(error).split())
