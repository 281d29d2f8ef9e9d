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

import jax
import linear_world
import train_world

from mmjsd_jax import hosts, order, train
from mmjsd_jax import step as steps
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.evaluation import evaluate
from mmjsd_jax.interruption import Stopped, listen

SETTINGS = train_world.SETTINGS._replace(
  num_steps=6, batch_size=24, log_every=3, checkpoint_every=3
)


@functools.cache
def world():
  """Not before the processes have found one another: it touches a device."""
  made = linear_world.make_world(
    'mopoe', num_modalities=2, num_examples=120, width=8
  )
  # 45 test examples in chunks of 16: not divisible by the devices.
  return made, linear_world.make_dataset(made, num_train=75)


def train_in(folder, mesh, *, stop_requested=lambda: False, **changes):
  """The losses that were told, and the last state."""
  made, dataset = world()
  settings = SETTINGS._replace(**changes)
  with contextlib.closing(Checkpoints(folder, keep=5)) as checkpoints:
    beginning = train.begin(made.model, settings, checkpoints, mesh)
    told = train.train(
      made.model,
      settings,
      dataset.train,
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
  hosts.start(f'127.0.0.1:{port}', 2, process)
  mesh = order.make_mesh()
  errors = {}

  # A signal to one process ends both; together they go on.
  train.DISPATCH_SECONDS = 0.0
  with listen(hosts.largest) as interruption:

    def stop_requested():
      if process == 1:
        os.kill(os.getpid(), signal.SIGTERM)
        while interruption._signal is None:
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
