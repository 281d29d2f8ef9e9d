"""Members of a population trained together, by one jitted, donated program.

Their states are stacked: every leaf has a leading axis of members, but for the
step, which they share. A run by itself is one member.

    P members, N examples.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmjsd_jax import hosts
from mmjsd_jax.architecture import gathered
from mmjsd_jax.blocks import Block
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.model import Model
from mmjsd_jax.order import Data, shardings
from mmjsd_jax.step import (
  Hyper,
  Settings,
  Tally,
  TrainState,
  fresh_state,
  make_hyper,
  order_in,
  take_step,
)


class Report(NamedTuple):
  """What of the state the host reads; unlike the state it is not donated."""

  step: jax.Array
  tally: Tally
  num_skipped: jax.Array
  rate_scale: jax.Array


# The axis of members in a state's leaves: they share the step alone.
_AXES = TrainState(0, 0, None, 0, 0, 0, 0)  # type: ignore[arg-type]


def member_mesh(num_members: int) -> Mesh:
  """As many devices as so many members divide over evenly, along 'member'."""
  num_devices = max(
    number
    for number in range(1, jax.device_count() + 1)
    if num_members % number == 0
  )
  return jax.make_mesh(
    (num_devices,),
    ('member',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:num_devices],
  )


def stack_states(
  states: Sequence[TrainState], mesh: Mesh, *, shard: bool = False
) -> TrainState:
  """The states of members as one. They are of the same step, and given up.

  Args:
    states: of the members.
    mesh: see `make_train_steps`.
    shard: large arrays lie in parts; see `order.shardings`.
  """
  where = _state_shardings(states[0], mesh, shard=shard)
  if len(states) == 1:  # where it lies
    stack = jax.jit(_with_member_axis, donate_argnums=0, out_shardings=where)
    return stack(states[0])
  on_host = jax.device_get(list(states))
  stacked = _map(lambda *leaves: np.stack(leaves), *on_host)
  return jax.device_put(stacked, where)


@functools.partial(jax.jit, static_argnames='index')
def member_state(state: TrainState, index: int) -> TrainState:
  """The state of one member, in buffers of its own."""
  return _member(state, index)


def stack_hypers(settings: Sequence[Settings], mesh: Mesh) -> Hyper:
  """The hyper-parameters of members."""
  stacked = jax.tree.map(
    lambda *leaves: jnp.stack(leaves), *map(make_hyper, settings)
  )
  return hosts.put(stacked, _shardings(mesh)[0])


def first_epochs(
  settings: Sequence[Settings], data: Data | Block, step: int, mesh: Mesh
) -> jax.Array:
  """The orders of the epoch that `step` is in, to begin with. Shape [P, N].

  Of a block, which is in order, [P].
  """
  orders = (order_in(member, data) for member in settings)
  epochs = jnp.stack([order.epoch(jnp.int32(step)) for order in orders])
  return hosts.put(epochs, _shardings(mesh)[0])


def shapes(
  model: Model, settings: Sequence[Settings], split: Split, mesh: Mesh
) -> tuple[Hyper, TrainState, jax.ShapeDtypeStruct, Data, jax.ShapeDtypeStruct]:
  """What the program of `make_train_steps` takes; shapes for large arrays."""
  of_members, shared = _shardings(mesh)

  def of_all(leaf, *axes):
    shape, sharding = (*axes, *leaf.shape), of_members if axes else shared
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

  one = jax.eval_shape(lambda: fresh_state(model, settings[0]))
  arrays = split.inputs, dict(split.tables), dict(split.present)
  data, num_members = Data(*jax.tree.map(of_all, arrays)), len(settings)
  state = _map(lambda leaf: of_all(leaf, num_members), one)
  return (
    stack_hypers(settings, mesh),
    state._replace(step=of_all(one.step)),
    jax.ShapeDtypeStruct(
      (num_members, data.num_examples), jnp.int32, sharding=of_members
    ),
    data,
    jax.ShapeDtypeStruct((), jnp.int32),
  )


def make_train_steps(
  model: Model, settings: Settings, mesh: Mesh
) -> jax.stages.Wrapped:
  """A jitted program of many steps, of one member or more.

  (hyper, state, epoch, data, num_steps) -> (state, epoch, report, finite), with
  a leading axis [P] on hyper, state, epoch and finite. `num_steps` is dynamic:
  one compilation serves any number of steps, and how a run is cut into
  dispatches changes nothing. State and epoch are donated.

  A step whose loss or gradient is not finite updates nothing but the counts of
  such steps, of this member alone. The program ends behind it, with `finite`
  False, unless the member is out.

  Args:
    model: what is trained.
    settings: of any of the members. Where they differ in `Hyper` alone, the
      program is the same, and compiled once.
    mesh: of devices along 'data', which share the batch of one member, or along
      'member', which share the members. Those on one device are vmapped.
  """
  shared = settings._replace(
    seed=0, num_steps=0, learning_rate=0, beta=0, beta_style=0
  )
  return _make_train_steps(model, shared, mesh)


@functools.lru_cache(maxsize=4)
def _make_train_steps(
  model: Model, settings: Settings, mesh: Mesh
) -> jax.stages.Wrapped:
  over_members = _over_members(
    functools.partial(take_step, model, settings, mesh),
    functools.partial(take_step, gathered(model), settings, mesh),
  )
  if 'member' in mesh.axis_names:
    one = PartitionSpec('member')
    of_state = _of_state(one, PartitionSpec())
    over_members = jax.shard_map(
      over_members,
      mesh=mesh,
      in_specs=(one, of_state, one, PartitionSpec()),
      out_specs=(of_state, one, one),
      check_vma=False,
    )

  def steps(
    hyper: Hyper,
    state: TrainState,
    epoch: jax.Array,
    data: Data | Block,
    num_steps: jax.Array,
  ):
    def goes_on(carry):
      num_done, _, _, finite = carry
      return jnp.all(finite | hyper.is_out) & (num_done < num_steps)

    def body(carry):
      num_done, state, epoch, _ = carry
      state, epoch, finite = over_members(hyper, state, epoch, data)
      return num_done + 1, state, epoch, finite

    all_finite = jnp.ones_like(hyper.is_out)
    carry = (jnp.zeros((), jnp.int32), state, epoch, all_finite)
    _, state, epoch, finite = jax.lax.while_loop(goes_on, body, carry)
    return state, epoch, _report(state), finite

  of_members, shared = _shardings(mesh)
  one_state = jax.eval_shape(lambda: fresh_state(model, settings))
  of_all = _state_shardings(one_state, mesh, shard=settings.shard_params)
  return jax.jit(
    steps,
    donate_argnums=(1, 2),
    out_shardings=(of_all, of_members, shared, shared),
  )


def _shardings(mesh: Mesh) -> tuple[NamedSharding, NamedSharding]:
  """Of arrays with a leading axis of members, and of all others."""
  axes = {'member'} & set(mesh.axis_names)
  return (
    NamedSharding(mesh, PartitionSpec(*axes)),
    NamedSharding(mesh, PartitionSpec()),
  )


def _state_shardings(state: TrainState, mesh: Mesh, *, shard: bool) -> Any:
  """Of stacked states, each like `state`."""
  if not shard or 'member' in mesh.axis_names:
    return _of_state(*_shardings(mesh))
  return _map(
    lambda one: NamedSharding(mesh, PartitionSpec(None, *one.spec)),
    shardings(state, mesh, shard=True),
  )


def _over_members(step: Callable, step_for_vmap: Callable) -> Callable:
  """The step of all members on a device."""

  def of_all(
    hyper: Hyper, state: TrainState, epoch: jax.Array, data: Data | Block
  ):
    if len(epoch) == 1:
      hyper, epoch = jax.tree.map(lambda leaf: leaf[0], (hyper, epoch))
      state, epoch, finite = step(hyper, _member(state, 0), epoch, data)
      return _with_member_axis(state), epoch[None], finite[None]
    steps = jax.vmap(step_for_vmap, (0, _AXES, 0, None), (_AXES, 0, 0))
    return steps(hyper, state, epoch, data)

  return of_all


def _member(state: TrainState, index: int) -> TrainState:
  return _map(lambda leaf: leaf[index], state)


def _with_member_axis(state: TrainState) -> TrainState:
  return _map(lambda leaf: leaf[None], state)


def _map(function: Callable, *states: TrainState) -> TrainState:
  """`function` of what members have of their own; the first one's step."""
  return TrainState(
    *(
      fields[0] if axis is None else jax.tree.map(function, *fields)
      for axis, *fields in zip(_AXES, *states, strict=True)
    )
  )


def _of_state(members: Any, shared: Any) -> Any:
  """A tree like a state's: `members` where they have an axis, else `shared`."""
  return TrainState(*(shared if axis is None else members for axis in _AXES))


def _report(state: TrainState) -> Report:
  return Report(*(getattr(state, name) for name in Report._fields))
