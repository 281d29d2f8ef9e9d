"""Importance-sampled log-likelihoods, log p(X), in nats.

References:
  Burda, Grosse, Salakhutdinov. Importance weighted autoencoders. ICLR 2016.
  Veach, Guibas. Optimally combining sampling techniques for Monte Carlo
    rendering. SIGGRAPH 1995 (the balance heuristic).
  Shi, Siddharth, Paige, Torr. Variational mixture-of-experts autoencoders for
    multi-modal deep generative models. NeurIPS 2019 (MMVAE).

The proposal is the posterior q(z | x_subset); the likelihood is that of all
modalities, unweighted. That is what the papers' columns X|x_subset are. Where
the posterior is a mixture, the draws are stratified over its components and
every weight has the whole mixture's density in its denominator (the balance
heuristic), so that exp of the estimate is unbiased for p(X). The estimate is
therefore low on average, the more so the fewer the samples. Styles are drawn
from q(s_m | x_m) in the subset and from N(0, I) outside it, where the ratio of
their densities is one.

Legend: B batch, M modalities, S subsets (or mixture components), D shared
latent, K importance samples, N examples.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import gaussian, hosts, mixture
from mmjsd_jax.evaluation import chunks
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.model import Model, Params, Posteriors

# Latents that a CPU decodes at a time: feature maps of 1,024 of PolyMNIST leave
# the cache, and take half as long again.
_CPU_DECODES = 256


def importance_log_likelihood(
  log_weights: jax.Array, mixture_weights: jax.Array
) -> jax.Array:
  """log sum_s w_s / K sum_k exp(log_weights_sk), in nats.

  With the whole mixture's density in the denominators this is the stratified
  estimator with the balance heuristic, MMVAE's `m_iwae`. Differs from MMVAE's
  "looser" bound, which takes the mean over components outside the logarithm.

  Args:
    log_weights: log p(X, z) - log q(z) at K draws from each component. What a
      component of weight zero holds has no effect. Shape [S, K, B].
    mixture_weights: sum to one over S. Shape [S, B].

  Returns:
    Shape [B].
  """
  num_components, num_samples, batch = log_weights.shape
  if mixture_weights.shape != (num_components, batch):
    raise ValueError(
      f'mixture_weights must have shape {(num_components, batch)} for '
      f'log_weights of shape {log_weights.shape}; got {mixture_weights.shape}'
    )
  shares = jnp.broadcast_to(
    mixture_weights[:, None] / num_samples, log_weights.shape
  )
  log_weights = jnp.where(shares > 0, log_weights, -jnp.inf)
  return jax.nn.logsumexp(log_weights, axis=(0, 1), b=shares)


class Estimates(NamedTuple):
  """Per subset and example, in nats. Both fields have shape [S, N].

  Attributes:
    log_likelihood: log of the mean importance weight.
    elbo: mean of the log importance weights, an unbiased estimate of
      E_q[log p(X | z)] - KL(q || N(0, I)) with q the whole posterior, which
      is at most log p(X) in expectation. What training maximises need not be.
  """

  log_likelihood: np.ndarray
  elbo: np.ndarray


def estimate(
  key: jax.Array,
  model: Model,
  params: Params,
  inputs: dict[str, np.ndarray],
  posteriors: Posteriors,
  subsets: np.ndarray,
  *,
  num_samples: int,
  chunk_size: int = 256,
  decodes_per_call: int = 2048,
  progress: Callable[[int, int], None] | None = None,
) -> Estimates:
  """log p(X) and the ELBO, with every given subset's posterior as proposal.

  `num_samples` is the number of draws per example, over all components of its
  posterior together: [0, 1) is cut into that many strata and each draw takes
  the component that its own position falls on. A component of weight w so gets
  w * num_samples draws to within one, exactly that in expectation, and exactly
  that where it is an integer. Memory does not grow with `num_samples`.

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    inputs: modality name -> arrays whose first axis is N.
    posteriors: unimodal ones of the inputs.
    subsets: membership rows. Bool, shape [S, M].
    num_samples: K, the draws per example.
    chunk_size: examples per call; one shape is compiled for all subsets.
    decodes_per_call: how many latents a call decodes at most, unless
      `chunk_size` is more.
    progress: called with (subsets done, subsets in all), over all chunks.
  """
  if num_samples < 1:
    raise ValueError(f'num_samples must be at least 1; got {num_samples}')
  num_examples = posteriors.shared.mean.shape[1]
  chunk_size = min(chunk_size, num_examples)
  num_draws = max(1, min(num_samples, decodes_per_call // chunk_size))
  if jax.default_backend() == 'cpu':
    per_decode = max(1, _CPU_DECODES // chunk_size)
    model = model._replace(draws_per_decode=per_decode)
  found = Estimates(
    np.zeros((len(subsets), num_examples)),
    np.zeros((len(subsets), num_examples)),
  )
  parts = list(chunks.padded_chunks(num_examples, chunk_size))
  for part, chunk in enumerate(parts):
    batch, batch_posteriors = put_batch(inputs, posteriors, chunk.rows)
    valid = chunk.rows[: chunk.num_valid]
    for number, row in enumerate(subsets):
      key_subset = jax.random.fold_in(jax.random.fold_in(key, part), number)
      sums = [
        _log_weight_sums(
          jax.random.fold_in(key_subset, first),
          model,
          params,
          batch,
          batch_posteriors,
          row,
          first,
          num_samples,
          num_draws=num_draws,
        )
        for first in range(0, num_samples, num_draws)
      ]
      log_sums, totals = np.asarray(hosts.fetch(sums), np.float64).swapaxes(
        0, 1
      )  # Each [calls, B].
      log_mean = np.logaddexp.reduce(log_sums) - np.log(num_samples)
      found.log_likelihood[number, valid] = log_mean[: chunk.num_valid]
      mean = totals.sum(0) / num_samples
      found.elbo[number, valid] = mean[: chunk.num_valid]
      if progress is not None:
        progress(part * len(subsets) + number + 1, len(parts) * len(subsets))
  return found


def put_batch(
  inputs: dict[str, np.ndarray], posteriors: Posteriors, rows: np.ndarray
) -> tuple[dict[str, jax.Array], Posteriors]:
  """The given examples and their posteriors, on the devices.

  Args:
    inputs: modality name -> arrays whose first axis is N.
    posteriors: of N examples.
    rows: indices into N. Shape [B].
  """
  batch = {name: array[rows] for name, array in inputs.items()}
  return chunks.put(batch), chunks.put(posteriors.take(rows), axis=1)


def log_joint(
  model: Model,
  params: Params,
  inputs: dict[str, jax.Array],
  z: jax.Array,
  styles: tuple[jax.Array, ...] = (),
) -> jax.Array:
  """log p(X, z | styles) over all modalities, in nats. Shape [K, B].

  Args:
    model: what `params` belong to.
    params: the networks' weights.
    inputs: modality name -> data as stored. Shape [B, ...].
    z: shared latents. Shape [K, B, D].
    styles: one for each modality, [K, B, D_m]; () where all are empty.
  """
  shared = jnp.broadcast_to(z[None], (len(model.modalities), *z.shape))
  log_likelihoods = model.log_likelihoods(params, inputs, shared, styles)
  prior = gaussian.standard_normal_like(Gaussian(z, z))
  return jnp.sum(log_likelihoods, axis=0) + gaussian.log_density(z, prior)


def sample_styles(
  key: jax.Array,
  model: Model,
  posteriors: Posteriors,
  row: jax.Array,
  num_draws: int,
) -> tuple[tuple[jax.Array, ...], jax.Array]:
  """Styles given a subset, and log q(s) - log p(s) of all of them together.

  Args:
    key: PRNG key, consumed.
    model: what the posteriors are of.
    posteriors: of B examples.
    row: which modalities are in the subset. Bool, shape [M].
    num_draws: K.

  Returns:
    One draw for each modality, [K, B, D_m], and the ratio in nats, [K, B].
  """
  draws, log_ratio = [], jnp.zeros(())
  for index, q in enumerate(model.subset_styles(posteriors, row)):
    q = jax.tree.map(
      lambda leaf: jnp.broadcast_to(leaf[None], (num_draws, *leaf.shape)), q
    )
    style = gaussian.sample(jax.random.fold_in(key, index), q)
    prior = gaussian.standard_normal_like(q)
    draws.append(style)
    log_ratio += gaussian.log_density(style, q)
    log_ratio -= gaussian.log_density(style, prior)
  return tuple(draws), log_ratio


@functools.partial(jax.jit, static_argnames=('model', 'num_draws'))
def _log_weight_sums(
  key: jax.Array,
  model: Model,
  params: Params,
  inputs: dict[str, jax.Array],
  posteriors: Posteriors,
  row: jax.Array,
  first: jax.Array,
  num_samples: jax.Array,
  *,
  num_draws: int,
) -> tuple[jax.Array, jax.Array]:
  """log sum exp and sum of the log-weights of draws first, ... Shapes [B]."""
  key_component, key_noise, key_styles = jax.random.split(key, 3)
  posterior = model.subset_posterior(posteriors, row)
  draws = first + jnp.arange(num_draws)
  index = _stratified_components(
    key_component, posterior.weights, draws, num_samples
  )  # [K, B]
  examples = jnp.arange(index.shape[1])[None]
  q = jax.tree.map(lambda leaf: leaf[index, examples], posterior.components)
  z = gaussian.sample(key_noise, q)  # [K, B, D]
  styles, style_ratio = sample_styles(
    key_styles, model, posteriors, row, num_draws
  )
  log_weights = (
    log_joint(model, params, inputs, z, styles)
    - mixture.log_density(z, posterior)
    - style_ratio
  )
  # The last call may reach past num_samples.
  counts = (draws < num_samples)[:, None]
  return (
    jax.nn.logsumexp(jnp.where(counts, log_weights, -jnp.inf), axis=0),
    jnp.sum(jnp.where(counts, log_weights, 0), axis=0),
  )


def _stratified_components(
  key: jax.Array, weights: jax.Array, draws: jax.Array, num_samples: jax.Array
) -> jax.Array:
  """The component [K, B] of draw k of `num_samples`, from stratum k of it."""
  noise = jax.random.uniform(key, (draws.shape[0], weights.shape[1]))
  position = (draws[:, None] + noise) / num_samples
  edges = jnp.cumsum(weights, axis=0)
  index = jnp.sum(position[None] >= edges[:, None], axis=0)
  # Rounding may leave the last edge below the last position.
  last = weights.shape[0] - 1 - jnp.argmax(weights[::-1] > 0, axis=0)
  return jnp.minimum(index, last[None])
