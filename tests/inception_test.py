"""Inception's features, and what is refused as its weights.

The weights are random: those of FID are not ours to ship.
"""

import hashlib

import numpy as np
import pytest

from mmjsd_jax.evaluation import inception

pytestmark = pytest.mark.whole

_LAYER = 'Mixed_5b.branch1x1'


def _random_weights(shapes):
  """Such that activations stay of the order of one."""
  rng = np.random.default_rng(0)
  made = {}
  for name in sorted(shapes):
    x = rng.standard_normal(shapes[name], dtype=np.float32)
    if x.ndim == 4:
      x *= np.float32(np.sqrt(2 / np.prod(x.shape[1:])))
    elif name.endswith(('weight', 'running_var')):
      x = 1 + np.tanh(x) / 2
    else:
      x = x / 5
    made[name] = x
  return made


@pytest.fixture(scope='module')
def shapes():
  return inception.weight_shapes()


def test_names_and_shapes_are_those_of_pytorch(shapes):
  # Convolution and batch normalisation, five arrays each, of 94 layers.
  assert len(shapes) == 94 * 5
  assert shapes['Conv2d_1a_3x3.conv.weight'] == (32, 3, 3, 3)
  assert shapes['Mixed_5b.branch_pool.conv.weight'] == (32, 192, 1, 1)
  assert shapes['Mixed_6d.branch7x7_2.conv.weight'] == (160, 160, 1, 7)
  assert shapes['Mixed_7c.branch3x3dbl_3b.bn.running_var'] == (384,)
  # torchvision's inception_v3 has 23,834,568 trained numbers without its
  # auxiliary logits, of which 2,049,000 make the logits.
  trained = (x for name, x in shapes.items() if 'running' not in name)
  assert sum(int(np.prod(x)) for x in trained) == 23_834_568 - 2_049_000


# Of torchvision 0.28's Inception3 with pytorch-fid's pooling, that is
# avg_pool2d(..., count_include_pad=False) in the blocks A, C and Mixed_7b and
# max_pool2d(x, 3, stride=1, padding=1) in Mixed_7c, on 2 x - 1 for x of
# F.interpolate(size=(299, 299), mode='bilinear', align_corners=False); torch
# 2.13 on a CPU, float32. Any one block's pooling undone changes some of them by
# more than one per cent. All 2,048 agree within 1e-5 of their standard
# deviation.
_SOME = [100, 400, 800, 1200, 1600, 2047]
_GREY = [0.2020, 0.8963, 13.1874, 1.8676, 5.2739, 4.4733]
_COLOUR = [0.1742, 0.7038, 9.9703, 1.4472, 4.5372, 3.4975]


def test_features_are_those_of_pytorch(shapes, tmp_path):
  ignored = {
    'fc.weight': np.zeros((1008, 2048), np.float32),
    'Mixed_5b.branch1x1.bn.num_batches_tracked': np.int64(0),
  }
  path = tmp_path / 'weights.npz'
  np.savez(path, **_random_weights(shapes), **ignored)
  loaded = inception.load_inception(path)
  assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
  feature_fn = inception.inception_features(loaded.params)
  rng = np.random.default_rng(1)
  for num_channels, expected in ((1, _GREY), (3, _COLOUR)):
    images = rng.random((1, 16, 16, num_channels), dtype=np.float32)
    found = feature_fn(images)
    assert found.shape == (1, 2048)
    # The numbers above have four decimals.
    np.testing.assert_allclose(found[0, _SOME], expected, rtol=1e-4, atol=6e-5)


@pytest.mark.parametrize('size', [(8, 12), (299, 299), (310, 305)])
def test_images_are_resized_by_lines_between_pixel_centres(size):
  images = np.random.default_rng(0).random((2, *size, 3), dtype=np.float32)
  expected = images
  for axis in (1, 2):
    num = size[axis - 1]
    places = (np.arange(299) + 0.5) * num / 299 - 0.5
    expected = np.apply_along_axis(
      lambda line, places=places, num=num: np.interp(
        places, np.arange(num), line
      ),
      axis,
      expected,
    )
  found = inception.enlarge(images)
  # Places are known to about 300 times float32's precision.
  np.testing.assert_allclose(found, 2 * expected - 1, atol=1e-4)


def test_grey_is_three_equal_channels():
  images = np.random.default_rng(0).random((1, 8, 8, 1), dtype=np.float32)
  found = np.asarray(inception.enlarge(images))
  assert found.shape == (1, 299, 299, 3)
  np.testing.assert_array_equal(found[..., :1], found[..., 1:2])
  np.testing.assert_array_equal(found[..., :1], found[..., 2:])


@pytest.mark.parametrize('shape', [(8, 8, 3), (1, 8, 8, 4)])
def test_other_images_are_refused(shape):
  with pytest.raises(ValueError, match='expected images .* got shape'):
    inception.enlarge(np.zeros(shape, np.float32))


def test_many_images_go_through_a_few_at_a_time(monkeypatch):
  sizes = []

  def mean(params, images):
    del params
    sizes.append(len(images))
    return images.mean(axis=(1, 2))

  monkeypatch.setattr(inception, '_pool3', mean)
  images = np.arange(60, dtype=np.float32)[:, None, None, None] / 60
  found = inception.inception_features({})(np.tile(images, (1, 4, 4, 1)))
  assert sizes == [50, 50]
  expected = np.repeat(2 * images[:, 0, 0] - 1, 3, axis=1)
  np.testing.assert_allclose(found, expected, atol=1e-5)


# --- files --------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch):
  """Weights of one layer, which are all that is asked for."""
  shapes = {f'{_LAYER}.conv.weight': (2, 3, 1, 1)} | {
    f'{_LAYER}.bn.{name}': (2,)
    for name in ('weight', 'bias', 'running_mean', 'running_var')
  }
  monkeypatch.setattr(inception, 'weight_shapes', lambda: shapes)
  return _random_weights(shapes)


def test_batch_normalisation_is_folded_into_the_convolution(small, tmp_path):
  path = tmp_path / 'weights.npz'
  np.savez(path, **small)
  found = inception.load_inception(path).params[_LAYER]
  x = np.random.default_rng(1).normal(size=3)
  weight, shift, mean, scale, variance = (
    small[f'{_LAYER}.{name}']
    for name in (
      *('conv.weight', 'bn.bias', 'bn.running_mean', 'bn.weight'),
      'bn.running_var',
    )
  )
  normalised = (weight[:, :, 0, 0] @ x - mean) / np.sqrt(variance + 0.001)
  np.testing.assert_allclose(
    x @ found['kernel'][0, 0] + found['bias'],
    scale * normalised + shift,
    rtol=1e-5,
  )


@pytest.mark.parametrize(
  ('name', 'array', 'message'),
  [
    ('bn.bias', None, 'got 4 of them: .*bn.bias is missing'),
    ('bn.bias', np.zeros(3), r'floating \(2,\) as .* got float64 \(3,\)'),
    ('bn.bias', np.zeros(2, int), 'expected floating .* got int64'),
    ('bn.bias', np.array(['a', 'b']), 'expected floating .* got <U1'),
    ('bn.bias', np.array([0, np.nan]), 'got 1 of 2 that are not'),
    ('conv.weight', np.full((2, 3, 1, 1), np.inf), 'got 6 of 6 that are not'),
    ('bn.running_var', np.array([1, -1.0]), 'at least 0 .* got -1'),
    ('bn.bias', np.array([None, None]), 'expected floating .* got object'),
    ('bn.bias', np.array([0, 1e300]), 'expected values within float32'),
  ],
  ids='none shape int text nan inf variance pickle large'.split(),
)
def test_other_arrays_are_refused(name, array, message, small, tmp_path):
  path = tmp_path / 'weights.npz'
  del small[f'{_LAYER}.{name}']
  if array is not None:
    small[f'{_LAYER}.{name}'] = array
  np.savez(path, **small)
  with pytest.raises(ValueError, match=message) as error:
    inception.load_inception(path)
  assert str(path) in str(error.value)


@pytest.mark.parametrize('kind', ['empty', 'text', 'npy', 'cut short'])
def test_other_files_are_refused(kind, small, tmp_path):
  path = tmp_path / 'weights.npz'
  np.savez(path, **small)
  whole = path.read_bytes()
  np.save(tmp_path / 'array.npy', np.zeros(3))
  path.write_bytes(
    {
      'empty': b'',
      'text': b'weights' * 100,
      'npy': (tmp_path / 'array.npy').read_bytes(),
      'cut short': whole[: len(whole) // 2],
    }[kind]
  )
  with pytest.raises(ValueError, match='expected .*Inception weights') as error:
    inception.load_inception(path)
  assert str(path) in str(error.value)


def test_a_missing_file_is_told_by_name(small, tmp_path):
  with pytest.raises(FileNotFoundError, match='weights.npz'):
    inception.load_inception(tmp_path / 'weights.npz')
