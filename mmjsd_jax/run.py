"""A run: train, evaluate, write the report."""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Sequence

import jax

from mmjsd_jax import hosts, results
from mmjsd_jax import workdir as workdirs
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data.dataset import Dataset
from mmjsd_jax.evaluation import classifiers, evaluate
from mmjsd_jax.evaluation.classifier_cache import Classifiers
from mmjsd_jax.evaluation.coherence import Judges
from mmjsd_jax.evaluation.judges import make_judges
from mmjsd_jax.evaluation.sample_quality import make_feature_fns
from mmjsd_jax.evaluation.samples import samples_for_figures
from mmjsd_jax.evaluation.stages import Stages
from mmjsd_jax.files import cache_dir
from mmjsd_jax.interruption import Interruption
from mmjsd_jax.job import Job, before_data, for_evaluation
from mmjsd_jax.journal import Journal
from mmjsd_jax.members import member_mesh
from mmjsd_jax.order import make_mesh
from mmjsd_jax.step import init_params, init_state
from mmjsd_jax.train import (
  Member,
  NonFiniteLoss,
  begin,
  begin_together,
  train,
  train_together,
)

_log = logging.getLogger(__name__)

# (name of a run's folder, what it is at) of a run that is watched.
TellFn = Callable[[str, str], None]
# Times that the learning rate is lowered from one checkpoint.
MAX_HALVED = 8


def execute(
  job: Job,
  interruption: Interruption | None = None,
  tell_fn: TellFn | None = None,
) -> None:
  """Trains and evaluates as the job's mode says; the workdir is locked.

  Args:
    job: what to do.
    interruption: asked where work can stop. None: nothing interrupts.
    tell_fn: told what the run is at, in place of lines of progress.

  Raises:
    NonFiniteLoss: training diverged.
    Stopped: interrupted; the same job goes on.
    OSError: the workdir is in use, or something cannot be written.
  """
  interruption = interruption or Interruption()
  started = results.now()
  with claimed(job):
    checkpoints = Checkpoints(
      job.workdir, keep=job.config.train.keep_checkpoints
    )
    try:
      if job.mode != 'evaluate':
        _train(job, checkpoints, interruption, tell_fn)
      if job.mode != 'train':
        if tell_fn is not None:
          tell_fn(job.workdir.name, 'evaluating')
        _evaluate(job, checkpoints, started, interruption)
    except BaseException:
      with contextlib.suppress(OSError):  # the first error is told
        checkpoints.close()
      raise
    checkpoints.close()


def claimed(job: Job) -> contextlib.AbstractContextManager[None]:
  """`workdir.claimed` of a job."""
  return workdirs.claimed(
    job.workdir, job.config, job.dataset, job.mode, gaps=job.settings.gaps
  )


def _train(
  job: Job,
  checkpoints: Checkpoints,
  interruption: Interruption,
  tell_fn: TellFn | None,
) -> None:
  """Trains to the end; where told so, restores and lowers the rate."""
  num_halved, restored = 0, None
  while True:
    try:
      return _train_on(job, checkpoints, interruption, tell_fn, 0.5**num_halved)
    except NonFiniteLoss as error:
      if job.settings.non_finite != 'restore':
        raise
      checkpoints.wait()
      newest = hosts.from_first(checkpoints.latest_step() or 0)
      # Since this checkpoint: it holds the rate that was then in force.
      num_halved = num_halved + 1 if newest == restored else 1
      restored = newest
      if num_halved > MAX_HALVED:
        raise
      _log.warning(
        '%s. Back to step %d, with %g of the learning rate there',
        error,
        newest,
        0.5**num_halved,
      )


def _train_on(
  job: Job,
  checkpoints: Checkpoints,
  interruption: Interruption,
  tell_fn: TellFn | None,
  rate_factor: float,
) -> None:
  mesh = make_mesh()
  beginning = begin(
    job.model, job.settings, checkpoints, mesh, rate_factor=rate_factor
  )
  first_step = int(beginning.state.step)
  if first_step > job.settings.num_steps:
    raise FileExistsError(
      f'{job.workdir} holds a run of {first_step} steps; it cannot have '
      f'{job.settings.num_steps}'
    )
  if first_step:
    _log.info('going on from step %d', first_step)
  journal = Journal(
    job.workdir,
    first_step=first_step,
    num_steps=job.settings.num_steps,
    tell_fn=tell_fn,
  )
  try:
    for progress in train(
      job.model,
      job.settings,
      job.training,
      job.validation,
      beginning,
      checkpoints,
      mesh,
      stop_requested=interruption.requested,
    ):
      journal.write(progress)
  finally:
    journal.close()


def train_members(
  jobs: Sequence[Job],
  interruption: Interruption,
  tell_fn: TellFn | None = None,
) -> dict[int, NonFiniteLoss]:
  """Trains together jobs that differ in plain numbers alone.

  Args:
    jobs: to train.
    interruption: asked where work can stop.
    tell_fn: of `execute`.

  Returns:
    Index of a member that had to be taken out to why.

  Raises:
    Stopped: interrupted; the same jobs go on.
    OSError: a workdir is in use, or something cannot be written.
  """
  failed: dict[int, NonFiniteLoss] = {}
  with contextlib.ExitStack() as stack:
    runs = []
    for job in jobs:
      stack.enter_context(claimed(job))
      keep = job.config.train.keep_checkpoints
      checkpoints = Checkpoints(job.workdir, keep=keep)
      stack.callback(checkpoints.close)
      runs.append((job.settings, checkpoints))
    beginnings = begin_together(jobs[0].model, runs)
    first_step = int(beginnings[0].state.step)
    if first_step:
      _log.info('%d members go on from step %d', len(jobs), first_step)
    journals = []
    for job in jobs:
      journals.append(
        Journal(
          job.workdir,
          first_step=first_step,
          num_steps=job.settings.num_steps,
          name=job.workdir.name,
          tell_fn=tell_fn,
        )
      )
      stack.callback(journals[-1].close)
    members = [
      Member(*run, beginning)
      for run, beginning in zip(runs, beginnings, strict=True)
    ]
    for index, told in train_together(
      jobs[0].model,
      members,
      jobs[0].training,
      jobs[0].validation,
      member_mesh(len(jobs)),
      stop_requested=interruption.requested,
    ):
      if isinstance(told, NonFiniteLoss):
        _log.warning('%s is taken out: %s', jobs[index].workdir.name, told)
        failed[index] = told
      else:
        journals[index].write(told)
  return failed


def _evaluate(
  job: Job, checkpoints: Checkpoints, started: str, interruption: Interruption
) -> None:
  interruption.check()
  job = for_evaluation(job)
  exact = job.model._replace(compute_dtype='float32')
  job = job._replace(model=exact)
  options = job.config.evaluation
  is_best = options.checkpoint == 'best'
  wanted = (
    checkpoints.best_step(damaged=-math.inf)
    if is_best
    else checkpoints.latest_step()
  )
  if wanted is None:
    raise FileNotFoundError(f'no checkpoint to evaluate in {job.workdir}')
  stages = Stages(interruption.check)
  settings = job.settings._replace(shard_params=False)
  like = init_state(job.model, settings, make_mesh())
  restored = (
    checkpoints.restore_best(like)
    if is_best
    else checkpoints.restore_newest(like, remove_damaged=False)
  )
  assert restored is not None
  state, train_seconds = restored
  if (step := int(state.step)) != wanted:
    job = job._replace(
      substituted_checkpoint=f'Checkpoint {wanted} is damaged: that of step '
      f'{step} was evaluated in its place.'
    )
  _log.info('evaluating step %d', step)
  untrained = init_params(before_data(job.model), job.settings)
  stages('checkpoint')
  judges, trained = _judges(job.dataset, as_released=options.as_released)
  stages('classifiers')
  feature_fns = None
  if options.num_quality_samples:
    feature_fns = make_feature_fns(
      jax.random.key(0), job.dataset, trained, job.inception
    )
    stages('encoders for sample quality')
  key_metrics, key_figures, key_sampler = evaluation_keys(options.seed)
  fitted = None
  if options.sampler:
    fitted = evaluate.fit_sampler(
      job.model,
      state.params,
      job.dataset,
      key=key_sampler,
      num_components=options.sampler_components,
    )
    stages('sampler')
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
    fitted=fitted,
    num_importance_samples=options.num_importance_samples,
    num_joint_importance_samples=options.num_joint_importance_samples,
    num_log_likelihood_examples=options.num_log_likelihood_examples,
    num_test_examples=options.num_test_examples,
    untrained_params=untrained if options.untrained_baseline else None,
    as_released=options.as_released,
    readings=options.readings,
    feature_fns=feature_fns,
    num_quality_samples=options.num_quality_samples,
    progress=stages,
  )
  samples = samples_for_figures(
    job.model,
    state.params,
    job.dataset,
    key_figures,
    condition_on=options.condition_on,
  )
  stages('samples for figures')
  results.write_results(
    job.workdir,
    results.make_results(
      job,
      started=started,
      training=results.training_block(job, state, train_seconds),
      metrics=metrics,
      stages=stages.seconds,
    ),
    samples,
    sampler=fitted.sampler if fitted else None,
  )


def evaluation_keys(seed: int) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Keys for metrics, for figures and for the sampler.

  Training splits its keys from that of the same number, and keys split and
  folded from one are the same: these are folded from far away.
  """
  key = jax.random.fold_in(jax.random.key(seed), 2**32 - 1)
  key_metrics, key_figures = jax.random.split(key)
  return key_metrics, key_figures, jax.random.fold_in(key, 2**32 - 1)


def _judges(
  dataset: Dataset, *, as_released: bool
) -> tuple[Judges | None, Classifiers | None]:
  """Those of the data set, trained or cached; None without any classifier."""
  left_out = classifiers.without_classifier(dataset)
  judged = tuple(name for name in dataset.modalities if name not in left_out)
  if not judged:
    return None, None
  _log.info('classifiers: trained now, or read from %s', cache_dir())
  train_fn = functools.partial(
    classifiers.train_classifiers,
    jax.random.key(0),
    dataset._replace(modalities=judged),
  )
  # Judging with dropout needs classifiers that were trained with it.
  released = train_fn(channel_dropout=0.5) if as_released else None
  trained = train_fn()
  judges = make_judges(
    trained, released, left_out, of_factors=not dataset.num_classes
  )
  return judges, trained
