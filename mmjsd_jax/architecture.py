"""The papers' networks for every data set: what a `Model` is assembled from.

For users' own data, networks go by the kind of the modality, or are the users'
own.
"""

import functools
import math
import pkgutil
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from mmjsd_jax import likelihoods, networks
from mmjsd_jax.data import attribute_text, dsprites_text, sprites
from mmjsd_jax.data.declaration import ModalitySpec
from mmjsd_jax.modalities import (
  celeba_image,
  celeba_text,
  dense,
  mnist_image,
  polymnist_image,
  strided,
  svhn_image,
  text,
  vector,
)
from mmjsd_jax.model import Modality, Model, pixels_to_float

Colour = tuple[float, ...]
ArrayFn = Callable[..., jax.Array]


def gathered(model: Model) -> Model:
  """The same model with convolutions that stay fast under vmap.

  As gathers and matrix products: those of XLA become grouped convolutions.
  """

  def clone(network: nn.Module) -> nn.Module:
    has_backend = 'backend' in type(network).__dataclass_fields__
    return network.clone(backend='gather') if has_backend else network

  return model._replace(
    modality_list=tuple(
      modality._replace(
        encoder=clone(modality.encoder), decoder=clone(modality.decoder)
      )
      for modality in model.modality_list
    )
  )


def make_modalities(
  dataset: str,
  modalities: Sequence[str],
  *,
  latent_dim: int,
  style_dims: Sequence[int] = (),
  hidden_dim: int = 512,
  width: int = 128,
  first_colours: Mapping[str, Colour] | None = None,
  text_as_released: bool = False,
  specs: Sequence[ModalitySpec] = (),
) -> tuple[Modality, ...]:
  """Networks and likelihoods of a data set's modalities.

  Args:
    dataset: 'polymnist', 'mnist_svhn_text', 'celeba', 'dsprites_text' or
      'custom'.
    modalities: names of those to use.
    latent_dim: D, of the shared latents.
    style_dims: one for each of `modalities`; () is none.
    hidden_dim: of PolyMNIST's encoders.
    width: of CelebA's networks, channels of the first convolution.
    first_colours: what the decoders of colour images start from.
    text_as_released: the inverted text likelihood of the authors' code.
    specs: what the modalities of a custom data set are, completed from the
      data. Networks that they name are imported, which runs their code.

  Raises:
    ValueError: an unknown data set, or networks that cannot be had.
  """
  colours = first_colours or {}
  makers: dict[str, Callable[[str, int], Modality]] = {
    'polymnist': functools.partial(_polymnist, hidden_dim, colours),
    'mnist_svhn_text': functools.partial(
      _mnist_svhn_text, text_as_released, colours
    ),
    'celeba': functools.partial(_celeba, width, text_as_released, colours),
    'dsprites_text': _dsprites_text,
    'custom': functools.partial(_custom, {spec.name: spec for spec in specs}),
  }
  if dataset not in makers:
    raise ValueError(f'data set must be one of {tuple(makers)}; got {dataset}')
  sizes = tuple(style_dims) or (0,) * len(modalities)
  return tuple(
    makers[dataset](name, size + latent_dim)._replace(style_dim=size)
    for name, size in zip(modalities, sizes, strict=True)
  )


def weights_by_size(modalities: Sequence[Modality]) -> tuple[float, ...]:
  """Likelihood weights: 1 for the largest modality, others by their size.

  mmJSD, Sec. 4.1: MNIST 3072 / 784 = 3.918, SVHN 1, Text 3072 / 8 = 384; the
  size of text is its length, as in the authors' code.
  """
  sizes = [math.prod(modality.shape) for modality in modalities]
  return tuple(max(sizes) / size for size in sizes)


def _polymnist(
  hidden_dim: int,
  first_colours: Mapping[str, Colour],
  name: str,
  num_latents: int,
) -> Modality:
  return _image(
    name,
    polymnist_image.IMAGE_SHAPE,
    polymnist_image.Encoder(num_latents, hidden_dim),
    polymnist_image.Decoder(first_colours.get(name)),
  )


def _mnist_svhn_text(
  text_as_released: bool,
  first_colours: Mapping[str, Colour],
  name: str,
  num_latents: int,
) -> Modality:
  if name == 'text':
    return Modality(
      name,
      (text.LENGTH,),
      text.Encoder(num_latents),
      text.Decoder(as_released=text_as_released),
      text.to_float,
      likelihoods.one_hot_categorical,
      at_access=text.place,
    )
  # The embedded digits take the networks of what they stand in for.
  if name in ('mnist', 'digits'):
    return _image(
      name,
      mnist_image.IMAGE_SHAPE,
      mnist_image.Encoder(num_latents),
      mnist_image.Decoder(),
    )
  return _image(
    name,
    svhn_image.IMAGE_SHAPE,
    svhn_image.Encoder(num_latents),
    svhn_image.Decoder(first_colours.get(name)),
  )


def _celeba(
  width: int,
  text_as_released: bool,
  first_colours: Mapping[str, Colour],
  name: str,
  num_latents: int,
) -> Modality:
  if name == 'text':
    return Modality(
      name,
      (celeba_text.LENGTH,),
      celeba_text.Encoder(num_latents, width),
      celeba_text.Decoder(width=width, as_released=text_as_released),
      text.to_float,
      likelihoods.one_hot_categorical,
      filler=attribute_text.FILLER,
    )
  return _image(
    name,
    celeba_image.IMAGE_SHAPE,
    celeba_image.Encoder(num_latents, width),
    celeba_image.Decoder(width=width, first_colour=first_colours.get(name)),
  )


def _dsprites_text(name: str, num_latents: int) -> Modality:
  if name == 'text':
    one_hot = (dsprites_text.TEXT_LENGTH, text.NUM_SYMBOLS)
    return Modality(
      name,
      one_hot[:1],
      dense.Encoder(num_latents, one_hot),
      dense.Decoder(one_hot),
      text.to_float,
      likelihoods.one_hot_categorical,
      at_access=text.place_in_stars,
      filler=dsprites_text.FILLER,
    )
  shape = (sprites.SIDE, sprites.SIDE, 1)
  return Modality(
    name,
    shape,
    dense.Encoder(num_latents, shape),
    dense.Decoder(shape),
    pixels_to_float,
    likelihoods.bernoulli,
    mean=jax.nn.sigmoid,
  )


def _custom(
  specs: Mapping[str, ModalitySpec], name: str, num_latents: int
) -> Modality:
  spec = specs[name]
  encoder, decoder = (
    _own_networks(spec, num_latents)
    if spec.networks
    else _networks_by_kind(spec, num_latents)
  )
  return Modality(
    name,
    spec.shape,
    encoder,
    decoder,
    _to_float(spec),
    _log_likelihood(spec),
    weight=spec.weight,
    mean={'bernoulli': jax.nn.sigmoid, 'normal_learned': _without_scale}.get(
      spec.likelihood
    ),
  )


def _networks_by_kind(
  spec: ModalitySpec, num_latents: int
) -> tuple[nn.Module, nn.Module]:
  """Encoder and decoder, of sizes that follow from the shape."""
  if spec.kind == 'vector':
    learned = spec.likelihood == 'normal_learned'
    (num_columns,) = spec.shape
    return (
      vector.Encoder(num_latents, spec.width),
      vector.Decoder(num_columns, spec.width, learned),
    )
  shape = spec.shape
  if spec.kind == 'text':
    shape = (*shape, len(spec.alphabet))
  return (
    strided.Encoder(num_latents, shape, spec.width),
    strided.Decoder(shape, spec.width),
  )


def _own_networks(
  spec: ModalitySpec, num_latents: int
) -> tuple[nn.Module, nn.Module]:
  """What the user's callable gives; importing it runs its module."""
  place = f'networks of {spec.name}'
  try:
    make = pkgutil.resolve_name(spec.networks)
  except (ImportError, AttributeError) as error:
    raise ValueError(
      f'{place} must be importable; {spec.networks!r}: {error}'
    ) from None
  made = make(spec, num_latents)
  if not (
    isinstance(made, tuple)
    and len(made) == 2
    and all(isinstance(network, nn.Module) for network in made)
  ):
    raise ValueError(
      f'{place} must be (encoder, decoder), two Flax modules; '
      f'{spec.networks!r} gave {type(made).__name__}'
    )
  try:
    for network in made:
      networks.takes_train(network)
  except ValueError as error:
    raise ValueError(f'{place}, {spec.networks!r}: {error}') from None
  return made


def _to_float(spec: ModalitySpec) -> ArrayFn:
  if spec.kind == 'text':
    return functools.partial(text.to_float, num_symbols=len(spec.alphabet))
  return pixels_to_float if spec.kind == 'image' else _as_float


def _without_scale(decoded: jax.Array) -> jax.Array:
  return decoded[..., 0]


def _as_float(x: jax.Array) -> jax.Array:
  return x.astype(jnp.float32)


def _log_likelihood(spec: ModalitySpec) -> ArrayFn:
  if spec.kind == 'text':
    return likelihoods.one_hot_categorical
  function = likelihoods.LIKELIHOODS[spec.likelihood]
  if spec.scale is None:
    return function
  return functools.partial(function, scale=spec.scale)


def _image(
  name: str, shape: tuple[int, ...], encoder: nn.Module, decoder: nn.Module
) -> Modality:
  return Modality(
    name, shape, encoder, decoder, pixels_to_float, likelihoods.laplace
  )
