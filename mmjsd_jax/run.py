"""A run: train, evaluate, write the report."""

import functools
import logging
import time

import jax

from mmjsd_jax import results
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.evaluation import classifiers, evaluate
from mmjsd_jax.evaluation.classifier_cache import Classifiers
from mmjsd_jax.evaluation.judges import make_judges
from mmjsd_jax.evaluation.sample_quality import make_feature_fns
from mmjsd_jax.evaluation.samples import samples_for_figures
from mmjsd_jax.files import cache_dir
from mmjsd_jax.job import Job, before_data
from mmjsd_jax.journal import Journal
from mmjsd_jax.train import init_params, init_state, make_mesh, train

_log = logging.getLogger(__name__)


def execute(job: Job) -> None:
  """Trains and evaluates as the job's mode says.

  Raises:
    NonFiniteLoss: training diverged.
    OSError: results cannot be written.
  """
  started = results.now()
  checkpoints = Checkpoints(job.workdir, keep=job.config.train.keep_checkpoints)
  try:
    if job.mode != 'evaluate':
      _train(job, checkpoints)
    if job.mode != 'train':
      _evaluate(job, checkpoints, started)
  finally:
    checkpoints.close()


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
  like = init_state(job.model, job.settings, make_mesh())
  state, train_seconds = checkpoints.restore(like, step)
  untrained = init_params(before_data(job.model), job.settings)
  trained, released = _classifiers(job.dataset, as_released=options.as_released)
  feature_fns = None
  if options.num_quality_samples:
    feature_fns = make_feature_fns(
      jax.random.key(0), job.dataset, trained, job.inception
    )
  key_metrics, key_figures = evaluation_keys(options.seed)
  metrics = evaluate.evaluate(
    job.model,
    state.params,
    job.dataset,
    make_judges(trained, released),
    key=key_metrics,
    subsets=tuple(options.subsets),
    sampling=options.sampling,
    num_probe_samples=tuple(options.num_probe_samples),
    num_joint_samples=options.num_joint_samples,
    num_importance_samples=options.num_importance_samples,
    num_joint_importance_samples=options.num_joint_importance_samples,
    num_log_likelihood_examples=options.num_log_likelihood_examples,
    num_test_examples=options.num_test_examples,
    untrained_params=untrained if options.untrained_baseline else None,
    as_released=options.as_released,
    readings=options.readings,
    feature_fns=feature_fns,
    num_quality_samples=options.num_quality_samples,
    progress=_progress_logger(),
  )
  samples = samples_for_figures(
    job.model,
    state.params,
    job.dataset,
    key_figures,
    condition_on=options.condition_on,
  )
  results.write_results(
    job.workdir,
    results.make_results(
      job,
      started=started,
      training=results.training_block(job, step, train_seconds, state.params),
      metrics=metrics,
      seconds=time.monotonic() - clock,
    ),
    samples,
  )


def evaluation_keys(seed: int) -> tuple[jax.Array, jax.Array]:
  """Keys for metrics and for figures.

  Training splits its keys from that of the same number, and keys split and
  folded from one are the same: these are folded from far away.
  """
  key = jax.random.fold_in(jax.random.key(seed), 2**32 - 1)
  key_metrics, key_figures = jax.random.split(key)
  return key_metrics, key_figures


def _classifiers(
  dataset: Dataset, *, as_released: bool
) -> tuple[Classifiers, Classifiers | None]:
  """Those of the data set, and to judge as released, cached where known."""
  _log.info('classifiers: trained now, or read from %s', cache_dir())
  train_fn = functools.partial(
    classifiers.train_classifiers, jax.random.key(0), dataset
  )
  # Judging with dropout needs classifiers that were trained with it.
  released = train_fn(channel_dropout=0.5) if as_released else None
  return train_fn(), released


def _progress_logger() -> evaluate.ProgressFn:
  """Logs every stage of the evaluation as it begins."""
  begun = set()

  def progress(stage: str, done: int, total: int) -> None:
    del done
    if stage not in begun:
      begun.add(stage)
      _log.info('evaluation: %s (%d parts)', stage, total)

  return progress
