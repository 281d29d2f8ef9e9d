"""Small folders that look like a download of CelebA."""

import pathlib
import zipfile

import numpy as np
from PIL import Image

from mmjsd_jax.data.celeba_lists import ATTRIBUTES

# Of the pictures 000001.jpg to 000006.jpg: two to test on.
PARTS = (0, 0, 1, 0, 2, 2)
IDS = tuple(f'{number:06d}.jpg' for number in range(1, len(PARTS) + 1))


def attributes():
  """Which picture has which attribute. Bool [6, 40]."""
  return np.random.default_rng(1).random((len(IDS), len(ATTRIBUTES))) < 0.3


def write(root: pathlib.Path) -> pathlib.Path:
  """A whole download in `root/celeba`, of six smooth pictures."""
  folder = root / 'celeba'
  (folder / 'img_align_celeba').mkdir(parents=True)
  rng = np.random.default_rng(0)
  for name in IDS:
    coarse = Image.fromarray(rng.integers(256, size=(5, 4, 3), dtype=np.uint8))
    coarse.resize((178, 218)).save(folder / 'img_align_celeba' / name)
  rows = [
    f'{name} {" ".join(" 1" if x else "-1" for x in row)}'
    for name, row in zip(IDS, attributes(), strict=True)
  ]
  lines = [str(len(IDS)), ' '.join(ATTRIBUTES), *rows]
  write_lines(folder / 'list_attr_celeba.txt', lines)
  write_lines(
    folder / 'list_eval_partition.txt',
    [f'{name} {part}' for name, part in zip(IDS, PARTS, strict=True)],
  )
  return folder


def lines(path: pathlib.Path) -> list[str]:
  """Those of a list."""
  return path.read_text().splitlines()


def write_lines(path: pathlib.Path, lines: list[str]) -> None:
  """A list as it is published: lines end as on Windows."""
  path.write_text('\r\n'.join(lines) + '\r\n', newline='')


def as_zip(folder: pathlib.Path) -> None:
  """Puts the pictures into a zip, as they are published."""
  pictures = folder / 'img_align_celeba'
  with zipfile.ZipFile(folder / 'img_align_celeba.zip', 'w') as archive:
    for path in sorted(pictures.iterdir()):
      archive.write(path, f'img_align_celeba/{path.name}')
      path.unlink()
  pictures.rmdir()


def as_csv(folder: pathlib.Path) -> None:
  """Rewrites the lists as Kaggle has them."""
  for name, header in (
    ('list_attr_celeba', ','.join(['image_id', *ATTRIBUTES])),
    ('list_eval_partition', 'image_id,partition'),
  ):
    path = folder / f'{name}.txt'
    rows = lines(path)[2:] if name == 'list_attr_celeba' else lines(path)
    rows = [','.join(row.split()) for row in rows]
    (folder / f'{name}.csv').write_text('\n'.join([header, *rows]) + '\n')
    path.unlink()


def as_kaggle(folder: pathlib.Path) -> None:
  """Lists as .csv, and the pictures a folder deeper."""
  as_csv(folder)
  pictures = folder / 'img_align_celeba'
  pictures.rename(folder / 'moved')
  pictures.mkdir()
  (folder / 'moved').rename(pictures / 'img_align_celeba')


def as_site(folder: pathlib.Path) -> None:
  """Folders as those of the authors' site."""
  as_zip(folder)
  for inner, name in (
    ('Anno', 'list_attr_celeba.txt'),
    ('Eval', 'list_eval_partition.txt'),
    ('Img', 'img_align_celeba.zip'),
  ):
    (folder / inner).mkdir()
    (folder / name).rename(folder / inner / name)
