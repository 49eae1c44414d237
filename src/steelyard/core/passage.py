"""What can be looked up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: `text` is the document's `text[start:end]`.

    `relevance` orders the passages of one search, larger first; its scale is that search's own.
    `time` is when what it says began to hold, if the document says so. `also` are further
    documents that say the same there, and for which this passage stands.
    """

    document: str
    start: int
    end: int
    text: str
    title: str = ""
    headings: tuple[str, ...] = ()
    page: int | None = None
    time: str | None = None
    relevance: float = 0.0
    also: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Names it for citations: the document and the characters of it."""
        return f"{self.document}:{self.start}-{self.end}"
