"""Pages of runs and of sweeps are whole in themselves, and nothing slips in."""

import base64
import hashlib
import json
import pathlib
import re

import numpy as np
import pytest
import sweep_world
from html_world import Page

from mmjsd_jax import figures, html_page, published, report
from mmjsd_jax.sweep_curves import Chart

_DATA = pathlib.Path(__file__).parent / 'data'
_PNG = figures.to_png(np.zeros((2, 2, 3), np.uint8))
_EVIL = '<script>alert("&")</script>'


def _report(figures=(), text='text'):
  """A report with `text` wherever words of a run or a user stand."""
  results = json.loads((_DATA / 'results.json').read_text(encoding='utf-8'))
  results['published'] = published.matching(results)
  results['config']['model']['note'] = text
  results |= {'command': text, 'substitutions': [text], 'name': text}
  results['data']['source'] = text
  return report.render(results, dict.fromkeys(figures, _PNG), captions={})


def _sweep(figures=(), text='text'):
  """The same of a sweep that has everything a page can have."""
  points = sweep_world.make_points(num_seeds=3)
  missing = points[0]._replace(results=None)
  for point in points[1:]:
    point.results['data']['source'] = point.results['command'] = text
  points[1].results['data']['fingerprint'] = text
  points[2].results['substitutions'] = [text]
  return sweep_world.make_page(
    [missing, *points[1:]],
    title=text,
    command=text,
    charts={name: Chart(_PNG, f'{text} {name}', text) for name in figures},
    errors={missing.name: text},
    states={point.name: text for point in points},
  )


MAKERS = pytest.mark.parametrize(
  'make', [_report, _sweep], ids=['report', 'sweep']
)


@MAKERS
def test_a_page_is_self_contained(make):
  names = ('reconstructions', 'conditional_m0+m1', 'curves', 'anything')
  text = make(names)
  page = Page(text)
  links = [
    attributes[name]
    for _, attributes in page.tags
    for name in ('src', 'href', 'srcset', 'data', 'action')
    if name in attributes
  ]
  # A sweep's page leads to the reports beside it.
  known = re.compile(r'#|data:image/png|mopoe-beta_[\w.-]+/report\.html$')
  assert links and all(known.match(str(link)) for link in links)
  images = [attributes for tag, attributes in page.tags if tag == 'img']
  assert len(images) == len(names)
  assert all(image['alt'] for image in images)
  unwanted = {'link', 'iframe', 'object', 'video', 'base'}
  assert unwanted.isdisjoint(tag for tag, _ in page.tags)
  assert not re.search(r'url\(|@import|https?://', text)


@MAKERS
def test_no_script_runs_but_the_one_that_sorts(make):
  text = make()
  ((attributes, script),) = re.findall(
    '<script(.*?)>(.*?)</script>', text, re.DOTALL
  )
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert attributes == '' and 'aria-sort' in script
  assert text.count(f"script-src 'sha256-{digest}'\">") == 1


@MAKERS
def test_everything_is_escaped(make):
  text = make([_EVIL], _EVIL)
  assert text.count('<script') == 1  # the page's own
  assert text.count('&lt;script&gt;') >= 6


@MAKERS
def test_every_id_that_is_linked_exists(make):
  tags = Page(make()).tags
  ids = [a['id'] for _, a in tags if 'id' in a]
  assert len(set(ids)) == len(ids)
  links = [str(a['href']) for tag, a in tags if tag == 'a']
  linked = {link[1:] for link in links if link.startswith('#')}
  assert linked and linked <= set(ids)


@MAKERS
def test_tables_have_captions_and_scopes(make):
  page = Page(make())
  names = [tag for tag, _ in page.tags]
  assert names.count('table') == names.count('caption') > 0
  headings = [a for tag, a in page.tags if tag == 'th']
  assert all(a['scope'] in ('row', 'col') for a in headings)


def test_a_figure_that_is_no_png_is_refused():
  with pytest.raises(ValueError, match="figure 'curves' to be a PNG"):
    html_page.embedded('curves', b'<svg>')
