"""Tests of the PolyMNIST encoder and decoder."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.modalities.polymnist_image import Decoder, Encoder


def shapes(module, x):
  """Shapes of a module's parameters; computes nothing."""
  return jax.eval_shape(module.init, jax.random.key(0), x)['params']


def some_params(module, x):
  """Arbitrary parameters from numpy: compiling `init` takes seconds."""
  rng = np.random.default_rng(0)
  tree = jax.eval_shape(module.init, jax.random.key(0), x)
  return jax.tree.map(
    lambda leaf: jnp.asarray(0.05 * rng.normal(size=leaf.shape), leaf.dtype),
    tree,
  )


def count(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_parameters_are_as_many_as_in_the_original_networks():
  """Counts of the authors' PyTorch code at latent dimension 512."""
  encoder = count(shapes(Encoder(512), jnp.zeros((1, 28, 28, 3))))
  decoder = count(shapes(Decoder(), jnp.zeros((1, 512))))
  assert encoder == 1_667_648
  assert decoder == 1_143_747
  assert 5 * (encoder + decoder) == 14_056_975


@pytest.mark.parametrize(
  ('module', 'x', 'fan_ins'),
  [
    (
      Encoder(64),
      (1, 28, 28, 3),
      {
        'Conv_0': 3 * 9,
        'Conv_1': 32 * 9,
        'Conv_2': 64 * 9,
        'hidden': 2048,
        'mean': 512,
        'log_var': 512,
      },
    ),
    (
      Decoder(),
      (1, 64),
      {
        'hidden': 64,
        'ConvTranspose_0': 64 * 9,
        'ConvTranspose_1': 32 * 9,
        'ConvTranspose_2': 3 * 9,
      },
    ),
  ],
  ids=['encoder', 'decoder'],
)
def test_every_layer_starts_within_its_pytorch_bound(key, module, x, fan_ins):
  params = jit(module.init)(key, jnp.zeros(x))['params']
  assert params.keys() == fan_ins.keys()
  for name, fan_in in fan_ins.items():
    bound = 1 / math.sqrt(fan_in)
    largest = {k: jnp.abs(v).max() for k, v in params[name].items()}
    assert 0.98 * bound < largest['kernel'] <= bound, name
    assert largest['bias'] <= bound, name


def test_encoder_returns_a_gaussian_per_image(key):
  images = jax.random.uniform(key, (3, 28, 28, 3))
  encoder = Encoder(8)
  q = jit(encoder.apply)(some_params(encoder, images), images)
  assert q.mean.shape == q.log_var.shape == (3, 8)
  assert not np.allclose(q.mean, q.log_var)


def test_encoder_treats_images_one_by_one(key):
  images = jax.random.uniform(key, (3, 28, 28, 3))
  encoder = Encoder(8)
  params = some_params(encoder, images)
  apply = jit(encoder.apply)
  changed = apply(params, images.at[1].set(0.0)).mean
  same = apply(params, images).mean
  np.testing.assert_array_equal(changed[0], same[0])
  assert jnp.abs(changed[1] - same[1]).max() > 1e-3


def test_decoder_keeps_leading_axes(key):
  z = jax.random.normal(key, (2, 3, 8))
  decoder = Decoder()
  params = some_params(decoder, z)
  apply = jit(decoder.apply)
  images = apply(params, z)
  assert images.shape == (2, 3, 28, 28, 3)
  flat = apply(params, z.reshape(6, 8))
  np.testing.assert_allclose(images.reshape(flat.shape), flat, atol=1e-5)


def test_decoder_means_are_not_squashed(key):
  z = 100 * jax.random.normal(key, (4, 8))
  decoder = Decoder()
  images = jit(decoder.apply)(some_params(decoder, z), z)
  assert images.min() < 0 and images.max() > 1


def test_backends_of_the_networks_agree(key):
  images = jax.random.uniform(key, (2, 28, 28, 3))
  encoder, decoder = Encoder(8), Decoder()
  params = (
    some_params(encoder, images),
    some_params(decoder, jnp.zeros((1, 8))),
  )

  def loss(params, backend):
    q: Any = encoder.clone(backend=backend).apply(params[0], images)
    y: Any = decoder.clone(backend=backend).apply(params[1], q.mean)
    return jnp.sum((y - images) ** 2)

  grad = jit(jax.grad(loss), static_argnums=1)
  gather, plain = grad(params, 'gather'), grad(params, 'lax')
  for a, b in zip(*map(jax.tree.leaves, (gather, plain)), strict=True):
    scale = float(jnp.abs(b).max())
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale)


def test_wrong_image_shape_is_named(key):
  with pytest.raises(ValueError, match='28, 28, 3'):
    Encoder(8).init(key, jnp.zeros((2, 3, 28, 28)))
