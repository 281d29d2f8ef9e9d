"""MoPoE's mixture over the power set: as if its components were listed."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from objective_world import assert_means, doubled
from vectors import jit

from mmjsd_jax import fusion, mixture, objectives, power_set, subsets
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.objectives import Objective
from mmjsd_jax.power_set import PowerSet

D = 2


def every_mask(num_modalities):
  """An example for every set of present modalities. Bool, [M, 2^M]."""
  return np.array(
    list(itertools.product([0, 1], repeat=num_modalities)), bool
  ).T


def make_experts(num_modalities, batch):
  rng = np.random.default_rng(0)
  mean, log_var = rng.normal(size=(2, num_modalities, batch, D))
  return Gaussian(np.float32(mean), np.float32(log_var))


def value_and_gradient(kl_fn, experts):
  """Values [B], and the gradient of their sum, [M, B, D]."""

  def total(experts):
    values = kl_fn(experts)
    return jnp.sum(values), values

  gradient, values = jax.grad(total, has_aux=True)(experts)
  return values, gradient


def listed_kl(experts, present, prior_expert):
  cell = Objective(prior_expert=prior_expert)
  return mixture.kl_bound(
    fusion.joint_posterior(experts, cell, present=present)
  )


@pytest.mark.parametrize('num_modalities', [1, 2, 3, 4, 5, 6, 7])
def test_kl_and_gradient_equal_those_of_the_listed_components(num_modalities):
  """For every set of missing modalities; two chunks from six modalities on."""
  present = every_mask(num_modalities)

  @jit
  def run(experts):
    return [
      value_and_gradient(kl_fn, experts)
      for prior in subsets.PRIOR_EXPERTS
      for kl_fn in (
        lambda e, p=prior: power_set.kl_bound(
          PowerSet(e, jnp.asarray(present), p)
        ),
        lambda e, p=prior: listed_kl(e, present, p),
      )
    ]

  with jax.enable_x64(True):
    results = run(doubled(make_experts(num_modalities, present.shape[1])))
    results = jax.tree.map(np.asarray, results)
  for actual, expected in zip(results[::2], results[1::2], strict=True):
    assert expected[0].dtype == np.float64
    jax.tree.map(
      functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12),
      actual,
      expected,
    )


def test_extreme_variances_and_garbage_are_finite():
  present = every_mask(6)
  rng = np.random.default_rng(0)
  shape = (6, present.shape[1], D)
  log_var = np.float32(rng.choice([-40, -20, 0, 20, 40], shape))
  experts = Gaussian(np.float32(30 * rng.normal(size=shape)), log_var)
  garbage = Gaussian(
    np.where(present[..., None], experts.mean, np.nan),
    np.where(present[..., None], log_var, -np.inf),
  )

  def kl(experts):
    joint = PowerSet(experts, jnp.asarray(present), 'full_set')
    return power_set.kl_bound(joint)

  run = jit(functools.partial(value_and_gradient, kl))
  values, gradient = run(garbage)
  assert np.isfinite(values).all() and values[0] == 0
  for leaf in gradient:
    assert np.isfinite(leaf).all()
    assert (np.asarray(leaf)[~present] == 0).all()
  np.testing.assert_array_equal(values, run(experts)[0])


def compiled_loss(num_modalities, batch=8, num_latents=16, **changes):
  """Of the whole objective and its gradient, from shapes alone."""
  objective = objectives.make_objective('mopoe', **changes)

  def loss(experts, key):
    terms = objectives.elbo(
      key, experts, lambda z: -jnp.square(z[..., 0]), objective=objective
    )
    return jnp.sum(terms.objective)

  leaf = jax.ShapeDtypeStruct((num_modalities, batch, num_latents), np.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  lowered = jit(jax.value_and_grad(loss)).lower(Gaussian(leaf, leaf), key)
  return lowered.compile()


def test_memory_does_not_grow_with_the_number_of_subsets():
  sizes = [
    compiled_loss(m).memory_analysis().temp_size_in_bytes for m in (12, 16)
  ]
  assert sizes[1] < 1.5 * sizes[0]
  # A number for every one of the 65,535 subsets and 8 examples would be 2 MiB.
  assert sizes[1] < 2**20
  estimate = compiled_loss(24, num_subsets=4).memory_analysis()
  assert estimate.temp_size_in_bytes < 2**20


def test_all_subsets_of_thirteen_equal_experts_are_counted():
  # A subset of k has k times the precision; 256 chunks.
  num_modalities, mean = 13, 0.3
  shape = (num_modalities, 1, 1)
  experts = Gaussian(jnp.full(shape, mean), jnp.zeros(shape))
  present = jnp.ones(shape[:2], bool)
  actual = jit(lambda e: power_set.kl_bound(PowerSet(e, present, 'never')))(
    experts
  )
  size = np.arange(1, num_modalities + 1)
  kls = 0.5 * (1 / size - 1 + np.log(size) + mean**2)
  counts = scipy.special.comb(num_modalities, size)
  expected = counts @ kls / counts.sum()
  np.testing.assert_allclose(actual, [expected], rtol=1e-6)


# Estimates from few subsets.


@pytest.mark.parametrize('num_subsets', [1, 4])
def test_estimate_and_its_gradient_are_unbiased(num_subsets):
  present = every_mask(4)
  experts = make_experts(4, present.shape[1])
  keys = jax.random.split(jax.random.key(1), 4000)

  @jit
  def run(experts):
    joint = functools.partial(
      PowerSet, present=jnp.asarray(present), prior_expert='full_set'
    )
    estimates = jax.vmap(
      lambda key: value_and_gradient(
        lambda e: power_set.kl_estimate(key, joint(e), num_subsets=num_subsets),
        experts,
      )
    )(keys)
    return estimates, value_and_gradient(
      lambda e: power_set.kl_bound(joint(e)), experts
    )

  jax.tree.map(assert_means, *run(experts))


def test_complements_vary_less_than_two_sets_that_are_drawn_apart():
  # The same example 2,000 times; experts that differ little.
  one = jax.tree.map(lambda leaf: 0.3 * leaf, make_experts(8, 1))
  experts = jax.tree.map(lambda leaf: np.repeat(leaf, 2000, axis=1), one)
  joint = PowerSet(experts, jnp.ones((8, 2000), bool), 'never')
  estimates = jit(
    lambda key: [
      power_set.kl_estimate(key, joint, num_subsets=n) for n in (1, 2)
    ]
  )
  single, pair = map(np.std, estimates(jax.random.key(2)))
  assert pair < 0.6 * single / np.sqrt(2)


@pytest.mark.parametrize('num_subsets', [15, 100])
def test_estimate_from_all_subsets_is_exact(num_subsets, key):
  joint = PowerSet(
    make_experts(4, 3), jnp.asarray(every_mask(4)[:, -3:]), 'always'
  )
  estimate, exact = jit(
    lambda key: (
      power_set.kl_estimate(key, joint, num_subsets=num_subsets),
      power_set.kl_bound(joint),
    )
  )(key)
  np.testing.assert_array_equal(estimate, exact)


def test_the_objective_takes_the_estimate(key):
  experts, present = make_experts(4, 3), every_mask(4)[:, -3:]

  @jit
  def regularisers(key):
    return [
      objectives.elbo(
        key,
        experts,
        lambda z: -jnp.square(z[..., 0]),
        objective=objectives.make_objective('mopoe', num_subsets=num_subsets),
        present=jnp.asarray(present),
      ).regulariser
      for num_subsets in (0, 15, 2)
    ]

  exact, every, few = regularisers(key)
  np.testing.assert_array_equal(every, exact)
  assert (np.abs(few / exact - 1) > 1e-3).any()


# The subset that an example draws.


def codes(method, present):
  """Each example's subset as a binary number, the first modality last."""
  choose = functools.partial(jit, static_argnames='method')(power_set.choose)
  members = choose(jax.random.key(0), jnp.asarray(present), method=method)
  assert not np.any(members & ~present)
  return np.left_shift(1, np.arange(len(present))) @ np.asarray(members)


def test_stratified_draws_serve_every_subset_to_within_one():
  counts = np.bincount(codes('stratified', np.ones((5, 256), bool)))
  assert counts[0] == 0 and len(counts) == 32
  assert set(counts[1:]) == {8, 9}


def test_as_released_gives_the_full_set_what_remains():
  # 256 = 31 * 8 + 8: MoPoE at the papers' batch.
  counts = np.bincount(codes('stratified_as_released', np.ones((5, 256), bool)))
  np.testing.assert_array_equal(counts, [0, *[8] * 30, 16])
  # More subsets than examples: none has one of its own but the full set.
  found = codes('stratified_as_released', np.ones((5, 16), bool))
  np.testing.assert_array_equal(found, np.full(16, 31))


@pytest.mark.parametrize('method', mixture.SAMPLING_METHODS)
def test_missing_modalities_are_never_drawn_and_all_others_are(method):
  present = np.repeat([[0], [1], [0], [1]], 100, axis=1).astype(bool)
  present[:, ::10] = False  # nothing at all: no subset
  counts = np.bincount(codes(method, present), minlength=11)
  assert set(np.flatnonzero(counts)) == {0, 2, 8, 10}
  assert counts[0] == 10


# What is too much.


@pytest.mark.parametrize(
  ('num_modalities', 'changes', 'message'),
  [
    (13, {'bound': 'iwae'}, "bound='iwae' needs at most 12 modalities"),
    (
      13,
      {'sampling': 'every_component'},
      "sampling='every_component' needs at most 12.*4,095 subsets; got 13",
    ),
    (13, {'regulariser': 'kl_mixture'}, "regulariser='kl_mixture' needs"),
    (17, {}, 'num_subsets=0 needs at most 16 modalities'),
    (25, {'num_subsets': 8}, "posterior='mopoe' needs at most 24"),
  ],
)
def test_too_many_modalities_are_refused(num_modalities, changes, message):
  with pytest.raises(ValueError, match=message):
    compiled_loss(num_modalities, **changes)
