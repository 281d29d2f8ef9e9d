"""MNIST-SVHN-Text: the weight of the pre-defined prior in the JS-divergence.

  launch/sweep.sh --config=configs/sweeps/mst_prior_weight.py
  launch/sweep.sh --config=configs/sweeps/mst_prior_weight.py:paper,ms,seeds=3

mmJSD, supplement C.3.6 and Fig. 4: mmJSD with weight w for p(z) and (1 - w) / 3
for each modality; beta 5, 20 latents, 50 epochs (with 'ms' 4 and 16, 100
epochs). Printed are 0.25, which all other experiments have, and a drop in
coherence around 0.4; the other values here are ours, and so is the choice of
the model without modality-specific spaces.

Without 'paper': a run of a quarter of an hour on two cores per point. 'paper'
has the supplement's length. 'smoke' has points of seconds, of two weights.
The number of runs per point is not printed: 1, or 'seeds=<number>'.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax import grid


def get_config(arg=None):
  """The sweep for 'paper', 'ms', 'smoke', 'seeds=<number>'."""
  chosen = defaults.parse_arg(arg, ('paper', 'ms', 'smoke', 'seeds'))
  weights = (0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8)
  if 'smoke' in chosen:
    weights = (0.25, 0.4)
  parts = [name for name in ('paper', 'ms', 'smoke') if name in chosen]
  return grid.Sweep(
    name='-'.join(['mst_prior_weight', *parts]),
    title='MNIST-SVHN-Text: weight of the prior in the JS-divergence',
    base=f'../mnist_svhn_text.py:{",".join([*parts, "objective=mmjsd"])}',
    grid={
      'objective.pi': [(*(round((1 - w) / 3, 15),) * 3, w) for w in weights]
    },
    axis='prior_weight',
    figures=('ablation',),
    seeds=defaults.parse_seeds(chosen, 1),
  )
