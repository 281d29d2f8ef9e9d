"""The examples of the maths layer: scripts that train, and a notebook."""

import importlib.util
import pathlib
import re
import runpy

import jax
import matplotlib
import pytest

pytestmark = pytest.mark.whole

ROOT = pathlib.Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / 'examples' / 'two_dimensions.ipynb'
RUN_IT = f'run: python docs/run_notebook.py examples/{NOTEBOOK.name}'


@pytest.fixture(autouse=True)
def _as_a_user():
  """Users broadcast between ranks, and the default of JAX lets them."""
  with jax.numpy_rank_promotion('allow'):
    yield


@pytest.fixture(scope='module')
def runner():
  """docs/run_notebook.py as a module; docs/ is no package."""
  path = ROOT / 'docs' / 'run_notebook.py'
  spec = importlib.util.spec_from_file_location('run_notebook', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize('name', ['plain_jax', 'flax_nnx'])
def test_scripts_lower_the_loss(name, capsys):
  main = runpy.run_path(str(ROOT / 'examples' / f'{name}.py'))['main']
  main('mopoe', 20)
  *steps, result = capsys.readouterr().out.splitlines()
  losses = [
    float(re.findall(r'loss (-?[\d.]+) nats', step)[0]) for step in steps
  ]
  assert len(losses) == 11
  assert losses[-1] < losses[5] < losses[0]
  assert re.search(r'\d\.\d+ right|error \d\.\d+', result)


def test_the_plain_script_is_short():
  source = (ROOT / 'examples' / 'plain_jax.py').read_text(encoding='utf-8')
  code = re.sub('""".*?"""', '', source, flags=re.DOTALL)
  assert len([line for line in code.splitlines() if line.strip()]) <= 60


@pytest.mark.parametrize('path', ['plain_jax.py', 'flax_nnx.py', NOTEBOOK.name])
def test_examples_use_the_maths_alone(path):
  text = (ROOT / 'examples' / path).read_text(encoding='utf-8')
  lines = re.findall(r'from mmjsd_jax(?:\.(\w+))? import ([\w, ]+)', text)
  used = {of or name for of, names in lines for name in names.split(', ')}
  assert 'objectives' in used
  assert used <= {
    'divergence',
    'fusion',
    'gaussian',
    'likelihoods',
    'mixture',
    'objectives',
  }


def test_notebook_was_run_since_its_code_changed(runner):
  notebook = runner.read(NOTEBOOK)
  assert notebook['metadata']['code_sha256'] == runner.checksum(notebook), (
    RUN_IT
  )


def test_notebook_says_and_draws_what_is_stored(runner):
  matplotlib.use('Agg')
  notebook = runner.read(NOTEBOOK)
  cells = runner.code_cells(notebook)
  num_pictures = 0
  for cell, found in zip(cells, runner.run(notebook), strict=True):
    stored = cell['outputs']
    assert len(found) == len(stored), RUN_IT
    for output, known in zip(found, stored, strict=True):
      assert output.get('text') == known.get('text'), RUN_IT
      num_pictures += 'data' in output and 'image/png' in known['data']
  assert num_pictures == 6
