"""Hooks of mkdocs: pages ask no other server for anything."""

import re
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

# Equations as GitHub takes them: a block, and within a line.
_BLOCK = re.compile(r'^```math\n(.*?)\n```$', flags=re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r'\$`(.+?)`\$')
_NAME = re.compile('(?<=<code)>([^<]+)(?=</code>)')
_BREAK = re.compile(r'[ _./=:](?=\S)')
_REMOTE = re.compile(
  r'<(?:script|img|iframe|link rel="(?:stylesheet|preconnect)")[^>]*'
  r'(?:src|href)="(?:https?:)?//[^"]*"'
)


def on_page_markdown(markdown: str, **_: Any) -> str:
  """The page with its equations as MathML, which needs no script."""
  markdown = _BLOCK.sub(
    lambda found: (
      f'<div class="equation">{convert(found[1], display="block")}</div>'
    ),
    markdown,
  )
  # Within a span, since Markdown takes <math> for a block of its own.
  return _INLINE.sub(
    lambda found: f'<span>{convert(found[1])}</span>', markdown
  )


def on_page_content(html: str, page: Any, **_: Any) -> str:
  """The page with names that break between words, and the keys shown."""
  html = _NAME.sub(
    lambda found: ' class="name">' + _BREAK.sub(r'\g<0><wbr>', found[1]), html
  )
  if page.file.src_uri == 'configuration.md':
    # The keys are a function's source.
    details = '<details class="mkdocstrings-source"'
    html = html.replace(details, f'{details} open')
  return html


def on_post_page(output: str, page: Any, **_: Any) -> str:
  """The page, unless it needs a network.

  Raises:
    PluginError: names the page and what it asks for.
  """
  remote = _REMOTE.search(output)
  if remote:
    raise PluginError(
      f'{page.file.src_uri} must not ask another server for anything; got '
      f'{remote[0]}'
    )
  return output
