"""The report in a real browser: what it shows, on a phone and in the dark."""

import copy
import html
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest

from mmjsd_jax import curves, figures, published, report

pytestmark = pytest.mark.whole

_DATA = pathlib.Path(__file__).parent / 'data'
_NAMES = ('chromium', 'chromium-browser', 'google-chrome')

# Two frames with the report, 390 pixels wide, and what is found in them.
_PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<iframe id="light" width="390" height="800" srcdoc="{report}"></iframe>
<iframe id="dark" width="390" height="800" style="color-scheme: dark"
 srcdoc="{report}"></iframe>
<pre></pre>
<script>{script}</script>
"""
_SCRIPT = """
const cells = (table, column) =>
  [...table.tBodies[0].rows].map(row => row.cells[column].textContent);

const press = (table, column) => {
  const heading = table.tHead.rows[0].cells[column];
  const [button] = heading.querySelectorAll('button');
  const seen = [cells(table, column)];
  const said = [];
  for (let time = 0; time < 3; time += 1) {
    button.click();
    seen.push(cells(table, column));
    said.push(heading.getAttribute('aria-sort'));
  }
  return {seen, said};
};

const look = (frame) => {
  const page = frame.contentDocument;
  for (const each of page.querySelectorAll('details')) each.open = true;
  const tables = [...page.querySelectorAll('table.sorts')];
  const find = (id) => tables.find(each => each.textContent.includes(id));
  const style = frame.contentWindow.getComputedStyle(page.body);
  return {
    images: [...page.images].map(each => each.naturalWidth),
    asked: frame.contentWindow.performance.getEntriesByType('resource')
      .map(each => each.name).filter(name => !name.startsWith('data:')),
    width: frame.contentWindow.innerWidth,
    scroll: page.documentElement.scrollWidth,
    too_wide: [...page.querySelectorAll('body *')].filter(each =>
      !each.closest('.scroll, figure div')
      && each.getBoundingClientRect().right > 390.5
    ).map(each => each.outerHTML.slice(0, 80)),
    colours: [style.color, style.backgroundColor],
    numbers: press(find('Conditional coherence from one modality'), 1),
    errors: press(find('by proposal'), 1),
    words: press(find('Linear probe accuracy for every subset'), 0),
  };
};

addEventListener('load', () => {
  const found = ['light', 'dark'].map(id => look(document.getElementById(id)));
  document.querySelector('pre').textContent = JSON.stringify(found);
});
"""


@pytest.fixture(scope='module')
def browser() -> str:
  """A Chromium: MMJSD_CHROMIUM, or what is installed; skips without one."""
  given = os.environ.get('MMJSD_CHROMIUM')
  found = given or next(filter(None, map(shutil.which, _NAMES)), None)
  if not found:
    pytest.skip('No Chromium found: install one, or set MMJSD_CHROMIUM.')
  return found


@pytest.fixture(scope='module')
def opened(
  browser: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[str, Any]], str]:
  """What was found, in the light and in the dark, and the browser's log."""
  folder = tmp_path_factory.mktemp('browser')
  page = folder / 'page.html'
  text = html.escape(_report())
  page.write_text(_PAGE.format(report=text, script=_SCRIPT), encoding='utf-8')
  done = subprocess.run(
    [
      browser,
      *('--headless', '--no-sandbox', '--disable-gpu', '--dump-dom'),
      *('--disable-dev-shm-usage', '--enable-logging=stderr'),
      # Nothing outside is reached, whatever the page asks for.
      '--host-resolver-rules=MAP * ~NOTFOUND',
      f'--user-data-dir={folder / "profile"}',
      page.as_uri(),
    ],
    capture_output=True,
    text=True,
    check=True,
    timeout=60,
  )
  _, _, rest = done.stdout.rpartition('<pre>')
  told, end, _ = rest.partition('</pre>')
  assert told and end, done.stderr
  return json.loads(html.unescape(told)), done.stderr


def _report() -> str:
  """A report with every section, long names and large figures."""
  results = json.loads((_DATA / 'results.json').read_text(encoding='utf-8'))
  results['published'] = published.matching(results)
  results['command'] = 'python -m mmjsd_jax.main --workdir=' + 200 * 'x'
  metrics = results['metrics']
  metrics['coherence']['conditional']['pairs']['m1->m0'] = None
  metrics['coherence']['exact_match'] = {'pairs': {'m0->m2': 0.3456}}
  metrics['coherence']['joint_from_sampler'] = {'value': 0.4}
  metrics['readings'] = {'mixture': copy.deepcopy(metrics)}
  metrics['as_released'] = {'probe': {'500': {'by_size': {'1': 0.7654}}}}
  pictures = {'m0': {'FD-enc': {'fd': 3.21}}}
  metrics['quality'] = {'random': pictures, 'conditional': {'pairs': {}}}
  wide = figures.to_png(np.zeros((400, 1800, 3), np.uint8))
  names = ('random_samples', 'conditional_m0', 'swapped_m0', 'conditional_m1')
  drawn = dict.fromkeys(names, wide)
  drawn['loss'] = curves.loss_figure({'mmjsd': results})
  return report.render(results, drawn)


def test_no_image_is_broken(opened):
  for found in opened[0]:
    assert len(found['images']) == 5
    assert all(found['images'])


def test_the_page_asks_no_server_and_the_console_is_silent(opened):
  found, log = opened
  assert [frame['asked'] for frame in found] == [[], []]
  assert not [line for line in log.splitlines() if 'CONSOLE' in line]


def test_a_phone_need_not_scroll_sideways(opened):
  for found in opened[0]:
    assert found['width'] == 390
    assert found['scroll'] <= 390
    assert found['too_wide'] == []


def test_the_page_is_dark_where_that_is_preferred(opened):
  light, dark = (map(_brightness, frame['colours']) for frame in opened[0])
  text, behind = light
  assert text < 50 < 250 < behind
  text, behind = dark
  assert behind < 50 < 200 < text


def _brightness(colour: str) -> float:
  """The mean of 'rgb(1, 2, 3)'."""
  levels = colour.removeprefix('rgb(').removesuffix(')').split(',')
  return sum(map(int, levels)) / 3


@pytest.mark.parametrize('column', ['numbers', 'errors', 'words'])
def test_a_pressed_heading_sorts_its_table(opened, column):
  (before, up, down, after), said = opened[0][0][column].values()
  key = str if column == 'words' else _number
  absent = [cell for cell in before if cell in ('-', 'missing')]
  there = sorted((cell for cell in before if cell not in absent), key=key)
  assert len(set(there)) > 2 and before not in (up, down)
  assert up == there + absent
  assert down == there[::-1] + absent
  assert after == before
  assert said == ['ascending', 'descending', None]
  assert bool(absent) == (column == 'numbers')
  assert any(' ± ' in cell for cell in before) == (column == 'errors')


def _number(cell: str) -> float:
  return float(cell.split(' ± ')[0].replace(',', ''))
