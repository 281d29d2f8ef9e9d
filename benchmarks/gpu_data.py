"""Noise of the shapes, and in the numbers, of the papers' data sets.

For benchmarks/gpu.py, where the data themselves are not at hand. Time does not
depend on what is in the pictures.
"""

import os
import pathlib

import numpy as np
from scipy import io

from mmjsd_jax.data import digits, idx, svhn, text
from mmjsd_jax.data.dataset import Split

SHAPES = {
  'polymnist': {f'm{i}': (28, 28, 3) for i in range(5)},
  'mnist_svhn_text': {
    'mnist': (28, 28, 1),
    'svhn': (32, 32, 3),
    'text': (8,),
  },
}
# Images of the digits 0 to 9 in the published training sets. Of each digit the
# smaller number, 20 times: 1,121,360 triples.
MNIST = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
SVHN = (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659)
_PAIRINGS = 20


def make_split(dataset: str, scale: int = 1) -> Split:
  """A training split in memory; with 1 / scale of the examples."""
  rng = np.random.default_rng(0)
  num_mnist, num_svhn = sum(MNIST) // scale, sum(SVHN) // scale
  if dataset == 'polymnist':
    inputs = {
      name: _noise(rng, num_mnist, *shape)
      for name, shape in SHAPES[dataset].items()
    }
    return Split(inputs, np.zeros(num_mnist, np.int32))
  least = map(min, MNIST, SVHN)
  num_triples = _PAIRINGS * sum(least) // scale
  rows = {
    'mnist': rng.integers(num_mnist, size=num_triples, dtype=np.int32),
    'svhn': rng.integers(num_svhn, size=num_triples, dtype=np.int32),
    'text': rng.integers(10, size=num_triples, dtype=np.int32),
  }
  inputs = {
    'mnist': _noise(rng, num_mnist, 28, 28, 1),
    'svhn': _noise(rng, num_svhn, 32, 32, 3),
    'text': text.encode(text.WORDS, 8),
  }
  return Split(inputs, rows['text'], rows)


def is_at_hand(dataset: str) -> bool:
  """Whether MMJSD_DATA_DIR has the published files, whole."""
  folder = os.environ.get('MMJSD_DATA_DIR', '')
  try:
    found = [digits.find_digits('idx', folder).substituted]
    if dataset == 'mnist_svhn_text':
      found.append(svhn.find_svhn('mat', folder)[-1])
  except (OSError, ValueError):
    return False
  return not any(found)


def write_files(dataset: str, folder: pathlib.Path, scale: int = 1) -> None:
  """Files in the published formats; the test sets have a tenth of the images.

  The package says of them that they are not the published ones.
  """
  rng = np.random.default_rng(0)
  for split, fewer in (('train', scale), ('t10k', 10 * scale)):
    labels = _labels(MNIST, fewer)
    images = _noise(rng, len(labels), 28, 28)
    for name, array in (('images-idx3', images), ('labels-idx1', labels)):
      path = folder / f'{split}-{name}-ubyte'
      path.write_bytes(idx.header(array.shape) + array.tobytes())
  if dataset == 'polymnist':
    return
  for split, fewer in (('train', scale), ('test', 10 * scale)):
    labels = _labels(SVHN, fewer)
    labels[labels == 0] = 10  # as it is published
    images = _noise(rng, 32, 32, 3, len(labels))
    io.savemat(
      folder / f'{split}_32x32.mat', {'X': images, 'y': labels[:, None]}
    )


def _labels(counts: tuple[int, ...], fewer: int) -> np.ndarray:
  numbers = [count // fewer for count in counts]
  return np.repeat(np.arange(10, dtype=np.uint8), numbers)


def _noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
  noise = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8)
  return noise.reshape(shape)
