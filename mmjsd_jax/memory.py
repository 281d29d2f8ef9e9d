"""What training members together needs of a device, before it begins."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from mmjsd_jax.data.dataset import Split
from mmjsd_jax.members import make_train_steps, member_mesh, shapes
from mmjsd_jax.model import Model
from mmjsd_jax.step import Settings


class Forecast(NamedTuple):
  """Bytes on one device.

  Attributes:
    data: the training set.
    states: parameters, optimiser and metrics of the members there.
    copies: of states, while checkpoints of them are written.
    temporaries: of a step, by the compiler's account.
    num_members: on this device.
  """

  data: int
  states: int
  copies: int
  temporaries: int
  num_members: int

  @property
  def total(self) -> int:
    """All of it."""
    return self.data + self.states + self.copies + self.temporaries

  def most_members(self, limit: int) -> int:
    """How many fit into `limit` bytes: all but the data grows with them."""
    each = (self.total - self.data) / self.num_members
    return max(0, int((limit - self.data) // each))


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
  return Forecast(
    data=_num_bytes(data),
    states=states,
    # One of each member to be written, and one of a member cut out.
    copies=states + states * mesh.size // len(settings),
    temporaries=analysis.temp_size_in_bytes,
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
