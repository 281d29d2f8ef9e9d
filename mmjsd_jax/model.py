"""A multimodal VAE: encode, fuse, sample, decode, and the objective of it all.

The latents of modality m are (s_m, z): its style s_m, which may be empty, in
front of z, which all modalities share (mmJSD, Sec. 3.3). Pure functions of
(params, ...); a `Model` holds only what is static. Legend in gaussian.py.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mmjsd_jax import fusion, gaussian, networks, objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.objectives import ElboTerms, Objective

Params = dict[str, dict[str, Any]]  # modality -> {'encoder', 'decoder'}
Statistics = dict[str, dict[str, Any]]  # the same, of batch statistics alone

# Folded into the step's key for dropout; the objective splits it into four.
_DROPOUT = 2**31


class Modality(NamedTuple):
  """One modality's networks and likelihood.

  Attributes:
    name: its key in inputs and parameters.
    shape: of one example as stored, without the batch.
    encoder: x [B, ...] -> Gaussian [B, style_dim + D], the style first.
    decoder: [..., style_dim + D] -> the likelihood's parameter, [..., *shape].
      Either may behave in another way in training: see networks.py.
    to_float: stored x (uint8 images) to the values that networks see.
    log_likelihood: (x [B, ...], decoded [..., B, ...]) -> [..., B], in nats.
    style_dim: D_m, latents of this modality alone.
    at_access: (key, x as stored [B, ...]) -> x as stored: what is drawn anew
      whenever an example is used. None changes nothing.
    weight: of its log-likelihood in the objective, unless others are given.
    mean: the likelihood's parameter [..., *] to the mean of p(x | z), as of
      logits or with a learned scale; None where it is one, and of text, whose
      logits say more.
    filler: the character that fills texts up.
  """

  name: str
  shape: tuple[int, ...]
  encoder: nn.Module
  decoder: nn.Module
  to_float: Callable[[jax.Array], jax.Array]
  log_likelihood: Callable[[jax.Array, jax.Array], jax.Array]
  style_dim: int = 0
  at_access: Callable[[jax.Array, jax.Array], jax.Array] | None = None
  weight: float = 1.0
  mean: Callable[[jax.Array], jax.Array] | None = None
  filler: str = ' '


class Posteriors(NamedTuple):
  """Unimodal posteriors. Every leaf has the examples along axis 1.

  Attributes:
    shared: q(z | x_m). Shape [M, B, D].
    styles: q(s_m | x_m), one for each modality. Shape [1, B, D_m].
  """

  shared: Gaussian
  styles: tuple[Gaussian, ...]

  def take(self, rows: np.ndarray) -> 'Posteriors':
    """Those of the examples `rows`."""
    return jax.tree.map(lambda leaf: leaf[:, rows], self)


class Model(NamedTuple):
  """Static description of a multimodal VAE.

  Attributes:
    modality_list: in the order of the leading axis M.
    latent_dim: D, of the shared latents.
    objective: the cell of the grid.
    pi: weights of the Jensen-Shannon divergence, the prior last.
    draws_per_decode: decode so many draws of z at a time, and again for the
      gradient, so that memory does not grow with K. 0 decodes all at once.
    compute_dtype: of products and activations in networks, 'float32' or
      'bfloat16'; parameters, posteriors and likelihoods stay float32.
  """

  modality_list: tuple[Modality, ...]
  latent_dim: int
  objective: Objective
  pi: tuple[float, ...] | None = None
  draws_per_decode: int = 0
  compute_dtype: str = 'float32'

  @property
  def modalities(self) -> tuple[str, ...]:
    """The modalities' names, in the order of the leading axis M."""
    return tuple(modality.name for modality in self.modality_list)

  def init(self, key: jax.Array) -> Params:
    """Fresh parameters, with batch statistics where networks have them."""
    params = {}
    for index, modality in enumerate(self.modality_list):
      key_encoder, key_decoder = jax.random.split(
        jax.random.fold_in(key, index)
      )
      x = modality.to_float(jnp.zeros((1, *modality.shape), jnp.uint8))
      z = jnp.zeros((1, modality.style_dim + self.latent_dim), jnp.float32)
      params[modality.name] = {
        'encoder': networks.init(modality.encoder, key_encoder, x),
        'decoder': networks.init(modality.decoder, key_decoder, z),
      }
    return params

  def access(self, key: jax.Array, inputs: dict[str, Any]) -> dict[str, Any]:
    """What is used of examples as stored: draws that belong to the access."""
    return {
      modality.name: inputs[modality.name]
      if modality.at_access is None
      else modality.at_access(
        jax.random.fold_in(key, index), inputs[modality.name]
      )
      for index, modality in enumerate(self.modality_list)
    }

  def encode(
    self,
    params: Params,
    inputs: dict[str, jax.Array],
    present: jax.Array | None = None,
  ) -> Posteriors:
    """Unimodal posteriors of B examples.

    Args:
      params: of `init`.
      inputs: modality name -> x as stored. Shape [B, ...].
      present: Bool, shape [M, B]; absent inputs are replaced before they reach
        a network, whatever they hold.
    """
    return self._encode(_Run(self, params), inputs, present)

  def train_encode(
    self,
    key: jax.Array,
    params: Params,
    inputs: dict[str, jax.Array],
    present: jax.Array | None = None,
  ) -> Posteriors:
    """`encode` as `train_elbo` of the same key does it."""
    return self._encode(_Run(self, params, key), inputs, present)

  def _encode(
    self,
    run: '_Run',
    inputs: dict[str, jax.Array],
    present: jax.Array | None,
  ) -> Posteriors:
    shared, styles = [], []
    for index, (modality, x) in enumerate(
      zip(self.modality_list, self._floats(inputs, present), strict=True)
    ):
      mask = None if present is None else present[index]
      q = run.apply(index, 'encoder', x, mask)
      if q.mean.shape[-1] != modality.style_dim + self.latent_dim:
        raise ValueError(
          f'the encoder of {modality.name} must have {modality.style_dim} + '
          f'{self.latent_dim} latents; got {q.mean.shape[-1]}'
        )
      cut = modality.style_dim
      styles.append(jax.tree.map(lambda leaf, n=cut: leaf[None, :, :n], q))
      shared.append(jax.tree.map(lambda leaf, n=cut: leaf[:, n:], q))
    return Posteriors(
      jax.tree.map(lambda *leaves: jnp.stack(leaves), *shared), tuple(styles)
    )

  def decode(
    self, params: Params, z: jax.Array, styles: Sequence[jax.Array] = ()
  ) -> dict[str, jax.Array]:
    """The means of p(x_m | s_m, z) of every modality; of texts logits.

    Args:
      params: of `init`.
      z: Shape [..., D].
      styles: one for each modality, [..., D_m]; () where all are empty.

    Returns:
      Modality name -> [..., *shape].
    """
    means = {}
    run = _Run(self, params)
    for index, (modality, latents) in enumerate(
      zip(self.modality_list, self._latents([z], styles), strict=True)
    ):
      decoded = run.apply(index, 'decoder', latents)
      to_mean = modality.mean
      means[modality.name] = decoded if to_mean is None else to_mean(decoded)
    return means

  def log_likelihoods(
    self,
    params: Params,
    inputs: dict[str, jax.Array],
    z: jax.Array,
    styles: Sequence[jax.Array] = (),
    present: jax.Array | None = None,
  ) -> jax.Array:
    """log p(x_m | s_m, z[m]), in nats, unweighted. Shape [M, N, B].

    Args:
      params: of `init`.
      inputs: modality name -> x as stored. Shape [B, ...].
      z: Shape [M, N, B, D].
      styles: one for each modality, [N, B, D_m]; () where all are empty.
      present: as in `encode`.
    """
    run = _Run(self, params)
    return self._log_likelihoods(run, inputs, z, styles, present)

  def _log_likelihoods(
    self,
    run: '_Run',
    inputs: dict[str, jax.Array],
    z: jax.Array,
    styles: Sequence[jax.Array],
    present: jax.Array | None,
  ) -> jax.Array:
    values = []
    for index, (modality, x, latents) in enumerate(
      zip(
        self.modality_list,
        self._floats(inputs, present),
        self._latents(z, styles),
        strict=True,
      )
    ):

      def of_draws(latents, index=index, modality=modality, x=x):
        decoded = run.apply(index, 'decoder', latents)
        return modality.log_likelihood(x, decoded)

      if 0 < self.draws_per_decode < len(latents):
        values.append(
          jax.lax.map(
            jax.checkpoint(of_draws),
            latents,
            batch_size=self.draws_per_decode,
          )
        )
      else:
        values.append(of_draws(latents))
    return jnp.stack(values)

  def subset_posterior(self, posteriors: Posteriors, row: jax.Array) -> Mixture:
    """q(z | X_k) of one subset, by the objective's rule."""
    return fusion.subset_posterior(
      posteriors.shared, row, self.objective, pi=self._pi(posteriors.shared)
    )

  def subset_styles(
    self, posteriors: Posteriors, row: jax.Array
  ) -> tuple[Gaussian, ...]:
    """Styles given a subset: q(s_m | x_m) in it, else N(0, I). [B, D_m]."""
    return tuple(
      jax.tree.map(lambda leaf, n=index: jnp.where(row[n], leaf[0], 0), style)
      for index, style in enumerate(posteriors.styles)
    )

  def sample_styles(
    self, key: jax.Array, posteriors: Posteriors, row: jax.Array
  ) -> tuple[jax.Array, ...]:
    """One draw of `subset_styles`. Shape [B, D_m] each."""
    return tuple(
      gaussian.sample(jax.random.fold_in(key, index), q)
      for index, q in enumerate(self.subset_styles(posteriors, row))
    )

  def decode_prior(
    self, key: jax.Array, params: Params, num_samples: int
  ) -> dict[str, jax.Array]:
    """Decoded draws of N(0, I), styles included. [num_samples, *shape]."""
    key_z, key_styles = jax.random.split(key)
    z = jax.random.normal(key_z, (num_samples, self.latent_dim))
    return self.decode_shared(key_styles, params, z)

  def decode_shared(
    self, key: jax.Array, params: Params, z: jax.Array
  ) -> dict[str, jax.Array]:
    """Decoded z [N, D] with styles drawn from N(0, I). [N, *shape]."""
    styles = tuple(
      jax.random.normal(
        jax.random.fold_in(key, index), (len(z), modality.style_dim)
      )
      for index, modality in enumerate(self.modality_list)
    )
    return self.decode(params, z, styles)

  def elbo(
    self,
    key: jax.Array,
    params: Params,
    inputs: dict[str, jax.Array],
    *,
    present: jax.Array | None = None,
    beta: jax.typing.ArrayLike = 1.0,
    likelihood_weights: jax.Array | None = None,
    beta_style: jax.typing.ArrayLike = 1.0,
    style_weights: jax.Array | None = None,
  ) -> ElboTerms:
    """objectives.elbo of this model, in evaluation. One number per example."""
    return self._elbo(
      key,
      _Run(self, params),
      inputs,
      present=present,
      beta=beta,
      likelihood_weights=likelihood_weights,
      beta_style=beta_style,
      style_weights=style_weights,
    )

  def train_elbo(
    self,
    key: jax.Array,
    params: Params,
    inputs: dict[str, jax.Array],
    *,
    present: jax.Array | None = None,
    **settings: Any,
  ) -> tuple[ElboTerms, Statistics]:
    """`elbo` in training: with dropout, and by statistics of the batch.

    Those of encoders are of the examples that have the modality; those of
    decoders of all draws of all examples.

    Args:
      key: PRNG key, consumed; without dropout, the draws of `elbo`.
      params: of `init`.
      inputs: modality name -> x as stored. Shape [B, ...].
      present: Bool, shape [M, B]; None means all.
      **settings: beta and weights, as in `elbo`.

    Returns:
      The terms, and the new batch statistics, for `with_statistics`.

    Raises:
      ValueError: see `check_training`.
    """
    self.check_training()
    run = _Run(self, params, key)
    terms = self._elbo(key, run, inputs, present=present, **settings)
    return terms, run.statistics

  def check_training(self) -> None:
    """Refuses what can be evaluated but not trained.

    Raises:
      ValueError: draws are decoded in parts by a decoder whose batch statistics
        are of all of them.
    """
    for modality in self.modality_list:
      if self.draws_per_decode and networks.takes_train(modality.decoder):
        raise ValueError(
          'draws_per_decode must be 0, as all draws enter the batch statistics '
          f'of the decoder of {modality.name}; got {self.draws_per_decode}'
        )

  def _elbo(
    self,
    key: jax.Array,
    run: '_Run',
    inputs: dict[str, jax.Array],
    *,
    present: jax.Array | None,
    **settings: Any,
  ) -> ElboTerms:
    posteriors = self._encode(run, inputs, present)
    has_styles = any(modality.style_dim for modality in self.modality_list)
    return objectives.elbo(
      key,
      posteriors.shared,
      lambda z, styles=(): self._log_likelihoods(
        run, inputs, z, styles, present
      ),
      objective=self.objective,
      present=present,
      pi=self._pi(posteriors.shared),
      styles=[jax.tree.map(lambda leaf: leaf[0], q) for q in posteriors.styles]
      if has_styles
      else None,
      **settings,
    )

  def _latents(self, z, styles):
    """(s_m, z[m]) of every modality; one z may serve all."""
    zs = [z[0]] * len(self.modality_list) if len(z) == 1 else jnp.unstack(z)
    if not styles:
      styles = [shared[..., :0] for shared in zs]
    sizes = tuple(modality.style_dim for modality in self.modality_list)
    got = tuple(style.shape[-1] for style in styles)
    if got != sizes:
      raise ValueError(f'styles must have {sizes} latents; got {got}')
    return [
      jnp.concatenate([style, shared], axis=-1)
      for style, shared in zip(styles, zs, strict=True)
    ]

  def _pi(self, experts: Gaussian) -> jax.Array | None:
    if self.pi is None:
      return None
    return jnp.asarray(self.pi, experts.mean.dtype)

  def _floats(self, inputs, present):
    """Every modality's x as floats, zero where absent."""
    for index, modality in enumerate(self.modality_list):
      x = inputs[modality.name]
      if x.shape[1:] != modality.shape:
        raise ValueError(
          f'{modality.name} must have shape [B, {modality.shape}]; got '
          f'{x.shape}'
        )
      x = modality.to_float(x)
      if present is not None:
        mask = present[index].reshape((-1,) + (1,) * (x.ndim - 1))
        x = jnp.where(mask, x, 0)
      yield x


class _Run:
  """Networks of a model as they are in training, or without a key evaluation.

  Attributes:
    statistics: the new ones, of networks that have been applied in training.
  """

  def __init__(
    self, model: Model, params: Params, key: jax.Array | None = None
  ):
    self._model, self._params, self._key = model, params, key
    self.statistics: Statistics = {name: {} for name in model.modalities}

  def apply(
    self, index: int, part: str, x: jax.Array, mask: jax.Array | None = None
  ) -> Any:
    """What the encoder or decoder of a modality gives of x."""
    modality = self._model.modality_list[index]
    network: nn.Module = getattr(modality, part)
    params = self._params[modality.name][part]
    compute_dtype = self._model.compute_dtype
    if self._key is None or not networks.takes_train(network):
      return networks.evaluate(network, params, x, compute_dtype)
    found = self.statistics[modality.name]
    assert part not in found, 'a second batch would replace the first one'
    key = jax.random.fold_in(self._key, _DROPOUT + index)
    key = jax.random.fold_in(key, int(part == 'decoder'))
    output, found[part] = networks.train(
      network, params, key, x, mask, compute_dtype
    )
    return output


def with_statistics(params: Params, statistics: Statistics) -> Params:
  """The parameters with the batch statistics of `train_elbo`."""
  return {
    name: {
      part: networks.join(layers, statistics[name].get(part, {}))
      for part, layers in parts.items()
    }
    for name, parts in params.items()
  }


def pixels_to_float(x: jax.Array) -> jax.Array:
  """uint8 0..255 to float32 0..1; floats are passed on."""
  if jnp.issubdtype(x.dtype, jnp.floating):
    return x
  return x.astype(jnp.float32) / 255
