"""A multimodal VAE of which everything is known: linear maps, Gaussian noise.

z ~ N(0, I), x_m = W_m z + b_m + scale * noise. The columns of every W_m are
orthogonal, so that each modality's likelihood is a diagonal Gaussian in z; the
encoders give just that, and the product with the prior expert is the exact
posterior.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import likelihoods, objectives
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.evaluation import evaluate as evaluation
from mmjsd_jax.evaluation.coherence import Judges
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.model import Modality, Model, Posteriors

SCALE = 0.7
# One for all worlds: models are then equal, and share compiled programs.
_LOG_LIKELIHOOD = functools.partial(likelihoods.normal, scale=SCALE)


class Encoder(nn.Module):
  """Posterior with a linear mean and a constant variance."""

  latent_dim: int

  @nn.compact
  def __call__(self, x):
    mean = nn.Dense(self.latent_dim)(x)
    log_var = self.param('log_var', nn.initializers.zeros, (self.latent_dim,))
    return Gaussian(mean, jnp.broadcast_to(log_var, mean.shape))


_encode = jax.jit(Model.encode, static_argnums=0)


class World(NamedTuple):
  model: Model
  params: dict
  inputs: dict[str, np.ndarray]
  latents: np.ndarray  # that the inputs were made from, [N, D]
  exact: np.ndarray  # log p(X), in nats, [N]

  def encode(self) -> Posteriors:
    return _encode(self.model, self.params, self.inputs)


def make_world(
  preset='mvae', *, num_modalities=3, num_examples=10, latent_dim=2, width=4
) -> World:
  """`width` numbers per modality; the objective is the preset's."""
  rng = np.random.default_rng(0)
  modalities, params, inputs = [], {}, {}
  maps, shifts = [], []
  z = rng.normal(size=(num_examples, latent_dim))
  for index in range(num_modalities):
    name = f'm{index}'
    orthogonal, _ = np.linalg.qr(rng.normal(size=(width, width)))
    w = orthogonal[:, :latent_dim] * rng.uniform(0.5, 1.5, latent_dim)
    b = rng.normal(size=width)
    x = z @ w.T + b + SCALE * rng.normal(size=(num_examples, width))
    inputs[name] = x.astype(np.float32)
    squares = np.square(w).sum(0)
    params[name] = {
      'encoder': {
        'Dense_0': {'kernel': w / squares, 'bias': -(b @ w) / squares},
        'log_var': np.log(SCALE**2 / squares),
      },
      'decoder': {'kernel': w.T, 'bias': b},
    }
    modalities.append(
      Modality(
        name=name,
        shape=(width,),
        encoder=Encoder(latent_dim),
        decoder=nn.Dense(width),
        to_float=jnp.asarray,
        log_likelihood=_LOG_LIKELIHOOD,
      )
    )
    maps.append(w)
    shifts.append(b)
  params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
  model = Model(
    tuple(modalities), latent_dim, objectives.make_objective(preset)
  )
  w, b = np.concatenate(maps), np.concatenate(shifts)
  exact = _log_normal(
    np.concatenate(list(inputs.values()), axis=1),
    b,
    w @ w.T + SCALE**2 * np.eye(len(w)),
  )
  return World(model, params, inputs, z, exact)


def make_dataset(world, num_train=100) -> Dataset:
  """Two classes, the sign of z's first coordinate; sorted, as PolyMNIST is."""
  labels = (world.latents[:, 0] > 0).astype(np.int32)

  def split(rows):
    rows = rows[np.argsort(labels[rows], kind='stable')]
    return Split({n: x[rows] for n, x in world.inputs.items()}, labels[rows])

  names = world.model.modalities
  train = split(np.arange(num_train))
  test = split(np.arange(num_train, len(labels)))
  return Dataset('linear', names, 2, train, test, '', None, '')


def make_judges(world) -> Judges:
  """Judges by the sign of z's first coordinate; as released, the opposite."""
  dense = [part['encoder']['Dense_0'] for part in world.params.values()]
  weights = [(layer['kernel'][:, 0], -layer['bias'][0]) for layer in dense]
  return Judges(weights, _classify, _classify_as_released)


def evaluate(world, dataset, judges=True, **changes) -> dict:
  """The metrics, by few draws; `changes` of what `evaluate.evaluate` takes."""
  settings: dict[str, Any] = {
    'key': jax.random.key(0),
    'num_probe_samples': (40,),
    'num_joint_samples': 50,
    'num_importance_samples': 2,
    'num_joint_importance_samples': 2,
    'num_log_likelihood_examples': 20,
    'chunk_size': 32,
  }
  return evaluation.evaluate(
    world.model,
    world.params,
    dataset,
    make_judges(world) if judges is True else judges,
    **settings | changes,
  )


def _classify(key, weights, data):
  """Recovered from every modality's mean."""
  del key
  return jnp.stack(
    [
      (x @ w > threshold).astype(jnp.int32)
      for x, (w, threshold) in zip(data.values(), weights, strict=True)
    ]
  )


def _classify_as_released(key, weights, data):
  return 1 - _classify(key, weights, data)


def _log_normal(x, mean, covariance):
  """log N(x; mean, covariance) of every row of x."""
  whitened = np.linalg.solve(np.linalg.cholesky(covariance), (x - mean).T)
  _, log_determinant = np.linalg.slogdet(2 * np.pi * covariance)
  return -0.5 * (log_determinant + np.square(whitened).sum(0))
