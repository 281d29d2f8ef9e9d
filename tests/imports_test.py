"""Imports go downwards only, and the maths load JAX and nothing more.

`TABLE` is the map of the package, lowest entry first. A module may import the
entries above its own (and, in a package, its neighbours), and of other
libraries only what its entry names.
"""

import ast
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parent.parent / 'mmjsd_jax'


class Entry(NamedTuple):
  """What the modules named `name` or `name.*` may import.

  Attributes:
    name: dotted, without the leading `mmjsd_jax.`.
    libraries: third-party libraries, or parts of one, allowed anywhere in the
      module.
    lazily: those allowed inside a function only, so that importing the module
      does not load them.
  """

  name: str
  libraries: tuple[str, ...]
  lazily: tuple[str, ...] = ()


_MATHS = ('jax', 'numpy')
_NETWORKS = (*_MATHS, 'flax')
_RUNNING = (*_NETWORKS, 'optax', 'orbax')

TABLE = (
  # Maths: load nothing but JAX, which a test below checks.
  Entry('gaussian', _MATHS),
  Entry('mixture', _MATHS),
  Entry('divergence', _MATHS),
  Entry('subsets', _MATHS),
  Entry('power_set', _MATHS),
  Entry('likelihoods', _MATHS),
  Entry('presets', ()),
  Entry('fusion', ('jax',)),
  Entry('decoding', ('jax',)),
  Entry('importance', ('jax',)),
  Entry('objectives', ('jax',)),
  # Networks.
  Entry('modalities', _NETWORKS),
  Entry('networks', ('flax', 'jax')),
  Entry('model', _NETWORKS),
  # Host: plain numpy, no device.
  Entry('allocator', ()),
  Entry('files', ()),
  Entry('array_files', ('numpy',)),
  Entry(
    'data',
    ('numpy',),
    lazily=(
      'PIL',
      'array_record',
      'importlib_resources',
      'pyarrow',
      'sklearn',
      'tensorflow_datasets',
      'tqdm',
    ),
  ),
  # A TFDS builder is a subclass of a TFDS class; only its users load it.
  Entry('data.in_memory_builder', ('array_record', 'tensorflow_datasets')),
  Entry('data.polymnist_builder', ('numpy', 'tensorflow_datasets')),
  Entry('data.mnist_svhn_text_builder', ('numpy', 'tensorflow_datasets')),
  Entry('data.celeba_builder', ('numpy', 'tensorflow_datasets')),
  # What joins networks and users' declarations.
  Entry('architecture', ('flax', 'jax')),
  Entry('number_lists', ()),
  Entry('rules', ()),
  Entry('validation', ()),
  Entry('config', ('ml_collections',)),
  Entry('examples', ('numpy',)),
  Entry('output_files', ('numpy',), lazily=('pyarrow',)),
  Entry('example_files', ('numpy',)),
  # Running.
  Entry('hosts', ('jax', 'numpy')),
  Entry('order', ('jax',)),
  Entry('blocks', _MATHS, lazily=('grain',)),
  Entry('step', _RUNNING),
  Entry('members', _MATHS),
  Entry('together', ('jax',)),
  Entry('diagnosis', ('jax', 'optax')),
  Entry('interruption', ()),
  Entry('snapshot', _RUNNING),
  Entry('checkpoint', ('jax',)),
  Entry('train', _RUNNING),
  Entry('journal', ('tensorboardX', 'tqdm')),
  Entry('evaluation', (*_RUNNING, 'sklearn', 'threadpoolctl')),
  Entry('inference', _MATHS),
  # Reporting: from results.json and images, whatever made them.
  Entry('published', ()),
  Entry('tables', ('numpy',)),
  Entry('quality_tables', ('numpy',)),
  Entry('factor_tables', ()),
  Entry('pages', ()),
  Entry('html_page', ('jinja2',)),
  Entry('experiments', ()),
  Entry('published_values', ()),
  Entry('paper_columns', ('numpy',)),
  Entry('paper_tables', ('numpy',)),
  Entry('intervals', ('numpy',)),
  Entry('measured', ()),
  Entry('comparisons', ()),
  Entry('charts', ('matplotlib',)),
  Entry('curves', ('numpy', 'matplotlib')),
  Entry('factor_figures', ('matplotlib',)),
  Entry('printed_points', ('matplotlib',)),
  Entry('sweep_curves', ('matplotlib',)),
  Entry('trade_off', ('matplotlib',)),
  Entry('ablation', ('matplotlib',)),
  Entry('gap_curves', ('matplotlib',)),
  Entry('sweep_page', ()),
  Entry('pictures', ('numpy', 'PIL')),
  Entry('layout', ('numpy', 'PIL')),
  Entry('figures', ('numpy', 'PIL')),
  Entry('report', ()),
  # Entry. Only `main` and `sweep` have flags.
  Entry('command', ('jax', 'absl')),
  Entry('grid', ('ml_collections',)),
  Entry('workdir', ('ml_collections',)),
  Entry('job', ('numpy', 'ml_collections')),
  Entry('results', ('jax',)),
  Entry('trained', (*_MATHS, 'ml_collections')),
  Entry('generation', ('numpy',)),
  Entry('embedding', ()),
  Entry('model_card', ()),
  Entry('export', (*_MATHS, 'safetensors')),
  Entry('usage', ()),
  Entry('run', ('jax',)),
  Entry('live_table', ()),
  Entry('companions', ()),
  Entry('sweep_files', ()),
  Entry('sweep_run', ('jax',)),
  Entry('population', ('ml_collections',)),
  Entry('main', ('jax', 'absl', 'ml_collections')),
  Entry('sweep', ('absl',)),
)

MODULES = tuple(
  '.'.join(path.relative_to(PACKAGE).with_suffix('').parts).removesuffix(
    '.__init__'
  )
  for path in sorted(PACKAGE.rglob('*.py'))
)

# Names that `import mmjsd_jax.objectives` must leave unloaded.
MACHINERY = (
  'absl',
  'flax',
  'matplotlib',
  'ml_collections',
  'optax',
  'orbax',
  'PIL',
  'sklearn',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
)


class Import(NamedTuple):
  """One import of `module`, in a function or for the type checker or not."""

  module: str
  line: int
  in_function: bool
  for_types: bool


def _imports(
  node: ast.AST, in_function: bool = False, for_types: bool = False
) -> list[Import]:
  """All imports below `node`; `from a import b` gives a.b."""
  found = []
  for child in ast.iter_child_nodes(node):
    if isinstance(child, ast.Import | ast.ImportFrom):
      parent = ''
      if isinstance(child, ast.ImportFrom):
        # A relative import would hide what is imported from this test.
        assert child.level == 0, f'line {child.lineno}: a relative import'
        parent = f'{child.module}.'
      found += [
        Import(f'{parent}{alias.name}', child.lineno, in_function, for_types)
        for alias in child.names
      ]
    found += _imports(
      child,
      in_function or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef),
      for_types
      or (
        isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.dump(child.test)
      ),
    )
  return found


def _entry(module: str) -> Entry | None:
  """The longest entry that covers `module`, without `mmjsd_jax.`."""
  covering = [entry for entry in TABLE if _is_part_of(module, (entry.name,))]
  return max(covering, key=lambda entry: len(entry.name), default=None)


def _violations(module: str, source: str) -> list[str]:
  """What `source` imports against the table, one sentence each."""
  entry = _entry(module)
  assert entry is not None
  order = [entry.name for entry in TABLE]
  wrong = []
  for found in _imports(ast.parse(source)):
    library, _, rest = found.module.partition('.')
    where = f'{module}, line {found.line}: {found.module}'
    if library == PACKAGE.name:
      imported = _entry(rest)
      if rest == '__version__' or rest == '':
        pass
      elif imported is None:
        wrong.append(f'{where} is not in the table')
      elif order.index(imported.name) > order.index(entry.name):
        wrong.append(f'{where} is an import upwards')
    elif library in sys.stdlib_module_names or found.for_types:
      pass
    elif _is_part_of(found.module, entry.libraries):
      pass
    elif not _is_part_of(found.module, entry.lazily):
      wrong.append(f'{where} is not allowed here')
    elif not found.in_function:
      wrong.append(f'{where} may only be imported inside a function')
  return wrong


def _is_part_of(module: str, names: tuple[str, ...]) -> bool:
  return any(f'{module}.'.startswith(f'{name}.') for name in names)


@pytest.mark.parametrize('module', [m for m in MODULES if m != '__init__'])
def test_imports_go_down(module: str):
  assert _entry(module) is not None, (
    f'mmjsd_jax/{module.replace(".", "/")}.py is new to the map: add it to '
    f'TABLE in {pathlib.Path(__file__).name}, below what it imports and above '
    'what imports it.'
  )
  path = PACKAGE.joinpath(*module.split('.'))
  path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
  assert _violations(module, path.read_text(encoding='utf-8')) == []


@pytest.mark.parametrize('entry', TABLE, ids=lambda entry: entry.name)
def test_table_names_what_exists(entry: Entry):
  path = PACKAGE.joinpath(*entry.name.split('.'))
  assert path.is_dir() or path.with_suffix('.py').is_file()


@pytest.mark.parametrize(
  ('module', 'source', 'message'),
  [
    ('gaussian', 'import flax', 'not allowed here'),
    ('run', 'from absl import flags', 'not allowed here'),
    ('gaussian', 'from mmjsd_jax import mixture', 'upwards'),
    ('gaussian', 'import mmjsd_jax.train', 'upwards'),
    ('mixture', 'from mmjsd_jax.unheard import of', 'not in the table'),
    ('data.digits', 'import sklearn.datasets', 'inside a function'),
    ('data.digits', 'def f():\n  import optax', 'not allowed here'),
  ],
)
def test_violations_are_seen(module: str, source: str, message: str):
  (violation,) = _violations(module, source)
  assert message in violation


@pytest.mark.parametrize(
  ('module', 'source'),
  [
    ('mixture', 'import math\nimport jax.numpy as jnp'),
    ('mixture', 'from mmjsd_jax.gaussian import Gaussian'),
    ('data.digits', 'def f():\n  import sklearn.datasets'),
    ('data.digits', 'from mmjsd_jax.data import dataset'),
    ('data', 'if TYPE_CHECKING:\n  import optax'),
    ('main', 'from absl import logging'),
    ('main', 'from mmjsd_jax import __version__'),
  ],
)
def test_imports_downwards_are_allowed(module: str, source: str):
  assert _violations(module, source) == []


def test_init_files_import_nothing_by_themselves():
  for path in PACKAGE.rglob('__init__.py'):
    for found in _imports(ast.parse(path.read_text(encoding='utf-8'))):
      is_later = found.in_function or found.for_types
      assert is_later or found.module.startswith('typing.'), (path, found)


def test_objectives_load_no_training_machinery():
  program = (
    'import sys\n'
    'import mmjsd_jax.objectives\n'
    'print(*{name.partition(".")[0] for name in sys.modules})\n'
  )
  loaded = subprocess.run(
    [sys.executable, '-W', 'error', '-c', program],
    check=True,
    capture_output=True,
    text=True,
  ).stdout.split()
  assert 'jax' in loaded
  assert set(MACHINERY).isdisjoint(loaded)
