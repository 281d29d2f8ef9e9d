"""One small run that any devices of any processes can do.

As a program, one of the two processes of tests/hosts_test.py:

  python tests/hosts_world.py PROCESS PORT FOLDER
"""

import contextlib
import functools
import json
import os
import pathlib
import signal
import sys
import time
import unittest.mock

import blocks_test
import jax
import linear_world
import numpy as np
import sweep_world
import train_world

from mmjsd_jax import (
  blocks,
  grid,
  hosts,
  journal,
  order,
  population,
  run,
  train,
)
from mmjsd_jax import config as configuration
from mmjsd_jax import step as steps
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.evaluation import evaluate
from mmjsd_jax.files import write_json
from mmjsd_jax.interruption import Interruption, Stopped, listen
from mmjsd_jax.job import Job

SETTINGS = train_world.SETTINGS._replace(
  num_steps=6, batch_size=24, log_every=3, checkpoint_every=3
)
SKIPPING = {'non_finite': 'skip', 'bad_row': 5}


@functools.cache
def world():
  """Not before the processes have found one another: it touches a device."""
  made = linear_world.make_world(
    'mopoe', num_modalities=2, num_examples=120, width=8
  )
  # 45 test examples in chunks of 16: not divisible by the devices.
  return made, linear_world.make_dataset(made, num_train=75)


def train_in(
  folder, mesh, *, stop_requested=lambda: False, bad_row=None, **changes
):
  """The losses that were told, and the last state."""
  made, dataset = world()
  training = dataset.train
  if bad_row is not None:
    m0 = np.copy(training.inputs['m0'])
    m0[bad_row] = np.nan
    training = training._replace(inputs=training.inputs | {'m0': m0})
  settings = SETTINGS._replace(**changes)
  with contextlib.closing(Checkpoints(folder, keep=5)) as checkpoints:
    beginning = train.begin(made.model, settings, checkpoints, mesh)
    told = train.train(
      made.model,
      settings,
      training,
      dataset.test,
      beginning,
      checkpoints,
      mesh,
      stop_requested=stop_requested,
    )
    lines = [(p.metrics['loss'], p.metrics['validation_loss']) for p in told]
    like = steps.init_state(made.model, settings, mesh)
    state, _ = checkpoints.restore(like, settings.num_steps)
  return lines, state


def train_population_in(folder):
  """Two members, of which the second must go back: names to their metrics."""
  made, dataset = world()
  sweep = grid.Sweep(
    'linear', 'linear', {'objective.beta': (1.0, 5.0)}, 'beta', ()
  )
  config = configuration.default()
  config.train.num_steps = SETTINGS.num_steps
  points = grid.points(sweep, config)
  settings = SETTINGS._replace(non_finite='restore')
  jobs = {
    point.name: Job(
      config=point.config,
      workdir=folder / point.name,
      mode='train_and_evaluate',
      command='test',
      dataset=dataset,
      training=dataset.train,
      validation=dataset.test,
      model=made.model,
      settings=settings._replace(learning_rate=rate),
    )
    for point, rate in zip(points, (0.01, 200.0), strict=True)
  }
  plan = population.Plan(sweep, points, folder, 'test')
  with unittest.mock.patch.object(run, '_evaluate', _pretend_to_evaluate):
    failed = population.execute(
      population.Population(plan, jobs, 0), Interruption()
    )
  assert not failed
  return {name: journal.read_metrics(folder / name) for name in jobs}


def _pretend_to_evaluate(job, *_):
  with hosts.together():
    if hosts.is_first():
      made_up = sweep_world.make_results(grid.Point('', {}, job.config))
      write_json(job.workdir / 'results.json', made_up)


def evaluate_on(params):
  """The metrics, on the devices of the parameters."""
  made, dataset = world()
  return evaluate.evaluate(
    made.model,
    params,
    dataset,
    linear_world.make_judges(made),
    key=jax.random.key(0),
    subsets=('m0+m1',),
    num_probe_samples=(75,),
    num_joint_samples=40,
    fitted=evaluate.fit_sampler(
      made.model,
      params,
      dataset,
      key=jax.random.key(1),
      num_components=2,
      chunk_size=16,
    ),
    num_importance_samples=4,
    num_joint_importance_samples=8,
    num_log_likelihood_examples=20,
    chunk_size=16,
  )


def main(process, port, folder):
  """What both processes do; the first one writes results.json."""
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', 4)
  train.DISPATCH_SECONDS = 0.0
  blocks.BLOCK_BYTES = blocks_test.BLOCK_BYTES
  errors = {}

  # A signal to one process ends both; together they go on.
  with listen(hosts.largest) as interruption:  # first, as in main.py
    hosts.start(f'127.0.0.1:{port}', 2, process)
    mesh = order.make_mesh()

    def stop_requested():
      if process == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 10
        while interruption._signal is None:
          assert time.monotonic() < deadline, 'SIGTERM was not heard'
          time.sleep(0.01)
      return interruption.requested()

    try:
      train_in(folder / 'run', mesh, stop_requested=stop_requested)
    except Stopped as stop:
      errors['stopped'] = [str(stop), interruption._status]
  lines, state = train_in(folder / 'run', mesh)
  metrics = evaluate_on(state.params)

  order.LEAST_SHARDED = 4
  sharded = {'shard_params': True}
  sharded_lines, sharded_state = train_in(folder / 'sharded', mesh, **sharded)
  assert not all(
    leaf.is_fully_replicated for leaf in jax.tree.leaves(sharded_state)
  )

  members = train_population_in(folder / 'population')
  skipping_lines, skipped_state = train_in(
    folder / 'skipping', mesh, **SKIPPING
  )
  _, streamed_lines = blocks_test.run(
    folder / 'streamed',
    blocks_test.streamed(folder / 'records'),
    num_devices=8,
  )

  # What goes wrong in one process.
  for name, go in {
    'other_folder': lambda: train_in(folder / f'run{process or ""}', mesh),
    'other_data': lambda: hosts.check_same('data', str(process)),
    'other_error': lambda: fail(process),
  }.items():
    try:
      go()
    except (ValueError, OSError) as error:
      errors[name] = f'{type(error).__name__}: {error}'
  found = {
    'lines': lines,
    'metrics': metrics,
    'sharded_lines': sharded_lines,
    'members': members,
    'skipping_lines': skipping_lines,
    'num_skipped': int(skipped_state.num_skipped),
    'streamed_losses': [line['loss'] for line in streamed_lines],
    'params': [leaf.tolist() for leaf in jax.tree.leaves(hosts.fetch(state))],
    'errors': errors,
  }
  (folder / f'results{process}.json').write_text(json.dumps(found))


def fail(process):
  """Fails in the second process alone."""
  with hosts.together():
    if process == 1:
      raise ValueError('no such file')


if __name__ == '__main__':
  main(int(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3]))
