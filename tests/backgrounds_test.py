"""Backgrounds: their order, the textures, and refusal of bad pictures."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmjsd_jax.data import backgrounds, textures

pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='session')
def data_directory(data_dir):
  if not (data_dir / 'polymnist_backgrounds').is_dir():
    pytest.skip('no backgrounds here: set MMJSD_DATA_DIR to where they are')
  return data_dir


def _picture(path, value, size=(40, 30)):
  Image.new('RGB', size, (value, 0, 0)).save(path)
  return str(path)


@pytest.fixture
def five(tmp_path):
  folder = tmp_path / 'five'
  folder.mkdir()
  for number in range(5):
    _picture(folder / f'{5 - number}.png', 10 * (5 - number))
  return folder


def _reds(pictures):
  return [int(picture[0, 0, 0]) for picture in pictures]


def _refused(paths, message, error=ValueError):
  with pytest.raises(error, match=message) as info:
    backgrounds.load_backgrounds(paths)
  assert '\n' not in str(info.value)


# --- order ------------------------------------------------------------------


def test_a_folder_is_read_in_alphabetical_order(five):
  pictures = backgrounds.load_backgrounds(str(five))
  assert _reds(pictures) == [10, 20, 30, 40, 50]
  assert {picture.shape for picture in pictures} == {(30, 40, 3)}
  assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}
  (five / 'notes.txt').write_text('not a picture')
  assert _reds(backgrounds.load_backgrounds([str(five)])) == _reds(pictures)


def test_files_are_read_in_the_order_named(five):
  paths = [str(five / f'{number}.png') for number in (3, 1, 5, 2, 4)]
  assert _reds(backgrounds.load_backgrounds(paths)) == [30, 10, 50, 20, 40]


def test_the_papers_names_are_put_in_the_papers_order(tmp_path):
  for value, name in enumerate(backgrounds.PAPER):
    _picture(tmp_path / f'{name}.png', 10 * value)
  found = backgrounds.find_backgrounds((str(tmp_path),))
  assert _reds(found.images) == [0, 10, 20, 30, 40]
  assert found.substituted is None
  (tmp_path / 'lena.png').rename(tmp_path / 'zebra.png')
  found = backgrounds.find_backgrounds((str(tmp_path),))
  assert _reds(found.images) == [0, 10, 20, 30, 40]
  assert 'm2 is zebra' in str(found.substituted)


def test_other_names_are_reported(five):
  found = backgrounds.find_backgrounds((str(five),))
  assert "not the paper's" in str(found.substituted)
  assert str(five) in found.source


def test_the_data_directory_has_the_papers_but_one(data_directory, monkeypatch):
  found = backgrounds.find_backgrounds((), str(data_directory))
  # Width and height as published, except for the third.
  sizes = [image.shape[1::-1] for image in found.images]
  assert sizes[0] == (2272, 1704)
  assert sizes[2:] == [(512, 512), (1600, 1200), (496, 430)]
  assert 'm2 is astronaut' in str(found.substituted) and 'Lena' in str(
    found.substituted
  )
  monkeypatch.setenv('MMJSD_DATA_DIR', str(data_directory))
  assert backgrounds.find_backgrounds().source == found.source


# --- textures ---------------------------------------------------------------


def test_without_any_picture_the_textures_are_taken_and_named(monkeypatch):
  monkeypatch.setenv('MMJSD_DATA_DIR', '/no/such/directory')
  found = backgrounds.find_backgrounds()
  assert len(found.images) == 5
  assert 'Textures' in str(found.substituted) and 'shingles' in found.source


def test_textures_may_be_asked_for(five, monkeypatch):
  five.rename(folder := five.parent / 'polymnist_backgrounds')
  monkeypatch.setenv('MMJSD_DATA_DIR', str(folder.parent))
  assert str(folder) in backgrounds.find_backgrounds().source
  found = backgrounds.find_backgrounds(backgrounds.TEXTURES, str(folder.parent))
  assert 'textures made by arithmetic' in found.source
  assert 'they were asked for' in str(found.substituted)


def test_textures_are_the_same_every_time_and_differ_from_each_other():
  first, second = textures.make_textures(), textures.make_textures()
  assert len(first) == 5
  for name, picture in first.items():
    assert picture.shape == (512, 512, 3) and picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(picture, second[name])
  means = np.array([p.mean((0, 1)) for p in first.values()])
  distances = np.linalg.norm(means[:, None] - means, axis=-1)
  assert distances[np.triu_indices(5, 1)].min() > 15
  # Inverting a crop shows: the values keep away from the middle grey.
  for picture in first.values():
    assert np.abs(picture - 127.5).mean() > 35


# --- bad input --------------------------------------------------------------


def test_a_wrong_number_of_pictures_is_refused(five, tmp_path):
  _refused([str(five / '1.png')] * 4, 'expected 5 background pictures; got 4')
  (five / '6.png').write_bytes((five / '1.png').read_bytes())
  _refused(str(five), 'got 6: 1.png, 2.png')
  (tmp_path / 'empty').mkdir()
  _refused(str(tmp_path / 'empty'), 'got 0: none')


def test_a_missing_picture_or_folder_is_named(five):
  paths = [str(five / f'{number}.png') for number in range(5)]
  _refused(paths, '0.png is missing', FileNotFoundError)
  _refused(str(five / 'no'), 'no is missing', FileNotFoundError)


def test_a_folder_among_the_files_is_refused(five, tmp_path):
  paths = [str(five / f'{number}.png') for number in range(1, 5)]
  _refused([*paths, str(tmp_path)], 'got a folder')


@pytest.mark.parametrize('size', [(27, 100), (100, 27), (1, 1)], ids=str)
def test_a_small_picture_is_refused(five, size):
  _picture(five / '3.png', 0, size)
  _refused(str(five), f'at least 28 x 28 pixels; got {size[0]} x {size[1]}')


def test_a_picture_of_28_pixels_is_taken(five):
  _picture(five / '3.png', 0, (28, 28))
  assert backgrounds.load_backgrounds(str(five))[2].shape == (28, 28, 3)


@pytest.mark.parametrize('size', [(8000, 8001), (20_000, 20_000)], ids=str)
def test_a_picture_too_large_is_not_decoded(five, size):
  content = bytearray((five / '3.png').read_bytes())
  content[16:24] = struct.pack('>2I', *size)
  content[29:33] = struct.pack('>I', zlib.crc32(content[12:29]))
  (five / '3.png').write_bytes(content)
  _refused(str(five), 'expected at most 64,000,000 pixels')


def test_sixteen_bits_are_refused(five):
  Image.new('I;16', (40, 40)).save(five / '3.png')
  _refused(str(five), '8 bits a channel; got mode I;16')


@pytest.mark.parametrize(
  'content', [b'', b'GIF89a' + bytes(50), b'\x80\x04]\x94.', bytes(500)]
)
def test_an_unreadable_picture_is_refused(five, content):
  (five / '3.png').write_bytes(content)
  _refused(str(five), r'3.png: expected a JPEG or PNG picture')


@pytest.mark.parametrize('kind', ['png', 'jpeg'])
def test_a_picture_cut_or_changed_is_refused_or_read(five, kind):
  rng = np.random.default_rng(0)
  pixels = rng.integers(256, size=(40, 40, 3), dtype=np.uint8)
  Image.fromarray(pixels).save(five / '3.png', format=kind)
  whole = (five / '3.png').read_bytes()
  for length in range(0, len(whole) - 40, len(whole) // 25):
    (five / '3.png').write_bytes(whole[:length])
    _refused(str(five), '3.png: expected')
  for place in rng.integers(len(whole), size=60):
    content = bytearray(whole)
    content[place] ^= int(rng.integers(1, 256))
    (five / '3.png').write_bytes(content)
    try:
      assert backgrounds.load_backgrounds(str(five))[2].shape[2] == 3
    except ValueError as error:
      assert '\n' not in str(error) and '3.png' in str(error)
