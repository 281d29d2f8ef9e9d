"""PolyMNIST: what it costs that training tuples lack modalities.

  launch/sweep.sh --config=configs/sweeps/missing.py
  launch/sweep.sh --config=configs/sweeps/missing.py:paper,seeds=3
  launch/sweep.sh --config=configs/sweeps/missing.py:objective=mopoe+mmvae

0, 20, 50 and 80 % of all modalities are taken away from the training split, at
random or by class, where the first classes lack few and the last ones many.
Incomplete tuples are kept or, up to 50 %, dropped: of 80 % so few are complete
that they do not fill a batch. All points have as many steps. MultiVae's case
study of the same, on PolyMNIST with half of the modalities missing, is drawn
beside.

Without 'paper': a run of some minutes on two cores per point, of MoPoE, MMVAE
and mmJSD. 'paper' is the length of MoPoE, App. D. 'smoke' has points of
seconds.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax import grid


def get_config(arg=None):
  """The sweep for 'paper', 'smoke', 'seeds=<number>', 'objective=...'."""
  chosen = defaults.parse_arg(arg, ('paper', 'smoke', 'seeds', 'objective'))
  objectives = chosen.get('objective', 'mopoe+mmvae+mmjsd').split('+')
  parts = [name for name in ('paper', 'smoke') if name in chosen]
  shares = (0.2,) if 'smoke' in chosen else (0.2, 0.5, 0.8)
  cells = [(0.0, 'at_random', 'keep')]
  for how in ('at_random', 'by_class'):
    cells += [(share, how, 'keep') for share in shares]
    cells += [(share, how, 'drop') for share in shares if share <= 0.5]
  return grid.Sweep(
    name='-'.join(['missing', *parts]),
    title='PolyMNIST: training on tuples that lack modalities',
    base=f'../polymnist.py:{",".join(parts)}',
    grid={
      'objective.preset': objectives,
      ('data.missing', 'data.missing_how', 'data.incomplete'): cells,
    },
    axis='missing',
    figures=('gaps',),
    seeds=tuple(range(int(chosen.get('seeds', 1)))),
  )
