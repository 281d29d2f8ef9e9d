"""Tests of the encoders and decoders of MNIST, SVHN and text."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.modalities import mnist_image, svhn_image, text

# Module, an input's shape and a decoder's output shape.
KINDS = {
  'mnist': (mnist_image, (28, 28, 1)),
  'svhn': (svhn_image, (32, 32, 3)),
  'text': (text, (8, 71)),
}
FAN_INS = {
  'mnist': (
    {'hidden': 784, 'mean': 400, 'log_var': 400},
    {'hidden': 20, 'pixels': 400},
  ),
  'svhn': (
    {
      'Conv_0': 3 * 16,
      'Conv_1': 32 * 16,
      'Conv_2': 64 * 16,
      'Conv_3': 64 * 16,
      'mean': 128,
      'log_var': 128,
    },
    {
      'hidden': 20,
      'ConvTranspose_0': 64 * 16,
      'ConvTranspose_1': 64 * 16,
      'ConvTranspose_2': 32 * 16,
      'ConvTranspose_3': 3 * 16,
    },
  ),
  'text': (
    {
      'Conv_0': 71,
      'Conv_1': 128 * 4,
      'Conv_2': 128 * 4,
      'mean': 128,
      'log_var': 128,
    },
    {
      'hidden': 20,
      'ConvTranspose_0': 128 * 4,
      'ConvTranspose_1': 128 * 4,
      'Conv_0': 128,
    },
  ),
}
each_kind = pytest.mark.parametrize('kind', KINDS)


def some_params(module, x):
  """Arbitrary parameters from numpy: compiling `init` takes seconds."""
  rng = np.random.default_rng(0)
  tree = jax.eval_shape(module.init, jax.random.key(0), x)
  return jax.tree.map(
    lambda leaf: jnp.asarray(0.1 * rng.normal(size=leaf.shape), leaf.dtype),
    tree,
  )


def count(module, shape):
  tree = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros(shape))
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def pair_sizes(latent_dim):
  return {
    kind: (
      count(module.Encoder(latent_dim), (1, *shape)),
      count(module.Decoder(), (1, latent_dim)),
    )
    for kind, (module, shape) in KINDS.items()
  }


def test_parameters_are_as_many_as_in_the_original_networks():
  """Counts of the authors' PyTorch code: 20 dimensions, or style 4 and 16."""
  sizes = pair_sizes(20)
  assert sizes == {
    'mnist': (330_040, 322_784),
    'svhn': (236_360, 233_763),
    'text': (145_704, 143_175),
  }
  assert sum(map(sum, sizes.values())) == 1_411_826


@each_kind
def test_every_layer_starts_within_its_pytorch_bound(key, kind):
  module, shape = KINDS[kind]
  networks = (module.Encoder(20), (1, *shape)), (module.Decoder(), (1, 20))
  for (network, x), fan_ins in zip(networks, FAN_INS[kind], strict=True):
    params = jit(network.init)(key, jnp.zeros(x))['params']
    assert params.keys() == fan_ins.keys()
    for name, fan_in in fan_ins.items():
      bound = 1 / math.sqrt(fan_in)
      largest = {k: jnp.abs(v).max() for k, v in params[name].items()}
      assert 0.98 * bound < largest['kernel'] <= bound, name
      assert largest['bias'] <= bound, name


LAYERS = {
  'mnist': ({'hidden': (400,)}, {'hidden': (400,), 'pixels': (784,)}),
  'svhn': (
    {
      'Conv_0': (16, 16, 32),
      'Conv_1': (8, 8, 64),
      'Conv_2': (4, 4, 64),
      'Conv_3': (1, 1, 128),
    },
    {
      'hidden': (128,),
      'ConvTranspose_0': (4, 4, 64),
      'ConvTranspose_1': (8, 8, 64),
      'ConvTranspose_2': (16, 16, 32),
      'ConvTranspose_3': (32, 32, 3),
    },
  ),
  'text': (
    {'Conv_0': (8, 128), 'Conv_1': (4, 128), 'Conv_2': (1, 128)},
    {
      'hidden': (128,),
      'ConvTranspose_0': (4, 128),
      'ConvTranspose_1': (8, 128),
      'Conv_0': (8, 71),
    },
  ),
}


@each_kind
def test_layers_have_the_original_shapes(kind):
  module, shape = KINDS[kind]
  networks = (module.Encoder(20), (2, *shape)), (module.Decoder(), (2, 20))
  for (network, x), layers in zip(networks, LAYERS[kind], strict=True):
    outputs = jax.eval_shape(
      lambda x, network=network: network.init_with_output(
        jax.random.key(0), x, capture_intermediates=True
      )[1]['intermediates'],
      jnp.zeros(x),
    )
    found = {
      name: outputs[name]['__call__'][0].shape
      for name in outputs
      if name not in ('__call__', 'mean', 'log_var')
    }
    assert found == {name: (2, *size) for name, size in layers.items()}


@each_kind
def test_encoder_returns_a_gaussian_per_example(key, kind):
  module, shape = KINDS[kind]
  x = jax.random.uniform(key, (3, *shape))
  encoder = module.Encoder(8)
  params = some_params(encoder, x)
  apply = jit(encoder.apply)
  q = apply(params, x)
  assert q.mean.shape == q.log_var.shape == (3, 8)
  assert not np.allclose(q.mean, q.log_var)
  changed = apply(params, x.at[1].set(0.0)).mean
  np.testing.assert_array_equal(changed[0], q.mean[0])
  assert jnp.abs(changed[1] - q.mean[1]).max() > 1e-3


@each_kind
def test_decoder_keeps_leading_axes(key, kind):
  module, shape = KINDS[kind]
  z = jax.random.normal(key, (2, 3, 8))
  decoder = module.Decoder()
  params = some_params(decoder, z)
  apply = jit(decoder.apply)
  decoded = apply(params, z)
  assert decoded.shape == (2, 3, *shape)
  flat = apply(params, z.reshape(6, 8))
  np.testing.assert_allclose(decoded.reshape(flat.shape), flat, atol=1e-5)
  mapped = jit(jax.vmap(decoder.apply, (None, 0)))(params, z)
  np.testing.assert_allclose(decoded, mapped, atol=1e-5)
  alone = apply(params, z[0, 0])
  np.testing.assert_allclose(decoded[0, 0], alone, atol=1e-5)


@pytest.mark.parametrize(
  ('kind', 'squashed'), [('mnist', True), ('svhn', False)]
)
def test_only_mnist_means_are_squashed(key, kind, squashed):
  decoder = KINDS[kind][0].Decoder()
  z = 10 * jax.random.normal(key, (16, 8))
  images = jit(decoder.apply)(some_params(decoder, z), z)
  assert (images.min() >= 0 and images.max() <= 1) == squashed
  assert images.std() > 0.1


def test_first_layer_of_the_text_decoder_is_linear(key):
  """A ReLU there would lose a sign: z and -z give opposite first features."""
  decoder = text.Decoder()
  z = jax.random.normal(key, (2, 8))
  params = some_params(decoder, z)
  params['params']['hidden']['bias'] = jnp.zeros(128)

  @jit
  def features(z):
    _, state = decoder.apply(
      params,
      z,
      capture_intermediates=lambda module, _: True,
      mutable=['intermediates'],
    )
    found = state['intermediates']['ConvTranspose_0']['__call__'][0]
    return found - params['params']['ConvTranspose_0']['bias'].reshape(1, 1, -1)

  np.testing.assert_allclose(features(z), -features(-z), atol=1e-4)


@pytest.mark.parametrize('kind', ['svhn', 'text'])
def test_backends_of_the_networks_agree(key, kind):
  module, shape = KINDS[kind]
  x = jax.random.uniform(key, (2, *shape))
  encoder, decoder = module.Encoder(8), module.Decoder()
  params = (
    some_params(encoder, x),
    some_params(decoder, jnp.zeros((1, 8))),
  )

  def loss(params, backend):
    q: Any = encoder.clone(backend=backend).apply(params[0], x)
    y: Any = decoder.clone(backend=backend).apply(params[1], q.mean)
    return jnp.sum((y - x) ** 2)

  grad = jit(jax.grad(loss), static_argnums=1)
  gather, plain = grad(params, 'gather'), grad(params, 'lax')
  for a, b in zip(*map(jax.tree.leaves, (gather, plain)), strict=True):
    scale = float(jnp.abs(b).max())
    np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * scale)


@each_kind
def test_wrong_shape_is_named(key, kind):
  module, shape = KINDS[kind]
  with pytest.raises(ValueError, match=', '.join(map(str, shape))):
    module.Encoder(8).init(key, jnp.zeros((2, *reversed(shape))))
