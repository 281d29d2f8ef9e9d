"""Models with batch normalisation and dropout: training, files, evaluation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_world
from jax import export as jax_export
from safetensors.numpy import load_file
from train_world import NUM_EXAMPLES, SETTINGS, assert_bit_equal, mesh_of
from vectors import jit

import mmjsd_jax
from mmjsd_jax import config as configuration
from mmjsd_jax import export, members, networks, order, results, run
from mmjsd_jax import job as jobs
from mmjsd_jax import step as steps
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)
from mmjsd_jax.diagnosis import diagnose
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities.normalisation import BatchNorm

EVERYTHING = np.ones((2, NUM_EXAMPLES), bool)
_linear_world = train_world.world


# Biases before a normalisation have no gradient but rounding, of which Adam
# would make steps of full length.
class Encoder(nn.Module):
  latent_dim: int

  @nn.compact
  def __call__(self, x, *, train, mask=None):
    x = BatchNorm()(nn.Dense(6, use_bias=False)(x), train=train, mask=mask)
    x = nn.Dropout(0.25, deterministic=not train)(nn.relu(x))
    return Gaussian(*jnp.split(nn.Dense(2 * self.latent_dim)(x), 2, axis=-1))


class Decoder(nn.Module):
  width: int

  @nn.compact
  def __call__(self, z, *, train, mask=None):
    x = BatchNorm()(nn.Dense(6, use_bias=False)(z), train=train, mask=mask)
    return nn.Dense(self.width)(nn.relu(x))


def world(preset='mopoe'):
  model, split = _linear_world(preset)
  changed = tuple(
    modality._replace(
      encoder=Encoder(model.latent_dim), decoder=Decoder(*modality.shape)
    )
    for modality in model.modality_list
  )
  return model._replace(modality_list=changed), split


@pytest.fixture(scope='module', autouse=True)
def _in_place_of_the_linear_world():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(train_world, 'world', world)
    yield


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """The state after ten steps."""
  state, _ = train_world.run(tmp_path_factory.mktemp('trained'))
  return state


def assert_close(left, right):
  """To the rounding of ten steps of Adam."""
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    left,
    right,
  )


def statistics_of(params):
  return {
    name: {part: layers['batch_stats'] for part, layers in parts.items()}
    for name, parts in params.items()
  }


def moved(statistics, hidden):
  """The running statistics after a batch of these activations."""
  return {
    'mean': 0.9 * statistics['mean'] + 0.1 * hidden.mean(0),
    'var': 0.9 * statistics['var'] + 0.1 * hidden.var(0, ddof=1),
  }


# --- a step -------------------------------------------------------------------


def test_a_step_moves_statistics_a_tenth_towards_its_batch(tmp_path):
  model, split = world()
  state, _ = train_world.run(tmp_path, num_steps=1)
  shuffled = steps.make_order(SETTINGS, NUM_EXAMPLES)
  rows = shuffled.batch(0, shuffled.epoch(jnp.int32(0)))
  for name, parts in steps.init_params(model, SETTINGS).items():
    encoder = parts['encoder']
    hidden = split.inputs[name][rows] @ encoder['Dense_0']['kernel']
    before = encoder['batch_stats']['BatchNorm_0']
    expected = moved(before, np.asarray(hidden))
    found = state.params[name]['encoder']['batch_stats']['BatchNorm_0']
    assert_close(found, expected)


class Centred(nn.Module):
  """Goes by what ran before, in training too."""

  @nn.compact
  def __call__(self, x, *, train, mask=None):
    running = self.variable('batch_stats', 'mean', jnp.zeros, x.shape[-1:])
    centred = x - running.value.reshape(1, -1)
    if train:
      running.value = x.mean(0)
    return nn.Dense(2)(centred)


def test_no_gradient_goes_to_running_statistics():
  x, network = jnp.array([[1.0, 3.0], [2.0, 5.0]]), Centred()
  params = networks.init(network, jax.random.key(0), x)

  def loss(params):
    y, statistics = networks.train(network, params, jax.random.key(0), x)
    return jnp.sum(y), statistics

  grads, statistics = jax.grad(loss, has_aux=True)(params)
  np.testing.assert_array_equal(grads['batch_stats']['mean'], 0)
  np.testing.assert_array_equal(statistics['mean'], [1.5, 4])


def test_statistics_have_no_moments(trained):
  for moments in ('mu', 'nu'):
    for leaf in jax.tree.leaves(
      statistics_of(optax.tree.get(trained.opt_state, moments))
    ):
      np.testing.assert_array_equal(leaf, 0)


def train_steps(settings, states, num_steps=1):
  """The states of members trained so far, and whether all was finite."""
  model, split = world()
  mesh = mesh_of(1)
  data = order.to_device(split, mesh)
  epoch = members.first_epochs(settings, data, int(states[0].step), mesh)
  state, _, _, finite = members.make_train_steps(model, settings[0], mesh)(
    members.stack_hypers(settings, mesh),
    members.stack_states(states, mesh),
    epoch,
    data,
    jnp.int32(num_steps),
  )
  found = [members.member_state(state, index) for index in range(len(states))]
  return jax.device_get(found), finite


def test_a_variance_that_overflows_is_not_kept(trained):
  # What it divides is zero then, and loss and gradient are finite.
  state = jax.tree.map(jnp.asarray, trained)
  state.params['m1']['encoder']['Dense_0']['kernel'] *= 1e25
  before = jax.device_get(state.params)
  model, split = world()
  data = order.to_device(split, mesh_of(1))
  found = diagnose(model, SETTINGS, state, data)
  assert found == ['batch statistics of the encoder of m1']
  (skipped,), finite = train_steps([SETTINGS], [state])
  assert not finite
  assert_bit_equal(skipped.params, before)


def test_the_validation_loss_is_of_evaluation(trained):
  model, split = world()
  held_out = Split(
    {name: x[:8] for name, x in split.inputs.items()}, split.labels[:8]
  )
  loss = steps.make_validation_loss(model, SETTINGS, held_out, mesh_of(1))
  _, _, key_noise, _ = jax.random.split(jax.random.key(SETTINGS.seed), 4)
  key = jax.random.fold_in(jax.random.fold_in(key_noise, 2**32 - 1), 0)
  terms = jit(model.elbo)(
    key,
    trained.params,
    held_out.inputs,
    beta=SETTINGS.beta,
    likelihood_weights=jnp.array(SETTINGS.likelihood_weights),
  )
  np.testing.assert_allclose(
    loss(steps.make_hyper(SETTINGS), trained.params),
    -terms.objective.mean(),
    rtol=1e-5,
  )


# --- a run --------------------------------------------------------------------


def test_a_resumed_run_is_bit_equal(trained, tmp_path):
  train_world.run(tmp_path, num_steps=5)
  state, _ = train_world.run(tmp_path)
  assert_bit_equal(state, trained)


def test_eight_devices_have_the_statistics_of_one(trained, tmp_path):
  state, _ = train_world.run(tmp_path, mesh=mesh_of(8))
  assert_close(state, trained)


def test_members_of_one_program_are_their_solo_runs(trained):
  settings = [SETTINGS, SETTINGS._replace(seed=4)]
  model, _ = world()
  initial = [steps.init_state(model, own, mesh_of(1)) for own in settings]
  (first, second), _ = train_steps(settings, initial, SETTINGS.num_steps)
  assert_close(first.params, trained.params)
  one, other = (
    jax.tree.leaves(statistics_of(state.params)) for state in (first, second)
  )
  assert all(np.any(a != b) for a, b in zip(one, other, strict=True))


# --- the objective in training ------------------------------------------------


@functools.partial(jit, static_argnums=0)
def train_elbo(model, params, inputs, present=EVERYTHING):
  """The terms, new statistics and the gradient of the mean objective."""

  def mean(params):
    terms, statistics = model.train_elbo(
      jax.random.key(0), params, inputs, present=present
    )
    return jnp.mean(terms.objective), (terms, statistics)

  grads, (terms, statistics) = jax.grad(mean, has_aux=True)(params)
  return terms, statistics, grads


def test_absent_inputs_enter_nothing(trained):
  model, split = world()
  present = EVERYTHING.copy()
  present[1, 20:] = False
  clean = train_elbo(model, trained.params, split.inputs, present)
  for filler in (np.nan, 1e30):
    inputs = {**split.inputs, 'm1': split.inputs['m1'].copy()}
    inputs['m1'][20:] = filler
    found = train_elbo(model, trained.params, inputs, present)
    assert_bit_equal(found, clean)
  encoder = trained.params['m1']['encoder']
  hidden = split.inputs['m1'][:20] @ encoder['Dense_0']['kernel']
  expected = moved(encoder['batch_stats']['BatchNorm_0'], hidden)
  assert_close(clean[1]['m1']['encoder']['BatchNorm_0'], expected)


@pytest.mark.parametrize('preset', ['mopoe', 'mvae'])
def test_a_batch_without_a_modality_keeps_its_statistics(preset, trained):
  model, split = world(preset)
  present = EVERYTHING.copy()
  present[1] = False
  inputs = {**split.inputs, 'm1': np.full_like(split.inputs['m1'], np.nan)}
  terms, statistics, grads = train_elbo(model, trained.params, inputs, present)
  for leaf in jax.tree.leaves((terms, statistics, grads)):
    assert np.isfinite(leaf).all()
  assert_bit_equal(
    statistics['m1']['encoder'], trained.params['m1']['encoder']['batch_stats']
  )
  assert all(not leaf.any() for leaf in jax.tree.leaves(grads['m1']['encoder']))


def test_bfloat16_rounds_no_statistics(trained):
  model, split = world()
  rounding = model._replace(compute_dtype='bfloat16')
  _, exact, _ = train_elbo(model, trained.params, split.inputs)
  _, rounded, grads = train_elbo(rounding, trained.params, split.inputs)
  for leaf in jax.tree.leaves((rounded, grads)):
    assert leaf.dtype == jnp.float32
  found, expected = (
    s['m0']['encoder']['BatchNorm_0'] for s in (rounded, exact)
  )
  for name in ('mean', 'var'):
    # Of products of 8 bits, which a mean over examples makes up for.
    np.testing.assert_allclose(found[name], expected[name], atol=2**-8)
    assert np.any(found[name] != np.asarray(found[name], jnp.bfloat16))


def test_dropout_goes_by_the_key(trained):
  model, split = world()
  encode = jit(model.train_encode)
  first, again, other = (
    encode(jax.random.key(seed), trained.params, split.inputs).shared.mean
    for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert np.any(first[0] != other[0])


def test_networks_without_a_mode_are_trained_as_they_are_evaluated():
  model, split = _linear_world()
  params = jax.eval_shape(model.init, jax.random.key(0))

  def train_elbo(*arguments):
    terms, statistics = model.train_elbo(*arguments)
    assert statistics == {'m0': {}, 'm1': {}}
    return terms

  trained, evaluated = (
    str(jax.make_jaxpr(elbo)(jax.random.key(0), params, split.inputs))
    for elbo in (train_elbo, model.elbo)
  )
  assert trained == evaluated


def test_draws_decoded_in_parts_are_refused_in_training_alone():
  model, split = world()
  model = model._replace(draws_per_decode=2)
  params = jax.eval_shape(model.init, jax.random.key(0))
  arguments = jax.random.key(0), params, split.inputs
  jax.eval_shape(model.elbo, *arguments)
  with pytest.raises(ValueError, match='decode must be 0, .* m0; got 2'):
    jax.eval_shape(model.train_elbo, *arguments)


# --- evaluation ---------------------------------------------------------------


def test_what_is_encoded_and_decoded_does_not_depend_on_the_batch(trained):
  model, split = world()

  @jit
  def evaluated(inputs):
    posteriors = model.encode(trained.params, inputs)
    return model.decode(trained.params, posteriors.shared.mean[0])

  some = {name: x[5:8] for name, x in split.inputs.items()}
  whole = {name: x[5:8] for name, x in evaluated(split.inputs).items()}
  assert_close(evaluated(some), whole)


# --- networks of a user's own, and files --------------------------------------


def make_networks(spec, num_latents):
  return Encoder(num_latents), Decoder(*spec.shape)


NETWORKS = f'{__name__}:make_networks'


def _config(folder):
  values = np.random.default_rng(0).normal(3, 2, (24, 3))
  np.savez(folder / 'x.npz', a=values, b=values[:, ::-1] ** 2)
  specs = (ModalitySpec(name, 'vector', networks=NETWORKS) for name in 'ab')
  config = configuration.default()
  config.update_from_flattened_dict(
    {
      'data.name': 'custom',
      'data.dir': str(folder),
      'data.declaration': Declaration(
        tuple(Declared(spec, Source('x.npz')) for spec in specs)
      ).to_json(),
      'model.latent_dim': 2,
      'train.batch_size': 8,
      'train.num_steps': 2,
      'train.log_every': 1,
      'train.checkpoint_every': 2,
    }
  )
  return config


@pytest.mark.whole
def test_a_run_is_loaded_and_exported_with_its_statistics(tmp_path):
  config, workdir = _config(tmp_path), tmp_path / 'run'
  job = jobs.prepare(config, workdir, mode='train', command='test')
  run.execute(job)
  model = mmjsd_jax.load(workdir, trusted=[NETWORKS])
  inputs = dict(np.load(tmp_path / 'x.npz'))
  q = model.encode(inputs)
  running = model.params['a']['encoder']['batch_stats']['BatchNorm_0']
  assert np.all(running['mean'] != 0)

  state = steps.fresh_state(job.model, job.settings)._replace(step=2)
  block = results.training_block(job, state, 1.0)
  encoder = 3 * 6 + 2 * 6 + 6 * 4 + 4
  decoder = 2 * 6 + 2 * 6 + 6 * 3 + 3
  assert block['num_parameters'] == 2 * (encoder + decoder)

  export.export(model, workdir, tmp_path / 'exported')
  params = load_file(tmp_path / 'exported' / 'params.safetensors')
  assert 'a/encoder/batch_stats/BatchNorm_0/var' in params
  encode = jax_export.deserialize(
    bytearray((tmp_path / 'exported' / 'encode.jax').read_bytes())
  )
  standardised = {
    spec.name: np.float32((inputs[spec.name] - spec.mean) / spec.std)
    for spec in model.specs
  }
  present = {name: np.ones(24, bool) for name in inputs}
  found = encode.call(params, standardised, present)
  np.testing.assert_allclose(found['mean'], q.mean, rtol=1e-4, atol=1e-5)


def test_decoding_in_parts_is_refused_before_any_work(tmp_path):
  config = _config(tmp_path)
  config.model.draws_per_decode = 4
  with pytest.raises(ValueError, match='config.model.draws_per_decode must be'):
    jobs.prepare(config, tmp_path / 'run', mode='train', command='test')


def test_statistics_are_no_parameters():
  params = {'kernel': np.zeros((2, 3)), 'batch_stats': {'mean': np.zeros(3)}}
  assert networks.num_parameters({'a': {'encoder': params}}) == 6
  assert networks.join(*networks.split(params).values()) == params
