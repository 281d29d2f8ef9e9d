"""A model as a whole: absent modalities, shapes, the objective's gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_world import make_world
from vectors import jit

from mmjsd_jax import objectives
from mmjsd_jax.model import pixels_to_float


@pytest.fixture(scope='module')
def world():
  return make_world('mopoe')


def gradient_fn(model):
  """(params, inputs, present) -> the gradient of the mean objective."""

  def loss(params, inputs, present):
    terms = model.elbo(jax.random.key(0), params, inputs, present=present)
    return jnp.mean(terms.objective)

  return jit(jax.grad(loss))


@pytest.mark.parametrize('preset', objectives.PRESETS)
def test_garbage_in_an_absent_modality_changes_no_gradient(preset, world):
  objective = objectives.make_objective(preset)
  gradient = gradient_fn(world.model._replace(objective=objective))
  present = jnp.ones((3, 10), bool).at[1].set(False).at[2, :4].set(False)
  garbage = {
    'm0': world.inputs['m0'],
    'm1': np.full_like(world.inputs['m1'], np.nan),
    'm2': world.inputs['m2'].copy(),
  }
  garbage['m2'][:4] = np.inf
  clean = gradient(world.params, world.inputs, present)
  jax.tree.map(
    np.testing.assert_array_equal,
    clean,
    gradient(world.params, garbage, present),
  )
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(clean['m1']))
  assert any(np.any(leaf != 0) for leaf in jax.tree.leaves(clean['m2']))


def test_initial_parameters_fit_the_networks(world):
  shapes = jax.eval_shape(world.model.init, jax.random.key(0))
  expected = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), world.params)
  assert expected == jax.tree.map(lambda x: (x.shape, x.dtype), shapes)


def test_modalities_are_initialised_independently(world):
  params = world.model.init(jax.random.key(0))
  first, second = (params[name]['decoder']['kernel'] for name in ('m0', 'm1'))
  assert not np.array_equal(first, second)


def test_decode_takes_any_leading_axes(world):
  z = jnp.ones((5, 2, world.model.latent_dim))
  decoded = world.model.decode(world.params, z)
  assert {x.shape for x in decoded.values()} == {(5, 2, 4)}


def test_wrong_input_shape_is_refused(world):
  inputs = world.inputs | {'m1': np.zeros((10, 5), np.float32)}
  with pytest.raises(ValueError, match=r'm1 must have shape .*4.*; got .*5'):
    world.model.encode(world.params, inputs)


def test_pixels_are_scaled_to_one():
  pixels = jnp.array([0, 51, 255], jnp.uint8)
  np.testing.assert_allclose(pixels_to_float(pixels), [0, 0.2, 1], rtol=1e-6)


@pytest.mark.parametrize('preset', ['mvae', 'mopoe_eq5', 'mmvae_dreg'])
def test_decoding_in_parts_changes_neither_value_nor_gradient(preset, world):
  def value_and_grad(draws_per_decode):
    model = world.model._replace(
      objective=objectives.make_objective(preset, num_samples=3),
      draws_per_decode=draws_per_decode,
    )

    def loss(params):
      terms = model.elbo(jax.random.key(2), params, world.inputs)
      return -jnp.mean(terms.objective)

    return jit(jax.value_and_grad(loss))(world.params)

  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    value_and_grad(0),
    value_and_grad(2),  # the draws are no multiple of it
  )


def test_bfloat16_networks_agree_to_their_rounding(world):
  def value_and_grad(compute_dtype):
    model = world.model._replace(compute_dtype=compute_dtype)

    def loss(params):
      terms = model.elbo(jax.random.key(2), params, world.inputs)
      return -jnp.mean(terms.objective)

    return jit(jax.value_and_grad(loss))(world.params)

  exact, rounded = value_and_grad('float32'), value_and_grad('bfloat16')
  assert exact[0] != rounded[0]
  for one, other in zip(*map(jax.tree.leaves, (exact, rounded)), strict=True):
    assert other.dtype == jnp.float32
    # bfloat16 has 8 bits; a few roundings follow one another.
    scale = np.abs(one).max()
    np.testing.assert_allclose(other, one, rtol=0, atol=2**-5 * scale)
