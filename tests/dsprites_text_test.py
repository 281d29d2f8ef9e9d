"""dSprites with text: what is said of images, parts of the grid, its file."""

import itertools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax import architecture, examples
from mmjsd_jax.data import dsprites_text, sprites, text
from mmjsd_jax.data.dataset import check
from mmjsd_jax.modalities import text as text_modality

pytestmark = pytest.mark.usefixtures('no_local_data')


def _load(**settings):
  return dsprites_text.load(**{'num_examples': 60, **settings})


@pytest.fixture(scope='module')
def drawn():
  with pytest.MonkeyPatch.context() as patch:
    patch.delenv('MMJSD_DATA_DIR', raising=False)
    return _load()


# --- texts --------------------------------------------------------------------


def test_texts_are_as_in_the_paper():
  found = dsprites_text.texts()
  assert len(set(found)) == len(found) == 3 * 6 * 4 * 3 * 3
  # Figure 2.
  assert 'square, zero point eight, left, upper mid' in found
  # At least one place is left, so that there is a start to draw.
  assert max(map(len, found)) < dsprites_text.TEXT_LENGTH


def test_words_share_angles_and_places_evenly():
  def counts(axis, factor):
    classes = np.zeros((sprites.GRID[axis], 6), int)
    classes[:, axis] = np.arange(len(classes))
    return np.bincount(dsprites_text.name_classes(classes)[:, factor]).tolist()

  assert counts(3, 2) == [10, 10, 10, 10]
  assert counts(4, 3) == counts(5, 4) == [11, 10, 11]


def _said(**classes):
  names = ('colour', 'shape', 'scale', 'orientation', 'x', 'y')
  grid = np.array([[classes.get(name, 0) for name in names]])
  found = dsprites_text.name_classes(grid)[0]
  return {
    factor.name: factor.classes[number]
    for factor, number in zip(dsprites_text.FACTORS, found, strict=True)
  }


def test_angles_go_to_the_nearest_quarter():
  words = [_said(orientation=k)['orientation'] for k in range(40)]
  runs = [(word, len(list(run))) for word, run in itertools.groupby(words)]
  assert runs == [
    ('upright', 5),
    ('left', 10),
    ('upside down', 10),
    ('right', 10),
    ('upright', 5),
  ]


def test_words_of_places_are_where_the_images_are(drawn):
  images = drawn.train.inputs['image'][..., 0] / 255
  mass = images.sum(axis=(1, 2))
  column = (images.sum(axis=1) @ np.arange(64)) / mass
  line = (images.sum(axis=2) @ np.arange(64)) / mass
  *_, x, y = drawn.train.factors.T
  assert column[x == 0].max() < column[x == 2].min()  # left, right
  assert line[y == 2].max() < line[y == 0].min()  # upper, lower


# --- the data set -------------------------------------------------------------


def test_drawn_images_make_a_data_set(drawn):
  check(drawn)
  assert drawn.num_classes == 0
  for split, size in ((drawn.train, 54), (drawn.test, 6)):
    assert split.num_examples == size
    assert split.inputs['image'].shape == (size, 64, 64, 1)
    assert split.inputs['text'].shape == (648, 64)
    assert (split.labels == -1).all()
  assert '54 + 6 of 737,280' in drawn.source
  assert 'drawn' in drawn.substituted and 'no directory' in drawn.substituted


def test_texts_say_what_the_factors_are(drawn):
  taken = drawn.test.take(np.arange(6))
  said = text.decode(taken.inputs['text'])
  for words, classes in zip(said, taken.factors, strict=True):
    shape, scale, orientation, x, y = (
      factor.classes[number]
      for factor, number in zip(dsprites_text.FACTORS, classes, strict=True)
    )
    written = f'{shape}, {scale}, {orientation}, {y} {x}'
    assert words == written.ljust(64, '*')


def test_parts_follow_from_the_seed_and_a_larger_one_has_the_smaller(
  monkeypatch,
):
  monkeypatch.setattr(sprites, 'NUM_IMAGES', 4000)

  def parts(num_examples, seed=0):
    found = dsprites_text._draw_parts(num_examples, 0.25, seed)
    return [set(rows.tolist()) for rows in found]

  train, test = parts(40)
  larger_train, larger_test = parts(400)
  assert (len(train), len(test)) == (30, 10)
  assert train < larger_train and test < larger_test
  assert not larger_train & larger_test
  assert parts(40) == [train, test]
  assert parts(40, seed=1) != [train, test]


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'source': 'drawn'}, 'one of auto, npz, rendered; got'),
    ({'num_examples': 737_281}, 'num_examples of 0 to 737,280'),
    ({'num_examples': 4}, 'one example at least'),
  ],
)
def test_bad_arguments_are_refused(settings, message):
  with pytest.raises(ValueError, match=message):
    _load(**settings)


# --- the published file -------------------------------------------------------

_SMALL = (1, 3, 2, 4, 2, 2)


class _Mischief:
  """Would make a file if it were unpickled."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return pathlib.Path.touch, (self.path,)


@pytest.fixture
def small(monkeypatch):
  """A grid of 96 images in the place of dSprites'; its arrays."""
  monkeypatch.setattr(sprites, 'GRID', _SMALL)
  monkeypatch.setattr(sprites, 'NUM_IMAGES', 96)
  monkeypatch.setattr(sprites, '_PLACES', 4)
  rows = np.arange(96)
  return {
    'imgs': sprites.draw(rows) // 255,
    'latents_classes': sprites.classes(rows).astype(np.int64),
  }


def _write(folder, **arrays):
  path = folder / dsprites_text.FILE
  np.savez_compressed(path, **arrays)
  return path


@pytest.mark.parametrize('folder', ['', 'dsprites'])
def test_the_file_is_used_where_it_is(small, tmp_path, monkeypatch, folder):
  place = tmp_path / folder
  place.mkdir(exist_ok=True)
  path = _write(place, **small)
  rendered = _load(source='rendered')
  assert 'asked for' in rendered.substituted
  found = _load(directory=str(tmp_path))
  assert found.substituted is None
  assert str(path) in found.source
  assert found.fingerprint == rendered.fingerprint
  monkeypatch.setenv('MMJSD_DATA_DIR', str(tmp_path))
  assert _load().source == found.source


def test_what_a_copy_says_of_itself_is_told_and_nothing_is_run(small, tmp_path):
  made = tmp_path / 'made'
  metadata = {
    'author': 'x',
    'note_on_this_copy': 'Drawn\nagain.',
    'z': _Mischief(made),
  }
  path = _write(tmp_path, **small, metadata=np.array(metadata, dtype=object))
  found = _load(directory=str(tmp_path))
  assert found.substituted == f'{path} says of itself: Drawn again.'
  assert not made.exists()


def test_other_images_are_told(small, tmp_path):
  _write(tmp_path, **{**small, 'imgs': small['imgs'][:, ::-1]})
  found = _load(directory=str(tmp_path))
  assert re.search("not dSprites': .* of 200", found.substituted)


def test_a_named_directory_without_the_file_is_refused(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match="source='rendered'"):
    _load(directory=str(tmp_path))
  with pytest.raises(FileNotFoundError, match='no directory was named'):
    _load(source='npz')
  monkeypatch.setenv('MMJSD_DATA_DIR', str(tmp_path))
  assert str(tmp_path) in _load().substituted


def _swapped(classes):
  return np.ascontiguousarray(classes[:, [0, 1, 2, 3, 5, 4]])


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'imgs': None}, "the arrays \\['imgs'\\]"),
    ({'imgs': lambda x: x[:, :32]}, r'expected imgs uint8 \[96, 64, 64\]; got'),
    ({'imgs': lambda x: x.astype(float)}, 'got float64'),
    ({'imgs': lambda x: x + (x > 0)}, 'expected imgs of 0 and 1 alone; got'),
    ({'imgs': lambda x: x[:95]}, 'arrays of as many rows'),
    ({'latents_classes': _swapped}, 'expected latents_classes in the order'),
    ({'latents_classes': lambda x: x[:, :5]}, 'expected latents_classes int64'),
  ],
)
def test_other_arrays_are_refused(small, tmp_path, changes, message):
  for name, change in changes.items():
    array = small.pop(name)
    if change:
      small[name] = change(array)
  path = _write(tmp_path, **small)
  with pytest.raises(ValueError, match=message) as info:
    _load(directory=str(tmp_path))
  assert str(info.value).startswith(str(path))
  assert '\n' not in str(info.value)


def test_a_cut_file_is_refused(small, tmp_path):
  path = _write(tmp_path, **small)
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])
  with pytest.raises(ValueError, match=re.escape(str(path))):
    _load(directory=str(tmp_path))


# --- networks -----------------------------------------------------------------


@pytest.fixture(scope='module')
def modalities():
  return architecture.make_modalities(
    'dsprites_text', dsprites_text.MODALITIES, latent_dim=12, style_dims=(4, 0)
  )


def _output(network, value):
  """Its shapes; computes nothing."""
  return jax.eval_shape(network.init_with_output, jax.random.key(0), value)[0]


def test_networks_read_and_give_what_the_data_are(drawn, modalities):
  items = drawn.test.take(np.arange(6)).inputs
  for modality in modalities:
    x = modality.to_float(jnp.asarray(items[modality.name]))
    z = jnp.zeros((6, modality.style_dim + 12))
    posterior = jax.eval_shape(
      modality.encoder.init_with_output, jax.random.key(0), x
    )[0]
    assert posterior.mean.shape == z.shape
    decoded = jax.eval_shape(
      modality.decoder.init_with_output, jax.random.key(0), z
    )[0]
    assert decoded.shape == x.shape
    found = jax.eval_shape(modality.log_likelihood, x, decoded)
    assert found.shape == (6,)


def test_networks_are_as_large_as_they_say():
  image, words = architecture.make_modalities(
    'dsprites_text', dsprites_text.MODALITIES, latent_dim=12, style_dims=(4, 8)
  )
  for network, value, size in (
    (image.encoder, jnp.zeros((1, 64, 64, 1)), 2_376_736),
    (image.decoder, jnp.zeros((1, 16)), 2_372_608),
    (words.encoder, jnp.zeros((1, 64, 71)), 2_610_216),
    (words.decoder, jnp.zeros((1, 20)), 2_604_480),
  ):
    shapes = jax.eval_shape(network.init, jax.random.key(0), value)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == size


def test_text_encoder_names_what_it_expects(modalities, key):
  with pytest.raises(ValueError, match=r'64, 71\)\], got \(1, 8, 71\)'):
    modalities[1].encoder.init(key, jnp.zeros((1, 8, 71)))


def test_texts_are_placed_among_stars(modalities, key):
  codes = text.encode(dsprites_text.texts()[:50], 64, filler='*')
  placed = np.asarray(modalities[1].at_access(key, jnp.asarray(codes)))
  assert [*text.decode(placed, filler='*')] == (dsprites_text.texts()[:50])
  starts = np.argmax(placed != text_modality.STAR, axis=1)
  assert len(set(starts.tolist())) > 10
  assert text.ALPHABET[text_modality.STAR] == dsprites_text.FILLER


def test_strings_are_filled_up_as_the_data_are(modalities):
  specs = examples.make_specs(modalities)
  words = dsprites_text.texts()[:2]
  codes = examples.make_examples(specs, {'text': words}).inputs['text']
  assert text.decode(codes) == [word.ljust(64, '*') for word in words]
  scores = text_modality.to_float(jnp.asarray(codes))
  assert examples.as_given(specs[1], scores).tolist() == words
