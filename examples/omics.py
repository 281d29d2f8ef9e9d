"""Tables of 220 tumours, 70 of them without proteins: from files to latents.

python examples/omics.py <folder with data.train_mirna.csv and the others>
"""

import pathlib
import sys

import mmjsd_jax
from mmjsd_jax import config, job, run
from mmjsd_jax.data import preparation
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
)


def view(name, **where):
  """A table for training and one for the test, examples matched by id."""
  file = f'data.{{split}}_{name}.csv'
  return Declared(ModalitySpec(name, 'vector'), Source(file, **where))


def latents(folder, workdir='runs/omics', num_steps=1000):
  """Latents of the test examples, from two of the three views. [70, 8]."""
  views = view('mirna'), view('mrna'), view('protein', splits=('train',))
  settings = config.default()
  settings.name = 'omics'
  settings.data.name = 'custom'
  settings.data.dir = str(folder)
  settings.data.declaration = Declaration(views, id='dim_0').to_json()
  settings.model.latent_dim = 8
  settings.train.batch_size = 48
  settings.train.num_steps = num_steps
  made = job.prepare(
    settings, pathlib.Path(workdir), mode='train', command='examples/omics.py'
  )
  run.execute(made)
  test = made.dataset.test
  tables = {
    spec.name: preparation.undo(spec, test.inputs[spec.name])
    for spec in made.dataset.specs
  }
  return mmjsd_jax.load(workdir).encode(tables, present=test.present).mean


if __name__ == '__main__':
  print(latents(sys.argv[1]))
