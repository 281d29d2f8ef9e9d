"""results.json, and the report and figures that are made of it."""

import datetime
import importlib.metadata
import logging
import os
import pathlib
import platform
from typing import Any

import jax

from mmjsd_jax import (
  __version__,
  curves,
  figures,
  hosts,
  networks,
  published,
  report,
)
from mmjsd_jax import config as configuration
from mmjsd_jax.data import gaps
from mmjsd_jax.data.dataset import Split, Streamed
from mmjsd_jax.evaluation import samplers
from mmjsd_jax.evaluation.samplers import Sampler
from mmjsd_jax.evaluation.samples import FigureSamples
from mmjsd_jax.factor_figures import bars
from mmjsd_jax.factor_tables import generated_means, probe_means
from mmjsd_jax.files import file_name, write_json
from mmjsd_jax.job import Job
from mmjsd_jax.journal import read_metrics
from mmjsd_jax.step import TrainState
from mmjsd_jax.tables import probe_size, share

_log = logging.getLogger(__name__)


def make_results(
  job: Job,
  *,
  started: str,
  training: dict[str, Any],
  metrics: dict[str, Any],
  stages: dict[str, float],
) -> dict[str, Any]:
  """Everything that results.json holds, in plain JSON types.

  Args:
    job: what was run.
    started: of `now`.
    training: of `training_block`.
    metrics: of `evaluate.evaluate`.
    stages: of the evaluation, and the seconds that each took.
  """
  num_test = len(job.dataset.test.labels)
  results = {
    'schema': 1,
    'name': job.config.name,
    'version': __version__,
    'command': job.command,
    'workdir': str(job.workdir),
    'started': started,
    'finished': now(),
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
      'num_train': job.training.num_examples,
      'missing': _missing(job.training),
      'num_validation': job.config.data.num_validation,
      'num_test': num_test,
      'modalities': list(job.dataset.modalities),
      'num_classes': job.dataset.num_classes,
    },
    'substitutions': job.substitutions,
    'environment': _environment(),
    'training': training,
    'evaluation': {
      'seconds': round(sum(stages.values()), 1),
      'stages': {stage: round(s, 1) for stage, s in stages.items()},
      'num_test_examples': min(
        job.config.evaluation.num_test_examples or num_test, num_test
      ),
      'inception_sha256': job.inception.sha256 if job.inception else None,
    },
    'metrics': metrics,
  }
  return results | {'published': published.matching(results)}


def write_results(
  workdir: pathlib.Path,
  results: dict[str, Any],
  samples: FigureSamples | None,
  *,
  sampler: Sampler | None = None,
) -> None:
  """Writes figures/, report.html, sampler.npz and, last, results.json.

  Without samples, the figures that need none; without a sampler that of an
  earlier evaluation is removed. Of several processes the first one writes; the
  others wait for it.

  Raises:
    OSError: something cannot be written; an older results.json stays.
  """
  with hosts.together():
    if hosts.is_first():
      _write_results(workdir, results, samples, sampler)


def _write_results(
  workdir: pathlib.Path,
  results: dict[str, Any],
  samples: FigureSamples | None,
  sampler: Sampler | None,
) -> None:
  runs = {results['objective']['preset']: results}
  drawn = {} if samples is None else figures.sample_figures(samples)
  pictures = {name: figures.to_png(pixels) for name, pixels in drawn.items()}
  pictures |= bars(results)
  pictures['curves'] = curves.curves_figure(runs)
  pictures['loss'] = curves.loss_figure(runs)
  folder = workdir / 'figures'
  folder.mkdir(exist_ok=True)
  for name, png in pictures.items():
    figures.write_png(png, folder / f'{file_name(name)}.png')
  report.write_report(results, pictures, workdir / 'report.html')
  if sampler is None:
    (workdir / samplers.FILE).unlink(missing_ok=True)
  else:
    samplers.save(workdir / samplers.FILE, sampler)
  write_json(workdir / 'results.json', results)
  _tell(results)
  _log.info('report: %s', workdir / 'report.html')


def _tell(results: dict[str, Any]) -> None:
  """The headline numbers, for whoever waits at the terminal."""
  metrics = results['metrics']
  probes = {k: v for k, v in metrics.get('probe', {}).items() if k.isdigit()}
  by_size = {
    f'linear probe, {probe_size(results, size)} latents': probes[size]
    for size in probes
  }
  if 'coherence' in metrics:
    by_size['conditional coherence'] = metrics['coherence']['conditional']
  for name, block in by_size.items():
    values = [f'{n}: {share(x)}' for n, x in block['by_size'].items()]
    _log.info('%s by number of inputs: %s', name, ', '.join(values))
  for name, means in (
    ('factors from latents', probe_means(results)),
    ('factors of samples', generated_means(results)),
  ):
    if means:
      values = [f'{what}: {share(x)}' for what, x in means.items()]
      _log.info('%s, mean: %s', name, ', '.join(values))
  if 'joint' in metrics.get('coherence', {}):
    _log.info(
      'joint coherence %.4f (chance %.4f)',
      metrics['coherence']['joint'],
      metrics['coherence']['joint_chance'],
    )
  if 'log_likelihood' in metrics:
    value = metrics['log_likelihood']['joint']['value']
    _log.info('log p(X) %.1f nats', value)
  for what, why in metrics.get('left_out', {}).items():
    _log.info('not measured: %s (%s)', what, why)


def training_block(
  job: Job, state: TrainState, seconds: float
) -> dict[str, Any]:
  """The block 'training': length, time and history up to the state's step."""
  step = int(state.step)
  batch_size = job.settings.batch_size
  steps_per_epoch = job.training.num_examples // batch_size
  return {
    'steps': step,
    'epochs': step / steps_per_epoch,
    'samples_seen': step * batch_size,
    'batch_size': batch_size,
    'seconds': round(seconds, 1),
    'samples_per_second': round(step * batch_size / seconds, 1),
    'num_parameters': networks.num_parameters(state.params),
    'skipped_steps': int(state.num_skipped),
    'learning_rate_scale': float(state.rate_scale),
    'history': [
      line for line in read_metrics(job.workdir) if line['step'] <= step
    ],
    'checkpoint_step': step,
  }


def now() -> str:
  """The time in UTC, ISO 8601."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')


def _missing(training: Split | Streamed) -> dict[str, Any] | None:
  """What training tuples lack, as `gaps.summary` tells it."""
  return gaps.summary(training) if isinstance(training, Split) else None


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
    'xla_flags': os.environ.get('XLA_FLAGS', ''),
    'cpu_count': len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else os.cpu_count(),
  }
