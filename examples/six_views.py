"""Six descriptions of 2,000 handwritten digits: from arrays to latents.

python examples/six_views.py <folder with mfeat-fac.csv and the others>
"""

import pathlib
import sys

import numpy as np

import mmjsd_jax
from mmjsd_jax import config, job, run
from mmjsd_jax.data.custom import make_dataset

VIEWS = ('fac', 'fou', 'kar', 'mor', 'pix', 'zer')


def latents(folder, workdir='runs/six_views', num_steps=2000):
  """Latents of all digits, given what the digits' outlines say. [2000, 8]."""
  tables = {
    name: np.loadtxt(f'{folder}/mfeat-{name}.csv', delimiter=',', skiprows=1)
    for name in VIEWS
  }
  views = {name: table[:, :-1] for name, table in tables.items()}
  data = make_dataset(views, labels=tables['fac'][:, -1])
  settings = config.default()
  settings.name = 'six_views'
  settings.data.name = 'custom'
  settings.model.latent_dim = 8
  settings.train.num_steps = num_steps
  run.execute(
    job.prepare(
      settings,
      pathlib.Path(workdir),
      mode='train',
      command='examples/six_views.py',
      dataset=data,
    )
  )
  return mmjsd_jax.load(workdir).encode({'fac': views['fac']}).mean


if __name__ == '__main__':
  print(latents(sys.argv[1]))
