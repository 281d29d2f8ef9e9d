"""Convolutions with PyTorch's semantics, fast on CPU and inside loops.

Legend: B batch, H and W (rows, columns), C and O channels in and out,
k kernel size, s stride, p padding, P output positions, N input positions.

Two backends compute the same numbers:

* `lax`: `lax.conv_general_dilated`; the default on GPU and TPU.
* `gather`: patches by a gather with constant indices, then one matrix product
  (im2col); a transposed convolution is the matrix product first, then the
  adjoint of the patches (col2im), which is again a sum of a few gathers. Of
  colours, slices take the place of gathers. The default on CPU. XLA's own CPU
  convolutions are several times slower in the weight gradient of a transposed
  convolution, and again 20 times slower inside `lax.scan` and `lax.fori_loop`;
  `benchmarks/convolution.py` measures both.

im2col and col2im are adjoint linear maps, and each is the other's derivative
here: left to itself, JAX would differentiate a gather into a scatter, which is
serial on CPU. The price is that there are no forward-mode derivatives
(`jax.jvp`).
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mmjsd_jax.modalities.matmul import matmul

BACKENDS = ('gather', 'lax')
# Images of so few are cut by slices: a gather moves one pixel at a time.
_FEW_CHANNELS = 3


def conv2d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int | Sequence[int] = 1,
  padding: int | Sequence[int] = 0,
  backend: str | None = None,
) -> jax.Array:
  """Cross-correlation of images with a kernel; `torch.nn.functional.conv2d`.

  PyTorch's weight (O, C, kh, kw) is `kernel` after `transpose(2, 3, 1, 0)`.

  Args:
    x: images. Shape [B, H, W, C].
    kernel: weights. Shape [kh, kw, C, O].
    stride: step between output positions, one number or one per axis.
    padding: zeros on each side, one number or one per axis.
    backend: 'gather' or 'lax'; None chooses by `jax.default_backend()`.

  Returns:
    Shape [B, H', W', O], H' = (H + 2p - k) // s + 1.

  Raises:
    ValueError: a shape, setting or backend does not fit.
  """
  _check_rank(x, kernel, num_axes=2)
  return _conv(x, kernel, stride, padding, backend)


def conv_transpose2d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int | Sequence[int] = 1,
  padding: int | Sequence[int] = 0,
  output_padding: int | Sequence[int] = 0,
  backend: str | None = None,
) -> jax.Array:
  """The adjoint of `conv2d` in its images; `F.conv_transpose2d` of PyTorch.

  PyTorch's weight (C, O, kh, kw) is `kernel` after `transpose(2, 3, 0, 1)`: no
  axis is reversed, and the channels of `x` come before those of the result.

  Args:
    x: images. Shape [B, H, W, C].
    kernel: weights. Shape [kh, kw, C, O].
    stride: step between the patches that `x` writes, one number or one per
      axis.
    padding: rows and columns cut from each side of the result.
    output_padding: rows and columns more at the end, less than `stride`.
    backend: 'gather' or 'lax'; None chooses by `jax.default_backend()`.

  Returns:
    Shape [B, H', W', O], H' = (H - 1) s - 2p + k + output_padding.

  Raises:
    ValueError: a shape, setting or backend does not fit.
  """
  _check_rank(x, kernel, num_axes=2)
  return _conv_transpose(x, kernel, stride, padding, output_padding, backend)


def conv1d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int = 1,
  padding: int = 0,
  backend: str | None = None,
) -> jax.Array:
  """`conv2d` of sequences. x [B, N, C], kernel [k, C, O] -> [B, N', O]."""
  _check_rank(x, kernel, num_axes=1)
  return _conv(x, kernel, stride, padding, backend)


def conv_transpose1d(
  x: jax.Array,
  kernel: jax.Array,
  *,
  stride: int = 1,
  padding: int = 0,
  output_padding: int = 0,
  backend: str | None = None,
) -> jax.Array:
  """`conv_transpose2d` of sequences. Shapes as in `conv1d`."""
  _check_rank(x, kernel, num_axes=1)
  return _conv_transpose(x, kernel, stride, padding, output_padding, backend)


class _Geometry(NamedTuple):
  """Sizes of one convolution; of the large side where it is transposed."""

  size: tuple[int, ...]
  kernel: tuple[int, ...]
  stride: tuple[int, ...]
  padding: tuple[int, ...]

  @property
  def out(self) -> tuple[int, ...]:
    return tuple(
      (n + 2 * p - k) // s + 1 for n, k, s, p in zip(*self, strict=True)
    )


# The bodies below hold for any number of spatial axes.


def _conv(
  x: jax.Array,
  kernel: jax.Array,
  stride: int | Sequence[int],
  padding: int | Sequence[int],
  backend: str | None,
) -> jax.Array:
  x, kernel = _promote(x, kernel)
  num_axes = x.ndim - 2
  geometry = _Geometry(
    x.shape[1:-1],
    kernel.shape[:-2],
    _per_axis('stride', stride, num_axes, least=1),
    _per_axis('padding', padding, num_axes),
  )
  if min(geometry.out) < 1:
    raise ValueError(f'kernel {kernel.shape} exceeds the padded {x.shape}')
  if _choose(backend) == 'lax':
    return _lax_conv(x, kernel, geometry)
  pixels = math.prod(geometry.size)
  y = _im2col(x.reshape(x.shape[0], pixels, x.shape[-1]), geometry)
  y = matmul(y.reshape(-1, y.shape[-1]), kernel.reshape(-1, kernel.shape[-1]))
  return y.reshape(x.shape[0], *geometry.out, kernel.shape[-1])


def _conv_transpose(
  x: jax.Array,
  kernel: jax.Array,
  stride: int | Sequence[int],
  padding: int | Sequence[int],
  output_padding: int | Sequence[int],
  backend: str | None,
) -> jax.Array:
  x, kernel = _promote(x, kernel)
  num_axes = x.ndim - 2
  stride = _per_axis('stride', stride, num_axes, least=1)
  padding = _per_axis('padding', padding, num_axes)
  extra = _per_axis('output_padding', output_padding, num_axes)
  if any(e >= s for e, s in zip(extra, stride, strict=True)):
    raise ValueError(f'output_padding {extra} must be below stride {stride}')
  sizes = zip(x.shape[1:-1], kernel.shape, stride, padding, extra, strict=False)
  size = tuple((n - 1) * s - 2 * p + k + e for n, k, s, p, e in sizes)
  if min(size) < 1:
    raise ValueError(f'padding {padding} leaves nothing: result size {size}')
  geometry = _Geometry(size, kernel.shape[:-2], stride, padding)
  if _choose(backend) == 'lax':
    return _lax_conv_transpose(x, kernel, geometry)
  weights = jnp.moveaxis(kernel, -2, 0).reshape(x.shape[-1], -1)
  y = matmul(x.reshape(-1, x.shape[-1]), weights)
  patches = math.prod(geometry.out)
  y = _col2im(y.reshape(x.shape[0], patches, y.shape[-1]), geometry)
  return y.reshape(x.shape[0], *size, kernel.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _im2col(x: jax.Array, geometry: _Geometry) -> jax.Array:
  """Patches [B, P, prod(k) C] of images [B, N, C]."""
  if x.shape[-1] <= _FEW_CHANNELS:
    return _cut(x, geometry)
  index, _ = _indices(geometry)
  y = _take(x, index.reshape(-1))
  return y.reshape(x.shape[0], len(index), index.shape[1] * x.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _col2im(y: jax.Array, geometry: _Geometry) -> jax.Array:
  """Images [B, N, C], sums of overlapping patches [B, P, prod(k) C]."""
  channels = y.shape[-1] // math.prod(geometry.kernel)
  if channels <= _FEW_CHANNELS:
    return _paste(y, geometry)
  gather, scatter = _indices(geometry)
  y = y.reshape(y.shape[0], gather.size, channels)
  return functools.reduce(jnp.add, [_take(y, index) for index in scatter])


_im2col.defvjp(
  lambda x, geometry: (_im2col(x, geometry), None),
  lambda geometry, _, cotangent: (_col2im(cotangent, geometry),),
)
_col2im.defvjp(
  lambda y, geometry: (_col2im(y, geometry), None),
  lambda geometry, _, cotangent: (_im2col(cotangent, geometry),),
)


def _cut(x: jax.Array, geometry: _Geometry) -> jax.Array:
  """`_im2col` by slices, one axis at a time, the last one first."""
  y = x.reshape(x.shape[0], *geometry.size, 1, x.shape[-1])
  for axis in reversed(range(len(geometry.size))):  # [B, .., n, P, F]
    n, k, s, p = (sizes[axis] for sizes in geometry)
    out, (positions, features) = geometry.out[axis], y.shape[-2:]
    blocks = out - 1 - (-k // s)
    y = _pad(y, -3, p, blocks * s - n - p)
    y = y.reshape(*y.shape[:-3], blocks, s, positions, features)
    taps = [y[..., t // s : t // s + out, t % s, :, :] for t in range(k)]
    y = jnp.concatenate(taps, axis=-1)
    y = y.reshape(*y.shape[:-3], out * positions, k * features)
  return y


def _paste(y: jax.Array, geometry: _Geometry) -> jax.Array:
  """`_col2im` by sums of shifted slices, the adjoint of `_cut`."""
  for axis in range(len(geometry.size)):  # [B, .., P, F]
    n, k, s, p = (sizes[axis] for sizes in geometry)
    out = geometry.out[axis]
    positions, features = y.shape[-2] // out, y.shape[-1] // k
    overlap = -(-k // s)
    y = y.reshape(*y.shape[:-2], out, positions, k, features)
    y = _pad(y, -2, 0, overlap * s - k)
    terms = (
      _pad(y[..., t * s : t * s + s, :], -4, t, overlap - 1 - t)
      for t in range(overlap)
    )
    y = jnp.swapaxes(functools.reduce(jnp.add, terms), -2, -3)
    rows = y.shape[-4] * s  # of [B, .., blocks, s, P, F]
    y = y.reshape(*y.shape[:-4], rows, positions, features)
    y = _pad(y, -3, -p, n + p - rows)
  return y.reshape(y.shape[0], math.prod(geometry.size), y.shape[-1])


def _pad(x: jax.Array, axis: int, before: int, after: int) -> jax.Array:
  """Zeros more along one axis, or less of it where negative."""
  widths = [(0, 0, 0)] * x.ndim
  widths[axis] = (before, after, 0)
  return lax.pad(x, jnp.zeros((), x.dtype), widths)


def _take(x: jax.Array, index: np.ndarray) -> jax.Array:
  """x[:, index], zero where the index is -1."""
  if np.array_equal(index, np.arange(x.shape[1])):
    return x  # a kernel of size 1, or one that covers its whole image
  # Indices are constants within bounds, so XLA need not clamp or mask them.
  y = x.at[:, np.maximum(index, 0)].get(mode='promise_in_bounds')
  if (index < 0).any():
    y = jnp.where((index >= 0).reshape(1, -1, 1), y, jnp.zeros((), y.dtype))
  return y


@functools.cache
def _indices(geometry: _Geometry) -> tuple[np.ndarray, np.ndarray]:
  """Constant indices of im2col and col2im; -1 means zero.

  Returns:
    gather: the pixel that patch and tap read. Shape [P, prod(k)].
    scatter: the (patch, tap) pairs, flattened, that a pixel takes part in: the
      first of each pixel, the second, and so on. Shape [T, N], with
      T = prod(ceil(k / s)) at most.
  """
  pixel = np.zeros((1, 1), np.int64)
  inside = np.ones((1, 1), bool)
  for n, k, s, p, out in zip(*geometry, geometry.out, strict=True):
    source = np.arange(out)[:, None] * s - p + np.arange(k)[None, :]
    shape = (pixel.shape[0] * out, pixel.shape[1] * k)
    pixel = pixel[:, None, :, None] * n + source[None, :, None, :]
    valid = (source >= 0) & (source < n)
    inside = inside[:, None, :, None] & valid[None, :, None, :]
    pixel, inside = pixel.reshape(shape), inside.reshape(shape)
  gather = np.where(inside, pixel, -1)

  taps = np.flatnonzero(inside)
  taps = taps[np.argsort(gather.reshape(-1)[taps], kind='stable')]
  pixels = gather.reshape(-1)[taps]
  rank = np.arange(len(taps)) - np.searchsorted(pixels, pixels)
  num_terms = rank.max(initial=0) + 1
  scatter = np.full((num_terms, math.prod(geometry.size)), -1)
  scatter[rank, pixels] = taps
  return gather.astype(np.int32), scatter.astype(np.int32)


def _lax_conv(
  x: jax.Array, kernel: jax.Array, geometry: _Geometry
) -> jax.Array:
  return lax.conv_general_dilated(
    x,
    kernel,
    window_strides=geometry.stride,
    padding=[(p, p) for p in geometry.padding],
    dimension_numbers=_dimension_numbers(x.ndim),
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _lax_conv_transpose(
  x: jax.Array, kernel: jax.Array, geometry: _Geometry
) -> jax.Array:
  padding = []
  for n, k, s, p, out in zip(*geometry, geometry.out, strict=True):
    extra = n - ((out - 1) * s - 2 * p + k)
    padding.append((k - 1 - p, k - 1 - p + extra))
  return lax.conv_general_dilated(
    x,
    jnp.flip(kernel, range(kernel.ndim - 2)),
    window_strides=(1,) * (x.ndim - 2),
    padding=padding,
    lhs_dilation=geometry.stride,
    dimension_numbers=_dimension_numbers(x.ndim),
  )


def _lax_conv_transpose_backward(
  geometry: _Geometry,
  residuals: tuple[jax.Array, jax.Array],
  cotangent: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  # With C the convolution that this is the adjoint of, <g, C* x> = <C g, x>:
  # the gradients are a strided convolution of g and its weight gradient.
  # Differentiating the dilated convolution itself gives the same numbers, but a
  # weight gradient that is 20 times slower.
  x, kernel = residuals

  def adjoint(kernel: jax.Array) -> jax.Array:
    return _lax_conv(cotangent, jnp.swapaxes(kernel, -1, -2), geometry)

  dx, kernel_vjp = jax.vjp(adjoint, kernel)
  (dkernel,) = kernel_vjp(x)
  return dx, dkernel


_lax_conv_transpose.defvjp(
  lambda x, kernel, geometry: (
    _lax_conv_transpose(x, kernel, geometry),
    (x, kernel),
  ),
  _lax_conv_transpose_backward,
)


def _dimension_numbers(rank: int) -> tuple[str, str, str]:
  axes = 'DHW'[5 - rank :]
  return (f'N{axes}C', f'{axes}IO', f'N{axes}C')


def _promote(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
  dtype = jnp.result_type(x, kernel)
  return x.astype(dtype), kernel.astype(dtype)


def _choose(backend: str | None) -> str:
  if backend is None:
    return 'gather' if jax.default_backend() == 'cpu' else 'lax'
  if backend not in BACKENDS:
    raise ValueError(f'expected a backend of {BACKENDS}, got {backend!r}')
  return backend


def _check_rank(x: jax.Array, kernel: jax.Array, *, num_axes: int) -> None:
  if x.ndim != num_axes + 2 or kernel.ndim != num_axes + 2:
    raise ValueError(
      f'expected x and kernel of rank {num_axes + 2}, got shapes {x.shape}'
      f' and {kernel.shape}'
    )
  if x.shape[-1] != kernel.shape[-2]:
    raise ValueError(
      f'expected a kernel for {x.shape[-1]} input channels, as in x'
      f' {x.shape}, got {kernel.shape}'
    )


def _per_axis(
  name: str, value: int | Sequence[int], num_axes: int, least: int = 0
) -> tuple[int, ...]:
  values = (value,) * num_axes if isinstance(value, int) else tuple(value)
  if len(values) != num_axes or min(values) < least:
    raise ValueError(
      f'expected {name} as one number or {num_axes}, each at least {least},'
      f' got {value}'
    )
  return values
