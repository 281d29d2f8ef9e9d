"""What ceased to be a number, and where: of a step that cannot be taken."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mmjsd_jax import gaussian
from mmjsd_jax.blocks import Block
from mmjsd_jax.model import Model
from mmjsd_jax.order import Data
from mmjsd_jax.step import (
  Settings,
  TrainState,
  make_batch,
  make_hyper,
  metrics_and_grads,
  noise_key,
  order_in,
)


def diagnose(
  model: Model, settings: Settings, state: TrainState, data: Data | Block
) -> list[str]:
  """What is not finite in the next step, in the order in which it is computed.

  Returns:
    Such as ['log_var of the posterior of m0', 'regulariser', ...]; empty if all
    is finite.
  """
  found = jax.device_get(_num_bad(model, settings, state, data))
  bad = sorted((index, name) for name, (index, n) in found.items() if n)
  return [name for _, name in bad]


@functools.partial(jax.jit, static_argnames=('model', 'settings'))
def _num_bad(
  model: Model, settings: Settings, state: TrainState, data: Data | Block
) -> dict[str, tuple[int, jax.Array]]:
  """Name -> its place in the order, and how many numbers are not finite."""
  hyper = make_hyper(settings)
  order = order_in(settings, data)
  rows = order.batch(state.step, order.epoch(state.step))
  batch = make_batch(model, hyper, state, data, rows)
  posteriors = model.train_encode(
    noise_key(hyper, state), state.params, batch.inputs, batch.present
  )
  metrics, grads, statistics = metrics_and_grads(
    model, settings, hyper, state, data, rows
  )
  named: dict[str, Any] = {}
  for name in model.modalities:
    named[f'parameters of {name}'] = state.params[name]
    named[f'input of {name}'] = batch.inputs[name]
    named[f'batch statistics of the encoder of {name}'] = statistics[name].get(
      'encoder', {}
    )
  for index, name in enumerate(model.modalities):
    q = jax.tree.map(lambda leaf, index=index: leaf[index], posteriors.shared)
    for which, leaf in q._asdict().items():
      named[f'{which} of the posterior of {name}'] = leaf
    # Of means too large to be squared, which spoil all modalities alike.
    named[f'KL of the posterior of {name}'] = gaussian.kl_to_standard_normal(q)
    for which, leaf in posteriors.styles[index]._asdict().items():
      named[f'{which} of the style of {name}'] = leaf
  for name in model.modalities:
    named[f'batch statistics of the decoder of {name}'] = statistics[name].get(
      'decoder', {}
    )
  # Those of one modality before their sums, and the loss, which has all, last.
  for name in sorted(metrics, key=lambda n: (n == 'loss', '/' not in n, n)):
    named[name] = metrics[name]
  for name in model.modalities:
    for part, leaves in grads[name].items():
      named[f'gradient of the {part} of {name}'] = leaves
  # A gradient can be finite where its square is not.
  named['norm of the gradient'] = optax.tree.norm(grads)
  # JAX sorts dicts by name.
  return {
    name: (
      index,
      optax.tree.sum(
        jax.tree.map(lambda leaf: jnp.sum(~jnp.isfinite(leaf)), tree)
      ),
    )
    for index, (name, tree) in enumerate(named.items())
  }
