"""Tests of the convolutions and of the layers built on them."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmjsd_jax.modalities import convolution, layers

# kernel, stride, padding, output padding: all that the networks of the two
# papers use, then shapes that leave pixels unread or differ by axis.
GEOMETRIES = [
  (3, 2, 1, 0),
  (3, 2, 1, 1),
  (4, 2, 1, 0),
  (4, 1, 0, 0),
  (4, 2, 0, 0),
  (1, 1, 0, 0),
  (5, 1, 2, 0),
  (2, 3, 0, 2),
  ((3, 2), (2, 3), (0, 1), (1, 2)),
]
# Patches are those of 3 channels here, which are cut, and of 4, gathered.
OPERATIONS = ['conv2d', 'conv_transpose2d']
# Sums of up to 100 products in float32.
RTOL = 2e-6


def make(operation, geometry, dtype=jnp.float32):
  """Returns a convolution of a geometry, with its inputs and kernel."""
  kernel_size, stride, padding, output_padding = geometry
  if isinstance(kernel_size, int):
    kernel_size = (kernel_size, kernel_size)
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 6, 5, 3)), dtype)
  kernel = jnp.asarray(rng.normal(size=(*kernel_size, 3, 4)), dtype)
  settings = {'stride': stride, 'padding': padding}
  if operation == 'conv_transpose2d':
    settings['output_padding'] = output_padding
  function = getattr(convolution, operation)

  def fn(x, kernel, backend=None):
    return function(x, kernel, backend=backend, **settings)

  return fn, x, kernel


def with_gradients(fn, x, kernel, **settings):
  """Value and both gradients under a cotangent that differs everywhere."""

  def loss(x, kernel):
    y = fn(x, kernel, **settings)
    weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
    return jnp.sum(weights * y), y

  grads, y = jax.grad(loss, (0, 1), has_aux=True)(x, kernel)
  return y, *grads


def naive(operation, x, kernel, stride, padding, output_padding):
  """Loops over pixels, patches and taps; the definition."""
  x, kernel = np.asarray(x), np.asarray(kernel)
  size, taps = x.shape[1:3], kernel.shape[:2]
  stride, padding, extra = (
    (v, v) if isinstance(v, int) else v
    for v in (stride, padding, output_padding)
  )
  transposed = operation == 'conv_transpose2d'
  if transposed:
    out = [
      (n - 1) * s - 2 * p + k + e
      for n, k, s, p, e in zip(size, taps, stride, padding, extra, strict=True)
    ]
  else:
    out = [
      (n + 2 * p - k) // s + 1
      for n, k, s, p in zip(size, taps, stride, padding, strict=True)
    ]
  y = np.zeros((x.shape[0], *out, kernel.shape[-1]), x.dtype)
  small, large = (size, out) if transposed else (out, size)
  for o in itertools.product(*map(range, small)):
    for t in itertools.product(*map(range, taps)):
      i = tuple(
        a * s - p + b for a, b, s, p in zip(o, t, stride, padding, strict=True)
      )
      if all(0 <= a < n for a, n in zip(i, large, strict=True)):
        read, write = (o, i) if transposed else (i, o)
        y[:, *write] += x[:, *read] @ kernel[t]
  return y


@pytest.mark.parametrize('backend', convolution.BACKENDS)
@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
@pytest.mark.parametrize('operation', OPERATIONS)
def test_equals_the_loop_over_patches_and_taps(operation, geometry, backend):
  fn, x, kernel = make(operation, geometry)
  y = jax.jit(fn, static_argnums=2)(x, kernel, backend)
  expected = naive(operation, x, kernel, *geometry[1:])
  np.testing.assert_allclose(y, expected, rtol=RTOL, atol=1e-5)


@pytest.mark.parametrize('geometry', GEOMETRIES, ids=str)
@pytest.mark.parametrize('operation', OPERATIONS)
def test_backends_agree_in_value_and_gradients(operation, geometry):
  fn, x, kernel = make(operation, geometry)
  run = jax.jit(
    lambda x, kernel: [
      with_gradients(fn, x, kernel, backend=backend)
      for backend in convolution.BACKENDS
    ]
  )
  for gather, plain in zip(*run(x, kernel), strict=True):
    scale = np.abs(plain).max()
    np.testing.assert_allclose(gather, plain, rtol=0, atol=RTOL * scale)


@pytest.mark.parametrize('geometry', GEOMETRIES[:3], ids=str)
def test_hand_written_gradient_equals_that_of_lax(geometry):
  fn, x, kernel = make('conv_transpose2d', geometry)
  k, s, p, extra = geometry

  def plain(x, kernel):
    return lax.conv_general_dilated(
      x,
      kernel[::-1, ::-1],
      (1, 1),
      [(k - 1 - p, k - 1 - p + extra)] * 2,
      lhs_dilation=(s, s),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )

  run = jax.jit(
    lambda x, kernel: (
      with_gradients(fn, x, kernel, backend='lax'),
      with_gradients(plain, x, kernel),
    )
  )
  for ours, theirs in zip(*run(x, kernel), strict=True):
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=RTOL * scale)


@pytest.mark.parametrize('backend', convolution.BACKENDS)
def test_pytorch_gives_the_same_numbers(backend):
  """Computed with torch 2.13.0 from torch.arange inputs and weights; exact."""
  settings = {'stride': 2, 'padding': 1, 'backend': backend}
  x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4).transpose(0, 2, 3, 1)
  weight = np.arange(36, dtype=np.float32).reshape(2, 2, 3, 3)  # O, C, kh, kw
  conv = jax.jit(functools.partial(convolution.conv2d, **settings))
  y = np.asarray(conv(x, weight.transpose(2, 3, 1, 0)))
  channels = [[[1196, 1916], [2313, 3558]], [[2708, 4508], [5877, 9390]]]
  np.testing.assert_array_equal(y[0].transpose(2, 0, 1), channels)

  x = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2).transpose(0, 2, 3, 1)
  weight = np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3)  # C, O, kh, kw
  transpose = functools.partial(
    convolution.conv_transpose2d, output_padding=1, **settings
  )
  y = np.asarray(jax.jit(transpose)(x, weight.transpose(2, 3, 0, 1)))
  image = [
    [52, 119, 69, 75],
    [126, 282, 160, 176],
    [86, 187, 103, 113],
    [110, 241, 133, 143],
  ]
  np.testing.assert_array_equal(y[0, :, :, 0], image)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_a_loop_body_computes_what_straight_code_does(operation):
  fn, x, kernel = make(operation, (3, 2, 1, 1))
  expected = jax.jit(lambda x, k: with_gradients(fn, x, k))(x, kernel)

  @jax.jit
  def looped(x, kernel):
    init = jax.tree.map(jnp.zeros_like, expected)
    return lax.fori_loop(
      0,
      2,
      lambda _, total: jax.tree.map(
        jnp.add, total, with_gradients(fn, x, kernel)
      ),
      init,
    )

  for total, once in zip(looped(x, kernel), expected, strict=True):
    np.testing.assert_allclose(total, 2 * once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_vmap_over_inputs_and_kernels_equals_a_loop(operation):
  fn, x, kernel = make(operation, (3, 2, 1, 1))
  xs, kernels = jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel + 1])
  vmapped = jax.jit(jax.vmap(lambda x, k: with_gradients(fn, x, k)))
  single = jax.jit(lambda x, k: with_gradients(fn, x, k))
  for i in range(2):
    expected = single(xs[i], kernels[i])
    for both, one in zip(vmapped(xs, kernels), expected, strict=True):
      np.testing.assert_allclose(both[i], one, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_second_derivatives_agree_between_backends(operation):
  fn, x, kernel = make(operation, (3, 2, 1, 1))

  def hessian_product(x, kernel, backend):
    def gradient(x):
      return jax.grad(lambda x: jnp.sum(fn(x, kernel, backend) ** 3))(x)

    return jax.grad(lambda x: jnp.sum(jnp.sin(x) * gradient(x)))(x)

  run = jax.jit(hessian_product, static_argnums=2)
  gather, plain = (run(x, kernel, b) for b in convolution.BACKENDS)
  scale = np.abs(plain).max()
  np.testing.assert_allclose(gather, plain, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_float64_is_computed_in_float64(operation):
  with jax.enable_x64(True):
    fn, x, kernel = make(operation, (3, 2, 1, 1), jnp.float64)
    run = jax.jit(
      lambda x, kernel: [
        with_gradients(fn, x, kernel, backend=b) for b in convolution.BACKENDS
      ]
    )
    for gather, plain in zip(*run(x, kernel), strict=True):
      assert gather.dtype == jnp.float64
      scale = np.abs(plain).max()
      np.testing.assert_allclose(gather, plain, rtol=0, atol=1e-14 * scale)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_bfloat16_stays_bfloat16_and_close(operation):
  fn, x, kernel = make(operation, (3, 2, 1, 1))
  expected = jax.jit(fn)(x, kernel)
  y = jax.jit(fn)(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
  assert y.dtype == jnp.bfloat16
  # 8 bits of mantissa in both factors.
  scale = np.abs(expected).max()
  np.testing.assert_allclose(np.float32(y), expected, rtol=0, atol=2e-2 * scale)


@pytest.mark.parametrize('operation', OPERATIONS)
def test_a_batch_over_eight_devices_gives_the_same_numbers(operation):
  fn, x, kernel = make(operation, (3, 2, 1, 1))
  x = jnp.concatenate([x, 2 * x, 3 * x, 4 * x])
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  rows = NamedSharding(mesh, PartitionSpec('data'))
  everywhere = NamedSharding(mesh, PartitionSpec())

  def run(x, kernel):
    return with_gradients(fn, x, kernel)

  sharded_fn = jax.jit(
    run,
    in_shardings=(rows, everywhere),
    out_shardings=(rows, rows, everywhere),
  )
  sharded = sharded_fn(
    jax.device_put(x, rows), jax.device_put(kernel, everywhere)
  )
  assert len(sharded[0].sharding.device_set) == 8
  for ours, single in zip(sharded, jax.jit(run)(x, kernel), strict=True):
    np.testing.assert_allclose(ours, single, rtol=1e-5, atol=1e-4)


def test_gather_is_the_default_on_cpu():
  fn, x, kernel = make('conv2d', (3, 2, 1, 0))
  assert 'conv_general' not in str(jax.make_jaxpr(fn)(x, kernel))
  plain = jax.make_jaxpr(lambda x, k: fn(x, k, 'lax'))(x, kernel)
  assert 'conv_general' in str(plain)


def test_an_empty_batch_gives_an_empty_result():
  for operation in OPERATIONS:
    fn, x, kernel = make(operation, (3, 2, 1, 1))
    assert fn(x[:0], kernel).shape[0] == 0


def test_wrong_shapes_and_settings_are_named():
  x, kernel = jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 3, 4))
  with pytest.raises(ValueError, match='rank 4'):
    convolution.conv2d(x[0], kernel)
  with pytest.raises(ValueError, match='input channels'):
    convolution.conv2d(x[..., :2], kernel)
  with pytest.raises(ValueError, match="'gather', 'lax'"):
    convolution.conv2d(x, kernel, backend='cudnn')
  with pytest.raises(ValueError, match='stride'):
    convolution.conv2d(x, kernel, stride=(1, 2, 3))
  with pytest.raises(ValueError, match='stride'):
    convolution.conv2d(x, kernel, stride=0)
  with pytest.raises(ValueError, match='exceeds'):
    convolution.conv2d(x[:, :2], kernel)
  with pytest.raises(ValueError, match='output_padding'):
    convolution.conv_transpose2d(x, kernel, stride=2, output_padding=2)
  with pytest.raises(ValueError, match='leaves nothing'):
    convolution.conv_transpose2d(x[:, :1], kernel, padding=2)


@pytest.mark.parametrize(
  ('layer', 'shape', 'fan_in'),
  [
    (layers.Conv(32, 3), (1, 5, 5, 64), 64 * 9),
    (layers.ConvTranspose(32, 3), (1, 5, 5, 64), 32 * 9),
    (layers.ConvTranspose(64, (4, 2)), (1, 5, 5, 8), 64 * 8),
    (layers.Dense(100), (1, 512), 512),
  ],
  ids=['conv', 'conv_transpose', 'conv_transpose_4x2', 'dense'],
)
def test_initial_parameters_fill_the_pytorch_bound(key, layer, shape, fan_in):
  params = jax.jit(layer.init)(key, jnp.zeros(shape))['params']
  params = jax.device_get(params)
  bound = 1 / math.sqrt(fan_in)
  for name, least in (('kernel', 0.995), ('bias', 0.8)):
    largest = np.abs(params[name]).max()
    assert least * bound < largest <= bound, name
  # Uniform: variance bound^2 / 3; some thousands of draws.
  np.testing.assert_allclose(params['kernel'].std(), bound / 3**0.5, rtol=0.05)


def test_dense_accepts_leading_axes(key):
  x = jnp.arange(24.0).reshape(2, 3, 4)
  y, variables = jax.jit(layers.Dense(5).init_with_output)(key, x)
  params = variables['params']
  expected = np.asarray(x) @ np.asarray(params['kernel'])
  np.testing.assert_allclose(
    y, expected + np.asarray(params['bias']), rtol=1e-5
  )


@pytest.mark.parametrize('backend', convolution.BACKENDS)
@pytest.mark.parametrize('geometry', [(1, 1, 0, 0), (4, 2, 1, 0), (4, 1, 0, 0)])
@pytest.mark.parametrize('transposed', [False, True])
def test_one_axis_is_an_image_of_one_row(transposed, geometry, backend):
  size, stride, padding, _ = geometry
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(2, 8, 3)), jnp.float32)
  kernel = jnp.asarray(rng.normal(size=(size, 3, 4)), jnp.float32)
  names = 'conv1d', 'conv2d'
  if transposed:
    names = 'conv_transpose1d', 'conv_transpose2d'
  one, two = (getattr(convolution, name) for name in names)

  def image_row(x, kernel):
    y = two(
      x[:, None],
      kernel[None],
      stride=(1, stride),
      padding=(0, padding),
      backend=backend,
    )
    return y[:, 0]

  def sequence(x, kernel):
    return one(x, kernel, stride=stride, padding=padding, backend=backend)

  run = jax.jit(
    lambda x, kernel: [
      with_gradients(fn, x, kernel) for fn in (sequence, image_row)
    ]
  )
  for found, expected in zip(*run(x, kernel), strict=True):
    np.testing.assert_allclose(found, expected, rtol=RTOL, atol=1e-5)


def test_layers_go_by_the_rank_of_their_input():
  for layer in (layers.Conv(5, 4), layers.ConvTranspose(5, 4)):
    for x in (jnp.zeros((1, 6, 3)), jnp.zeros((1, 6, 6, 3))):
      params = jax.eval_shape(layer.init, jax.random.key(0), x)['params']
      assert params['kernel'].shape == (4,) * (x.ndim - 2) + (3, 5)
