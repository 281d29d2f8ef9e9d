"""A trained model as files that need JAX, and nothing of this package.

  params.safetensors   the parameters, by path: 'm0/encoder/hidden/kernel'
  encode.jax           (params, inputs, present) -> the posterior
  decode.jax           (params, z, styles) -> what is decoded
  generate.jax         (params, inputs, present, key) -> what is decoded
  model.json           what each of them takes and gives
  README.md            the model card

The programs are StableHLO, as `jax.export` writes it, for any batch size, on
CPUs, NVIDIA GPUs and TPUs. Nothing is pickled.
"""

import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from safetensors import numpy as safetensors

from mmjsd_jax import inference, model_card
from mmjsd_jax.files import made_apart, write_atomically, write_json
from mmjsd_jax.inference import Posterior
from mmjsd_jax.model import Params
from mmjsd_jax.output_files import check_output
from mmjsd_jax.trained import Trained

PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(model: Trained, workdir: pathlib.Path, folder: pathlib.Path) -> None:
  """Writes the files into a new folder, which is there whole or not at all.

  Args:
    model: what is exported.
    workdir: its run's folder, of whose results the card tells.
    folder: must not exist; the folder that it is in must.

  Raises:
    OSError: it exists, or cannot be written.
    ValueError: results.json is damaged, or the networks need to know how many
      examples there are.
  """
  check_output(folder, ('',))
  with made_apart(folder) as made:
    made.mkdir()
    params = flatten(jax.device_get(model.params))
    (made / 'params.safetensors').write_bytes(safetensors.save(params))
    signatures = {}
    for name, (function, arguments) in _functions(model).items():
      exported = _exported(name, function, (_shapes(params), *arguments))
      (made / f'{name}.jax').write_bytes(exported.serialize())
      signatures[name] = {
        'takes': _written(arguments),
        'gives': _written(
          jax.tree.unflatten(exported.out_tree, exported.out_avals)
        ),
      }
    description = model_card.describe(model, workdir) | {
      'functions': signatures,
      'jax': jax.__version__,
    }
    write_json(made / 'model.json', description)
    write_atomically(made / 'README.md', model_card.render(description))


def flatten(params: Params) -> dict[str, np.ndarray]:
  """Parameters by their paths."""
  return {
    jax.tree_util.keystr(keys, simple=True, separator='/'): np.asarray(leaf)
    for keys, leaf in jax.tree_util.tree_leaves_with_path(params)
  }


def _functions(model: Trained) -> dict[str, tuple[Callable, tuple[Any, ...]]]:
  """Name -> function of flat parameters and of arguments of these shapes."""
  (batch,) = jax_export.symbolic_shape('b')

  def shaped(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, *shape), dtype)

  inputs = {
    spec.name: shaped(*spec.shape, dtype=_DTYPES[spec.kind])
    for spec in model.specs
  }
  modalities = model.modalities
  present = {name: shaped(dtype=jnp.bool_) for name in modalities}
  key = jax.ShapeDtypeStruct((2,), jnp.uint32)
  styles = {name: shaped(size) for name, size in model.style_dims.items()}

  def posterior(params: Any, inputs: Any, present: Any) -> Posterior:
    rows = jnp.stack([present[name] for name in modalities])
    return inference.encode(model.model, _nested(params), inputs, rows)

  def encode(params: Any, inputs: Any, present: Any) -> Any:
    return _plain(posterior(params, inputs, present))

  def decode(params: Any, z: Any, styles: Any) -> Any:
    return inference.decode(model.model, _nested(params), z, styles, modalities)

  def generate(params: Any, inputs: Any, present: Any, key: Any) -> Any:
    q = posterior(params, inputs, present)
    numbers = jnp.arange(q.mean.shape[0], dtype=jnp.uint32)
    z, styles = inference.draw(jax.random.wrap_key_data(key), numbers, q)
    return decode(params, z, styles)

  return {
    'encode': (encode, (inputs, present)),
    'decode': (decode, (shaped(model.model.latent_dim), styles)),
    'generate': (generate, (inputs, present, key)),
  }


_DTYPES = {'image': jnp.uint8, 'text': jnp.uint8, 'vector': jnp.float32}


def _exported(
  name: str, function: Callable, arguments: tuple[Any, ...]
) -> jax_export.Exported:
  try:
    return jax_export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
  except (TypeError, jax.errors.InconclusiveDimensionOperation) as error:
    what, *_ = str(error).splitlines()
    raise ValueError(
      f'{name} cannot be exported: networks must take any number of examples, '
      f'as x.shape[0] and not len(x); {what}'
    ) from error


def _plain(q: Posterior) -> dict[str, Any]:
  """In dictionaries, which any program can read."""
  return {
    'mean': q.mean,
    'std': q.std,
    'weights': q.weights,
    'components': q.components._asdict(),
    'styles': {name: style._asdict() for name, style in q.styles.items()},
  }


def _nested(params: dict[str, Any]) -> Params:
  nested: Params = {}
  for path, leaf in params.items():
    *parents, name = path.split('/')
    level: Any = nested
    for parent in parents:
      level = level.setdefault(parent, {})
    level[name] = leaf
  return nested


def _shapes(tree: Any) -> Any:
  return jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree
  )


def _written(tree: Any) -> Any:
  """Every array as its dtype and shape: 'float32[b, 8]'."""
  return jax.tree.map(
    lambda leaf: f'{leaf.dtype}[{", ".join(map(str, leaf.shape))}]', tree
  )
