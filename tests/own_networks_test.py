"""Networks of users' own data: by kind and shape, or the users' own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import linen as nn

import mmjsd_jax
from mmjsd_jax import architecture, likelihoods, run, step
from mmjsd_jax import config as configuration
from mmjsd_jax import job as jobs
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.custom import make_dataset
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.modalities import strided, vector

SHAPES = {
  'pixel': (1, 1, 1),
  'small': (3, 5, 1),
  'polymnist': (28, 28, 3),
  'wide': (1, 100, 2),
  'odd': (65, 33, 4),
  'letter': (1, 26),
  'text': (70, 40),
}


def _modality(spec, num_latents=6):
  (found,) = architecture.make_modalities(
    'custom', (spec.name,), latent_dim=num_latents, specs=(spec,)
  )
  return found


@pytest.mark.parametrize('shape', SHAPES.values(), ids=SHAPES)
def test_convolutions_fit_any_shape(key, shape):
  def run():
    x, z = jnp.zeros((2, *shape)), jnp.zeros((3, 2, 6))
    return (
      strided.Encoder(6, shape, 4).init_with_output(key, x)[0],
      strided.Decoder(shape, 4).init_with_output(key, z)[0],
    )

  posterior, decoded = jax.eval_shape(run)
  assert posterior.mean.shape == posterior.log_var.shape == (2, 6)
  assert decoded.shape == (3, 2, *shape)


def test_convolutions_of_polymnist_halve_as_the_papers():
  assert strided.halvings((28, 28)) == [(28, 28), (14, 14), (7, 7), (4, 4)]


def _drawn(network, x):
  """Parameters above 0, which no ReLU cuts off; JAX compiles its draws."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(network.init, jax.random.key(0), x)
  return jax.tree.map(
    lambda leaf: rng.uniform(0.05, 0.3, leaf.shape).astype(np.float32), shapes
  )


def test_every_pixel_is_read_and_every_latent_written():
  shape = (6, 5, 1)
  encoder, decoder = strided.Encoder(2, shape, 2), strided.Decoder(shape, 2)
  x, z = (
    np.random.default_rng(1).random((1, *shape), np.float32),
    np.ones((1, 2)),
  )
  of_x, of_z = _drawn(encoder, x), _drawn(decoder, z)

  @jax.jit
  def gradients(x, z):
    return jax.grad(
      lambda x, z: (
        encoder.apply(of_x, x).mean.sum() + decoder.apply(of_z, z).sum()
      ),
      argnums=(0, 1),
    )(x, z)

  of_pixels, of_latents = gradients(x, np.float32(z))
  assert np.all(of_pixels != 0)
  assert np.all(of_latents != 0)


def test_inputs_of_another_shape_are_refused(key):
  with pytest.raises(ValueError, match=r'shape \[B, \*\(3, 3, 1\)\], got'):
    strided.Encoder(2, (3, 3, 1), 2).init(key, jnp.zeros((1, 3, 4, 1)))


@pytest.mark.parametrize(
  ('likelihood', 'scale', 'expected'),
  [
    ('normal', 0.5, lambda x, mean: scipy.stats.norm.logpdf(x, mean, 0.5)),
    (
      'laplace',
      None,
      lambda x, mean: scipy.stats.laplace.logpdf(x, mean, 0.75),
    ),
    ('normal_learned', None, lambda x, mean: scipy.stats.norm.logpdf(x, mean)),
  ],
)
def test_vectors_have_the_declared_likelihood(key, likelihood, scale, expected):
  spec = ModalitySpec(
    'a', 'vector', likelihood, scale, width=4, shape=(3,)
  ).with_defaults()
  modality = _modality(spec, 2)
  rng = np.random.default_rng(1)
  x, z = rng.random((5, 3), np.float32), rng.random((5, 2), np.float32)
  params = _drawn(modality.decoder, z)
  if likelihood == 'normal_learned':
    params['params']['scale'][:] = 0  # as at the start

  @jax.jit
  def run(x, z):
    decoded = modality.decoder.apply(params, z)
    return decoded, modality.log_likelihood(x, decoded)

  decoded, found = run(x, z)
  mean = decoded[..., 0] if likelihood == 'normal_learned' else decoded
  np.testing.assert_allclose(found, expected(x, mean).sum(axis=1), rtol=1e-4)


def test_texts_are_one_hot_over_their_alphabet():
  spec = ModalitySpec('a', 'text', alphabet='ab ', shape=(2,)).with_defaults()
  modality = _modality(spec)
  found = modality.to_float(jnp.array([[0, 2]], jnp.uint8))
  np.testing.assert_array_equal(found, [[[1, 0, 0], [0, 0, 1]]])
  assert modality.decoder.shape == (2, 3)
  assert modality.log_likelihood is likelihoods.one_hot_categorical


# --- networks of the user's own -----------------------------------------------


class OwnEncoder(nn.Module):
  latent_dim: int

  @nn.compact
  def __call__(self, x):
    return Gaussian(nn.Dense(self.latent_dim)(x), nn.Dense(self.latent_dim)(x))


def make_own(spec, num_latents):
  return OwnEncoder(num_latents), vector.Decoder(*spec.shape, width=3)


def make_one(spec, num_latents):
  return OwnEncoder(num_latents)


class ForgetsMask(OwnEncoder):
  def __call__(self, x, *, train):
    return super().__call__(x)


def make_forgetful(spec, num_latents):
  return ForgetsMask(num_latents), vector.Decoder(*spec.shape, width=3)


def _own(name):
  return ModalitySpec(
    'a', 'vector', networks=f'{__name__}:{name}', shape=(3,)
  ).with_defaults()


def test_networks_may_be_the_users_own():
  modality = _modality(_own('make_own'))
  assert modality.encoder == OwnEncoder(6)
  assert modality.decoder == vector.Decoder(3, width=3)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('make_two', "networks of a must be importable; '.*:make_two'"),
    ('make_one', 'must be .*two Flax modules; .*:make_one.* gave OwnEncoder'),
    ('make_forgetful', ':make_forgetful.*: ForgetsMask must take `mask` with'),
  ],
)
def test_networks_that_cannot_be_had_are_named(name, message):
  with pytest.raises(ValueError, match=message):
    _modality(_own(name))


# --- a run's folder -----------------------------------------------------------


def _config(folder, **changes):
  values = np.random.default_rng(0).normal(3, 2, (20, 3))
  np.savez(folder / 'x.npz', a=values, b=np.zeros((20, 4, 4), np.uint8))
  config = configuration.default()
  config.data.name = 'custom'
  config.data.dir = str(folder)
  config.data.declaration = Declaration(
    (
      Declared(ModalitySpec('a', 'vector', weight=3.0), Source('x.npz')),
      Declared(ModalitySpec('b', 'image', width=4), Source('x.npz')),
    )
  ).to_json()
  config.model.latent_dim = 6
  config.train.batch_size = 8
  config.train.num_steps = 1
  config.update_from_flattened_dict(changes)
  return config


def _prepare(config, workdir):
  return jobs.prepare(config, workdir, mode='train', command='test')


def test_a_model_is_made_of_the_runs_folder_without_the_data(tmp_path):
  config, workdir = _config(tmp_path), tmp_path / 'run'
  job = _prepare(config, workdir)
  with workdirs.claimed(workdir, config, job.dataset, 'train'):
    pass
  (tmp_path / 'x.npz').unlink()
  specs = workdirs.stored_specs(workdir)
  assert specs == job.dataset.specs
  assert specs[0].mean != ()
  stored = workdirs.stored_config(workdir)
  assert stored == config
  model = jobs.make_model(stored, [spec.name for spec in specs], specs=specs)
  assert [m[:4] for m in model.modality_list] == [
    m[:4] for m in job.model.modality_list
  ]


def test_a_model_of_data_with_gaps_is_loaded_and_used(tmp_path):
  config, workdir = _config(tmp_path), tmp_path / 'run'
  values = np.random.default_rng(0).normal(3, 2, (20, 3))
  values[::2] = np.nan
  np.savez(tmp_path / 'x.npz', a=values, b=np.zeros((20, 4, 4), np.uint8))
  job = _prepare(config, workdir)
  with run.claimed(job):
    shapes = jax.eval_shape(lambda: step.fresh_state(job.model, job.settings))
    checkpoints = Checkpoints(workdir)
    checkpoints.save(
      jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes),
      seconds=1.0,
      loss=2.0,
    )
    checkpoints.close()
  model = mmjsd_jax.load(workdir)
  np.testing.assert_array_equal(model.encode({'a': values[1::2]}).mean, 0)


def test_declared_weights_are_the_objectives(tmp_path):
  config = _config(tmp_path)
  assert _prepare(config, tmp_path / 'run').settings.likelihood_weights == (
    3,
    1,
  )


def test_some_of_the_modalities_may_be_chosen(tmp_path):
  config = _config(tmp_path, **{'data.modalities': ('b',)})
  job = _prepare(config, tmp_path / 'run')
  assert [spec.name for spec in job.dataset.specs] == ['b']
  assert job.model.modalities == ('b',)


def test_arrays_need_no_declaration():
  found = make_dataset(
    {'a': np.zeros((4, 2)), 'b': np.zeros((4, 3, 3)), 'c': ['x', 'y', 'x', 'z']}
  )
  assert [spec.kind for spec in found.specs] == ['vector', 'image', 'text']
