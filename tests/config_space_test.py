"""Every config is refused by name before data are loaded, or takes a step.

`SPACE` has values for every key: good ones, at both ends of the range, and bad
ones, just beyond it and of other types. Drawn configs change a few keys at
once, to these or to anything of the type, and go through `jobs.prepare`; only
the data sets and the networks are stand-ins: 64 examples of noise, and one
dense layer each. Of what is accepted the true training program is traced; it
is compiled and run for a fixed list of configs, which has every preset, data
set, bound and option of the latents, with all numbers at an end of their range.
"""

import functools
import itertools
import math
import pathlib
import re
import runpy
import tempfile
from typing import NamedTuple

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType

from mmjsd_jax import config as configuration
from mmjsd_jax import grid, members, objectives, order, rules, step
from mmjsd_jax import job as jobs
from mmjsd_jax.data import (
  dsprites_text,
  mnist_svhn_text,
  own_files,
  polymnist,
)
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities import (
  celeba_image,
  celeba_text,
  mnist_image,
  polymnist_image,
  svhn_image,
  text,
)

_HERE = pathlib.Path(__file__).resolve().parent
_CONFIGS = _HERE.parent / 'configs'
_FILES = tuple(map(str, sorted(_HERE.glob('*_test.py'))[:5]))
DEFAULTS = configuration.flatten(configuration.default().to_dict())


# --- the space ----------------------------------------------------------------


class Values(NamedTuple):
  """Values of a key that are accepted, and that are refused by its name."""

  good: tuple
  bad: tuple


def _integers(least, most=2**31 - 1, good=()):
  return Values((least, *good), (least - 1, most + 1, 2**40, True, None))


def _numbers(least, most):
  beyond = (math.nextafter(least, -1), math.nextafter(most, math.inf))
  return Values(
    (least, most), (*beyond, math.nan, math.inf, -math.inf, 1e30, None)
  )


def _choices(*good):
  return Values(good, ('', good[0].upper(), 'a/b', None))


def _tuples(good, *bad):
  return Values(
    ((), *good), (None, (None,), (True,), ((),), ('\0',), *[(b,) for b in bad])
  )


FLAG = Values((True, False), (None,))
SEED = _integers(0, 2**32 - 1, (2**32 - 1,))
SIZE = _integers(1, 4096, (4096,))
COUNT = _integers(1, good=(2, 2**31 - 1))
COUNT_OR_ALL = _integers(0, good=(1, 2**31 - 1))
WEIGHT = _numbers(0.0, 1e4)
NOT_WEIGHTS = (-1.0, 1e5, math.nan, math.inf, 10**400, 'x')
NOT_PATHS = ('\0', '\udcff', '~no_such_user/a', 'a' * 5000)

SPECS = (
  ModalitySpec('a', 'vector', width=4, shape=(4,)).with_defaults(),
  ModalitySpec('b', 'image', width=4, shape=(3, 5, 1)).with_defaults(),
)
DECLARATION = Declaration(
  tuple(Declared(spec._replace(shape=()), Source('x.csv')) for spec in SPECS)
)
DECLARED = DECLARATION.to_json()

SPACE = {
  'name': Values(
    ('a', '-a+b.c_F9', 'x' * 200),
    (
      '',
      ' ',
      'ä',
      '.',
      '..',
      '../a',
      'a/b',
      '/a',
      'a\\b',
      'a\n',
      '\0',
      'x' * 201,
    )
    + ('\udcff', None),
  ),
  'seed': SEED,
  'data.name': _choices(*rules.DATASETS),
  # Of no effect but with the data set 'custom': see `_config`.
  'data.declaration': Values(('', DECLARED), ('{}', 'x', DECLARED, None)),
  'data.digits': _choices('auto', 'mnist', 'idx', 'tfds', 'embedded'),
  'data.dir': Values(('', str(_HERE), 'nowhere'), (*NOT_PATHS, None)),
  'data.backgrounds': _tuples(
    [_FILES, ('textures',)], 1, 'nowhere.png', str(_HERE), *NOT_PATHS
  ),
  'data.modalities': _tuples(
    [('m0',), ('m0', 'm4'), ('mnist', 'text'), ('text',)], 'm5', 0, ''
  ),
  'data.seed': SEED,
  'data.embedded_repeats': _integers(1, 100, (100,)),
  'data.allow_download': FLAG,
  'data.num_pairings': _integers(1, 100, (100,)),
  'data.pairing': _choices('min', 'all'),
  'data.test_split': _choices('test', 'validation'),
  'data.sprites': _choices('auto', 'npz', 'rendered'),
  'data.num_examples': _integers(0, 737_280, (10, 737_280)),
  'data.test_share': _numbers(1e-4, 0.9),
  'data.stream': Values((False,), (True, None)),  # True needs data.dir
  'data.num_validation': Values((0, 1, 56), (-1, 64, 2**40, True, None)),
  'data.missing': _numbers(0.0, 1.0),
  # Of no effect without `data.missing`: see `APART`.
  'data.missing_how': Values(('at_random',), ('by_digit', '', None)),
  'data.incomplete': Values(('keep',), ('dropped', '', None)),
  'model.latent_dim': SIZE,
  'model.hidden_dim': SIZE,
  'model.width': _integers(1, 1024, (1024,)),
  'model.style_dim': _tuples([(0, 1, 2), (4,) * 5], -1, 1.5, 4097, 2**40),
  'model.text_likelihood': _choices('categorical', 'as_released'),
  'model.draws_per_decode': COUNT_OR_ALL,
  'model.first_colour': _choices('as_released', 'median'),
  'objective.preset': _choices(*objectives.PRESETS),
  'objective.beta': WEIGHT,
  'objective.beta_warmup_steps': COUNT_OR_ALL,
  # Of no effect with the preset of `_config`: see `APART`.
  'objective.pi': _tuples([], 1.5, -0.5, 0.5, *NOT_WEIGHTS),
  'objective.likelihood_weights': _tuples(
    [(0.0, 1.0, 1e4), (1,) * 5], *NOT_WEIGHTS
  ),
  'objective.weigh_by_size': FLAG,
  'objective.beta_style': Values((1.0,), WEIGHT.bad),
  'objective.style_weights': _tuples([], *NOT_WEIGHTS),
  'objective.change.posterior': Values(('poe', 'moe', None), ('', 'x/y')),
  'objective.change.regulariser': Values(
    ('kl_mixture', 'jsd_geometric', 'jsd_arithmetic'), ('', 'jsd')
  ),
  'objective.change.bound': Values(('elbo', 'iwae', 'dreg'), ('', 'iwaE')),
  'objective.change.prior_expert': Values(('never', 'always'), ('sometimes',)),
  'objective.change.sampling': Values(
    ('categorical', 'stratified_as_released', 'every_component'), ('all',)
  ),
  'objective.change.joint_likelihood': Values((True, None), (False,)),
  'objective.change.unimodal_elbos': Values((True, False, None), ()),
  'objective.change.unimodal_weights_as_released': Values((False,), (True,)),
  'objective.change.num_subsets': _integers(0, 2**16, (2**16, None))._replace(
    bad=(-1, True, 2**16 + 1)
  ),
  'objective.change.num_samples': _integers(1, good=(1000, None))._replace(
    bad=(0, -1, True, 2**31 - 1, 2**40)
  ),
  'objective.change.looser': Values((False,), (True,)),
  'objective.change.subset_posterior': Values(
    ('mixture', 'dynamic_prior'), ('x',)
  ),
  'train.batch_size': Values((1, 64), (0, 65, 2**16, 2**16 + 1, True, None)),
  'train.num_epochs': Values((0,), (-1, 1, 2**40, True, None)),
  'train.num_steps': _integers(1, good=(2**31 - 1,)),
  'train.learning_rate': _numbers(1e-12, 1.0),
  'train.learning_rate_warmup_steps': COUNT_OR_ALL,
  'train.compute_dtype': Values(rules.COMPUTE_DTYPES, ('float16', '', None)),
  'train.log_every': Values((1, 500), (0, -1, 3, 2**40, True, None)),
  'train.checkpoint_every': Values((100, 10_000), (0, 99, 2**40, True, None)),
  'train.keep_checkpoints': _integers(2),
  'train.non_finite': Values(rules.NON_FINITE, ('', 'go on', None)),
  'train.shard_params': FLAG,
  'population.seed': Values(
    ('', '0:5', '3', '0,4294967295'),
    (',', ':', '5:0', '0:2000', '0.5', '1,1', '1,0:2', 'x', '-1', None),
  ),
  'population.beta': Values(
    ('', '0.5,1,2.5', '0:3'), ('-1', '1e5', 'nan', '1,1.0', '0.5:2', None)
  ),
  # Of no effect without styles: see `APART`.
  'population.beta_style': Values(('',), ('1,2', '-1', None)),
  'population.learning_rate': Values(
    ('', '1e-3,1e-4', '1'), ('0', '2', 'inf', None)
  ),
  'population.together': Values((0,), (-1, 1, 1001, 2**40, True, None)),
  'evaluation.checkpoint': _choices('final', 'best'),
  'evaluation.seed': SEED,
  'evaluation.subsets': _tuples(
    [('m0', 'm0+m4'), ('text',)], 'm0+m0', 'm9', '', 0
  ),
  'evaluation.sampling': _choices('stratified', 'categorical'),
  'evaluation.num_probe_samples': Values(
    ((20,), (500, 2**31 - 1)), ((), (19,), (20.5,), (True,), (2**40,), None)
  ),
  'evaluation.num_joint_samples': _integers(1, 10**7, (10**7,)),
  # Of no effect without a sampler: see `APART`.
  'evaluation.sampler': Values(('gmm',), ('vae', 'GMM', None)),
  'evaluation.sampler_components': Values(
    (1, 10, 64), (0, -1, 65, 1001, 2**40, True, None)
  ),
  'evaluation.num_importance_samples': _integers(1, 10**7, (10**7,)),
  'evaluation.num_joint_importance_samples': _integers(1, 10**7, (10**7,)),
  'evaluation.num_log_likelihood_examples': COUNT,
  'evaluation.num_test_examples': COUNT_OR_ALL,
  'evaluation.untrained_baseline': FLAG,
  'evaluation.as_released': FLAG,
  'evaluation.readings': FLAG,
  'evaluation.num_quality_samples': Values(
    (0, 10, 2**31 - 1), (-1, 1, 9, 2**40, True, None)
  ),
  'evaluation.inception_weights': Values(
    ('',), ('nowhere.npz', str(_HERE), *NOT_PATHS, None)
  ),
  'evaluation.condition_on': Values(('', 'm0', 'text'), ('m9', '\0', None)),
}
# Refused, though each alone is accepted; the key that is named.
APART = [
  ('train.num_epochs', {'train.num_epochs': 1, 'train.num_steps': 1}),
  ('train.num_epochs', {'train.num_steps': 0}),
  ('train.checkpoint_every', {'train.log_every': 64}),
  ('evaluation.subsets', {'evaluation.subsets': ('m0+m1', 'm1+m0')}),
  (
    'objective.likelihood_weights',
    {'objective.likelihood_weights': (0.0,) * 5},
  ),
  ('objective.pi', {'objective.pi': (1 / 6,) * 6}),
  (
    'evaluation.sampler_components',
    {'evaluation.sampler': '', 'evaluation.sampler_components': 2},
  ),
  ('population.beta_style', {'population.beta_style': '1,2'}),
  ('population.beta', {'population.seed': '0:100', 'population.beta': '0:11'}),
  (
    'train.non_finite',
    {
      'population.seed': '0:2',
      'population.together': 2,
      'train.non_finite': 'restore',
    },
  ),
  *(
    ('objective.pi', {'objective.preset': 'mmjsd', 'objective.pi': pi})
    for pi in [(0.2,) * 6, (1 / 4,) * 4, (0.0,) * 5 + (1.0,)]
    + [(1e-300, 0, 0, 0, 0, 1.0), (math.nan,) * 6]
  ),
  ('model.style_dim', {'model.style_dim': (1, 1)}),
  (
    'model.style_dim',
    {'data.modalities': ('m0',), 'model.style_dim': (1,) * 5},
  ),
  ('objective.beta_style', {'objective.beta_style': 2.0}),
  ('objective.style_weights', {'objective.style_weights': (2.0,) * 5}),
  ('data.num_pairings', {'data.num_pairings': 2}),
  ('data.pairing', {'data.pairing': 'all'}),
  ('data.test_split', {'data.test_split': 'validation'}),
  ('data.missing_how', {'data.missing_how': 'by_class'}),
  ('data.incomplete', {'data.incomplete': 'drop'}),
  ('data.incomplete', {'data.incomplete': 'drop', 'data.missing': 1.0}),
  ('data.missing', {'data.missing': 0.5, 'data.modalities': ('m1',)}),
  ('model.text_likelihood', {'model.text_likelihood': 'as_released'}),
  ('model.width', {'model.width': 64}),
  *(
    (key, {'data.name': 'mnist_svhn_text', **changes})
    for key, changes in [
      ('data.backgrounds', {'data.backgrounds': _FILES}),
      ('data.test_split', {'data.test_split': 'validation'}),
      ('model.hidden_dim', {'model.hidden_dim': 256}),
      ('model.width', {'model.width': 64}),
      (
        'model.text_likelihood',
        {
          'data.modalities': ('mnist', 'svhn'),
          'model.text_likelihood': 'as_released',
        },
      ),
      ('data.modalities', {'data.modalities': ('digits', 'text')}),
      ('evaluation.condition_on', {'evaluation.condition_on': 'm0'}),
    ]
  ),
  *(
    (key, {'data.name': 'celeba', 'data.digits': 'auto', key: value})
    for key, value in [
      ('data.digits', 'embedded'),
      ('data.backgrounds', _FILES),
      ('data.embedded_repeats', 2),
      ('data.allow_download', True),
      ('data.num_pairings', 2),
      ('data.pairing', 'all'),
      ('data.modalities', ('m0',)),
      ('data.incomplete', 'drop'),
      ('model.hidden_dim', 256),
      ('model.style_dim', (1,)),
    ]
  ),
  *(
    (key, {'data.name': 'dsprites_text', 'data.digits': 'auto', **changes})
    for key, changes in [
      ('data.digits', {'data.digits': 'tfds'}),
      ('data.num_pairings', {'data.num_pairings': 2}),
      ('data.num_examples', {'data.num_examples': 4}),
      ('data.dir', {'data.sprites': 'rendered', 'data.dir': str(_HERE)}),
      ('model.text_likelihood', {'model.text_likelihood': 'as_released'}),
      ('model.first_colour', {'model.first_colour': 'median'}),
      ('data.modalities', {'data.modalities': ('mnist', 'text')}),
    ]
  ),
  ('data.sprites', {'data.sprites': 'npz'}),
  ('data.num_examples', {'data.num_examples': 100}),
  ('data.test_share', {'data.test_share': 0.2}),
  ('data.declaration', {'data.name': 'custom', 'data.digits': 'auto'}),
  *(
    (
      next(iter(changes)),
      {
        'data.name': 'custom',
        'data.digits': 'auto',
        'data.declaration': DECLARED,
        **changes,
      },
    )
    for changes in [
      {'data.digits': 'embedded'},
      {'data.backgrounds': _FILES},
      {'data.embedded_repeats': 2},
      {'data.allow_download': True},
      {'data.num_pairings': 2},
      {'data.test_split': 'validation'},
      {'data.stream': True, 'data.dir': str(_HERE)},
      {'model.hidden_dim': 256},
      {'model.width': 64},
      {'model.first_colour': 'median'},
      {'model.style_dim': (1,)},
      {'data.modalities': ('m0',)},
      {
        'objective.weigh_by_size': True,
        'data.declaration': DECLARATION._replace(
          modalities=(
            DECLARATION.modalities[0]._replace(
              spec=ModalitySpec('a', 'vector', weight=2.0)
            ),
          )
        ).to_json(),
      },
    ]
  ),
  (
    'data.allow_download',
    {'data.digits': 'embedded', 'data.allow_download': True},
  ),
  *(
    (key, {'data.stream': True, 'data.dir': str(_HERE), **changes})
    for key, changes in [
      ('data.stream', {'data.dir': ''}),
      ('data.stream', {'data.name': 'mnist_svhn_text'}),
      ('data.allow_download', {'data.allow_download': True}),
      ('data.missing', {'data.missing': 0.5}),
      ('population.together', {'population.seed': '0,1'}),
    ]
  ),
  (
    'evaluation.num_quality_samples',
    {'evaluation.inception_weights': __file__},
  ),
  (
    'evaluation.inception_weights',
    {
      'evaluation.inception_weights': __file__,
      'evaluation.num_quality_samples': 10,
    },
  ),
  (
    'evaluation.num_test_examples',
    {
      'evaluation.num_test_examples': 9,
      'evaluation.num_quality_samples': 10,
    },
  ),
  (
    'evaluation.checkpoint',
    {
      'evaluation.checkpoint': 'best',
      'objective.beta_warmup_steps': 5,
      'train.num_steps': 4,
    },
  ),
  *(
    (f'objective.change.{field}', {f'objective.change.{field}': value, **cell})
    for field, value, cell in [
      ('looser', True, {}),
      ('unimodal_weights_as_released', True, {}),
      ('sampling', 'categorical', {'objective.preset': 'mmvae_dreg'}),
      ('prior_expert', 'always', {'objective.preset': 'mmvae'}),
      ('num_samples', 2, {'objective.preset': 'mmpoe'}),
      ('num_subsets', 2, {'objective.preset': 'mmjsd'}),
      ('num_subsets', 2, {'objective.preset': 'mopoe_eq5'}),
    ]
  ),
  *(
    ('objective.change', {f'objective.change.{k}': v for k, v in cell.items()})
    for cell in [
      {'bound': 'dreg', 'regulariser': 'kl_mixture'},
      {'bound': 'iwae', 'joint_likelihood': False},
      {'bound': 'iwae', 'unimodal_elbos': True},
      {'joint_likelihood': False},
    ]
  ),
  (
    'train.batch_size',
    {
      'train.batch_size': 2**16,
      'model.latent_dim': 4096,
      'objective.change.num_samples': 10,
    },
  ),
]
# Known only from the data, and refused as soon as they are there.
NEEDS_DATA = {
  'data.incomplete',
  'data.num_validation',
  'train.batch_size',
  'train.num_epochs',
  'evaluation.checkpoint',  # with a number of epochs
  'evaluation.sampler_components',
}


# Data sets for which `data.digits` has a meaning.
_OF_DIGITS = ('polymnist', 'mnist_svhn_text')


def _config(changes, name='polymnist'):
  config = configuration.default()
  config.update_from_flattened_dict(
    {
      'data.name': name,
      'data.digits': 'tfds' if name in _OF_DIGITS else 'auto',
      'data.declaration': DECLARED if name == 'custom' else '',
      'model.latent_dim': 2,
      'train.batch_size': 8,
      'train.num_steps': 4,
      'train.checkpoint_every': 500,
      **changes,
    }
  )
  return config


# --- stand-ins ----------------------------------------------------------------


# To compile a draw for every shape would take longer than all steps.
_Dense = functools.partial(nn.Dense, kernel_init=nn.initializers.constant(0.01))


class _Encoder(nn.Module):
  latent_dim: int
  hidden_dim: int = 0

  @nn.compact
  def __call__(self, x):
    features = _Dense(2 * self.latent_dim)(x.reshape(len(x), -1))
    return Gaussian(*jnp.split(features, 2, axis=-1))


def _decoder(*shape):
  class Decoder(nn.Module):
    first_colour: tuple[float, ...] | None = None
    as_released: bool = False
    width: int = 0

    @nn.compact
    def __call__(self, z):
      return _Dense(math.prod(shape))(z).reshape(*z.shape[:-1], *shape)

  return Decoder


class _Loads:
  """In the place of a data set's `load`; counts its calls."""

  count = 0

  def __init__(self, name, shapes, specs=()):
    self.name, self.shapes, self.specs = name, shapes, specs

  def __call__(self, *arguments, **settings):
    type(self).count += 1
    splits = [
      Split(
        {m: _noise(size, *shape) for m, shape in self.shapes.items()},
        np.arange(size, dtype=np.int32) % 10,
      )
      for size in (64, 32)
    ]
    modalities = tuple(self.shapes)
    return Dataset(
      self.name, modalities, 10, *splits, 'noise', None, '', specs=self.specs
    )


def _noise(*shape):
  return np.random.default_rng(0).integers(0, 70, shape, np.uint8)


@pytest.fixture(autouse=True, scope='module')
def _stand_ins():
  mesh = jax.make_mesh(
    (1,), ('data',), (AxisType.Auto,), devices=jax.devices()[:1]
  )
  colour = dict.fromkeys(polymnist.MODALITIES, (28, 28, 3))
  mixed = {'mnist': (28, 28, 1), 'svhn': (32, 32, 3), 'text': (8,)}
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jobs, 'make_mesh', lambda: mesh)
    for load in ('load', 'load_streamed'):
      patch.setattr(polymnist, load, _Loads('polymnist', colour))
    patch.setattr(mnist_svhn_text, 'load', _Loads('mnist_svhn_text', mixed))
    pictures = {'image': (64, 64, 1), 'text': (64,)}
    patch.setattr(dsprites_text, 'load', _Loads('dsprites_text', pictures))
    own = {spec.name: spec.shape for spec in SPECS}
    patch.setattr(own_files, 'load', _Loads('custom', own, SPECS))
    faces = {'image': (64, 64, 3), 'text': (256,)}
    patch.setattr(jobs, '_celeba', _Loads('celeba', faces))
    for module, shape in (
      (polymnist_image, (28, 28, 3)),
      (mnist_image, (28, 28, 1)),
      (svhn_image, (32, 32, 3)),
      (text, (8, 71)),
      (celeba_image, (64, 64, 3)),
      (celeba_text, (256, 71)),
    ):
      patch.setattr(module, 'Encoder', _Encoder)
      patch.setattr(module, 'Decoder', _decoder(*shape))
    for module, shape in (
      (celeba_image, (64, 64, 3)),
      (celeba_text, (256, 71)),
    ):
      patch.setattr(module, 'Encoder', _Encoder)
      patch.setattr(module, 'Decoder', _with_width(_decoder(*shape)))
    yield


def _with_width(decoder):
  return lambda width, *args, **settings: decoder(*args, **settings)


def _prepare(config):
  with tempfile.TemporaryDirectory() as folder:
    return jobs.prepare(
      config, pathlib.Path(folder), mode='train', command='test'
    )


def _named(config):
  """The keys that the refusal names; None if it was not refused."""
  before = _Loads.count
  try:
    _prepare(config)
  except ValueError as error:
    message = str(error)
  else:
    return None
  assert len(message.splitlines()) == 1
  keys = re.match(r'config\.(.+?)(?: must |: )', message)
  assert keys, message
  named = set(keys[1].split(', '))
  assert named <= {*DEFAULTS, 'objective.change'}, message
  if not named & NEEDS_DATA:
    assert before == _Loads.count, f'after data were loaded: {message}'
  return named


# --- every key ----------------------------------------------------------------


def test_no_key_is_forgotten():
  assert SPACE.keys() == DEFAULTS.keys() == rules.RULES.keys()


@pytest.mark.parametrize('key', SPACE)
def test_bad_values_are_refused_by_name(key):
  for value in SPACE[key].bad:
    named = _named(_config({key: value}))
    assert named is not None, f'{value!r} was accepted'
    related = {key, key.rpartition('.')[0]}
    if key in ('train.log_every', 'train.num_epochs'):
      related |= {'train.checkpoint_every'}
    assert named & related, (value, named)


@pytest.mark.parametrize('key', SPACE)
def test_good_values_are_accepted_for_a_data_set(key):
  for value in SPACE[key].good:
    assert None in (
      _named(_config({key: value}, name)) for name in rules.DATASETS
    ), repr(value)


@pytest.mark.parametrize(('key', 'changes'), APART)
def test_what_does_not_go_together_is_refused(key, changes):
  named = _named(_config(changes))
  assert named is not None
  assert key in named


def test_a_run_of_too_many_epochs_is_refused():
  changes = {'train.num_steps': 0, 'train.num_epochs': 2**31 - 1}
  assert _named(_config(changes)) == {'train.num_epochs'}


def test_the_log_says_where_the_evaluation_takes_all_there_is(caplog):
  caplog.set_level('INFO', 'mmjsd_jax')
  _prepare(
    _config(
      {
        'evaluation.num_probe_samples': (20, 65),
        'evaluation.num_test_examples': 31,
        'evaluation.num_log_likelihood_examples': 32,
      }
    )
  )
  assert [line for line in caplog.messages if 'config.' in line] == [
    'config.evaluation.num_probe_samples is 65: all 64 examples are taken',
    'config.evaluation.num_log_likelihood_examples is 32: all 31 examples are'
    ' taken',
  ]


def test_configs_without_or_beyond_the_keys_are_refused():
  config = _config({})
  with config.unlocked():
    del config.train.log_every
  with pytest.raises(ValueError, match='config.train.log_every is missing'):
    configuration.validate(config)
  with config.unlocked():
    config.train.log_every = 500
    config.train.log_evry = 1
  with pytest.raises(ValueError, match='config.train.log_evry is unknown'):
    configuration.validate(config)
  with pytest.raises(ValueError, match=r'must be a ConfigDict .* got a dict'):
    configuration.validate({})


# --- several at once ----------------------------------------------------------


def _anything_like(value):
  """Whatever ml_collections takes in the place of `value`."""
  if isinstance(value, bool):
    return st.booleans()
  if isinstance(value, int):
    return st.integers() | st.integers(0, 200)
  if isinstance(value, float):
    return st.floats() | st.floats(0, 10)
  if isinstance(value, str):
    return st.text(max_size=5)
  parts = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
  return st.lists(parts, max_size=6).map(tuple)


def _strategy(key):
  good, bad = map(
    st.sampled_from, SPACE[key]._replace(bad=SPACE[key].bad or (None,))
  )
  if key.startswith('objective.change.'):
    return good | bad
  # Twice the good ones: most configs of several bad ones say nothing.
  return good | good | bad | _anything_like(DEFAULTS[key])


@st.composite
def _configs(draw):
  keys = draw(
    st.lists(st.sampled_from(list(SPACE)), min_size=1, max_size=3, unique=True)
    | st.sampled_from([list(changes) for _, changes in APART])
  )
  changes = {key: draw(_strategy(key), label=key) for key in keys}
  return _config(changes, draw(st.sampled_from(rules.DATASETS)))


@hypothesis.settings(max_examples=40)
@hypothesis.given(_configs())
def test_a_drawn_config_is_refused_by_name_or_can_be_trained(config):
  if _named(config) is None:
    job = _prepare(config)
    shapes = _traced(job.model, job.settings)
    assert shapes['loss'].shape == (1,)


def _traced(model, settings):
  mesh = jobs.make_mesh()
  state = jax.eval_shape(
    lambda: members.stack_states([step.init_state(model, settings, mesh)], mesh)
  )
  inputs = {
    modality.name: jax.ShapeDtypeStruct((64, *modality.shape), jnp.uint8)
    for modality in model.modality_list
  }
  mask = jax.ShapeDtypeStruct((64,), bool)
  data = order.Data(inputs, {}, dict.fromkeys(settings.gaps, mask))
  hyper, epoch = jax.eval_shape(
    lambda: (
      members.stack_hypers([settings], mesh),
      members.first_epochs([settings], data, 0, mesh),
    )
  )
  steps = members.make_train_steps(model, settings, mesh)
  _, _, report, _ = jax.eval_shape(
    steps, hyper, state, epoch, data, jnp.int32(1)
  )
  return report.tally.sums


# --- one step -----------------------------------------------------------------


def _ends(num_modalities, *, end):
  """All numbers of training at the lower (0) or the upper end (1)."""
  weight = (0.0, 1e4)[end]
  return {
    'objective.beta': weight,
    'objective.likelihood_weights': (1.0, *[weight] * (num_modalities - 1)),
    'train.learning_rate': (1e-12, 1.0)[end],
    'seed': (0, 2**32 - 1)[end],
  }


def _styles(*sizes, end):
  weight = (0.0, 1e4)[end]
  return {
    'model.style_dim': sizes,
    'objective.beta_style': weight,
    'objective.style_weights': (weight,) * len(sizes),
  }


# Half the time, which is nearly all of what these tests take.
_FAST_TO_COMPILE = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}
# Preset -> modalities, which end, and what else is not as usual.
STEPS = {
  'mopoe': (('m0', 'm1'), 1, {'model.first_colour': 'median'}),
  'mopoe, styles': (
    ('svhn', 'text'),
    1,
    {
      **_styles(0, 2, end=1),
      'objective.beta_warmup_steps': 2**31 - 1,
      'train.learning_rate_warmup_steps': 2**31 - 1,
      'objective.change.num_samples': 3,
      'objective.change.num_subsets': 2,
      'model.draws_per_decode': 2,
    },
  ),
  'mmjsd': (
    ('mnist', 'text'),
    0,
    {'objective.pi': (1.0, 0.0, 0.0), 'objective.weigh_by_size': True},
  ),
  'mmjsd, arithmetic': (
    ('m1', 'm3'),
    1,
    {
      'objective.change.regulariser': 'jsd_arithmetic',
      'objective.pi': (2e-6, 0.0, 1 - 2e-6),
      'objective.beta_warmup_steps': 1,
    },
  ),
  'mvae, styles': (
    ('mnist', 'text'),
    1,
    {
      **_styles(2, 1, end=1),
      'objective.change.unimodal_weights_as_released': True,
    },
  ),
  'mmvae_dreg': (
    ('mnist', 'svhn'),
    1,
    {**_styles(1, 0, end=1), 'objective.change.num_samples': 2},
  ),
  'mmvae': (
    ('m2',),
    0,
    {'objective.change.bound': 'iwae', 'model.latent_dim': 4096},
  ),
  'mopoe_eq5': (('text',), 0, _styles(1, end=0)),
  'mmpoe': (('m0', 'm1'), 1, {'train.compute_dtype': 'bfloat16'}),
}


@pytest.mark.parametrize('case', STEPS)
def test_the_first_step_is_finite(case):
  modalities, end, changes = STEPS[case]
  config = _config(
    {
      'data.modalities': modalities,
      'objective.preset': case.partition(',')[0],
      **_ends(len(modalities), end=end),
      **changes,
    },
    rules.DATASETS[not set(modalities) <= set(polymnist.MODALITIES)],
  )
  job = _prepare(config)
  mesh = jobs.make_mesh()
  settings = [job.settings]
  hyper = members.stack_hypers(settings, mesh)
  state = members.stack_states(
    [step.init_state(job.model, job.settings, mesh)], mesh
  )
  data = order.to_device(job.training, mesh)
  epoch = members.first_epochs(settings, data, 0, mesh)
  steps = members.make_train_steps(job.model, job.settings, mesh)
  arguments = (hyper, state, epoch, data, jnp.int32(1))
  compiled = steps.lower(*arguments).compile(_FAST_TO_COMPILE)
  state, _, report, finite = compiled(*arguments)
  assert finite
  assert report.step == report.tally.num_steps == 1
  assert all(np.isfinite(value) for value in report.tally.sums.values())
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_steps_have_every_preset():
  presets = {case.partition(',')[0] for case in STEPS}
  assert presets == objectives.PRESETS.keys()


# --- the files in configs/ ----------------------------------------------------


def _arguments(*names):
  """Every set of the arguments, with every preset and without one."""
  presets = ('', *(f'objective={preset}' for preset in objectives.PRESETS))
  for size in range(len(names) + 1):
    for chosen in itertools.combinations(names, size):
      for preset in presets:
        yield ','.join(filter(None, (*chosen, preset)))


@pytest.mark.parametrize(
  ('name', 'arguments'),
  [
    ('polymnist', ('paper', 'smoke')),
    ('mnist_svhn_text', ('paper', 'ms', 'smoke')),
    ('celeba', ('paper', 'smoke')),
    ('dsprites_text', ('full', 'smoke')),
    ('custom', ()),
  ],
)
def test_config_files_are_valid_with_every_argument(name, arguments):
  get_config = runpy.run_path(f'{_CONFIGS}/{name}.py')['get_config']
  for argument in _arguments(*arguments):
    configuration.validate(get_config(argument))


@pytest.mark.parametrize('name', ['mst_beta', 'mst_style_dim'])
def test_sweeps_are_valid_with_every_argument(name):
  everything = 'seeds=2,objective=' + '+'.join(objectives.PRESETS)
  for chosen in ('', 'paper,', 'smoke,', 'paper,smoke,'):
    assert grid.points(
      grid.load(f'{_CONFIGS}/sweeps/{name}.py:{chosen}{everything}')
    )
