"""The residual block beside PyTorch's layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from vectors import jit

from mmjsd_jax.modalities.residual import ResidualBlock

# Every parameter is numbers(its shape, its place here).
PLACES = (
  'norm_in/scale',
  'norm_in/bias',
  'mix/kernel',
  'mix/bias',
  'norm_mixed/scale',
  'norm_mixed/bias',
  'resize/kernel',
  'resize/bias',
  'shortcut/kernel',
  'shortcut/bias',
  'norm_shortcut/scale',
  'norm_shortcut/bias',
)
Block = functools.partial(ResidualBlock, features=1)
# Block, shape of an example, and what PyTorch 2.13.0 (float64) gives of
# numbers((2, *shape), 12) with dropout off: normalised by the batch, and then
# in evaluation, by the statistics that this step has left.
GOLDEN = {
  'image': (
    Block(),
    (4, 4, 2),
    [-4.22829, -0.41584, 0.34689, -3.26085, -3.7963, -1.8897, -0.66546]
    + [-1.90057],
    [-7.41143, 0.76939, 2.74588, -3.78445, -6.13181, -2.34653, 0.56631]
    + [-0.71358],
  ),
  'sequence': (
    Block(),
    (6, 2),
    [-1.33427, -3.20464, -0.65847, -2.21273, -2.68581, -0.37413],
    [-1.29642, -5.36122, 0.17402, -2.82136, -4.2697, 0.44213],
  ),
  'larger image': (
    Block(transposed=True),
    (1, 2, 2),
    [-2.58993, -0.6945, -1.04956, -3.56279, -2.00437, -0.56389, -3.99466]
    + [-1.61352, -2.08142, -0.90736, -3.54507, -1.38577, -0.74902, -3.34453]
    + [-2.27003, -1.66883],
    [-3.11423, -1.05674, -1.40082, -3.93497, -2.42321, -0.89895, -4.46705]
    + [-1.96755, -2.48118, -1.22645, -4.06766, -1.77251, -1.16628, -3.85273]
    + [-2.68687, -1.9327],
  ),
  'larger sequence': (
    Block(transposed=True, stride=1, padding=0),
    (1, 2),
    [-1.17197, -1.47781, -2.26787, -1.30446, -3.17846, 0.02038, -1.50831]
    + [-3.43483],
    [-1.54871, -1.8968, -3.09972, -1.75045, -3.28067, -0.70561, -2.35918]
    + [-3.55798],
  ),
}


def numbers(shape, start):
  return np.sin(start + np.arange(np.prod(shape))).reshape(shape)


def with_numbers(shapes):
  return {
    layer: {
      name: jnp.asarray(
        numbers(leaf.shape, PLACES.index(f'{layer}/{name}')), jnp.float32
      )
      for name, leaf in leaves.items()
    }
    for layer, leaves in shapes.items()
  }


def shapes_of(block, x):
  """Of the block's variables."""
  return jax.eval_shape(
    lambda x: block.init(jax.random.key(0), x, train=False), x
  )


@pytest.mark.parametrize('case', GOLDEN)
def test_a_block_is_pytorchs(case):
  block, shape, in_training, in_evaluation = GOLDEN[case]
  block = block.clone(dropout=0.0)
  x = jnp.asarray(numbers((2, *shape), 12), jnp.float32)
  shapes = shapes_of(block, x)
  params = with_numbers(shapes['params'])
  fresh = {
    layer: {
      'mean': jnp.zeros(leaf['mean'].shape),
      'var': jnp.ones(leaf['var'].shape),
    }
    for layer, leaf in shapes['batch_stats'].items()
  }

  @jit
  def both(params, x):
    trained, new = block.apply(
      {'params': params, 'batch_stats': fresh},
      x,
      train=True,
      mutable=['batch_stats'],
    )
    return trained, block.apply({'params': params, **new}, x, train=False)

  trained, evaluated = both(params, x)
  np.testing.assert_allclose(trained.ravel(), in_training, atol=1e-4)
  np.testing.assert_allclose(evaluated.ravel(), in_evaluation, atol=1e-4)


@pytest.mark.parametrize(
  ('shape', 'whole'), [((4, 4, 8), True), ((8, 8), False)], ids=['2d', '1d']
)
def test_images_lose_whole_channels_and_sequences_single_values(shape, whole):
  """Behind dropout, where the second normalisation reads."""
  block = ResidualBlock(2)
  x = jax.random.normal(jax.random.key(0), (16, *shape))
  variables = jax.tree.map(
    lambda leaf: jnp.ones(leaf.shape), shapes_of(block, x)
  )

  @jit
  def dropped(key, x):
    seen = []

    def look(method, args, kwargs, context):
      if context.module.name == 'norm_mixed':
        seen.append(args[0])
      return method(*args, **kwargs)

    with nn.intercept_methods(look):
      block.apply(
        variables,
        x,
        train=True,
        rngs={'dropout': key},
        mutable=['batch_stats'],
      )
    return seen[0]

  zero = np.asarray(dropped(jax.random.key(1), x) == 0)
  share = zero.mean(axis=tuple(range(1, zero.ndim - 1)))
  assert 0.3 < zero.mean() < 0.7
  assert np.isin(share, (0, 1)).all() == whole
