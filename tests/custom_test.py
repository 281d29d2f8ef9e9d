"""Data sets from arrays in memory: matching, gaps, labels, standardisation."""

import numpy as np
import pytest
import scipy.stats

from mmjsd_jax.data import dataset, preparation
from mmjsd_jax.data.custom import Items, make_dataset
from mmjsd_jax.data.declaration import ModalitySpec

HALVES = ['train', 'test'] * 3
NAN = np.full(2, np.nan)


def _vectors(*rows):
  """Vectors [6, 2], of which the rows given are NaN."""
  values = np.random.default_rng(0).normal(3, 2, (6, 2))
  values[list(rows)] = np.nan
  return values


def _whole(found):
  """Both splits of modality -> (values, present), the training part first."""
  return {
    name: (
      np.concatenate([split.inputs[name] for split in found[3:5]]),
      np.concatenate(
        [
          split.present.get(name, np.ones(split.num_examples, bool))
          for split in found[3:5]
        ]
      ),
    )
    for name in found.modalities
  }


def test_examples_are_matched_by_id_and_absent_where_an_id_is():
  a = Items(np.arange(8.0).reshape(4, 2), ids=['p', 'q', 'r', 's'])
  b = Items(np.arange(6, dtype=np.uint8).reshape(3, 1, 2), ids=['s', 't', 'q'])
  split = Items(['train'] * 4 + ['test'], ids=['p', 'q', 'r', 's', 't'])
  specs = [ModalitySpec('a', 'vector', standardise=False)]
  found = make_dataset(
    {'a': a, 'b': b}, specs=[*specs, ModalitySpec('b', 'image')], split=split
  )
  dataset.check(found)
  values, present = _whole(found)['a']
  np.testing.assert_array_equal(values, [*np.arange(8).reshape(4, 2), [0, 0]])
  np.testing.assert_array_equal(present, [1, 1, 1, 1, 0])
  values, present = _whole(found)['b']
  np.testing.assert_array_equal(
    values[..., 0, :, 0], [[0, 0], [4, 5], [0, 0], [0, 1], [2, 3]]
  )
  np.testing.assert_array_equal(present, [0, 1, 0, 1, 1])
  assert 'a in 4 of 5; b in 3 of 5; no labels' in found.source
  assert found.num_classes == 0
  assert (found.train.labels == -1).all()


def test_ids_of_integers_and_strings_are_the_same():
  a = Items(_vectors(), ids=range(6))
  b = Items(_vectors()[::-1], ids=list('543210'))
  found = make_dataset({'a': a, 'b': b}, split=Items(HALVES, ids=range(6)))
  np.testing.assert_array_equal(
    found.train.inputs['a'], found.train.inputs['b']
  )
  assert found.train.present == {}


@pytest.mark.parametrize(
  ('given', 'specs'),
  [
    (_vectors(4), None),
    (Items(_vectors(), present=np.arange(6) != 4), None),
    (['a', 'b', 'c', 'd', '', 'f'], None),
    (['a', 'b', 'c', 'd', None, 'f'], None),
    (_vectors(4).reshape(6, 1, 2) / 99, [ModalitySpec('a', 'image')]),
  ],
  ids=['nan', 'mask', 'empty', 'none', 'image'],
)
def test_gaps_are_marked_by_mask_nan_or_emptiness(given, specs):
  specs = specs and [*specs, ModalitySpec('b', 'vector')]
  if isinstance(given, np.ndarray) and given.ndim == 3:
    given = np.abs(given)
  found = make_dataset({'a': given, 'b': _vectors()}, specs=specs, split=HALVES)
  np.testing.assert_array_equal(found.train.present['a'], [1, 1, 0])
  assert found.test.present == {}
  assert np.isfinite(found.train.inputs['a']).all()


def test_examples_without_any_modality_are_left_out_and_told():
  ids = list('pqrstu')
  arrays = {'a': Items(_vectors(1, 3), ids), 'b': Items(_vectors(1), ids)}
  register = [*ids, 'x', 'y', 'z']
  found = make_dataset(
    arrays,
    labels=Items(list('abcaacdde'), register),
    split=Items([*HALVES, 'train', 'test', ''], register),
  )
  dataset.check(found)
  assert found.substituted == (
    'Left out, as they have no modality, of 9 examples: 1 of the training part'
    " (id 'x'), 2 of the test part (id 'q', id 'y'), 1 (id 'z')."
  )
  without_q = [0, 2, 3, 4, 5]
  same = make_dataset(
    {
      'a': Items(_vectors(1, 3)[without_q], list('prstu')),
      'b': Items(_vectors()[without_q], list('prstu')),
    },
    labels=Items(list('acaac'), list('prstu')),
    split=Items([HALVES[n] for n in without_q], list('prstu')),
  )
  assert found.fingerprint == same.fingerprint
  assert found.num_classes == 2
  assert found.source == same.source
  assert same.substituted is None


def test_of_rows_left_out_the_first_are_named_and_none_is_drawn():
  values = np.random.default_rng(0).normal(size=(40, 2))
  lacking = np.arange(0, 40, 2)
  values[lacking, 0] = np.nan
  options = dict(test_share=0.25, seed=3)
  found = make_dataset({'a': values}, partial_rows='absent', **options)
  assert found.substituted == (
    'Left out, as they have no modality, of 40 examples: 20 (row 0, row 2,'
    ' row 4, row 6, row 8, ...).'
  )
  same = make_dataset({'a': values[1::2]}, **options)
  assert found.fingerprint == same.fingerprint
  assert (found.train.num_examples, found.test.num_examples) == (15, 5)
  assert found.train.present == found.test.present == {}


def test_rows_that_are_nan_in_part_are_absent_where_so_wanted():
  values = _vectors()
  values[2, 1] = np.nan
  arrays = {'a': values, 'b': _vectors()}
  with pytest.raises(ValueError, match='got 1 rows .* row 2, in column 1'):
    make_dataset(arrays, split=HALVES)
  found = make_dataset(arrays, split=HALVES, partial_rows='absent')
  np.testing.assert_array_equal(found.train.present['a'], [1, 0, 1])


def test_the_test_part_is_drawn_by_the_seed():
  arrays = {'a': np.arange(40.0).reshape(20, 2)}
  drawn = [
    make_dataset(arrays, test_share=0.25, seed=seed).fingerprint
    for seed in (0, 0, 1)
  ]
  assert drawn[0] == drawn[1] != drawn[2]
  found = make_dataset(arrays, test_share=0.25)
  assert (found.train.num_examples, found.test.num_examples) == (15, 5)


@pytest.mark.parametrize(
  ('labels', 'codes'),
  [
    (['b', 'a', '', 'b', None, 'c'], [1, -1, -1, 0, 1, 2]),
    (['b', 'a', np.nan, 'b', np.nan, 'c'], [1, -1, -1, 0, 1, 2]),
    ([7, 5, -1, 7, -1, 9], [1, -1, -1, 0, 1, 2]),
    ([7.0, 5.0, np.nan, 7.0, np.nan, 9.0], [1, -1, -1, 0, 1, 2]),
  ],
  ids=['strings', 'strings and NaN', 'integers', 'floats'],
)
def test_labels_become_classes_and_may_be_unknown(labels, codes):
  found = make_dataset({'a': _vectors()}, labels=labels, split=HALVES)
  together = [*found.train.labels, *found.test.labels]
  assert together == codes
  assert found.num_classes == 3
  assert found.train.labels.dtype == np.int32
  assert 'known of 4' in found.source


# --- standardisation ----------------------------------------------------------


def _standardised(values, split=HALVES):
  found = make_dataset(
    {'a': values, 'b': _vectors()},
    specs=[ModalitySpec('a', 'vector'), ModalitySpec('b', 'vector')],
    split=split,
  )
  return found.specs[0], found


def test_columns_are_standardised_by_the_training_rows_that_are_there():
  values = _vectors(2)
  spec, found = _standardised(values)
  fitted = values[[0, 4]]
  np.testing.assert_allclose(spec.mean, fitted.mean(axis=0), rtol=1e-12)
  np.testing.assert_allclose(spec.std, fitted.std(axis=0), rtol=1e-12)
  there = found.train.inputs['a'][found.train.present['a']]
  np.testing.assert_allclose(there.mean(axis=0), 0, atol=1e-6)
  np.testing.assert_allclose(there.std(axis=0), 1, rtol=1e-6)
  np.testing.assert_allclose(
    found.test.inputs['a'],
    (values[1::2] - fitted.mean(axis=0)) / fitted.std(axis=0),
    rtol=1e-5,
  )


def test_the_test_part_does_not_move_the_standardisation():
  values = _vectors()
  before, _ = _standardised(values)
  values[1::2] += 100
  after, _ = _standardised(values)
  assert (before.mean, before.std) == (after.mean, after.std)


def test_constant_columns_stay_and_are_zero():
  values = _vectors()
  values[:, 1] = 0.1
  spec, found = _standardised(values)
  assert (spec.mean[1], spec.std[1]) == (0.1, 1.0)
  assert (found.train.inputs['a'][:, 1] == 0).all()


def test_what_is_restored_is_what_was_given():
  values = _vectors()
  spec, _ = _standardised(values)
  prepared = preparation.prepare(spec, values)
  assert prepared.dtype == np.float32
  np.testing.assert_allclose(
    preparation.restore(spec, prepared), values, rtol=1e-5
  )


def test_log_scales_bring_densities_back_to_the_users_units():
  values = _vectors()
  spec, _ = _standardised(values)
  prepared = preparation.prepare(spec, values)
  standardised = scipy.stats.norm.logpdf(prepared, 0.3, 0.5).sum(axis=1)
  mean = np.array(spec.mean) + 0.3 * np.array(spec.std)
  scale = 0.5 * np.array(spec.std)
  expected = scipy.stats.norm.logpdf(values, mean, scale).sum(axis=1)
  found = standardised - preparation.log_scale_sum(spec)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_texts_are_restored_from_scores():
  words = ['hé', 'abc', 'a b', '', 'c', 'h']
  found = make_dataset({'a': words, 'b': _vectors()}, split=HALVES)
  spec = found.specs[0]
  assert (spec.alphabet, spec.shape) == (' abché', (3,))
  scores = np.eye(6)[found.train.inputs['a']]
  assert preparation.restore(spec, scores)[:2].tolist() == ['hé', 'a b']


# --- what is refused ----------------------------------------------------------


@pytest.mark.parametrize(
  ('arrays', 'options', 'message'),
  [
    (
      {'a': _vectors(), 'b': _vectors()[:5]},
      {},
      "must have as many rows as each other; got {'a': 6, 'b': 5}",
    ),
    (
      {'a': Items(_vectors(), ids=range(6)), 'b': _vectors()},
      {},
      r"all modalities must have ids, or none; got \['a'\] of",
    ),
    (
      {'a': Items(_vectors(), ids=list('abcdeb'), origin='a.csv')},
      {},
      "ids of a of a.csv must be distinct; got 'b' in rows 1 and 5",
    ),
    (
      {'a': Items(_vectors(), ids=['x', '', 'y', 'z', 'u', 'v'])},
      {},
      'ids of a must not be empty; got one in row 1',
    ),
    (
      {'a': Items(_vectors(), ids=np.arange(6.0))},
      {},
      'ids of a must be integers or strings; got float64',
    ),
    (
      {'a': Items(_vectors(), ids=[1, 2])},
      {},
      r'ids of a must be \[6\], one for each row; got \(2,\)',
    ),
    (
      {'a': _vectors(*range(6)), 'b': _vectors(*range(6))},
      {},
      'one example at least must have .* got 6 without any, the first row 0',
    ),
    (
      {'a': _vectors(1, 3, 5)},
      {'split': HALVES},
      'both parts must have .* got 3 for training and 0 for the test',
    ),
    (
      {'a': _vectors(0, 2, 4), 'b': _vectors()},
      {'split': HALVES},
      'a must be there in the training part; got none of its 3 examples',
    ),
    (
      {'a': Items(_vectors(), present=np.ones(6))},
      {},
      r'the mask of a must be bool \(6,\); got float64',
    ),
    (
      {'a': np.where(np.eye(6, 2), np.inf, 0.0)},
      {},
      'a must be finite; got infinity in row 0, column 0',
    ),
    ({'a': np.zeros(6)}, {}, r'a must be numbers \[N, columns\]; got float64'),
    (
      {'a': _vectors().astype(object)},
      {},
      r'a must be numbers \[N, columns\]; got object',
    ),
    (
      {'a': Items(np.zeros((0, 2)), origin='a.csv')},
      {},
      r'a of a.csv must be .* one row at least; got float64 \(0, 2\)',
    ),
    (
      {
        'a': Items(_vectors(), ids=list('pqrstu')),
        'b': Items(_vectors(), ids=[f'{x} ' for x in 'pqrstu']),
      },
      {},
      "ids of a must be, some .*; got none, the first 'p' where .* has 'p '",
    ),
    ({'a': np.array(b'x')}, {}, 'a must be an array of numbers or strings'),
    ({'a': np.zeros((6, 0))}, {}, r'a must be numbers \[N, columns\]; got'),
    (
      {'a': np.full((6, 3, 3), 9.0)},
      {},
      r'a must be in \[0, 1\] to be an image of floats; got 9.0 to 9.0',
    ),
    (
      {'a': _vectors()},
      {'specs': [ModalitySpec('a', 'vector', 'bernoulli')]},
      r'a must be in \[0, 1\] to be bernoulli; got',
    ),
    (
      {'a': _vectors()},
      {'specs': [ModalitySpec('a', 'text')]},
      r'a must be strings \[N\]; got float64',
    ),
    (
      {'a': _vectors()},
      {'specs': [ModalitySpec('b', 'vector')]},
      r"specs must be of the modalities \('a',\), .*; got \('b',\)",
    ),
    (
      {'a': list('abcdef')},
      {'specs': [ModalitySpec('a', 'text', alphabet='abc ')]},
      "a: expected characters of the alphabet 'abc '; got 'd'",
    ),
    (
      {'a': np.full((6, 2), 1e300)},
      {'specs': [ModalitySpec('a', 'vector', standardise=False)]},
      'within the range of float32',
    ),
    ({'a': _vectors()}, {'labels': [0.5] * 6}, 'labels must be classes, .*0.5'),
    ({'a': _vectors()}, {'labels': [-1] * 6}, 'known of one example at least'),
    ({'a': _vectors()}, {'labels': [0] * 5}, 'labels must have 6 rows and no'),
    (
      {'a': Items(_vectors(), ids=range(6))},
      {'labels': Items([0, 1], ids=['5 ', '6 '])},
      "ids of labels must be, some .*; got none, the first '5 ' where .* '0'",
    ),
    ({'a': _vectors()}, {'split': ['train'] * 6}, 'got 6 for training and 0'),
    (
      {'a': _vectors()},
      {'split': ['dev'] * 6},
      "one of .* got 'dev' for row 0",
    ),
    (
      {'a': Items(_vectors(), ids=range(6))},
      {'split': Items(['train', 'test'], ids=[5, 1])},
      "split must be there for all 6 examples that .*; got 2, not id '0'",
    ),
    ({'a': _vectors()}, {'test_share': 1.5}, 'test_share must be above 0'),
    (
      {'a': _vectors()},
      {'partial_rows': 'fill'},
      'partial_rows must be one of',
    ),
    ({}, {}, r'one at least; got \(\)'),
  ],
)
def test_what_cannot_be_used_is_named(arrays, options, message):
  with pytest.raises(ValueError, match=message) as error:
    make_dataset(arrays, **options)
  assert '\n' not in str(error.value)
