"""A multimodal VAE in plain JAX, with own data and networks.

  python examples/plain_jax.py --preset=mmjsd --steps=2000

The modalities are the upper half, the lower half and the label of a digit; a
fifth of them is missing. Afterwards labels are read off the pixels alone.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

from mmjsd_jax import fusion, likelihoods, mixture, objectives
from mmjsd_jax.gaussian import Gaussian

LATENT_DIM, HIDDEN_DIM, BATCH_SIZE = 16, 128, 128
LIKELIHOODS = {  # name -> log p(x | the decoder's output), in the data's order
  'upper': functools.partial(likelihoods.normal, scale=0.2),
  'lower': functools.partial(likelihoods.normal, scale=0.2),
  'label': likelihoods.one_hot_categorical,
}
WEIGHTS = jnp.array([1.0, 1.0, 10.0])  # a label has few nats beside 32 pixels


def load():
  """Modalities, each [N, width], and which an example has, Bool [M, N]."""
  digits = load_digits()
  pixels = (digits.data / 16).astype(np.float32)
  label = np.eye(10, dtype=np.float32)[digits.target]
  present = np.random.default_rng(0).random((3, len(pixels))) < 0.8
  return dict(upper=pixels[:, :32], lower=pixels[:, 32:], label=label), present


def init_network(rng, num_inputs, num_outputs):
  """Two dense layers."""

  def draw(rows, columns):
    return rng.normal(0, rows**-0.5, (rows, columns)).astype(np.float32)

  return {
    'hidden': draw(num_inputs, HIDDEN_DIM),
    'bias': np.zeros(HIDDEN_DIM, np.float32),
    'output': draw(HIDDEN_DIM, num_outputs),
  }


def network(params, x):
  """Its output of x [..., num_inputs]."""
  hidden = jax.nn.relu(jnp.dot(x, params['hidden']) + params['bias'])
  return jnp.dot(hidden, params['output'])


def encode(params, batch):
  """Unimodal posteriors [M, B, D]."""
  outputs = [network(params[name]['encoder'], batch[name]) for name in batch]
  return Gaussian(*jnp.split(jnp.stack(outputs), 2, axis=-1))


@jax.value_and_grad
def loss_fn(params, key, batch, present, objective):
  """Minus the objective, in nats per example."""

  def log_likelihood_fn(z):  # [M, N, B, D] to [M, N, B]
    values = []
    for index, (name, x) in enumerate(batch.items()):
      decoded = network(params[name]['decoder'], z[index])
      values.append(LIKELIHOODS[name](x, decoded))
    return jnp.stack(values)

  terms = objectives.elbo(
    key,
    encode(params, batch),
    log_likelihood_fn,
    objective=objective,
    present=present,
    likelihood_weights=WEIGHTS,
  )
  return -jnp.mean(terms.objective)


@functools.partial(jax.jit, static_argnames='objective')
def guess_labels(params, key, batch, objective):
  """Labels [B] from the pixels alone."""
  pixels = jnp.array([True, True, False])
  q = fusion.subset_posterior(encode(params, batch), pixels, objective)
  z = mixture.sample(key, q)
  return network(params['label']['decoder'], z).argmax(axis=1)


def main(args=None):
  """Trains, then reads labels off the pixels of 300 digits not seen."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--preset', default='mopoe', choices=objectives.PRESETS)
  parser.add_argument('--steps', type=int, default=2000)
  flags = parser.parse_args(args)
  objective = objectives.make_objective(flags.preset)
  data, present = load()
  rng = np.random.default_rng(1)
  params = {
    name: {
      'encoder': init_network(rng, x.shape[1], 2 * LATENT_DIM),
      'decoder': init_network(rng, LATENT_DIM, x.shape[1]),
    }
    for name, x in data.items()
  }
  optimizer = optax.adam(1e-3)
  state = optimizer.init(params)

  @jax.jit
  def step_fn(params, state, key, batch, present):
    loss, grads = loss_fn(params, key, batch, present, objective)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state, loss

  for step in range(flags.steps):
    rows = rng.integers(len(present[0]) - 300, size=BATCH_SIZE)
    batch = {name: x[rows] for name, x in data.items()}
    key = jax.random.fold_in(jax.random.key(9), step)
    params, state, loss = step_fn(params, state, key, batch, present[:, rows])
    if step % max(flags.steps // 10, 1) == 0 or step == flags.steps - 1:
      print(f'step {step}: loss {loss:.1f} nats')

  unseen = {name: x[-300:] for name, x in data.items()}
  guesses = guess_labels(params, jax.random.key(0), unseen, objective)
  share = np.mean(guesses == unseen['label'].argmax(axis=1))
  print(f'labels from pixels: {share:.2f} right, chance 0.10')


if __name__ == '__main__':
  main()
