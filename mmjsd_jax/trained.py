"""A trained model in use: NumPy in, NumPy out.

Legend in gaussian.py; K draws of each example. Examples are along the first
axis of all that is taken and returned.
"""

import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import SingleDeviceSharding
from numpy import typing as npt

from mmjsd_jax import inference
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.declaration import Declaration, ModalitySpec, from_json
from mmjsd_jax.evaluation import samplers
from mmjsd_jax.evaluation.evaluate import encode
from mmjsd_jax.evaluation.log_likelihood import estimate
from mmjsd_jax.evaluation.samplers import Sampler
from mmjsd_jax.examples import Examples, as_given, make_examples, make_specs
from mmjsd_jax.files import read_json
from mmjsd_jax.gaussian import Gaussian
from mmjsd_jax.inference import Posterior
from mmjsd_jax.job import make_model, make_settings
from mmjsd_jax.model import Model, Params
from mmjsd_jax.step import fresh_state
from mmjsd_jax.subsets import parse_subset, subset_name

CHECKPOINTS = ('final', 'best')
# Where `Trained.sample` draws z from.
SOURCES = ('prior', 'sampler')

Inputs = Mapping[str, npt.ArrayLike]
Arrays = dict[str, np.ndarray]


class Trained(NamedTuple):
  """A model and its parameters.

  Attributes:
    model: its static description.
    params: on the device.
    specs: what the items of its modalities are.
    config: of the run.
    data: what run.json says of the data: 'source', 'modalities' and more.
    step: of the checkpoint.
    sampler: the mixture that an evaluation of this step has fitted; None if
      there was none.
  """

  model: Model
  params: Params
  specs: tuple[ModalitySpec, ...]
  config: ml_collections.ConfigDict
  data: dict[str, Any]
  step: int
  sampler: Sampler | None = None

  def __repr__(self) -> str:
    items = (f'{s.name}: {s.kind} {list(s.shape)}' for s in self.specs)
    return f'Trained(step {self.step}; {", ".join(items)})'

  @property
  def modalities(self) -> tuple[str, ...]:
    """Names of the inputs."""
    return self.model.modalities

  @property
  def declaration(self) -> Declaration | None:
    """Of the user's own files that it was trained on; None of other data."""
    declared = self.config.data.declaration
    return from_json(declared) if declared else None

  def encode(
    self,
    inputs: Inputs,
    subset: str | None = None,
    *,
    present: Inputs | None = None,
  ) -> Posterior:
    """The posterior given whatever each example has.

    It is the one by which the objective's model is judged, `subset_posterior`:
    the product of the experts, or their mixture. An example that has nothing
    gets the prior.

    Args:
      inputs: modality name -> B items as `examples` has them, any of them
        absent.
      subset: modalities to use, such as 'm0+m2'; None uses all that are given.
      present: modality name -> Bool [B], False where the item is absent.

    Raises:
      ValueError: unknown modalities, or wrong shapes, dtypes or values.
    """
    examples = self._examples(inputs, present)
    return self._encode(examples, self._rows(examples, inputs, subset))

  def decode(
    self,
    z: npt.ArrayLike,
    styles: Inputs | None = None,
    *,
    targets: Sequence[str] | str | None = None,
  ) -> Arrays:
    """The means of p(x_m | s_m, z), of texts logits.

    Args:
      z: Shape [..., D].
      styles: modality name -> [..., D_m]; one without an entry is decoded from
        zero, the prior's mean.
      targets: modalities to decode; None is all.

    Returns:
      Modality name -> [..., *shape]; see `as_given`.

    Raises:
      ValueError: unknown modalities, or wrong shapes.
    """
    chosen = self._targets(targets)
    z = np.asarray(z, np.float32)
    leading = z.shape[:-1]
    _check_latents('z', z.shape, (*leading, self.model.latent_dim))
    drawn = {
      name: np.zeros((*leading, size), np.float32)
      for name, size in self.style_dims.items()
    }
    for name, style in (styles or {}).items():
      if name not in drawn:
        raise ValueError(f'styles must be of {tuple(drawn)}; got {name!r}')
      _check_latents(f'style of {name}', np.shape(style), drawn[name].shape)
      drawn[name] = np.asarray(style, np.float32)
    rows = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), (z, drawn))
    decoded = inference.in_batches(
      lambda at: inference.decode(
        self.model, self.params, *jax.tree.map(lambda x: x[at], rows), chosen
      ),
      math.prod(leading),
    )
    return {n: x.reshape(*leading, *x.shape[1:]) for n, x in decoded.items()}

  def generate(
    self,
    given: Inputs,
    targets: Sequence[str] | str | None = None,
    num_samples: int = 1,
    *,
    key: jax.Array | int,
    present: Inputs | None = None,
    first: int = 0,
  ) -> Arrays:
    """Decoded draws of the posterior given whatever each example has.

    Args:
      given: as the inputs of `encode`.
      targets: modalities to decode, names or 'm0+m2'; None is all, those that
        are given too.
      num_samples: K.
      key: of JAX, or a seed.
      present: as of `encode`.
      first: number of the first example, where there were others before.

    Returns:
      Modality name -> [B, K, *shape]; see `as_given`.
    """
    self._targets(targets)
    z, styles = self.encode(given, present=present).sample(
      key, num_samples, first=first
    )
    return self.decode(z, styles, targets=targets)

  def sample(
    self,
    key: jax.Array | int,
    num_samples: int,
    *,
    targets: Sequence[str] | str | None = None,
    first: int = 0,
    source: str = 'prior',
  ) -> Arrays:
    """Decoded draws without inputs, the same latents for all modalities.

    Args:
      key: of JAX, or a seed.
      num_samples: N.
      targets: modalities to decode; None is all.
      first: number of the first draw, where there were others before.
      source: of z: 'prior', or 'sampler', which was fitted to the aggregate
        posterior; see evaluation/samplers. Styles are always of their prior.

    Returns:
      Modality name -> [N, *shape]; see `as_given`.

    Raises:
      ValueError: another source, or no sampler in the run's folder.
    """
    check_source(self, source)
    z, styles = self.prior(num_samples).sample(key, first=first)
    z = z[:, 0]
    if source == 'sampler':
      z = self._from_sampler(inference.as_key(key), num_samples, first)
    latents = {name: style[:, 0] for name, style in styles.items()}
    return self.decode(z, latents, targets=targets)

  def log_likelihood(
    self,
    inputs: Inputs,
    given: str | None = None,
    *,
    num_importance_samples: int = 512,
    key: jax.Array | int = 0,
    present: Inputs | None = None,
  ) -> np.ndarray:
    """log p of all that each example has, in nats, by importance sampling.

    The proposal is the posterior given `given`; see evaluation/log_likelihood.
    The estimate is low on average, the less so the more samples. Of vectors
    that were standardised it is the density of the standardised values.

    Args:
      inputs: as of `encode`.
      given: modalities, such as 'm0+m2', whose posterior draws are taken from;
        None is all that an example has.
      num_importance_samples: K.
      key: of JAX, or a seed.
      present: as of `encode`.

    Returns:
      float64, shape [B].

    Raises:
      ValueError: as `encode`, or an example that has nothing of `given`.
    """
    examples = self._examples(inputs, present)
    rows = self._rows(examples, inputs, given)
    if not rows.any(axis=0).all():
      raise ValueError(
        f'every example must have something of {given or self.modalities}; '
        f'got none in example {np.argmin(rows.any(axis=0))}'
      )
    found = np.empty(examples.num_examples)
    patterns = np.concatenate([examples.present, rows])
    for pattern in np.unique(patterns, axis=1).T:
      there, row = np.split(pattern, 2)
      at = np.flatnonzero((patterns == pattern[:, None]).all(axis=0))
      size = max(len(at), inference.bucket(len(at)))
      inputs_of = examples.take(np.resize(at, size)).inputs
      estimates = estimate(
        inference.as_key(key),
        _without(self.model, there),
        self.params,
        inputs_of,
        encode(self.model, self.params, inputs_of),
        row[None],
        num_samples=num_importance_samples,
      )
      found[at] = estimates.log_likelihood[0, : len(at)]
    return found

  def prior(self, num_examples: int) -> Posterior:
    """N(0, I), the posterior of so many examples of which nothing is known."""

    def standard(*shape: int) -> Gaussian:
      zeros: Any = np.zeros((num_examples, *shape), np.float32)
      return Gaussian(zeros, zeros)

    q = standard(1, self.model.latent_dim)
    return Posterior._make(
      (
        q.mean[:, 0],
        np.ones_like(q.mean[:, 0]),
        np.ones_like(q.mean[:, :, 0]),
        q,
        {name: standard(size) for name, size in self.style_dims.items()},
      )
    )

  def as_given(self, decoded: Mapping[str, np.ndarray]) -> Arrays:
    """What was decoded, as items that can be given again: see `as_given`."""
    return {
      spec.name: as_given(spec, decoded[spec.name])
      for spec in self.specs
      if spec.name in decoded
    }

  @property
  def style_dims(self) -> dict[str, int]:
    """Modality name -> D_m, of those that have a style."""
    return {
      modality.name: modality.style_dim
      for modality in self.model.modality_list
      if modality.style_dim
    }

  def _examples(self, inputs: Inputs, present: Inputs | None) -> Examples:
    return make_examples(self.specs, inputs, present)

  def _rows(
    self, examples: Examples, inputs: Inputs, subset: str | None
  ) -> np.ndarray:
    """Which modalities of which example are encoded. Bool [M, B]."""
    if subset is None:
      return examples.present
    row = parse_subset(subset, self.modalities)
    given = np.array([name in inputs for name in self.modalities])
    if np.any(row & ~given):
      raise ValueError(
        f'subset {subset!r} must be of the inputs; got '
        f'{subset_name(self.modalities, given)}'
      )
    return examples.present & row[:, None]

  def _encode(self, examples: Examples, rows: np.ndarray) -> Posterior:
    return inference.in_batches(
      lambda at: inference.encode(
        self.model, self.params, examples.take(at).inputs, rows[:, at]
      ),
      examples.num_examples,
    )

  def _from_sampler(
    self, key: jax.Array, num_samples: int, first: int
  ) -> np.ndarray:
    return inference.in_batches(
      lambda at: samplers.sample_numbered(
        key, self.sampler, (first + at).astype(np.uint32)
      ),
      num_samples,
    )

  def _targets(self, targets: Sequence[str] | str | None) -> tuple[str, ...]:
    if isinstance(targets, str):
      targets = targets.split('+')
    names = self.modalities if targets is None else tuple(targets)
    if not names or not set(names) <= set(self.modalities):
      raise ValueError(f'targets must be of {self.modalities}; got {names}')
    return names


def load(
  workdir: str | os.PathLike[str],
  checkpoint: str = 'final',
  *,
  trusted: Collection[str] = (),
) -> Trained:
  """The trained model of a run, without its data.

  Args:
    workdir: the run's folder.
    checkpoint: 'final', or 'best' by the loss on the validation tuples.
    trusted: networks of your own, 'package.module:function', that may be
      imported if the run has them, which runs their code.

  Raises:
    FileNotFoundError: there is no run, or no checkpoint of it.
    DamagedCheckpoint: the checkpoint is not what was saved.
    ValueError: run.json is damaged, or another kind of checkpoint is asked for.
    AnotherModel: the checkpoint is not of the model that run.json describes.
  """
  folder = pathlib.Path(workdir)
  if checkpoint not in CHECKPOINTS:
    raise ValueError(
      f'checkpoint must be one of {CHECKPOINTS}; got {checkpoint!r}'
    )
  config = workdirs.stored_config(folder, trusted=trusted)
  data = workdirs.stored_data(folder)
  specs = workdirs.stored_specs(folder, trusted=trusted)
  model = make_model(config, data['modalities'], specs=specs)
  model = model._replace(compute_dtype='float32')
  device = SingleDeviceSharding(jax.local_devices()[0])
  like = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
    jax.eval_shape(
      functools.partial(
        fresh_state, model, make_settings(config, model, 1, data['gaps'])
      )
    ),
  )
  checkpoints = Checkpoints(folder)
  try:
    step = (
      checkpoints.best_step(damaged=-math.inf)
      if checkpoint == 'best'
      else checkpoints.latest_step()
    )
    if step is None:
      raise FileNotFoundError(f'{folder} holds no checkpoint')
    state, _ = checkpoints.restore(like, step)
  finally:
    checkpoints.close()
  specs = specs or make_specs(model.modality_list)
  sampler = _stored_sampler(folder, step, model.latent_dim)
  return Trained(model, state.params, specs, config, data, step, sampler)


def check_source(model: Trained, source: str) -> None:
  """Refuses what z cannot be drawn from.

  Raises:
    ValueError: another than SOURCES, or no sampler in the run's folder.
  """
  if source not in SOURCES:
    raise ValueError(f'source must be one of {SOURCES}; got {source!r}')
  if source == 'sampler' and model.sampler is None:
    raise ValueError(
      f'source must be a sampler fitted to step {model.step}; got a run without'
      ' one: an evaluation fits it, where config.evaluation.sampler is set'
    )


def _stored_sampler(
  folder: pathlib.Path, step: int, latent_dim: int
) -> Sampler | None:
  """That of the last evaluation, if it was of this step and fitted one."""
  path, file = folder / 'results.json', folder / samplers.FILE
  if not (path.exists() and file.exists()):
    return None
  results = read_json(path)
  try:
    fitted_step = results['training']['checkpoint_step']
    num_components = int(results['config']['evaluation']['sampler_components'])
  except (KeyError, TypeError, ValueError):
    raise ValueError(
      f'{path} must be as an evaluation writes it; got another content'
    ) from None
  if fitted_step != step:
    return None
  return samplers.load(
    file, num_components=num_components, latent_dim=latent_dim
  )


def _check_latents(
  what: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
  if shape != expected or 0 in shape:
    raise ValueError(
      f'{what} must have shape {expected}, no axis empty; got {shape}'
    )


@dataclasses.dataclass(frozen=True)
class _Unseen:
  """The likelihood of a modality that is absent: 1, whatever is decoded."""

  log_likelihood: Callable[[jax.Array, jax.Array], jax.Array]

  def __call__(self, x: jax.Array, decoded: jax.Array) -> jax.Array:
    return jnp.zeros_like(self.log_likelihood(x, decoded))


def _without(model: Model, there: np.ndarray) -> Model:
  """The model that has no likelihood of the modalities not in `there` [M]."""
  return model._replace(
    modality_list=tuple(
      modality
      if is_there
      else modality._replace(log_likelihood=_Unseen(modality.log_likelihood))
      for modality, is_there in zip(model.modality_list, there, strict=True)
    )
  )
