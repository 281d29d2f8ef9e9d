"""Times members together against members in turn, and weighs them.

  python benchmarks/population.py --members 1,2,5

PolyMNIST at the paper's size: 512 latents, batches of 256. Prints a line for
every number of members in one program: seconds to compile, examples per second
over all members, by the clock and by the processor (which on a busy machine is
the fairer), gigabytes foretold, and gigabytes taken, data and program included.
Members in turn are as fast, all together, as one. Every number is measured in a
process of its own.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import jax  # noqa: E402

from mmjsd_jax import config as configuration  # noqa: E402
from mmjsd_jax import job as jobs  # noqa: E402
from mmjsd_jax import together  # noqa: E402


def measure(num_members: int, latent_dim: int, batch_size: int) -> dict:
  """The numbers of one line."""
  config = configuration.default()
  config.data.digits = 'embedded'
  config.model.latent_dim = latent_dim
  config.train.batch_size = batch_size
  config.train.num_steps = 1
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder, 'run')
    job = jobs.prepare(config, workdir, mode='train', command='')
  settings = [job.settings._replace(seed=seed) for seed in range(num_members)]
  before = _taken()
  clock = time.perf_counter()
  forecast = together.foretell(job.model, settings, job.training)
  compiled = time.perf_counter() - clock
  together.examples_per_second(job.model, settings, job.training)  # compiles
  cpu = time.process_time()
  rate = together.examples_per_second(job.model, settings, job.training)
  used = time.process_time() - cpu
  num_steps = together.TIMED_STEPS + 1
  return {
    'compile': compiled,
    'rate': rate,
    'cpu_rate': num_members * num_steps * batch_size / used,
    'foretold': (forecast.total - forecast.copies) / 1e9,
    'taken': (_taken() - before) / 1e9,
    'device': jax.devices()[0].device_kind,
  }


def _taken() -> int:
  """The most bytes taken so far: of the device, or on CPU of the process."""
  stats = jax.devices()[0].memory_stats()
  if stats and 'peak_bytes_in_use' in stats:
    return stats['peak_bytes_in_use']
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--members', default='1,2,5')
  parser.add_argument('--latent-dim', type=int, default=512)
  parser.add_argument('--batch-size', type=int, default=256)
  parser.add_argument('--only', type=int, help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.only:
    found = measure(options.only, options.latent_dim, options.batch_size)
    print(json.dumps(found))
    return
  print('members  compile s  examples/s  per CPU s  foretold GB  taken GB')
  for number in options.members.split(','):
    command = [sys.executable, __file__, *sys.argv[1:], '--only', number]
    output = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(output.stdout.splitlines()[-1])
    print(
      f'{number:>7}  {found["compile"]:9.1f}  {found["rate"]:10.0f}  '
      f'{found["cpu_rate"]:9.0f}  {found["foretold"]:11.2f}  '
      f'{found["taken"]:8.2f}',
      flush=True,
    )
  print(found['device'])


if __name__ == '__main__':
  main()
