"""Made-up results of runs on CelebA and dSprites, which have factors."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from mmjsd_jax import objectives

_RESULTS = pathlib.Path(__file__).parent / 'data' / 'results.json'
ATTRIBUTES = ('Bald', 'Male', 'Smiling')
SPRITES = ('shape', 'scale', 'orientation', 'pos x', 'pos y')
SUBSETS = ('image', 'text', 'image+text')


def make_run(
  data_set: str = 'celeba',
  preset: str = 'mmjsd',
  *,
  seed: int = 0,
  names: Sequence[str] = ATTRIBUTES,
) -> dict[str, Any]:
  """Contents of results.json; no test example has the first attribute.

  The macro means are 0.51 (image), 0.61 (text) and 0.71 by probes of 500
  latents, 0.1 less untrained, and 0.41 (text) and 0.31 (image) of what is
  generated from the other, plus seed / 1000.
  """
  results = json.loads(_RESULTS.read_text(encoding='utf-8'))
  if data_set == 'dsprites_text':
    names = SPRITES
  results['name'] = f'{data_set}-{preset}-{seed}'
  results['config']['seed'] = seed
  results['config']['objective']['preset'] = preset
  results['config']['model'] = {'latent_dim': 32, 'style_dim': [32, 32]}
  results['objective'] = {
    'preset': preset,
    **objectives.PRESETS[preset]._asdict(),
  }
  results['data'] |= {
    'name': data_set,
    'source': 'made up',
    'substituted': None,
    'modalities': ['image', 'text'],
    'num_classes': 0,
    'num_train': 5000,
    'num_test': 700,
  }
  results['substitutions'] = ['A part of the published set.']
  results['metrics'] = {
    'left_out': {'probe': 'no labels', 'coherence': 'no labels'},
    'log_likelihood': {
      'joint': {'value': -5000.0 - seed, 'num_importance_samples': 12},
      'subsets': {'image': -5010.0, 'text': -5020.0, 'image+text': -5000.0},
      'by_size': {'1': -5015.0, '2': -5000.0},
    },
    'factors': _factors(data_set, names, seed / 1000),
  }
  return results


def _factors(data_set: str, names: Sequence[str], shift: float) -> dict:
  is_celeba = data_set == 'celeba'

  def of(mean: float) -> dict[str, float | None]:
    """Values with that mean; None for the first attribute of CelebA."""
    kept = list(names[1:] if is_celeba else names)
    middle = (len(kept) - 1) / 2
    found = {
      name: round(mean + 0.02 * (i - middle) / len(kept), 6)
      for i, name in enumerate(kept)
    }
    return {names[0]: None} | found if is_celeba else found

  def probe(lift: float) -> dict:
    means = {s: 0.51 + shift + lift + 0.1 * i for i, s in enumerate(SUBSETS)}
    return {
      'subsets': {subset: of(mean) for subset, mean in means.items()},
      'mean': means,
    }

  generated = {
    'image': {'image': 0.56, 'text': 0.41 + shift},
    'text': {'image': 0.31 + shift, 'text': 0.66},
    'image+text': {'image': 0.57, 'text': 0.67},
  }
  block = {
    'names': list(names),
    'classes': {name: ['absent', 'present'] for name in names},
    'metric': 'average_precision' if is_celeba else 'accuracy',
    'prevalence': {name: value or 0.0 for name, value in of(0.2).items()},
    'probe': {'500': probe(0.0), '3000': probe(0.1)},
    'probe_untrained': {'500': probe(-0.1), '3000': probe(-0.05)},
    'generated': {
      subset: {target: of(mean) for target, mean in targets.items()}
      for subset, targets in generated.items()
    },
    'generated_mean': generated,
    'drawn_text': {'image': {'text': of(0.45)}},
    'drawn_text_mean': {'image': {'text': 0.45}},
    'ceiling': {'image': of(0.8), 'text': of(0.95)},
    'ceiling_mean': {'image': 0.8, 'text': 0.95},
    'num_without_positives': int(is_celeba),
  }
  if is_celeba:
    block['as_released'] = {'probe': {'500': probe(-0.2)}}
  return block
