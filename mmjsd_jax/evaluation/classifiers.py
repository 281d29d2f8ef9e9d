"""Trains classifiers, one per modality, to be the judges of coherence.

The architectures are the authors' (`classifier_networks`). How theirs were
trained is not known; ours is below, and differs on purpose. What they cannot
read counts as incoherent, so they bound every coherence from above, and the
recipe is for accuracy in little time: no dropout of channels, and a learning
rate that rises to six times the usual 1e-3 and falls to zero. On PolyMNIST of
60,000 tuples that gives test accuracies of 0.93 to 0.98, by background; Adam at
1e-3 with the architecture's own dropout gives 0.89 in the same time where this
gives 0.95. On the first 4,434 training and 1,354 test digits of SVHN it gives
0.88 (0.80 without shifts and inversion), 0.98 on as many of MNIST, and 1.00 on
text, in 100 s of CPU time for the three together. Held to the architecture's
own dropout, SVHN stays at 0.64. CelebA's are a quarter as wide as the authors',
and a step takes at most 1.2 s of CPU time for images and 0.2 s for text. On
5,000 pictures of it, 40 steps bring images to a mean average precision of 0.48,
300 bring text to 0.78, where the prevalence is 0.23; the default is 500 and
1,000 at least.
"""

import functools
import hashlib
import json
import logging
import os
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from mmjsd_jax import files, networks
from mmjsd_jax.data.dataset import Dataset, Split
from mmjsd_jax.data.text import ALPHABET
from mmjsd_jax.evaluation import classifier_cache, classifier_outputs
from mmjsd_jax.evaluation.classifier_cache import Classifiers, Params
from mmjsd_jax.evaluation.classifier_tasks import Task, reads, task_of
from mmjsd_jax.evaluation.judges import predict

# Part of every cache file's name: raise it with any change to what is trained.
_VERSION = 1
_TEST_CHUNK = 500
_log = logging.getLogger(__name__)


def train_classifiers(
  key: jax.Array,
  dataset: Dataset,
  *,
  channel_dropout: float = 0.0,
  dropout: float = 0.5,
  num_steps: int | None = None,
  batch_size: int = 128,
  peak_learning_rate: float = 6e-3,
  cache_dir: str | os.PathLike[str] | None = None,
) -> Classifiers:
  """Trains a classifier per modality, or reads them from the cache.

  Of data that have no class they learn all factors at once: see
  `classifier_outputs`. Adam on the cross-entropy; the learning rate rises for a
  fifth of the steps and falls to zero as a cosine. Rows are drawn with
  replacement, of the stored items: how often they are paired does not matter.
  At random, images of MNIST's and SVHN's shapes are shifted, SVHN's inverted,
  and CelebA's mirrored.

  Args:
    key: PRNG key, consumed.
    dataset: learned from its training split, scored on its test split.
    channel_dropout: of the convolutions, in training.
    dropout: of the dense layer, in training.
    num_steps: None is 3.5 times through the items that the training split
      has of a modality, and at least as many as its `Task` says.
    batch_size: rows per step.
    peak_learning_rate: the highest.
    cache_dir: None is `classifiers` in `files.cache_dir()`. A damaged file
      there is reported as a warning, and trained anew.

  Returns:
    The classifiers, and how well they do.

  Raises:
    ValueError: a setting out of range, items of a shape that no classifier
      reads, or an item in tuples of different classes.
  """
  num_train = len(dataset.train.labels)
  if (num_steps is not None and num_steps < 1) or min(
    batch_size, num_train
  ) < 1:
    raise ValueError(
      'expected steps, rows and batches of one at least, got'
      f' {num_steps} steps on batches of {batch_size} of {num_train} rows'
    )
  jobs = {
    modality: _make_job(
      dataset, modality, channel_dropout, dropout, num_steps, batch_size
    )
    for modality in dataset.modalities
  }
  steps = [job.num_steps for job in jobs.values()]
  counts = classifier_outputs.logit_counts(dataset)
  recipe = {
    'version': _VERSION,
    'data': dataset.fingerprint,
    'key': [str(key.dtype), *jax.random.key_data(key).ravel().tolist()],
    # One number for a class, by which files are named.
    'num_classes': counts[0] if len(counts) == 1 else counts,
    'channel_dropout': channel_dropout,
    'dropout': dropout,
    # One number where they agree, likewise.
    'num_steps': steps[0] if len(set(steps)) == 1 else steps,
    'batch_size': batch_size,
    'peak_learning_rate': peak_learning_rate,
  }
  name = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:20]
  folder = pathlib.Path(cache_dir or files.cache_dir() / 'classifiers')
  path = folder / f'{name}.npz'
  shapes = {
    modality: jax.eval_shape(functools.partial(_init, job.network, job.task))
    for modality, job in jobs.items()
  }
  found = classifier_cache.read(path, shapes)
  if found is not None:
    return found

  params, accuracy = {}, {}
  for index, (modality, job) in enumerate(jobs.items()):
    clock = time.monotonic()
    items, classes = _labelled_items(dataset, dataset.train, modality)
    trained = _train(
      jax.random.fold_in(key, index),
      jnp.asarray(items),
      jnp.asarray(classes),
      network=job.network,
      task=job.task,
      counts=counts,
      num_steps=job.num_steps,
      batch_size=batch_size,
      peak_learning_rate=peak_learning_rate,
    )
    params[modality] = trained
    items, classes = _labelled_items(dataset, dataset.test, modality)
    if job.task.at_access is not None:
      items, classes = (
        np.resize(x, (1000, *x.shape[1:])) for x in (items, classes)
      )
    accuracy[modality] = float(
      _accuracy(
        trained, jnp.asarray(items), jnp.asarray(classes), counts=counts
      )
    )
    _log.info(
      'classifier of %s: test accuracy %.4f, trained in %.0f s',
      modality,
      accuracy[modality],
      time.monotonic() - clock,
    )
  classifiers = Classifiers(params, accuracy)
  classifier_cache.write(path, classifiers)
  return classifiers


def without_classifier(dataset: Dataset) -> dict[str, str]:
  """Modalities that no classifier can be trained for, and why."""
  if not (dataset.num_classes or dataset.factors):
    return dict.fromkeys(dataset.modalities, 'the data set has no labels')
  found = {}
  foreign = {
    spec.name
    for spec in dataset.specs
    if spec.kind == 'text' and spec.alphabet != ALPHABET
  }
  for modality in dataset.modalities:
    items = dataset.train.inputs[modality]
    if modality in foreign:
      found[modality] = 'there is no classifier for its alphabet'
    elif not reads(items):
      shape = list(items.shape[1:])
      found[modality] = f'there is no classifier for {items.dtype} {shape}'
    elif not all(
      len(_labelled_items(dataset, split, modality)[1])
      for split in (dataset.train, dataset.test)
    ):
      found[modality] = 'a split has no labelled example of it'
  return found


class _Job(NamedTuple):
  """What is to be trained for one modality."""

  task: Task
  network: nn.Module
  num_steps: int


def _make_job(
  dataset: Dataset,
  modality: str,
  channel_dropout: float,
  dropout: float,
  num_steps: int | None,
  batch_size: int,
) -> _Job:
  items = dataset.train.inputs[modality]
  task = task_of(items.shape[1:])
  if num_steps is None:
    num_steps = max(task.min_steps, 7 * len(items) // (2 * batch_size))
  num_logits = sum(classifier_outputs.logit_counts(dataset))
  network = task.network(num_logits, channel_dropout, dropout)
  return _Job(task, network, num_steps)


def _labelled_items(
  dataset: Dataset, split: Split, modality: str
) -> tuple[np.ndarray, np.ndarray]:
  """A modality's items in labelled tuples, each once, and classes [., F]."""
  items = split.inputs[modality]
  classes = classifier_outputs.targets(dataset, split)
  known = (classes >= 0).all(axis=1)
  if modality in split.present:
    known &= split.present[modality]
  if modality not in split.tables:
    return (items, classes) if known.all() else (items[known], classes[known])
  table, classes = split.tables[modality][known], classes[known]
  of_items = np.full((len(items), classes.shape[1]), -1, classes.dtype)
  of_items[table] = classes
  if (of_items[table] != classes).any():
    raise ValueError(
      f'expected tuples of one class for every item of {modality}, got an item'
      ' in tuples of several'
    )
  used = of_items[:, 0] >= 0
  return (items, of_items) if used.all() else (items[used], of_items[used])


@functools.partial(
  jax.jit,
  static_argnames=(
    'network',
    'task',
    'counts',
    'num_steps',
    'batch_size',
    'peak_learning_rate',
  ),
)
def _train(
  key: jax.Array,
  items: jax.Array,
  classes: jax.Array,
  *,
  network: nn.Module,
  task: Task,
  counts: tuple[int, ...],
  num_steps: int,
  batch_size: int,
  peak_learning_rate: float,
) -> Params:
  """Parameters after `num_steps`; all data stay on the device."""
  key_init, key_steps = jax.random.split(key)
  optimizer = optax.adam(
    optax.warmup_cosine_decay_schedule(
      init_value=peak_learning_rate / 25,
      peak_value=peak_learning_rate,
      warmup_steps=num_steps // 5,
      decay_steps=num_steps,
    )
  )

  def batch(key: jax.Array, rows: jax.Array) -> jax.Array:
    x = items[rows]
    if task.at_access is not None:
      x = task.at_access(jax.random.fold_in(key, 2), x)
    x = task.to_float(x)
    if task.augment is not None:
      x = task.augment(jax.random.fold_in(key, 3), x)
    return x

  def loss(
    params: Params,
    statistics: Params,
    key: jax.Array,
    x: jax.Array,
    y: jax.Array,
  ) -> tuple[jax.Array, Params]:
    logits, changed = network.apply(
      {'params': params, 'batch_stats': statistics},
      x,
      train=True,
      rngs={'dropout': key},
      mutable=['batch_stats'],
    )
    losses = classifier_outputs.cross_entropy(logits, y, counts)
    return jnp.mean(losses), changed.get('batch_stats', {})

  def step(index: jax.Array, state: Any) -> Any:
    params, statistics, optimizer_state = state
    key = jax.random.fold_in(key_steps, index)
    key_rows, key_dropout = jax.random.split(key)
    rows = jax.random.randint(key_rows, (batch_size,), 0, len(classes))
    grads, statistics = jax.grad(loss, has_aux=True)(
      params, statistics, key_dropout, batch(key, rows), classes[rows]
    )
    updates, optimizer_state = optimizer.update(grads, optimizer_state)
    return optax.apply_updates(params, updates), statistics, optimizer_state

  params = _init(network, task, key_init)
  statistics = params.pop('batch_stats', {})
  state = (params, statistics, optimizer.init(params))
  params, statistics, _ = jax.lax.fori_loop(0, num_steps, step, state)
  return networks.join(params, statistics)


@functools.partial(jax.jit, static_argnames='counts')
def _accuracy(
  params: Params,
  items: jax.Array,
  classes: jax.Array,
  *,
  counts: tuple[int, ...],
) -> jax.Array:
  """Share of the rows and factors whose class is seen. Scalar."""
  task = task_of(items.shape[1:])
  num_rows = len(classes)
  num_chunks = -(-num_rows // _TEST_CHUNK)
  index = jnp.arange(num_chunks * _TEST_CHUNK).reshape(-1, _TEST_CHUNK)

  def count(index: jax.Array) -> jax.Array:
    rows = jnp.minimum(index, num_rows - 1)
    x = items[rows]
    if task.at_access is not None:
      x = task.at_access(jax.random.fold_in(jax.random.key(0), index[0]), x)
    logits = predict(params, task.to_float(x))
    right = classifier_outputs.classes_seen(logits, counts) == classes[rows]
    return jnp.sum(right & (index < num_rows)[:, None])

  return jnp.sum(jax.lax.map(count, index)) / classes.size


def _init(
  network: nn.Module, task: Task, key: jax.Array | None = None
) -> Params:
  """Fresh weights; None for a key is for those who want the shapes alone."""
  key = jax.random.key(0) if key is None else key
  x = jnp.zeros((1, *task.shape), jnp.float32)
  variables = network.init(key, x, train=False)
  return networks.join(
    variables['params'], variables.get(networks.STATISTICS, {})
  )
