"""A multimodal VAE in plain JAX: python examples/plain_jax.py mmjsd 2000.

The modalities are the upper half, the lower half and the label of a digit; a
fifth of them is missing. Afterwards labels are read off the pixels alone.
"""

import sys

import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

from mmjsd_jax import fusion, likelihoods, mixture, objectives
from mmjsd_jax.gaussian import Gaussian


def init(key, num_inputs, num_outputs):
  """Two dense layers with 128 units between them."""
  draw = jax.random.normal(key, (num_inputs + num_outputs, 128))
  first, last = draw[:num_inputs], draw[num_inputs:].T
  return first / num_inputs**0.5, jnp.zeros(128), last / 128**0.5


def network(layers, x):
  """Outputs [..., num_outputs] of x [..., num_inputs]."""
  return jax.nn.relu(x @ layers[0] + layers[1]) @ layers[2]


def encode(encoders, batch):
  """Unimodal posteriors [M, B, 16]."""
  outputs = jnp.stack(list(map(network, encoders, batch)))
  return Gaussian(*jnp.split(outputs, 2, axis=-1))


@jax.value_and_grad
def loss_fn(params, key, batch, present, objective):
  """Minus the objective, in nats per example."""

  def log_likelihoods(z):  # [M, N, B, 16] to [M, N, B]
    upper, lower, label = map(network, params[3:], z)
    p_upper = likelihoods.normal(batch[0], upper, scale=0.2)
    p_lower = likelihoods.normal(batch[1], lower, scale=0.2)
    p_label = likelihoods.one_hot_categorical(batch[2], label)
    return jnp.stack([p_upper, p_lower, 10 * p_label])  # labels have few nats

  experts = encode(params[:3], batch)
  terms = objectives.elbo(
    key, experts, log_likelihoods, objective=objective, present=present
  )
  return -jnp.mean(terms.objective)


def main(preset='mopoe', num_steps=2000):
  """Trains, then reads labels off the pixels of 300 digits not seen."""
  objective = objectives.make_objective(preset)
  digits = load_digits()
  pixels = jnp.array(digits.data / 16)
  data = pixels[:, :32], pixels[:, 32:], jax.nn.one_hot(digits.target, 10)
  present = jax.random.bernoulli(jax.random.key(6), 0.8, (3, len(pixels)))
  sizes = [(32, 32), (32, 32), (10, 32), (16, 32), (16, 32), (16, 10)]
  params = [init(jax.random.key(n), *size) for n, size in enumerate(sizes)]
  optimizer = optax.adam(1e-3)
  state = optimizer.init(params)

  @jax.jit
  def train_step(params, state, key):
    key_rows, key_draw = jax.random.split(key)
    rows = jax.random.choice(key_rows, len(pixels) - 300, (128,))
    batch = [x[rows] for x in data]
    loss, grads = loss_fn(params, key_draw, batch, present[:, rows], objective)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  for step in range(num_steps):
    params, state, loss = train_step(params, state, jax.random.key(10 + step))
    if step % max(num_steps // 10, 1) == 0 or step == num_steps - 1:
      print(f'step {step}: loss {loss:.1f} nats')

  @jax.jit
  def read_labels(params):
    experts = encode(params[:3], [x[-300:] for x in data])
    q = fusion.subset_posterior(experts, jnp.arange(3) < 2, objective)
    return network(params[5], mixture.sample(jax.random.key(9), q)).argmax(1)

  right = read_labels(params) == digits.target[-300:]
  print(f'labels from pixels: {right.mean():.2f} right, chance 0.10')


if __name__ == '__main__':
  main(*sys.argv[1:2], *map(int, sys.argv[2:]))
