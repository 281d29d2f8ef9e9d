"""Random streams: no key serves twice, and runs of neighbouring seeds differ.

What asks for keys is watched while it trains. False alarms: once in a million
for each statistical test.
"""

import collections
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import train_world
from linear_world import make_world
from vectors import jit

from mmjsd_jax import members, run, step
from mmjsd_jax.model import Model
from mmjsd_jax.objectives import ElboTerms
from mmjsd_jax.order import Order
from mmjsd_jax.step import init_state, make_hyper

SEEDS = range(5)
NUM_STEPS = 12
# 36 examples in batches of 8: four steps an epoch, five chunks of validation.
NUM_KEYS = {
  'parameters': 1,
  'order': NUM_STEPS // 4,
  'access': NUM_STEPS + 5,
  'noise': NUM_STEPS + 5,
  'evaluation': 3,
}


@pytest.fixture(scope='module')
def keys(tmp_path_factory):
  """(seed, purpose) -> the keys that a run uses, as numbers. [N, 2] each."""
  used = collections.defaultdict(set)
  permute = jax.random.permutation

  def record(purpose, key):
    def note(numbers):
      used[seed, purpose].add(tuple(numbers.tolist()))

    jax.debug.callback(note, jax.random.key_data(key))

  def init(self, key):
    record('parameters', key)
    return jnp.zeros(())

  def access(self, key, inputs):
    record('access', key)
    return inputs

  def elbo(self, key, params, inputs, **_):
    record('noise', key)
    x = jnp.stack([inputs[name][:, 0] for name in self.modalities])  # [M, B]
    return ElboTerms(params * x[0], x, x[0], x, x, x)

  def train_elbo(self, key, params, inputs, **options):
    return elbo(self, key, params, inputs, **options), {}

  def permutation(key, *args):
    record('order', key)
    return permute(key, *args)

  members._make_train_steps.cache_clear()  # programs of the model as it is
  with pytest.MonkeyPatch.context() as patch:
    for function in (init, access, elbo, train_elbo):
      patch.setattr(Model, function.__name__, function)
    patch.setattr(jax.random, 'permutation', permutation)
    patch.setattr(step, 'with_statistics', lambda params, _: params)
    for seed in SEEDS:
      train_world.run(
        tmp_path_factory.mktemp('seed'),
        seed=seed,
        num_steps=NUM_STEPS,
        log_every=NUM_STEPS,
        checkpoint_every=NUM_STEPS,
        validation=train_world.world()[1],
      )
      jax.effects_barrier()
      for key in run.evaluation_keys(seed):
        record('evaluation', key)
  members._make_train_steps.cache_clear()
  return {name: np.uint32(sorted(found)) for name, found in used.items()}


def children(numbers):
  """Keys that are folded or split off, which are the same. [N * 16, 2]."""

  def fold(numbers, index):
    key = jax.random.wrap_key_data(numbers)
    return jax.random.key_data(jax.random.fold_in(key, index))

  folded = jax.vmap(jax.vmap(fold, (None, 0)), (0, None))
  return np.asarray(folded(numbers, jnp.arange(16))).reshape(-1, 2)


def test_no_key_serves_two_seeds_steps_or_purposes(keys):
  assert len(keys) == len(SEEDS) * len(NUM_KEYS)
  for (_, purpose), numbers in keys.items():
    assert len(numbers) == NUM_KEYS[purpose]
  used = np.concatenate(list(keys.values()))
  # Nor is a key split from one what another use begins with.
  everything = np.concatenate([used, children(used)])
  assert len(np.unique(everything, axis=0)) == len(everything)


def assert_uncorrelated(streams):
  """Streams [N, length] of independent numbers with unit variance.

  Every pair's correlation, and the mean of their squares.
  """
  num_streams, length = streams.shape
  pairs = np.triu_indices(num_streams, 1)
  scores = np.corrcoef(streams)[pairs] * math.sqrt(length)
  bound = scipy.stats.norm.isf(1e-6 / 4 / len(scores))
  assert np.abs(scores).max() < bound
  spread = np.mean(np.square(scores)) - 1
  assert abs(spread) < 5 * math.sqrt(2 / len(scores))


def test_draws_of_all_seeds_steps_and_purposes_are_uncorrelated(keys):
  used = jnp.asarray(np.concatenate(list(keys.values())))
  streams = jax.vmap(
    lambda numbers: jax.random.normal(jax.random.wrap_key_data(numbers), (500,))
  )(used)
  assert_uncorrelated(np.asarray(streams, np.float64))


def test_members_of_a_population_have_the_keys_of_their_solo_runs():
  settings = [train_world.SETTINGS._replace(seed=seed) for seed in SEEDS]
  stacked = members.stack_hypers(settings, members.member_mesh(1)).keys
  own = [make_hyper(member).keys for member in settings]
  numbers = np.asarray(jax.random.key_data(stacked))  # [P, 4, 2]
  np.testing.assert_array_equal(numbers, [jax.random.key_data(k) for k in own])
  used = numbers.reshape(-1, 2)
  everything = np.concatenate([used, children(used)])
  assert len(np.unique(everything, axis=0)) == len(everything)


def test_members_of_a_population_start_and_draw_uncorrelated():
  """Their parameters, and what `vmap` over members draws for each step."""
  model = make_world(latent_dim=8, width=32).model
  settings = [train_world.SETTINGS._replace(seed=seed) for seed in SEEDS]
  mesh = members.member_mesh(1)
  hyper = members.stack_hypers(settings, mesh)
  state = members.stack_states(
    [init_state(model, member, mesh) for member in settings], mesh
  )
  kernels = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim == 3]
  starts = [np.reshape(leaf / leaf.std(), (len(SEEDS), -1)) for leaf in kernels]
  assert_uncorrelated(np.float64(np.concatenate(starts, axis=1)))

  @jax.vmap
  def draws(keys):
    _, _, key_noise, _ = keys
    return jax.vmap(
      lambda step: jax.random.normal(
        jax.random.fold_in(key_noise, step), (500,)
      )
    )(jnp.arange(NUM_STEPS))

  streams = np.asarray(draws(hyper.keys)).reshape(-1, 500)
  assert_uncorrelated(np.float64(streams))


def test_parameters_of_neighbouring_seeds_start_uncorrelated(keys):
  model = make_world(latent_dim=8, width=32).model
  starts = []
  for seed in SEEDS:
    (numbers,) = keys[seed, 'parameters']
    leaves = jax.tree.leaves(model.init(jax.random.wrap_key_data(numbers)))
    kernels = [np.ravel(leaf) for leaf in leaves if leaf.ndim == 2]
    starts.append(np.concatenate([kernel / kernel.std() for kernel in kernels]))
  assert_uncorrelated(np.float64(starts))


def test_orders_are_uniform_and_independent_of_other_epochs_and_seeds(key):
  """Chi-squared over all pairs of the 24 orders of four examples."""

  @jit
  def epochs(keys):
    def of_run(key):
      return jax.vmap(Order(key, 4, 2).epoch)(jnp.arange(0, 4, 2))

    return jax.vmap(of_run)(keys)

  orders = np.asarray(epochs(jax.vmap(jax.random.key)(jnp.arange(30_000))))
  _, index = np.unique(orders @ 4 ** np.arange(4), return_inverse=True)
  index = index.reshape(len(orders), 2)  # [seeds, epochs]
  for first, second in (index.T, (index[::2, 0], index[1::2, 0])):
    counts = np.bincount(24 * first + second, minlength=24**2)
    assert len(counts) == 24**2
    assert scipy.stats.chisquare(counts).pvalue > 1e-6 / 2
