"""PolyMNIST: the recipe, its randomness, and the whole load."""

import hashlib
import math
import time

import numpy as np
import pytest

from mmjsd_jax.data import dataset, digits, idx, polymnist

pytestmark = pytest.mark.usefixtures('no_local_data')


@pytest.fixture(scope='session')
def data_directory(data_dir):
  if not (data_dir / 'mnist').is_dir():
    pytest.skip('MNIST is not here: set MMJSD_DATA_DIR to where it is')
  return str(data_dir)


@pytest.fixture(scope='module')
def few():
  """60 digits, the image of each unlike any other; no fours at all."""
  rng = np.random.default_rng(0)
  labels = rng.choice([0, 1, 2, 3, 5, 6, 7, 8, 9], 60).astype(np.int32)
  images = rng.integers(256, size=(60, 28, 28), dtype=np.uint8)
  images[:, 0, :3] = [128, 129, 127]
  return digits.Digits(images, labels)


@pytest.fixture(scope='module')
def pictures():
  """Every pixel tells where it is."""
  sizes = [(40, 60), (28, 28), (33, 29), (100, 28), (28, 100)]
  made = []
  for number, (height, width) in enumerate(sizes):
    y, x = np.mgrid[:height, :width]
    made.append(np.stack([y, x, np.full_like(x, number)], -1).astype(np.uint8))
  return made


def _tuples(few, pictures, **settings):
  return polymnist.make_tuples(
    few, pictures, **{'seed': 0, 'split': 'train', **settings}
  )


# --- the recipe -------------------------------------------------------------


@pytest.mark.parametrize('num_repeats', [1, 3])
def test_tuples_are_what_a_plain_loop_makes(few, pictures, num_repeats):
  inputs, labels = _tuples(few, pictures, seed=5, num_repeats=num_repeats)
  for m, name in enumerate(polymnist.MODALITIES):
    expected = []
    height, width = pictures[m].shape[:2]
    for repeat in range(num_repeats):
      rng = np.random.default_rng([5, 0, repeat, m])
      chosen = []
      for digit in range(10):
        members = [n for n in range(60) if few.labels[n] == digit]
        chosen += [members[n] for n in rng.permutation(len(members))]
      ys = rng.integers(max(height - 28, 1), size=60)
      xs = rng.integers(max(width - 28, 1), size=60)
      for number, (row, y, x) in enumerate(zip(chosen, ys, xs, strict=True)):
        crop = pictures[m][y : y + 28, x : x + 28].copy()
        for i in range(28):
          for j in range(28):
            if few.images[row, i, j] > 128:
              crop[i, j] = 255 - crop[i, j]
        expected.append((few.labels[row], repeat, number, crop))
    expected.sort(key=lambda item: item[:3])
    assert labels.tolist() == [item[0] for item in expected]
    np.testing.assert_array_equal(
      inputs[name], np.stack([item[3] for item in expected])
    )


def test_every_image_is_used_once_per_modality_under_its_own_label(
  few, pictures
):
  inputs, labels = _tuples(few, pictures, num_repeats=2)
  for m, name in enumerate(polymnist.MODALITIES):
    # The third channel is m everywhere, so it tells what was inverted.
    ink = inputs[name][..., 2] != m
    found = [
      (label, mask.tobytes()) for label, mask in zip(labels, ink, strict=True)
    ]
    masks = zip(few.labels, few.images > 128, strict=True)
    wanted = [(label, mask.tobytes()) for label, mask in masks]
    assert sorted(found) == sorted(wanted * 2)


def test_types_shapes_and_order(few, pictures):
  inputs, labels = _tuples(few, pictures, num_repeats=2)
  assert tuple(inputs) == polymnist.MODALITIES
  for images in inputs.values():
    assert images.shape == (120, 28, 28, 3) and images.dtype == np.uint8
  assert labels.dtype == np.int32
  assert (np.diff(labels) >= 0).all()
  expected = 2 * np.bincount(few.labels, minlength=10)
  np.testing.assert_array_equal(np.bincount(labels, minlength=10), expected)


def test_crops_start_where_the_authors_program_starts_them(few, pictures):
  inputs, _ = _tuples(few, pictures, num_repeats=60)
  # At row 0, column 0 to 2 hold 128, 129 and 127: the second is inverted.
  corners = {name: images[:, 0] for name, images in inputs.items()}
  assert set(corners['m0'][:, 0, 0]) == set(range(40 - 28))
  assert set(corners['m0'][:, 0, 1]) == set(range(60 - 28))
  np.testing.assert_array_equal(
    corners['m0'][:, 1, 1], 255 - (corners['m0'][:, 0, 1] + 1)
  )
  # A picture that is 28 wide has one crop, and one that is 29 wide has too.
  assert set(corners['m1'][:, 0, 1]) == {0}
  assert set(corners['m2'][:, 0, 1]) == {0}


def test_no_tuples_from_no_digits(pictures):
  nothing = digits.Digits(
    np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.int32)
  )
  inputs, labels = _tuples(nothing, pictures)
  assert inputs['m4'].shape == (0, 28, 28, 3) and labels.shape == (0,)


# --- randomness -------------------------------------------------------------


def _ink(inputs):
  return {name: images[..., 2] > 100 for name, images in inputs.items()}


def test_a_seed_gives_the_same_tuples_and_another_gives_others(few, pictures):
  first, second = (_tuples(few, pictures, seed=3)[0] for _ in range(2))
  other = _tuples(few, pictures, seed=4)[0]
  for name in polymnist.MODALITIES:
    np.testing.assert_array_equal(first[name], second[name])
    assert (first[name] != other[name]).any()


def test_splits_modalities_and_repeats_permute_differently(few, pictures):
  train = _ink(_tuples(few, pictures)[0])
  test = _ink(_tuples(few, pictures, split='test')[0])
  masks = [*train.values(), *test.values()]
  for a in range(len(masks)):
    for b in range(a):
      assert (masks[a] != masks[b]).any()
  twice, labels = _tuples(few, pictures, num_repeats=2)
  zeros = np.flatnonzero(labels == 0)
  first, second = np.split(zeros, 2)
  np.testing.assert_array_equal(
    _ink(twice)['m0'][first], train['m0'][: len(first)]
  )
  assert (twice['m0'][first] != twice['m0'][second]).any()


def test_tuples_are_those_of_earlier_releases(few, pictures):
  # Golden: this function at 0.1.0, under NumPy 2.4.6 and 2.5.5.
  inputs, labels = _tuples(few, pictures, seed=42)
  digest = hashlib.sha256(labels.tobytes())
  for name in polymnist.MODALITIES:
    digest.update(inputs[name].tobytes())
  assert digest.hexdigest()[:16] == '033f287920a2dc7c'


# --- bad input --------------------------------------------------------------


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'seed': -1}, 'seed of 0 or more; got -1'),
    ({'split': 'valid'}, "train or test; got 'valid'"),
    ({'num_repeats': 0}, 'num_repeats of 1 or more; got 0'),
  ],
)
def test_bad_settings_are_refused(few, pictures, settings, message):
  with pytest.raises(ValueError, match=message):
    _tuples(few, pictures, **settings)


def test_bad_arrays_are_refused(few, pictures):
  with pytest.raises(ValueError, match='expected 5 backgrounds; got 4'):
    _tuples(few, pictures[:4])
  with pytest.raises(ValueError, match='of m3 to be at least 28 x 28; got 27'):
    _tuples(few, [*pictures[:3], pictures[3][:, :27], pictures[4]])
  with pytest.raises(ValueError, match=r'of m0 uint8 \[H, W, 3\]; got float64'):
    _tuples(few, [pictures[0] / 255, *pictures[1:]])
  with pytest.raises(ValueError, match=r'uint8 \[N, 28, 28\]; got float64'):
    _tuples(few._replace(images=few.images / 255), pictures)
  with pytest.raises(ValueError, match=r'labels of shape \[60\]; got \[59\]'):
    _tuples(few._replace(labels=few.labels[:59]), pictures)
  with pytest.raises(ValueError, match='labels 0 to 9; got 1 to 10'):
    _tuples(few._replace(labels=few.labels + 1), pictures)


# --- the whole --------------------------------------------------------------


def test_load_with_nothing_gives_the_embedded_set_and_says_so():
  data = polymnist.load()
  assert data.name == 'polymnist' and data.num_classes == 10
  assert data.modalities == polymnist.MODALITIES
  assert data.train.inputs['m0'].shape == (1442, 28, 28, 3)
  assert data.test.labels.shape == (355,)
  assert 'not MNIST' in str(data.substituted) and 'Textures' in str(
    data.substituted
  )
  assert '\n' not in f'{data.source}{data.substituted}'
  assert data.fingerprint == dataset.fingerprint(data.train, data.test)


def test_repeats_enlarge_the_training_split_only():
  data = polymnist.load(digits='embedded', num_repeats=2)
  assert len(data.train.labels) == 2 * 1442 and len(data.test.labels) == 355
  assert '2 repeats' in data.source


def test_embedded_repeats_are_for_embedded_digits_only(tmp_path):
  data = polymnist.load(digits='embedded', embedded_repeats=2)
  assert len(data.train.labels) == 2 * 1442
  for stem, count in (('train', 4), ('t10k', 2)):
    for name, shape in (
      ('images-idx3', (count, 28, 28)),
      ('labels-idx1', (count,)),
    ):
      content = idx.header(shape) + bytes(math.prod(shape))
      (tmp_path / f'{stem}-{name}-ubyte').write_bytes(content)
  data = polymnist.load(directory=str(tmp_path), embedded_repeats=2)
  assert len(data.train.labels) == 4


def test_load_passes_errors_on(tmp_path):
  with pytest.raises(FileNotFoundError, match='MNIST not found'):
    polymnist.load(directory=str(tmp_path))
  with pytest.raises(FileNotFoundError, match='is missing'):
    polymnist.load(digits='embedded', backgrounds=(str(tmp_path / 'no'),))


def test_a_fingerprint_tells_any_change(few, pictures):
  split = dataset.Split(*_tuples(few, pictures))
  first = dataset.fingerprint(split, split)
  assert len(first) == 64
  changed = {name: images.copy() for name, images in split.inputs.items()}
  changed['m4'][59, 27, 27, 2] ^= 1
  other = dataset.Split(changed, split.labels)
  labels = split.labels.copy()
  labels[0] += 1
  found = {
    first,
    dataset.fingerprint(split, other),
    dataset.fingerprint(other, split),
    dataset.fingerprint(split, split._replace(labels=labels)),
  }
  assert len(found) == 4


def test_the_real_set_has_every_tuple_and_takes_seconds(data_directory):
  _, test, *_ = digits.find_digits('idx', data_directory)
  pictures = polymnist.backgrounds_lib.find_backgrounds((), data_directory)
  start = time.process_time()
  inputs, labels = polymnist.make_tuples(
    test, pictures.images, seed=0, split='test'
  )
  # A tenth of the 60,000 training tuples' ten seconds, and some slack.
  assert time.process_time() - start < 3
  assert np.bincount(labels).tolist() == np.bincount(test.labels).tolist()
  assert inputs['m0'].shape == (10_000, 28, 28, 3)
