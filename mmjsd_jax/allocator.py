"""The C library's memory allocator, set up for XLA's temporary buffers."""

import ctypes
import os
import sys

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_M_ARENA_MAX = -8


def configure_allocator() -> bool:
  """Lets glibc keep freed memory; call it once, before JAX is first used.

  On CPU, XLA allocates its temporary buffers anew at every step. glibc serves
  blocks this large by `mmap` and gives them back at once, so each step pays the
  kernel for fresh zeroed pages: 100 to 230 ms of a 703 to 760 ms PolyMNIST
  step (batch 256, one Zen 5 core, jax 0.10.2). Kept on one heap, the step takes
  524 to 545 ms. The price is memory: the heap does not shrink, and the process
  peaked at 1.7 to 3.2 GB instead of 1.3 in some runs.

  Set `MMJSD_JAX_MALLOC=0` in the environment to leave the allocator alone.

  Returns:
    Whether the settings were made. False where the C library is not glibc, or
    the environment says no.
  """
  if os.environ.get('MMJSD_JAX_MALLOC', '1') == '0':
    return False
  if not sys.platform.startswith('linux'):
    return False
  libc = ctypes.CDLL(None)
  # musl and others have no gnu_get_libc_version; some have an empty mallopt.
  if not hasattr(libc, 'gnu_get_libc_version'):
    return False
  settings = {
    _M_ARENA_MAX: 1,
    _M_MMAP_MAX: 0,
    _M_TRIM_THRESHOLD: 2**31 - 1,
  }
  return all([libc.mallopt(key, value) for key, value in settings.items()])
