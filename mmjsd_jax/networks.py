"""Flax networks as functions of their parameters, in evaluation and training.

The parameters of a network are its layers' and, if it has any, its batch
statistics, under 'batch_stats' beside the layers: they go wherever parameters
go. A network whose `__call__` takes `train` is called as

  network(x, train=False)                  in evaluation,
  network(x, train=True, mask=mask)        in training,

with the examples that are there as mask, Bool [B] or None, and the rng
'dropout'. All others are called as network(x).
"""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn

STATISTICS = 'batch_stats'

# Layer -> arrays or a layer's layers; and `STATISTICS`.
NetworkParams = Mapping[str, Any]


# Compiled once for equal networks: in one program for a whole model, the draws
# of every modality would be compiled anew.
@functools.partial(jax.jit, static_argnames='network')
def init(network: nn.Module, key: jax.Array, x: jax.Array) -> dict[str, Any]:
  """Fresh parameters, for x [B, ...]."""
  variables = network.init(key, x, **_evaluating(network))
  return join(variables['params'], variables.get(STATISTICS, {}))


def evaluate(
  network: nn.Module,
  params: NetworkParams,
  x: jax.Array,
  compute_dtype: str = 'float32',
) -> Any:
  """What the network gives of x in evaluation, in the dtype of x.

  Args:
    network: of `params`.
    params: of `init`.
    x: Shape [B, ...].
    compute_dtype: of products and activations; statistics stay as they are.
  """
  variables, rounded = _rounded(params, x, compute_dtype)
  output = network.apply(variables, rounded, **_evaluating(network))
  return _as_before(output, x, compute_dtype)


def train(
  network: nn.Module,
  params: NetworkParams,
  key: jax.Array,
  x: jax.Array,
  mask: jax.Array | None = None,
  compute_dtype: str = 'float32',
) -> tuple[Any, dict[str, Any]]:
  """What the network gives of x in training, and its new batch statistics.

  No gradient goes to the old ones.

  Args:
    network: one that takes `train`.
    params: of `init`.
    key: PRNG key for dropout, consumed.
    x: Shape [B, ...].
    mask: which examples are there. Bool, shape [B]; None means all.
    compute_dtype: as in `evaluate`.
  """
  variables, rounded = _rounded(params, x, compute_dtype)
  output, found = network.apply(
    variables | {STATISTICS: jax.lax.stop_gradient(variables[STATISTICS])},
    rounded,
    train=True,
    mask=mask,
    rngs={'dropout': key},
    mutable=[STATISTICS],
  )
  return _as_before(output, x, compute_dtype), dict(found.get(STATISTICS, {}))


def takes_train(network: nn.Module) -> bool:
  """Whether the network does in training what it does not in evaluation.

  Raises:
    ValueError: it takes `train`, but no `mask`.
  """
  taken = inspect.signature(type(network).__call__).parameters
  if 'train' in taken and 'mask' not in taken:
    raise ValueError(
      f'{type(network).__name__} must take `mask` with `train`: which examples '
      f'are there, or None; got {tuple(taken)}'
    )
  return 'train' in taken


def join(
  layers: Mapping[str, Any], statistics: Mapping[str, Any]
) -> dict[str, Any]:
  """Parameters of a network with these batch statistics, if any."""
  return {**layers, STATISTICS: statistics} if statistics else dict(layers)


def split(params: NetworkParams) -> dict[str, dict[str, Any]]:
  """The variables of a network, as Flax has them: the reverse of `join`."""
  layers = {name: x for name, x in params.items() if name != STATISTICS}
  return {'params': layers, STATISTICS: params.get(STATISTICS, {})}


def num_parameters(params: Any) -> int:
  """How many numbers of a tree of parameters are learned by gradients."""
  return sum(
    leaf.size
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if jax.tree_util.DictKey(STATISTICS) not in path
  )


def _evaluating(network: nn.Module) -> dict[str, Any]:
  return {'train': False} if takes_train(network) else {}


def _rounded(params: NetworkParams, x: jax.Array, compute_dtype: str) -> Any:
  """Variables and x, in the dtype that is computed in."""
  variables = split(params)
  if compute_dtype == 'float32':
    return variables, x
  layers = _cast(variables['params'], compute_dtype)
  return {**variables, 'params': layers}, x.astype(compute_dtype)


def _as_before(output: Any, x: jax.Array, compute_dtype: str) -> Any:
  return output if compute_dtype == 'float32' else _cast(output, x.dtype)


def _cast(tree: Any, dtype: jax.typing.DTypeLike) -> Any:
  return jax.tree.map(lambda leaf: leaf.astype(dtype), tree)
