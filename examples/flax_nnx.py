"""A multimodal VAE of Flax NNX modules, with an objective from here.

  python examples/flax_nnx.py --preset=mopoe --steps=2000

The modalities are the upper half, the lower half and the label of a digit, as
in plain_jax.py, but none is missing. Afterwards lower halves are generated from
upper ones.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

from mmjsd_jax import fusion, likelihoods, mixture, objectives
from mmjsd_jax.gaussian import Gaussian

LATENT_DIM, HIDDEN_DIM, BATCH_SIZE = 16, 128, 128


class Modality(nnx.Module):
  """An encoder, a decoder and a likelihood for x [B, width]."""

  def __init__(self, width, log_likelihood_fn, rngs):
    self.encoder = nnx.Sequential(
      nnx.Linear(width, HIDDEN_DIM, rngs=rngs),
      nnx.relu,
      nnx.Linear(HIDDEN_DIM, 2 * LATENT_DIM, rngs=rngs),
    )
    self.decoder = nnx.Sequential(
      nnx.Linear(LATENT_DIM, HIDDEN_DIM, rngs=rngs),
      nnx.relu,
      nnx.Linear(HIDDEN_DIM, width, rngs=rngs),
    )
    self.log_likelihood_fn = log_likelihood_fn


class MultimodalVae(nnx.Module):
  """The networks of all modalities, and an objective."""

  def __init__(self, preset, rngs):
    pixels = functools.partial(likelihoods.normal, scale=0.2)
    label = likelihoods.one_hot_categorical
    self.modalities = nnx.List(
      [
        Modality(32, pixels, rngs),
        Modality(32, pixels, rngs),
        Modality(10, label, rngs),
      ]
    )
    self.objective = objectives.make_objective(preset)

  def encode(self, batch):
    """Unimodal posteriors [M, B, D]."""
    outputs = [
      m.encoder(x) for m, x in zip(self.modalities, batch, strict=True)
    ]
    return Gaussian(*jnp.split(jnp.stack(outputs), 2, axis=-1))

  def log_likelihoods(self, batch, z):
    """log p(x_m | z[m]) of z [M, N, B, D], in nats. [M, N, B]."""
    return jnp.stack(
      [
        m.log_likelihood_fn(x, m.decoder(z_of_modality))
        for m, x, z_of_modality in zip(self.modalities, batch, z, strict=True)
      ]
    )

  def loss(self, key, batch):
    """Minus the objective, in nats per example."""
    terms = objectives.elbo(
      key,
      self.encode(batch),
      functools.partial(self.log_likelihoods, batch),
      objective=self.objective,
      likelihood_weights=jnp.array([1.0, 1.0, 10.0]),
    )
    return -jnp.mean(terms.objective)

  def lower_from_upper(self, key, batch):
    """The lower half [B, 32], generated from the upper one alone."""
    upper = jnp.array([True, False, False])
    q = fusion.subset_posterior(self.encode(batch), upper, self.objective)
    return self.modalities[1].decoder(mixture.sample(key, q))


@nnx.jit
def train_step(model, optimizer, key, batch):
  """Changes the model in place; the loss before it."""
  loss, grads = nnx.value_and_grad(lambda model: model.loss(key, batch))(model)
  optimizer.update(model, grads)
  return loss


def main(args=None):
  """Trains, then generates lower halves of 300 digits not seen."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--preset', default='mopoe', choices=objectives.PRESETS)
  parser.add_argument('--steps', type=int, default=2000)
  flags = parser.parse_args(args)
  digits = load_digits()
  pixels = (digits.data / 16).astype(np.float32)
  label = np.eye(10, dtype=np.float32)[digits.target]
  data = pixels[:, :32], pixels[:, 32:], label

  model = MultimodalVae(flags.preset, nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
  rng = np.random.default_rng(1)
  for step in range(flags.steps):
    rows = rng.integers(len(label) - 300, size=BATCH_SIZE)
    key = jax.random.fold_in(jax.random.key(9), step)
    loss = train_step(model, optimizer, key, [x[rows] for x in data])
    if step % max(flags.steps // 10, 1) == 0 or step == flags.steps - 1:
      print(f'step {step}: loss {loss:.1f} nats')

  unseen = [x[-300:] for x in data]
  lower = nnx.jit(MultimodalVae.lower_from_upper)(
    model, jax.random.key(0), unseen
  )
  error = np.mean((lower - unseen[1]) ** 2)
  spread = np.mean((data[1][:-300].mean(axis=0) - unseen[1]) ** 2)
  print(f'lower from upper halves: error {error:.3f}, of the mean {spread:.3f}')


if __name__ == '__main__':
  main()
