"""The training loop: dispatches, checkpoints, and what can go wrong between."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.diagnosis import diagnose
from mmjsd_jax.interruption import Stopped
from mmjsd_jax.model import Model
from mmjsd_jax.order import Data, check_batch, check_devices, to_device
from mmjsd_jax.step import (
  Report,
  Settings,
  TrainState,
  first_epoch,
  init_state,
  make_train_steps,
  make_validation_loss,
  report_of,
  skip_step,
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


def train(
  model: Model,
  settings: Settings,
  split: Split,
  validation: Split | None,
  beginning: Beginning,
  checkpoints: Checkpoints,
  mesh: Mesh,
  *,
  stop_requested: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
  """Trains from `beginning` to settings.num_steps.

  Yields every settings.log_every steps, and before the checkpoint of a step is
  saved, so that a line of metrics is never behind its checkpoint. Checkpoints
  are chosen as best by the validation loss, or without a validation set by the
  training loss since the line of metrics before. None is best before beta's
  warm-up is over, or between two lines of metrics.

  Args:
    model: what is trained.
    settings: how.
    split: training examples.
    validation: those that choose the best checkpoint, or None.
    beginning: of `begin`; its state is donated.
    checkpoints: where to save to.
    mesh: the devices.
    stop_requested: asked about once a second; True saves and ends. With
      settings.non_finite = 'restore' it saves nothing: every run must go back
      to the same steps, however often it was stopped.

  Raises:
    NonFiniteLoss: names the step whose loss or gradient is not finite, and
      what is not. With settings.non_finite = 'skip' such a step is left out,
      and only the last of MAX_SKIPPED_IN_A_ROW is an error.
    Stopped: names the step that is saved.
    ValueError: a batch that does not divide over the devices, or is larger
      than the training set.
    OSError: a checkpoint cannot be written.
  """
  check_devices(settings.batch_size, mesh)
  check_batch(settings.batch_size, len(split.labels))
  state, seconds = beginning
  step = saved = int(state.step)
  if step >= settings.num_steps:
    return

  data = to_device(split, mesh)
  epoch = first_epoch(settings, data, step, mesh)
  validation_loss = None
  if validation is not None:
    validation_loss = make_validation_loss(model, settings, validation, mesh)
  train_steps = make_train_steps(model, settings, mesh)
  clock = _Clock(seconds, step, settings.batch_size)
  line: Progress | None = None

  while step < settings.num_steps:
    following = step - step % settings.log_every + settings.log_every
    end = min(following, settings.num_steps, step + clock.dispatch_length)
    state, epoch, report, finite = train_steps(
      state, epoch, data, jnp.int32(end - step)
    )
    if line is not None:
      yield line  # to be written while the device works
      line = None
    report, finite = jax.device_get((report, finite))
    clock.dispatch_done(int(report.step) - step)
    step = int(report.step)
    if not finite:
      _not_finite(model, settings, state, data)
      state = skip_step(model, settings, state)
      report = jax.device_get(report_of(state))
      step += 1

    is_last = step == settings.num_steps
    if is_last or step % settings.log_every == 0:
      line = clock.line(step, _metrics(report, settings))
    if is_last or step % settings.checkpoint_every == 0:
      loss = math.inf
      if line is not None:
        if step % settings.log_every == 0:  # else it is of other steps, too
          loss = line.metrics['loss']
        if validation_loss is not None:
          loss = float(validation_loss(state.params))
          line.metrics['validation_loss'] = loss
        yield line
        line = None
      if step < settings.beta_warmup_steps:
        loss = math.inf  # of another objective: never the best
      checkpoints.save(state, seconds=clock.seconds, loss=loss)
      saved = step
    if not is_last and stop_requested():
      if line is not None:
        yield line
      if step > saved and settings.non_finite != 'restore':
        checkpoints.save(state, seconds=clock.seconds, loss=math.inf)
        saved = step
      checkpoints.wait()
      raise Stopped(f'saved at step {saved} of {settings.num_steps}')
  checkpoints.wait()


def _metrics(report: Report, settings: Settings) -> dict[str, float]:
  """Means over the steps that were taken, {} if there were none."""
  num_steps = int(report.tally.num_steps)
  if not num_steps:
    return {}
  metrics = {
    name: float(value) / num_steps for name, value in report.tally.sums.items()
  }
  if settings.non_finite == 'skip':
    metrics['skipped_steps'] = float(report.num_skipped)
  if settings.non_finite == 'restore':
    metrics['learning_rate'] = settings.learning_rate * float(report.rate_scale)
  return metrics


def _not_finite(
  model: Model, settings: Settings, state: TrainState, data: Data
) -> None:
  """Tells what is not finite in the next step; raises if that ends training."""
  found = diagnose(model, settings, state, data)
  what = f'step {int(state.step)}: loss or gradient is not finite. '
  if found:
    what += f'First: {found[0]}'
    if others := found[1:5]:
      what += f'; then: {", ".join(others)}'
    if len(found) > 5:
      what += f' and {len(found) - 5} more'
  else:
    what += 'It is finite when computed alone, at the edge of float32'
  if settings.non_finite != 'skip':
    raise NonFiniteLoss(what)
  num_before = int(state.num_skipped_in_a_row)
  if num_before + 1 >= MAX_SKIPPED_IN_A_ROW:
    raise NonFiniteLoss(f'{what}. So were the {num_before} steps before it')
  _log.warning('%s. The step is skipped', what)


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
    self.dispatch_length = max(1, int(rate * DISPATCH_SECONDS))
    self._last_dispatch = now

  def line(self, step: int, metrics: dict[str, float]) -> Progress | None:
    """The line of metrics at `step`; None if there are none."""
    now = time.monotonic()
    (before, first), self._last_line = self._last_line, (now, step)
    rate = (step - first) * self._batch_size / (now - before)
    return Progress(step, metrics, self.seconds, rate) if metrics else None
