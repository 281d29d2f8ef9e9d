"""Times the convolution backends on the five PolyMNIST network pairs.

  python benchmarks/convolution.py --core 0

Prints a line per variant: milliseconds of a forward pass and gradient, by
itself and as the body of `lax.fori_loop`, and the ratio to `plain`, which is
`lax.conv_general_dilated` left to JAX's own differentiation. The loop also
moves the 14 million parameters, which is some of what it costs. Variants take
turns, so that a busy machine slows all of them. With `--core` on Linux the
process keeps to one core; times are CPU time of the process in either case, so
on several cores they are the work done, not the wait.
"""

import argparse
import inspect
import os
import time
from typing import Any
from unittest import mock

from mmjsd_jax.allocator import configure_allocator

configure_allocator()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mmjsd_jax.modalities import convolution  # noqa: E402
from mmjsd_jax.modalities.polymnist_image import Decoder, Encoder  # noqa: E402

VARIANTS = ('plain', 'lax', 'gather')
NUM_MODALITIES = 5


def make_gradient_fn(variant, latent_dim):
  """Returns initial parameters and (params, images) -> (loss, gradients)."""
  backend = 'lax' if variant == 'plain' else variant
  encoder = Encoder(latent_dim, backend=backend)
  decoder = Decoder(backend=backend)

  def init(key):
    key_encoder, key_decoder = jax.random.split(key)
    return (
      encoder.init(key_encoder, jnp.zeros((1, 28, 28, 3))),
      decoder.init(key_decoder, jnp.zeros((1, latent_dim))),
    )

  def loss(params, images):
    total = jnp.zeros(())
    for (enc, dec), x in zip(params, images, strict=True):
      q: Any = encoder.apply(enc, x)
      z = q.mean + jnp.exp(0.5 * q.log_var)
      means: Any = decoder.apply(dec, z)
      total += jnp.abs(means - x).sum() / len(x)
    return total

  keys = jax.random.split(jax.random.key(0), NUM_MODALITIES)
  params = [jax.jit(init)(key) for key in keys]
  return params, jax.value_and_grad(loss)


def compile_variant(variant, images, latent_dim, num_loop_steps):
  """Returns thunks that run one gradient, and a loop of `num_loop_steps`."""
  params, gradient_fn = make_gradient_fn(variant, latent_dim)

  def loop(params, images):
    def body(_, params):
      _, grads = gradient_fn(params, images)
      return jax.tree.map(lambda p, g: p - 1e-6 * g, params, grads)

    return jax.lax.fori_loop(0, num_loop_steps, body, params)

  plain = inspect.unwrap(convolution._lax_conv_transpose)
  patched = plain if variant == 'plain' else convolution._lax_conv_transpose
  with mock.patch.object(convolution, '_lax_conv_transpose', patched):
    step_fn = jax.jit(gradient_fn).lower(params, images).compile()
    loop_fn = jax.jit(loop).lower(params, images).compile()
  return (
    lambda: jax.block_until_ready(step_fn(params, images)),
    lambda: jax.block_until_ready(loop_fn(params, images)),
  )


def measure(fn):
  start = time.process_time()
  fn()
  return 1e3 * (time.process_time() - start)


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument('--variants', nargs='+', default=VARIANTS)
  parser.add_argument('--batch_size', type=int, default=256)
  parser.add_argument('--latent_dim', type=int, default=512)
  parser.add_argument('--rounds', type=int, default=7)
  parser.add_argument(
    '--loop_rounds', type=int, default=2, help='0 leaves the loops out'
  )
  parser.add_argument('--loop_steps', type=int, default=2)
  parser.add_argument('--core', type=int, help='pin the process to this core')
  args = parser.parse_args()
  if args.core is not None:
    os.sched_setaffinity(0, {args.core})

  rng = np.random.default_rng(0)
  shape = (NUM_MODALITIES, args.batch_size, 28, 28, 3)
  images = list(jnp.asarray(rng.random(shape, np.float32)))
  fns = {
    variant: compile_variant(variant, images, args.latent_dim, args.loop_steps)
    for variant in args.variants
  }
  steps: dict[str, list[float]] = {variant: [] for variant in fns}
  loops: dict[str, list[float]] = {variant: [] for variant in fns}
  for index, (times, rounds) in enumerate(
    ((steps, args.rounds), (loops, args.loop_rounds))
  ):
    for turn in range(rounds + 1):
      for variant in fns:
        elapsed = measure(fns[variant][index])
        if turn > 0 and rounds > 0:  # the first turn warms up
          times[variant].append(elapsed)

  first = args.variants[0]
  for variant in fns:
    step = np.median(steps[variant])
    line = f'{variant:8s} {step:8.1f} ms'
    line += f' ({step / np.median(steps[first]):5.3f} of {first})'
    if loops[variant]:
      loop = np.median(loops[variant]) / args.loop_steps
      line += f'   in a loop {loop:8.1f} ms ({loop / step:5.2f} of unlooped)'
    print(line, flush=True)


if __name__ == '__main__':
  main()
