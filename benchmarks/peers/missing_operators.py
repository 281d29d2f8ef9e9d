"""Import this before MultiVae, which needs torchvision.

One built for CUDA, as package indices have it, does not load beside a torch for
CPUs until the operators that it lacks are declared. None of them is used.
"""

import sys

import torch

try:
  import torchvision  # noqa: F401
except RuntimeError:
  for loaded in [name for name in sys.modules if 'torchvision' in name]:
    del sys.modules[loaded]
  operators = torch.library.Library('torchvision', 'DEF')
  for operator in ('nms', 'qnms'):
    operators.define(f'{operator}(Tensor d, Tensor s, float t) -> Tensor')
