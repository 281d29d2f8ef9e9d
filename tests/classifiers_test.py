"""Tests of the digit classifiers and their cache."""

import logging
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.data.dataset import Dataset, Factor, Split, fingerprint
from mmjsd_jax.data.text import encode
from mmjsd_jax.evaluation import classifiers
from mmjsd_jax.evaluation.classifier_networks import (
  DigitClassifier,
  MnistClassifier,
  SvhnClassifier,
  TextClassifier,
)
from mmjsd_jax.evaluation.classifiers import train_classifiers
from mmjsd_jax.evaluation.judges import (
  features,
  make_judges,
  predict,
  predict_as_released,
)
from mmjsd_jax.modalities.text import to_float

pytestmark = pytest.mark.whole

SETTINGS = {'num_steps': 30, 'batch_size': 16}


def split(rng, num_rows):
  """Images whose class, of two, is which half of them is bright."""
  labels = rng.integers(2, size=num_rows).astype(np.int32)
  inputs = {}
  for name in ('a', 'b'):
    images = rng.integers(0, 100, (num_rows, 28, 28, 3), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
      image[14 * label : 14 * label + 14] += 100
    inputs[name] = images
  return Split(inputs, labels)


@pytest.fixture(scope='module')
def dataset():
  rng = np.random.default_rng(0)
  # More test rows than `_TEST_CHUNK` holds, and not a multiple of it.
  train, test = split(rng, 64), split(rng, 510)
  digest = fingerprint(train, test)
  return Dataset('halves', ('a', 'b'), 2, train, test, '', None, digest)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('classifiers')


@pytest.fixture(scope='module')
def trained(dataset, cache):
  return train_classifiers(
    jax.random.key(0), dataset, cache_dir=cache, **SETTINGS
  )


def images_of(dataset, name='a', num_rows=8):
  return jnp.asarray(dataset.test.inputs[name][:num_rows] / 255, jnp.float32)


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_parameters_are_as_many_as_in_the_original_network():
  """Count of the authors' PyTorch code."""
  variables = jax.eval_shape(
    lambda key, x: DigitClassifier().init(key, x, train=False),
    jax.random.key(0),
    jnp.zeros((1, 28, 28, 3)),
  )
  shapes = [leaf.shape for leaf in jax.tree.leaves(variables)]
  assert sum(map(math.prod, shapes)) == 130_568


def test_separable_classes_are_learned(trained):
  assert trained.test_accuracy.keys() == {'a', 'b'}
  assert min(trained.test_accuracy.values()) > 0.98


def test_accuracy_counts_every_row_once(dataset, trained):
  """The last chunk is filled up with the last row, which is wrong here."""
  labels = dataset.test.labels.copy()
  labels[-5:] = 1 - labels[-5:]
  images = images_of(dataset, num_rows=None)
  seen = jit(predict)(trained.params['a'], images).argmax(axis=-1)
  accuracy = jit(classifiers._accuracy, static_argnames='counts')(
    trained.params['a'], dataset.test.inputs['a'], labels[:, None], counts=(2,)
  )
  expected = float(np.mean(np.asarray(seen) == labels))
  assert 0.9 < expected < 1
  assert float(accuracy) == pytest.approx(expected, abs=1e-6)


def test_dropout_is_on_in_training_mode_only(key, dataset, trained):
  params, images = trained.params['a'], images_of(dataset)
  once, again = (jit(predict)(params, images) for _ in range(2))
  np.testing.assert_array_equal(once, again)
  released = jit(predict_as_released)
  keys = jax.random.split(key)
  first, second = (released(params, k, images) for k in keys)
  assert jnp.abs(first - second).max() > 1e-3
  np.testing.assert_array_equal(first, released(params, keys[0], images))


def test_dropout_drops_whole_channels(key, trained):
  classifier = DigitClassifier(2, channel_dropout=0.5, dropout=0.0)

  @jit
  def first_dropout(params, images):
    _, state = classifier.apply(
      {'params': params},
      images,
      train=True,
      rngs={'dropout': key},
      capture_intermediates=lambda module, _: module.name == 'Dropout_0',
      mutable=['intermediates'],
    )
    return state['intermediates']['Dropout_0']['__call__'][0]

  maps = first_dropout(trained.params['a'], jnp.ones((4, 28, 28, 3)))
  assert maps.shape == (4, 14, 14, 10)
  dropped = (maps == 0).all(axis=(1, 2))
  np.testing.assert_array_equal(dropped, (maps == 0).any(axis=(1, 2)))
  assert 0 < dropped.sum() < dropped.size


def test_judges_give_a_class_per_modality_and_example(key, dataset, trained):
  judges = make_judges(trained, trained)
  data = {name: images_of(dataset, name) for name in ('a', 'b')}
  seen = jit(judges.classify_fn)(key, judges.params, data)
  predict_fn = jit(predict)
  for row, (name, images) in zip(seen, data.items(), strict=True):
    expected = predict_fn(trained.params[name], images).argmax(axis=-1)
    np.testing.assert_array_equal(row, expected)
  released = jit(judges.classify_as_released_fn)
  assert released(key, judges.params, data).shape == (2, 8)
  # Programs are compiled for these functions, so they may not change.
  assert make_judges(trained).classify_fn is judges.classify_fn


def test_judging_as_released_needs_classifiers_trained_for_it(
  key, dataset, trained
):
  judges = make_judges(trained)
  with pytest.raises(ValueError, match='as released'):
    judges.classify_as_released_fn(
      key, judges.params, {'a': images_of(dataset)}
    )


def test_a_second_call_reads_the_cache(dataset, cache, trained, monkeypatch):
  monkeypatch.delattr(classifiers, '_train')
  again = train_classifiers(
    jax.random.key(0), dataset, cache_dir=cache, **SETTINGS
  )
  assert_equal(again, trained)


@pytest.mark.parametrize(
  'change',
  [
    {'key': jax.random.key(1)},
    {'fingerprint': 'other'},
    {'channel_dropout': 0.5},
    {'dropout': 0.1},
    {'num_steps': 31},
    {'peak_learning_rate': 1e-3},
  ],
  ids=lambda change: next(iter(change)),
)
def test_any_change_is_trained_anew(
  change, dataset, cache, trained, monkeypatch
):
  class Trained(Exception):
    pass

  def train(*args, **settings):
    raise Trained

  monkeypatch.setattr(classifiers, '_train', train)
  settings = SETTINGS | change
  key = settings.pop('key', jax.random.key(0))
  digest = settings.pop('fingerprint', dataset.fingerprint)
  with pytest.raises(Trained):
    train_classifiers(
      key, dataset._replace(fingerprint=digest), cache_dir=cache, **settings
    )


def damaged_copies(content):
  """Names a damage and what the file then holds."""
  yield 'empty', b''
  yield 'cut short', content[: len(content) // 2]
  yield 'not an archive', b'classifiers' * 100
  rng = np.random.default_rng(0)
  for place in [5, 30, 100, *rng.integers(len(content), size=6)]:
    turned = bytearray(content)
    turned[place] ^= 0xFF
    yield f'byte {place} of {len(content)}', bytes(turned)


def test_a_damaged_cache_is_reported_and_trained_anew(
  dataset, cache, trained, tmp_path, monkeypatch, caplog
):
  (path,) = cache.glob('*.npz')
  parts = [trained.params['a'], trained.params['b']] * 50
  monkeypatch.setattr(classifiers, '_train', lambda *a, **k: parts.pop(0))
  num_reported = 0
  for damage, content in damaged_copies(path.read_bytes()):
    (tmp_path / path.name).write_bytes(content)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
      found = train_classifiers(
        jax.random.key(0), dataset, cache_dir=tmp_path, **SETTINGS
      )
    # Some bytes of an archive mean nothing; the weights are right always.
    assert_equal(found.params, trained.params)
    num_reported += 'is damaged' in caplog.text
    if damage in ('empty', 'cut short', 'not an archive'):
      assert 'is damaged' in caplog.text, damage
      assert path.name in caplog.text
  assert num_reported >= 8


def test_a_cache_of_another_shape_is_trained_anew(
  dataset, cache, trained, tmp_path, monkeypatch, caplog
):
  (path,) = cache.glob('*.npz')
  with np.load(path, allow_pickle=False) as arrays:
    changed = dict(arrays)
  changed['a/logits/bias'] = np.zeros(3, np.float32)
  np.savez(tmp_path / path.name, **changed)
  parts = [trained.params['a'], trained.params['b']]
  monkeypatch.setattr(classifiers, '_train', lambda *a, **k: parts.pop(0))
  with caplog.at_level(logging.WARNING):
    train_classifiers(
      jax.random.key(0), dataset, cache_dir=tmp_path, **SETTINGS
    )
  assert 'float32 (2,)' in caplog.text
  assert not parts


def test_nothing_but_the_cache_file_is_left(cache, trained):
  (path,) = cache.iterdir()
  assert path.suffix == '.npz'


def test_classifiers_are_returned_where_the_cache_cannot_be_written(
  dataset, trained, tmp_path, monkeypatch, caplog
):
  (tmp_path / 'file').write_text('no folder')
  parts = [trained.params['a'], trained.params['b']]
  monkeypatch.setattr(classifiers, '_train', lambda *a, **k: parts.pop(0))
  with caplog.at_level(logging.WARNING):
    found = train_classifiers(
      jax.random.key(0), dataset, cache_dir=tmp_path / 'file' / 'x', **SETTINGS
    )
  assert_equal(found.params, trained.params)
  assert 'not kept' in caplog.text


def test_settings_out_of_range_are_named(key, dataset, tmp_path):
  with pytest.raises(ValueError, match='0 steps'):
    train_classifiers(key, dataset, num_steps=0, cache_dir=tmp_path)


def test_all_factors_are_learned_at_once(dataset, tmp_path):
  """Which half is bright, and which channel is: one logit and three."""
  names = (Factor('half', ('upper', 'lower')), Factor('hue', ('r', 'g', 'b')))

  def coloured(split):
    hues = np.arange(len(split.labels)) % 3
    images = split.inputs['a'] // 2
    images[np.arange(len(hues)), :, :, hues] += 100
    return Split(
      {'a': images},
      np.full(len(hues), -1),
      factors=np.stack([split.labels, hues], axis=1).astype(np.uint8),
    )

  made = dataset._replace(
    modalities=('a',),
    num_classes=0,
    train=coloured(dataset.train),
    test=coloured(dataset.test),
    factors=names,
  )
  assert classifiers.without_classifier(made) == {}
  found = train_classifiers(
    jax.random.key(0), made, cache_dir=tmp_path, **SETTINGS
  )
  assert found.test_accuracy['a'] > 0.95
  images = images_of(made)
  judges = make_judges(found, found, of_factors=True)
  logits = jit(judges.classify_fn)(None, judges.params, {'a': images})
  assert logits.shape == (1, 4, 8)
  np.testing.assert_array_equal(logits[0, 0] > 0, made.test.factors[:8, 0])
  np.testing.assert_array_equal(
    logits[0, 1:].argmax(axis=0), made.test.factors[:8, 1]
  )
  released = jit(judges.classify_as_released_fn)(
    jax.random.key(0), judges.params, {'a': images}
  )
  assert released.shape == logits.shape


# --- MNIST, SVHN and text -----------------------------------------------------

SHAPES = {'mnist': (28, 28, 1), 'svhn': (32, 32, 3), 'text': (8, 71)}
each_kind = pytest.mark.parametrize('kind', SHAPES)


@pytest.mark.parametrize(
  ('network', 'kind', 'expected'),
  [
    (MnistClassifier(), 'mnist', 165_866),
    (SvhnClassifier(), 'svhn', 233_066),
    (TextClassifier(), 'text', 459_850),
  ],
  ids=SHAPES,
)
def test_parameters_of_mnist_svhn_and_text(network, kind, expected):
  """Counts of the authors' PyTorch code; running statistics are not learned."""
  variables = jax.eval_shape(
    lambda key, x: network.init(key, x, train=False),
    jax.random.key(0),
    jnp.zeros((1, *SHAPES[kind])),
  )
  shapes = [leaf.shape for leaf in jax.tree.leaves(variables['params'])]
  assert sum(map(math.prod, shapes)) == expected
  assert ('batch_stats' in variables) == (kind != 'mnist')


def triples(rng, num_items, num_tuples):
  """MNIST-SVHN-Text of two classes in miniature, with tables."""
  labels = rng.integers(2, size=num_tuples).astype(np.int32)
  inputs, tables = {}, {}
  for name in ('mnist', 'svhn'):
    images = rng.integers(0, 100, (num_items, *SHAPES[name]), dtype=np.uint8)
    images[1::2, :10] += 100  # odd items are of class 1
    # The last pair of items is in no tuple.
    pairs = rng.integers(num_items // 2 - 1, size=num_tuples)
    inputs[name], tables[name] = images, (2 * pairs + labels).astype(np.int32)
  inputs['text'], tables['text'] = encode(('one', 'two'), 8), labels
  return Split(inputs, labels, tables)


@pytest.fixture(scope='module')
def triple_set():
  rng = np.random.default_rng(0)
  train, test = triples(rng, 40, 100), triples(rng, 12, 30)
  digest = fingerprint(train, test)
  names = tuple(SHAPES)
  return Dataset('triples', names, 2, train, test, '', None, digest)


@pytest.fixture(scope='module')
def triple_cache(tmp_path_factory):
  return tmp_path_factory.mktemp('classifiers')


@pytest.fixture(scope='module')
def trained_triples(triple_set, triple_cache):
  return train_classifiers(
    jax.random.key(0), triple_set, cache_dir=triple_cache, **SETTINGS
  )


def floats_of(triple_set, kind):
  x = jnp.asarray(triple_set.test.inputs[kind])
  return x[:8].astype(jnp.float32) / 255 if kind != 'text' else to_float(x)


@each_kind
def test_all_kinds_are_learned(trained_triples, kind):
  # Inverted images make thirty steps of SVHN short.
  least = {'mnist': 0.9, 'svhn': 0.6, 'text': 0.95}[kind]
  assert trained_triples.test_accuracy[kind] >= least


def test_running_statistics_are_kept_in_the_cache(
  triple_set, triple_cache, trained_triples, monkeypatch
):
  statistics = trained_triples.params['svhn']['batch_stats']['BatchNorm_0']
  assert jnp.abs(statistics['mean']).max() > 1e-3
  monkeypatch.delattr(classifiers, '_train')
  again = train_classifiers(
    jax.random.key(0), triple_set, cache_dir=triple_cache, **SETTINGS
  )
  assert_equal(again, trained_triples)


@pytest.mark.parametrize('kind', ['svhn', 'text'])
def test_only_released_judges_see_an_example_by_its_batch(
  key, triple_set, trained_triples, kind
):
  """Batch normalisation by the statistics of what is judged."""
  params, x = trained_triples.params[kind], floats_of(triple_set, kind)
  changed = x.at[1:].set(0.0)
  predict_fn = jit(predict)
  np.testing.assert_allclose(
    predict_fn(params, x)[0], predict_fn(params, changed)[0], atol=1e-5
  )
  released = jit(predict_as_released)
  a, b = (released(params, key, data)[0] for data in (x, changed))
  assert jnp.abs(a - b).max() > 1e-2


@each_kind
def test_logits_are_a_linear_map_of_features(
  key, triple_set, trained_triples, kind
):
  params, x = trained_triples.params[kind], floats_of(triple_set, kind)
  found = jit(features)(params, x)
  assert found.shape == (len(x), 128)
  layer = params['logits']
  logits = found @ layer['kernel'] + layer['bias'].reshape(1, -1)
  expected = jit(predict)(params, x)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_text_is_judged_by_its_likeliest_characters(
  key, triple_set, trained_triples
):
  """Logits, whatever their scale, are judged as the text they spell."""
  judges = make_judges(trained_triples, trained_triples)
  one_hot = floats_of(triple_set, 'text')
  expected = [[0, 1]]
  classify = jit(judges.classify_fn)
  for logits in (one_hot, 0.1 * one_hot - 3, 50 * one_hot):
    seen = classify(key, judges.params, {'text': logits})
    np.testing.assert_array_equal(seen, expected)


def test_all_modalities_are_judged_in_either_mode(
  key, triple_set, trained_triples
):
  judges = make_judges(trained_triples, trained_triples)
  data = {kind: floats_of(triple_set, kind)[:2] for kind in SHAPES}
  for classify in (judges.classify_fn, judges.classify_as_released_fn):
    assert jit(classify)(key, judges.params, data).shape == (3, 2)


def test_judges_pass_over_what_has_no_classifier(
  key, triple_set, trained_triples
):
  params = {k: trained_triples.params[k] for k in ('mnist', 'text')}
  fewer = trained_triples._replace(params=params)
  judges = make_judges(fewer, fewer, {'svhn': 'why'})
  data = {kind: floats_of(triple_set, kind)[:2] for kind in SHAPES}
  every = make_judges(trained_triples, trained_triples)
  classify = jax.jit(judges.classify_fn)
  seen = classify(key, judges.params, data)
  whole = classify(key, every.params, data)
  np.testing.assert_array_equal(seen, whole[::2])


def test_items_without_a_class_or_that_fill_a_gap_are_not_learned(triple_set):
  labels = triple_set.train.labels.copy()
  labels[0] = -1
  present = np.arange(len(labels)) != 1
  split = triple_set.train._replace(
    labels=labels, present=dict.fromkeys(SHAPES, present)
  )
  for kind in SHAPES:
    if kind in split.tables:  # each item once, whichever tuples it is in
      rows = np.unique(split.tables[kind][2:])
    else:
      rows = np.arange(2, len(labels))
    items, classes = classifiers._labelled_items(triple_set, split, kind)
    np.testing.assert_array_equal(items, split.inputs[kind][rows])
    assert classes.min() == 0
  assert classifiers.without_classifier(triple_set) == {}
  nobody = split._replace(labels=0 * labels - 1)
  why = 'a split has no labelled example of it'
  assert classifiers.without_classifier(
    triple_set._replace(test=nobody)
  ) == dict.fromkeys(SHAPES, why)
  unlabelled = triple_set._replace(num_classes=0)
  why = 'the data set has no labels'
  assert classifiers.without_classifier(unlabelled) == dict.fromkeys(
    SHAPES, why
  )


def test_items_of_a_table_have_the_factors_of_their_tuples(triple_set):
  factors = (Factor('word', ('one', 'two')), Factor('odd', ('no', 'yes')))
  labels = triple_set.train.labels
  split = triple_set.train._replace(
    labels=0 * labels - 1,
    factors=np.stack([labels, 1 - labels], axis=1).astype(np.uint8),
  )
  dataset = triple_set._replace(num_classes=0, factors=factors)
  items, classes = classifiers._labelled_items(dataset, split, 'text')
  np.testing.assert_array_equal(items, split.inputs['text'])
  np.testing.assert_array_equal(classes, [[0, 1], [1, 0]])


def test_an_item_of_several_classes_is_refused(triple_set, tmp_path):
  labels = triple_set.train.labels.copy()
  labels[0] = 1 - labels[0]
  wrong = triple_set.train._replace(labels=labels)
  with pytest.raises(ValueError, match='several'):
    train_classifiers(
      jax.random.key(0),
      triple_set._replace(train=wrong),
      cache_dir=tmp_path,
      **SETTINGS,
    )


@pytest.mark.parametrize(
  ('kind', 'num_items', 'expected'),
  [
    ('mnist', 100, 1000),
    ('mnist', 60_000, 1640),
    ('svhn', 4434, 1200),
    ('svhn', 73_257, 2003),
    ('text', 10, 200),
  ],
)
def test_steps_follow_the_items_and_not_the_tuples(kind, num_items, expected):
  shape = (8,) if kind == 'text' else SHAPES[kind]
  # Rows of no memory of their own.
  items = np.broadcast_to(np.zeros(shape, np.uint8), (num_items, *shape))
  many = np.zeros(1_000_000, np.int32)
  split = Split({kind: items}, many, {kind: many})
  dataset = Dataset('', (kind,), 10, split, split, '', None, '')
  job = classifiers._make_job(dataset, kind, 0.0, 0.5, None, 128)
  assert job.num_steps == expected
