"""Posteriors, draws and decoded draws, each compiled once for a size.

What a trained model is used for, as pure functions. Examples are filled up to
the next power of two and, if there are many, cut into batches; absent
modalities are masked, so that all subsets share a program. Draws belong to
(key, number of the example): they do not depend on what else is in a batch.

Legend in gaussian.py; K draws of each example. Examples are along the first
axis of all that is taken and returned.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import gaussian, mixture
from mmjsd_jax.evaluation import chunks
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.model import Model, Params, Posteriors

MAX_BATCH = 256  # examples in one call of a compiled program


class Posterior(NamedTuple):
  """q(z | x) of B examples, and what they say of the styles. In NumPy.

  Attributes:
    mean: of z. Shape [B, D].
    std: of z, by dimension; of a mixture, of the whole. Shape [B, D].
    weights: of the mixture's components; one of 1 where it is no mixture.
      Shape [B, S].
    components: Shape [B, S, D].
    styles: modality -> q(s_m | x_m), N(0, I) where it is not given; of those
      that have a style. Shape [B, D_m].
  """

  mean: np.ndarray
  std: np.ndarray
  weights: np.ndarray
  components: Gaussian
  styles: dict[str, Gaussian]

  def sample(
    self, key: jax.Array | int, num_samples: int = 1, *, first: int = 0
  ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws of z, [B, K, D], and of every style, [B, K, D_m].

    Args:
      key: of JAX, or a seed.
      num_samples: K.
      first: number of the first example, to which its draws belong.

    Raises:
      ValueError: less than one sample.
    """
    if num_samples < 1:
      raise ValueError(f'num_samples must be at least 1; got {num_samples}')
    drawn = [
      in_batches(functools.partial(self._draw, key_draw, first), len(self.mean))
      for key_draw in jax.random.split(as_key(key), num_samples)
    ]
    return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *drawn)

  def _draw(self, key: jax.Array, first: int, rows: np.ndarray) -> Any:
    q = jax.tree.map(lambda leaf: leaf[rows], self)
    return draw(key, (first + rows).astype(np.uint32), q)


@functools.partial(jax.jit, static_argnames='model')
def encode(
  model: Model, params: Params, inputs: dict[str, jax.Array], rows: jax.Array
) -> Posterior:
  """The posteriors given some modalities of each example.

  Args:
    model: what `params` belong to.
    params: the networks' weights.
    inputs: modality -> x as stored. Shape [B, ...].
    rows: the modalities that are given. Bool, shape [M, B].
  """
  posteriors = model.encode(params, inputs, rows)
  return jax.vmap(functools.partial(_posterior, model), (1, 1))(
    posteriors, rows
  )


def _posterior(
  model: Model, posteriors: Posteriors, row: jax.Array
) -> Posterior:
  """That of one example: `posteriors` without the axis B, `row` [M]."""
  one = jax.tree.map(lambda leaf: leaf[:, None], posteriors)
  q = model.subset_posterior(one, row)
  # A mixture of nothing has no weight; its components are N(0, I).
  first = jnp.zeros_like(q.weights).at[0].set(1)
  q = q._replace(weights=jnp.where(jnp.any(row), q.weights, first))
  whole = mixture.moments(q)
  styles = jax.tree.map(lambda leaf: leaf[0], model.subset_styles(one, row))
  return Posterior._make(
    (
      whole.mean[0],
      jnp.exp(whole.log_var[0] / 2),
      q.weights[:, 0],
      jax.tree.map(lambda leaf: leaf[:, 0], q.components),
      {
        modality.name: style
        for modality, style in zip(model.modality_list, styles, strict=True)
        if modality.style_dim
      },
    )
  )


@jax.jit
def draw(
  key: jax.Array, numbers: jax.Array, posterior: Posterior
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """One draw for each example, of z [B, D] and of the styles [B, D_m].

  Args:
    key: PRNG key, consumed.
    numbers: of the examples. uint32 [B].
    posterior: of B examples.
  """

  def draw_one(number: jax.Array, q: Posterior) -> Any:
    key_z, key_styles = jax.random.split(jax.random.fold_in(key, number))
    mixed = jax.tree.map(
      lambda leaf: leaf[:, None], Mixture._make((q.components, q.weights))
    )
    z = mixture.sample(key_z, mixed, method='categorical')[0]
    return z, {
      name: gaussian.sample(jax.random.fold_in(key_styles, index), style)
      for index, (name, style) in enumerate(sorted(q.styles.items()))
    }

  return jax.vmap(draw_one)(numbers, posterior)


@functools.partial(jax.jit, static_argnames=('model', 'targets'))
def decode(
  model: Model,
  params: Params,
  z: jax.Array,
  styles: dict[str, jax.Array],
  targets: tuple[str, ...],
) -> dict[str, jax.Array]:
  """Means of p(x_m | s_m, z), of texts logits, of the targets. [B, *shape].

  Args:
    model: what `params` belong to.
    params: the networks' weights.
    z: Shape [B, D].
    styles: modality -> [B, D_m], of those that have a style.
    targets: names of modalities.
  """
  every = [styles.get(name, z[:, :0]) for name in model.modalities]
  decoded = model.decode(params, z, every)
  return {name: decoded[name] for name in targets}


def as_key(key: jax.Array | int) -> jax.Array:
  """A key of JAX, of a seed if it is none."""
  return jax.random.key(key) if isinstance(key, int | np.integer) else key


def bucket(num_rows: int) -> int:
  """The size that so many examples are compiled for."""
  return min(MAX_BATCH, 1 << (num_rows - 1).bit_length())


def in_batches(function: Callable[[np.ndarray], Any], num_rows: int) -> Any:
  """What `function` gives for the rows of all examples, in NumPy."""
  parts = []
  for chunk in chunks.padded_chunks(num_rows, bucket(num_rows)):
    part = jax.device_get(function(chunk.rows))
    parts.append(jax.tree.map(lambda leaf, n=chunk.num_valid: leaf[:n], part))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
