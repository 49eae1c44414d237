"""DOCX → text: a zip whose sizes are checked, and XML in which nothing may be defined.

Only the three files that hold the text, the styles and the title are unzipped, as a stream.
Headers, footers, footnotes and comments are not part of the text.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from xml.parsers import expat

from steelyard.errors import DataError
from steelyard.knowledge.reading.blocks import CELLS, Blocks
from steelyard.knowledge.reading.document import Document
from steelyard.knowledge.reading.source import Source, one_line, tidy

_TEXT, _STYLES, _PROPERTIES = "word/document.xml", "word/styles.xml", "docProps/core.xml"
# Source: ours. Word writes 10 to 30 bytes of XML for a character of text; a zip can shrink such
# XML to a thousandth.
XML_PER_CHARACTER = 50
MOST_XML_BYTES = 500_000_000
MOST_FILES = 10_000
MOST_DEPTH = 256  # Source: ours; a table in a table in a table is at depth 20
CHUNK_BYTES = 1 << 16
# An older spelling of what stands beside it, and a text at the place it was moved away from.
_READ_ELSEWHERE = ("Fallback", "moveFrom")
_MARKS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_HEADING = re.compile(r"heading ([1-9])", re.IGNORECASE)

_Start = Callable[[str, dict[str, str]], None]


def read_docx(source: Source) -> Iterator[Document]:
    """One document.

    Raises:
        DataError: it is no DOCX, or a hostile one.
    """
    try:
        with zipfile.ZipFile(source.path) as archive:
            names = set(archive.namelist())
            if len(names) > MOST_FILES:
                raise DataError(f"it holds more than {MOST_FILES:,} files. Save it again.")
            if _TEXT not in names:
                raise DataError("it is a zip file but no DOCX. Name it by the type it has.")
            styles, properties, body = _Styles(), _Properties(), _Body(source)
            if _STYLES in names:
                _parse(archive, _STYLES, styles, source)
            if _PROPERTIES in names:
                _parse(archive, _PROPERTIES, properties, source)
            body.levels = styles.levels
            _parse(archive, _TEXT, body, source)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(
            f"it is no DOCX, or a broken one ({error}). Save it again from the program it came "
            "from."
        ) from None
    yield body.blocks.document("docx", title=one_line(properties.title) or None)


class _Handler:
    """Is told of every element, by its local name, and of the characters between them."""

    def start(self, name: str, attributes: dict[str, str]) -> None: ...

    def end(self, name: str) -> None: ...

    def characters(self, data: str) -> None: ...


class _Properties(_Handler):
    title = ""
    _inside = False

    def start(self, name: str, attributes: dict[str, str]) -> None:  # noqa: ARG002
        self._inside = name == "title"

    def end(self, name: str) -> None:  # noqa: ARG002
        self._inside = False

    def characters(self, data: str) -> None:
        if self._inside:
            self.title = (self.title + data)[:1000]


class _Styles(_Handler):
    """Which styles are headings: by their English name, which every Word writes."""

    def __init__(self) -> None:
        self.levels: dict[str, int] = {}
        self._style = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "style":
            self._style = attributes.get("styleId", "")
        elif name == "name" and (found := _HEADING.fullmatch(attributes.get("val", "").strip())):
            self.levels[self._style] = int(found[1])
        elif name == "outlineLvl" and attributes.get("val", "") in tuple("012345678"):
            self.levels.setdefault(self._style, int(attributes["val"]) + 1)


class _Body(_Handler):
    """Paragraphs and tables. A table inside a cell becomes lines of that cell."""

    def __init__(self, source: Source) -> None:
        self.blocks = Blocks(source)
        self.levels: dict[str, int] = {}
        self._paragraphs: list[list[str]] = []  # the open ones: text boxes hold paragraphs too
        self._level = 0
        self._in_text = False
        self._skipped = 0  # how deep inside what is read elsewhere
        self._rows: list[list[list[str]]] = []  # rows of cells of lines, the innermost last
        self._after = "\n\n"

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name in _READ_ELSEWHERE or self._skipped:
            self._skipped += 1
        elif name == "p":
            self._paragraphs.append([])
            self._level = 0
        elif name == "pStyle":
            self._level = self.levels.get(attributes.get("val", ""), 0)
        elif name == "outlineLvl" and attributes.get("val", "") in tuple("012345678"):
            self._level = int(attributes["val"]) + 1
        elif name == "t":
            self._in_text = True
        elif name in _MARKS:
            if self._paragraphs:  # tab stops stand before the text, and are stripped
                self._paragraphs[-1].append(_MARKS[name])
        elif name == "tr":
            self._rows.append([])
        elif name == "tc" and self._rows:
            self._rows[-1].append([])

    def end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
        elif name == "t":
            self._in_text = False
        elif name == "p" and self._paragraphs:
            self._paragraph(tidy("".join(self._paragraphs.pop())).strip())
        elif name == "tr" and self._rows:
            cells = ["\n".join(lines) for lines in self._rows.pop()]
            row = CELLS.join(cells).strip() if any(cells) else ""
            if self._rows and self._rows[-1]:
                self._rows[-1][-1].append(row)
            elif row:
                self.blocks.add(row, after=self._after)
                self._after = "\n"
        elif name == "tbl" and not self._rows:
            self._after = "\n\n"

    def characters(self, data: str) -> None:
        if self._in_text and self._paragraphs and not self._skipped:
            self._paragraphs[-1].append(data)

    def _paragraph(self, text: str) -> None:
        if self._rows and self._rows[-1]:
            if text:
                self._rows[-1][-1].append(text)
        elif self._level:
            self.blocks.add(one_line(text), level=self._level)
        else:
            self.blocks.add(text)
        self._level = 0


def _parse(archive: zipfile.ZipFile, name: str, handler: _Handler, source: Source) -> None:
    """Unzip and parse one file of the archive a piece at a time.

    Raises:
        DataError: it is larger or more deeply nested than any document, or defines entities.
    """
    most = min(source.limits.characters * XML_PER_CHARACTER, MOST_XML_BYTES)
    member = archive.getinfo(name)
    if member.flag_bits & 1:
        raise DataError("it is encrypted. Save it without a password.")
    if member.file_size > most:
        raise DataError(
            f"{name} in it unzips to more than {most:,} bytes: too long a document, or a zip "
            "bomb. Split it, or leave it out."
        )
    parser = _parser(handler)
    try:
        with archive.open(member) as file:
            # Never gives more than the size that was declared: a lie ends as broken XML.
            while data := file.read(CHUNK_BYTES):
                parser.Parse(data, False)
        parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise DataError(
            f"{name} in it is not valid XML ({error}). Save it again from the program it came from."
        ) from None


def _parser(handler: _Handler) -> Any:
    parser = expat.ParserCreate(namespace_separator=" ")
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > MOST_DEPTH:
            raise DataError(f"its XML is nested more than {MOST_DEPTH} deep. Leave it out.")
        handler.start(_local(name), {_local(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        handler.end(_local(name))

    def refuse(*_: object) -> None:
        raise DataError("its XML defines a document type, which no DOCX needs. Leave it out.")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = handler.characters
    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    return parser


def _local(name: str) -> str:
    return name.rpartition(" ")[2]
