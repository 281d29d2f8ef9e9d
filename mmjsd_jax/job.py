"""A job: configuration, data, model and settings that fit together."""

import functools
import hashlib
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np

from mmjsd_jax import config as configuration
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.architecture import make_modalities, weights_by_size
from mmjsd_jax.data import (
  celeba,
  custom,
  dsprites_text,
  gaps,
  mnist_svhn_text,
  own_files,
  polymnist,
)
from mmjsd_jax.data.dataset import (
  Dataset,
  Split,
  Streamed,
  check,
  fingerprint,
  spread,
)
from mmjsd_jax.data.declaration import ModalitySpec, from_json
from mmjsd_jax.evaluation.inception import Inception, load_inception
from mmjsd_jax.model import Model
from mmjsd_jax.order import check_batch, check_devices, make_mesh
from mmjsd_jax.step import Settings

_log = logging.getLogger(__name__)

# Training tuples that an evaluation reads of a streamed set: all of MNIST's.
MAX_EVALUATED = 60_000


class Job(NamedTuple):
  """A run that has been found possible."""

  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  mode: str
  command: str
  dataset: Dataset
  training: Split | Streamed  # the training split without what is held out
  validation: Split | None
  model: Model
  settings: Settings
  inception: Inception | None = None  # to measure samples by FID
  substituted_checkpoint: str = ''  # what was evaluated in its place

  @property
  def resident(self) -> Split:
    """`training`, where it is known to be in memory."""
    assert isinstance(self.training, Split)
    return self.training

  @property
  def substitutions(self) -> list[str]:
    """What stands in for what was asked, and why. Empty if nothing does."""
    said = (self.dataset.substituted, self.substituted_checkpoint)
    return [text for text in said if text]


def prepare(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  mode: str,
  command: str,
  dataset: Dataset | None = None,
) -> Job:
  """Checks everything that can be checked before any work is done.

  Args:
    config: of the run.
    workdir: its folder.
    mode: 'train_and_evaluate', 'train' or 'evaluate'.
    command: that gives the same run again, for the report.
    dataset: of `custom.make_dataset`, in memory; None loads what the
      configuration says.

  Raises:
    ValueError: a configuration that cannot work, data that are not what they
      should be, or a workdir that holds another run.
    OSError: files that are missing or cannot be read or written.
  """
  configuration.validate(config)
  check_devices(config.train.batch_size, make_mesh())
  workdirs.check(workdir, config, mode)
  inception = None
  if config.evaluation.inception_weights:
    try:
      inception = load_inception(config.evaluation.inception_weights)
    except (ValueError, OSError) as error:
      raise ValueError(
        f'config.evaluation.inception_weights: {error}'
      ) from None
  dataset = _load(config) if dataset is None else _given(config, dataset)
  check(dataset)
  everything = dataset.streamed or dataset.train
  _check_sampler(config, everything.num_examples)
  training, validation = _hold_out(
    everything,
    config.data.num_validation,
    config.data.seed,
  )
  if isinstance(training, Split):
    training = _with_gaps(config, dataset, training)
  check_batch(config.train.batch_size, training.num_examples)
  num_steps = configuration.num_steps(config, training.num_examples)
  workdirs.check_data(workdir, dataset)
  model = make_model(
    config,
    dataset.modalities,
    _first_colours(config, training),
    specs=dataset.specs,
  )
  try:
    model.check_training()
  except ValueError as error:
    raise ValueError(f'config.model.{error}') from None
  job = Job(
    config=config,
    workdir=workdir,
    mode=mode,
    command=command,
    dataset=dataset,
    training=training,
    validation=validation,
    model=model,
    settings=make_settings(
      config,
      model,
      num_steps,
      tuple(training.present) if isinstance(training, Split) else (),
    ),
    inception=inception,
  )
  for line in (
    f'data: {dataset.source}',
    *job.substitutions,
    *_beyond_data(config, dataset),
  ):
    _log.info('%s', line)
  return job


def prepare_beside(
  other: Job | None,
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  mode: str,
  command: str,
) -> Job:
  """The job, which shares data and model with `other` where there is one.

  Args:
    other: whose configuration differs in plain numbers alone.
    config: see `prepare`.
    workdir: see `prepare`.
    mode: see `prepare`.
    command: see `prepare`.

  Raises:
    ValueError, OSError: see `prepare`.
  """
  if other is None:
    return prepare(config, workdir, mode=mode, command=command)
  return with_numbers(other, config, workdir, command)


def with_numbers(
  job: Job,
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  command: str,
) -> Job:
  """The same job with a configuration that differs in plain numbers alone.

  Raises:
    ValueError: the workdir holds another run.
    OSError: it cannot be written, or is in use.
  """
  workdirs.check(workdir, config, job.mode)
  workdirs.check_data(workdir, job.dataset)
  return job._replace(
    config=config,
    workdir=workdir,
    command=command,
    settings=make_settings(
      config, job.model, job.settings.num_steps, job.settings.gaps
    ),
  )


def for_evaluation(job: Job) -> Job:
  """The job with training tuples in memory, which evaluation learns from.

  Of a streamed set they are drawn at random, if there are more than
  MAX_EVALUATED; then they are said to stand in for all.

  Raises:
    DamagedRecord: one of them is damaged.
  """
  dataset = job.dataset
  if dataset.streamed is None:
    return job
  num_all = dataset.streamed.num_examples
  rows = np.arange(num_all)
  if num_all > MAX_EVALUATED:
    rng = np.random.default_rng(job.config.data.seed)
    rows = np.sort(rng.permutation(num_all)[:MAX_EVALUATED])
  dataset = dataset._replace(train=dataset.streamed.take(rows))
  if num_all > MAX_EVALUATED:
    few = (
      f'Classifiers and probes learned from {MAX_EVALUATED:,} of the'
      f' {num_all:,} training tuples, drawn at random.'
    )
    dataset = dataset._replace(
      substituted=' '.join(filter(None, (dataset.substituted, few))),
      fingerprint=fingerprint(dataset.train, dataset.test),
    )
    _log.info('%s', few)
  return job._replace(dataset=dataset)


def before_data(model: Model) -> Model:
  """The model whose start has seen no data: random weights alone.

  The baseline 'untrained' of the evaluation. A median colour to start from is
  already learned from the training images.
  """
  return model._replace(
    modality_list=tuple(
      modality._replace(decoder=modality.decoder.clone(first_colour=None))
      if 'first_colour' in type(modality.decoder).__dataclass_fields__
      else modality
      for modality in model.modality_list
    )
  )


def make_model(
  config: ml_collections.ConfigDict,
  modalities: Sequence[str],
  first_colours: Mapping[str, tuple[float, ...]] | None = None,
  *,
  specs: Sequence[ModalitySpec] = (),
) -> Model:
  """The model of a configuration; its parameters are another matter.

  Args:
    config: a valid one.
    modalities: names of those that the run has, in the data set's order.
    first_colours: see `make_modalities`; only fresh parameters depend on it.
    specs: what the modalities of users' own data are, completed from the data,
      as run.json has them: `workdir.stored_specs`.

  Raises:
    ValueError: networks of the user's own that cannot be had.
  """
  return Model(
    make_modalities(
      config.data.name,
      modalities,
      latent_dim=config.model.latent_dim,
      style_dims=tuple(config.model.style_dim),
      hidden_dim=config.model.hidden_dim,
      width=config.model.width,
      first_colours=first_colours,
      text_as_released=config.model.text_likelihood == 'as_released',
      specs=specs,
    ),
    config.model.latent_dim,
    configuration.make_objective(config),
    tuple(config.objective.pi) or None,
    config.model.draws_per_decode,
    config.train.compute_dtype,
  )


def make_settings(
  config: ml_collections.ConfigDict,
  model: Model,
  num_steps: int,
  gaps: Sequence[str] = (),
) -> Settings:
  """What training does, by the configuration, in so many steps.

  `gaps` are the modalities that some training tuples lack.
  """
  weights = tuple(config.objective.likelihood_weights)
  if not weights and config.objective.weigh_by_size:
    weights = weights_by_size(model.modality_list)
  ones = (1.0,) * len(model.modalities)
  declared = tuple(modality.weight for modality in model.modality_list)
  return Settings(
    seed=config.seed,
    num_steps=num_steps,
    batch_size=config.train.batch_size,
    learning_rate=config.train.learning_rate,
    beta=config.objective.beta,
    beta_warmup_steps=config.objective.beta_warmup_steps,
    beta_style=config.objective.beta_style,
    likelihood_weights=weights or declared,
    style_weights=tuple(config.objective.style_weights) or ones,
    log_every=config.train.log_every,
    checkpoint_every=config.train.checkpoint_every,
    non_finite=config.train.non_finite,
    shard_params=config.train.shard_params,
    gaps=tuple(gaps),
    learning_rate_warmup_steps=config.train.learning_rate_warmup_steps,
  )


def _given(config: ml_collections.ConfigDict, dataset: Dataset) -> Dataset:
  """A data set in memory, with the modalities that are named."""
  if (config.data.name, config.data.declaration) != (custom.NAME, ''):
    raise ValueError(
      f'config.data.name, declaration must be {custom.NAME!r} and empty with a '
      f'data set in memory; got {config.data.name!r} and '
      f'{config.data.declaration!r}'
    )
  return _chosen(config, dataset)


def _load(config: ml_collections.ConfigDict) -> Dataset:
  """The data set, with the modalities that the configuration names."""
  if config.data.name == celeba.NAME:
    return _chosen(config, _celeba(config))
  if config.data.stream:
    options = {
      'seed': config.data.seed,
      'backgrounds': list(config.data.backgrounds),
    }
    if config.data.digits != 'auto':
      options['digits'] = config.data.digits
    streamed = polymnist.load_streamed(
      directory=config.data.dir, options=options
    )
    return _chosen(config, streamed)
  if config.data.name == custom.NAME:
    if not config.data.declaration:
      raise ValueError(
        'config.data.declaration must be a declaration, unless a data set in '
        "memory is given to job.prepare; got ''"
      )
    return _chosen(
      config,
      own_files.load(
        from_json(config.data.declaration),
        directory=config.data.dir,
        seed=config.data.seed,
      ),
    )
  if config.data.name == dsprites_text.NAME:
    return _chosen(
      config,
      dsprites_text.load(
        source=config.data.sprites,
        directory=config.data.dir,
        seed=config.data.seed,
        num_examples=config.data.num_examples,
        test_share=config.data.test_share,
      ),
    )
  load = {
    'polymnist': functools.partial(
      polymnist.load, backgrounds=tuple(config.data.backgrounds)
    ),
    'mnist_svhn_text': functools.partial(
      mnist_svhn_text.load,
      num_pairings=config.data.num_pairings,
      pairing=config.data.pairing,
    ),
  }[config.data.name]
  dataset = load(
    digits=config.data.digits,
    directory=config.data.dir,
    seed=config.data.seed,
    embedded_repeats=config.data.embedded_repeats,
    allow_download=config.data.allow_download,
  )
  return _chosen(config, dataset)


def _celeba(config: ml_collections.ConfigDict) -> Dataset:
  from mmjsd_jax.data import celeba_builder  # loads TFDS, which takes a second

  return celeba_builder.load(
    directory=config.data.dir,
    seed=config.data.seed,
    test_split=config.data.test_split,
    in_memory=not config.data.stream,
  )


def _chosen(config: ml_collections.ConfigDict, dataset: Dataset) -> Dataset:
  """The data set with the modalities that the configuration names."""
  configuration.validate_for_modalities(config, dataset.modalities)
  chosen = tuple(config.data.modalities) or dataset.modalities
  used = tuple(name for name in dataset.modalities if name in chosen)
  if used == dataset.modalities:
    return dataset

  train_split, test_split = dataset.train.only(used), dataset.test.only(used)
  streamed = dataset.streamed
  if streamed is None:
    digest = fingerprint(train_split, test_split)
  else:  # of data that are never read as a whole
    streamed = streamed.only(used)
    named = f'{dataset.fingerprint} {" ".join(used)}'
    digest = hashlib.sha256(named.encode()).hexdigest()
  return dataset._replace(
    modalities=used,
    train=train_split,
    test=test_split,
    fingerprint=digest,
    streamed=streamed,
    specs=tuple(spec for spec in dataset.specs if spec.name in used),
  )


def _check_sampler(
  config: ml_collections.ConfigDict, num_examples: int
) -> None:
  """Refuses more components than examples, before anything is trained."""
  options = config.evaluation
  if options.sampler and options.sampler_components > num_examples:
    raise ValueError(
      f'config.evaluation.sampler_components must be at most the '
      f'{num_examples} training examples; got {options.sampler_components}'
    )


def _beyond_data(
  config: ml_collections.ConfigDict, dataset: Dataset
) -> list[str]:
  """What the evaluation asks for more of than there is; it takes all."""
  options = config.evaluation
  num_train, num_test = len(dataset.train.labels), len(dataset.test.labels)
  if dataset.streamed is not None:
    num_train = min(dataset.streamed.num_examples, MAX_EVALUATED)
  asked = {
    'num_probe_samples': (max(options.num_probe_samples), num_train),
    'num_log_likelihood_examples': (
      options.num_log_likelihood_examples,
      min(options.num_test_examples or num_test, num_test),
    ),
    'num_test_examples': (options.num_test_examples, num_test),
    'num_quality_samples': (
      options.num_quality_samples,
      min(options.num_test_examples or num_test, num_test, num_train),
    ),
  }
  return [
    f'config.evaluation.{key} is {number}: all {there} examples are taken'
    for key, (number, there) in asked.items()
    if number > there
  ]


def _hold_out(
  split: Split | Streamed, num_held_out: int, seed: int
) -> tuple[Split | Streamed, Split | None]:
  """The split without `num_held_out` tuples chosen by seed, and those."""
  if not num_held_out:
    return split, None
  if num_held_out >= split.num_examples:
    raise ValueError(
      f'config.data.num_validation must be below the {split.num_examples} '
      f'training tuples; got {num_held_out}'
    )
  order = np.random.default_rng(seed).permutation(split.num_examples)
  held_out = np.sort(order[:num_held_out])
  return (
    split.keep(np.sort(order[num_held_out:])),
    split.keep(held_out) if isinstance(split, Split) else split.take(held_out),
  )


def _first_colours(
  config: ml_collections.ConfigDict, training: Split | Streamed
) -> dict[str, tuple[float, ...]] | None:
  """What decoders of colour images start from; None is not from the data."""
  if config.model.first_colour != 'median':
    return None
  if isinstance(training, Streamed):
    training = training.take(spread(training, 1000))
  return {
    name: _median_colour(training.items_of(name))
    for name, items in training.inputs.items()
    if items.shape[-1:] == (3,)
  }


def _with_gaps(
  config: ml_collections.ConfigDict, dataset: Dataset, training: Split
) -> Split:
  """The training tuples without what is to be missing of them."""
  options = config.data
  if options.missing:
    training = gaps.take_away(
      training,
      options.missing,
      how=options.missing_how,
      num_classes=dataset.num_classes,
      seed=options.seed,
    )
  if options.incomplete == 'keep':
    return training
  rows = gaps.complete(training)
  if not rows.size:
    raise ValueError(
      "config.data.incomplete must be 'keep', as none of the "
      f"{training.num_examples} training tuples is complete; got 'drop'"
    )
  return training.keep(rows)._replace(present={})


def _median_colour(images: np.ndarray) -> tuple[float, ...]:
  """Median of every channel over at most 1,000 images, evenly spread."""
  some = images[:: -(-len(images) // 1000)]
  return tuple(float(x) for x in np.median(some, axis=(0, 1, 2)) / 255)
