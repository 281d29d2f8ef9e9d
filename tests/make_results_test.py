"""docs/make_results.py: every number of every run, none twice, none by hand."""

import importlib.util
import json
import pathlib
import types

import pytest

from mmjsd_jax import published, tables

_TESTS = pathlib.Path(__file__).resolve().parent
_SCRIPT = _TESTS.parent / 'docs' / 'make_results.py'
_RESULTS = _TESTS / 'data' / 'results.json'


@pytest.fixture(scope='module')
def script() -> types.ModuleType:
  """The script as a module; docs/ is no package."""
  spec = importlib.util.spec_from_file_location('make_results', _SCRIPT)
  assert spec is not None and spec.loader is not None
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_two_runs_stand_below_each_other(
  script: types.ModuleType,
  tmp_path: pathlib.Path,
  capsys: pytest.CaptureFixture[str],
):
  results = json.loads(_RESULTS.read_text(encoding='utf-8'))
  results['published'] = published.matching(results)
  paths = [tmp_path / 'a.json', tmp_path / 'b.json']
  paths[0].write_text(json.dumps(results), encoding='utf-8')
  mmjsd = results | {'objective': {'preset': 'mmjsd'}, 'metrics': {}}
  mmjsd['substitutions'] = ['Another | substitution.']
  mmjsd['published'] = published.matching(mmjsd)
  paths[1].write_text(json.dumps(mmjsd), encoding='utf-8')
  script.main([str(path) for path in paths])
  page = capsys.readouterr().out

  lines = page.splitlines()
  for line, rule in zip(lines, lines[1:], strict=False):
    if rule.startswith('| ---') or rule.startswith('| :'):
      assert line.count('|') == rule.count('|')
  by_size = results['metrics']['coherence']['conditional']['by_size'].values()
  row = ' | '.join(tables.share(value) for value in by_size)
  assert f'| mopoe | {row} |' in page
  assert f'| mmjsd | {" | ".join(["missing"] * len(by_size))} |' in page
  assert results['command'] in page
  assert 'mmjsd: Another | substitution.' in page
  assert 'protocol differs: 3 modalities (published: 5)' in page
  assert results['environment']['device'] in page


def test_one_objective_twice_is_told_apart_by_folder(
  script: types.ModuleType,
  tmp_path: pathlib.Path,
  capsys: pytest.CaptureFixture[str],
):
  paths = []
  for name in ('seed_0', 'seed_1'):
    (tmp_path / name).mkdir()
    paths.append(tmp_path / name / 'results.json')
    paths[-1].write_bytes(_RESULTS.read_bytes())
  script.main([str(path) for path in paths])
  page = capsys.readouterr().out
  assert all(f'| mopoe ({path.parent}) |' in page for path in paths)
  with pytest.raises(SystemExit, match='2'):
    script.main([str(paths[0])] * 2)
  assert 'error: expected different files' in capsys.readouterr().err
