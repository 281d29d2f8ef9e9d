"""What is measured of generated images, and of texts, in a tiny model.

The images are 4 x 4 and grey; the class is how bright they are.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax import likelihoods, objectives
from mmjsd_jax.data import text
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.evaluation import (
  autoencoder,
  coherence,
  evaluate,
  quality,
  sample_quality,
)
from mmjsd_jax.evaluation.classifier_cache import Classifiers
from mmjsd_jax.evaluation.inception import Inception
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.model import Modality, Model, pixels_to_float

pytestmark = pytest.mark.whole

NAMES = ('grey', 'pale', 'word')
WORDS = ('one', 'two')


class _Encoder(nn.Module):
  @nn.compact
  def __call__(self, x):
    mean = nn.Dense(2)(x.reshape(len(x), -1) / 10)
    return Gaussian(mean, jnp.full_like(mean, -2))


class _Decoder(nn.Module):
  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, z):
    size = int(np.prod(self.shape))
    return nn.Dense(size)(z).reshape(*z.shape[:-1], *self.shape)


@pytest.fixture(scope='module')
def model():
  image = (4, 4, 1)
  return Model(
    (
      *(
        Modality(
          name,
          image,
          _Encoder(),
          _Decoder(image),
          pixels_to_float,
          likelihoods.normal,
        )
        for name in NAMES[:2]
      ),
      Modality(
        'word',
        (5,),
        _Encoder(),
        _Decoder((5, len(text.ALPHABET))),
        lambda codes: jax.nn.one_hot(codes, len(text.ALPHABET)),
        likelihoods.one_hot_categorical,
      ),
    ),
    2,
    objectives.make_objective('mopoe'),
  )


@pytest.fixture(scope='module')
def params(model):
  return model.init(jax.random.key(0))


def _split(seed, num_rows=40):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, 2, num_rows).astype(np.int32)
  shape = (2, num_rows, 4, 4, 1)
  pixels = rng.integers(0, 128, shape) + 128 * labels[None, :, None, None, None]
  pixels = pixels.astype(np.uint8)
  codes = text.encode(WORDS, 5)[labels]
  return Split({'grey': pixels[0], 'pale': pixels[1], 'word': codes}, labels)


@pytest.fixture(scope='module')
def feature_fns():
  # 16 features are more than clusters and neighbours need.
  def pixels(images):
    return images.reshape(len(images), -1)

  return {name: {'pixels': pixels} for name in NAMES[:2]}


def test_without_a_classifier_the_encoder_measures(monkeypatch):
  for name in ('train_encoder', 'encoder_features'):
    monkeypatch.setattr(sample_quality.autoencoder, name, lambda *_: None)
  dataset = Dataset('', NAMES, 0, _split(0), _split(1), '', None, '')
  found = sample_quality.make_feature_fns(jax.random.key(0), dataset, None)
  kinds = {name: list(of_one) for name, of_one in found.items()}
  assert kinds == dict.fromkeys(NAMES[:2], [quality.ENCODER])


def _measure(model, params, feature_fns, *, train=None, test=None, **changes):
  test = test or _split(1)
  settings = {'num_samples': 24, 'chunk_size': 16} | changes
  return sample_quality.measure_samples(
    jax.random.key(2),
    model,
    params,
    train or _split(0),
    test,
    evaluate.encode(model, params, test.inputs),
    np.array([[1, 0, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]], bool),
    feature_fns,
    **settings,
  )


def test_images_are_measured_by_modality_pair_and_features(
  model, params, feature_fns
):
  done = []
  found = _measure(
    model, params, feature_fns, progress=lambda *args: done.append(args)
  )
  assert json.loads(json.dumps(found, allow_nan=False)) == found
  assert found.keys() == {'random', 'conditional', 'num_samples', 'seconds'}
  assert list(found['random']) == ['grey', 'pale']
  pairs = found['conditional']['pairs']
  assert list(pairs) == [
    *('grey->pale', 'word->grey', 'word->pale', 'grey+word->pale')
  ]
  assert found['num_samples'] == 24
  for of_kind in (*found['random'].values(), *pairs.values()):
    block = of_kind['pixels']
    assert block['features'] == 'pixels'
    assert block['num_samples'] == block['num_samples_floor'] == 24
    # An untrained model is worse than real images.
    assert block['fd'] > block['fd_floor']
  floors = {pairs[name]['pixels']['fd_floor'] for name in list(pairs)[1:3]}
  assert len(floors) == 2  # pale and grey have their own
  assert done == [(n, 4) for n in (1, 2, 3, 4)]


def test_conditional_images_are_of_their_inputs(model, params):
  # What is compared is made from the same examples as the real images: a
  # decoder that shows its inputs' brightness is right, one by one.
  seen = []

  def note(images):
    seen.append(np.asarray(images))
    return images.reshape(len(images), -1)

  test = _split(1)
  changed = jax.tree.map(jnp.copy, params)
  for part in changed['grey'], changed['pale']:
    part['encoder']['Dense_0']['kernel'] = jnp.ones((16, 2))
    part['encoder']['Dense_0']['bias'] = jnp.zeros(2)
    part['decoder']['Dense_0']['kernel'] = jnp.full((2, 16), 5 / 16)
  posteriors = evaluate.encode(model, changed, test.inputs)
  posteriors.shared.log_var[:] = -20
  sample_quality.measure_samples(
    jax.random.key(0),
    model,
    changed,
    _split(0),
    test,
    posteriors,
    np.array([[1, 0, 0]], bool),
    {'pale': {'pixels': note}},
    num_samples=24,
    chunk_size=16,
  )
  images = np.concatenate(seen[-1:])[:24]
  assert images.shape == (24, 4, 4, 1)
  expected = test.inputs['grey'][:24].mean(axis=(1, 2, 3)) / 255
  np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), expected, atol=1e-3)


def test_images_are_clipped(model, params):
  extremes = []

  def note(images):
    extremes.append((float(images.min()), float(images.max())))
    return images.reshape(len(images), -1)

  bright = jax.tree.map(lambda leaf: 100 * leaf, params)
  _measure(model, bright, {'grey': {'pixels': note}})
  assert (0, 1) in extremes
  assert all(0 <= low <= high <= 1 for low, high in extremes)


def test_real_images_are_all_different(model, params, feature_fns):
  test = _split(1)
  # Twenty examples share an image of one modality with an earlier one.
  test.inputs['grey'][20:30] = test.inputs['grey'][:10]
  test.inputs['pale'][30:] = test.inputs['pale'][:10]
  found = _measure(model, params, feature_fns, test=test, num_samples=30)
  assert found['num_samples'] == 20
  only_grey = {'grey': feature_fns['grey']}
  found = _measure(model, params, only_grey, test=test, num_samples=100)
  assert found['num_samples'] == 30


def test_too_few_images_are_not_measured(model, params, feature_fns, caplog):
  train = _split(0, num_rows=9)
  assert _measure(model, params, feature_fns, train=train) is None
  assert 'sample quality needs 10 different images, got 9' in caplog.text


def test_only_images_have_features(monkeypatch):
  asked = []

  def train_encoder(key, dataset, modality):
    asked.append((modality, jax.random.key_data(key).tolist()))
    return autoencoder.LabelFreeEncoder(
      {}, jnp.zeros(1), jnp.ones(1), jnp.ones(())
    )

  monkeypatch.setattr(autoencoder, 'train_encoder', train_encoder)
  dataset = Dataset('tiny', NAMES, 2, _split(0), _split(1), '', None, '')
  classifiers = Classifiers(dict.fromkeys(NAMES, {}), {})
  found = sample_quality.make_feature_fns(
    jax.random.key(0), dataset, classifiers
  )
  assert list(found) == ['grey', 'pale']
  assert all(list(fns) == ['FD-clf', 'FD-enc'] for fns in found.values())
  assert [name for name, _ in asked] == ['grey', 'pale']
  assert asked[0][1] != asked[1][1]
  found = sample_quality.make_feature_fns(
    jax.random.key(0), dataset, classifiers, Inception({}, '')
  )
  assert all(list(fns) == ['FD-clf', 'FD-enc', 'FID'] for fns in found.values())


def _classify(key, weights, data):
  del key, weights
  return jnp.stack([jnp.zeros(len(x), jnp.int32) for x in data.values()])


def _classify_by_first_letter(key, weights, data):
  """0 for texts that begin with 'o', else 1; images are 0."""
  del key, weights
  letter = text.ALPHABET.index('o')
  return jnp.stack(
    [
      (jnp.argmax(x[:, 0], -1) != letter).astype(jnp.int32)
      if name == 'word'
      else jnp.zeros(len(x), jnp.int32)
      for name, x in data.items()
    ]
  )


def test_texts_are_judged_by_likeliest_characters_and_by_a_draw(model, params):
  # A decoder that begins with 'o' or 't', with chances of 0.6 and 0.4.
  first, other = text.encode(['o', 't'], 1)[:, 0]
  logits = np.zeros((5, len(text.ALPHABET)), np.float32)
  logits[0] = -50
  logits[0, first], logits[0, other] = np.log([0.6, 0.4])
  undecided = jax.tree.map(jnp.copy, params)
  undecided['word']['decoder']['Dense_0'] = {
    'kernel': jnp.zeros_like(params['word']['decoder']['Dense_0']['kernel']),
    'bias': jnp.asarray(logits.ravel()),
  }
  num_examples = 2000
  found = coherence.predict_conditional(
    jax.random.key(0),
    model,
    undecided,
    evaluate.encode(model, undecided, _split(1, num_examples).inputs),
    np.array([[1, 0, 0], [1, 1, 0]], bool),
    _classify_by_first_letter,
    None,
    chunk_size=512,
  )
  assert found.drawn['word'].shape == (2, num_examples)
  assert np.all(found.codes['word'][..., 0] == first)
  np.testing.assert_array_equal(found.classes[:, 2], 0)
  error = np.sqrt(0.6 * 0.4 / num_examples)
  assert np.all(np.abs(found.drawn['word'].mean(axis=1) - 0.4) < 5 * error)
  # Another draw for every subset.
  assert np.any(found.drawn['word'][0] != found.drawn['word'][1])


def test_evaluation_has_quality_and_exact_matches(model, params, feature_fns):
  dataset = Dataset('tiny', NAMES, 2, _split(0), _split(1), '', None, '')
  # A decoder that says 'one' whatever it is given.
  spells = jax.tree.map(jnp.copy, params)
  logits = 50 * jax.nn.one_hot(text.encode([' one'], 5)[0], len(text.ALPHABET))
  spells['word']['decoder']['Dense_0']['bias'] = logits.ravel()
  found = evaluate.evaluate(
    model,
    spells,
    dataset,
    coherence.Judges(None, _classify, _classify),
    key=jax.random.key(0),
    subsets=('grey', 'grey+pale', 'grey+pale+word'),
    num_probe_samples=(30,),
    num_joint_samples=10,
    num_importance_samples=2,
    num_joint_importance_samples=2,
    num_log_likelihood_examples=4,
    feature_fns=feature_fns,
    num_quality_samples=20,
  )
  share = float(np.mean(dataset.test.labels == 0))
  assert found['coherence']['exact_match'] == {
    'pairs': {'grey->word': share, 'grey+pale->word': share},
    'by_size': {'1': share, '2': share},
  }
  assert found['coherence']['drawn_text'] == found['coherence']['exact_match']
  assert found['quality']['num_samples'] == 20
  assert list(found['quality']['conditional']['pairs']) == ['grey->pale']
