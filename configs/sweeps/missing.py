"""What it costs that training tuples lack modalities.

  launch/sweep.sh --config=configs/sweeps/missing.py
  launch/sweep.sh --config=configs/sweeps/missing.py:paper,seeds=3
  launch/sweep.sh --config=configs/sweeps/missing.py:views,objective=mopoe

0, 20, 50 and 80 % of all modalities are taken away from the training split, at
random or by class, where the first classes lack few and the last ones many.
Incomplete tuples are kept or, up to 50 %, dropped: of 80 % so few are complete
that they do not fill a batch. All points have as many steps. MultiVae's case
study of the same, on PolyMNIST with half of the modalities missing, is drawn
beside.

On PolyMNIST, or with 'views' on the six descriptions of configs/six_views.py.
Without 'paper': on PolyMNIST a run of some minutes on two cores per point, of
MoPoE, MMVAE and mmJSD, on scikit-learn's digits and with fewer draws in the
evaluation; of 'views' one of seconds, three seeds. 'paper' is the length of
MoPoE, App. D, on MNIST. 'smoke' has points of seconds.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax import grid

# In few minutes little is learned of MNIST, or of the paper's pictures' digits.
SHORT = {
  'data.digits': 'embedded',
  'data.backgrounds': ('textures',),
  'evaluation.num_probe_samples': (500,),
  'evaluation.num_importance_samples': 8,
  'evaluation.num_joint_importance_samples': 256,
  'evaluation.num_log_likelihood_examples': 100,
  'evaluation.untrained_baseline': False,
  'evaluation.sampler': '',
}


def get_config(arg=None):
  """The sweep for 'views', 'paper', 'smoke', 'seeds=<n>', 'objective=...'."""
  known = ('views', 'paper', 'smoke', 'seeds', 'objective')
  chosen = defaults.parse_arg(arg, known)
  objectives = chosen.get('objective', 'mopoe+mmvae+mmjsd').split('+')
  parts = [name for name in ('paper', 'smoke') if name in chosen]
  is_views = 'views' in chosen
  base, title = (
    ('six_views', 'Six views of digits')
    if is_views
    else ('polymnist', 'PolyMNIST')
  )
  shares = (0.2,) if 'smoke' in chosen else (0.2, 0.5, 0.8)
  cells = [(0.0, 'at_random', 'keep')]
  for how in ('at_random', 'by_class'):
    cells += [(share, how, 'keep') for share in shares]
    cells += [(share, how, 'drop') for share in shares if share <= 0.5]
  is_short = not {'views', 'paper', 'smoke'} & set(chosen)
  return grid.Sweep(
    name='-'.join(['missing', *(['views'] if is_views else []), *parts]),
    title=f'{title}: training on tuples that lack modalities',
    shared=SHORT if is_short else {},
    base=f'../{base}.py:{",".join(parts)}',
    grid={
      'objective.preset': objectives,
      ('data.missing', 'data.missing_how', 'data.incomplete'): cells,
    },
    axis='missing',
    figures=('gaps',),
    seeds=defaults.parse_seeds(chosen, 3 if is_views else 1),
  )
