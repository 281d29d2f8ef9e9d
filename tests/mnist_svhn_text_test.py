"""MNIST-SVHN-Text: which images are paired, and the whole load."""

import time

import numpy as np
import pytest
import scipy.io

from mmjsd_jax.data import dataset, idx, mnist_svhn_text, text

# Class counts of the published sets.
_MNIST = {
  'train': (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
  'test': (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
}
_SVHN = {
  'train': (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
  'test': (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
}


pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='session')
def data_directory(data_dir):
  if not (data_dir / 'mnist').is_dir() or not (data_dir / 'svhn').is_dir():
    pytest.skip('MNIST or SVHN is not here: set MMJSD_DATA_DIR to where it is')
  return str(data_dir)


@pytest.fixture(scope='module')
def labels():
  """80 and 60 labels; the first set has no fours, the second no fives."""
  rng = np.random.default_rng(0)
  first = rng.choice([0, 1, 2, 3, 5, 6, 7, 8, 9], 80).astype(np.int32)
  second = rng.choice([0, 1, 2, 3, 4, 6, 7, 8, 9], 60).astype(np.int32)
  return first, second


def _pair(labels, **settings):
  return mnist_svhn_text.pair(
    *labels, **{'num_pairings': 3, 'seed': 0, 'split': 'train', **settings}
  )


def _shuffled(counts):
  return np.random.default_rng(1).permutation(
    np.repeat(np.arange(10, dtype=np.int32), counts)
  )


# --- which images are paired ------------------------------------------------


@pytest.mark.parametrize(
  ('split', 'expected'), [('train', 1_121_360), ('test', 200_000)]
)
def test_the_published_sets_give_the_papers_number_of_triples(split, expected):
  first, second = _shuffled(_MNIST[split]), _shuffled(_SVHN[split])
  assert len(second) == {'train': 73_257, 'test': 26_032}[split]
  rows_a, rows_b, digits = mnist_svhn_text.pair(
    first, second, seed=0, split=split
  )
  assert len(rows_a) == len(rows_b) == len(digits) == expected
  for rows in (rows_a, rows_b, digits):
    assert rows.dtype == np.int32
  np.testing.assert_array_equal(first[rows_a], digits)
  np.testing.assert_array_equal(second[rows_b], digits)
  fewer = np.minimum(_MNIST[split], _SVHN[split])
  np.testing.assert_array_equal(np.bincount(digits), 20 * fewer)


@pytest.mark.parametrize('max_per_digit', [10_000, 4])
def test_pairs_are_what_a_plain_loop_makes(labels, max_per_digit):
  pairs = _pair(labels, seed=5, split='test', max_per_digit=max_per_digit)
  expected = []
  for digit in range(10):
    members = [[n for n in range(len(x)) if x[n] == digit] for x in labels]
    count = min(len(members[0]), len(members[1]), max_per_digit)
    for repeat in range(3):
      sides = []
      for which in (0, 1):
        rng = np.random.default_rng([5, 1, digit, which, repeat])
        order = rng.permutation(count)
        sides.append([members[which][n] for n in order])
      expected += [(a, b, digit) for a, b in zip(*sides, strict=True)]
  assert list(zip(*(rows.tolist() for rows in pairs), strict=True)) == expected


def test_an_image_that_is_used_is_used_once_in_each_pairing(labels):
  rows_a, rows_b, digits = _pair(labels)
  for rows in (rows_a, rows_b):
    assert set(np.bincount(rows)) == {0, 3}
  assert not {4, 5} & set(digits.tolist())


def test_all_pairs_every_image_of_the_first_set(labels):
  first = labels[0][labels[0] != 5]
  rows_a, rows_b, digits = _pair((first, labels[1]), pairing='all')
  assert (np.bincount(rows_a, minlength=len(first)) == 3).all()
  np.testing.assert_array_equal(first[rows_a], digits)
  np.testing.assert_array_equal(labels[1][rows_b], digits)
  # Those of the second set serve equally often, to within one.
  for digit in set(digits.tolist()):
    uses = np.bincount(rows_b[digits == digit], minlength=60)
    uses = uses[labels[1] == digit]
    assert uses.max() - uses.min() <= 1


def test_all_and_min_agree_where_both_sets_are_equally_large():
  same = np.repeat(np.arange(10, dtype=np.int32), 4)
  for a, b in zip(
    _pair((same, same)), _pair((same, same), pairing='all'), strict=True
  ):
    np.testing.assert_array_equal(a, b)


def test_a_seed_gives_the_same_pairs_and_another_gives_others(labels):
  first = _pair(labels)
  for again, rows in zip(_pair(labels), first, strict=True):
    np.testing.assert_array_equal(again, rows)
  for other in (_pair(labels, seed=1), _pair(labels, split='test')):
    assert (other[0] != first[0]).any() and (other[1] != first[1]).any()
    np.testing.assert_array_equal(other[2], first[2])


def test_more_pairings_leave_the_first_as_they_were(labels):
  few, many = _pair(labels, num_pairings=2), _pair(labels, num_pairings=5)
  for digit in (0, 9):
    for a, b in zip(few[:2], many[:2], strict=True):
      a, b = a[few[2] == digit], b[many[2] == digit]
      np.testing.assert_array_equal(a, b[: len(a)])
      assert len(b) * 2 == len(a) * 5


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'num_pairings': 0}, 'num_pairings of 1 or more; got 0'),
    ({'seed': -1}, 'seed of 0 or more; got -1'),
    ({'split': 'valid'}, "train or test; got 'valid'"),
    ({'pairing': 'max'}, "one of min, all; got 'max'"),
    ({'max_per_digit': 0}, 'max_per_digit of 1 or more; got 0'),
    ({'pairing': 'all'}, 'in the second .* got no 5'),
  ],
)
def test_bad_settings_are_refused(labels, settings, message):
  with pytest.raises(ValueError, match=message):
    _pair(labels, **settings)


def test_bad_labels_are_refused(labels):
  with pytest.raises(ValueError, match='labels_b 0 to 9; got 1 to 10'):
    _pair((labels[0], labels[1] + 1))
  with pytest.raises(ValueError, match=r'labels_a as integers .* float64'):
    _pair((labels[0] / 1.0, labels[1]))


# --- the embedded set -------------------------------------------------------


@pytest.fixture(scope='module')
def embedded():
  return mnist_svhn_text.load(digits='embedded', embedded_repeats=2)


def test_the_embedded_set_is_whole_and_named_as_what_it_is(embedded):
  dataset.check(embedded)
  assert embedded.name == 'mnist_svhn_text'
  assert embedded.modalities == ('digits', 'colour_digits', 'text')
  assert len(embedded.train.labels) == 2 * 1442
  assert len(embedded.test.labels) == 2 * 355
  assert embedded.train.inputs['digits'].shape == (1442, 28, 28, 1)
  assert embedded.train.inputs['colour_digits'].shape == (2884, 32, 32, 3)
  assert 'SVHN' not in embedded.source and 'MNIST' not in embedded.source
  assert 'not MNIST and SVHN' in str(embedded.substituted)
  assert '\n' not in f'{embedded.source}{embedded.substituted}'
  assert embedded.fingerprint == dataset.fingerprint(
    embedded.train, embedded.test
  )


def test_each_colour_image_is_in_one_tuple_and_shows_its_digit(embedded):
  for split in (embedded.train, embedded.test):
    table = split.tables['colour_digits']
    np.testing.assert_array_equal(np.sort(table), np.arange(len(table)))
    of_digit = np.empty(len(split.inputs['digits']), int)
    of_digit[split.tables['digits']] = split.labels
    # Rendering r of digit image i is colour image i + r * number of images.
    np.testing.assert_array_equal(of_digit[table % len(of_digit)], split.labels)
    # What is paired is the digit, not the image: chance is 1 in 144.
    assert np.mean(table % len(of_digit) == split.tables['digits']) < 0.1


def test_the_word_is_the_digits_name(embedded):
  split = embedded.test.take(np.array([0, 300, 709]))
  assert text.decode(split.inputs['text']) == [
    text.WORDS[label] for label in split.labels
  ]
  assert embedded.test.inputs['text'].shape == (10, 8)


def test_the_embedded_set_follows_from_the_seed(embedded):
  same = mnist_svhn_text.load(digits='embedded', num_pairings=2)
  other = mnist_svhn_text.load(digits='embedded', num_pairings=2, seed=1)
  assert same.fingerprint == embedded.fingerprint != other.fingerprint


# --- where it comes from ----------------------------------------------------


def _write_mnist(root):
  rng = np.random.default_rng(0)
  for stem, count in (('train', 60), ('t10k', 30)):
    images = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
    labels = np.arange(count, dtype=np.uint8) % 10
    for name, array in (('images-idx3', images), ('labels-idx1', labels)):
      content = idx.header(array.shape) + array.tobytes()
      (root / f'{stem}-{name}-ubyte').write_bytes(content)


def _write_svhn(root):
  rng = np.random.default_rng(1)
  for split, count in (('train', 40), ('test', 20)):
    images = rng.integers(256, size=(32, 32, 3, count), dtype=np.uint8)
    labels = 1 + np.arange(count, dtype=np.uint8)[:, None] % 10
    path = root / f'{split}_32x32.mat'
    scipy.io.savemat(path, {'X': images, 'y': labels})


def test_a_part_of_svhn_says_so_and_unused_images_are_left_out(tmp_path):
  _write_mnist(tmp_path)
  _write_svhn(tmp_path)
  data = mnist_svhn_text.load(
    directory=str(tmp_path), num_pairings=5, embedded_repeats=2
  )
  dataset.check(data)
  assert data.modalities == ('mnist', 'svhn', 'text')
  assert len(data.train.labels) == 200 and len(data.test.labels) == 100
  assert len(data.train.inputs['mnist']) == 40
  assert len(data.train.inputs['svhn']) == 40
  assert data.substituted.endswith(
    ' SVHN is a part: 40 of 73,257 training and 20 of 26,032 test digits.'
  )
  assert "not MNIST's as published" in data.substituted
  assert '200 + 100 tuples (seed 0, 5 pairings)' in data.source
  assert 'MNIST (60 + 30 images)' in data.source
  assert 'SVHN (40 + 20 images)' in data.source


def test_images_keep_their_digits_when_unused_ones_are_left_out(tmp_path):
  _write_mnist(tmp_path)
  _write_svhn(tmp_path)
  data = mnist_svhn_text.load(directory=str(tmp_path), num_pairings=2)
  tuples = data.train.take(np.arange(80))
  whole = mnist_svhn_text.load(
    directory=str(tmp_path), num_pairings=2, pairing='all'
  )
  assert len(whole.train.labels) == 120
  assert 'of every image of the first set' in whole.source
  shown = {}
  every = whole.train.take(np.arange(120))
  for split in (tuples, every):
    for name in ('mnist', 'svhn'):
      for image, label in zip(split.inputs[name], split.labels, strict=True):
        assert shown.setdefault(bytes(image), label) == label
  assert len(shown) == 60 + 40


def test_auto_without_either_gives_the_embedded_set(tmp_path):
  data = mnist_svhn_text.load(num_pairings=1)
  assert data.modalities == mnist_svhn_text.EMBEDDED_MODALITIES
  assert 'MNIST not found' in str(data.substituted)
  assert 'SVHN not found' in str(data.substituted)


@pytest.mark.parametrize(
  ('write', 'missing'), [(_write_mnist, 'SVHN'), (_write_svhn, 'MNIST')]
)
def test_auto_with_one_of_them_says_which_is_missing(tmp_path, write, missing):
  write(tmp_path)
  data = mnist_svhn_text.load(directory=str(tmp_path), embedded_repeats=1)
  assert data.modalities == mnist_svhn_text.EMBEDDED_MODALITIES
  assert f'{missing} not found' in str(data.substituted)
  there = {'SVHN': 'MNIST', 'MNIST': 'SVHN'}[missing]
  assert f'{there} not found' not in str(data.substituted)
  assert '\n' not in str(data.substituted)
  for digits in ('mnist', 'idx'):
    with pytest.raises(FileNotFoundError, match=f'{missing} not found'):
      mnist_svhn_text.load(digits=digits, directory=str(tmp_path))


def test_a_directory_with_neither_is_an_error(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match='MNIST not found'):
    mnist_svhn_text.load(directory=str(tmp_path))
  monkeypatch.setenv('MMJSD_DATA_DIR', str(tmp_path))
  with pytest.raises(FileNotFoundError, match='MNIST not found'):
    mnist_svhn_text.load()


def test_bad_files_and_sources_are_refused(tmp_path):
  _write_mnist(tmp_path)
  _write_svhn(tmp_path)
  path = tmp_path / 'test_32x32.mat'
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(ValueError, match=f'{path}: expected a whole file'):
    mnist_svhn_text.load(directory=str(tmp_path))
  with pytest.raises(ValueError, match="auto, mnist, idx.*got 'svhn'"):
    mnist_svhn_text.load(digits='svhn')


def test_the_real_files_load_in_seconds(data_directory):
  start = time.process_time()
  data = mnist_svhn_text.load(directory=data_directory)
  assert time.process_time() - start < 10
  svhn = data.train.inputs['svhn']
  if 'SVHN is a part' in str(data.substituted):
    assert len(data.train.labels) == 20 * len(svhn)
  else:
    assert len(data.train.labels) == 1_121_360
    assert len(data.test.labels) == 200_000
  pixels = sum(x.nbytes for x in data.train.inputs.values())
  assert pixels < len(data.train.labels) * 3856 / 15
