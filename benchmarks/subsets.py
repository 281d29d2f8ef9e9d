"""Times MoPoE's objective and its gradient against the number of modalities.

  python benchmarks/subsets.py --core 0 --peer-python /path/to/python

Prints a line for each M: CPU seconds and memory of the objective with all
subsets, and with `num_subsets` drawn. Experts are the parameters and a decoder
is the first latent, so that the joint posterior and its divergence are all
there is. With `--peer-python`, a Python that has torch and multivae, MultiVae's
MoPoE does the same in a process of its own, and turns are taken; it is left out
from the M on at which one loss would take it more than `--peer-limit` seconds.

Times are the median CPU time, so on several cores the work done, not the wait;
`--core` keeps both processes to one core (Linux). Memory is what the compiled
program allocates beside its arguments and results, and for MultiVae the growth
of the process's peak.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mmjsd_jax import objectives  # noqa: E402
from mmjsd_jax.gaussian import Gaussian  # noqa: E402

PEER = pathlib.Path(__file__).resolve().parent / 'peers/multivae_subsets.py'
SLOW = 5  # seconds; what takes longer is timed once, without a warm-up


def compile_ours(num_modalities, batch_size, latent_dim, num_subsets):
  """Returns a thunk for CPU seconds, and MiB."""
  objective = objectives.make_objective('mopoe', num_subsets=num_subsets)
  shape = (2, num_modalities, batch_size, latent_dim)
  rng = np.random.default_rng(0)
  experts = Gaussian(*jnp.asarray(rng.normal(size=shape), jnp.float32))

  def loss(experts, key):
    terms = objectives.elbo(
      key,
      experts,
      lambda z: -0.5 * jnp.square(z[..., 0]),
      objective=objective,
    )
    return -jnp.mean(terms.objective)

  arguments = (experts, jax.random.key(0))
  compiled = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()

  def seconds():
    start = time.process_time()
    jax.block_until_ready(compiled(*arguments))
    return time.process_time() - start

  memory = compiled.memory_analysis().temp_size_in_bytes / 2**20
  return seconds, memory


def start_peer(python, *sizes):
  return subprocess.Popen(
    [python, str(PEER), *map(str, sizes)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )


def ask(peer):
  """CPU seconds of one loss and gradient, and MiB so far."""
  peer.stdin.write('\n')
  peer.stdin.flush()
  answer = peer.stdout.readline()
  if not answer:
    raise RuntimeError('MultiVae ended without an answer; see above')
  return [float(number) for number in answer.split()]


def measure(fns, rounds):
  """Name -> median seconds; each in turn, the first round to warm up."""
  times = {name: [fn()] for name, fn in fns.items()}
  for turn in range(rounds):
    for name, fn in fns.items():
      if times[name][0] < SLOW:
        times[name] = times[name][turn == 0 :] + [fn()]
  return {name: statistics.median(values) for name, values in times.items()}


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument(
    '--modalities', nargs='+', type=int, default=list(range(2, 17))
  )
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--latent_dim', type=int, default=512)
  parser.add_argument('--num_subsets', type=int, default=32)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--core', type=int, help='pin the processes to this core')
  parser.add_argument('--peer-python', help='with torch and multivae')
  parser.add_argument('--peer-limit', type=float, default=10)
  args = parser.parse_args()
  if args.core is not None:
    os.sched_setaffinity(0, {args.core})

  print(f'B = {args.batch_size}, D = {args.latent_dim}; CPU seconds and MiB')
  print(
    f'| M | subsets | all: s | MiB | {args.num_subsets} drawn: s | MiB '
    '| MultiVae: s | MiB | ratio |'
  )
  print('|---|---|---|---|---|---|---|---|---|', flush=True)
  foretold = 0.0  # seconds of MultiVae
  for num_modalities in args.modalities:
    sizes = (num_modalities, args.batch_size, args.latent_dim)
    exact, memory = compile_ours(*sizes, 0)
    drawn, memory_drawn = compile_ours(*sizes, args.num_subsets)
    fns = {'exact': exact, 'drawn': drawn}
    peer_memory = 0.0
    peer = None
    if args.peer_python and foretold <= args.peer_limit:
      peer = start_peer(args.peer_python, *sizes)

      def peer_seconds(peer=peer):
        nonlocal peer_memory
        seconds, peer_memory = ask(peer)
        return seconds

      fns['peer'] = peer_seconds
    times = measure(fns, args.rounds)
    line = (
      f'| {num_modalities} | {2**num_modalities - 1:,} '
      f'| {times["exact"]:.3f} | {memory:,.0f} '
      f'| {times["drawn"]:.3f} | {memory_drawn:,.0f} '
    )
    if peer is None:
      line += '| - | - | - |'
    else:
      peer.stdin.close()
      peer.wait()
      ratio = times['peer'] / times['exact']
      line += f'| {times["peer"]:.3f} | {peer_memory:,.0f} | {ratio:.1f} |'
      # One more modality doubles the subsets and adds to every product.
      foretold = 2.5 * times['peer']
    print(line, flush=True)


if __name__ == '__main__':
  main()
