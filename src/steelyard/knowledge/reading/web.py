"""HTML → text: paragraphs, headings, lists and rows of tables. Nothing it links to is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from steelyard.knowledge.reading.blocks import CELLS, Blocks
from steelyard.knowledge.reading.document import Document
from steelyard.knowledge.reading.source import Source, one_line, tidy
from steelyard.knowledge.reading.text import read_text

_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?([\w.:-]{2,40})""", re.IGNORECASE)
_DROPPED = frozenset(("script", "style", "nav", "template", "noscript", "svg", "iframe", "object"))
_BLOCKS = """address article aside blockquote body caption center dd details div dl dt fieldset
figcaption figure footer form header hr html legend li main ol option p section select summary
table tbody tfoot thead tr ul"""
_BLOCK = frozenset(_BLOCKS.split())
_HEADING = {f"h{level}": level for level in range(1, 7)}
_CELL = "\0"  # marks the place between two cells until a row is whole; no tidy text holds it
_ITEM = "- "
_BETWEEN_CELLS = re.compile(rf"[ \n]?{_CELL}[ \n]?")
_LINE_END = re.compile(r" ?\n[ \n]*")
_SPACES = re.compile(r" +")
_SPACE = re.compile(r"[ \t\n\xa0]+")
# The parser of the standard library stops with an error at a `<![word` that it does not know.
_MARKED = re.compile(r"<!\[(?!(?:if|else|endif|cdata|temp|ignore|include|rcdata)\b)", re.IGNORECASE)


def read_html(source: Source) -> Iterator[Document]:
    """One document; scripts, styles and navigation are dropped."""
    text = _MARKED.sub("&lt;![", read_text(source, declared=_DECLARED))
    page = _Page(source, _DROPPED)
    page.read(text)
    # What was never closed would take the rest of the page with it: read it then.
    while unclosed := page.unclosed - {"script", "style"}:
        page = _Page(source, page.dropped - unclosed)
        page.read(text)
    yield page.blocks.document("html", title=one_line(page.title) or None)


class _Page(HTMLParser):
    """Gathers one line of pieces, and makes a block of it where the layout breaks it."""

    def __init__(self, source: Source, dropped: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks = Blocks(source)
        self.title = ""
        self.dropped = dropped
        self._inside: list[str] = []  # the open elements that are dropped
        self._line: list[str] = []
        self._level = 0  # of the heading that is open
        self._tables: list[bool] = []  # the open ones: whether a row of them is open
        self._in_title = False
        self._in_pre = False
        self._after = "\n\n"  # what stands between the block before and this one

    def read(self, text: str) -> None:
        self.feed(text)
        self.close()
        self._flush()

    @property
    def unclosed(self) -> set[str]:
        """The elements that were dropped up to the end of the page."""
        return set(self._inside)

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        if tag in self.dropped:
            self._inside.append(tag)
        if self._inside:
            return
        if tag == "title":
            self._in_title = not self.title
        elif tag in _HEADING:
            self._flush()
            self._level = _HEADING[tag]
        elif tag == "tr":
            self._end_row()
            if self._tables:
                self._tables[-1] = True
        elif tag in ("td", "th") and any(self._tables):
            self._line.append(_CELL)
        elif tag == "br":
            self._break()
        elif tag == "pre":
            self._flush()
            self._in_pre = True
        elif tag in _BLOCK:
            self._break_block()
            if tag == "li" and not any(self._tables):
                self._after = "\n"
                self._line.append(_ITEM)
            elif tag == "table":
                self._after = "\n\n"
                self._tables.append(False)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        if tag not in self.dropped:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._inside:
            if tag in self._inside:
                while self._inside.pop() != tag:
                    pass
            return
        if tag == "title":
            self._in_title = False
        elif tag in _HEADING:
            self._flush()
        elif tag == "tr":
            self._end_row()
        elif tag == "pre":
            self._flush()
            self._in_pre = False
        elif tag in _BLOCK:
            if tag == "table" and self._tables:
                self._end_row()
                self._tables.pop()
            self._break_block()
            if tag in ("table", "ul", "ol"):
                self._after = "\n\n"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = (self.title + data)[:1000]
        elif not self._inside:
            data = tidy(data)  # a character reference can spell what no text holds
            self._line.append(data if self._in_pre else _SPACE.sub(" ", data))

    def _break(self) -> None:
        if self._line and self._line[-1] != "\n":
            self._line.append("\n")

    def _break_block(self) -> None:
        """Between two blocks; inside a row of a table only between two lines."""
        if self._line == [_ITEM]:
            return
        if any(self._tables) or self._level:
            self._break()
        else:
            self._flush()

    def _end_row(self) -> None:
        self._flush()
        if self._tables and self._tables[-1]:
            self._tables[-1] = False
            self._after = "\n"

    def _flush(self) -> None:
        text, level = "".join(self._line), self._level
        self._line, self._level = [], 0
        if self._in_pre:
            text = text.replace(_CELL, CELLS).strip("\n").rstrip()
            level = 0
        else:
            text = _LINE_END.sub("\n", _SPACES.sub(" ", text))
            text = text.strip().removeprefix(_CELL)  # the first cell of a row
            is_empty = not text.strip(f" \n{_CELL}")
            text = "" if is_empty else _BETWEEN_CELLS.sub(CELLS, text).strip()
        if level:
            text = one_line(text).rstrip("¶ ")  # Sphinx ends its headings with a link
        if text and text != _ITEM.strip():
            self.blocks.add(text, level=level, after=self._after)
            self._after = "\n\n"
