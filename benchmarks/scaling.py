"""What one training step computes, holds and sends on 1, 2, 4 and 8 devices.

  python benchmarks/scaling.py                   # both models, 10 minutes
  python benchmarks/scaling.py --model=polymnist --devices=1,8 --steps=0
  python benchmarks/scaling.py --pod             # up to 256 chips, computed

The devices are simulated ones of the CPU. From the compiled program, for each
device: the operations, the traffic with memory, the memory of state and step,
and the collectives of a step with the bytes that a ring of devices sends for
them. The time of a step says nothing on other devices: simulated ones share the
cores, and its growth is what cutting the work up costs a CPU.
"""

import argparse
import re
import time

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import AxisType  # noqa: E402

from mmjsd_jax import members, objectives, order  # noqa: E402
from mmjsd_jax.architecture import make_modalities  # noqa: E402
from mmjsd_jax.data.dataset import Split  # noqa: E402
from mmjsd_jax.model import Model  # noqa: E402
from mmjsd_jax.step import Settings, init_state  # noqa: E402

# Name -> modalities and latents, as in the papers.
MODELS = {
  'polymnist': (tuple(f'm{n}' for n in range(5)), 512),
  'mnist_svhn_text': (('mnist', 'svhn', 'text'), 20),
}
# Of one TPU v5e chip, as its vendor states them: bfloat16 FLOP/s, bytes/s of
# memory, and bytes/s of all four links to other chips.
PEAK, MEMORY, LINKS = 197e12, 819e9, 200e9
# Seconds that one message takes to the next chip; assumed.
HOP = 1e-6
# Bytes of reading and writing for Adam: parameter, gradient and two moments.
ADAM = 32
# Name -> FLOP and bytes of memory traffic per example, and parameters. Measured
# by the table above: the growth of GFLOP and of bytes with the batch.
COSTS = {
  'polymnist': (0.216e9, 16.1e6, 14.06e6),
  'mnist_svhn_text': (0.052e9, 4.8e6, 1.41e6),
}
COLLECTIVE = re.compile(
  r'= (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|'
  r'collective-permute)(?:-start)?\('
)
ARRAY = re.compile(r'\b(pred|[a-z]+(\d+))\[([\d,]*)\]')


def make_program(name, num_devices, batch_size, shard):
  """The compiled steps, and what they take."""
  names, latent_dim = MODELS[name]
  modalities = make_modalities(
    name,
    names,
    latent_dim=latent_dim,
    style_dims=(),
    hidden_dim=512,
    first_colours=None,
    text_as_released=False,
  )
  model = Model(modalities, latent_dim, objectives.make_objective('mopoe'))
  settings = Settings(
    seed=0,
    num_steps=1000,
    batch_size=batch_size,
    learning_rate=1e-3,
    beta=1.0,
    beta_warmup_steps=0,
    beta_style=1.0,
    likelihood_weights=(1.0,) * len(names),
    style_weights=(1.0,) * len(names),
    log_every=100,
    checkpoint_every=1000,
    shard_params=shard,
  )
  mesh = jax.make_mesh(
    (num_devices,),
    ('data',),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:num_devices],
  )
  split = Split(
    {m.name: np.zeros((batch_size, *m.shape), np.uint8) for m in modalities},
    np.zeros(batch_size, np.int32),
  )
  data = order.to_device(split, mesh)
  state = init_state(model, settings, mesh)
  arguments = (
    members.stack_hypers([settings], mesh),
    members.stack_states([state], mesh, shard=shard),
    members.first_epochs([settings], data, 0, mesh),
    data,
  )
  program = members.make_train_steps(model, settings, mesh)
  return program.lower(*arguments, jnp.int32(1)).compile(), arguments


def collectives(text, num_devices):
  """Kind -> [how many, bytes that a device sends] in one step."""
  found: dict[str, list[float]] = {}
  in_entry = False
  for line in text.splitlines():
    if line.startswith('ENTRY'):
      in_entry = True
    if line == '}':
      in_entry = False
    match = COLLECTIVE.search(line)
    if match is None or in_entry:  # before and behind all steps
      continue
    size = sum(
      int(bits or 8) // 8 * np.prod([int(n) for n in shape.split(',') if n])
      for _, bits, shape in ARRAY.findall(match[1])
    )
    ring = (num_devices - 1) / num_devices
    sent = {
      'all-reduce': 2 * ring * size,
      'all-gather': ring * size,
      'reduce-scatter': ring * num_devices * size,
    }.get(match[2], size)
    count = found.setdefault(match[2], [0, 0.0])
    count[0] += 1
    count[1] += sent
  return found


def seconds_of(program, arguments, num_steps):
  """Seconds of one step, after a first one."""
  hyper, state, epoch, data = arguments
  state, epoch, report, _ = program(hyper, state, epoch, data, jnp.int32(1))
  jax.block_until_ready(report)
  start = time.perf_counter()
  report = program(hyper, state, epoch, data, jnp.int32(num_steps))[2]
  jax.block_until_ready(report)
  return (time.perf_counter() - start) / num_steps


def pod_seconds(name, batch_size, num_chips, shard):
  """Computed seconds of a step: compute or memory, Adam, bytes, latency."""
  flop, traffic, num_params = COSTS[name]
  examples = batch_size / num_chips
  work = max(examples * flop / PEAK, examples * traffic / MEMORY)
  held = num_params / num_chips if shard else num_params
  ring = 2 * (num_chips - 1) / num_chips
  sent = ring * 4 * num_params / LINKS
  # Along the rows of a square of chips, then along its columns, and back.
  latency = 4 * (num_chips**0.5 - 1) * HOP
  return work, held * ADAM / MEMORY, sent, latency


def print_pod():
  print(
    '| Model | Batch | Chips | Parameters | Work, ms | Adam, ms | Bytes, ms | '
    'Latency, ms | Step, ms | Times one chip | Efficiency |\n'
    + '|---' * 11
    + '|'
  )
  for name in COSTS:
    for batch_size in (256, 4096, 65536):
      one = sum(pod_seconds(name, batch_size, 1, False))
      for num_chips in (1, 8, 64, 256):
        for shard in (False, True)[: 1 if num_chips == 1 else 2]:
          parts = pod_seconds(name, batch_size, num_chips, shard)
          gain = one / sum(parts)
          cells = (
            name,
            batch_size,
            num_chips,
            'in parts' if shard else 'everywhere',
            *(f'{1e3 * part:.3f}' for part in (*parts, sum(parts))),
            f'{gain:.1f}',
            f'{100 * gain / num_chips:.0f} %',
          )
          print('|', ' | '.join(map(str, cells)), '|')


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--model', choices=tuple(MODELS))
  parser.add_argument('--devices', default='1,2,4,8')
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--steps', type=int, default=5, help='timed; 0 for none')
  parser.add_argument('--pod', action='store_true', help='compute, not run')
  args = parser.parse_args()
  if args.pod:
    print_pod()
    return
  counts = [int(n) for n in args.devices.split(',')]
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', max(counts))
  print(
    '| Model | Devices | Parameters | GFLOP | Traffic, GB | State, MB | '
    'Step, MB | Collectives | MB sent | ms |\n' + '|---' * 10 + '|'
  )
  for name in [args.model] if args.model else MODELS:
    for shard in (False, True):
      for num_devices in counts:
        if shard and num_devices == 1:
          continue
        program, arguments = make_program(
          name, num_devices, args.batch_size, shard
        )
        cost = program.cost_analysis()
        sent = collectives(program.as_text(), num_devices)
        state = sum(
          leaf.addressable_shards[0].data.nbytes
          for leaf in jax.tree.leaves(arguments[1])
        )
        temporary = program.memory_analysis().temp_size_in_bytes
        cells = (
          name,
          num_devices,
          'in parts' if shard else 'everywhere',
          f'{cost["flops"] / 1e9:.2f}',
          f'{cost["bytes accessed"] / 1e9:.3f}',
          f'{state / 1e6:.1f}',
          f'{temporary / 1e6:.0f}',
          ', '.join(f'{n} {kind}' for kind, (n, _) in sent.items()) or 'none',
          f'{sum(size for _, size in sent.values()) / 1e6:.2f}',
          f'{1e3 * seconds_of(program, arguments, args.steps):.0f}'
          if args.steps
          else '',
        )
        print('|', ' | '.join(map(str, cells)), '|', flush=True)


if __name__ == '__main__':
  main()
