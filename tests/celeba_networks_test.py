"""Tests of CelebA's networks: encoders, decoders, classifiers."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from vectors import jit

from mmjsd_jax.evaluation.classifier_networks import (
  CelebaImageClassifier,
  CelebaTextClassifier,
)
from mmjsd_jax.modalities import celeba_image, celeba_text, text

MODULES = {'image': celeba_image, 'text': celeba_text}
SHAPES = {'image': (64, 64, 3), 'text': (256, 71)}
each_kind = pytest.mark.parametrize('kind', SHAPES)


def init(network, shape):
  """Shapes of the variables."""
  return jax.eval_shape(
    lambda key, x: network.init(key, x, train=False),
    jax.random.key(0),
    jnp.zeros(shape),
  )


def some_variables(network, shape):
  """Numbers in place of a draw, which would take long to compile."""
  rng = np.random.default_rng(0)
  return jax.tree.map(
    lambda leaf: jnp.asarray(0.5 + 0.1 * rng.normal(size=leaf.shape)),
    init(network, shape),
  )


@pytest.mark.parametrize(
  ('network', 'shape', 'expected'),
  [
    (celeba_image.Encoder(64), SHAPES['image'], 21_559_040),
    (celeba_image.Decoder(), (64,), 21_912_323),
    (celeba_text.Encoder(64), SHAPES['text'], 13_250_816),
    (celeba_text.Decoder(), (64,), 13_604_039),
    (CelebaImageClassifier(), SHAPES['image'], 21_502_632),
    (CelebaTextClassifier(), SHAPES['text'], 16_261_544),
  ],
)
def test_parameters_are_as_many_as_in_the_original_networks(
  network, shape, expected
):
  """Counts of the authors' PyTorch code, of 32 latents of either sort."""
  layers = init(network, (1, *shape))['params']
  found = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(layers))
  assert found == expected


@each_kind
def test_blocks_have_the_original_shapes(kind):
  maps = {
    'image': [(16, 16, 4), (8, 8, 6), (4, 4, 8), (1, 1, 10)],
    'text': [(64, 4), (32, 6), (16, 8), (8, 10), (4, 10), (1, 10)],
  }[kind]
  ups = {
    'image': [(4, 4, 8), (8, 8, 6), (16, 16, 4), (32, 32, 2)],
    'text': [(4, 10), (8, 10), (16, 8), (32, 6), (64, 4), (128, 2)],
  }[kind]
  module = MODULES[kind]
  encoder, decoder = module.Encoder(3, 2), module.Decoder(2)
  for network, shape, expected in (
    (encoder, (1, *SHAPES[kind]), maps),
    (decoder, (1, 3), ups),
  ):
    _, seen = jax.eval_shape(
      lambda x, network=network: network.init_with_output(
        jax.random.key(0), x, train=False, capture_intermediates=True
      ),
      jnp.zeros(shape),
    )
    seen = seen['intermediates'].get('features', seen['intermediates'])
    found = [seen[f'ResidualBlock_{i}'] for i in range(len(expected))]
    assert [block['__call__'][0].shape[1:] for block in found] == expected


@each_kind
def test_encoder_reads_every_example_alone_in_evaluation(kind):
  encoder = MODULES[kind].Encoder(3, 1)
  x = jax.random.uniform(jax.random.key(0), (2, *SHAPES[kind]))
  variables = some_variables(encoder, x.shape)
  apply = jit(lambda v, x: encoder.apply(v, x, train=False))
  found = apply(variables, x)
  changed = apply(variables, x.at[1].set(0.0))
  assert found.mean.shape == found.log_var.shape == (2, 3)
  np.testing.assert_array_equal(found.mean[0], changed.mean[0])
  assert jnp.abs(found.mean[1] - changed.mean[1]).max() > 1e-3


def test_decoder_counts_all_leading_axes_as_examples():
  decoder = celeba_image.Decoder(1)
  z = jax.random.normal(jax.random.key(0), (2, 3, 4))
  variables = some_variables(decoder, z.shape)

  @jit
  def train(variables, z):
    return decoder.apply(
      variables,
      z,
      train=True,
      rngs={'dropout': jax.random.key(1)},
      mutable=['batch_stats'],
    )

  decoded, statistics = train(variables, z)
  flat, others = train(variables, z.reshape(6, 4))
  assert decoded.shape == (2, 3, 64, 64, 3)
  np.testing.assert_allclose(decoded.reshape(flat.shape), flat, rtol=1e-5)
  jax.tree.map(
    lambda *pair: np.testing.assert_allclose(*pair, rtol=1e-5),
    statistics,
    others,
  )


def test_text_as_released_is_inverted():
  z = jnp.ones((2, 3, 4))
  raw, inverted = (
    jit(lambda v, z, n=network: n.apply(v, z, train=False))(
      some_variables(network, z.shape), z
    )
    for network in (
      celeba_text.Decoder(1),
      celeba_text.Decoder(1, as_released=True),
    )
  )
  assert raw.shape == (2, 3, *SHAPES['text'])
  np.testing.assert_allclose(inverted, text.inverted(raw), rtol=1e-5)


@each_kind
def test_wrong_shape_is_named(kind):
  shape = SHAPES[kind]
  with pytest.raises(ValueError, match=', '.join(map(str, shape))):
    init(MODULES[kind].Encoder(8), (2, *reversed(shape)))
