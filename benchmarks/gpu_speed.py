"""Samples per second of training, at the papers' sizes, on pixels of noise.

For benchmarks/gpu.py. Needs no more than JAX, flax, optax and numpy.
"""

import time
from typing import NamedTuple

import gpu_data
import jax
import jax.numpy as jnp

from mmjsd_jax import members, order, step
from mmjsd_jax.architecture import make_modalities, weights_by_size
from mmjsd_jax.model import Model
from mmjsd_jax.objectives import make_objective

# jax_default_matmul_precision; bfloat16 is a setting of training besides.
PRECISIONS = {'float32': 'highest', 'tf32': 'default', 'bfloat16': 'default'}
# Dense TFLOP/s as the makers publish them; float32 without tensor cores. SXM
# where the name does not say otherwise.
_PEAKS = {
  ('NVIDIA H200', 'NVIDIA H100 80GB HBM3'): (67, 495, 989),
  ('NVIDIA A100-SXM4-40GB', 'NVIDIA A100-SXM4-80GB'): (19.5, 156, 312),
  ('NVIDIA A100-PCIE-40GB', 'NVIDIA A100 80GB PCIe'): (19.5, 156, 312),
  ('TPU v4',): (None, None, 275),
  ('TPU v5 lite', 'TPU v5e'): (None, None, 197),
  ('TPU v5', 'TPU v5p'): (None, None, 459),
}
REPEATS = 3


class Speed(NamedTuple):
  """What was measured of one program."""

  samples_per_second: float  # of all members together
  milliseconds: float  # a step of all members
  gflop_per_sample: float  # as XLA counts the program before optimising it
  peak_tflops: float | None  # of the chip, in this precision
  fraction_of_peak: float | None
  compile_seconds: float
  memory_mb: float  # arguments, results and temporaries


def peak_tflops(device_kind: str, precision: str) -> float | None:
  """What the chip can do; None where that is not known here."""
  for kinds, peaks in _PEAKS.items():
    if device_kind in kinds:
      return peaks[tuple(PRECISIONS).index(precision)]
  return None


def measure(
  dataset: str,
  precision: str,
  num_members: int,
  *,
  scale: int = 1,
  seconds: float = 2.0,
) -> Speed:
  """The speed of mopoe on PolyMNIST, or of mmjsd on MNIST-SVHN-Text.

  Args:
    dataset: 'polymnist' or 'mnist_svhn_text'.
    precision: of PRECISIONS.
    num_members: seeds that are trained as one program.
    scale: the networks, the batch and the data are so many times smaller.
    seconds: a repeat takes about so long.

  Raises:
    FloatingPointError: a step was not finite.
  """
  model, settings = _paper(dataset, scale)
  if precision == 'bfloat16':
    model = model._replace(compute_dtype='bfloat16')
  with jax.default_matmul_precision(PRECISIONS[precision]):
    program = _Program(dataset, model, settings, num_members, scale)
  program(1)  # warms up
  num_steps = max(1, int(seconds / program(2) * 2))
  best = min(program(num_steps) for _ in range(REPEATS)) / num_steps
  device = jax.devices()[0].device_kind
  peak = peak_tflops(device, precision) if scale == 1 else None
  samples = num_members * settings.batch_size
  return Speed(
    samples / best,
    1e3 * best,
    program.flop / samples / 1e9,
    peak,
    program.flop / best / 1e12 / peak if peak else None,
    program.compile_seconds,
    program.memory / 1e6,
  )


def _paper(dataset: str, scale: int) -> tuple[Model, step.Settings]:
  """MoPoE, App. D; mmJSD, supplement C."""
  latent_dim, preset, beta = {
    'polymnist': (512, 'mopoe', 2.5),
    'mnist_svhn_text': (20, 'mmjsd', 5.0),
  }[dataset]
  names = tuple(gpu_data.SHAPES[dataset])
  modalities = make_modalities(
    dataset,
    names,
    latent_dim=-(-latent_dim // scale),
    hidden_dim=512 // scale,
  )
  weights = (
    (1.0,) * len(names)
    if dataset == 'polymnist'
    else weights_by_size(modalities)
  )
  model = Model(
    modalities, -(-latent_dim // scale), make_objective(preset), None
  )
  return model, step.Settings(
    seed=0,
    num_steps=10**9,
    batch_size=256 // scale,
    learning_rate=1e-3,
    beta=beta,
    beta_warmup_steps=0,
    beta_style=1.0,
    likelihood_weights=weights,
    style_weights=(1.0,) * len(names),
    log_every=10**9,
    checkpoint_every=10**9,
  )


class _Program:
  """A compiled program of many steps, and its state."""

  def __init__(self, dataset, model, settings, num_members, scale):
    mesh = order.make_mesh()
    self._data = order.to_device(gpu_data.make_split(dataset, scale), mesh)
    seeds = [settings._replace(seed=seed) for seed in range(num_members)]
    states = [step.init_state(model, member, mesh) for member in seeds]
    self._hyper = members.stack_hypers(seeds, mesh)
    self._state = members.stack_states(states, mesh)
    self._epoch = members.first_epochs(seeds, self._data, 0, mesh)
    begin = time.monotonic()
    lowered = members.make_train_steps(model, settings, mesh).lower(
      self._hyper, self._state, self._epoch, self._data, jnp.int32(1)
    )
    self._steps = lowered.compile()
    self.compile_seconds = time.monotonic() - begin
    self.flop = lowered.cost_analysis()['flops']
    sizes = self._steps.memory_analysis()
    self.memory = (
      sizes.argument_size_in_bytes
      + sizes.output_size_in_bytes
      + sizes.temp_size_in_bytes
      - sizes.alias_size_in_bytes
    )

  def __call__(self, num_steps: int) -> float:
    """Takes so many steps; returns the seconds."""
    begin = time.monotonic()
    self._state, self._epoch, _, finite = self._steps(
      self._hyper, self._state, self._epoch, self._data, jnp.int32(num_steps)
    )
    if not jax.device_get(finite).all():
      raise FloatingPointError('a step is not finite')
    return time.monotonic() - begin
