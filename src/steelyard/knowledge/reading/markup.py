"""Plain text, Markdown and reStructuredText: kept as they are written, their headings found.

A heading's offset is that of its words, behind `#` signs or below an overline.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from steelyard.core import Json
from steelyard.knowledge.reading.document import Document, Heading
from steelyard.knowledge.reading.source import Source
from steelyard.knowledge.reading.text import read_text


def read_plain(source: Source) -> Iterator[Document]:
    """One document without headings."""
    yield source.document(read_text(source), "text")


def read_markdown(source: Source) -> Iterator[Document]:
    """One document; front matter is taken off and says the title, the dates and whose it is."""
    about, text = front_matter(read_text(source))
    yield source.document(text, "markdown", headings=markdown_headings(text), about=about)


def read_rst(source: Source) -> Iterator[Document]:
    """One document. Directives stay text: nothing is included."""
    text = read_text(source)
    yield source.document(text, "rst", headings=rst_headings(text))


# ---------------------------------------------------------------- Markdown

_FRONT = re.compile(
    r"---[ \t]*\n((?:(?!---[ \t]*\n|---[ \t]*\Z)[^\n]*\n){0,200})---[ \t]*(?:\n|\Z)"
)
_PAIR = re.compile(r"([A-Za-z_][\w -]*):(?:[ \t]+(.*))?")


def front_matter(text: str) -> tuple[dict[str, Json], str]:
    """What stands between two `---` lines at the top, and the text below them.

    Only `key: value` lines are understood; lists and tables are passed over. Anything else
    there, and it was no front matter.

    >>> front_matter('---\\ntitle: "Old rules"\\nyear: 2020\\ntags: [a, b]\\n---\\nText')
    ({'title': 'Old rules', 'year': 2020}, 'Text')
    >>> front_matter("---\\nA quotation\\n---\\nText")
    ({}, '---\\nA quotation\\n---\\nText')
    """
    found = _FRONT.match(text)
    if not found:
        return {}, text
    about: dict[str, Json] = {}
    for line in found.group(1).splitlines():
        if not line.strip() or line.startswith(("#", " ", "\t", "-")):
            continue
        pair = _PAIR.fullmatch(line.rstrip())
        if not pair:
            return {}, text
        value = _scalar((pair[2] or "").strip())
        if value is not None:
            about[pair[1].strip()] = value
    return about, text[found.end() :]


def _scalar(value: str) -> str | int | float | bool | None:
    if value[:1] in ("[", "{", "|", ">", "&", "*", "!"):
        return None
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    value = re.split(r"\s#", value, maxsplit=1)[0].rstrip()
    if re.fullmatch(r"-?(0|[1-9]\d{0,17})(\.\d{1,17})?|true|false", value):
        plain: int | float | bool = json.loads(value)
        return plain
    return value or None


_MARKDOWN = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}|~{3,})(?P<info>[^\n]*)"
    r"|(?P<hashes>\#{1,6})[ \t]+(?P<title>[^\n]+)"
    r"|(?P<under>=+|-+)[ \t]*$)",
    re.MULTILINE,
)
_NOT_A_TITLE = re.compile(r"\s*$| {4}|\t| {0,3}(?:[>|#<]|[-*+][ \t]|\d+[.)][ \t]|-{3,}|={3,})")


def markdown_headings(text: str) -> list[Heading]:
    """Headings with `#` and headings underlined, outside fenced code.

    >>> markdown_headings("# One #\\n\\nTwo\\n---\\n")
    [Heading(level=1, title='One', start=2), Heading(level=2, title='Two', start=9)]
    """
    headings = []
    fence = ""
    for line in _MARKDOWN.finditer(text):
        if line["fence"]:
            if not fence:
                if line["fence"][0] == "~" or "`" not in line["info"]:
                    fence = line["fence"]
            elif line["fence"].startswith(fence) and not line["info"].strip():
                fence = ""
        elif fence:
            continue
        elif line["hashes"]:
            title = _without_closing(line["title"])
            if title:
                headings.append(Heading(len(line["hashes"]), title, line.start("title")))
        else:
            end = line.start() - 1
            start = text.rfind("\n", 0, max(end, 0)) + 1
            above = text[start:end] if end > 0 else ""
            if not _NOT_A_TITLE.match(above) and (start < 2 or text[start - 2] == "\n"):
                title = above.strip()
                level = 1 if line["under"][0] == "=" else 2
                headings.append(Heading(level, title, start + above.index(title)))
    return headings


def _without_closing(title: str) -> str:
    title = title.rstrip()
    opened = title.rstrip("#")
    return opened.rstrip() if not opened or opened[-1] in " \t" else title


# ---------------------------------------------------------------- reStructuredText

_RST = re.compile(
    r"^(?P<over>([!-/:-@\[-`{-~])\2+)[ \t]*\n[ \t]*(?P<below>\S[^\n]*)\n(?P=over)[ \t]*$"
    r"|^(?P<title>[^\s][^\n]*)\n(?P<under>([!-/:-@\[-`{-~])\6*)[ \t]*$",
    re.MULTILINE,
)


def rst_headings(text: str) -> list[Heading]:
    """Titles by their underlines, with an overline or without.

    The levels are in the order in which the kinds of line first appear, as docutils has it.

    >>> rst_headings("====\\nBook\\n====\\n\\nFirst\\n-----\\n")
    [Heading(level=1, title='Book', start=5), Heading(level=2, title='First', start=16)]
    """
    kinds: list[tuple[str, bool]] = []
    headings = []
    position = 0
    while line := _RST.search(text, position):
        position = line.end()
        over = line["over"] is not None
        name = "below" if over else "title"
        title, start = line[name].rstrip(), line.start(name)
        drawn = line["over"] or line["under"]
        blank_above = start < 2 or text[start - 2] == "\n"
        if len(drawn) < min(len(title), 4) or not (over or blank_above) or _is_drawn(title):
            position = line.end("title") if not over else line.end("over")
            continue
        kind = (drawn[0], over)
        if kind not in kinds:
            kinds.append(kind)
        headings.append(Heading(kinds.index(kind) + 1, title, start))
    return headings


def _is_drawn(title: str) -> bool:
    """Whether the words above a line are a line themselves."""
    return not any(character.isalnum() for character in title)
