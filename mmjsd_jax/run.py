"""One run from configuration to report: prepare, train, evaluate, write.

A workdir holds run.json (configuration and data, written first), metrics.jsonl,
tensorboard/, checkpoints/, results.json, report.html and figures/.
"""

import datetime
import functools
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import tempfile
import time
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from mmjsd_jax import (
  __version__,
  curves,
  figures,
  likelihoods,
  model,
  published,
  report,
)
from mmjsd_jax import config as configuration
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data import polymnist
from mmjsd_jax.data.dataset import Dataset, Split, check, fingerprint
from mmjsd_jax.evaluation import classifiers, evaluate
from mmjsd_jax.evaluation.coherence import Judges
from mmjsd_jax.evaluation.samples import FigureSamples, samples_for_figures
from mmjsd_jax.files import cache_dir, write_json
from mmjsd_jax.journal import Journal, read_metrics
from mmjsd_jax.modalities import polymnist_image
from mmjsd_jax.model import Modality, Model, Params
from mmjsd_jax.train import (
  NonFiniteLoss,
  Settings,
  check_batch,
  init_state,
  make_mesh,
  train,
)

__all__ = ['Job', 'NonFiniteLoss', 'execute', 'prepare', 'stored_config']


_log = logging.getLogger(__name__)


class Job(NamedTuple):
  """A run that has been found possible."""

  config: ml_collections.ConfigDict
  workdir: pathlib.Path
  mode: str
  command: str
  dataset: Dataset
  training: Split  # dataset.train without what is held out
  validation: Split | None
  model: Model
  settings: Settings


def prepare(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  *,
  mode: str,
  command: str,
) -> Job:
  """Checks everything that can be checked before any work is done.

  Raises:
    ValueError: a configuration that cannot work, data that are not what they
      should be, or a workdir that holds another run.
    OSError: files that are missing or cannot be read or written.
  """
  configuration.validate(config)
  _check_workdir(workdir, config, mode)
  dataset = _load(config)
  check(dataset)
  for line in (f'data: {dataset.source}', *_substitutions(dataset)):
    _log.info('%s', line)
  training, validation = _hold_out(
    dataset.train, config.data.num_validation, config.data.seed
  )
  check_batch(config.train.batch_size, len(training.labels), make_mesh())
  _claim_workdir(workdir, config, dataset, mode)
  return Job(
    config=config,
    workdir=workdir,
    mode=mode,
    command=command,
    dataset=dataset,
    training=training,
    validation=validation,
    model=_make_model(config, training),
    settings=_make_settings(config, dataset, len(training.labels)),
  )


def execute(job: Job) -> None:
  """Trains and evaluates as the job's mode says.

  Raises:
    NonFiniteLoss: training diverged.
    OSError: results cannot be written.
  """
  started = _now()
  checkpoints = Checkpoints(job.workdir, keep=job.config.train.keep_checkpoints)
  try:
    if job.mode != 'evaluate':
      _train(job, checkpoints)
    if job.mode != 'train':
      _evaluate(job, checkpoints, started)
  finally:
    checkpoints.close()


def stored_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The configuration of the run in `workdir`.

  Raises:
    FileNotFoundError: there is no run.
  """
  return configuration.from_dict(_stored_run(workdir)['config'])


def _train(job: Job, checkpoints: Checkpoints) -> None:
  first_step = checkpoints.latest_step() or 0
  if first_step:
    _log.info('going on from step %d', first_step)
  journal = Journal(
    job.workdir, first_step=first_step, num_steps=job.settings.num_steps
  )
  try:
    for progress in train(
      job.model,
      job.settings,
      job.training,
      job.validation,
      checkpoints,
      make_mesh(),
    ):
      journal.write(progress)
  finally:
    journal.close()


def _evaluate(job: Job, checkpoints: Checkpoints, started: str) -> None:
  options = job.config.evaluation
  step = {
    'final': checkpoints.latest_step,
    'best': checkpoints.best_step,
  }[options.checkpoint]()
  if step is None:
    raise FileNotFoundError(f'no checkpoint to evaluate in {job.workdir}')
  _log.info('evaluating step %d', step)
  clock = time.monotonic()
  untrained = init_state(job.model, job.settings, make_mesh())
  state, train_seconds = checkpoints.restore(untrained, step)
  judges = _judges(job.dataset, as_released=options.as_released)
  key_metrics, key_figures = jax.random.split(jax.random.key(options.seed))
  metrics = evaluate.evaluate(
    job.model,
    state.params,
    job.dataset,
    judges,
    key=key_metrics,
    subsets=tuple(options.subsets),
    sampling=options.sampling,
    num_probe_samples=tuple(options.num_probe_samples),
    num_joint_samples=options.num_joint_samples,
    num_importance_samples=options.num_importance_samples,
    num_joint_importance_samples=options.num_joint_importance_samples,
    num_log_likelihood_examples=options.num_log_likelihood_examples,
    untrained_params=untrained.params if options.untrained_baseline else None,
    as_released=options.as_released,
    progress=_progress_logger(),
  )
  samples = samples_for_figures(
    job.model,
    state.params,
    job.dataset,
    key_figures,
    condition_on=options.condition_on,
  )
  results = {
    'schema': 1,
    'name': job.config.name,
    'version': __version__,
    'command': job.command,
    'workdir': str(job.workdir),
    'started': started,
    'finished': _now(),
    'config': configuration.to_dict(job.config),
    'objective': {
      'preset': job.config.objective.preset,
      **job.model.objective._asdict(),
    },
    'data': {
      'name': job.dataset.name,
      'source': job.dataset.source,
      'substituted': job.dataset.substituted,
      'fingerprint': job.dataset.fingerprint,
      'num_train': len(job.training.labels),
      'num_validation': job.config.data.num_validation,
      'num_test': len(job.dataset.test.labels),
      'modalities': list(job.dataset.modalities),
      'num_classes': job.dataset.num_classes,
    },
    'substitutions': _substitutions(job.dataset),
    'environment': _environment(),
    'training': _training(job, step, train_seconds, state.params),
    'evaluation': {'seconds': round(time.monotonic() - clock, 1)},
    'metrics': metrics,
  }
  _write_results(job.workdir, results, samples)


def _judges(dataset: Dataset, *, as_released: bool) -> Judges:
  """Classifiers of the data set, from the cache where they are known."""
  _log.info('classifiers: trained now, or read from %s', cache_dir())
  train_fn = functools.partial(
    classifiers.train_classifiers, jax.random.key(0), dataset
  )
  # Judging with dropout needs classifiers that were trained with it.
  released = train_fn(channel_dropout=0.5) if as_released else None
  return classifiers.make_judges(train_fn(), released)


def _write_results(
  workdir: pathlib.Path, results: dict[str, Any], samples: FigureSamples
) -> None:
  """figures/, report.html and, last, results.json."""
  results['published'] = published.matching(results)
  runs = {results['objective']['preset']: results}
  pictures = {
    name: figures.to_png(pixels)
    for name, pixels in figures.sample_figures(samples).items()
  }
  pictures['curves'] = curves.curves_figure(runs)
  pictures['loss'] = curves.loss_figure(runs)
  folder = workdir / 'figures'
  folder.mkdir(exist_ok=True)
  for name, png in pictures.items():
    figures.write_png(png, folder / f'{name}.png')
  report.write_report(results, pictures, workdir / 'report.html')
  write_json(workdir / 'results.json', results)
  _log.info('report: %s', workdir / 'report.html')


def _training(
  job: Job, step: int, seconds: float, params: Params
) -> dict[str, Any]:
  batch_size = job.settings.batch_size
  steps_per_epoch = len(job.training.labels) // batch_size
  return {
    'steps': step,
    'epochs': step / steps_per_epoch,
    'samples_seen': step * batch_size,
    'batch_size': batch_size,
    'seconds': round(seconds, 1),
    'samples_per_second': round(step * batch_size / seconds, 1),
    'num_parameters': sum(leaf.size for leaf in jax.tree.leaves(params)),
    'history': read_metrics(job.workdir),
    'checkpoint_step': step,
  }


def _environment() -> dict[str, Any]:
  packages = (
    'jax',
    'jaxlib',
    'flax',
    'optax',
    'orbax-checkpoint',
    'numpy',
    'scikit-learn',
  )
  return {
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in packages},
    'platform': jax.default_backend(),
    'device': jax.devices()[0].device_kind,
    'num_devices': jax.device_count(),
    'num_processes': jax.process_count(),
    'cpu_count': len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count(),
  }


def _progress_logger() -> evaluate.ProgressFn:
  """Logs every stage of the evaluation as it begins."""
  begun = set()

  def progress(stage: str, done: int, total: int) -> None:
    del done
    if stage not in begun:
      begun.add(stage)
      _log.info('evaluation: %s (%d parts)', stage, total)

  return progress


def _load(config: ml_collections.ConfigDict) -> Dataset:
  """The data set, with the modalities that the configuration names."""
  configuration.validate_for_modalities(config, polymnist.MODALITIES)
  dataset = polymnist.load(
    digits=config.data.digits,
    directory=config.data.dir,
    backgrounds=tuple(config.data.backgrounds),
    seed=config.data.seed,
    embedded_repeats=config.data.embedded_repeats,
    allow_download=config.data.allow_download,
  )
  chosen = tuple(config.data.modalities) or dataset.modalities
  used = tuple(name for name in dataset.modalities if name in chosen)
  if used == dataset.modalities:
    return dataset

  def keep(split: Split) -> Split:
    return Split({name: split.inputs[name] for name in used}, split.labels)

  train_split, test_split = keep(dataset.train), keep(dataset.test)
  return dataset._replace(
    modalities=used,
    train=train_split,
    test=test_split,
    fingerprint=fingerprint(train_split, test_split),
  )


def _hold_out(
  split: Split, num_held_out: int, seed: int
) -> tuple[Split, Split | None]:
  """The split without `num_held_out` tuples chosen by seed, and those."""
  if not num_held_out:
    return split, None
  if num_held_out >= len(split.labels):
    raise ValueError(
      f'config.data.num_validation must be below the {len(split.labels)} '
      f'training tuples; got {num_held_out}'
    )
  order = np.random.default_rng(seed).permutation(len(split.labels))

  def take(rows: np.ndarray) -> Split:
    rows = np.sort(rows)
    inputs = {name: images[rows] for name, images in split.inputs.items()}
    return Split(inputs, split.labels[rows])

  return take(order[num_held_out:]), take(order[:num_held_out])


def _make_model(config: ml_collections.ConfigDict, training: Split) -> Model:
  latent_dim, hidden_dim = config.model.latent_dim, config.model.hidden_dim
  starts_at_median = config.model.first_colour == 'median'
  return Model(
    tuple(
      Modality(
        name,
        polymnist_image.IMAGE_SHAPE,
        polymnist_image.Encoder(latent_dim, hidden_dim),
        polymnist_image.Decoder(
          _median_colour(images) if starts_at_median else None
        ),
        model.pixels_to_float,
        likelihoods.laplace,
      )
      for name, images in training.inputs.items()
    ),
    latent_dim,
    configuration.make_objective(config),
    tuple(config.objective.pi) or None,
  )


def _median_colour(images: np.ndarray) -> tuple[float, ...]:
  """Median of every channel over at most 1,000 images, evenly spread."""
  spread = images[:: -(-len(images) // 1000)]
  return tuple(float(x) for x in np.median(spread, axis=(0, 1, 2)) / 255)


def _make_settings(
  config: ml_collections.ConfigDict, dataset: Dataset, num_examples: int
) -> Settings:
  steps_per_epoch = num_examples // config.train.batch_size
  weights = tuple(config.objective.likelihood_weights)
  return Settings(
    seed=config.seed,
    num_steps=config.train.num_steps
    or config.train.num_epochs * steps_per_epoch,
    batch_size=config.train.batch_size,
    learning_rate=config.train.learning_rate,
    beta=config.objective.beta,
    likelihood_weights=weights or (1.0,) * len(dataset.modalities),
    log_every=config.train.log_every,
    checkpoint_every=config.train.checkpoint_every,
  )


def _substitutions(dataset: Dataset) -> list[str]:
  return [dataset.substituted] if dataset.substituted else []


def _stored_run(workdir: pathlib.Path) -> dict[str, Any]:
  path = workdir / 'run.json'
  if not path.exists():
    raise FileNotFoundError(f'{workdir} holds no run: {path.name} is missing')
  try:
    run = json.loads(path.read_text(encoding='utf-8'))
    # What is read below: fails here if it is not there.
    run['config'].items(), run['data']['source'], run['data']['fingerprint']
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(
      f'{path} must hold the config and the data of a run; it is damaged: '
      f'{error!r}'
    ) from None
  return run


def _check_workdir(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, mode: str
) -> None:
  """Refuses a folder that cannot be written or holds another run."""
  if mode == 'evaluate':
    _stored_run(workdir)
  try:
    # The folder itself is made when the run has been found possible.
    folder = next(f for f in (workdir, *workdir.parents) if f.exists())
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise OSError(
      f'workdir must be a folder that can be written; {workdir}: '
      f'{error.strerror}'
    ) from None
  if not (workdir / 'run.json').exists():
    if workdir.exists() and any(workdir.iterdir()):
      raise ValueError(
        f'workdir must be empty or hold a run of this program; {workdir} '
        f'holds {sorted(path.name for path in workdir.iterdir())[:5]}'
      )
    return
  changed = configuration.differences(
    _stored_run(workdir)['config'], configuration.to_dict(config)
  )
  if changed:
    raise ValueError(
      f'{workdir} holds a run of another configuration; choose another '
      f'--workdir. It differs in {"; ".join(changed)}'
    )


def _claim_workdir(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  dataset: Dataset,
  mode: str,
) -> None:
  """Writes run.json, or compares the data with those that the run began on."""
  data = {'source': dataset.source, 'fingerprint': dataset.fingerprint}
  if (workdir / 'run.json').exists():
    began = _stored_run(workdir)['data']
    if began['fingerprint'] != data['fingerprint']:
      raise ValueError(
        f'{workdir} holds a run on other data: {began["source"]}; now: '
        f'{data["source"]}'
      )
  if mode != 'evaluate':
    run = {'config': configuration.to_dict(config), 'data': data}
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(workdir / 'run.json', run)


def _now() -> str:
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
