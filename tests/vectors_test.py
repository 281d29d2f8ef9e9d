"""The copy of the golden cases."""

import json

import pytest
import vectors


def test_copy_of_golden_cases_equals_the_original():
  if not vectors.ORIGINAL.exists():
    pytest.skip(f'no {vectors.ORIGINAL}')
  original = json.loads(vectors.ORIGINAL.read_text())
  copy = json.loads(vectors.COPY.read_text())
  assert copy.pop('origin')
  for kind, cases in copy.items():
    fields = ('name', 'inputs', 'expected', 'tolerance')
    kept = [{f: case[f] for f in fields} for case in original[kind]]
    assert cases == kept, kind
