"""The MATLAB 5 file format that SVHN is published in, as far as it needs it.

A header of 128 bytes, then elements: a tag (type, number of bytes) and content.
A variable is an element that holds four: flags, dimensions, name and values,
each padded to 8 bytes; most programs deflate it as a whole. See "MAT-File
Format" by The MathWorks. Numbers are read, structures and cells are not.

Files are untrusted: a header is believed only as far as the size of the file
can bear it out. SciPy reads all of the format, but a file with one changed byte
can end the whole program in it.
"""

import math
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np

from mmjsd_jax import files

_HEADER_BYTES = 128
_COMPRESSED = 15
_MATRIX = 14
# What deflate can gain at most: n bytes hold at most this many times n.
_MAX_DEFLATE_RATIO = 1032
# MATLAB's own limit is 2 GiB; the largest array of SVHN that is used is 0.2.
_MAX_BYTES = 1 << 30
# Flags, dimensions and name of any variable worth reading are shorter.
_HEAD_BYTES = 1024
_MAX_DIMENSIONS = 8
# How numbers lie in the file, by type code.
_STORED = {
  **{1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8'},
  **{12: 'i8', 13: 'u8'},
}
# What they are in MATLAB, by class code; whole doubles are stored as integers.
_CLASSES = {
  **{6: 'f8', 7: 'f4', 8: 'i1', 9: 'u1', 10: 'i2', 11: 'u2', 12: 'i4'},
  **{13: 'u4', 14: 'i8', 15: 'u8'},
}


def read(
  path: str | os.PathLike[str], names: tuple[str, ...]
) -> dict[str, np.ndarray]:
  """The variables `names` of a file; the others are passed over.

  Args:
    path: the file, of MATLAB 5 to 7.2, deflated or not.
    names: variables of real numbers.

  Returns:
    Name -> array in the shape and type it has in MATLAB, the first axis varying
    fastest in memory.

  Raises:
    ValueError: if the file is anything else, lacks one of the variables, or is
      damaged; one line that names the file.
  """
  path = pathlib.Path(path)
  found: dict[str, np.ndarray] = {}
  others = []
  try:
    with files.naming(path), open(path, 'rb') as stream:
      for variable in _variables(stream):
        if variable.name not in names:
          others.append(variable.name)
        elif variable.name in found:
          raise _Refused(f'{variable.name} once; got it twice')
        else:
          found[variable.name] = _values(variable)
        # Let go of one before the next is read.
        del variable
  except _Refused as refused:
    raise ValueError(f'{path}: expected {refused}') from None
  except zlib.error as error:
    raise ValueError(
      f'{path}: expected a whole MATLAB file; got a damaged one ({error})'
    ) from error
  missing = [name for name in names if name not in found]
  if missing:
    raise ValueError(
      f'{path}: expected variables {", ".join(names)}; got'
      f' {", ".join(map(repr, [*found, *others])) or "none"}'
    )
  return found


class _Refused(Exception):
  """What was expected of a file, and what was got."""


class _Variable(NamedTuple):
  """One variable, whose values are still to be read.

  Attributes:
    name: as in MATLAB.
    shape: its dimensions.
    kind: class code.
    order: '<' or '>', of the bytes of a number.
    values_at: where in the content the element with the values starts.
    source: the content as it lies in the file.
    inflate: whether that is deflated.
    size: bytes of the content once inflated.
  """

  name: str
  shape: tuple[int, ...]
  kind: int
  order: str
  values_at: int
  source: bytes
  inflate: bool
  size: int


def _variables(stream: IO[bytes]) -> Iterator[_Variable]:
  """The variables in the order of the file, as far as their heads."""
  left = os.fstat(stream.fileno()).st_size - _HEADER_BYTES
  order = _byte_order(stream.read(_HEADER_BYTES))
  while left:
    tag = stream.read(8)
    if len(tag) < 8:
      raise _Refused('a whole file; got one that ends within a tag')
    kind, size = (int(n) for n in np.frombuffer(tag, f'{order}u4'))
    left -= 8 + size
    if left < 0:
      raise _Refused(f'a whole file; got one that lacks {-left:,} bytes')
    if kind not in (_MATRIX, _COMPRESSED):
      raise _Refused(f'a variable at each tag; got type {kind}')
    source = stream.read(size)
    if kind == _MATRIX:
      yield _head(source[:_HEAD_BYTES], order, source, False, size)
      continue
    head = zlib.decompressobj().decompress(source, 8 + _HEAD_BYTES)
    if len(head) < 8:
      raise _Refused('a variable in each deflated part; got nothing')
    kind, inner = (int(n) for n in np.frombuffer(head[:8], f'{order}u4'))
    if kind != _MATRIX:
      raise _Refused(f'a variable in each deflated part; got type {kind}')
    if 8 + inner > size * _MAX_DEFLATE_RATIO:
      raise _Refused(
        f'at most what {size:,} deflated bytes can hold; got a tag that says'
        f' {inner:,}'
      )
    yield _head(head[8:], order, source, True, inner)


def _byte_order(header: bytes) -> str:
  orders = {b'IM': '<', b'MI': '>'}
  order = orders.get(header[126:128], '')
  if not order:
    raise _Refused(
      f'a MATLAB 5 file, with IM or MI at byte 126; got {header[126:128]!r} in'
      f' {len(header)} bytes'
    )
  major = header[125 if order == '<' else 124]
  if major != 1:
    raise _Refused(
      f'a MATLAB 5 file (-v6 or -v7); got version {major}'
      f'{", which is HDF5 (-v7.3)" if major == 2 else ""}'
    )
  return order


def _head(
  head: bytes, order: str, source: bytes, inflate: bool, size: int
) -> _Variable:
  kind, flags, at = _element(head, 0, order)
  if kind != 6 or len(flags) != 8:
    raise _Refused(f'flags of 8 bytes; got type {kind}, {len(flags)} bytes')
  bits = int(np.frombuffer(flags, f'{order}u4')[0])
  kind, sizes, at = _element(head, at, order)
  if kind != 5 or len(sizes) % 4 or not 8 <= len(sizes) <= 4 * _MAX_DIMENSIONS:
    raise _Refused(
      f'2 to {_MAX_DIMENSIONS} dimensions; got type {kind}, {len(sizes)} bytes'
    )
  shape = tuple(int(n) for n in np.frombuffer(sizes, f'{order}i4'))
  if min(shape) < 0:
    raise _Refused(f'dimensions of 0 or more; got {shape}')
  kind, name, at = _element(head, at, order)
  if kind != 1:
    raise _Refused(f'a name; got type {kind}')
  if bits & 0x800:
    # Complex: of a class that nothing here has.
    bits = 0
  return _Variable(
    name.decode('latin-1'), shape, bits & 0xFF, order, at, source, inflate, size
  )


def _element(head: bytes, at: int, order: str) -> tuple[int, bytes, int]:
  """Type and content of the element at `at`, and where the next one is."""
  kind, start, size = _tag(head, at, order)
  content = head[start : start + size]
  if len(content) < size:
    raise _Refused(
      f'a name and dimensions of at most {_HEAD_BYTES} bytes; got {size:,}'
    )
  return kind, content, start + size + -(start + size) % 8


def _tag(
  content: bytes | memoryview, at: int, order: str
) -> tuple[int, int, int]:
  """Type, start and size of what the element at `at` holds."""
  tag = content[at : at + 8]
  if len(tag) < 8:
    raise _Refused('a whole variable; got one that ends within a tag')
  first, second = (int(n) for n in np.frombuffer(tag, f'{order}u4'))
  # Up to four bytes lie in the tag itself, their number in its upper half.
  if first >> 16:
    if first >> 16 > 4:
      raise _Refused(f'at most 4 bytes in a tag; got {first >> 16}')
    return first & 0xFFFF, at + 4, first >> 16
  return first, at + 8, second


def _values(variable: _Variable) -> np.ndarray:
  name, shape, order = variable.name, variable.shape, variable.order
  if variable.kind not in _CLASSES:
    raise _Refused(f'{name} to be real numbers; got class {variable.kind}')
  needed = math.prod(shape) * np.dtype(_CLASSES[variable.kind]).itemsize
  if max(needed, variable.size) > _MAX_BYTES:
    raise _Refused(
      f'{name} of at most {_MAX_BYTES:,} bytes; got {needed:,}, stored in'
      f' {variable.size:,}'
    )
  content = _content(variable)
  kind, start, size = _tag(content, variable.values_at, order)
  if kind not in _STORED:
    raise _Refused(f'{name} stored as numbers; got type {kind}')
  stored = np.dtype(order + _STORED[kind])
  wanted = math.prod(shape) * stored.itemsize
  if size != wanted or start + size > len(content):
    raise _Refused(
      f'{name} of shape {shape} in {wanted:,} bytes; got a tag that says'
      f' {size:,}, and {max(len(content) - start, 0):,}'
    )
  values = np.frombuffer(content, stored, math.prod(shape), start)
  return values.astype(_CLASSES[variable.kind], copy=False).reshape(
    shape, order='F'
  )


def _content(variable: _Variable) -> bytes | memoryview:
  if not variable.inflate:
    return variable.source
  stream = zlib.decompressobj()
  # One byte more than there should be: finds bytes too many, and makes zlib
  # read on to the checksum at its end.
  whole = stream.decompress(variable.source, 8 + variable.size + 1)
  content = memoryview(whole)[8:]
  if len(content) != variable.size or not stream.eof:
    got = f'{len(content):,}' if len(content) < variable.size else 'more'
    raise _Refused(
      f'{variable.name} in {variable.size:,} bytes and a checksum; got {got}'
    )
  return content
