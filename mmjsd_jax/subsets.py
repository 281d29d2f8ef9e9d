"""The 2^M - 1 non-empty subsets of the modalities, and their posteriors.

Order: by size, then lexicographic; the full set is last. MoPoE (Eq. 5, 6) sums
over the 2^M members of the power set; like the authors' code we leave the
empty set out. Legend in gaussian.py.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import gaussian
from mmjsd_jax.gaussian import Gaussian, Natural

PRIOR_EXPERTS = ('never', 'full_set', 'always')


def membership(num_modalities: int) -> np.ndarray:
  """Which modality (column) is in which subset (row). Bool, [2^M - 1, M]."""
  if num_modalities < 1:
    raise ValueError(f'need at least one modality; got {num_modalities}')
  sets = itertools.chain.from_iterable(
    itertools.combinations(range(num_modalities), size)
    for size in range(1, num_modalities + 1)
  )
  table = np.zeros((2**num_modalities - 1, num_modalities), bool)
  for row, members in enumerate(sets):
    table[row, list(members)] = True
  return table


def subset_name(modalities: tuple[str, ...], row: np.ndarray) -> str:
  """The names in the subset joined by '+', as 'm0+m2'."""
  return '+'.join(m for m, used in zip(modalities, row, strict=True) if used)


def subset_names(modalities: tuple[str, ...]) -> tuple[str, ...]:
  """The name of every subset, in the order of `membership`."""
  return tuple(
    subset_name(modalities, row) for row in membership(len(modalities))
  )


def parse_subset(name: str, modalities: tuple[str, ...]) -> np.ndarray:
  """The membership row of a subset's name, in any order. Bool, [M].

  Raises:
    ValueError: a name that is no modality, a repeated one, or none at all.
  """
  parts = name.split('+')
  unknown = [part for part in parts if part not in modalities]
  if unknown or len(set(parts)) != len(parts):
    raise ValueError(
      f'a subset is distinct modalities of {modalities} joined by "+"; '
      f'got {name!r}'
    )
  return np.array([m in parts for m in modalities])


def available(table: np.ndarray, present: jax.Array) -> jax.Array:
  """Which subsets an example has: all of its members. Bool, shape [S, B].

  Args:
    table: membership. Shape [S, M].
    present: Bool, shape [M, B].
  """
  # Absent members counted by one matmul; small integers, exact in any dtype.
  missing = jnp.tensordot(
    jnp.asarray(table, jnp.float32), (~present).astype(jnp.float32), 1
  )
  return missing == 0


def uniform_weights(
  table: np.ndarray,
  present: jax.Array,
  *,
  dtype: jax.typing.DTypeLike = jnp.float32,
) -> jax.Array:
  """Equal weights over the subsets that an example has. Shape [S, B].

  Subsets that an incomplete example lacks, and would only repeat as smaller
  ones, have weight zero: an example with A modalities has 2^A - 1 subsets. An
  example with none has only zeros.
  """
  counted = available(table, present).astype(dtype)
  return counted / jnp.maximum(counted.sum(0, keepdims=True), 1)


def posteriors(
  experts: Gaussian,
  table: np.ndarray,
  *,
  present: jax.Array | None = None,
  prior_expert: str = 'full_set',
) -> Gaussian:
  """Products of experts of every subset, by one matrix product. [S, B, D].

  MoPoE, Definition 1.1: q(z | X_k) is the product of its members' experts.

  Args:
    experts: unimodal posteriors. Shape [M, B, D].
    table: membership. Shape [S, M].
    present: Bool, shape [M, B]; None means all. A subset of which an example
      lacks a member is the product of those it has, and N(0, I) if it has
      none; `uniform_weights` gives it weight zero.
    prior_expert: 'never'; 'full_set' multiplies N(0, I) into the product of
      all M experts alone, as the MoPoE code does (the paper does not mention
      it); 'always' into every product.
  """
  prior = has_prior(table.T, prior_expert)
  num_modalities = experts.mean.shape[0]
  if table.shape[1] != num_modalities:
    raise ValueError(
      f'membership must have {num_modalities} columns, one per expert; got '
      f'{table.shape[1]}'
    )
  natural = gaussian.to_natural(experts, present)
  precision, shift = sums(natural, table)
  precision += jnp.asarray(prior, precision.dtype)[:, None, None]
  return gaussian.from_natural(Natural(precision, shift))


def sums(natural: Natural, table: np.ndarray | jax.Array) -> Natural:
  """Sums over every subset's members, by one matrix product. [S, B, D].

  Args:
    natural: Shape [M, B, D].
    table: membership. Shape [S, M].
  """
  return jax.tree.map(
    lambda leaf: gaussian.sums(jnp.asarray(table, leaf.dtype), leaf), natural
  )


def has_prior(members: np.ndarray | jax.Array, prior_expert: str) -> jax.Array:
  """Whether N(0, I) joins the products of `members`. [M, ...] to [...].

  Args:
    members: Bool, the modalities along the first axis.
    prior_expert: as of `posteriors`.

  Raises:
    ValueError: an unknown `prior_expert`.
  """
  if prior_expert not in PRIOR_EXPERTS:
    raise ValueError(
      f'prior_expert must be one of {PRIOR_EXPERTS}; got {prior_expert!r}'
    )
  full = jnp.all(members, axis=0)
  return {'never': full & False, 'full_set': full, 'always': full | True}[
    prior_expert
  ]
