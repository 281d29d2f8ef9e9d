"""How many members one program trains: what is faster, and what fits."""

import logging
import os
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mmjsd_jax.data.dataset import Split
from mmjsd_jax.members import (
  first_epochs,
  make_train_steps,
  member_mesh,
  shapes,
  stack_hypers,
  stack_states,
)
from mmjsd_jax.model import Model
from mmjsd_jax.order import to_device
from mmjsd_jax.step import Settings, init_state

_log = logging.getLogger(__name__)

# By which members together are compared with members in turn.
TIMED_STEPS = 5


class Forecast(NamedTuple):
  """Bytes on one device.

  Attributes:
    data: the training set.
    states: parameters, optimiser and metrics of the members there.
    copies: of states, while checkpoints of them are written.
    temporaries: of a step, by the compiler's account.
    host: on a CPU, what lies beside these in the same memory.
    num_members: on this device.
  """

  data: int
  states: int
  copies: int
  temporaries: int
  host: int
  num_members: int

  @property
  def total(self) -> int:
    """All of it."""
    on_device = self.data + self.states + self.copies + self.temporaries
    return on_device + self.host

  def most_members(self, limit: int) -> int:
    """How many fit into `limit` bytes: all but the data grows with them."""
    each = (self.total - self.data) / self.num_members
    return max(0, int((limit - self.data) // each))


def choose_together(
  model: Model, settings: Sequence[Settings], split: Split
) -> int:
  """How many members to train in one program.

  One on each device, where there are several and members for all of them: they
  exchange nothing. In turn where that cannot be, and on CPU, where five members
  of PolyMNIST together have 0.81 to 1.0 of the speed of five in turn and four
  times the memory (docs/populations.md). On one accelerator as many as fit are
  timed against one.

  Args:
    model: what is trained.
    settings: how each member is.
    split: the training set.
  """
  num_members, num_devices = len(settings), jax.device_count()
  if num_members == 1:
    return 1
  if num_devices > 1:
    return num_devices if num_members >= num_devices else 1
  if jax.default_backend() == 'cpu':
    return 1
  forecast = foretell(model, settings, split)
  most = min(num_members, forecast.most_members(device_limit()))
  if most < 2:
    return 1
  rates = {
    number: examples_per_second(model, settings[:number], split)
    for number in (1, most)
  }
  for number, rate in rates.items():
    _log.info('%d together: %.0f examples/s over all members', number, rate)
  return max(rates, key=rates.__getitem__)


def examples_per_second(
  model: Model, settings: Sequence[Settings], split: Split
) -> float:
  """Of these members together, over all of them; compilation is left out."""
  mesh = member_mesh(len(settings))
  data = to_device(split, mesh)
  train_steps = make_train_steps(model, settings[0], mesh)
  hyper = stack_hypers(settings, mesh)
  epoch = first_epochs(settings, data, 0, mesh)
  states = [init_state(model, member, mesh) for member in settings]
  state = stack_states(states, mesh)
  for num_steps in (1, TIMED_STEPS):
    clock = time.perf_counter()
    state, epoch, report, _ = train_steps(
      hyper, state, epoch, data, jnp.int32(num_steps)
    )
    jax.block_until_ready(report)
  seconds = time.perf_counter() - clock
  return len(settings) * TIMED_STEPS * settings[0].batch_size / seconds


def foretell(
  model: Model, settings: Sequence[Settings], split: Split
) -> Forecast:
  """That of members on as many devices as `member_mesh` has.

  Compiles the program, which training then finds compiled.

  Args:
    model: what is trained.
    settings: how each member is.
    split: the training set.
  """
  mesh = member_mesh(len(settings))
  arguments = shapes(model, settings, split, mesh)
  program = make_train_steps(model, settings[0], mesh)
  analysis: Any = program.lower(*arguments).compile().memory_analysis()
  _, state, _, data, _ = arguments
  states = _num_bytes(state) // mesh.size
  temporaries = analysis.temp_size_in_bytes
  host = 0
  if jax.default_backend() == 'cpu':
    host = temporaries  # freed, and kept by the heap: see allocator.py
    if len(settings) > 1:
      host += 2 * states  # that training begins with, and to stack them
  return Forecast(
    data=_num_bytes(data),
    states=states,
    copies=states,
    temporaries=temporaries,
    host=host,
    num_members=len(settings) // mesh.size,
  )


def device_limit() -> int:
  """Bytes that a device has; on CPU, the machine."""
  stats = jax.local_devices()[0].memory_stats()
  if stats and 'bytes_limit' in stats:
    return stats['bytes_limit']
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _num_bytes(tree: Any) -> int:
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
