"""Features of the Inception network that FID is defined by.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local
Nash Equilibrium", NeurIPS 2017, measure on the layer pool3 of the Inception-v3
(Szegedy et al., CVPR 2016) that TensorFlow published in 2015; its weights came
to PyTorch as pt_inception-2015-12-05-6726825d.pth, of pytorch-fid, which the
authors of mmJSD and MoPoE use. None are shipped: the user gives a file.

That network pools otherwise than torchvision's inception_v3: averages leave the
padding out, and the last block takes maxima. Its batch normalisations, always
in evaluation mode, are folded into the convolutions. The logits are left out.

Every image is enlarged to 299 x 299, so small ones are far from what the
network has seen. FID is biased upwards by few samples; below 10,000 it compares
only with what has as many, and not with the literature.

Legend: B batch, H rows, W columns, C channels.
"""

import functools
import hashlib
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjsd_jax import files
from mmjsd_jax.evaluation import features, weights

# Layer, such as 'Mixed_5b.branch1x1' -> 'kernel' and 'bias'.
Params = dict[str, dict[str, np.ndarray]]

_SIZE = 299
_BATCH_NORM_EPSILON = 1e-3
# Images per call; what 50 need while they pass is 0.4 GB.
_CHUNK_SIZE = 50


class Inception(NamedTuple):
  """A loaded network.

  Attributes:
    params: of a `Network`.
    sha256: of the file that they were loaded from.
  """

  params: Params
  sha256: str


class _Conv(NamedTuple):
  """A convolution without bias, batch normalisation and ReLU."""

  name: str
  features: int
  kernel: tuple[int, int] = (1, 1)
  stride: int = 1
  padding: str = 'SAME'


class _Pool(NamedTuple):
  """A pooling over 3 x 3 positions: 'average' or 'max'."""

  kind: str
  stride: int = 1
  padding: str = 'SAME'


# A chain of steps; a tuple in it is branches, whose results stand side by side.
_Chain = list['_Conv | _Pool | tuple[_Chain, ...]']
_down = functools.partial(_Conv, kernel=(3, 3), stride=2, padding='VALID')
_AVERAGE = _Pool('average')
_MAX_DOWN = _Pool('max', 2, 'VALID')


def _block_a(pool_features: int) -> tuple[_Chain, ...]:
  return (
    [_Conv('branch1x1', 64)],
    [_Conv('branch5x5_1', 48), _Conv('branch5x5_2', 64, (5, 5))],
    [
      _Conv('branch3x3dbl_1', 64),
      _Conv('branch3x3dbl_2', 96, (3, 3)),
      _Conv('branch3x3dbl_3', 96, (3, 3)),
    ],
    [_AVERAGE, _Conv('branch_pool', pool_features)],
  )


def _block_b() -> tuple[_Chain, ...]:
  return (
    [_down('branch3x3', 384)],
    [
      _Conv('branch3x3dbl_1', 64),
      _Conv('branch3x3dbl_2', 96, (3, 3)),
      _down('branch3x3dbl_3', 96),
    ],
    [_MAX_DOWN],
  )


def _block_c(width: int) -> tuple[_Chain, ...]:
  return (
    [_Conv('branch1x1', 192)],
    [
      _Conv('branch7x7_1', width),
      _Conv('branch7x7_2', width, (1, 7)),
      _Conv('branch7x7_3', 192, (7, 1)),
    ],
    [
      _Conv('branch7x7dbl_1', width),
      _Conv('branch7x7dbl_2', width, (7, 1)),
      _Conv('branch7x7dbl_3', width, (1, 7)),
      _Conv('branch7x7dbl_4', width, (7, 1)),
      _Conv('branch7x7dbl_5', 192, (1, 7)),
    ],
    [_AVERAGE, _Conv('branch_pool', 192)],
  )


def _block_d() -> tuple[_Chain, ...]:
  return (
    [_Conv('branch3x3_1', 192), _down('branch3x3_2', 320)],
    [
      _Conv('branch7x7x3_1', 192),
      _Conv('branch7x7x3_2', 192, (1, 7)),
      _Conv('branch7x7x3_3', 192, (7, 1)),
      _down('branch7x7x3_4', 192),
    ],
    [_MAX_DOWN],
  )


def _block_e(pool: _Pool) -> tuple[_Chain, ...]:
  def fork(name: str) -> tuple[_Chain, ...]:
    return (
      [_Conv(f'{name}a', 384, (1, 3))],
      [_Conv(f'{name}b', 384, (3, 1))],
    )

  return (
    [_Conv('branch1x1', 320)],
    [_Conv('branch3x3_1', 384), fork('branch3x3_2')],
    [
      _Conv('branch3x3dbl_1', 448),
      _Conv('branch3x3dbl_2', 384, (3, 3)),
      fork('branch3x3dbl_3'),
    ],
    [pool, _Conv('branch_pool', 192)],
  )


_STEM: _Chain = [
  _down('Conv2d_1a_3x3', 32),
  _Conv('Conv2d_2a_3x3', 32, (3, 3), padding='VALID'),
  _Conv('Conv2d_2b_3x3', 64, (3, 3)),
  _MAX_DOWN,
  _Conv('Conv2d_3b_1x1', 80),
  _Conv('Conv2d_4a_3x3', 192, (3, 3), padding='VALID'),
  _MAX_DOWN,
]
_BLOCKS = {
  'Mixed_5b': _block_a(32),
  'Mixed_5c': _block_a(64),
  'Mixed_5d': _block_a(64),
  'Mixed_6a': _block_b(),
  'Mixed_6b': _block_c(128),
  'Mixed_6c': _block_c(160),
  'Mixed_6d': _block_c(160),
  'Mixed_6e': _block_c(192),
  'Mixed_7a': _block_d(),
  'Mixed_7b': _block_e(_AVERAGE),
  'Mixed_7c': _block_e(_Pool('max')),
}


class Network(nn.Module):
  """Images [B, 299, 299, 3] in [-1, 1] to features [B, 2048]."""

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    x = _run('', _STEM, images)
    for name, branches in _BLOCKS.items():
      x = _run(f'{name}.', [branches], x)
    return x.mean(axis=(1, 2))


def _run(prefix: str, chain: _Chain, x: jax.Array) -> jax.Array:
  for step in chain:
    if isinstance(step, _Conv):
      layer = nn.Conv(
        step.features,
        step.kernel,
        step.stride,
        step.padding,
        precision=jax.lax.Precision.HIGHEST,
        name=prefix + step.name,
      )
      x = nn.relu(layer(x))
    elif isinstance(step, _Pool):
      x = _pool(step, x)
    else:
      branches = [_run(prefix, branch, x) for branch in step]
      x = jnp.concatenate(branches, axis=-1)
  return x


def _pool(step: _Pool, x: jax.Array) -> jax.Array:
  strides = (step.stride, step.stride)
  if step.kind == 'max':
    return nn.max_pool(x, (3, 3), strides, step.padding)
  return nn.avg_pool(x, (3, 3), strides, step.padding, count_include_pad=False)


def inception_features(params: Params) -> features.FeatureFn:
  """The network as a function of images [B, H, W, C] in [0, 1], C 1 or 3.

  Args:
    params: of `load_inception`.
  """
  on_device = jax.tree.map(jnp.asarray, params)
  pool3_fn = functools.partial(_pool3, on_device)

  def extract(images: jax.Array) -> np.ndarray:
    return features.extract(
      lambda chunk: pool3_fn(enlarge(chunk)),
      np.asarray(images),
      chunk_size=_CHUNK_SIZE,
    )

  return extract


@jax.jit
def enlarge(images: jax.Array) -> jax.Array:
  """What the network takes, in [-1, 1]. Shape [B, 299, 299, 3].

  Bilinear, as PyTorch's `interpolate` with `align_corners=False`, and as that
  without a filter against aliasing, should an image be larger than 299.

  Args:
    images: grey or in colour, in [0, 1]. Shape [B, H, W, 1 or 3].

  Raises:
    ValueError: another shape.
  """
  if images.ndim != 4 or images.shape[-1] not in (1, 3):
    raise ValueError(
      f'expected images [B, H, W, 1 or 3], got shape {images.shape}'
    )
  shape = (images.shape[0], _SIZE, _SIZE, images.shape[-1])
  resized = jax.image.resize(images, shape, 'bilinear', antialias=False)
  return jnp.repeat(2 * resized - 1, 3 // images.shape[-1], axis=-1)


@jax.jit
def _pool3(params: Any, images: jax.Array) -> jax.Array:
  return jnp.asarray(Network().apply({'params': params}, images))


def load_inception(path: str | os.PathLike[str]) -> Inception:
  """Reads the weights.

  Args:
    path: an .npz with the names and shapes of the PyTorch state dict, such as
      'Mixed_5b.branch1x1.conv.weight'; see README. Others in it, as of the
      logits, are ignored.

  Raises:
    OSError: a file that is missing or cannot be read.
    ValueError: a file that is not such an archive, or without an array that is
      needed, or with one of another shape or with values that are not finite.
  """
  path = pathlib.Path(path)
  shapes = weight_shapes()
  with files.naming(path), path.open('rb') as file:
    sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
  wanted = {name: (shape, np.floating) for name, shape in shapes.items()}
  try:
    arrays = weights.load(path, wanted)
  except ValueError as error:
    raise ValueError(
      f'expected Inception weights as an .npz, see README; {error}'
    ) from None
  suffix = '.conv.weight'
  layers = [n.removesuffix(suffix) for n in shapes if n.endswith(suffix)]
  try:
    return Inception({x: _folded(x, arrays) for x in layers}, sha256)
  except ValueError as error:
    raise ValueError(f'{path}: {error}') from None


def weight_shapes() -> dict[str, tuple[int, ...]]:
  """Name -> shape of every array that is needed, in PyTorch's order of axes."""
  images = jax.ShapeDtypeStruct((1, _SIZE, _SIZE, 3), jnp.float32)
  params = jax.eval_shape(Network().init, jax.random.key(0), images)['params']
  shapes: dict[str, tuple[int, ...]] = {}
  for layer, arrays in params.items():
    rows, columns, num_in, num_out = arrays['kernel'].shape
    shapes[f'{layer}.conv.weight'] = (num_out, num_in, rows, columns)
    for name in ('weight', 'bias', 'running_mean', 'running_var'):
      shapes[f'{layer}.bn.{name}'] = (num_out,)
  return shapes


def _folded(layer: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Convolution and batch normalisation in one, computed in float64."""
  scale, shift, mean, variance = (
    arrays[f'{layer}.bn.{name}'].astype(float)
    for name in ('weight', 'bias', 'running_mean', 'running_var')
  )
  if variance.min() < 0:
    raise ValueError(
      f'expected variances of at least 0 in {layer}, got {variance.min()}'
    )
  scale = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
  kernel = arrays[f'{layer}.conv.weight'].transpose(2, 3, 1, 0) * scale
  bias = shift - mean * scale
  limit = np.finfo(np.float32).max
  if not max(abs(kernel).max(), abs(bias).max()) <= limit:
    raise ValueError(f'expected values within float32 in {layer}, got larger')
  return {
    'kernel': kernel.astype(np.float32),
    'bias': bias.astype(np.float32),
  }
