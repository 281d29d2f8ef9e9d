"""MNIST-SVHN-Text: the size of the modality-specific spaces.

  launch/sweep.sh --config=configs/sweeps/mst_style_dim.py
  launch/sweep.sh --config=configs/sweeps/mst_style_dim.py:paper,seeds=3

mmJSD, supplement C.3.5 and Fig. 3: the same size for all modalities, 20 latents
for each with the shared ones (2 and 18, 4 and 16), beta 5, 100 epochs. Which
sizes the figure has is not printed beyond 2 and 4; the others here are ours.

Without 'paper': a run of a quarter of an hour on two cores per point. 'paper'
has the supplement's length. 'smoke' has points of seconds, of two sizes.
'objective=mmjsd+mopoe' compares objectives; the paper has mmJSD. The number of
runs per point is not printed either: 1, or 'seeds=<number>'.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax import grid


def get_config(arg=None):
  """The sweep for 'paper', 'smoke', 'seeds=<number>', 'objective=...'."""
  chosen = defaults.parse_arg(arg, ('paper', 'smoke', 'seeds', 'objective'))
  objectives = chosen.get('objective', 'mmjsd').split('+')
  sizes = (0, 4) if 'smoke' in chosen else (0, 2, 4, 6, 8, 10)
  parts = [name for name in ('paper', 'smoke') if name in chosen]
  base = ','.join([*parts, 'ms', 'objective=mmjsd'])
  return grid.Sweep(
    name='-'.join(['mst_style_dim', *parts]),
    title='MNIST-SVHN-Text: size of the modality-specific spaces',
    base=f'../mnist_svhn_text.py:{base}',
    grid={
      'objective.preset': objectives,
      ('model.style_dim', 'model.latent_dim'): [
        ((size,) * 3, 20 - size) for size in sizes
      ],
    },
    axis='style_dim',
    figures=('ablation',),
    seeds=defaults.parse_seeds(chosen, 1),
  )
