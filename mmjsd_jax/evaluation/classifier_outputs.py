"""What a classifier's logits say: a class, or one in every factor.

A factor of two classes has one logit, that of the second, and a sigmoid, as in
the authors' classifiers of CelebA. One of more classes has a logit for each,
and a softmax; so has the class of data that have a class.

Legend: B batch, N tuples, F factors, C classes of the factor that has most (two
at least), L logits.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mmjsd_jax.data.dataset import Dataset, Factor, Split


def logit_counts(dataset: Dataset) -> tuple[int, ...]:
  """Logits of every factor that classifiers of a data set learn. Length F.

  The class is the one factor of data that have a class.
  """
  if dataset.num_classes:
    return (dataset.num_classes,)
  return counts_of(dataset.factors)


def counts_of(factors: Sequence[Factor]) -> tuple[int, ...]:
  """Logits of every factor. Length F."""
  sizes = [len(factor.classes) for factor in factors]
  return tuple(1 if size == 2 else size for size in sizes)


def targets(dataset: Dataset, split: Split) -> np.ndarray:
  """Classes in these factors, -1 where unknown. int32 [N, F]."""
  if dataset.num_classes or split.factors is None:
    return split.labels[:, None]
  return split.factors.astype(np.int32)


def by_factor(logits: jax.Array, counts: tuple[int, ...]) -> jax.Array:
  """Logits of every class; -inf where a factor has fewer. Shape [..., F, C].

  Args:
    logits: Shape [..., L].
    counts: of every factor; see `logit_counts`.

  Raises:
    ValueError: another number of logits.
  """
  num_logits = sum(counts)
  if logits.shape[-1] != num_logits:
    raise ValueError(
      f'expected {num_logits} logits, got {logits.shape[-1]}: shape '
      f'{logits.shape}'
    )
  # Behind the logits stand that of a first class of two, and that of no class.
  first_of_two, no_class = num_logits, num_logits + 1
  columns = np.full((len(counts), max(2, *counts)), no_class)
  for row, count, end in zip(columns, counts, np.cumsum(counts), strict=True):
    own = [first_of_two] if count == 1 else []
    own += range(end - count, end)
    row[: len(own)] = own
  fixed = jnp.array([0, -jnp.inf], logits.dtype)
  padded = jnp.concatenate(
    [logits, jnp.broadcast_to(fixed, (*logits.shape[:-1], 2))], axis=-1
  )
  return jnp.take(padded, columns, axis=-1)


def cross_entropy(
  logits: jax.Array, classes: jax.Array, counts: tuple[int, ...]
) -> jax.Array:
  """Mean over the factors of each one's cross-entropy, in nats. Shape [B].

  Args:
    logits: Shape [B, L].
    classes: Integers, shape [B, F].
    counts: of every factor; see `logit_counts`.
  """
  return jnp.mean(
    optax.softmax_cross_entropy_with_integer_labels(
      by_factor(logits, counts), classes
    ),
    axis=-1,
  )


@functools.partial(jax.jit, static_argnames='counts')
def classes_seen(logits: jax.Array, counts: tuple[int, ...]) -> jax.Array:
  """The likeliest class in every factor. Integers [..., F].

  Args:
    logits: Shape [..., L].
    counts: of every factor; see `logit_counts`.
  """
  return jnp.argmax(by_factor(logits, counts), axis=-1)
