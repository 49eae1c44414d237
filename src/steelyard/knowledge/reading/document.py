"""What reading gives: documents, the files they come from, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from steelyard.core import Json

TITLE_CHARACTERS = 300  # Source: ours


def title_of(path: str) -> str:
    """The title of a document that has none of its own: the name of its file.

    >>> title_of("handbook/fees.md")
    'fees'
    """
    return Path(path).stem[:TITLE_CHARACTERS]


class Heading(NamedTuple):
    """A heading: `text[start:]` of its document begins with `title`. Level 1 is the highest."""

    level: int
    title: str
    start: int


@dataclass(frozen=True, slots=True)
class Document:
    """One text, and what its file says about it.

    `id` is the path of the file below the folder that was given, with `/`; for a row of a data
    file its `doc_id` or `id` column, or else "file#row". Every offset counts characters of
    `text`, whose lines end in "\\n". `pages` are the offsets at which the pages of a PDF begin.
    `valid_from` and `valid_to` are ISO 8601 (`YYYY-MM-DD`, with a time if one was given, in UTC).
    """

    id: str
    title: str
    text: str
    format: str
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    valid_from: str | None = None
    valid_to: str | None = None
    tenant: str | None = None
    user: str | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> list[Json]:
        """The fields in their order; `Document.from_json` is the way back."""
        return [getattr(self, name) for name in self.__dataclass_fields__]

    @classmethod
    def from_json(cls, fields: Sequence[Json]) -> Document:
        """A document from what `to_json` gave, after a way through JSON."""
        identity, title, text, form, headings, pages, *rest = fields
        return cls(
            identity, title, text, form, tuple(Heading(*h) for h in headings), tuple(pages), *rest
        )


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read, and the folder it was found under (the parent of a file given itself)."""

    path: Path
    root: Path
    size_bytes: int
    modified_ns: int

    @property
    def id(self) -> str:
        """The path below the root, with `/` on every system."""
        return self.path.relative_to(self.root).as_posix()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or the rest of one, that was not read: what is wrong, and what to do."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ReadingLimits:
    """What reading may take. Source of the numbers: ours; a thick book has 2 million characters.

    `memory_bytes` is the address space of the reading process. `seconds` is how long it may let
    its parent wait: for a whole file, or for the next rows of a data file. `characters` are of
    the text of one document, and of one row of a data file.
    """

    memory_bytes: int = 1_000_000_000
    seconds: float = 120.0
    characters: int = 10_000_000
