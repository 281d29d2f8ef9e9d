"""A multimodal VAE: encode, fuse, sample, decode, and the objective of it all.

Pure functions of (params, ...); a `Model` holds only what is static. Legend in
gaussian.py.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from mmjsd_jax import objectives
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.mixture import Mixture
from mmjsd_jax.objectives import ElboTerms, Objective

Params = dict[str, dict[str, Any]]  # modality -> {'encoder', 'decoder'}


class Modality(NamedTuple):
  """One modality's networks and likelihood.

  Attributes:
    name: its key in inputs and parameters.
    shape: of one example as stored, without the batch.
    encoder: x [B, ...] -> Gaussian [B, D].
    decoder: z [..., D] -> the likelihood's parameter, [..., *shape].
    to_float: stored x (uint8 images) to the values that networks see.
    log_likelihood: (x [B, ...], decoded [..., B, ...]) -> [..., B], in nats.
  """

  name: str
  shape: tuple[int, ...]
  encoder: nn.Module
  decoder: nn.Module
  to_float: Callable[[jax.Array], jax.Array]
  log_likelihood: Callable[[jax.Array, jax.Array], jax.Array]


class Model(NamedTuple):
  """Static description of a multimodal VAE."""

  modality_list: tuple[Modality, ...]
  latent_dim: int
  objective: Objective
  pi: tuple[float, ...] | None = None

  @property
  def modalities(self) -> tuple[str, ...]:
    """The modalities' names, in the order of the leading axis M."""
    return tuple(modality.name for modality in self.modality_list)

  def init(self, key: jax.Array) -> Params:
    """Fresh parameters."""
    params = {}
    for index, modality in enumerate(self.modality_list):
      key_encoder, key_decoder = jax.random.split(
        jax.random.fold_in(key, index)
      )
      x = jnp.zeros((1, *modality.shape), jnp.float32)
      z = jnp.zeros((1, self.latent_dim), jnp.float32)
      params[modality.name] = {
        'encoder': _init(modality.encoder, key_encoder, x),
        'decoder': _init(modality.decoder, key_decoder, z),
      }
    return params

  def encode(
    self,
    params: Params,
    inputs: dict[str, jax.Array],
    present: jax.Array | None = None,
  ) -> Gaussian:
    """Unimodal posteriors q(z | x_m). Shape [M, B, D].

    Args:
      params: of `init`.
      inputs: modality name -> x as stored. Shape [B, ...].
      present: Bool, shape [M, B]; absent inputs are replaced before they reach
        a network, whatever they hold.
    """
    experts = [
      _apply(modality.encoder, params[modality.name]['encoder'], x)
      for modality, x in zip(
        self.modality_list, self._floats(inputs, present), strict=True
      )
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)

  def decode(self, params: Params, z: jax.Array) -> dict[str, jax.Array]:
    """Means of p(x_m | z) of every modality. z [..., D] -> [..., *shape]."""
    return {
      modality.name: _apply(
        modality.decoder, params[modality.name]['decoder'], z
      )
      for modality in self.modality_list
    }

  def log_likelihoods(
    self,
    params: Params,
    inputs: dict[str, jax.Array],
    z: jax.Array,
    present: jax.Array | None = None,
  ) -> jax.Array:
    """log p(x_m | z[m]), in nats, unweighted. [M, N, B, D] -> [M, N, B]."""
    return jnp.stack(
      [
        modality.log_likelihood(
          x,
          _apply(modality.decoder, params[modality.name]['decoder'], z[index]),
        )
        for index, (modality, x) in enumerate(
          zip(self.modality_list, self._floats(inputs, present), strict=True)
        )
      ]
    )

  def subset_posterior(self, experts: Gaussian, row: jax.Array) -> Mixture:
    """q(z | X_k) of one subset, by the objective's rule."""
    return objectives.subset_posterior(
      experts, row, self.objective, pi=self._pi(experts)
    )

  def elbo(
    self,
    key: jax.Array,
    params: Params,
    inputs: dict[str, jax.Array],
    *,
    present: jax.Array | None = None,
    beta: jax.typing.ArrayLike = 1.0,
    likelihood_weights: jax.Array | None = None,
  ) -> ElboTerms:
    """objectives.elbo of this model. One number per example."""
    experts = self.encode(params, inputs, present)
    return objectives.elbo(
      key,
      experts,
      lambda z: self.log_likelihoods(params, inputs, z, present),
      objective=self.objective,
      present=present,
      beta=beta,
      pi=self._pi(experts),
      likelihood_weights=likelihood_weights,
    )

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


# Compiled once for equal networks: in one program for a whole model, the draws
# of every modality would be compiled anew.
@functools.partial(jax.jit, static_argnames='network')
def _init(network: nn.Module, key: jax.Array, x: jax.Array) -> Any:
  return network.init(key, x)['params']


def _apply(network: nn.Module, params: Any, x: jax.Array) -> Any:
  return network.apply({'params': params}, x)


def pixels_to_float(x: jax.Array) -> jax.Array:
  """uint8 0..255 to float32 0..1; floats are passed on."""
  if jnp.issubdtype(x.dtype, jnp.floating):
    return x
  return x.astype(jnp.float32) / 255
