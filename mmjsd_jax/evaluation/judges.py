"""Judges of coherence: what trained classifiers see in what decoders give.

Differs from the released code, which leaves its classifiers in training mode
while they judge: dropout is on, and batch normalisation goes by the statistics
of what is judged. Weights learned without dropout of channels read little under
it (on PolyMNIST 0.95 falls to 0.54), so judging as the released code does takes
a second set of classifiers, trained with `channel_dropout=0.5`.

B batch, M modalities, L logits, F features.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjsd_jax import networks
from mmjsd_jax.evaluation.classifier_cache import Classifiers, Params
from mmjsd_jax.evaluation.classifier_tasks import task_of
from mmjsd_jax.evaluation.coherence import Judges


def predict(params: Params, x: jax.Array) -> jax.Array:
  """Logits in evaluation mode. Shape [B, L].

  Args:
    params: of a classifier of such data.
    x: images in [0, 1] or one-hot text; see `classifier_tasks`. Shape [B, ...].
  """
  network = _network(params, x)
  return jnp.asarray(network.apply(networks.split(params), x, train=False))


def predict_as_released(
  params: Params, key: jax.Array, x: jax.Array
) -> jax.Array:
  """Logits as in the released code's evaluation. Shape [B, L].

  All dropouts are at 0.5, and batches are normalised by their own statistics.
  """
  logits, _ = _network(params, x).apply(
    networks.split(params),
    x,
    train=True,
    rngs={'dropout': key},
    mutable=[networks.STATISTICS],
  )
  return jnp.asarray(logits)


def features(params: Params, x: jax.Array) -> jax.Array:
  """What the layer of the logits reads, in evaluation mode. Shape [B, F].

  Of 128 features in the authors' architectures for digits, from ReLUs but for
  text.

  Args:
    params: of a classifier of such data.
    x: what a decoder gives, or data as floats. Shape [B, ...].
  """
  seen = []

  def intercept(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
    if context.module.name == 'logits' and context.method_name == '__call__':
      seen.append(args[0])
    return method(*args, **kwargs)

  with nn.intercept_methods(intercept):
    predict(params, task_of(x.shape[1:]).from_decoded(x))
  return seen[0]


def make_judges(
  classifiers: Classifiers,
  released: Classifiers | None = None,
  left_out: Mapping[str, str] = MappingProxyType({}),
  *,
  of_factors: bool = False,
) -> Judges:
  """Classifiers as coherence and `factors` take them.

  Args:
    classifiers: judge without dropout.
    released: judge with dropout; trained with `channel_dropout=0.5`. Without
      them, `classify_as_released_fn` raises a ValueError.
    left_out: modalities that have no classifier, and why.
    of_factors: give logits [M, L, B], not classes [M, B].
  """
  params = {
    'evaluation': classifiers.params,
    'as_released': None if released is None else released.params,
  }
  fns = (
    (_logits, _logits_as_released)
    if of_factors
    else (_classify, _classify_as_released)
  )
  return Judges(params, *fns, left_out)


def _classify(
  key: jax.Array,
  params: dict[str, dict[str, Params] | None],
  data: dict[str, jax.Array],
) -> jax.Array:
  """A `ClassifyFn`. int32, shape [M, B]."""
  return jnp.argmax(_logits(key, params, data), axis=1)


def _classify_as_released(
  key: jax.Array,
  params: dict[str, dict[str, Params] | None],
  data: dict[str, jax.Array],
) -> jax.Array:
  """A `ClassifyFn`. int32, shape [M, B]."""
  return jnp.argmax(_logits_as_released(key, params, data), axis=1)


def _logits(
  key: jax.Array,
  params: dict[str, dict[str, Params] | None],
  data: dict[str, jax.Array],
) -> jax.Array:
  """A `ClassifyFn` of several factors. Shape [M, L, B]."""
  del key
  weights = params['evaluation']
  assert weights is not None
  logits = [
    predict(weights[m], task_of(x.shape[1:]).from_decoded(x)).T
    for m, x in data.items()
    if m in weights
  ]
  return jnp.stack(logits)


def _logits_as_released(
  key: jax.Array,
  params: dict[str, dict[str, Params] | None],
  data: dict[str, jax.Array],
) -> jax.Array:
  """A `ClassifyFn` of several factors. Shape [M, L, B]."""
  weights = params['as_released']
  if weights is None:
    raise ValueError('expected classifiers trained to judge as released')
  logits = [
    predict_as_released(
      weights[m],
      jax.random.fold_in(key, index),
      task_of(x.shape[1:]).from_decoded_as_released(x),
    ).T
    for index, (m, x) in enumerate(data.items())
    if m in weights
  ]
  return jnp.stack(logits)


def _network(params: Params, x: jax.Array) -> nn.Module:
  """The authors' network of these weights for such data."""
  return task_of(x.shape[1:]).network(params['logits']['bias'].shape[-1])
