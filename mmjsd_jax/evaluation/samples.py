"""What the figures show: reconstructions, samples, conditional samples.

Legend: C columns of a figure, M modalities, D shared latent.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import hosts, mixture
from mmjsd_jax.data import gaps
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.evaluation import chunks
from mmjsd_jax.model import Model, Params

NUM_DRAWS = 10
NUM_PRIOR_DRAWS = 100
# Examples that are shown where they have no labels.
NUM_UNLABELLED = 10
# With more modalities, a single one is the source.
MAX_SOURCES = 3


class FigureSamples(NamedTuple):
  """What the figures show. C columns: a test example of every class.

  Items are by modality: as stored in `originals`, and elsewhere as decoded, of
  images floats with 0 black and 1 white, not clipped, of texts logits.

  Attributes:
    labels: class of every column, -1 where it is unknown; shape [C].
    originals: the test examples. Shape [C, ...].
    reconstructions: decoded from one draw given all modalities. [C, ...].
    prior: decoded from 100 draws of N(0, I), the same for all modalities.
      Shape [100, ...].
    from_one: source -> every other modality, ten draws of the posterior given
      the source alone. Shape [10, C, ...].
    from_rest: every modality, ten draws given all others. Shape [10, C, ...].
      Empty for two modalities, where `from_one` has them.
    swapped: every modality that has a style, decoded from the content of one
      column and the style of another. Shape [C, C, ...], content first.
  """

  labels: np.ndarray
  originals: dict[str, np.ndarray]
  reconstructions: dict[str, np.ndarray]
  prior: dict[str, np.ndarray]
  from_one: dict[str, dict[str, np.ndarray]]
  from_rest: dict[str, np.ndarray]
  swapped: dict[str, np.ndarray]


@chunks.over_devices_of_params
def samples_for_figures(
  model: Model,
  params: Params,
  dataset: Dataset,
  key: jax.Array,
  *,
  condition_on: str = '',
) -> FigureSamples | None:
  """What the figures show, the same for the same key.

  None where no test example has all modalities.

  Args:
    model: what `params` belong to.
    params: the networks' weights.
    dataset: its test split gives the inputs, at random within every class;
      a class that it lacks is replaced by any example. Examples that lack a
      modality are not shown; of a set without labels ten are.
    key: PRNG key, consumed.
    condition_on: the first source of `from_one`, and the only one where there
      are more than three modalities; '' is the first modality.

  Raises:
    ValueError: `condition_on` is no modality.
  """
  names = model.modalities
  source = condition_on or names[0]
  if source not in names:
    raise ValueError(f'condition_on must be one of {names}; got {source!r}')
  key_order, key_prior, key_draws, key_access = jax.random.split(key, 4)
  labels = dataset.test.labels
  complete = gaps.complete(dataset.test)
  if not complete.size:
    return None
  order = complete[jax.random.permutation(key_order, len(complete))]
  # The first example of every class; argmax of a row without one gives 0.
  is_class = labels[order][None] == np.arange(dataset.num_classes)[:, None]
  columns = order[np.argmax(is_class, axis=1)]
  if not dataset.num_classes:
    columns = np.resize(order, NUM_UNLABELLED)
  chosen = dataset.test.take(columns).inputs
  originals = hosts.fetch(model.access(key_access, chosen))

  def draw(number: int, row: np.ndarray) -> dict[str, np.ndarray]:
    key_row = jax.random.fold_in(key_draws, number)
    return hosts.fetch(_draw(key_row, model, params, originals, row))

  one = {name: np.array([m == name for m in names]) for name in names}
  given_source = draw(0, one[source])
  everything = draw(1, np.ones(len(names), bool))
  from_rest = {}
  if len(names) > 2:
    for number, name in enumerate(names, start=2):
      from_rest[name] = draw(number, ~one[name])[name]
  from_one = {source: given_source}
  if len(names) <= MAX_SOURCES:
    for number, name in enumerate(names, start=2 + len(names)):
      if name != source:
        from_one[name] = draw(number, one[name])
  key_swap = jax.random.fold_in(key_draws, 2 + 2 * len(names))
  return FigureSamples(
    labels=labels[columns],
    originals=originals,
    reconstructions={name: x[0] for name, x in everything.items()},
    prior=hosts.fetch(_draw_prior(key_prior, model, params)),
    from_one={
      given: {name: x for name, x in draws.items() if name != given}
      for given, draws in from_one.items()
      if len(names) > 1
    },
    from_rest=from_rest,
    swapped=hosts.fetch(_swap(key_swap, model, params, originals)),
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


@functools.partial(jax.jit, static_argnames='model')
def _swap(
  key: jax.Array, model: Model, params: Params, inputs: dict[str, jax.Array]
) -> dict[str, jax.Array]:
  """Content of a row, style of a column, decoded. Shape [C, C, ...] each.

  As in the papers' programs: content is a draw of q(z | x_m of the row), style
  the mean of q(s_m | x_m of the column).
  """
  posteriors = model.encode(params, inputs)
  num_columns = posteriors.shared.mean.shape[1]
  styles = [
    jnp.tile(style.mean[0], (num_columns, 1)) for style in posteriors.styles
  ]
  swapped = {}
  for index, modality in enumerate(model.modality_list):
    if modality.style_dim == 0:
      continue
    row = jnp.arange(len(model.modality_list)) == index
    z = mixture.sample(
      jax.random.fold_in(key, index),
      model.subset_posterior(posteriors, row),
      method='categorical',
    )
    decoded = model.decode(params, jnp.repeat(z, num_columns, axis=0), styles)
    x = decoded[modality.name]
    swapped[modality.name] = x.reshape(num_columns, -1, *x.shape[1:])
  return swapped
