"""docs/make_paper_tables.py: one page with runs, settings and all tables."""

import importlib.util
import json
import pathlib
import types

import paper_world
import pytest

from mmjsd_jax import paper_tables

_ROOT = pathlib.Path(__file__).resolve().parent.parent
_SCRIPT = _ROOT / 'docs' / 'make_paper_tables.py'


@pytest.fixture(scope='module')
def script() -> types.ModuleType:
  """The script as a module; docs/ is no package."""
  spec = importlib.util.spec_from_file_location('make_paper_tables', _SCRIPT)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_the_page_has_runs_settings_and_every_table(
  script: types.ModuleType,
  tmp_path: pathlib.Path,
  capsys: pytest.CaptureFixture[str],
):
  runs = [paper_world.make_run(seed=seed) for seed in range(2)]
  runs.append(paper_world.make_run('mmjsd', style_dim=(4, 4, 4)))
  paths = []
  for index, run in enumerate(runs):
    (tmp_path / str(index)).mkdir()
    paths.append(tmp_path / str(index) / 'results.json')
    paths[-1].write_text(json.dumps(run), encoding='utf-8')
  script.main([str(path) for path in paths])
  page = capsys.readouterr().out

  lines = page.splitlines()
  for line, rule in zip(lines, lines[1:], strict=False):
    if rule.startswith('| ---'):
      columns = line.replace('\\|', '')
      assert columns.count('|') == rule.count('|')
  # Command, time and hardware of every run.
  assert all(f'{run["command"]}\n' in page for run in runs)
  assert page.count('2 h 15 min') == 3
  assert page.count('1 x NVIDIA H100') == 3
  for made in paper_tables.make_tables(runs):
    assert f'## {made.title}\n' in page
    assert made.table.caption in page
    assert all(f'- {caveat}\n' in page for caveat in made.caveats)
  assert '| MoPoE | ours, n = 2 | 0.827 ± 0 |' in page
  assert '| mmJSD (MS) | ours, n = 1 | 0.827 |' in page
  assert 'M\\|S,T' in page
