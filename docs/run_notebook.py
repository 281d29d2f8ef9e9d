"""Runs a notebook's code and stores what it prints and draws; needs no Jupyter.

  python docs/run_notebook.py examples/two_dimensions.ipynb

Pictures have few colours and little resolution, since git keeps every one. The
metadata hold a checksum of the code: a test sees what was not run again.
"""

import base64
import contextlib
import hashlib
import io
import json
import pathlib
import sys
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
from PIL import Image

NUM_COLOURS = 64


def read(path: pathlib.Path) -> dict[str, Any]:
  """The notebook as JSON has it."""
  return json.loads(path.read_text(encoding='utf-8'))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
  """Its cells of code, in order."""
  return [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']


def checksum(notebook: dict[str, Any]) -> str:
  """SHA-256 of its code."""
  sources = [''.join(cell['source']) for cell in code_cells(notebook)]
  return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def run(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
  """What every cell of code prints and draws, as notebooks store it."""
  namespace: dict[str, Any] = {}
  outputs = []
  # As Jupyter saves them, in more colours and pixels.
  with matplotlib.rc_context({'savefig.dpi': 90, 'savefig.bbox': 'tight'}):
    for index, cell in enumerate(code_cells(notebook)):
      printed = io.StringIO()
      program = compile(''.join(cell['source']), f'code cell {index}', 'exec')
      with contextlib.redirect_stdout(printed):
        exec(program, namespace)
      outputs.append([*_text(printed.getvalue()), *map(_drawn, _figures())])
      plt.close('all')
  return outputs


def main(path: pathlib.Path) -> None:
  """Stores the outputs in the file."""
  matplotlib.use('Agg')
  notebook = read(path)
  for index, (cell, outputs) in enumerate(
    zip(code_cells(notebook), run(notebook), strict=True), start=1
  ):
    cell.update(execution_count=index, outputs=outputs)
  notebook['metadata']['code_sha256'] = checksum(notebook)
  text = json.dumps(notebook, indent=1, ensure_ascii=False) + '\n'
  path.write_text(text, encoding='utf-8')


def _text(printed: str) -> list[dict[str, Any]]:
  if not printed:
    return []
  lines = printed.splitlines(keepends=True)
  return [{'output_type': 'stream', 'name': 'stdout', 'text': lines}]


def _figures() -> list[Any]:
  return [plt.figure(number) for number in plt.get_fignums()]


def _drawn(figure: Any) -> dict[str, Any]:
  whole, small = io.BytesIO(), io.BytesIO()
  figure.savefig(whole)
  picture = Image.open(whole).convert('RGB')
  picture.quantize(NUM_COLOURS).save(small, 'png', optimize=True)
  png = base64.b64encode(small.getvalue()).decode('ascii')
  return {
    'output_type': 'display_data',
    'data': {'image/png': png},
    'metadata': {},
  }


if __name__ == '__main__':
  main(pathlib.Path(sys.argv[1]))
