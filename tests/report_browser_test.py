"""Pages in a real browser: what they show, on a phone and in the dark.

The report of a run and the page of a sweep are made up. MMJSD_REPORT names
another, and MMJSD_SCREENSHOTS a folder for pictures of all.
"""

import copy
import functools
import html
import json
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import sweep_world
from PIL import Image

from mmjsd_jax import (
  ablation,
  curves,
  figures,
  published,
  report,
  sweep_curves,
)

pytestmark = pytest.mark.whole

_DATA = pathlib.Path(__file__).parent / 'data'
_NAMES = ('chromium', 'chromium-browser', 'google-chrome')
_GIVEN = os.environ.get('MMJSD_REPORT')

# Frames with the page side by side: name -> width in pixels, colours.
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
<script>const sorted = {sorted}; {script}</script>
"""
_FRAME = (
  '<iframe width="{width}" height="{height}" srcdoc="{text}"'
  ' style="border: 0; color-scheme: {colours}"></iframe>'
)
_SCRIPT = """
const cells = (table, column) =>
  [...table.tBodies[0].rows].map(row => row.cells[column].textContent);

const press = (table, column) => {
  const heading = table?.tHead.rows[0].cells[column];
  if (!heading) return null;  // another page
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
    pressed: sorted.map(([id, column]) => press(find(id), column)),
  };
};

addEventListener('load', () => {
  const found = [...document.querySelectorAll('iframe')].map(look);
  document.querySelector('pre').textContent = JSON.stringify(found);
});
"""


class Sorted(NamedTuple):
  """A table of a page, and a column that it is sorted by.

  Attributes:
    page: 'made' or 'sweep'.
    caption: a part of the table's, and of no other's.
    column: its number.
    has_words: sorted as such, and not as numbers.
    has_absent: whether numbers are missing there.
    has_errors: whether they have errors, or deviations.
  """

  page: str
  caption: str
  column: int
  has_words: bool = False
  has_absent: bool = False
  has_errors: bool = False


_SORTED = (
  Sorted('made', 'from one modality', 1, has_absent=True),
  Sorted('made', 'by proposal', 1, has_errors=True),
  Sorted('made', 'Linear probe accuracy for every subset', 0, has_words=True),
  Sorted('sweep', 'Mean ±', 6, has_absent=True, has_errors=True),
  Sorted('sweep', 'Differences in joint coherence', 2),
  Sorted('sweep', 'Differences in log p(X)', 2),
  Sorted('sweep', 'What every run is at', 1, has_words=True),
)


class Opened(NamedTuple):
  """A page as the browser has it.

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
def pages(
  browser: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Opened]:
  """Opens 'made', a report, 'sweep', or the page of a path; each once."""

  @functools.cache
  def opened(name: str) -> Opened:
    makers = {'made': _report, 'sweep': _sweep}
    if name in makers:
      text = makers[name]()
    else:
      text = pathlib.Path(name).read_text(encoding='utf-8')
    kept = name if name in makers else 'given'
    return _open(browser, text, kept, tmp_path_factory.mktemp('browser'))

  return opened


@pytest.fixture(params=['made', 'sweep', *filter(None, [_GIVEN])])
def opened(
  request: pytest.FixtureRequest, pages: Callable[[str], Opened]
) -> Opened:
  """Any page."""
  return pages(request.param)


def _open(browser: str, text: str, name: str, folder: pathlib.Path) -> Opened:
  page = folder / 'page.html'
  frames = [
    _FRAME.format(
      width=width, colours=colours, height=_HEIGHT, text=html.escape(text)
    )
    for width, colours in _FRAMES.values()
  ]
  tables = [(each.caption, each.column) for each in _SORTED]
  page.write_text(
    _PAGE.format(
      frames=''.join(frames), sorted=json.dumps(tables), script=_SCRIPT
    ),
    encoding='utf-8',
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


def _sweep() -> str:
  """A page of 108 points with every section, some of which failed."""
  points = sweep_world.make_points(
    ('mopoe', 'mmvae', 'mmjsd'),
    (0.5, 1.0, 2.5, 5.0, 10.0, 20.0),
    num_seeds=3,
    hidden_dim=(64, 128),
  )
  errors = {}
  for index, point in enumerate(points):
    if index % 9 == 4:
      errors[point.name] = f'disk full: {100 * "x"}' if index % 2 else 'nan'
    shift = np.random.default_rng(index).normal(scale=0.1)
    metrics = point.results['metrics']
    metrics['coherence']['joint'] += shift
    metrics['log_likelihood']['joint']['value'] += 100 * shift
    point.results['training']['seconds'] += shift
  points[0].results['substitutions'] = ['Digits of another kind.']
  points[1].results['data']['fingerprint'] = 64 * 'f'
  points = [
    point._replace(results=None) if point.name in errors else point
    for point in points
  ]
  wide = figures.to_png(np.zeros((400, 1800, 3), np.uint8))
  return sweep_world.make_page(
    points,
    command='python -m mmjsd_jax.sweep --workdir=' + 200 * 'x',
    charts={
      **ablation.ablation(points, 'beta'),
      'wide': sweep_curves.Chart(wide, 'A wide one', 'Nothing to read.'),
    },
    errors=errors,
    states={
      point.name: f'failed: {errors[point.name]}'
      if point.name in errors
      else f'done; joint coherence 0.{index}'
      for index, point in enumerate(points)
    },
  )


def test_no_image_is_broken(opened):
  for found in opened.frames.values():
    assert found['images']
    assert all(found['images'])


@pytest.mark.parametrize(('name', 'num'), [('made', 5), ('sweep', 2)])
def test_every_figure_is_on_the_page(pages, name, num):
  for found in pages(name).frames.values():
    assert len(found['images']) == num


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


@pytest.mark.parametrize('table', _SORTED, ids=lambda table: table.caption)
def test_a_pressed_heading_sorts_its_table(pages, table):
  frame = pages(table.page).frames['phone_light']
  found = frame['pressed'][_SORTED.index(table)]
  (before, up, down, after), said = found.values()
  key = _natural if table.has_words else _number
  absent = [cell for cell in before if cell in ('-', 'missing')]
  there = [cell for cell in before if cell not in absent]
  assert len(set(there)) > 2 and before not in (up, down)
  assert up == sorted(there, key=key) + absent
  assert down == sorted(there, key=key, reverse=True) + absent
  assert after == before
  assert said == ['ascending', 'descending', None]
  assert bool(absent) == table.has_absent
  assert any(' ± ' in cell for cell in before) == table.has_errors


def _number(cell: str) -> float:
  return float(re.split(' ±| \\[', cell)[0].replace(',', ''))


def _natural(cell: str) -> list[tuple[str, int]]:
  """Sorts 'a2' before 'a10'."""
  return [
    (text, int(digits or 0)) for text, digits in re.findall(r'(\D*)(\d*)', cell)
  ]
