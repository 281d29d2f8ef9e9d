"""Pages that open without a network: what reports and sweeps are rendered by.

Templates extend page_template.html. Everything is escaped, images are embedded,
nothing is fetched, and no script runs but page_sort.js.
"""

import base64
import hashlib
import os
import pathlib
from typing import Any, NamedTuple

import jinja2

Figure = str | os.PathLike[str] | bytes

_FOLDER = pathlib.Path(__file__).parent
_SCRIPT = 'page_sort.js'
_PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'


class Image(NamedTuple):
  """A figure as a page embeds it.

  Attributes:
    alt: its title, and what stands for it where it is not seen.
    caption: how to read it.
    uri: of `embedded`.
    is_wide: whether a narrow screen shows it larger than itself, to scroll.
    is_folded: whether it is shown when asked for.
  """

  alt: str
  caption: str
  uri: str
  is_wide: bool = False
  is_folded: bool = False


def render(template: str, **parts: Any) -> str:
  """The HTML of a template of this folder, filled with `parts`."""
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  script = (_FOLDER / _SCRIPT).read_text(encoding='utf-8')
  return environment.get_template(template).render(
    parts, script=script, script_hash=_hash(script)
  )


def embedded(name: str, figure: Figure) -> str:
  """A PNG as a data URI.

  Args:
    name: what errors call it.
    figure: its path or its bytes.

  Raises:
    ValueError: it is no PNG.
    OSError: it cannot be read.
  """
  if isinstance(figure, bytes):
    data, where = figure, 'bytes'
  else:
    data, where = pathlib.Path(figure).read_bytes(), str(figure)
  if not data.startswith(_PNG_SIGNATURE):
    raise ValueError(
      f'expected figure {name!r} to be a PNG, got {where} starting with '
      f'{data[:8]!r}'
    )
  return 'data:image/png;base64,' + base64.b64encode(data).decode('ascii')


def time(written: str) -> str:
  """A time of results.json, ISO 8601, for reading."""
  return written.replace('T', ' ').replace('+00:00', ' UTC')


def _hash(script: str) -> str:
  """What a content security policy allows a script by."""
  digest = hashlib.sha256(script.encode()).digest()
  return 'sha256-' + base64.b64encode(digest).decode('ascii')
