"""A run's folder with a small model of an image, a text and a vector."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mmjsd_jax import config as configuration
from mmjsd_jax import likelihoods, trained
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.files import write_json
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.job import make_settings
from mmjsd_jax.modalities import text
from mmjsd_jax.model import Modality, Model, pixels_to_float
from mmjsd_jax.step import fresh_state

NAMES = ('picture', 'word', 'gene')
STYLE_DIMS = (2, 0, 1)
LATENT_DIM = 3


class Encoder(nn.Module):
  latent_dim: int

  @nn.compact
  def __call__(self, x):
    features = nn.Dense(2 * self.latent_dim)(x.reshape(x.shape[0], -1))
    return Gaussian(*jnp.split(features, 2, axis=-1))


class Decoder(nn.Module):
  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, z):
    x = nn.Dense(int(np.prod(self.shape)))(z)
    return x.reshape(*z.shape[:-1], *self.shape)


def make_model(config, modalities, specs=()):
  """Stands in for `job.make_model`."""
  assert tuple(modalities) == NAMES
  kinds = (
    ((2, 3, 1), (2, 3, 1), pixels_to_float, likelihoods.laplace),
    ((4,), (4, 71), text.to_float, likelihoods.one_hot_categorical),
    ((5,), (5,), jnp.asarray, likelihoods.normal),
  )
  return Model(
    tuple(
      Modality(
        name,
        shape,
        Encoder(LATENT_DIM + size),
        Decoder(decoded),
        to_float,
        log_likelihood,
        size,
      )
      for name, size, (shape, decoded, to_float, log_likelihood) in zip(
        NAMES, STYLE_DIMS, kinds, strict=True
      )
    ),
    LATENT_DIM,
    configuration.make_objective(config),
  )


def write_run(folder, preset='mopoe'):
  """Checkpoints of steps 2, the best, and 4, as training writes them."""
  config = configuration.default()
  config.update_from_flattened_dict(
    {
      'name': 'small',
      'data.name': 'mnist_svhn_text',
      'model.latent_dim': LATENT_DIM,
      'model.style_dim': STYLE_DIMS,
      'objective.preset': preset,
      'train.num_steps': 4,
    }
  )
  folder.mkdir()
  data = {
    'source': 'numbers from a seed',
    'substituted': 'Numbers stand in for digits.',
    'modalities': list(NAMES),
    'fingerprint': '',
  }
  run = {'config': configuration.to_dict(config), 'data': data}
  write_json(folder / 'run.json', run)
  model = make_model(config, NAMES)
  shapes = jax.eval_shape(
    lambda: fresh_state(model, make_settings(config, model, 4))
  )
  checkpoints = Checkpoints(folder)
  for step, loss in ((2, 1.0), (4, 2.0)):
    rng = np.random.default_rng(step)
    state = jax.tree.map(
      lambda leaf, rng=rng: jnp.asarray(
        0.3 * rng.normal(size=leaf.shape), leaf.dtype
      ),
      shapes,
    )
    state = state._replace(step=jnp.int32(step))
    checkpoints.save(state, seconds=1.0, loss=loss)
  checkpoints.close()
  return folder


def make_inputs(num_examples, seed=0):
  """What people give: bytes, strings, and float64."""
  rng = np.random.default_rng(seed)
  shape = (num_examples, 2, 3, 1)
  return {
    'picture': rng.integers(0, 256, shape).astype(np.uint8),
    'word': rng.choice(['one', 'two', ' six', 'nine'], num_examples),
    'gene': rng.normal(size=(num_examples, 5)),
  }


@pytest.fixture(scope='session')
def workdir(tmp_path_factory):
  return write_run(tmp_path_factory.mktemp('trained') / 'run')


@pytest.fixture
def small_networks(monkeypatch):
  """Runs' folders are of the small model."""
  monkeypatch.setattr(trained, 'make_model', make_model)


@pytest.fixture
def model(workdir, small_networks):
  """The model, loaded."""
  return trained.load(workdir)
