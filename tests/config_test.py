"""Configurations: what is refused, what a run may change, what is stored."""

import importlib.util
import json
import math
import pathlib

import pytest

from mmjsd_jax import config as configuration
from mmjsd_jax import objectives
from mmjsd_jax.objectives import Objective

MODALITIES = ('m0', 'm1', 'm2', 'm3', 'm4')
_PATH = pathlib.Path(__file__).resolve().parent.parent / 'configs'


def _get_config(arg=None):
  """configs/polymnist.py:arg, loaded as the flag does it."""
  spec = importlib.util.spec_from_file_location('c', _PATH / 'polymnist.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(arg)


def _with(changes, arg='smoke'):
  config = _get_config(arg)
  config.update_from_flattened_dict(changes)
  return config


def _refusal(changes):
  config = _with(changes)
  with pytest.raises(ValueError) as error:
    configuration.validate(config)
    configuration.validate_for_modalities(config, MODALITIES)
  message = str(error.value)
  assert '\n' not in message
  return message


@pytest.mark.parametrize(
  'arg',
  [
    None,
    'paper',
    'smoke',
    'paper,smoke',
    *(f'objective={preset}' for preset in objectives.PRESETS),
  ],
)
def test_configurations_are_valid_and_keep_the_keys(arg):
  config = _get_config(arg)
  configuration.validate(config)
  configuration.validate_for_modalities(config, MODALITIES)
  known = configuration.flatten(configuration.default().to_dict())
  assert configuration.flatten(config.to_dict()).keys() == known.keys()


@pytest.mark.parametrize(
  ('arg', 'name'),
  [
    (None, 'polymnist'),
    ('', 'polymnist'),
    ('paper', 'polymnist-paper'),
    ('paper,objective=mmjsd', 'polymnist-paper-mmjsd'),
  ],
)
def test_names_tell_runs_apart(arg, name):
  assert _get_config(arg).name == name


def test_paper_has_the_papers_protocol():
  config = _get_config('paper')
  # MoPoE, App. D.
  assert config.model.latent_dim == 512
  assert config.objective.beta == 2.5
  assert config.train.batch_size == 256
  assert config.train.num_epochs == 300
  assert config.train.learning_rate == 1e-3
  # Never the embedded digits.
  assert config.data.digits == 'mnist'


def test_unknown_argument_is_refused():
  with pytest.raises(ValueError, match="'paper', 'smoke', .* got 'papr'"):
    _get_config('papr')


def test_unknown_key_is_refused():
  with pytest.raises(AttributeError, match='betta'):
    _get_config().objective.betta = 1.0


@pytest.mark.parametrize(
  ('key', 'value', 'expected'),
  [
    ('objective.preset', 'mopo', "one of ('mvae', "),
    ('objective.change.posterior', 'pow', "one of ('poe', "),
    ('objective.change.num_samples', 0, 'num_samples'),
    (
      'data.name',
      'polymnits',
      "one of ('polymnist', 'mnist_svhn_text', 'celeba', ",
    ),
    ('data.digits', 'minst', "one of ('auto', 'mnist', "),
    ('data.modalities', ('m0', 'm5'), "names of ('m0', 'm1', "),
    ('data.modalities', ('m0', 'm0'), 'distinct names in the order of'),
    ('data.modalities', ('m1', 'm0'), 'distinct names in the order of'),
    ('data.modalities', (0, 1), 'a tuple, each a string'),
    ('data.backgrounds', (0, 1), 'a tuple, each a path'),
    ('data.embedded_repeats', 0, 'at least 1'),
    ('data.num_validation', -1, 'at least 0'),
    ('evaluation.num_quality_samples', -1, 'at least 0'),
    ('evaluation.inception_weights', 'none.npz', "a file, or '' for none"),
    ('evaluation.inception_weights', str(_PATH), "a file, or '' for none"),
    ('data.seed', -1, 'an integer of at least 0'),
    ('seed', 2**32, 'at most 4294967295'),
    ('model.latent_dim', 0, 'at least 1'),
    ('objective.beta', -1.0, 'at least 0'),
    ('objective.beta', math.nan, 'at least 0'),
    ('objective.beta', math.inf, 'at least 0'),
    ('objective.pi', (0.5, 0.4), 'weights that sum to 1'),
    ('objective.pi', (1.5, -0.5), 'a finite number of at least 0'),
    ('objective.pi', (math.nan, 1.0), 'a finite number of at least 0'),
    ('objective.pi', ('x', 1.0), 'a finite number of at least 0'),
    ('objective.pi', (0.0,) * 5 + (1.0,), 'not all of it on the prior'),
    ('objective.likelihood_weights', (1.0,) * 4, '5 numbers for the'),
    ('objective.likelihood_weights', (-1.0,) * 5, 'of at least 0'),
    ('train.batch_size', 0, 'at least 1'),
    ('train.learning_rate', 0.0, 'at least 1e-12'),
    ('train.learning_rate', math.inf, 'a finite number'),
    ('train.num_steps', 0, 'exactly one of them above 0'),
    ('train.num_epochs', 1, 'exactly one of them above 0'),
    ('train.checkpoint_every', 15, 'a multiple of train.log_every = 10'),
    ('evaluation.checkpoint', 'last', "one of ('final', 'best')"),
    ('evaluation.sampling', 'every_component', "one of ('stratified', "),
    ('evaluation.num_importance_samples', 0, 'at least 1'),
    ('evaluation.num_joint_importance_samples', 0, 'at least 1'),
    ('evaluation.num_probe_samples', (500, 10), 'an integer of at least 20'),
    ('evaluation.num_probe_samples', (50.5,), 'an integer of at least 20'),
    ('evaluation.subsets', ('m0+m7',), 'distinct modalities of'),
    ('evaluation.subsets', ('m0+m0',), 'distinct modalities of'),
    ('evaluation.subsets', ('',), 'distinct modalities of'),
    ('evaluation.subsets', (0,), 'a tuple, each a string'),
    ('evaluation.condition_on', 'm5', "one of ('m0', 'm1', "),
  ],
)
def test_bad_values_are_refused_by_name(key, value, expected):
  message = _refusal({key: value})
  assert expected in message
  assert 'got' in message
  assert key.removeprefix('objective.preset').rpartition('.')[2] in message


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    (
      {'objective.preset': 'mmjsd', 'objective.pi': (1 / 6,) * 6},
      '3 numbers for the modalities',
    ),
    ({'objective.likelihood_weights': (1.0,) * 5}, '2 numbers'),
    ({'evaluation.subsets': ('m1',)}, "'m0', 'm3'"),
    ({'evaluation.condition_on': 'm1'}, "'m0', 'm3'"),
  ],
)
def test_with_some_modalities_the_others_are_unknown(changes, expected):
  message = _refusal({'data.modalities': ('m0', 'm3'), **changes})
  assert expected in message


def test_inception_is_refused_where_no_samples_are_measured(tmp_path):
  path = tmp_path / 'inception.npz'
  path.touch()
  weights = {'evaluation.inception_weights': str(path)}
  message = _refusal({**weights, 'evaluation.num_quality_samples': 0})
  assert 'num_quality_samples must be at least 1 with' in message
  configuration.validate(
    _with({**weights, 'evaluation.num_quality_samples': 100})
  )


@pytest.mark.parametrize(
  ('num_modalities', 'changes', 'expected'),
  [
    (11, {}, 'evaluation.subsets must be names of subsets with more than 10'),
    (13, {'objective.preset': 'mopoe_eq5'}, 'objective.change: sampling='),
    (17, {}, 'objective.change: num_subsets=0 needs at most 16 modalities'),
  ],
)
def test_many_modalities_are_refused_before_their_subsets_are_listed(
  num_modalities, changes, expected
):
  config = _with({'evaluation.subsets': (), **changes})
  names = tuple(f'm{index}' for index in range(num_modalities))
  with pytest.raises(ValueError, match=f'^config.{expected}'):
    configuration.validate_for_modalities(config, names)


def test_many_modalities_are_trained_and_judged_on_named_subsets():
  config = _with(
    {
      'objective.change.num_subsets': 32,
      'evaluation.subsets': ('m0', 'm0+m19'),
    }
  )
  names = tuple(f'm{index}' for index in range(20))
  configuration.validate_for_modalities(config, names)


def test_preset_is_changed_field_by_field():
  changes = {'objective.preset': 'mvae', 'objective.change.num_samples': 3}
  found = configuration.make_objective(_with(changes))
  assert found == objectives.PRESETS['mvae']._replace(num_samples=3)
  assert (
    configuration.make_objective(_get_config()) == (objectives.PRESETS['mopoe'])
  )


def test_every_field_of_the_objective_can_be_changed():
  assert set(configuration.default().objective.change) == set(Objective._fields)


def test_stored_configuration_is_read_back():
  changes = {
    'data.modalities': ('m0', 'm3'),
    'objective.pi': (0.5, 0.25, 0.25),
    'objective.change.looser': True,
  }
  config = _with(changes)
  stored = json.loads(json.dumps(configuration.to_dict(config)))
  assert configuration.from_dict(stored) == config


@pytest.mark.parametrize(
  ('stored', 'message'),
  [
    ({'objective': {'betta': 1.0}}, "unknown key 'objective.betta'"),
    ({'seed': {'a': 1}}, "unknown key 'seed.a'"),
    ({'seed': 'x'}, "config.seed must be like 0; got 'x'"),
  ],
)
def test_stored_configuration_of_another_version_is_refused(stored, message):
  with pytest.raises(ValueError, match=message):
    configuration.from_dict(stored)


def test_differences_name_key_old_and_new():
  old = configuration.to_dict(_get_config('smoke'))
  new = configuration.to_dict(_with({'objective.beta': 5.0}))
  assert configuration.differences(old, old) == []
  assert configuration.differences(old, new) == ['objective.beta: 1.0 -> 5.0']
  del old['seed']  # as of a version that had no such key: today's default
  assert configuration.differences(old, new) == ['objective.beta: 1.0 -> 5.0']
  old['unknown'] = 1
  assert configuration.differences(old, new)[1] == "unknown: 1 -> '(absent)'"


@pytest.mark.parametrize(
  'changes',
  [
    {'train.num_steps': 100},
    {'train.num_steps': 0, 'train.num_epochs': 1},
    {'train.keep_checkpoints': 5, 'train.shard_params': True},
    {'evaluation.seed': 1, 'evaluation.subsets': ('m0',)},
  ],
)
def test_what_no_parameter_depends_on_may_change(changes):
  old = configuration.to_dict(_get_config('smoke'))
  assert (
    configuration.differences(old, configuration.to_dict(_with(changes))) == []
  )
