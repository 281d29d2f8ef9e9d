"""The training loop: dispatches, checkpoints, and what can go wrong between."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mmjsd_jax import hosts
from mmjsd_jax.blocks import Block, Blocks, Resident
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split, Streamed
from mmjsd_jax.diagnosis import diagnose
from mmjsd_jax.interruption import Stopped
from mmjsd_jax.members import (
  Report,
  first_epochs,
  make_train_steps,
  member_mesh,
  member_state,
  stack_hypers,
  stack_states,
)
from mmjsd_jax.model import Model
from mmjsd_jax.order import Data, check_batch, check_devices, to_device
from mmjsd_jax.snapshot import DamagedCheckpoint
from mmjsd_jax.step import (
  WHERE_PRESENT,
  Settings,
  TrainState,
  init_state,
  make_hyper,
  make_order,
  make_validation_loss,
)

_log = logging.getLogger(__name__)

# A dispatch takes about so long, so that a run can be stopped between two.
DISPATCH_SECONDS = 1.0
# So many steps in a row without an update are no longer bad luck.
MAX_SKIPPED_IN_A_ROW = 10


class Progress(NamedTuple):
  """One line of metrics: means over its steps, in nats per example."""

  step: int
  metrics: dict[str, float]
  seconds: float  # spent on training since the run first started
  samples_per_second: float


class NonFiniteLoss(FloatingPointError):
  """The loss or a gradient ceased to be a number."""


class Beginning(NamedTuple):
  """Where training goes on from."""

  state: TrainState
  seconds: float  # spent before


class Member(NamedTuple):
  """One of those that are trained together."""

  settings: Settings  # equal but for what is in step.Hyper
  checkpoints: Checkpoints
  beginning: Beginning  # at the step of all others; its state is donated


def begin(
  model: Model,
  settings: Settings,
  checkpoints: Checkpoints,
  mesh: Mesh,
  *,
  rate_factor: float = 1.0,
) -> Beginning:
  """The newest checkpoint, or step 0 where there is none.

  Args:
    model: what is trained.
    settings: how.
    checkpoints: of the run.
    mesh: the devices.
    rate_factor: multiplies the learning rate from here on, for good.

  Raises:
    OSError: there are checkpoints, but all of them are damaged.
  """
  initial = init_state(model, settings, mesh)
  restored = checkpoints.restore_newest(initial)
  state, seconds = restored if restored is not None else (initial, 0.0)
  state = state._replace(rate_scale=state.rate_scale * rate_factor)
  return Beginning(state, seconds)


def begin_together(
  model: Model, runs: Sequence[tuple[Settings, Checkpoints]]
) -> list[Beginning]:
  """The newest step of which all have a whole checkpoint; 0 where none has any.

  What a member has beyond it is removed: it is computed again.

  Args:
    model: what is trained.
    runs: how each member is trained, and its checkpoints.

  Raises:
    OSError: a checkpoint cannot be read, or there are checkpoints, but none of
      a step that all have whole.
  """
  mesh = member_mesh(1)
  if not any(saved.steps() for _, saved in runs):
    states = [init_state(model, settings, mesh) for settings, _ in runs]
    return [Beginning(jax.device_get(state), 0.0) for state in states]

  like = init_state(model, runs[0][0], mesh)
  common = set.intersection(*(set(saved.steps()) for _, saved in runs))
  damaged: list[str] = []
  for step in sorted(common, reverse=True):
    try:
      restored = [saved.restore(like, step) for _, saved in runs]
    except DamagedCheckpoint as error:
      damaged.append(str(error))
      continue
    for what in damaged:
      _log.warning('%s; going on from checkpoint %d', what, step)
    for _, saved in runs:
      saved.remove_after(step)
    return [Beginning(jax.device_get(s), seconds) for s, seconds in restored]
  raise DamagedCheckpoint(
    '; '.join(damaged or ['members have no checkpoint of the same step'])
  )


def train(
  model: Model,
  settings: Settings,
  split: Split | Streamed,
  validation: Split | None,
  beginning: Beginning,
  checkpoints: Checkpoints,
  mesh: Mesh,
  *,
  stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
  """Trains from `beginning` to settings.num_steps.

  Args:
    model: what is trained.
    settings: how.
    split: training examples.
    validation: those that choose the best checkpoint, or None.
    beginning: of `begin`; its state is donated.
    checkpoints: where to save to.
    mesh: the devices, which share the batch.
    stop_requested: see `train_together`.

  Yields:
    Lines of metrics; see `train_together`.

  Raises:
    NonFiniteLoss: names the step whose loss or gradient is not finite, and
      what is not. With settings.non_finite = 'skip' such a step is left out,
      and only the last of MAX_SKIPPED_IN_A_ROW is an error.
    Stopped: names the step that is saved.
    ValueError: a batch that does not divide over the devices, or is larger
      than the training set.
    OSError: a checkpoint cannot be written, or a streamed record is damaged.
  """
  check_devices(settings.batch_size, mesh)
  for _, told in train_together(
    model,
    [Member(settings, checkpoints, beginning)],
    split,
    validation,
    mesh,
    stop_requested=stop_requested,
  ):
    if isinstance(told, NonFiniteLoss):
      raise told
    yield told


def train_together(
  model: Model,
  members: Sequence[Member],
  split: Split | Streamed,
  validation: Split | None,
  mesh: Mesh,
  *,
  stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Progress | NonFiniteLoss]]:
  """Trains members in step with each other, in one program.

  Checkpoints are chosen as best by the validation loss, or without a validation
  set by the training loss since the line of metrics before. None is best before
  beta's warm-up is over, or between two lines of metrics.

  Args:
    model: what is trained.
    members: how each is trained, from where, and where it is saved.
    split: training examples.
    validation: those that choose the best checkpoint, or None.
    mesh: of `make_train_steps`.
    stop_requested: asked about once a second; True saves and ends. With
      settings.non_finite = 'restore' it saves nothing: every run must go back
      to the same steps, however often it was stopped.

  Yields:
    A member's index with its line of metrics, every settings.log_every steps
    and before the checkpoint of a step is saved, so that a line is never behind
    its checkpoint. Or with the error that takes this member out: the others go
    on.

  Raises:
    Stopped: names the step that is saved.
    ValueError: a batch that is larger than the training set, or several
      members on streamed data.
    OSError: a checkpoint cannot be written, or a streamed record is damaged.
  """
  settings, _, (first, _) = members[0]
  check_batch(settings.batch_size, split.num_examples)
  if isinstance(split, Streamed) and len(members) > 1:
    raise ValueError(
      f'{len(members)} members go through the data in orders of their own: '
      'config.data.stream must be False'
    )
  step = int(first.step)
  if step >= settings.num_steps:
    return
  with contextlib.closing(_make_feed(settings, split, step, mesh)) as feed:
    yield from _train_together(
      model, members, feed, validation, mesh, stop_requested
    )


def _make_feed(
  settings: Settings, split: Split | Streamed, step: int, mesh: Mesh
) -> Resident | Blocks:
  """What the steps from `step` on are fed by."""
  if isinstance(split, Streamed):
    order = make_order(settings, split.num_examples)
    return Blocks(split, order, range(step, settings.num_steps), mesh)
  return Resident(to_device(split, mesh), settings.num_steps)


def _train_together(
  model: Model,
  members: Sequence[Member],
  feed: Resident | Blocks,
  validation: Split | None,
  mesh: Mesh,
  stop_requested: Callable[[], bool],
) -> Iterator[tuple[int, Progress | NonFiniteLoss]]:
  settings, _, (first, seconds) = members[0]
  step = saved = int(first.step)
  data, _ = feed.at(step)
  all_settings = [member.settings for member in members]
  hyper = stack_hypers(all_settings, mesh)
  state = stack_states(
    [member.beginning.state for member in members],
    mesh,
    shard=settings.shard_params,
  )
  epoch = first_epochs(all_settings, data, step, mesh)
  validation_loss = None
  if validation is not None:
    validation_loss = make_validation_loss(model, settings, validation, mesh)
  train_steps = make_train_steps(model, settings, mesh)
  clock = _Clock(seconds, step, settings.batch_size)
  lines: dict[int, Progress] = {}
  is_out = np.zeros(len(members), bool)

  while step < settings.num_steps and not is_out.all():
    following = step - step % settings.log_every + settings.log_every
    data, has_no_more = feed.at(step)
    end = min(following, has_no_more, step + clock.dispatch_length)
    state, epoch, report, finite = train_steps(
      hyper, state, epoch, data, jnp.int32(end - step)
    )
    yield from lines.items()  # to be written while the device works
    lines.clear()
    report, finite = jax.device_get((report, finite))
    clock.dispatch_done(int(report.step) - step)
    step = int(report.step)
    for index in np.flatnonzero(~finite & ~is_out).tolist():
      error = _not_finite(
        model, members[index].settings, member_state(state, index), data
      )
      if error is not None:
        is_out[index] = True
        hyper = hyper._replace(
          is_out=jax.device_put(is_out, hyper.is_out.sharding)
        )
        yield index, error

    there = np.flatnonzero(~is_out).tolist()
    is_last = step == settings.num_steps
    if is_last or step % settings.log_every == 0:
      seconds, rate = clock.lap(step)
      for index in there:
        if metrics := _metrics(report, index, settings):
          lines[index] = Progress(step, metrics, seconds, rate)
    if is_last or step % settings.checkpoint_every == 0:
      _wait(members)  # the copies of last time are gone
      for index in there:
        member, line = member_state(state, index), lines.pop(index, None)
        loss = math.inf
        if line is not None:
          if step % settings.log_every == 0:  # else it is of other steps, too
            loss = line.metrics['loss']
          if validation_loss is not None:
            own = make_hyper(members[index].settings)
            loss = float(validation_loss(own, member.params))
            line.metrics['validation_loss'] = loss
          yield index, line
        if step < settings.beta_warmup_steps:
          loss = math.inf  # of another objective: never the best
        members[index].checkpoints.save(
          member, seconds=clock.seconds, loss=loss
        )
      saved = step
    if not is_last and stop_requested():
      yield from lines.items()
      if step > saved and settings.non_finite != 'restore':
        _wait(members)
        for index in there:
          members[index].checkpoints.save(
            member_state(state, index), seconds=clock.seconds, loss=math.inf
          )
        saved = step
      _wait(members)
      raise Stopped(f'saved at step {saved} of {settings.num_steps}')
  _wait(members)


def _wait(members: Sequence[Member]) -> None:
  for member in members:
    member.checkpoints.wait()


def _metrics(
  report: Report, index: int, settings: Settings
) -> dict[str, float]:
  """A member's means over the steps that it took, {} if there were none.

  What is told of a modality that some examples lack is the mean over those of
  all these steps that have it, and is not told where none has.
  """
  num_steps = int(report.tally.num_steps[index])
  if not num_steps:
    return {}
  metrics = {
    name: float(values[index]) / num_steps
    for name, values in report.tally.sums.items()
  }
  for modality in settings.gaps:
    share = metrics[f'present/{modality}']
    for name in [
      n for n in metrics if n.endswith(f'{WHERE_PRESENT}/{modality}')
    ]:
      value = metrics.pop(name)
      if share:  # else nobody had it
        metrics[name] = value / share
  if settings.non_finite == 'skip':
    metrics['skipped_steps'] = float(report.num_skipped[index])
  if settings.non_finite == 'restore':
    metrics['learning_rate'] = settings.learning_rate * float(
      report.rate_scale[index]
    )
  return metrics


def _not_finite(
  model: Model, settings: Settings, state: TrainState, data: Data | Block
) -> NonFiniteLoss | None:
  """What is not finite in a member's last step; None if that was skipped."""
  step = state.step - 1
  found = diagnose(model, settings, state._replace(step=step), data)
  what = f'step {int(step)}: loss or gradient is not finite. '
  if found:
    what += f'First: {found[0]}'
    if others := found[1:5]:
      what += f'; then: {", ".join(others)}'
    if len(found) > 5:
      what += f' and {len(found) - 5} more'
  else:
    what += 'It is finite when computed alone, at the edge of float32'
  if settings.non_finite != 'skip':
    return NonFiniteLoss(what)
  num_in_a_row = int(state.num_skipped_in_a_row)
  if num_in_a_row >= MAX_SKIPPED_IN_A_ROW:
    num_before = num_in_a_row - 1
    return NonFiniteLoss(f'{what}. So were the {num_before} steps before it')
  _log.warning('%s. The step is skipped', what)
  return None


class _Clock:
  """Time spent on training, and how many steps a dispatch may have."""

  def __init__(self, seconds: float, step: int, batch_size: int):
    self.dispatch_length = 1
    self._batch_size = batch_size
    now = time.monotonic()
    self._start = now - seconds
    self._last_dispatch = now
    self._last_line = now, step

  @property
  def seconds(self) -> float:
    """Since the run first started."""
    return time.monotonic() - self._start

  def dispatch_done(self, num_steps: int) -> None:
    """Notes that a dispatch of so many steps is done."""
    now = time.monotonic()
    rate = num_steps / (now - self._last_dispatch)
    length = max(1, int(rate * DISPATCH_SECONDS))
    self.dispatch_length = hosts.from_first(min(length, 2**31 - 1))
    self._last_dispatch = now

  def lap(self, step: int) -> tuple[float, float]:
    """Seconds so far, and examples per second since the lap before."""
    now = time.monotonic()
    (before, first), self._last_line = self._last_line, (now, step)
    rate = (step - first) * self._batch_size / (now - before)
    return self.seconds, rate
