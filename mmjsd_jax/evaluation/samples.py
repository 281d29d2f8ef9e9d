"""What the figures show: reconstructions, samples, conditional samples.

Legend: C columns of a figure, M modalities, D shared latent.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import mixture
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.model import Model, Params

NUM_DRAWS = 10
NUM_PRIOR_DRAWS = 100


class FigureSamples(NamedTuple):
  """What the figures show. C columns: a test example of every class.

  Images are by modality, floats with 0 black and 1 white, not clipped; only
  `originals` are as stored.

  Attributes:
    labels: class of every column; shape [C].
    originals: the test examples. Shape [C, ...].
    reconstructions: decoded from one draw given all modalities. [C, ...].
    prior: decoded from 100 draws of N(0, I), the same for all modalities.
      Shape [100, ...].
    source: the modality that `from_source` is given.
    from_source: every other modality, ten draws of the posterior given the
      source alone. Shape [10, C, ...].
    from_rest: every modality, ten draws given all others. Shape [10, C, ...].
  """

  labels: np.ndarray
  originals: dict[str, np.ndarray]
  reconstructions: dict[str, np.ndarray]
  prior: dict[str, np.ndarray]
  source: str
  from_source: dict[str, np.ndarray]
  from_rest: dict[str, np.ndarray]


def samples_for_figures(
  model: Model,
  params: Params,
  dataset: Dataset,
  key: jax.Array,
  *,
  condition_on: str = '',
) -> FigureSamples:
  """Images for the figures, the same for the same key.

  Args:
    model: what `params` belong to.
    params: the networks' weights.
    dataset: its test split gives the inputs, at random within every class;
      a class that it lacks is replaced by any example.
    key: PRNG key, consumed.
    condition_on: the source of `from_source`; '' is the first modality.

  Raises:
    ValueError: `condition_on` is no modality.
  """
  names = model.modalities
  source = condition_on or names[0]
  if source not in names:
    raise ValueError(f'condition_on must be one of {names}; got {source!r}')
  key_order, key_prior, key_draws, key_access = jax.random.split(key, 4)
  labels = dataset.test.labels
  order = np.asarray(jax.random.permutation(key_order, len(labels)))
  # The first example of every class; argmax of a row without one gives 0.
  is_class = labels[order][None] == np.arange(dataset.num_classes)[:, None]
  columns = order[np.argmax(is_class, axis=1)]
  chosen = dataset.test.take(columns).inputs
  originals = jax.device_get(model.access(key_access, chosen))

  def draw(number: int, row: np.ndarray) -> dict[str, np.ndarray]:
    key_row = jax.random.fold_in(key_draws, number)
    return jax.device_get(_draw(key_row, model, params, originals, row))

  one = {name: np.array([m == name for m in names]) for name in names}
  given_source = draw(0, one[source])
  everything = draw(1, np.ones(len(names), bool))
  from_rest = {}
  if len(names) > 1:
    for number, name in enumerate(names):
      from_rest[name] = draw(2 + number, ~one[name])[name]
  return FigureSamples(
    labels=labels[columns],
    originals=originals,
    reconstructions={name: x[0] for name, x in everything.items()},
    prior=jax.device_get(_draw_prior(key_prior, model, params)),
    source=source,
    from_source={n: x for n, x in given_source.items() if n != source},
    from_rest=from_rest,
  )


@functools.partial(jax.jit, static_argnames='model')
def _draw(
  key: jax.Array,
  model: Model,
  params: Params,
  inputs: dict[str, jax.Array],
  row: jax.Array,
) -> dict[str, jax.Array]:
  """Draws of q(z | x_subset), decoded. Shape [NUM_DRAWS, C, ...] each."""
  key_z, key_styles = jax.random.split(key)
  # [M, C, ...] as [M, NUM_DRAWS * C, ...]
  posteriors = jax.tree.map(
    lambda leaf: jnp.tile(leaf, (1, NUM_DRAWS) + (1,) * (leaf.ndim - 2)),
    model.encode(params, inputs),
  )
  z = mixture.sample(
    key_z, model.subset_posterior(posteriors, row), method='categorical'
  )
  styles = model.sample_styles(key_styles, posteriors, row)
  decoded = model.decode(params, z, styles)
  return {
    name: x.reshape(NUM_DRAWS, -1, *x.shape[1:]) for name, x in decoded.items()
  }


@functools.partial(jax.jit, static_argnames='model')
def _draw_prior(
  key: jax.Array, model: Model, params: Params
) -> dict[str, jax.Array]:
  """Draws of N(0, I), decoded. Shape [NUM_PRIOR_DRAWS, ...] each."""
  return model.decode_prior(key, params, NUM_PRIOR_DRAWS)
