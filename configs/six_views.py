"""Six descriptions of handwritten digits: vectors of 6 to 240 numbers.

  python docs/make_six_views.py <folder of mfeat-fac.csv> data/six_views.npz
  MMJSD_DATA_DIR=data python -m mmjsd_jax.main --config=configs/six_views.py

Profile correlations, Fourier coefficients, Karhunen-Loeve coefficients,
morphology, pixels and Zernike moments of 2,000 digits, UCI's multiple features.
There is no official split: a fifth, drawn by data.seed, is the test part.

The networks are small and a run takes seconds. 'smoke' is shorter still.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)

FILE = 'six_views.npz'
VIEWS = ('fac', 'fou', 'kar', 'mor', 'pix', 'zer')
DECLARATION = Declaration(
  tuple(
    Declared(ModalitySpec(name, 'vector', width=128), Source(FILE))
    for name in VIEWS
  ),
  labels=Source(FILE, key='digit'),
)


def get_config(arg=None):
  """The configuration for `arg`: 'smoke', 'objective=<preset>'."""
  chosen = defaults.parse_arg(arg, ('smoke', 'objective'))
  config = defaults.default()
  config.objective.preset = chosen.get('objective', 'mopoe')
  config.objective.beta = 1.0
  config.data.name = 'custom'
  config.data.declaration = DECLARATION.to_json()
  config.model.latent_dim = 16
  config.train.batch_size = 16  # with half missing, 27 tuples are complete
  config.train.num_steps = 20 if 'smoke' in chosen else 1500
  config.train.log_every = 10 if 'smoke' in chosen else 500
  config.train.checkpoint_every = config.train.num_steps
  # Of one view and of all; the 56 other subsets take most of the time.
  config.evaluation.subsets = (*VIEWS, '+'.join(VIEWS))
  config.evaluation.num_probe_samples = (500,)
  config.evaluation.num_importance_samples = 8
  config.evaluation.num_joint_importance_samples = 128
  config.evaluation.sampler = ''
  parts = [name if not value else value for name, value in chosen.items()]
  config.name = '-'.join(['six_views', *parts])
  return config
