"""CelebA is decoded once: copies are whole, of today's files, and theirs."""

import os

import celeba_world as world
import numpy as np
import pytest

from mmjsd_jax.data import celeba, celeba_pictures, celeba_tfds

pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture
def folder(tmp_path):
  return world.write(tmp_path)


@pytest.fixture
def cache(tmp_path, monkeypatch):
  monkeypatch.setenv('MMJSD_CACHE_DIR', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


@pytest.fixture
def decoded(monkeypatch):
  """How many pictures were decoded, a number for each call."""
  counts = []
  original = celeba_pictures.decode

  def decode(pictures, rows):
    counts.append(len(rows))
    return original(pictures, rows)

  monkeypatch.setattr(celeba_pictures, 'decode', decode)
  return counts


def _load(folder, **options):
  from mmjsd_jax.data import celeba_builder

  return celeba_builder.load(directory=str(folder), **options)


def _assert_same(split, wanted):
  assert split.inputs.keys() == wanted.inputs.keys()
  for name, items in wanted.inputs.items():
    np.testing.assert_array_equal(split.inputs[name], items)
  np.testing.assert_array_equal(split.labels, wanted.labels)
  np.testing.assert_array_equal(split.factors, wanted.factors)


def test_pictures_are_decoded_once(folder, cache, decoded):
  wanted = celeba.load(directory=str(folder))
  decoded.clear()
  for _ in range(2):
    found = _load(folder)
    assert found.fingerprint == wanted.fingerprint
    _assert_same(found.train, wanted.train)
    _assert_same(found.test, wanted.test)
    assert found.source.startswith(wanted.source + '; read from')
    assert found._replace(train=None, test=None, source='') == wanted._replace(
      train=None, test=None, source=''
    )
  assert decoded == [3, 2]
  _load(folder, seed=1)
  assert decoded == [3, 2] * 2


def test_other_files_are_decoded_anew(folder, cache, decoded):
  before = _load(folder)
  path = folder / 'img_align_celeba' / '000001.jpg'
  path.write_bytes((path.parent / '000002.jpg').read_bytes())
  after = _load(folder)
  assert decoded == [3, 2] * 2
  images = after.train.inputs['image']
  np.testing.assert_array_equal(images[0], images[1])
  assert after.fingerprint != before.fingerprint


def test_a_streamed_set_is_the_resident_one(folder, cache):
  wanted = celeba.load(directory=str(folder))
  found = _load(folder, in_memory=False)
  assert found.fingerprint == wanted.fingerprint
  assert 'streamed from' in found.source
  assert found.streamed.num_examples == 3
  assert found.streamed.example_bytes == 64 * 64 * 3 + 256
  _assert_same(found.streamed.take(np.array([2, 0])), wanted.train.take([2, 0]))
  _assert_same(found.test, wanted.test)
  text = found.streamed.only(('text',)).take(np.array([1])).inputs['text']
  np.testing.assert_array_equal(text, wanted.train.inputs['text'][[1]])


def test_a_copy_that_is_named_is_read_without_the_pictures(
  folder, tmp_path, cache
):
  from mmjsd_jax.data.celeba_builder import Celeba

  wanted = celeba.load(directory=str(folder)).fingerprint
  Celeba(
    data_dir=tmp_path / 'copy', directory=str(folder)
  ).download_and_prepare()
  for place in ('copy', 'copy/celeba/1.0.0'):
    assert _load(tmp_path / place).fingerprint == wanted
  assert not cache.exists()
  with pytest.raises(ValueError, match="'seed': 1.* got one prepared with"):
    _load(tmp_path / 'copy', seed=1)


def _files(cache):
  return [path for path in cache.rglob('*') if path.is_file()]


def test_nothing_is_left_of_a_copy_that_failed(folder, cache):
  path = folder / 'img_align_celeba' / '000006.jpg'
  whole = path.read_bytes()
  path.write_bytes(whole[:500])
  with pytest.raises(ValueError, match='000006.jpg: expected a whole JPEG'):
    _load(folder)
  assert _files(cache) == []
  path.write_bytes(whole)
  assert (
    _load(folder).fingerprint == celeba.load(directory=str(folder)).fingerprint
  )


def test_what_an_interruption_left_is_not_read(folder, cache, monkeypatch):
  from mmjsd_jax.data import celeba_builder

  generate = celeba_builder.Celeba._generate_examples

  def interrupted(self, split, rows):
    yield next(generate(self, split, rows))
    # What is there now stays there after a kill.
    (partial,) = cache.glob('celeba/*/celeba/incomplete.*')
    left.append(partial.with_name('incomplete.KILLED_1.0.0'))
    left[0].mkdir()
    for path in partial.iterdir():
      (left[0] / path.name).write_bytes(path.read_bytes())
    raise KeyboardInterrupt

  left = []
  with monkeypatch.context() as patch:
    patch.setattr(celeba_builder.Celeba, '_generate_examples', interrupted)
    with pytest.raises(KeyboardInterrupt):
      _load(folder)
  assert list(left[0].parent.iterdir()) == left
  os.utime(left[0], (0, 0))
  wanted = celeba.load(directory=str(folder))
  assert _load(folder).fingerprint == wanted.fingerprint
  assert not left[0].exists()


def test_a_slower_process_takes_the_copy_of_the_faster(
  folder, cache, monkeypatch
):
  from mmjsd_jax.data import celeba_builder

  wanted = celeba.load(directory=str(folder))
  generate = celeba_builder.Celeba._generate_examples

  def overtaken(self, split, rows):
    patch.setattr(celeba_builder.Celeba, '_generate_examples', generate)
    celeba_builder.Celeba(
      data_dir=self.data_dir_root, **self._options
    ).download_and_prepare()
    yield from generate(self, split, rows)

  with monkeypatch.context() as patch:
    patch.setattr(celeba_builder.Celeba, '_generate_examples', overtaken)
    assert _load(folder).fingerprint == wanted.fingerprint


# --- TFDS's own copies --------------------------------------------------------


@pytest.fixture
def copy(folder, tmp_path):
  """The same pictures as TFDS's `celeb_a`."""
  import tensorflow_datasets as tfds

  with tfds.core.registered.skip_registration():

    class CelebA(tfds.core.GeneratorBasedBuilder):
      name = 'celeb_a'
      VERSION = tfds.core.Version('2.1.0')

      def _info(self):
        return tfds.core.DatasetInfo(
          builder=self,
          features=tfds.features.FeaturesDict(
            {
              'image': tfds.features.Image(
                shape=(218, 178, 3), encoding_format='jpeg'
              ),
              'landmarks': {'nose_x': np.int64},
              'attributes': dict.fromkeys(celeba.ATTRIBUTES, np.bool_),
            }
          ),
          disable_shuffling=True,
        )

      def _split_generators(self, dl_manager):
        return {
          part: self._generate_examples(number)
          for number, part in enumerate(celeba.PARTS)
        }

      def _generate_examples(self, number):
        rows = zip(world.IDS, world.PARTS, world.attributes(), strict=True)
        for row, (name, part, has) in enumerate(rows):
          if part == number:
            told = zip(celeba.ATTRIBUTES, has.tolist(), strict=True)
            yield (
              row,
              {
                'image': folder / 'img_align_celeba' / name,
                'landmarks': {'nose_x': 1},
                'attributes': dict(told),
              },
            )

  root = tmp_path / 'tfds'
  CelebA(data_dir=root, file_format='array_record').download_and_prepare()
  return root


def test_a_copy_of_tfds_has_the_same_pictures(folder, copy, monkeypatch):
  wanted = celeba.load(directory=str(folder))
  found = celeba.load(directory=str(copy))
  for split, expected in (
    (found.train, wanted.train),
    (found.test, wanted.test),
  ):
    np.testing.assert_array_equal(
      split.inputs['image'], expected.inputs['image']
    )
    np.testing.assert_array_equal(split.factors, expected.factors)
    texts = (np.sort(x.inputs['text']) for x in (split, expected))
    np.testing.assert_array_equal(*texts)  # they start elsewhere
  assert str(copy / 'celeb_a' / '2.1.0') in found.source
  monkeypatch.setenv('TFDS_DATA_DIR', str(copy))
  assert celeba.find().place == copy / 'celeb_a' / '2.1.0'


def test_a_damaged_copy_of_tfds_is_refused(copy):
  (path,) = (copy / 'celeb_a' / '2.1.0').glob('*train*')
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(ValueError, match='2.1.0: expected a whole copy'):
    celeba_tfds.read(path.parent)
