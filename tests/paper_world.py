"""Made-up results of runs on three modalities called mnist, svhn and text."""

import json
import pathlib
from typing import Any

from mmjsd_jax import objectives

_RESULTS = pathlib.Path(__file__).parent / 'data' / 'results.json'


def make_run(
  preset: str = 'mopoe', *, seed: int = 0, beta: float = 5.0, style_dim=()
) -> dict[str, Any]:
  """Contents of results.json that follow the papers' data to the letter."""
  text = _RESULTS.read_text(encoding='utf-8')
  for index, name in enumerate(('mnist', 'svhn', 'text')):
    text = text.replace(f'm{index}', name)
  results = json.loads(text)
  results['name'] = f'mst-{preset}-{seed}'
  results['workdir'] = f'runs/{preset}-{seed}'
  results['command'] = (
    'python -m mmjsd_jax.main --config=configs/mnist_svhn_text.py:'
    f'objective={preset} --config.seed={seed}'
  )
  results['config']['seed'] = seed
  results['config']['objective'] = {'preset': preset, 'beta': beta}
  results['config']['model'] = {
    'latent_dim': 20,
    'style_dim': list(style_dim),
  }
  results['objective'] = {
    'preset': preset,
    **objectives.PRESETS[preset]._asdict(),
  }
  results['data'] |= {
    'name': 'mnist_svhn_text',
    'source': 'MNIST-SVHN-Text',
    'substituted': None,
    'num_train': 1_121_360,
    'num_test': 200_000,
  }
  results['substitutions'] = []
  return results
