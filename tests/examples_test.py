"""The examples run, in few steps, on the data that they are for."""

import importlib.util
import pathlib

import jax
import numpy as np
import pytest
from train_world import mesh_of

from mmjsd_jax import job, run

pytestmark = pytest.mark.whole

_EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / 'examples'


@pytest.fixture
def fast_to_compile(monkeypatch):
  """A third of the time, which is nearly all that these tests take."""
  for module in (job, run):
    monkeypatch.setattr(module, 'make_mesh', lambda: mesh_of(1))
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.mark.parametrize(
  ('name', 'folder', 'shape'),
  [
    ('omics', 'omics/breast_tcga', (70, 8)),
    ('six_views', 'mfeat', (2000, 8)),
  ],
)
def test_files_become_latents(
  data_dir, tmp_path, fast_to_compile, name, folder, shape
):
  spec = importlib.util.spec_from_file_location(name, _EXAMPLES / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not (data_dir / folder).is_dir():
    pytest.skip(f'{data_dir} has no folder {folder}.')
  if name == 'six_views':
    module.VIEWS = ('fac',)  # a quarter of the time
  found = module.latents(data_dir / folder, tmp_path / 'run', num_steps=2)
  assert found.shape == shape
  assert np.isfinite(found).all()
  assert len(np.unique(found, axis=0)) > 0.9 * len(found)
