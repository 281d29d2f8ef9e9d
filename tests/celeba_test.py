"""CelebA as downloaded: what is read of it, and what is refused by name."""

import re

import celeba_world as world
import numpy as np
import pytest
from PIL import Image

from mmjsd_jax.data import celeba, celeba_files, celeba_pictures, dataset
from mmjsd_jax.data.celeba_lists import ATTRIBUTES

pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture
def folder(tmp_path):
  return world.write(tmp_path)


# --- what is read -------------------------------------------------------------


def test_the_set_has_the_official_parts(folder, monkeypatch):
  found = celeba.load(directory=str(folder))
  dataset.check(found)
  assert found.modalities == ('image', 'text')
  assert found.train.inputs['image'].shape == (3, 64, 64, 3)
  assert found.test.inputs['text'].shape == (2, 256)
  assert found.num_classes == 0 and set(found.train.labels) == {-1}
  np.testing.assert_array_equal(
    found.train.factors, world.attributes()[[0, 1, 3]]
  )
  assert [factor.name for factor in found.factors] == list(ATTRIBUTES)
  assert {factor.classes for factor in found.factors} == {('absent', 'present')}
  assert '3 + 2 pictures' in found.source
  assert '1 pictures of its validation part are left out' in found.source
  assert 'CelebA is a subset: 6 of 202,599 pictures.' in found.substituted
  assert "are not CelebA's as published" in found.substituted
  # Texts and pictures are of the same rows.
  theirs = celeba.load(directory=str(folder.parent), test_split='validation')
  assert len(theirs.test.labels) == 1
  np.testing.assert_array_equal(theirs.test.factors, world.attributes()[[2]])
  assert '2 pictures of its test part are left out' in theirs.source
  monkeypatch.setenv('MMJSD_DATA_DIR', str(folder.parent))
  assert celeba.load().fingerprint == found.fingerprint
  assert celeba.load(seed=1).fingerprint != found.fingerprint


@pytest.mark.parametrize(
  'change', [world.as_zip, world.as_csv, world.as_kaggle, world.as_site]
)
def test_every_form_of_the_download_gives_the_same(folder, change):
  wanted = celeba.load(directory=str(folder)).fingerprint
  change(folder)
  assert celeba.load(directory=str(folder)).fingerprint == wanted


def test_a_list_of_those_present_makes_a_subset(folder):
  whole = celeba.load(directory=str(folder))
  (folder / 'images_present.txt').write_text('000005.jpg 2\n000002.jpg 0\n')
  for name in ('000001.jpg', '000003.jpg', '000004.jpg', '000006.jpg'):
    (folder / 'img_align_celeba' / name).unlink()
  found = celeba.load(directory=str(folder))
  for name in celeba.MODALITIES:
    np.testing.assert_array_equal(
      found.train.inputs[name], whole.train.inputs[name][[1]]
    )
    np.testing.assert_array_equal(
      found.test.inputs[name], whole.test.inputs[name][[0]]
    )
  assert 'CelebA is a subset: 2 of 202,599' in found.substituted


def _cubic(x):
  """Bicubic weights with a = -0.5, as Pillow's."""
  x = np.abs(x)
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _shrinking(size, small):
  """Matrix that resizes `size` pixels to `small` of them, antialiased."""
  scale = size / small
  centres = (np.arange(small) + 0.5) * scale
  weights = _cubic((np.arange(size) + 0.5 - centres[:, None]) / scale)
  return weights / weights.sum(axis=1, keepdims=True)


def test_the_middle_is_cut_and_resized_by_bicubic_weights(folder):
  path = folder / 'img_align_celeba' / '000001.jpg'
  with Image.open(path) as picture:
    pixels = np.asarray(picture).astype(float)
  matrix = _shrinking(148, 64)
  middle = pixels[35 : 35 + 148, 15 : 15 + 148]
  wanted = np.einsum('ij,jkc,lk->ilc', matrix, middle, matrix)
  got = celeba_pictures.shrink(path.read_bytes())
  # Pillow rounds after each of the two passes, by weights of 8 bits or more.
  assert np.abs(got - wanted.clip(0, 255)).max() < 1.5


def test_the_published_lists_and_pictures_are_read(data_dir):
  download = celeba_files.locate(data_dir)
  if download is None:
    pytest.skip('CelebA is not here')
  pictures = celeba_files.read(download)
  assert pictures.differs is None
  counts = np.bincount(pictures.parts).tolist()
  assert counts == [5000, 700, 700] or sum(counts) == celeba.NUM_PICTURES
  smiling = pictures.has[:, ATTRIBUTES.index('Smiling')].mean()
  assert 0.4 < smiling < 0.6
  images = celeba_pictures.decode(pictures, np.arange(0, sum(counts), 60))
  # Faces are brighter in the middle than at the edges.
  assert images[:, 24:40, 24:40].mean() > images[:, :, [0, -1]].mean()


# --- what is refused ----------------------------------------------------------


def _refusal(folder, error=ValueError):
  with pytest.raises(error) as info:
    celeba.load(directory=str(folder))
  assert '\n' not in str(info.value)
  return str(info.value)


def _picture(folder, name='000002.jpg'):
  return folder / 'img_align_celeba' / name


def test_a_missing_picture_is_named_with_its_line(folder):
  for name in ('000004.jpg', '000003.jpg'):
    _picture(folder, name).unlink()
  message = _refusal(folder, FileNotFoundError)
  assert f'{_picture(folder, "000003.jpg")} is missing' in message
  assert 'line 5 of' in message and 'list_attr_celeba.txt' in message
  assert '2 of 6 pictures are missing' in message
  assert str(folder / 'images_present.txt') in message
  world.as_zip(folder)
  assert 'img_align_celeba.zip/000003.jpg is missing' in _refusal(
    folder, FileNotFoundError
  )


def test_a_picture_that_is_said_to_be_present_and_is_not(folder):
  world.write_lines(folder / 'images_present.txt', list(world.IDS))
  _picture(folder).unlink()
  message = _refusal(folder, FileNotFoundError)
  assert 'line 2 of' in message and 'images_present.txt' in message
  assert 'on purpose' not in message


def _truncate(folder):
  content = _picture(folder).read_bytes()
  _picture(folder).write_bytes(content[: len(content) // 2])


def _empty(folder):
  _picture(folder).write_bytes(b'')


def _as_png(folder):
  with Image.open(_picture(folder)) as picture:
    picture.save(_picture(folder), 'PNG')


def _other_size(folder):
  Image.new('RGB', (100, 218)).save(_picture(folder))


def _grey(folder):
  Image.new('L', (178, 218)).save(_picture(folder))


@pytest.mark.parametrize(
  ('change', 'expected'),
  [
    (_truncate, 'expected a whole JPEG file; got a damaged one'),
    (_empty, 'expected a whole JPEG file; got a damaged one'),
    (_as_png, 'expected a whole JPEG file; got a damaged one'),
    (_other_size, 'expected 178 x 218 pixels in RGB; got 100 x 218 in RGB'),
    (_grey, 'expected 178 x 218 pixels in RGB; got 178 x 218 in L'),
  ],
)
def test_a_bad_picture_is_named(folder, change, expected):
  change(folder)
  assert f'{_picture(folder)}: {expected}' in _refusal(folder)


def test_a_picture_that_is_damaged_in_its_zip_is_named(folder):
  content = _picture(folder).read_bytes()
  world.as_zip(folder)
  path = folder / 'img_align_celeba.zip'
  archive = path.read_bytes()
  assert archive.count(content) == 1
  path.write_bytes(archive.replace(content, content[:-20] + bytes(20)))
  assert f'{path / "000002.jpg"}: ' in _refusal(folder)
  path.write_bytes(archive[:-10])
  assert f'{path}: expected a zip file' in _refusal(folder)


def _line(number, old, new):
  """Changes a line, counted from 1: '' takes it away, '|' parts it."""

  def change(lines):
    assert old in lines[number - 1]
    changed = lines[number - 1].replace(old, new, 1)
    lines[number - 1 : number] = changed.split('|') if changed else []

  return change


_FIRST_ROW = '000001.jpg' + ''.join(
  f' {" 1" if x else "-1"}' for x in world.attributes()[0]
)


@pytest.mark.parametrize(
  ('name', 'change', 'expected'),
  [
    ('attr', _line(1, '6', '7'), r'line 1: expected the number .*, 6; got .7.'),
    ('attr', _line(1, '6', ''), 'line 2: expected the names of CelebA.s 40'),
    (
      'attr',
      _line(2, 'Bald', 'Bold'),
      'line 2: .*; got Bold where Bald should',
    ),
    ('attr', _line(2, ' Young', ''), 'line 2: .*; got nothing where Young'),
    ('attr', _line(4, '-1', ' 0'), "line 4: expected .* -1 or 1; got '0'"),
    ('attr', _line(5, ' -1', ''), 'line 5: expected .* -1 or 1; got 39 values'),
    (
      'attr',
      _line(4, '000002', '000001'),
      'a line for each picture; got 6 lines for 5 pictures',
    ),
    (
      'attr',
      _line(3, _FIRST_ROW, ''),
      r'line 1: expected the number .*, 5; got',
    ),
    (
      'eval',
      _line(3, '000003', '000009'),
      "line 3: expected 000003.jpg, .*; got '000009.jpg 1'",
    ),
    ('eval', _line(2, ' 0', ' 3'), "line 2: .* 0, 1 or 2; got '000002.jpg 3'"),
    ('eval', _line(2, ' 0', ''), "line 2: .* 0, 1 or 2; got '000002.jpg'"),
    ('eval', _line(6, '000006.jpg 2', ''), 'expected the 6 pictures .*; got 5'),
    (
      'eval',
      _line(6, '2', '2|000007.jpg 2'),
      'line 7: expected no more lines, .*; got .000007.jpg 2',
    ),
  ],
)
def test_a_bad_list_is_named_with_its_line(folder, name, change, expected):
  path = next(folder.glob(f'list_{name}*'))
  lines = world.lines(path)
  change(lines)
  world.write_lines(path, lines)
  message = _refusal(folder)
  assert re.search(f'{re.escape(str(path))}.*{expected}', message), message


def test_an_unknown_picture_in_a_subset_is_named_with_its_line(folder):
  path = folder / 'images_present.txt'
  path.write_text('000001.jpg\n\n000008.jpg\n')
  assert f"{path}, line 3: expected a picture that has attributes; got '0" in (
    _refusal(folder)
  )


def test_a_part_without_pictures_is_refused(folder):
  path = folder / 'images_present.txt'
  path.write_text('000001.jpg\n000003.jpg\n')
  assert "expected pictures of the part 'test'; got none" in _refusal(folder)
  path.write_text('000005.jpg\n')
  assert "expected pictures of the part 'train'; got none" in _refusal(folder)


def test_it_is_said_what_is_missing_and_where_it_should_be(
  folder, tmp_path, monkeypatch
):
  (folder / 'list_eval_partition.txt').unlink()
  assert (
    'expected list_eval_partition.txt or list_eval_partition.csv beside'
    in (_refusal(folder, FileNotFoundError))
  )
  nowhere = tmp_path / 'nowhere'
  message = _refusal(nowhere, FileNotFoundError)
  assert str(nowhere / 'celeba' / 'list_attr_celeba') in message
  assert str(nowhere / 'celeb_a') in message
  monkeypatch.setenv('MMJSD_DATA_DIR', str(nowhere))
  with pytest.raises(FileNotFoundError, match='in MMJSD_DATA_DIR='):
    celeba.load()


def test_an_unknown_part_to_test_on_is_refused(folder):
  with pytest.raises(ValueError, match="one of test, validation; got 'train'"):
    celeba.load(directory=str(folder), test_split='train')
