"""One training step of one run.

The batch of step t, and every draw in it, is a function of (seed, t): the step
number is the whole state of data and randomness. A run that stops and goes on
therefore computes what an uninterrupted one does, to the bit on a CPU.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from mmjsd_jax import hosts
from mmjsd_jax.blocks import Block, BlockOrder
from mmjsd_jax.data.dataset import Split
from mmjsd_jax.model import Model, Params, Statistics, with_statistics
from mmjsd_jax.objectives import ElboTerms
from mmjsd_jax.order import (
  Data,
  Order,
  constrain,
  over_devices,
  shardings,
  to_device,
)

# In the name of what is told of examples that have a modality that others lack:
# a mean over the batch until the line is written, which divides by their share.
WHERE_PRESENT = '_where_present'


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
  non_finite: str = 'stop'  # of rules.NON_FINITE
  shard_params: bool = False
  gaps: tuple[str, ...] = ()  # modalities that some training examples lack
  learning_rate_warmup_steps: int = 0  # in which it rises, in proportion


class Batch(NamedTuple):
  """Examples as a step sees them.

  Attributes:
    inputs: modality name -> items, zeros where absent. Shape [B, ...].
    present: which modalities each has. Bool, shape [M, B]; None means all.
  """

  inputs: dict[str, jax.Array]
  present: jax.Array | None


class Hyper(NamedTuple):
  """What members of a population may differ in.

  Arguments of compiled programs and not constants in them: runs that differ in
  nothing else share a program.

  Attributes:
    keys: for parameters, order of examples, draws, and access to examples.
    learning_rate: float32.
    beta: float32.
    beta_style: float32.
    is_out: Bool, whether others go on where this member is not finite.
  """

  keys: jax.Array
  learning_rate: jax.Array
  beta: jax.Array
  beta_style: jax.Array
  is_out: jax.Array


class Tally(NamedTuple):
  """What the next line of metrics is made of."""

  sums: dict[str, jax.Array]
  num_steps: jax.Array  # int32, steps in the sums


class TrainState(NamedTuple):
  """Everything that training changes."""

  params: Params
  opt_state: optax.OptState
  step: jax.Array  # int32, steps taken
  tally: Tally
  num_skipped: jax.Array  # int32, steps without an update: not finite
  num_skipped_in_a_row: jax.Array  # int32, of these, the last ones
  rate_scale: jax.Array  # float32, of the learning rate


def make_hyper(settings: Settings) -> Hyper:
  """That of a single run."""
  return Hyper(
    _keys(settings.seed),
    jnp.float32(settings.learning_rate),
    jnp.float32(settings.beta),
    jnp.float32(settings.beta_style),
    jnp.zeros((), bool),
  )


def init_params(model: Model, settings: Settings) -> Params:
  """The parameters at step 0."""
  key, *_ = _keys(settings.seed)
  return model.init(key)


def init_state(model: Model, settings: Settings, mesh: Mesh) -> TrainState:
  """The state at step 0, on every device or, if so set, in parts."""
  state = fresh_state(model, settings)
  return hosts.put(state, shardings(state, mesh, shard=settings.shard_params))


def fresh_state(model: Model, settings: Settings) -> TrainState:
  """The state at step 0, on no particular device."""
  params = init_params(model, settings)
  return TrainState(
    params,
    jax.jit(_optimizer(settings.learning_rate).init)(params),
    jnp.zeros((), jnp.int32),
    _no_steps(model, settings),
    jnp.zeros((), jnp.int32),
    jnp.zeros((), jnp.int32),
    jnp.ones((), jnp.float32),
  )


def make_order(settings: Settings, num_examples: int) -> Order:
  """The order in which a run goes through so many examples."""
  return _order(make_hyper(settings), settings, num_examples)


def order_in(settings: Settings, data: Data | Block) -> Order | BlockOrder:
  """The order in which a run goes through `data`; a block is in order."""
  return _order_in(make_hyper(settings), settings, data)


def take_step(
  model: Model,
  settings: Settings,
  mesh: Mesh,
  hyper: Hyper,
  state: TrainState,
  epoch: jax.Array,
  data: Data | Block,
) -> tuple[TrainState, jax.Array, jax.Array]:
  """The next step: state, order of the epoch, and whether it was finite.

  One that is not, in loss, gradient or batch statistics, updates nothing but
  their counts.

  Args:
    model: what is trained.
    settings: how, but for what is in `hyper`.
    mesh: the devices; those along 'data' share the batch.
    hyper: of `make_hyper`.
    state: before the step.
    epoch: the order of the epoch that the step before was in.
    data: the training set, or the block of it that has the step.
  """
  order = _order_in(hyper, settings, data)
  epoch = order.next_epoch(state.step, epoch)
  rows = order.batch(state.step, epoch)
  if rows.ndim:  # a batch of a block lies over the devices already
    rows = over_devices(rows, mesh)
  whole = constrain(state.params, mesh, shard=False)
  metrics, grads, statistics = metrics_and_grads(
    model, settings, hyper, state._replace(params=whole), data, rows
  )
  grads = constrain(grads, mesh, shard=settings.shard_params)
  metrics['gradient_norm'] = optax.tree.norm(grads)
  finite = jnp.isfinite(metrics['loss']) & jnp.isfinite(
    metrics['gradient_norm']
  )
  for leaf in jax.tree.leaves(statistics):
    finite &= jnp.all(jnp.isfinite(leaf))
  updates, opt_state = _optimizer(hyper.learning_rate).update(
    grads, state.opt_state, state.params
  )
  rate_scale = state.rate_scale * _warm(settings, state.step)
  updates = jax.tree.map(lambda leaf: leaf * rate_scale, updates)
  tally = _tally(model, settings, state)
  taken = TrainState(
    params=with_statistics(
      optax.apply_updates(state.params, updates), statistics
    ),
    opt_state=opt_state,
    step=state.step,
    tally=Tally(
      jax.tree.map(jnp.add, tally.sums, metrics), tally.num_steps + 1
    ),
    num_skipped=state.num_skipped,
    num_skipped_in_a_row=jnp.zeros((), jnp.int32),
    rate_scale=state.rate_scale,
  )
  skipped = state._replace(
    tally=tally,
    num_skipped=state.num_skipped + 1,
    num_skipped_in_a_row=state.num_skipped_in_a_row + 1,
  )
  chosen = jax.tree.map(
    lambda new, old: jnp.where(finite, new, old), taken, skipped
  )
  # Whatever was chosen: members together share it.
  chosen = chosen._replace(step=state.step + 1)
  chosen = constrain(chosen, mesh, shard=settings.shard_params)
  return chosen, epoch, finite


def make_validation_loss(
  model: Model, settings: Settings, split: Split, mesh: Mesh
) -> Callable[[Hyper, Params], jax.Array]:
  """A jitted function from a member's parameters to the mean loss over `split`.

  In chunks of the batch size; the padding of the last one is masked out. The
  same draws at every call.
  """
  num_examples = len(split.labels)
  num_chunks = -(-num_examples // settings.batch_size)
  padded = num_chunks * settings.batch_size
  rows = np.arange(padded).reshape(num_chunks, -1)
  data = to_device(split, mesh)
  no_step = 2**32 - 1

  @jax.jit
  def loss(hyper: Hyper, params: Params, data: Data) -> jax.Array:
    _, _, key_noise, key_access = hyper.keys
    params = constrain(params, mesh, shard=False)
    key_chunks = jax.random.fold_in(key_noise, no_step)
    key_access = jax.random.fold_in(key_access, no_step)

    def chunk(index_and_rows):
      index, rows = index_and_rows
      rows = over_devices(rows, mesh)
      batch = _accessed(
        model,
        jax.random.fold_in(key_access, index),
        data,
        jnp.minimum(rows, num_examples - 1),
      )
      key = jax.random.fold_in(key_chunks, index)
      terms = model.elbo(
        key, params, **_terms_of(settings, hyper, batch, hyper.beta)
      )
      return -jnp.sum(jnp.where(rows < num_examples, terms.objective, 0))

    sums = jax.lax.map(chunk, (jnp.arange(num_chunks), jnp.asarray(rows)))
    return jnp.sum(sums) / num_examples

  return lambda hyper, params: loss(hyper, params, data)


def metrics_and_grads(
  model: Model,
  settings: Settings,
  hyper: Hyper,
  state: TrainState,
  data: Data | Block,
  rows: jax.Array,
) -> tuple[dict[str, jax.Array], Params, Statistics]:
  """Those of one member's next step, on the examples `rows`.

  And the new batch statistics, whose old ones have a gradient of zero.
  """
  (_, (metrics, statistics)), grads = jax.value_and_grad(_loss, has_aux=True)(
    state.params,
    model,
    settings,
    hyper,
    noise_key(hyper, state),
    make_batch(model, hyper, state, data, rows),
    _beta(hyper, settings, state.step),
  )
  return metrics, grads, statistics


def noise_key(hyper: Hyper, state: TrainState) -> jax.Array:
  """The key of a member's next step, for all draws but those of access."""
  _, _, key_noise, _ = hyper.keys
  return jax.random.fold_in(key_noise, state.step)


def make_batch(
  model: Model,
  hyper: Hyper,
  state: TrainState,
  data: Data | Block,
  rows: jax.Array,
) -> Batch:
  """The examples `rows` as a member's next step sees them."""
  *_, key_access = hyper.keys
  return _accessed(
    model, jax.random.fold_in(key_access, state.step), data, rows
  )


def _accessed(
  model: Model, key: jax.Array, data: Data | Block, rows: jax.Array
) -> Batch:
  present = None
  if masks := data.masks(rows):
    everywhere = jnp.ones_like(next(iter(masks.values())))
    present = jnp.stack(
      [masks.get(name, everywhere) for name in model.modalities]
    )
  return Batch(model.access(key, data.batch(rows)), present)


def _order_in(
  hyper: Hyper, settings: Settings, data: Data | Block
) -> Order | BlockOrder:
  if isinstance(data, Block):
    return BlockOrder(data.first_step)
  return _order(hyper, settings, data.num_examples)


def _order(hyper: Hyper, settings: Settings, num_examples: int) -> Order:
  _, key_order, *_ = hyper.keys
  return Order(key_order, num_examples, settings.batch_size)


def _beta(hyper: Hyper, settings: Settings, step: jax.Array) -> jax.Array:
  """beta at a step. MVAE's code and mmJSD's have such a warm-up too."""
  if not settings.beta_warmup_steps:
    return hyper.beta
  return hyper.beta * jnp.minimum(step / settings.beta_warmup_steps, 1)


def _warm(settings: Settings, step: jax.Array) -> jax.Array | float:
  """The share of the learning rate that a step has: from 1 / N to N / N."""
  if not settings.learning_rate_warmup_steps:
    return 1.0
  return jnp.minimum((step + 1) / settings.learning_rate_warmup_steps, 1)


def _loss(params, model, settings, hyper, key, batch, beta):
  """The mean negative objective over the batch; its terms, and statistics."""
  terms, statistics = model.train_elbo(
    key, params, **_terms_of(settings, hyper, batch, beta)
  )
  means = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=-1), terms)
  shares = None
  if batch.present is not None:
    shares = jnp.mean(batch.present, axis=-1, dtype=terms.objective.dtype)
  metrics = _metrics(model, settings, means, shares)
  return -means.objective, (metrics, statistics)


def _metrics(
  model: Model,
  settings: Settings,
  means: ElboTerms,
  shares: jax.Array | None,
) -> dict[str, jax.Array]:
  """What is told of a step.

  Args:
    model: what is trained.
    settings: how.
    means: over the batch, with zeros for absent modalities.
    shares: of the batch that has each modality. Shape [M].
  """
  metrics = {
    'loss': -means.objective,
    'log_likelihood': jnp.sum(means.log_likelihoods),
    'regulariser': means.regulariser,
  }
  if model.objective.unimodal_elbos:
    metrics['unimodal_log_likelihood'] = jnp.sum(means.unimodal_log_likelihoods)
    metrics['unimodal_regulariser'] = jnp.sum(means.unimodal_regularisers)
  for index, modality in enumerate(model.modality_list):
    name, where = modality.name, ''
    if name in settings.gaps:
      assert shares is not None  # by the same masks
      metrics[f'present/{name}'] = shares[index]
      where = WHERE_PRESENT
    metrics[f'log_likelihood{where}/{name}'] = means.log_likelihoods[index]
    if modality.style_dim:
      metrics[f'style_regulariser{where}/{name}'] = means.style_regularisers[
        index
      ]
  return metrics


def _tally(model: Model, settings: Settings, state: TrainState) -> Tally:
  """That of the state; empty where a line of metrics begins."""
  begins = state.step % settings.log_every == 0
  return jax.tree.map(
    lambda empty, sums: jnp.where(begins, empty, sums),
    _no_steps(model, settings),
    state.tally,
  )


def _no_steps(model: Model, settings: Settings) -> Tally:
  zero, zeros = jnp.zeros(()), jnp.zeros(len(model.modality_list))
  means = ElboTerms(zero, zeros, zero, zeros, zeros, zeros)
  names = _metrics(model, settings, means, zeros)
  return Tally(
    {name: jnp.zeros(()) for name in (*names, 'gradient_norm')},
    jnp.zeros((), jnp.int32),
  )


def _terms_of(settings, hyper, batch, beta):
  """What the terms are of, beside key and parameters."""
  return {
    'inputs': batch.inputs,
    'present': batch.present,
    'beta': beta,
    'likelihood_weights': jnp.asarray(settings.likelihood_weights),
    'beta_style': hyper.beta_style,
    'style_weights': jnp.asarray(settings.style_weights),
  }


def _optimizer(
  learning_rate: jax.typing.ArrayLike,
) -> optax.GradientTransformation:
  return optax.adam(learning_rate)


def _keys(seed: int) -> jax.Array:
  """Keys for parameters, order of examples, draws, and access to examples."""
  return jax.random.split(jax.random.key(seed), 4)
