"""MNIST-SVHN-Text: coherence against log-likelihood as beta grows.

  launch/sweep.sh --config=configs/sweeps/mst_beta.py
  launch/sweep.sh --config=configs/sweeps/mst_beta.py:paper,seeds=3
  launch/sweep.sh --config=configs/sweeps/mst_beta.py:objective=mopoe+mmjsd

MoPoE, Fig. 1, 5 and 6: MVAE, MMVAE and MoPoE with beta 0.5, 1, 2.5, 5, 10 and
20, 150 epochs, 20 latents; a point is the mean of 5 runs. The same runs also
give mmJSD's supplement Fig. 1, whose values of beta are not printed.

Without 'paper': a run of a quarter of an hour on two cores per point, one seed.
'paper' is the length of MoPoE, App. C, with five seeds. 'ms' has
modality-specific latents. 'smoke' has points of seconds, two values of beta,
but the first of all trains the classifiers, which takes minutes.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax import grid


def get_config(arg=None):
  """The sweep for 'paper', 'ms', 'smoke', 'seeds=<number>', 'objective=...'."""
  chosen = defaults.parse_arg(
    arg, ('paper', 'ms', 'smoke', 'seeds', 'objective')
  )
  objectives = chosen.get('objective', 'mvae+mmvae+mopoe').split('+')
  betas = (0.5, 1.0, 2.5, 5.0, 10.0, 20.0)  # MoPoE, footnote 2
  # The base's own objective is MoPoE, so 'paper' has MoPoE's 150 epochs for
  # all, as in App. C.
  parts = [name for name in ('paper', 'ms', 'smoke') if name in chosen]
  return grid.Sweep(
    name='-'.join(['mst_beta', *parts]),
    title='MNIST-SVHN-Text: coherence and log-likelihood for values of beta',
    base=f'../mnist_svhn_text.py:{",".join(parts)}',
    grid={
      'objective.preset': objectives,
      'objective.beta': betas[:: 5 if 'smoke' in chosen else 1],
    },
    axis='beta',
    figures=('trade_off', 'ablation'),
    # MoPoE, App. C.3: five runs.
    seeds=defaults.parse_seeds(chosen, 5 if 'paper' in chosen else 1),
  )
