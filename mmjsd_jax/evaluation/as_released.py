"""The authors' estimators where they differ, for comparison with their tables.

None of these is a recommended measurement. What each does otherwise is said at
its function; coherence as released is `coherence.py` with classifiers in
training mode. Source: github.com/thomassutter/MoPoE at 0ad2d56.

Legend: B batch, M modalities, S subsets, D shared latent, K importance samples,
N examples.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import gaussian, hosts, mixture
from mmjsd_jax.evaluation import log_likelihood
from mmjsd_jax.model import Model, Params, Posteriors

# "12 imp samples because divisible by 3", in batches of 64: MoPoE code.
NUM_IMPORTANCE_SAMPLES = 12
LIKELIHOOD_BATCH_SIZE = 64
NUM_PROBE_SAMPLES = 500


def draw_probe_rows(key: jax.Array, num_rows: int) -> np.ndarray:
  """Rows that a probe learns from: 500, drawn with replacement. Shape [500].

  Args:
    key: PRNG key, consumed.
    num_rows: of the training split.
  """
  shape = (NUM_PROBE_SAMPLES,)
  return np.asarray(jax.random.randint(key, shape, 0, num_rows))


def regrouped_log_likelihood(log_weights: jax.Array) -> jax.Array:
  """The reduction of the released evaluators: wrong, for comparison only.

  The mmJSD and MoPoE code (`utils/likelihood.py`) lays the log-weights out
  sample by sample, [K, B], and reads them as [B, K]. Each logarithm of a mean
  then runs over K different examples, which inflates the result by about the
  largest of K draws of log p(X) over the data.

  Args:
    log_weights: Shape [K, B].

  Returns:
    Shape [B]; only the mean over B means anything.
  """
  num_samples, batch = log_weights.shape
  misread = log_weights.reshape(batch, num_samples)
  return jax.nn.logsumexp(misread, axis=1) - jnp.log(num_samples)


def estimate_log_likelihood(
  key: jax.Array,
  model: Model,
  params: Params,
  inputs: dict[str, np.ndarray],
  posteriors: Posteriors,
  subsets: np.ndarray,
  *,
  num_samples: int = NUM_IMPORTANCE_SAMPLES,
  batch_size: int = LIKELIHOOD_BATCH_SIZE,
) -> np.ndarray:
  """What the MoPoE code prints as log-likelihood, in nats: for comparison only.

  One mixture component per example, its own density alone as denominator, K =
  12 draws, and the regrouping of `regrouped_log_likelihood`. A last batch that
  is not full is left out, as there.

  Args:
    key: PRNG key, consumed.
    model: what `params` belong to.
    params: the networks' weights.
    inputs: modality name -> arrays whose first axis is N.
    posteriors: unimodal ones of the inputs.
    subsets: membership rows. Bool, shape [S, M].
    num_samples: K, the draws per example.
    batch_size: examples per batch, over which the weights are misgrouped.

  Returns:
    Shape [S, N rounded down to full batches]; only means over N mean anything.
  """
  num_examples = posteriors.shared.mean.shape[1]
  batch_size = min(batch_size, num_examples)
  found = []
  for start in range(0, num_examples - batch_size + 1, batch_size):
    rows = np.arange(start, start + batch_size)
    batch, of_batch = log_likelihood.put_batch(inputs, posteriors, rows)
    found.append(
      [
        regrouped_log_likelihood(
          _log_weights(
            jax.random.fold_in(jax.random.fold_in(key, start), number),
            model,
            params,
            batch,
            of_batch,
            row,
            num_samples=num_samples,
          )
        )
        for number, row in enumerate(subsets)
      ]
    )
  return np.concatenate(hosts.fetch(found), axis=-1)


@functools.partial(jax.jit, static_argnames=('model', 'num_samples'))
def _log_weights(
  key: jax.Array,
  model: Model,
  params: Params,
  inputs: dict[str, jax.Array],
  posteriors: Posteriors,
  row: jax.Array,
  *,
  num_samples: int,
) -> jax.Array:
  """Log-weights [K, B] with the drawn component's density as denominator."""
  key_component, key_noise, key_styles = jax.random.split(key, 3)
  q = mixture.select(
    key_component,
    model.subset_posterior(posteriors, row),
    method='stratified_as_released',
  )
  q = jax.tree.map(
    lambda leaf: jnp.broadcast_to(leaf[None], (num_samples, *leaf.shape)), q
  )
  z = gaussian.sample(key_noise, q)
  styles, style_ratio = log_likelihood.sample_styles(
    key_styles, model, posteriors, row, num_samples
  )
  log_joint = log_likelihood.log_joint(model, params, inputs, z, styles)
  return log_joint - gaussian.log_density(z, q) - style_ratio
