"""Training: one jitted, donated program of many steps, and the loop around it.

The batch of step t, and every draw in it, is a function of (seed, t): the step
number is the whole state of data and randomness. A run that stops and goes on
therefore computes what an uninterrupted one does, to the bit on a CPU.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.model import Model, Params


class Data(NamedTuple):
  """A split on the device, as it is stored: see dataset.Split."""

  inputs: dict[str, jax.Array]
  tables: dict[str, jax.Array]

  @property
  def num_examples(self) -> int:
    """N, of which items may be shared."""
    name, items = next(iter(self.inputs.items()))
    return len(self.tables.get(name, items))

  def batch(self, rows: jax.Array) -> dict[str, jax.Array]:
    """The examples `rows`, as stored. Shape [B, ...] each."""
    return {
      name: items[self.tables[name][rows] if name in self.tables else rows]
      for name, items in self.inputs.items()
    }


class TrainState(NamedTuple):
  """Everything that training changes."""

  params: Params
  opt_state: optax.OptState
  step: jax.Array  # int32, steps taken


class Settings(NamedTuple):
  """What training does, in plain numbers."""

  seed: int
  num_steps: int
  batch_size: int
  learning_rate: float
  beta: float
  beta_warmup_steps: int  # in which beta rises from 0, in proportion
  beta_style: float
  likelihood_weights: tuple[float, ...]
  style_weights: tuple[float, ...]
  log_every: int
  checkpoint_every: int


class Progress(NamedTuple):
  """What one dispatch reports: means over its steps, in nats per example."""

  step: int
  metrics: dict[str, float]
  seconds: float  # spent on training since the run first started
  samples_per_second: float


class NonFiniteLoss(FloatingPointError):
  """The loss or a gradient ceased to be a number."""


def make_mesh() -> Mesh:
  """All devices of all processes along one axis, 'data'."""
  return jax.make_mesh(
    (jax.device_count(),), ('data',), axis_types=(AxisType.Auto,)
  )


def to_device(split: Split, mesh: Mesh) -> Data:
  """A split on every device, as it is stored (uint8)."""
  return Data(
    *jax.device_put(
      (split.inputs, dict(split.tables)), NamedSharding(mesh, PartitionSpec())
    )
  )


def init_params(model: Model, settings: Settings) -> Params:
  """The parameters at step 0."""
  key, *_ = _keys(settings.seed)
  return model.init(key)


def init_state(model: Model, settings: Settings, mesh: Mesh) -> TrainState:
  """The state at step 0, on every device."""
  params = init_params(model, settings)
  opt_state = jax.jit(_optimizer(settings).init)(params)
  state = TrainState(params, opt_state, jnp.zeros((), jnp.int32))
  return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


class Order(NamedTuple):
  """The order of examples, a function of (key, step).

  Every epoch goes through a new permutation; what does not fill a batch at its
  end is left out, as in the authors' code.
  """

  key: jax.Array
  num_examples: int
  batch_size: int

  @property
  def steps_per_epoch(self) -> int:
    """Whole batches in the data."""
    return self.num_examples // self.batch_size

  def epoch(self, step: jax.Array) -> jax.Array:
    """The permutation of the epoch that `step` is in. Shape [num_examples]."""
    key = jax.random.fold_in(self.key, step // self.steps_per_epoch)
    return jax.random.permutation(key, self.num_examples)

  def next_epoch(self, step: jax.Array, current: jax.Array) -> jax.Array:
    """`current`, or a new permutation where `step` begins an epoch."""
    begins = step % self.steps_per_epoch == 0
    return jax.lax.cond(begins, lambda: self.epoch(step), lambda: current)

  def batch(self, step: jax.Array, epoch: jax.Array) -> jax.Array:
    """The examples of one step. Shape [batch_size]."""
    start = step % self.steps_per_epoch * self.batch_size
    return jax.lax.dynamic_slice(epoch, (start,), (self.batch_size,))


def make_train_steps(
  model: Model, settings: Settings, mesh: Mesh
) -> jax.stages.Wrapped:
  """A jitted function (state, data, num_steps) -> (state, sums of metrics).

  `num_steps` is dynamic: one compilation serves any number of steps, so how a
  run is cut into dispatches changes nothing. The state is donated.
  """
  _, key_order, key_noise, key_access = _keys(settings.seed)
  optimizer = _optimizer(settings)
  over_devices = NamedSharding(mesh, PartitionSpec('data'))

  def step(state: TrainState, data: Data, rows: jax.Array):
    rows = jax.lax.with_sharding_constraint(rows, over_devices)
    batch = model.access(
      jax.random.fold_in(key_access, state.step), data.batch(rows)
    )
    (_, metrics), grads = jax.value_and_grad(_loss, has_aux=True)(
      state.params,
      model,
      settings,
      jax.random.fold_in(key_noise, state.step),
      batch,
      _beta(settings, state.step),
    )
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    metrics['gradient_norm'] = optax.tree.norm(grads)
    params = optax.apply_updates(state.params, updates)
    return TrainState(params, opt_state, state.step + 1), metrics

  def steps(state: TrainState, data: Data, num_steps: jax.Array):
    order = Order(key_order, data.num_examples, settings.batch_size)
    epoch = order.epoch(state.step)
    shapes = jax.eval_shape(step, state, data, order.batch(state.step, epoch))
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def body(_, carry):
      state, epoch, sums, first_bad = carry
      epoch = order.next_epoch(state.step, epoch)
      new_state, metrics = step(state, data, order.batch(state.step, epoch))
      finite = jnp.isfinite(metrics['loss'] + metrics['gradient_norm'])
      first_bad = jnp.where(finite | (first_bad >= 0), first_bad, state.step)
      return new_state, epoch, jax.tree.map(jnp.add, sums, metrics), first_bad

    carry = (state, epoch, zeros[1], jnp.full((), -1, jnp.int32))
    state, _, sums, first_bad = jax.lax.fori_loop(0, num_steps, body, carry)
    return state, sums | {'first_bad': first_bad}

  return jax.jit(steps, donate_argnums=0)


def make_validation_loss(
  model: Model, settings: Settings, split: Split, mesh: Mesh
) -> Callable[[Params], jax.Array]:
  """A jitted function from parameters to the mean loss over `split`.

  In chunks of the batch size; the padding of the last one is masked out. The
  same draws at every call.
  """
  num_examples = len(split.labels)
  num_chunks = -(-num_examples // settings.batch_size)
  padded = num_chunks * settings.batch_size
  rows = np.arange(padded).reshape(num_chunks, -1)
  data = to_device(split, mesh)
  _, _, key_noise, key_access = _keys(settings.seed)
  no_step = 2**32 - 1
  key_chunks = jax.random.fold_in(key_noise, no_step)
  key_access = jax.random.fold_in(key_access, no_step)

  @jax.jit
  def loss(params: Params, data: Data) -> jax.Array:
    def chunk(index_and_rows):
      index, rows = index_and_rows
      batch = model.access(
        jax.random.fold_in(key_access, index),
        data.batch(jnp.minimum(rows, num_examples - 1)),
      )
      key = jax.random.fold_in(key_chunks, index)
      terms = _terms(params, model, settings, key, batch, settings.beta)
      return -jnp.sum(jnp.where(rows < num_examples, terms.objective, 0))

    sums = jax.lax.map(chunk, (jnp.arange(num_chunks), jnp.asarray(rows)))
    return jnp.sum(sums) / num_examples

  return lambda params: loss(params, data)


def train(
  model: Model,
  settings: Settings,
  split: Split,
  validation: Split | None,
  checkpoints: Checkpoints,
  mesh: Mesh,
) -> Iterator[Progress]:
  """Trains from the newest checkpoint to settings.num_steps.

  Yields after every settings.log_every steps, one dispatch late, so that the
  device never waits for the reader. Checkpoints are chosen as best by the
  validation loss, or without a validation set by the training loss since the
  line of metrics before. None is best before beta's warm-up is over.

  Raises:
    NonFiniteLoss: names the first step whose loss or gradient is not finite.
    ValueError: a batch that does not divide over the devices, or is larger
      than the training set.
  """
  num_examples = len(split.labels)
  check_devices(settings.batch_size, mesh)
  check_batch(settings.batch_size, num_examples)
  state = init_state(model, settings, mesh)
  seconds = 0.0
  newest = checkpoints.latest_step()
  if newest is not None:
    state, seconds = checkpoints.restore(state, newest)
  step = int(state.step)
  if step >= settings.num_steps:
    return
  data = to_device(split, mesh)
  validation_loss = None
  if validation is not None:
    validation_loss = make_validation_loss(model, settings, validation, mesh)
  train_steps = make_train_steps(model, settings, mesh)

  clock = time.monotonic()
  pending: tuple[int, int, Any] | None = None

  def report(pending) -> Progress:
    nonlocal clock, seconds
    first, last, sums = pending
    sums = jax.device_get(sums)
    if (bad := int(sums.pop('first_bad'))) >= 0:
      raise NonFiniteLoss(
        f'loss or gradient is not finite at step {bad}; parameters of the '
        'last checkpoint are unharmed. Try a lower learning rate'
      )
    elapsed, clock = time.monotonic() - clock, time.monotonic()
    seconds += elapsed
    metrics = {name: float(v) / (last - first) for name, v in sums.items()}
    rate = (last - first) * settings.batch_size / elapsed
    return Progress(last, metrics, seconds, rate)

  while step < settings.num_steps:
    following = step - step % settings.log_every + settings.log_every
    end = min(following, settings.num_steps)
    state, sums = train_steps(state, data, jnp.int32(end - step))
    if pending is not None:
      yield report(pending)
    pending, step = (step, end, sums), end
    if step % settings.checkpoint_every == 0 or step == settings.num_steps:
      progress = report(pending)
      pending = None
      loss = progress.metrics['loss']
      if validation_loss is not None:
        loss = float(validation_loss(state.params))
        progress.metrics['validation_loss'] = loss
      if step < settings.beta_warmup_steps:
        loss = math.inf  # of another objective: never the best
      checkpoints.save(state, seconds=seconds, loss=loss)
      yield progress
  checkpoints.wait()


def check_devices(batch_size: int, mesh: Mesh) -> None:
  """Refuses batches that do not divide over the devices.

  Raises:
    ValueError: see above.
  """
  if batch_size % mesh.size:
    raise ValueError(
      f'config.train.batch_size must be a multiple of the {mesh.size} devices; '
      f'got {batch_size}'
    )


def check_batch(batch_size: int, num_examples: int) -> None:
  """Refuses batches that the data cannot fill.

  Raises:
    ValueError: see above.
  """
  if batch_size > num_examples:
    raise ValueError(
      f'config.train.batch_size must be at most the {num_examples} training '
      f'examples; got {batch_size}'
    )


def _beta(settings: Settings, step: jax.Array) -> jax.Array:
  """beta at a step. MVAE's code and mmJSD's have such a warm-up too."""
  if not settings.beta_warmup_steps:
    return jnp.float32(settings.beta)
  return settings.beta * jnp.minimum(step / settings.beta_warmup_steps, 1)


def _loss(params, model, settings, key, batch, beta):
  """The mean negative objective over the batch, and its terms."""
  terms = _terms(params, model, settings, key, batch, beta)
  means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=-1), terms)
  metrics = {
    'loss': -means.objective,
    'log_likelihood': jnp.sum(means.log_likelihoods),
    'regulariser': means.regulariser,
  }
  if model.objective.unimodal_elbos:
    metrics['unimodal_log_likelihood'] = jnp.sum(means.unimodal_log_likelihoods)
    metrics['unimodal_regulariser'] = jnp.sum(means.unimodal_regularisers)
  for index, modality in enumerate(model.modality_list):
    name = modality.name
    metrics[f'log_likelihood/{name}'] = means.log_likelihoods[index]
    if modality.style_dim:
      metrics[f'style_regulariser/{name}'] = means.style_regularisers[index]
  return metrics['loss'], metrics


def _terms(params, model, settings, key, batch, beta):
  return model.elbo(
    key,
    params,
    batch,
    beta=beta,
    likelihood_weights=jnp.asarray(settings.likelihood_weights),
    beta_style=settings.beta_style,
    style_weights=jnp.asarray(settings.style_weights),
  )


def _optimizer(settings: Settings) -> optax.GradientTransformation:
  return optax.adam(settings.learning_rate)


def _keys(seed: int) -> jax.Array:
  """Keys for parameters, order of examples, draws, and access to examples."""
  return jax.random.split(jax.random.key(seed), 4)
