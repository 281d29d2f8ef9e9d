"""What the README shows works, and what pages name exists."""

import pathlib
import re
from typing import Any

import jax
import numpy as np
import pytest
from train_world import mesh_of

from mmjsd_jax import job, presets, run

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / 'docs'
README = ROOT / 'README.md'
PAGES = [README, ROOT / 'CONTRIBUTING.md', *DOCS.rglob('*.md')]
TESTS = '\n'.join(path.read_text() for path in ROOT.glob('tests/*_test.py'))
OBJECTIVES = sorted((DOCS / 'objectives').glob('[!i]*.md'))


def test_python_examples_run():
  texts = [page.read_text(encoding='utf-8') for page in PAGES]
  examples = re.findall(r'```python\n(.*?)```', ''.join(texts), flags=re.DOTALL)
  assert len(examples) >= 2
  for example in examples:
    exec(compile(example, 'a page', 'exec'), {})


@pytest.fixture
def fast_to_compile(monkeypatch):
  """A third of the time, which is nearly all that these tests take."""
  for module in (job, run):
    monkeypatch.setattr(module, 'make_mesh', lambda: mesh_of(1))
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


@pytest.mark.whole
@pytest.mark.parametrize(
  ('name', 'folder', 'shape'),
  [('omics', 'omics/breast_tcga', (70, 8)), ('six_views', 'mfeat', (2000, 8))],
)
def test_own_files_become_latents_in_few_lines(
  data_dir, tmp_path, monkeypatch, fast_to_compile, name, folder, shape
):
  if not (data_dir / folder).is_dir():
    pytest.skip(f'{data_dir} has no folder {folder}.')
  blocks = re.findall(r'```py\n(.*?)```', README.read_text('utf-8'), re.DOTALL)
  (code,) = [block for block in blocks if f"'runs/{name}'" in block]
  assert len([line for line in code.splitlines() if line.strip()]) < 20
  code, num_found = re.subn(r'num_steps = \d+', 'num_steps = 2', code)
  assert num_found == 1
  monkeypatch.chdir(tmp_path)
  (tmp_path / pathlib.Path(folder).name).symlink_to(data_dir / folder)
  found: dict[str, Any] = {}
  exec(compile(code, 'README.md', 'exec'), found)
  assert found['latents'].shape == shape
  assert np.isfinite(found['latents']).all()
  assert len(np.unique(found['latents'], axis=0)) > 0.9 * shape[0]


def test_links_lead_somewhere():
  for page in PAGES:
    text = page.read_text(encoding='utf-8')
    for target in re.findall(r'\]\((?!https?:)([^)#]+)', text):
      assert (page.parent / target).exists(), f'{page}: {target}'


def test_files_that_pages_name_exist():
  folders = 'benchmarks|configs|docs|examples|launch|mmjsd_jax|tests'
  name = rf'`((?:{folders})/[\w/]+\.\w+)'
  for page in PAGES:
    for file in re.findall(name, page.read_text(encoding='utf-8')):
      assert (ROOT / file).exists(), f'{page}: {file}'


def test_every_objective_has_a_page():
  assert {page.stem for page in OBJECTIVES} == set(presets.PRESETS)


@pytest.mark.parametrize('page', OBJECTIVES, ids=lambda page: page.stem)
def test_objectives_name_tests_that_exist(page):
  rows = re.findall(r'^\|.*\|.*\| `(test_\w+)` \|$', page.read_text(), re.M)
  assert len(rows) >= 4
  for name in rows:
    assert f'def {name}(' in TESTS, name


@pytest.mark.parametrize(
  ('name', 'least'), [('reliability.md', 50), ('data_streaming.md', 8)]
)
def test_every_promise_has_its_test(name, least):
  page = (ROOT / 'docs' / name).read_text(encoding='utf-8')
  tests = ' '.join(
    name
    for path in (ROOT / 'tests').glob('*_test.py')
    for name in (
      path.stem,
      *re.findall(r'^def test_(\w+)', path.read_text(), re.M),
    )
  )
  rows = [line.split('|') for line in page.splitlines() if line[:1] == '|']
  names = [name for row in rows for name in re.findall('`([a-z_]+)`', row[2])]
  assert len(names) >= least
  for name in names:
    assert name in tests, name
