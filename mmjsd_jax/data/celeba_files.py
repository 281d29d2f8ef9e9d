"""CelebA as it is downloaded: two lists, and a folder or a zip of pictures.

Liu et al. 2015, http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, the aligned
and cropped pictures: `img_align_celeba/` or `img_align_celeba.zip`,
`list_attr_celeba.txt` and `list_eval_partition.txt`, or the two lists as `.csv`
as Kaggle has them. For non-commercial research, and not to be passed on.
"""

import os
import pathlib
import zipfile
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from mmjsd_jax import files
from mmjsd_jax.data import celeba_lists
from mmjsd_jax.data.celeba_pictures import Pictures

_FOLDERS = ('', 'celeba', 'CelebA')
# The last three are those of the authors' own site.
_INNER_FOLDERS = ('', 'Anno', 'Eval', 'Img')
_FILES = {
  'attributes': ('list_attr_celeba.txt', 'list_attr_celeba.csv'),
  'parts': ('list_eval_partition.txt', 'list_eval_partition.csv'),
  'pictures': ('img_align_celeba', 'img_align_celeba.zip'),
}
_PRESENT = 'images_present.txt'
# Of one picture; the published ones have some 7 kB.
_MAX_BYTES = 1 << 24


class Download(NamedTuple):
  """Where the files are.

  Attributes:
    folder: that they are in.
    attributes: the list of attributes.
    parts: the list of parts.
    pictures: folder or zip.
    present: the list of the pictures that are there; None where all should be.
  """

  folder: pathlib.Path
  attributes: pathlib.Path
  parts: pathlib.Path
  pictures: pathlib.Path
  present: pathlib.Path | None


def locate(directory: str | os.PathLike[str]) -> Download | None:
  """The files in `directory`, or in `celeba` or `CelebA` in it.

  Raises:
    FileNotFoundError: some are there and others are not; names these.
  """
  for name in _FOLDERS:
    folder = pathlib.Path(directory).expanduser() / name
    found = {kind: _first(folder, names) for kind, names in _FILES.items()}
    paths = {kind: path for kind, path in found.items() if path is not None}
    lacking = [' or '.join(_FILES[kind]) for kind in found if kind not in paths]
    if paths and lacking:
      raise FileNotFoundError(
        f'{folder}: expected {" and ".join(lacking)} beside'
        f' {", ".join(path.name for path in paths.values())}; got none'
      )
    if paths:
      nested = paths['pictures'] / paths['pictures'].name  # as in Kaggle's zip
      if nested.is_dir():
        paths['pictures'] = nested
      return Download(folder, **paths, present=_first(folder, (_PRESENT,)))
  return None


def places(directory: str | os.PathLike[str]) -> list[str]:
  """Where `locate` looks, for messages."""
  root = pathlib.Path(directory).expanduser()
  return [str(root / name / 'list_attr_celeba.*') for name in _FOLDERS]


def read(download: Download) -> Pictures:
  """What the lists say, and the pictures, all of which are there.

  Raises:
    ValueError: a list that is damaged or does not fit another, or a damaged
      zip; names file and line.
    FileNotFoundError: a picture that should be there is not; names it, and the
      line that says so.
  """
  ids, has = celeba_lists.read_attributes(download.attributes)
  parts = celeba_lists.read_parts(download.parts, ids)
  differs = None
  if not celeba_lists.are_published(ids, has, parts):
    differs = (
      f'By what they say {download.attributes.name} and {download.parts.name}'
      f" in {download.folder} are not CelebA's as published; unless that is"
      ' intended, fetch CelebA anew.'
    )
  rows = np.arange(len(ids))
  if download.present is not None:
    rows = celeba_lists.read_present(download.present, ids)
  ids = [ids[row] for row in rows.tolist()]
  return Pictures(
    download.pictures,
    ids,
    has[rows],
    parts[rows],
    _open_pictures(download, ids),
    differs,
  )


def _first(folder: pathlib.Path, names: Sequence[str]) -> pathlib.Path | None:
  paths = (folder / inner / name for name in names for inner in _INNER_FOLDERS)
  return next((path for path in paths if path.exists()), None)


def _open_pictures(
  download: Download, ids: Sequence[str]
) -> Callable[[int], bytes]:
  """Number of a picture to its file; all of them are there."""
  place = download.pictures
  if place.is_dir():
    with files.naming(place):
      _require_all(download, ids, set(os.listdir(place)))

    def read_file(row: int) -> bytes:
      path = place / ids[row]
      with files.naming(path), open(path, 'rb') as stream:
        return stream.read(_MAX_BYTES)

    return read_file

  try:
    with files.naming(place):
      archive = zipfile.ZipFile(place)
  except zipfile.BadZipFile as error:
    raise ValueError(f'{place}: expected a zip file; got {error}') from error
  members = {name.rpartition('/')[2]: name for name in archive.namelist()}
  _require_all(download, ids, members)

  def read_member(row: int) -> bytes:
    with files.naming(place), archive.open(members[ids[row]]) as stream:
      return stream.read(_MAX_BYTES)

  return read_member


def _require_all(
  download: Download, ids: Sequence[str], there: Collection[str]
) -> None:
  missing = [name for name in ids if name not in there]
  if not missing:
    return
  named_by = download.present or download.attributes
  hint = ''
  if not download.present:
    hint = (
      '; if this is a part of CelebA on purpose, write the names of its'
      f' pictures, one a line, into {download.folder / _PRESENT}'
    )
  raise FileNotFoundError(
    f'{download.pictures / missing[0]} is missing, and is in line'
    f' {celeba_lists.line_of(named_by, missing[0])} of {named_by}; in all'
    f' {len(missing):,} of {len(ids):,} pictures are missing{hint}'
  )
