"""What tests read of pages."""

import html.parser


class Page(html.parser.HTMLParser):
  """Tags with their attributes, and the text of every table cell."""

  def __init__(self, text: str):
    super().__init__()
    self.tags: list[tuple[str, dict[str, str | None]]] = []
    self.cells: list[str] = []
    self._open: list[str] = []
    self.feed(text)

  def handle_starttag(
    self, tag: str, attrs: list[tuple[str, str | None]]
  ) -> None:
    self.tags.append((tag, dict(attrs)))
    self._open.append(tag)
    if tag in ('td', 'th'):
      self.cells.append('')

  def handle_endtag(self, tag: str) -> None:
    while self._open and self._open.pop() != tag:
      pass

  def handle_data(self, data: str) -> None:
    if {'td', 'th'} & set(self._open):
      self.cells[-1] += data
