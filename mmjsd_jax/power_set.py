"""MoPoE's mixture over the power set, without its 2^M - 1 components.

A step of training needs the mean of the components' KL to N(0, I), and one
component for each example. The mean is exact, by chunks of subsets that are
computed again for the gradient, or an unbiased estimate from few subsets. With
C = CHUNK, the exact one takes time of order 2^M B D and memory of order
(C + M) B D; the estimate from N subsets takes N M B D and min(C, N) B D.

An absent modality adds nothing to a product. So the 2^M sets fall on the 2^A
sets of the A modalities that an example has, 2^(M - A) on each, and the empty
one, whose product is the prior, has a KL of zero: with 2^A / (2^A - 1) the mean
over all sets is that over the example's own subsets, whatever is absent.

Legend in gaussian.py.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import gaussian, mixture, subsets
from mmjsd_jax.gaussian import Gaussian

CHUNK = 32  # subsets at a time, a power of two
# A float32 between 0 and 1 tells so many subsets apart: 2^24.
MAX_MODALITIES = 24


class PowerSet(NamedTuple):
  """Products of experts of all subsets that an example has, equally weighted.

  Attributes:
    experts: unimodal posteriors. Shape [M, B, D].
    present: Bool, shape [M, B].
    prior_expert: as of `subsets.posteriors`.
  """

  experts: Gaussian
  present: jax.Array
  prior_expert: str


def choose(
  key: jax.Array, present: jax.Array, *, method: str = 'stratified'
) -> jax.Array:
  """The subset that each example of a batch draws. Bool, shape [M, B].

  As `mixture.choose_components` does it, with the subsets of an example's A
  modalities in the order of binary numbers. The last one, to which
  'stratified_as_released' gives what remains, is all A of them.

  Args:
    key: PRNG key, consumed.
    present: Bool, shape [M, B].
    method: one of mixture.SAMPLING_METHODS.

  Returns:
    Members of the subset; none for an example that has no modality.

  Raises:
    ValueError: more than MAX_MODALITIES modalities.
  """
  num_modalities, batch = present.shape
  if num_modalities > MAX_MODALITIES:
    raise ValueError(
      f'subsets are drawn of at most {MAX_MODALITIES} modalities; got '
      f'{num_modalities}'
    )
  position = mixture.positions(key, batch, method=method)
  last = (1 << jnp.sum(present, axis=0)) - 1
  if method == 'stratified_as_released':
    each = batch // jnp.maximum(last, 1)  # examples for a subset
    index = jnp.where(each > 0, position * batch / jnp.maximum(each, 1), last)
  else:
    index = position * last
  code = jnp.minimum(index.astype(jnp.int32) + 1, last)
  bit = jnp.cumsum(present, axis=0) - present
  return present & ((code[None] >> bit) % 2 == 1)


def select(
  key: jax.Array, joint: PowerSet, *, method: str = 'stratified'
) -> Gaussian:
  """The component that each example drew. Shape [B, D]."""
  members = choose(key, joint.present, method=method)
  prior = subsets.has_prior(members, joint.prior_expert)
  return gaussian.product(
    joint.experts, present=members, prior_expert=prior[:, None]
  )


def sample(
  key: jax.Array, joint: PowerSet, *, method: str = 'stratified'
) -> jax.Array:
  """One reparameterised draw per example. Shape [B, D]."""
  key_component, key_noise = jax.random.split(key)
  return gaussian.sample(key_noise, select(key_component, joint, method=method))


def kl_bound(joint: PowerSet) -> jax.Array:
  """The mean KL of all components to N(0, I), in nats. Shape [B].

  `mixture.kl_bound` of the mixture that `fusion.joint_posterior` lists. The
  modalities are cut in two: the sums over every set of the first log2 C are
  kept, and sets of the others are gone through one by one.
  """
  num_modalities, batch, _ = joint.experts.mean.shape
  num_kept = min(num_modalities, int(math.log2(CHUNK)))
  natural = gaussian.to_natural(joint.experts, joint.present)
  kept_sets = _members(np.arange(2**num_kept), num_kept)  # [C, .]
  kept = subsets.sums(
    jax.tree.map(lambda leaf: leaf[:num_kept], natural), kept_sets
  )
  others = jax.tree.map(lambda leaf: leaf[num_kept:], natural)
  share = _share(joint) / 2**num_modalities

  @functools.partial(jax.checkpoint, prevent_cse=False)  # not within a scan
  def kl_of_chunk(code, kept, others):
    row = _members(code[None], num_modalities - num_kept)  # [1, .]
    rows = jnp.broadcast_to(row, (len(kept_sets), row.shape[1]))
    members = jnp.concatenate([kept_sets, rows], axis=1).T[..., None]
    products = jax.tree.map(jnp.add, kept, subsets.sums(others, row))
    kls = _kl(products, members & joint.present[:, None], joint.prior_expert)
    return jnp.sum(share[None] * kls, axis=0)

  def add_chunk(total, code):
    return total + kl_of_chunk(code, kept, others), None

  codes = jnp.arange(2 ** (num_modalities - num_kept))
  # Like the products: `share` is of one value for all devices of a shard_map
  # where nothing is missing, and a carry may not change in that.
  zeros = jnp.zeros_like(kept.shift[0, :, 0])
  return jax.lax.scan(add_chunk, zeros, codes)[0]


def kl_estimate(
  key: jax.Array, joint: PowerSet, *, num_subsets: int
) -> jax.Array:
  """`kl_bound` from `num_subsets` sets drawn for each example. Shape [B].

  Unbiased, and so is its gradient: sets are drawn uniformly, an example's own
  ones, every other one the complement of the one before. The natural parameters
  of such a pair add up to those of all modalities, so that only what of the KL
  is not linear in them varies: with variance of order 1 / N, and 1 / (N B) in
  the batch's mean. With `num_subsets` of 2^M - 1 or more it is `kl_bound`.

  Args:
    key: PRNG key, consumed.
    joint: the mixture.
    num_subsets: N, at least 1.
  """
  if num_subsets >= 2 ** len(joint.present) - 1:
    return kl_bound(joint)
  pairs = (-(-num_subsets // 2), 1, *joint.present.shape)
  one = jax.random.bernoulli(key, 0.5, pairs)
  draws = jnp.concatenate([one, ~one], axis=1)
  draws = draws.reshape(-1, *joint.present.shape)[:num_subsets]  # [N, M, B]
  natural = gaussian.to_natural(joint.experts, joint.present)

  @jax.checkpoint
  def kl_of_draw(members):
    products = jax.tree.map(
      lambda leaf: jnp.einsum(
        'mb,mbd->bd', members.astype(leaf.dtype), leaf, precision='highest'
      ),
      natural,
    )
    return _kl(products, members & joint.present, joint.prior_expert)

  kls = jax.lax.map(kl_of_draw, draws, batch_size=CHUNK)
  return _share(joint) * jnp.mean(kls, axis=0)


def _members(codes, num_modalities):
  """The sets whose binary numbers are `codes` [S]. Bool, shape [S, M]."""
  return (codes[:, None] >> np.arange(num_modalities)[None]) % 2 == 1


def _share(joint):
  """2^A / (2^A - 1), zero for an example without any modality. Shape [B]."""
  num_present = jnp.sum(joint.present, axis=0)
  empty = jnp.exp2(-num_present.astype(joint.experts.mean.dtype))
  return jnp.where(num_present > 0, 1 / (1 - jnp.minimum(empty, 0.5)), 0)


def _kl(products, members, prior_expert):
  """KL to N(0, I) of products [..., B, D] of `members` [M, ..., B]."""
  prior = subsets.has_prior(members, prior_expert)
  return gaussian.natural_kl_to_standard_normal(
    products._replace(precision=products.precision + prior[..., None])
  )
