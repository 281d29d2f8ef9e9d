"""Times training on streamed data against training on resident data.

  python benchmarks/streaming.py --copy=/data/prepared

Prints samples per second of the reader alone, of training with all data on the
device, and of training that streams them, the two in turns, so that a busy
machine slows both; then their ratio, of the rounds' medians. CPU time of the
process stands beside, which other programs change less. `--copy` is a folder
with a PolyMNIST that `polymnist_builder` prepared; without it one is made of
the embedded digits. Every round begins to read anew, so that nothing is read in
another's turn; blocks are small, to be several in a round.
"""

import argparse
import contextlib
import pathlib
import statistics
import tempfile
import time
from typing import NamedTuple

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mmjsd_jax import blocks, command, members, step  # noqa: E402
from mmjsd_jax import config as configuration  # noqa: E402
from mmjsd_jax import job as jobs  # noqa: E402
from mmjsd_jax.blocks import Blocks, Resident  # noqa: E402
from mmjsd_jax.order import make_mesh, to_device  # noqa: E402


class Spent(NamedTuple):
  """Of one round."""

  seconds: float
  cpu_seconds: float


class Runner:
  """One run of training, some steps at a time."""

  def __init__(self, job, make_feed):
    self._settings = [job.settings]
    self._make_feed = make_feed
    mesh = make_mesh()
    self._train_steps = members.make_train_steps(job.model, job.settings, mesh)
    self._hyper = members.stack_hypers(self._settings, mesh)
    self._state = members.stack_states(
      [step.init_state(job.model, job.settings, mesh)], mesh
    )

  def take(self, steps):
    """Takes the steps; a dispatch for each block."""
    with contextlib.closing(self._make_feed(steps)) as feed:
      data, _ = feed.at(steps.start)
      epoch = members.first_epochs(
        self._settings, data, steps.start, make_mesh()
      )
      while steps:
        data, end = feed.at(steps.start)
        end = min(end, steps.stop)
        self._state, epoch, report, _ = self._train_steps(
          self._hyper, self._state, epoch, data, jnp.int32(end - steps.start)
        )
        jax.block_until_ready(report)
        steps = range(end, steps.stop)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--copy', type=pathlib.Path)
  parser.add_argument('--modalities', nargs='*', default=[])
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--latent_dim', type=int, default=512)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--steps', type=int, default=20, help='in each round')
  parser.add_argument('--block_mb', type=float, default=16)
  options = parser.parse_args()
  blocks.BLOCK_BYTES = int(2**20 * options.block_mb)
  with tempfile.TemporaryDirectory() as folder:
    if options.copy is None:
      from mmjsd_jax.data import polymnist_builder

      options.copy = pathlib.Path(folder)
      polymnist_builder.Polymnist(
        data_dir=folder, digits='embedded', num_repeats=5
      ).download_and_prepare()
    command.use_compilation_cache()
    run(options, pathlib.Path(folder, 'run'))


def run(options, workdir):
  job = jobs.prepare(
    configure(options), workdir, mode='train', command='benchmark'
  )
  mesh = make_mesh()
  order = step.make_order(job.settings, job.training.num_examples)
  every = np.arange(job.training.num_examples)
  data = to_device(job.training.take(every), mesh)

  def stream(steps):
    return Blocks(job.training, order, steps, mesh)

  def read(steps):
    with contextlib.closing(stream(steps)) as feed:
      for number in steps:
        jax.block_until_ready(feed.at(number))

  resident = Runner(job, lambda steps: Resident(data, steps.stop))
  work = {
    'reader': read,
    'resident': resident.take,
    'streamed': Runner(job, stream).take,
  }
  spent = {name: [] for name in work}
  for turn in range(options.rounds + 1):
    steps = range(turn * options.steps, (turn + 1) * options.steps)
    for name, take in work.items():
      found = measure(take, steps)
      if turn:  # the first compiles
        spent[name].append(found)
  show(spent, options.steps * options.batch_size)


def configure(options):
  config = configuration.default()
  config.update_from_flattened_dict(
    {
      'data.stream': True,
      'data.dir': str(options.copy),
      'data.modalities': tuple(options.modalities),
      'model.latent_dim': options.latent_dim,
      'train.batch_size': options.batch_size,
      'train.num_steps': (options.rounds + 1) * options.steps,
    }
  )
  return config


def measure(take, steps):
  start, cpu_start = time.perf_counter(), time.process_time()
  take(steps)
  return Spent(time.perf_counter() - start, time.process_time() - cpu_start)


def show(spent, num_samples):
  rates = {}
  for name, rounds in spent.items():
    rates[name] = num_samples / statistics.median(r.seconds for r in rounds)
    cpu = statistics.median(r.cpu_seconds for r in rounds) / num_samples
    print(
      f'{name:9s} {rates[name]:9.0f} samples/s {1e3 * cpu:8.3f} CPU ms each'
    )
  ratio = rates['streamed'] / rates['resident']
  print(f'streamed / resident {ratio:.3f}')


if __name__ == '__main__':
  main()
