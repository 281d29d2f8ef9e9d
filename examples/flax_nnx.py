"""A multimodal VAE of Flax NNX modules: python examples/flax_nnx.py mopoe 2000.

The modalities are the upper half, the lower half and the label of a digit, as
in plain_jax.py, but none is missing. Afterwards lower halves are generated from
upper ones.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

from mmjsd_jax import fusion, likelihoods, mixture, objectives
from mmjsd_jax.gaussian import Gaussian


def network(num_inputs, num_outputs, rngs):
  """Two dense layers with 128 units between them."""
  first = nnx.Linear(num_inputs, 128, rngs=rngs)
  last = nnx.Linear(128, num_outputs, rngs=rngs)
  return nnx.Sequential(first, nnx.relu, last)


class MultimodalVae(nnx.Module):
  """The networks of all modalities, and an objective."""

  def __init__(self, preset, rngs):
    self.encoders = nnx.List([network(n, 32, rngs) for n in (32, 32, 10)])
    self.decoders = nnx.List([network(16, n, rngs) for n in (32, 32, 10)])
    self.objective = objectives.make_objective(preset)

  def encode(self, batch):
    """Unimodal posteriors [M, B, 16]."""
    pairs = zip(self.encoders, batch, strict=True)
    outputs = jnp.stack([encoder(x) for encoder, x in pairs])
    return Gaussian(*jnp.split(outputs, 2, axis=-1))

  def loss(self, key, batch):
    """Minus the objective, in nats per example."""

    def log_likelihoods(z):  # [M, N, B, 16] to [M, N, B]
      pairs = zip(self.decoders, z, strict=True)
      upper, lower, label = [decoder(z_of_one) for decoder, z_of_one in pairs]
      p_upper = likelihoods.normal(batch[0], upper, scale=0.2)
      p_lower = likelihoods.normal(batch[1], lower, scale=0.2)
      p_label = likelihoods.one_hot_categorical(batch[2], label)
      return jnp.stack([p_upper, p_lower, 10 * p_label])  # labels have few nats

    experts = self.encode(batch)
    terms = objectives.elbo(
      key, experts, log_likelihoods, objective=self.objective
    )
    return -jnp.mean(terms.objective)

  def lower_from_upper(self, key, batch):
    """The lower half [B, 32], generated from the upper one alone."""
    upper = jnp.array([True, False, False])
    q = fusion.subset_posterior(self.encode(batch), upper, self.objective)
    return self.decoders[1](mixture.sample(key, q))


@nnx.jit
def train_step(model, optimizer, key, data):
  """Changes the model in place; the loss before it."""
  key_rows, key_draw = jax.random.split(key)
  rows = jax.random.choice(key_rows, len(data[0]), (128,))
  batch = [x[rows] for x in data]
  loss, grads = nnx.value_and_grad(lambda m: m.loss(key_draw, batch))(model)
  optimizer.update(model, grads)
  return loss


def main(preset='mopoe', num_steps=2000):
  """Trains, then generates lower halves of 300 digits not seen."""
  digits = load_digits()
  pixels = jnp.array(digits.data / 16)
  data = pixels[:, :32], pixels[:, 32:], jax.nn.one_hot(digits.target, 10)
  seen, unseen = [x[:-300] for x in data], [x[-300:] for x in data]
  model = MultimodalVae(preset, nnx.Rngs(0))
  optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
  for step in range(num_steps):
    key = jax.random.fold_in(jax.random.key(9), step)
    loss = train_step(model, optimizer, key, seen)
    if step % max(num_steps // 10, 1) == 0 or step == num_steps - 1:
      print(f'step {step}: loss {loss:.1f} nats')

  generate = nnx.jit(MultimodalVae.lower_from_upper)
  lower = generate(model, jax.random.key(0), unseen)
  error = jnp.mean((lower - unseen[1]) ** 2)
  spread = jnp.mean((seen[1].mean(axis=0) - unseen[1]) ** 2)
  print(f'lower from upper halves: error {error:.3f}, of the mean {spread:.3f}')


if __name__ == '__main__':
  main(*sys.argv[1:2], *map(int, sys.argv[2:]))
