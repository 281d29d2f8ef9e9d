"""The checks that every data set passes before it is used."""

import numpy as np
import pytest

from mmjsd_jax.data import dataset
from mmjsd_jax.data.dataset import Dataset, Split


def _split(num_examples, **changes):
  inputs = {
    'm0': np.zeros((num_examples, 4, 4, 3), np.uint8),
    'm1': np.zeros((num_examples, 5), np.float32),
  }
  inputs.update(changes)
  return Split(inputs, np.arange(num_examples, dtype=np.int32) % 3)


def _dataset(train=None, test=None):
  train, test = train or _split(6), test or _split(4)
  return Dataset('toy', ('m0', 'm1'), 3, train, test, '', None, '')


def test_a_good_data_set_passes():
  dataset.check(_dataset())


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_values_that_are_not_finite_are_counted(split, value):
  array = np.zeros((4, 5), np.float32)
  array[2, 1:3] = array[3, 0] = value
  with pytest.raises(ValueError) as error:
    dataset.check(_dataset(**{split: _split(4, m1=array)}))
  assert str(error.value) == (
    f'm1 of the {split} split must be finite; got 3 values that are not, the '
    'first in example 2'
  )


@pytest.mark.parametrize(
  ('name', 'array', 'message'),
  [
    (
      'm0',
      np.zeros((4, 4, 4, 3), np.int64),
      r'm0 of the test split must be uint8 or floats; got int64 \(4, 4, 4, 3\)',
    ),
    (
      'm0',
      np.zeros((3, 4, 4, 3), np.uint8),
      r'm0 of the test split must be of shape \(4, 4, 4, 3\); got uint8 '
      r'\(3, 4, 4, 3\)',
    ),
    (
      'm1',
      np.zeros((4, 6), np.float32),
      r'm1 of the test split must be of shape \(4, 5\); got float32 \(4, 6\)',
    ),
    (
      'm1',
      np.zeros((4, 5), np.complex64),
      r'm1 of the test split must be uint8 or floats; got complex64',
    ),
    (
      'm2',
      np.zeros((4, 5), np.float32),
      r"inputs of the test split must be the modalities \('m0', 'm1'\); got "
      r"\('m0', 'm1', 'm2'\)",
    ),
  ],
  ids=['dtype', 'number', 'shape of the other split', 'complex', 'name'],
)
def test_wrong_inputs_are_named(name, array, message):
  with pytest.raises(ValueError, match=message):
    dataset.check(_dataset(test=_split(4, **{name: array})))


@pytest.mark.parametrize(
  ('labels', 'message'),
  [
    (np.zeros(4, np.float32), r'integers \[N\], N at least 1; got float32'),
    (np.zeros((4, 1), np.int32), r'got int32 \(4, 1\)'),
    (np.zeros(0, np.int32), r'got int32 \(0,\)'),
    (np.array([0, 1, 2, 3]), r'in \[0, 3\), or -1 where unknown; got 0 to 3'),
    (np.array([0, 1, 2, -2]), r'in \[0, 3\), or -1 .*; got -2 to 2'),
  ],
  ids=['floats', 'rank', 'none', 'above', 'below'],
)
def test_wrong_labels_are_named(labels, message):
  split = _split(4)._replace(labels=labels)
  with pytest.raises(ValueError, match='labels of the train split.*' + message):
    dataset.check(_dataset(train=split))


def test_fingerprint_changes_with_any_value():
  train, test = _split(6), _split(4)
  prints = {dataset.fingerprint(train, test)}
  for changed in (
    _split(4, m1=np.ones((4, 5), np.float32)),
    _split(4, m1=np.zeros((5, 4), np.float32)),
    _split(4, m1=np.zeros((4, 5), np.float64)),
    test._replace(labels=test.labels + 1),
  ):
    prints.add(dataset.fingerprint(train, changed))
  assert len(prints) == 5
  assert dataset.fingerprint(_split(6), _split(4)) in prints


def test_a_set_may_have_gaps_and_no_labels():
  values = np.full((4, 5), np.nan, np.float32)
  values[1:] = 0
  train = _split(4, m1=values)._replace(
    labels=np.full(4, -1, np.int32), present={'m1': np.arange(4) > 0}
  )
  unlabelled = _dataset(train, train)._replace(num_classes=0)
  dataset.check(unlabelled)
  with pytest.raises(ValueError, match=r'labels .* in \[0, 0\), .* got 0 to 2'):
    dataset.check(unlabelled._replace(test=_split(4)))
  with pytest.raises(ValueError, match='first in example 0'):
    dataset.check(unlabelled._replace(train=train._replace(present={})))


@pytest.mark.parametrize(
  ('present', 'message'),
  [
    (
      {'m1': np.ones(4, np.uint8)},
      r'mask of m1 of the train split must be bool \(4,\); got uint8 \(4,\)',
    ),
    ({'m1': np.ones(3, bool)}, r'must be bool \(4,\); got bool \(3,\)'),
    ({'m2': np.ones(4, bool)}, r"masks of the train .*'m1'\); got \('m2',\)"),
    (
      {'m0': np.arange(4) < 2, 'm1': np.arange(4) == 0},
      'tuples of the train split must be of at least one modality; got 2 '
      'without any, the first of them tuple 2',
    ),
  ],
  ids=['dtype', 'shape', 'name', 'nothing there'],
)
def test_wrong_masks_are_named(present, message):
  with pytest.raises(ValueError, match=message):
    dataset.check(_dataset(train=_split(4)._replace(present=present)))


def test_masks_go_with_their_tuples_and_into_the_fingerprint():
  rows, mask = np.array([3, 0]), np.array([True, True, False, False])
  split = _split(4)._replace(present={'m1': mask})
  for part in (split.keep(rows), split.take(rows), split.only(('m1',))):
    assert list(part.present) == ['m1']
  np.testing.assert_array_equal(split.keep(rows).present['m1'], [False, True])
  np.testing.assert_array_equal(split.take(rows).present['m1'], [False, True])
  split.inputs['m1'][:] = np.nan
  taken = split.take(rows).inputs['m1']
  assert (taken[0] == 0).all() and np.isnan(taken[1]).all()
  assert np.isnan(split.inputs['m1']).all()
  assert split.only(('m0',)).present == {}
  prints = {
    dataset.fingerprint(_split(4)._replace(present=present), _split(4))
    for present in ({}, {'m1': mask}, {'m1': ~mask}, {'m0': mask})
  }
  assert len(prints) == 4


_FACTORS = (
  dataset.Factor('shape', ('square', 'heart')),
  dataset.Factor('size', ('s', 'm', 'l')),
)


def _with_factors(train=None, test=None, factors=_FACTORS):
  classes = np.array([[0, 2], [1, 1], [0, 0], [1, 2]])
  train = _split(4)._replace(factors=classes if train is None else train)
  test = _split(4)._replace(factors=classes if test is None else test)
  return _dataset(train, test)._replace(factors=factors)


def test_factors_go_with_their_tuples_and_into_the_fingerprint():
  whole = _with_factors()
  dataset.check(whole)
  rows = np.array([3, 0])
  for part in (whole.train.take(rows), whole.train.keep(rows)):
    np.testing.assert_array_equal(part.factors, [[1, 2], [0, 2]])
  assert whole.train.only(('m1',)).factors is whole.train.factors
  other = whole.test._replace(factors=1 - whole.test.factors)
  marks = {
    dataset.fingerprint(whole.train, test)
    for test in (whole.test, other, whole.test._replace(factors=None))
  }
  assert len(marks) == 3


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    (
      {'factors': ()},
      r'factors of the train split must be classes in 0 factors; got int64 '
      r'\(4, 2\)',
    ),
    (
      {'test': np.zeros((4, 3), int)},
      r'factors of the test split must be integers \(4, 2\); got int64 '
      r'\(4, 3\)',
    ),
    (
      {'test': np.full((4, 2), 2)},
      r'shape of the test split must be in \[0, 2\); got 2 to 2',
    ),
  ],
)
def test_wrong_factors_are_named(changes, message):
  with pytest.raises(ValueError, match=message):
    dataset.check(_with_factors(**changes))
