"""Times whole training steps, beside PyTorch's where there is one.

  python benchmarks/train_step.py --datasets polymnist --presets mopoe mvae
  python benchmarks/train_step.py --peer --peer-python=/path/to/python

The networks have the papers' sizes, the batch is 256 (32 for 'mmvae_dreg',
which decodes 30 draws per modality) or --batch-size, the pixels are random. A
line per contender: samples per second (median over rounds), seconds of the
first step with compilation, peak resident memory, and its rate over ours
(median, least and greatest over rounds).

Contenders are processes that run one after another, about --seconds each, and
sleep while another runs; once through all of them is a round. A round in which
other processes took more than --busy of a core from those used does not count,
and how many did not is said. --cores keeps all to some cores; with --cpu-time,
for one core of a busy machine, CPU time counts in place of the clock, and no
round is dropped. --bfloat16 is train.compute_dtype here and autocast there.

--peer-python is an environment with torch and multivae: `eager` and `compiled`
are a hand-written step, benchmarks/peers/torch_step.py, and `multivae` the
library, where it has the objective.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from peers.child import serve

PRESETS = (
  'mopoe',
  'mmjsd',
  'mmvae',
  'mvae',
  'mmpoe',
  'mopoe_eq5',
  'mmvae_dreg',
)
IN_MULTIVAE = ('mopoe', 'mvae', 'mmvae', 'mmvae_dreg')
RIVALS = ('eager', 'compiled', 'multivae')
# The papers': latents; of every modality its name, shape and largest code.
DATASETS = {
  'polymnist': (512, [(f'm{i}', (28, 28, 3), 255) for i in range(5)]),
  'mnist_svhn_text': (
    20,
    [
      ('mnist', (28, 28, 1), 255),
      ('svhn', (32, 32, 3), 255),
      ('text', (8,), 70),
    ],
  ),
  'celeba': (32, [('image', (64, 64, 3), 255), ('text', (256,), 70)]),
}
SMALL = ('polymnist', 'mnist_svhn_text')  # whose steps take no minutes
# Latents of every modality alone.
STYLES = {'celeba': (32, 32)}
NUM_EXAMPLES = 2560
ROOT = pathlib.Path(__file__).parent


class Contender:
  """A process that runs training steps when told to."""

  def __init__(self, name, command):
    self.name = name
    self.rates = []
    self._process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    self.first_step = self._answer()['seconds']

  def run(self, num_steps):
    """Runs so many steps; returns its answer and the cores others took."""
    busy, start = busy_seconds(), time.monotonic()
    print(num_steps, file=self._process.stdin, flush=True)
    answer = self._answer()
    others = busy_seconds() - busy - answer['cpu_seconds']
    return answer, others / (time.monotonic() - start)

  def close(self):
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()

  def _answer(self):
    line = self._process.stdout.readline()
    if not line:
      raise SystemExit(f'{self.name} ended; what it said is above')
    return json.loads(line)


def busy_seconds():
  """CPU seconds spent on the cores of this process, whoever spent them."""
  cores = {f'cpu{core}' for core in os.sched_getaffinity(0)}
  ticks = 0
  for line in pathlib.Path('/proc/stat').read_text().splitlines():
    name, *fields = line.split()
    if name in cores:
      user, nice, system, _, _, irq, soft_irq, steal, *_ = map(int, fields)
      ticks += user + nice + system + irq + soft_irq + steal
  return ticks / os.sysconf('SC_CLK_TCK')


def compare(dataset, preset, options):
  """Prints the lines of one data set and preset."""
  batch_size = options.batch_size or (32 if preset == 'mmvae_dreg' else 256)
  what = [f'--dataset={dataset}', f'--preset={preset}']
  what.append(f'--batch-size={batch_size}')
  dtype = ['--bfloat16'] if options.bfloat16 else []
  ours = [sys.executable, __file__, '--child', *what, *dtype]
  contenders = [Contender('ours', ours)]
  script = str(ROOT / 'peers' / 'torch_step.py')
  for rival in options.rivals if options.peer else ():
    if rival != 'multivae' or preset in IN_MULTIVAE:
      command = [options.peer_python, script, *what, *dtype]
      contenders.append(Contender(rival, [*command, f'--rival={rival}']))

  num_steps, dropped = {}, 0
  for contender in contenders:
    contender.run(1)
    answer, _ = contender.run(2)
    seconds = answer['seconds'] / 2
    num_steps[contender] = max(1, round(options.seconds / seconds))
  for _ in range(options.rounds):
    runs = [contender.run(num_steps[contender]) for contender in contenders]
    disturbed = max(others for _, others in runs) > options.busy
    if disturbed and not options.cpu_time:
      dropped += 1
      continue
    for contender, (answer, _) in zip(contenders, runs, strict=True):
      seconds = answer['cpu_seconds' if options.cpu_time else 'seconds']
      contender.rates.append(num_steps[contender] * batch_size / seconds)
  for contender in contenders:
    answer, _ = contender.run(1)
    report(dataset, preset, contender, contenders[0], answer['peak_mb'])
    contender.close()
  if dropped:
    print(f'  {dropped} of {options.rounds} rounds dropped: others were busy')


def report(dataset, preset, contender, ours, peak_mb):
  """Prints one line."""
  line = f'{dataset:16s} {preset:10s} {contender.name:9s}'
  if contender.rates:
    line += f' {statistics.median(contender.rates):8.1f} samples/s'
  line += f'  first step {contender.first_step:5.1f} s  {peak_mb:6.0f} MB'
  if contender is not ours and contender.rates:
    ratios = [
      mine / theirs
      for mine, theirs in zip(ours.rates, contender.rates, strict=True)
    ]
    line += f'  ours is {statistics.median(ratios):.2f} times as fast'
    line += f' ({min(ratios):.2f} to {max(ratios):.2f})'
  print(line, flush=True)


def train(dataset, preset, batch_size, bfloat16):
  """Answers the parent with steps of this package."""
  from mmjsd_jax.allocator import configure_allocator

  configure_allocator()

  import jax
  import jax.numpy as jnp
  import numpy as np

  from mmjsd_jax import members
  from mmjsd_jax.architecture import make_modalities, weights_by_size
  from mmjsd_jax.data.dataset import Split
  from mmjsd_jax.model import Model
  from mmjsd_jax.objectives import make_objective
  from mmjsd_jax.order import make_mesh, to_device
  from mmjsd_jax.step import Settings, init_state

  latent_dim, modalities = DATASETS[dataset]
  rng = np.random.default_rng(0)
  split = Split(
    {
      name: rng.integers(0, top, (NUM_EXAMPLES, *shape), np.uint8, True)
      for name, shape, top in modalities
    },
    np.zeros(NUM_EXAMPLES, np.int32),
  )
  networks = make_modalities(
    dataset,
    tuple(split.inputs),
    latent_dim=latent_dim,
    style_dims=STYLES.get(dataset, ()),
  )
  ones = (1.0,) * len(networks)
  model = Model(
    networks,
    latent_dim,
    make_objective(preset),
    compute_dtype='bfloat16' if bfloat16 else 'float32',
  )
  settings = Settings(
    seed=0,
    num_steps=10**9,
    batch_size=batch_size,
    learning_rate=1e-3,
    beta=2.5,
    beta_warmup_steps=0,
    beta_style=1.0,
    likelihood_weights=weights_by_size(networks),
    style_weights=ones,
    log_every=100,
    checkpoint_every=10**9,
    # The largest do not get beyond their first whole steps.
    learning_rate_warmup_steps=0 if dataset in SMALL else 1000,
  )
  mesh = make_mesh()
  data = to_device(split, mesh)
  hyper = members.stack_hypers([settings], mesh)
  carry = [
    members.stack_states([init_state(model, settings, mesh)], mesh),
    members.first_epochs([settings], data, 0, mesh),
  ]
  train_steps = members.make_train_steps(model, settings, mesh)

  def run_steps(num_steps):
    *carry[:], _, finite = train_steps(
      hyper, *carry, data, jnp.int32(num_steps)
    )
    assert jax.device_get(finite).all()

  serve(run_steps)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  add = parser.add_argument
  add('--datasets', nargs='+', choices=DATASETS, default=SMALL)
  add('--presets', nargs='+', choices=PRESETS, default=PRESETS)
  add('--peer', action='store_true', help='also time the rivals')
  add('--peer-python', default=sys.executable, help='with torch and multivae')
  add('--rivals', nargs='+', choices=RIVALS, default=RIVALS)
  add('--bfloat16', action='store_true', help='the mixed precision of each')
  add('--batch-size', type=int, help='default: 256, or 32')
  add('--rounds', type=int, default=9)
  add('--seconds', type=float, default=3, help='of one run')
  add('--busy', type=float, default=0.15, help='cores that others may take')
  add('--cpu-time', action='store_true', help='rates by CPU time')
  add('--cores', type=int, nargs='+', help='keep to these; default: all')
  add('--child', action='store_true', help=argparse.SUPPRESS)
  add('--dataset', help=argparse.SUPPRESS)
  add('--preset', help=argparse.SUPPRESS)
  options = parser.parse_args()
  if options.child:
    train(options.dataset, options.preset, options.batch_size, options.bfloat16)
    return
  if options.cores:
    os.sched_setaffinity(0, options.cores)
  for dataset in options.datasets:
    for preset in options.presets:
      compare(dataset, preset, options)


if __name__ == '__main__':
  main()
