"""Where z is drawn from without inputs: a Gaussian mixture fitted afterwards.

A trained model's aggregate posterior, the mean of q(z | X) over the training
examples, is not N(0, I): between its classes lie latents that no decoder was
trained on, and that no two decoders agree about. A mixture fitted to it, ex
post (Ghosh et al. 2020, "From Variational to Deterministic Autoencoders",
Sec. 4), leaves them out. The model itself is not changed, and samples of the
mixture say nothing of its likelihood.

Styles have no sampler: they are drawn from their prior.

Legend: K components, D shared latent, N examples.
"""

import functools
import pathlib
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from mmjsd_jax import gaussian, hosts, mixture
from mmjsd_jax.evaluation import chunks, weights
from mmjsd_jax.files import write_atomically
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.model import Model, Posteriors

# Training examples that are fitted, at most, one draw of each.
MAX_EXAMPLES = 10_000
# A component's covariance has D (D + 1) / 2 numbers: 131,328 at D = 512, too
# many to learn from 10,000 examples, and a thousand times as slow as at 16.
MAX_DIRECTIONS = 64
FILE = 'sampler.npz'  # in the run's folder


class Sampler(NamedTuple):
  """sum_k weights_k N(means_k, factors_k factors_k^T), in float32.

  Attributes:
    weights: sum to one. Shape [K].
    means: Shape [K, D].
    factors: of the covariances; in place of them, since a square root of the
      covariance in float32 may not exist. Shape [K, D, D].
  """

  weights: np.ndarray
  means: np.ndarray
  factors: np.ndarray


class Fit(NamedTuple):
  """A sampler, and how it was made.

  Attributes:
    sampler: what was fitted.
    num_examples: N.
    converged: False where EM stopped at the limit of iterations.
  """

  sampler: Sampler
  num_examples: int
  converged: bool


def sample(key: jax.Array, sampler: Sampler, num_samples: int) -> jax.Array:
  """Independent draws of z. Shape [num_samples, D].

  Args:
    key: PRNG key, consumed.
    sampler: what to draw from.
    num_samples: how many.
  """
  key_component, key_noise = jax.random.split(key)
  size = sampler.means.shape[-1]
  component = jax.random.categorical(
    key_component, jnp.log(sampler.weights), shape=(num_samples,)
  )
  noise = jax.random.normal(key_noise, (num_samples, size))
  # Of every component, and then one: a factor for each draw would be larger.
  moved = jnp.einsum('kde,ne->nkd', sampler.factors, noise, precision='highest')
  moved += sampler.means[None]
  return jnp.take_along_axis(moved, component[:, None, None], axis=1)[:, 0]


@jax.jit
def sample_numbered(
  key: jax.Array, sampler: Sampler, numbers: jax.Array
) -> jax.Array:
  """Draws that belong to (key, number), whatever the others. Shape [N, D].

  Args:
    key: PRNG key, consumed.
    sampler: what to draw from.
    numbers: of the draws. uint32 [N].
  """
  return jax.vmap(
    lambda number: sample(jax.random.fold_in(key, number), sampler, 1)[0]
  )(numbers)


def fit_posteriors(
  key: jax.Array,
  model: Model,
  posteriors: Posteriors,
  *,
  present: np.ndarray,
  num_components: int,
  chunk_size: int = 256,
) -> Fit:
  """A mixture fitted to the aggregate posterior given what examples have.

  To one draw of every example's q(z | X), not to its mean: decoders have been
  trained on draws, and means are too close to one another by the posteriors'
  own variance. MultiVae's sampler does the same.

  Args:
    key: PRNG key, consumed.
    model: whose rule makes the posterior.
    posteriors: unimodal ones of N training examples.
    present: the modalities that each example has. Bool, shape [M, N].
    num_components: K.
    chunk_size: examples per call.

  Raises:
    ValueError: fewer examples than components.
  """
  key_draw, key_fit = jax.random.split(key)
  num_examples = posteriors.shared.mean.shape[1]
  parts = []
  for number, chunk in enumerate(
    chunks.padded_chunks(num_examples, min(chunk_size, num_examples))
  ):
    batch = chunks.put(posteriors.take(chunk.rows), axis=1)
    found = hosts.fetch(
      _draw(
        jax.random.fold_in(key_draw, number),
        model,
        batch,
        chunks.put(present[:, chunk.rows], axis=1),
      )
    )
    parts.append([leaf[: chunk.num_valid] for leaf in found])
  draws, means = (np.concatenate(leaves) for leaves in zip(*parts, strict=True))
  seed = int(jax.random.bits(key_fit, dtype=jnp.uint32))
  return fit(draws, means, num_components=num_components, seed=seed)


def fit(
  draws: np.ndarray, means: np.ndarray, *, num_components: int, seed: int = 0
) -> Fit:
  """A mixture fitted to draws by EM, from scikit-learn.

  With full covariances in the MAX_DIRECTIONS directions in which the means
  vary most. Across them, where D is larger, one diagonal Gaussian is fitted: a
  trained model leaves most of many latents at their prior, and draws alone do
  not tell their noise from what matters.

  Args:
    draws: of the posteriors of N examples. Shape [N, D].
    means: of the same posteriors. Shape [N, D].
    num_components: K.
    seed: of the first guess.

  Raises:
    ValueError: shapes that differ, or fewer examples than components.
  """
  if draws.ndim != 2 or draws.shape != means.shape:
    raise ValueError(
      f'draws and means must have one shape [N, D]; got {draws.shape} and '
      f'{means.shape}'
    )
  if len(draws) < num_components:
    raise ValueError(
      f'expected at least as many examples as components, {num_components}; '
      f'got {len(draws)}'
    )
  draws, means = draws.astype(np.float64), means.astype(np.float64)
  # Rows, by the variance of the means along them, the largest first.
  directions = np.linalg.eigh(np.atleast_2d(np.cov(means.T)))[1].T[::-1]
  centre = draws.mean(axis=0)
  turned = (draws - centre) @ directions.T
  inner = min(draws.shape[1], MAX_DIRECTIONS)
  found = GaussianMixture(num_components, random_state=seed % 2**32)
  # One BLAS thread: as for the probes, and the same sums on every machine.
  with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # told by the result
    found.fit(turned[:, :inner])
  size = draws.shape[1]
  factors = np.zeros((num_components, size, size))
  factors[:, :inner, :inner] = np.linalg.cholesky(found.covariances_)
  outer = np.arange(inner, size)
  factors[:, outer, outer] = turned[:, inner:].std(axis=0)
  sampler = Sampler(
    found.weights_,
    found.means_ @ directions[:inner] + centre,
    directions.T @ factors,
  )
  return Fit(
    Sampler(*(array.astype(np.float32) for array in sampler)),
    len(draws),
    found.converged_,
  )


def save(path: pathlib.Path, sampler: Sampler) -> None:
  """Writes it as .npz, whole or not at all.

  Raises:
    OSError: it cannot be written; names the file.
  """
  write_atomically(path, weights.packed(sampler))


def load(
  path: pathlib.Path, *, num_components: int, latent_dim: int
) -> Sampler:
  """What `save` wrote.

  Args:
    path: of the file.
    num_components: K.
    latent_dim: D.

  Raises:
    ValueError: a file that is damaged or of another K or D; names it.
    OSError: a file that is missing or cannot be read.
  """
  size = (num_components, latent_dim)
  shapes = ((num_components,), size, (*size, latent_dim))
  found = weights.load(
    path,
    {
      name: (shape, np.float32)
      for name, shape in zip(Sampler._fields, shapes, strict=True)
    },
  )
  return Sampler(**found)


@functools.partial(jax.jit, static_argnames='model')
def _draw(
  key: jax.Array, model: Model, posteriors: Posteriors, present: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """A draw of q(z | X), and the mean of the component it is from. [B, D]."""
  key_component, key_noise = jax.random.split(key)

  def of_one(example: Posteriors, row: jax.Array) -> Mixture:
    one = jax.tree.map(lambda leaf: leaf[:, None], example)
    q = model.subset_posterior(one, row)
    return jax.tree.map(lambda leaf: leaf[:, 0], q)

  whole = jax.vmap(of_one, in_axes=1, out_axes=1)(posteriors, present)
  q = mixture.select(key_component, whole)
  return gaussian.sample(key_noise, q), q.mean
