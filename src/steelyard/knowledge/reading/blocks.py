"""Text put together block by block, for formats whose files hold no plain text."""

from __future__ import annotations

from steelyard.core import Json
from steelyard.knowledge.reading.document import Document, Heading
from steelyard.knowledge.reading.source import Source

CELLS = " | "  # between the cells of a table's row


class Blocks:
    """Paragraphs, headings and rows of tables, in their order, with the headings' offsets."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._parts: list[str] = []
        self._length = 0
        self._headings: list[Heading] = []

    def add(self, text: str, *, level: int = 0, after: str = "\n\n") -> None:
        """Append a tidy text, `after` what came before; with a `level` it is a heading.

        Raises:
            DataError: the text is longer than the limit.
        """
        if not text.strip():
            return
        if self._parts:
            self._parts.append(after)
            self._length += len(after)
        if level:
            self._headings.append(Heading(level, text, self._length))
        self._parts.append(text)
        self._length += len(text)
        if self._length > self._source.limits.characters:
            raise self._source.too_long()

    def document(self, format: str, *, title: str | None) -> Document:
        """The document of all blocks.

        Raises:
            DataError: there are none.
        """
        about: dict[str, Json] = {"title": title}
        return self._source.document(
            "".join(self._parts), format, headings=self._headings, about=about
        )
