"""The idx file format that MNIST and its kin are published in.

Four bytes of magic (two zeros, the data type, the number of dimensions), the
dimensions as big-endian 32-bit numbers, then the values. Files are untrusted: a
header is believed only as far as the size of the file can bear it out.
"""

import gzip
import math
import os
import zlib
from typing import IO

import numpy as np

from mmjsd_jax import files

# All of NIST's digits are 402,953; a header that says more is damaged.
_MAX_ITEMS = 1_000_000
# What deflate can gain at most: a gzip file of n bytes holds at most this
# many times n.
_MAX_GZIP_RATIO = 1032
_UNSIGNED_BYTE = 0x08


def header(shape: tuple[int, ...]) -> bytes:
  """The header of an idx file that holds unsigned bytes of this shape."""
  magic = bytes([0, 0, _UNSIGNED_BYTE, len(shape)])
  return magic + np.array(shape, '>u4').tobytes()


def read(
  path: str | os.PathLike[str], item_shape: tuple[int, ...]
) -> np.ndarray:
  """Array of unsigned bytes from an idx file, gzipped or plain.

  Args:
    path: the file; whether it is gzipped is told by its first bytes.
    item_shape: shape that every item must have.

  Returns:
    uint8 [N, *item_shape].

  Raises:
    ValueError: if the file is not exactly that; says what it is instead.
  """
  try:
    with files.naming(path), open(path, 'rb') as raw:
      zipped = raw.read(2) == b'\x1f\x8b'
      raw.seek(0)
      limit = os.fstat(raw.fileno()).st_size
      if not zipped:
        return _parse(raw, path, item_shape, limit)
      with gzip.open(raw) as unzipped:
        return _parse(unzipped, path, item_shape, limit * _MAX_GZIP_RATIO)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(
      f'{path}: expected a whole gzip file, got a damaged one ({error})'
    ) from error


def _parse(
  stream: IO[bytes] | gzip.GzipFile,
  path: str | os.PathLike[str],
  item_shape: tuple[int, ...],
  limit: int,
) -> np.ndarray:
  """The array in `stream`; nothing is allocated that `limit` cannot fill."""
  rank = 1 + len(item_shape)
  head = stream.read(4 + 4 * rank)
  expected = bytes([0, 0, _UNSIGNED_BYTE, rank])
  if head[:2] != expected[:2]:
    raise ValueError(
      f'{path}: expected an idx file, magic {expected.hex()}; got'
      f' {head[:4].hex() or "an empty file"}'
    )
  if head[2:3] != expected[2:3]:
    raise ValueError(
      f'{path}: expected dtype code 08 (unsigned byte); got'
      f' {head[2:3].hex() or "the end of the file"}'
    )
  if head[3:4] != expected[3:4]:
    raise ValueError(
      f'{path}: expected {rank} dimensions; got'
      f' {head[3] if len(head) > 3 else "the end of the file"}'
    )
  if len(head) < 4 + 4 * rank:
    raise ValueError(
      f'{path}: expected a header of {4 + 4 * rank} bytes; got {len(head)}'
    )
  shape = tuple(int(size) for size in np.frombuffer(head[4:], '>u4'))
  if shape[1:] != item_shape:
    raise ValueError(
      f'{path}: expected items of shape {item_shape}; got {shape[1:]}'
    )
  size = math.prod(shape)
  if shape[0] > _MAX_ITEMS or len(head) + size > limit:
    raise ValueError(
      f'{path}: expected at most {_MAX_ITEMS:,} items that fit in {limit:,}'
      f' bytes; got a header that says {shape[0]:,} items, {size:,} bytes'
    )
  # One byte more than there should be: finds bytes too many, and makes gzip
  # read on to the checksum at its end.
  content = stream.read(size + 1)
  if len(content) != size:
    got = f'{len(content):,}' if len(content) < size else 'more'
    raise ValueError(f'{path}: expected {size:,} bytes of data; got {got}')
  return np.frombuffer(content, np.uint8).reshape(shape).copy()
