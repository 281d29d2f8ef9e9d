"""Nothing that is read can run code, or choose where something is written."""

import ast
import json
import os
import pathlib
import sys
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmjsd_jax import config as configuration
from mmjsd_jax import files, results, snapshot, sweep_files, workdir
from mmjsd_jax.checkpoint import Checkpoints
from mmjsd_jax.data import idx, polymnist, polymnist_builder
from mmjsd_jax.data.declaration import (
  Declaration,
  Declared,
  ModalitySpec,
  Source,
  to_tree,
)
from mmjsd_jax.evaluation import inception, weights
from mmjsd_jax.sweep_curves import Chart

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_SOURCES = [
  path
  for folder in ('mmjsd_jax', 'configs', 'docs', 'examples', 'benchmarks')
  for path in sorted((_ROOT / folder).rglob('*.py'))
]

# --- what the sources may not say ---------------------------------------------

# Modules that read code, or archives whose members choose their paths.
_MODULES = (
  *('cloudpickle', 'dill', 'joblib', 'marshal', 'pickle', 'shelve', 'tarfile'),
  *('torch', 'yaml'),
)
_BUILTINS = ('__import__', 'compile', 'eval', 'exec')
_METHODS = ('extractall', 'unpack_archive')
_IMPORTERS = ('import_module', 'resolve_name')
# The configuration of a run or a sweep is a program, and the user's own. Peers
# are timed, and read nothing.
_ALLOWED = {
  ('grid.py', 'runpy'),
  # A notebook is a program, too, and this runs that of the repository.
  *(('run_notebook.py', name) for name in ('compile', 'exec')),
  *((name, 'torch') for name in ('multivae_subsets.py', 'torch_step.py')),
  ('missing_operators.py', 'torch'),
  # A user's own networks, named by a configuration of the user's own.
  ('architecture.py', 'resolve_name'),
}


def _dangers(name: str, source: str) -> list[str]:
  """What `source` could run foreign code by, a phrase with its line each."""
  found = []
  for node in ast.walk(ast.parse(source)):
    names: list[str] = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      names = [f'{node.module}.{alias.name}' for alias in node.names]
    for module in names:
      parent = module.partition('.')[0]
      if parent in (*_MODULES, 'runpy') and (name, parent) not in _ALLOWED:
        found.append(f'line {node.lineno}: import {module}')
      if module.startswith('importlib.import_module'):
        found.append(f'line {node.lineno}: import {module}')
    if not isinstance(node, ast.Call):
      continue
    called = ast.unparse(node.func)
    last = called.rpartition('.')[2]
    if (name, last) in _ALLOWED:
      continue
    if called in _BUILTINS or last in (*_METHODS, *_IMPORTERS):
      found.append(f'line {node.lineno}: {called}()')
    pickles = {word.arg: ast.unparse(word.value) for word in node.keywords}
    if called in ('np.load', 'numpy.load'):
      if pickles.get('allow_pickle') != 'False':
        found.append(
          f'line {node.lineno}: {called}() without allow_pickle=False'
        )
    elif pickles.get('allow_pickle', 'False') != 'False':
      found.append(f'line {node.lineno}: {called}(allow_pickle=...)')
    if pickles.get('shell', 'False') != 'False' or called == 'os.system':
      found.append(f'line {node.lineno}: a shell')
  return found


def test_no_source_reads_pickles_or_runs_what_it_reads():
  dangers = {
    str(path.relative_to(_ROOT)): _dangers(path.name, path.read_text('utf-8'))
    for path in _SOURCES
  }
  assert len(dangers) > 100
  assert {name: found for name, found in dangers.items() if found} == {}


@pytest.mark.parametrize(
  'source',
  [
    *('import pickle', 'from pickle import load', 'import joblib.numpy_pickle'),
    *('eval("1")', 'exec(x)', '__import__(x)', 'compile(x, "", "exec")'),
    *('np.load(path)', 'np.load(path, allow_pickle=True)', 'import runpy'),
    *('zipfile.ZipFile(p).extractall()', 'np.savez(p, allow_pickle=True)'),
    *('importlib.import_module(x)', 'pkgutil.resolve_name(x)'),
    *('import tarfile', 'import torch', 'a.b'),
    *('from importlib import import_module', 'os.system(x)'),
    *('subprocess.run(x, shell=True)', 'shutil.unpack_archive(x)'),
  ],
)
def test_dangers_are_seen(source):
  harmless = source == 'a.b'
  assert len(_dangers('any.py', source)) == (0 if harmless else 1)


# --- what strangers' files may try --------------------------------------------


class _Evil:
  """Its pickle creates a file where it is read."""

  def __init__(self, path: pathlib.Path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


def _evil_npz(tmp_path: pathlib.Path, name: str) -> pathlib.Path:
  path = tmp_path / 'evil.npz'
  array = np.empty((2,), object)
  array[:] = [_Evil(tmp_path / 'harm')] * 2
  np.savez(path, **{name: array})
  return path


def test_a_pickle_in_a_cache_is_not_read(tmp_path, caplog):
  path = _evil_npz(tmp_path, 'a')
  assert weights.read(path, {'a': jnp.zeros(2)}) is None
  assert 'got object' in caplog.text
  assert not (tmp_path / 'harm').exists()
  # The same file does harm to whoever lets numpy unpickle.
  np.load(path, allow_pickle=True)['a']
  assert (tmp_path / 'harm').exists()


def test_a_pickle_in_inceptions_weights_is_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(inception, 'weight_shapes', lambda: {'a': (2,)})
  with pytest.raises(ValueError, match='evil.npz: expected .* got object'):
    inception.load_inception(_evil_npz(tmp_path, 'a'))
  assert not (tmp_path / 'harm').exists()


@pytest.fixture
def evil_module(tmp_path, monkeypatch):
  """A module that makes `harm` when it is imported, and its folder."""
  (tmp_path / 'evil_module.py').write_text(
    f'import os\nos.mkdir({str(tmp_path / "harm")!r})\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  yield 'evil_module'
  sys.modules.pop('evil_module', None)


@pytest.fixture
def copy(tmp_path, monkeypatch, no_local_data):
  """A small PolyMNIST as TFDS keeps it."""
  for stem in ('train', 't10k'):
    for name, shape in (('images-idx3', (2, 28, 28)), ('labels-idx1', (2,))):
      content = idx.header(shape) + bytes(int(np.prod(shape)))
      (tmp_path / f'{stem}-{name}-ubyte').write_bytes(content)
  builder = polymnist_builder.Polymnist(
    data_dir=tmp_path, directory=str(tmp_path), digits='idx'
  )
  builder.download_and_prepare()
  return tmp_path / 'polymnist' / '1.0.0'


@pytest.mark.parametrize(
  'feature',
  [
    {'pythonClassName': 'evil_module.Feature', 'tensor': {}},
    {'python_class_name': 'evil_module.Feature', 'tensor': {}},
    {'type': 'evil_module.Feature', 'content': {}},
    {
      'pythonClassName': (
        'tensorflow_datasets.core.features.features_dict.FeaturesDict'
      ),
      'jsonFeature': {
        'json': '{"m0": {"type": "evil_module\\u002eFeature", "content": {}}}'
      },
    },
  ],
  ids=['class', 'proto name', 'legacy', 'nested json'],
)
def test_a_prepared_copy_imports_no_modules(
  feature, copy, evil_module, tmp_path
):
  path = copy / 'features.json'
  whole = path.read_text()
  for nested in (True, False):
    told = json.loads(whole)
    told['featuresDict']['features']['m0'] = feature
    path.write_text(json.dumps(told if nested else feature))
    with pytest.raises(
      ValueError, match='1.0.0: expected a whole copy'
    ) as info:
      polymnist.load_prepared(copy)
    assert 'which is not of TFDS' in str(info.value)
  assert not (tmp_path / 'harm').exists()
  # TFDS by itself would have imported it.
  import tensorflow_datasets as tfds

  with pytest.raises(Exception, match='Unrecognized FeatureConnector'):
    tfds.builder_from_directory(copy)
  assert (tmp_path / 'harm').exists()


class _State(NamedTuple):
  step: jax.Array
  params: dict[str, jax.Array]


def _names(tree: Any) -> Any:
  """`tree` with every string that could name a type naming the evil one."""
  if isinstance(tree, dict):
    return {key: _names(value) for key, value in tree.items()}
  if isinstance(tree, list):
    return [_names(value) for value in tree]
  if isinstance(tree, str) and ('.' in tree or 'Sharding' in tree):
    return 'evil_module.Type'
  return tree


@pytest.mark.parametrize(
  'file', ['_CHECKPOINT_METADATA', '_METADATA', '_sharding']
)
def test_a_checkpoint_imports_no_modules(file, evil_module, tmp_path):
  state = _State(jnp.array(3), {'a': jnp.arange(4.0)})
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(state, seconds=1.0, loss=2.0)
  checkpoints.close()
  folder = tmp_path / 'checkpoints' / '3'
  path = folder / 'state' / file
  if file == '_sharding':  # former versions wrote it
    changed = {'cGFyYW1zLmE=': '{"sharding_type": "evil_module.Type"}'}
  else:
    changed = _names(json.loads(path.read_text()))
  assert 'evil_module.Type' in json.dumps(changed)
  path.write_text(json.dumps(changed))
  # Checksums are no secret: whoever changes the file can change its own.
  manifest = snapshot.read_manifest(folder)
  manifest.files[f'state/{file}'] = zlib.crc32(path.read_bytes())
  sealed = snapshot._seal(json.dumps(manifest._asdict()).encode())
  (folder / 'manifest').write_bytes(sealed)
  checkpoints = Checkpoints(tmp_path)
  try:
    found, _ = checkpoints.restore(state, 3)
  except Exception as error:  # Orbax's own
    assert 'evil_module' in str(error)
  else:
    np.testing.assert_array_equal(found.params['a'], state.params['a'])
  finally:
    checkpoints.close()
  assert 'evil_module' not in sys.modules
  assert not (tmp_path / 'harm').exists()


def test_a_stored_configuration_is_data(evil_module, tmp_path):
  text = json.dumps({'__class__': 'evil_module.Type', 'py/object': evil_module})
  config = configuration.to_dict(configuration.default())
  with pytest.raises(ValueError, match='unknown key'):
    configuration.from_dict(config | json.loads(text))
  assert 'evil_module' not in sys.modules


@pytest.mark.parametrize('place', ['config', 'specs'])
def test_networks_that_a_run_names_are_not_imported(
  place, evil_module, tmp_path
):
  spec = ModalitySpec('a', 'vector', networks=f'{evil_module}:make')
  specs = {'config': spec, 'specs': spec._replace(networks='')}
  config = configuration.default()
  config.data.name = 'custom'
  config.data.declaration = Declaration(
    (Declared(specs[place], Source('a.csv')),)
  ).to_json()
  config.train.num_steps = 10
  run = {
    'config': configuration.to_dict(config),
    'data': {'source': '', 'fingerprint': '', 'specs': [to_tree(spec)]},
  }
  (tmp_path / 'run.json').write_text(json.dumps(run))
  read = {'config': workdir.stored_config, 'specs': workdir.stored_specs}[place]
  with pytest.raises(
    ValueError, match=r"run.json names \['evil_module:make'\]"
  ):
    read(tmp_path)
  assert read(tmp_path, trusted=['evil_module:make'])
  assert 'evil_module' not in sys.modules


# --- names that become paths --------------------------------------------------

_BAD_NAMES = (
  *('', '.', '..', '../a', 'a/b', '/etc/a', 'a\\b', '.hidden', 'C:a', 'a\n'),
  *('a\0', '~', 'x' * 201),
)


@pytest.mark.parametrize('name', _BAD_NAMES, ids=lambda name: repr(name)[:12])
def test_a_name_that_leaves_its_folder_is_refused(name):
  with pytest.raises(ValueError, match='expected a name of at most 200 ASCII'):
    files.file_name(name)


@pytest.mark.parametrize(
  'name', ['m0', 'a-b_c', 'm0+m1', 'beta_0.5', 'x' * 200]
)
def test_a_plain_name_is_taken_as_it_is(name):
  assert files.file_name(name) == name


def test_a_configurations_name_stays_in_its_folder():
  config = configuration.default()
  config.train.num_steps = 10
  configuration.validate(config)
  config.name = '../../elsewhere'
  with pytest.raises(ValueError, match=r"config.name must be .* got '\.\./"):
    configuration.validate(config)


def test_figures_of_results_stay_in_their_folder(tmp_path, monkeypatch):
  figures = {'../evil': np.zeros((2, 2, 3), np.uint8)}
  monkeypatch.setattr(results.figures, 'sample_figures', lambda _: figures)
  for name in ('curves_figure', 'loss_figure'):
    monkeypatch.setattr(results.curves, name, lambda _: b'')
  (tmp_path / 'run').mkdir()
  with pytest.raises(ValueError, match="got '../evil'"):
    results.write_results(
      tmp_path / 'run', {'objective': {'preset': 'a'}}, object()
    )
  assert not list(tmp_path.rglob('*.png'))


def test_figures_of_a_sweep_stay_in_their_folder(tmp_path):
  charts = {'../../evil': Chart(b'', 'title', 'caption')}
  (tmp_path / 'a').mkdir()
  with pytest.raises(ValueError, match="got '../../evil'"):
    sweep_files._write_charts(tmp_path / 'a', charts)
  assert not list(tmp_path.rglob('*.png'))
