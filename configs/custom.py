"""Your own data: copy this file and say what you have.

  python -m mmjsd_jax.main --config=my_config.py --workdir=runs/mine

Files lie in the folder MMJSD_DATA_DIR, or that of --config.data.dir. Here they
are tables of genes and proteins, pictures and notes of patients. Not every
patient has everything: what lacks an id, or is NaN or empty, is absent, and
only those of whom nothing is there are left out.
"""

from mmjsd_jax import config as defaults
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)

DECLARATION = Declaration(
  modalities=(
    # All columns that are not named elsewhere; brought to mean 0 and standard
    # deviation 1 over the training part.
    Declared(ModalitySpec('genes', 'vector'), Source('genes.csv')),
    # A standard deviation that is learned, for each column.
    Declared(
      ModalitySpec(
        'proteins', 'vector', likelihood='normal_learned', width=128
      ),
      Source('proteins.parquet'),
    ),
    # The arrays 'pixels', [N, height, width, channels], and 'patient'.
    Declared(
      ModalitySpec('scans', 'image', weight=0.5),
      Source('scans.npz', key='pixels'),
    ),
    Declared(ModalitySpec('notes', 'text'), Source('notes.csv', key='note')),
  ),
  id='patient',
  labels=Source('patients.csv', key='diagnosis'),
  split=Source('patients.csv', key='part'),  # 'train' or 'test'
)


def get_config(arg=None):
  """The configuration for `arg`: 'objective=<preset>'."""
  chosen = defaults.parse_arg(arg, ('objective',))
  config = defaults.default()
  config.name = '-'.join(['custom', *chosen.values()])
  config.objective.preset = chosen.get('objective', 'mopoe')
  config.data.name = 'custom'
  config.data.declaration = DECLARATION.to_json()
  config.model.latent_dim = 32
  config.objective.beta = 1.0
  config.train.batch_size = 64
  config.train.num_steps = 5000
  config.train.log_every = 100
  config.train.checkpoint_every = 1000
  return config
