"""What the README shows works."""

import pathlib
import re

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
