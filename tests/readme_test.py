"""What the README shows works."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


def test_python_examples_run():
  readme = (ROOT / 'README.md').read_text(encoding='utf-8')
  examples = re.findall(r'```python\n(.*?)```', readme, flags=re.DOTALL)
  assert examples
  for example in examples:
    exec(compile(example, 'README.md', 'exec'), {})


def test_links_lead_somewhere():
  for page in ('README.md', 'CONTRIBUTING.md'):
    text = (ROOT / page).read_text(encoding='utf-8')
    for target in re.findall(r'\]\((?!https?:)([^)#]+)', text):
      assert (ROOT / target).exists(), f'{page}: {target}'


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
