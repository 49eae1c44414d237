"""One file on its way to a document: what every reader is given, and builds its result with."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from steelyard.core import Json
from steelyard.errors import DataError
from steelyard.knowledge.reading.document import (
    TITLE_CHARACTERS,
    Document,
    Heading,
    ReadingLimits,
    title_of,
)
from steelyard.tasks.dates import iso_time

MOST_HEADINGS = 10_000  # Source: ours; more than any book has, and they are held in memory
_YEAR_OR_MONTH = re.compile(r"(\d{4})(?:-(\d\d))?")
# One character for one, so that no offset moves: line ends first, then what text may not hold.
_UNWANTED = {c: " " for c in range(32) if chr(c) not in "\t\n"} | {11: "\n", 12: "\n", 127: " "}
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNWANTED_SEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Source:
    """A file, the id its document gets, and how much of it may be read."""

    path: Path
    id: str
    limits: ReadingLimits = ReadingLimits()

    def too_long(self) -> DataError:
        return DataError(
            f"it has more than {self.limits.characters:,} characters of text. "
            "Split it into smaller files."
        )

    def document(
        self,
        text: str,
        format: str,
        *,
        id: str | None = None,
        headings: Sequence[Heading] = (),
        pages: Sequence[int] = (),
        about: Mapping[str, Json] | None = None,
    ) -> Document:
        """A document of this file. `about` is what is said of it: columns, or front matter.

        From `about` the title, the dates, tenant and user are taken; the rest is metadata.

        Raises:
            DataError: there is no text, too much of it, or a date that is none.
        """
        if not text.strip():
            raise DataError("there is no text in it. Remove it, or fill it.")
        if len(text) > self.limits.characters:
            raise self.too_long()
        known: dict[str, Any] = dict.fromkeys(_KNOWN)
        metadata: dict[str, Json] = {}
        for key, value in (about or {}).items():
            if value is None or value == "":
                continue
            if (name := key.strip().lower()) in _KNOWN and known[name] is None:
                known[name] = one_line(str(value))
            else:
                metadata[key] = value
        first = headings[0].title if headings else title_of(self.id)
        title = known["title"] or first
        for name, last_day in (("valid_from", False), ("valid_to", True)):
            if known[name] is not None:
                known[name] = iso_date(known[name], name, last_day=last_day)
        return Document(
            id=id or self.id,
            title=title[:TITLE_CHARACTERS],
            text=text,
            format=format,
            headings=tuple(headings[:MOST_HEADINGS]),
            pages=tuple(pages),
            valid_from=known["valid_from"],
            valid_to=known["valid_to"],
            tenant=known["tenant"],
            user=known["user"],
            metadata=metadata,
        )


_KNOWN = ("title", "valid_from", "valid_to", "tenant", "user")


def iso_date(value: str, name: str, *, last_day: bool = False) -> str:
    """A date as it is kept. A year or month alone is its first day, or its last one.

    >>> iso_date("2020", "valid_from"), iso_date("2020-02", "valid_to", last_day=True)
    ('2020-01-01', '2020-02-29')
    >>> iso_date("2020-05-01T12:00:00+02:00", "valid_from")
    '2020-05-01T10:00:00'

    Raises:
        DataError: it is no ISO date.
    """
    value = value.strip()
    try:
        if part := _YEAR_OR_MONTH.fullmatch(value):
            year, month = int(part[1]), int(part[2] or (12 if last_day else 1))
            return date(year, month, monthrange(year, month)[1] if last_day else 1).isoformat()
        return iso_time(value)
    except (ValueError, OverflowError):  # a month 13, a time zone before year 1
        raise DataError(
            f'{name} is "{value[:40]}". Expected an ISO date such as 2020-05-01. Correct it.'
        ) from None


def tidy(text: str) -> str:
    """The text as it is kept: lines end in "\\n", no control characters, no half characters.

    >>> tidy("a\\r\\nb\\rc\\x00d")
    'a\\nb\\nc d'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _UNWANTED_SEEN.search(text):
        text = text.translate(_UNWANTED)
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def one_line(text: str) -> str:
    """The text with every run of white space as one space, for titles."""
    return " ".join(tidy(text).split())
