"""What the commands have in common: their log, their cache, their last word."""

import logging
import os
import sys
from typing import NoReturn

import jax
from absl import logging as absl_logging

from mmjsd_jax import hosts
from mmjsd_jax.files import cache_dir


def log_to_stderr() -> None:
  """This package's lines only: Orbax tells every file that it moves."""
  handler = logging.StreamHandler()
  handler.setFormatter(logging.Formatter('%(asctime)s %(message)s', '%H:%M:%S'))
  logger = logging.getLogger('mmjsd_jax')
  logger.addHandler(handler)
  # Of several processes the first one tells what all do.
  logger.setLevel(logging.INFO if hosts.is_first() else logging.WARNING)
  logger.propagate = False
  absl_logging.set_verbosity(absl_logging.WARNING)


def use_compilation_cache() -> None:
  """Compiled programs are kept for the next start."""
  if not os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    cache = cache_dir() / 'compilation'
    jax.config.update('jax_compilation_cache_dir', str(cache))


def exit_with(error: BaseException | str, status: int = 2) -> NoReturn:
  """Ends the program with the error in one line."""
  message = ' '.join(str(error).split())
  print(f'error: {message}', file=sys.stderr)
  sys.exit(status)
