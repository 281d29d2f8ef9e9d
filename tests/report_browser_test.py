"""Reports in a real browser: what they show, on a phone and in the dark.

One is made up. MMJSD_REPORT names another, such as that of a run, and
MMJSD_SCREENSHOTS a folder for pictures of both.
"""

import copy
import html
import json
import os
import pathlib
import shutil
import subprocess
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from mmjsd_jax import curves, figures, published, report

pytestmark = pytest.mark.whole

_DATA = pathlib.Path(__file__).parent / 'data'
_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
_GIVEN = os.environ.get('MMJSD_REPORT')

# Frames with the report side by side: name -> width in pixels, colours.
_FRAMES = {
  'phone_light': (390, 'light'),
  'phone_dark': (390, 'dark'),
  'desktop_light': (1280, 'light'),
  'desktop_dark': (1280, 'dark'),
}
_HEIGHT = 1600
_PAGE = """<!DOCTYPE html>
<meta charset="utf-8">
<body style="margin: 0; white-space: nowrap">{frames}
<pre></pre>
<script>{script}</script>
"""
_FRAME = (
  '<iframe width="{width}" height="{height}" srcdoc="{report}"'
  ' style="border: 0; color-scheme: {colours}"></iframe>'
)
_SCRIPT = """
const cells = (table, column) =>
  [...table.tBodies[0].rows].map(row => row.cells[column].textContent);

const press = (table, column) => {
  if (!table) return null;
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
      && each.getBoundingClientRect().right > frame.clientWidth + 0.5
    ).map(each => each.outerHTML.slice(0, 80)),
    colours: [style.color, style.backgroundColor],
    numbers: press(find('Conditional coherence from one modality'), 1),
    errors: press(find('by proposal'), 1),
    words: press(find('Linear probe accuracy for every subset'), 0),
  };
};

addEventListener('load', () => {
  const found = [...document.querySelectorAll('iframe')].map(look);
  document.querySelector('pre').textContent = JSON.stringify(found);
});
"""


class Opened(NamedTuple):
  """A report as the browser has it.

  Attributes:
    frames: name -> what was found there.
    log: of the browser.
    pictures: name -> what it looks like. uint8 [height, width, 3].
  """

  frames: dict[str, dict[str, Any]]
  log: str
  pictures: dict[str, np.ndarray]


@pytest.fixture(scope='module')
def browser() -> str:
  """A Chromium: MMJSD_CHROMIUM, or what is installed; skips without one."""
  given = os.environ.get('MMJSD_CHROMIUM')
  found = given or next(filter(None, map(shutil.which, _NAMES)), None)
  if not found:
    pytest.skip('No Chromium found: install one, or set MMJSD_CHROMIUM.')
  return found


@pytest.fixture(scope='module')
def made(browser: str, tmp_path_factory: pytest.TempPathFactory) -> Opened:
  """The report that is made up."""
  return _open(browser, _report(), 'made', tmp_path_factory.mktemp('browser'))


@pytest.fixture(scope='module', params=['made', *filter(None, [_GIVEN])])
def opened(
  browser: str,
  request: pytest.FixtureRequest,
  tmp_path_factory: pytest.TempPathFactory,
) -> Opened:
  """Any report."""
  if request.param == 'made':
    return request.getfixturevalue('made')
  text = pathlib.Path(request.param).read_text(encoding='utf-8')
  return _open(browser, text, 'given', tmp_path_factory.mktemp('browser'))


def _open(browser: str, text: str, name: str, folder: pathlib.Path) -> Opened:
  page = folder / 'page.html'
  frames = [
    _FRAME.format(
      width=width, colours=colours, height=_HEIGHT, report=html.escape(text)
    )
    for width, colours in _FRAMES.values()
  ]
  page.write_text(
    _PAGE.format(frames=''.join(frames), script=_SCRIPT), encoding='utf-8'
  )
  total = sum(width for width, _ in _FRAMES.values())
  picture = folder / 'picture.png'
  _run(
    browser, page, f'--window-size={total},{_HEIGHT}', f'--screenshot={picture}'
  )
  pixels = np.asarray(Image.open(picture).convert('RGB'))
  edges = np.cumsum([width for width, _ in _FRAMES.values()])[:-1]
  parts = np.split(pixels, edges, axis=1)
  pictures = dict(zip(_FRAMES, parts, strict=True))
  _keep(name, pictures)

  done = _run(browser, page, '--dump-dom')
  _, _, rest = done.stdout.rpartition('<pre>')
  told, end, _ = rest.partition('</pre>')
  assert told and end, done.stderr
  found = json.loads(html.unescape(told))
  return Opened(dict(zip(_FRAMES, found, strict=True)), done.stderr, pictures)


def _run(
  browser: str, page: pathlib.Path, *options: str
) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [
      browser,
      *('--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars'),
      *('--disable-dev-shm-usage', '--enable-logging=stderr'),
      # Nothing outside is reached, whatever the page asks for.
      '--host-resolver-rules=MAP * ~NOTFOUND',
      f'--user-data-dir={page.parent / "profile"}',
      *options,
      page.as_uri(),
    ],
    capture_output=True,
    text=True,
    check=True,
    timeout=60,
  )


def _keep(name: str, pictures: dict[str, np.ndarray]) -> None:
  """Where a person asked for them."""
  if given := os.environ.get('MMJSD_SCREENSHOTS'):
    folder = pathlib.Path(given)
    folder.mkdir(parents=True, exist_ok=True)
    for frame, pixels in pictures.items():
      Image.fromarray(pixels).save(folder / f'{name}_{frame}.png')


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
  for found in opened.frames.values():
    assert found['images']
    assert all(found['images'])


def test_every_figure_is_on_the_page(made):
  for found in made.frames.values():
    assert len(found['images']) == 5


def test_the_page_asks_no_server_and_the_console_is_silent(opened):
  assert [frame['asked'] for frame in opened.frames.values()] == [[]] * 4
  assert not [line for line in opened.log.splitlines() if 'CONSOLE' in line]


def test_nobody_need_scroll_sideways(opened):
  for name, (width, _) in _FRAMES.items():
    found = opened.frames[name]
    assert found['width'] == width
    assert found['scroll'] <= width
    assert found['too_wide'] == []


def test_the_page_is_dark_where_that_is_preferred(opened):
  for name, (_, colours) in _FRAMES.items():
    text, behind = map(_brightness, opened.frames[name]['colours'])
    if colours == 'light':
      assert text < 50 < 250 < behind
    else:
      assert behind < 50 < 200 < text


def test_what_is_seen_is_what_the_page_says(opened):
  """Words stand on a ground that is light or dark."""
  for name, (width, colours) in _FRAMES.items():
    pixels = opened.pictures[name]
    assert pixels.shape[1] == width
    assert len(np.unique(pixels)) > 50
    assert (np.median(pixels) > 128) == (colours == 'light')


def _brightness(colour: str) -> float:
  """The mean of 'rgb(1, 2, 3)'."""
  levels = colour.removeprefix('rgb(').removesuffix(')').split(',')
  return sum(map(int, levels)) / 3


@pytest.mark.parametrize('column', ['numbers', 'errors', 'words'])
def test_a_pressed_heading_sorts_its_table(made, column):
  found = made.frames['phone_light'][column]
  (before, up, down, after), said = found.values()
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
