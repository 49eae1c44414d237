"""Documents cut into passages: along headings and pages, then paragraphs, then sentences.

    # Fees                            headings          passage
    A transfer costs two euros.       Fees              # Fees⏎A transfer costs two euros.
    # Cards                           Cards, Lost       # Cards⏎## Lost⏎Call us at once.
    ## Lost
    Call us at once.

A passage holds the text of one section on one page and is `text[start:end]` of its document.
Passages follow one another, never overlap, and leave out nothing but blanks. A heading without
text of its own goes with the deeper one that follows it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from steelyard.core import Passage
from steelyard.knowledge.reading import Document

# Source: 100 words are the passages of DPR (Karpukhin et al. 2020, arXiv:2004.04906, 4.1). With
# about 1.3 tokens a word they fit the 256 tokens that all-MiniLM-L6-v2 reads.
MAX_WORDS = 100
MAX_CHARACTERS = 900  # the same for text without blanks: tables, addresses, scripts without words
CUTTING = 1  # the version of these rules: with another one every document is cut again

PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n\s*")
SEPARATORS = (PARAGRAPH, SENTENCE)
WORD = re.compile(r"\S+")
MARKUP = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class _Section:
    """A stretch of text under one path of headings, on one page."""

    start: int
    end: int
    headings: tuple[str, ...]
    page: int | None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of text that is not divided any more, without blanks at its ends."""

    start: int
    end: int
    words: int

    @property
    def fits(self) -> bool:
        return _size(self.words, self.end - self.start) <= 1


def cut(document: Document) -> list[Passage]:
    """The passages of a document, in order."""
    text = document.text
    return [
        Passage(
            document=document.id,
            start=start,
            end=end,
            text=text[start:end],
            title=document.title,
            headings=section.headings,
            page=section.page,
            time=document.valid_from,
        )
        for section in _sections(document)
        for start, end in _pack(list(_pieces(text, section.start, section.end, SEPARATORS)))
    ]


def _sections(document: Document) -> Iterator[_Section]:
    """The stretches that no passage crosses, from the first character to the last."""
    text, pages = document.text, sorted(document.pages)
    levels = {_line_start(text, start): (level, title) for level, title, start in document.headings}
    breaks = {start for start in (*levels, *pages) if 0 < start < len(text)}
    path: list[tuple[int, str]] = []
    waiting: _Section | None = None  # headings whose text is still to come
    for start, end in pairwise(sorted({0, *breaks, len(text)})):
        level, title = levels.get(start, (0, ""))
        deeper = bool(level and path) and level > path[-1][0]
        if waiting is not None and (start in pages or not deeper):
            yield waiting
            waiting = None
        if level:
            path = [*(above for above in path if above[0] < level), (level, title)]
        section = _Section(
            start if waiting is None else waiting.start,
            end,
            tuple(name for _, name in path),
            max(1, bisect_right(pages, start)) if pages else None,
        )
        if level and _says_no_more_than(text[start:end], title):
            waiting = section
        else:
            yield section
            waiting = None
    if waiting is not None:
        yield waiting


def _line_start(text: str, heading: int) -> int:
    """Where the heading's line begins, if there is only markup before its title."""
    start = text.rfind("\n", 0, heading) + 1
    return start if MARKUP.fullmatch(text, start, heading) else heading


def _says_no_more_than(text: str, title: str) -> bool:
    return MARKUP.sub("", text) == MARKUP.sub("", title)


def _pieces(
    text: str, start: int, end: int, separators: Sequence[re.Pattern[str]]
) -> Iterator[_Piece]:
    """Whole if it is small enough, else divided by the first separator, and so on."""
    piece = _trimmed(text, start, end)
    if piece is None:
        return
    if piece.fits:
        yield piece
    elif not separators:
        yield from _hard(text, piece.start, piece.end)
    else:
        start = piece.start
        for found in separators[0].finditer(text, piece.start, piece.end):
            yield from _pieces(text, start, found.start(), separators[1:])
            start = found.end()
        yield from _pieces(text, start, piece.end, separators[1:])


def _hard(text: str, start: int, end: int) -> Iterator[_Piece]:
    """A sentence too long for one passage: as many whole words as fit, or part of a long one."""
    while rest := _trimmed(text, start, end):
        stop = min(end, rest.start + MAX_CHARACTERS)
        words = [found.end() for found in WORD.finditer(text, rest.start, stop)][:MAX_WORDS]
        broken = words[-1] == stop < end and not text[stop].isspace()
        if broken and len(words) > 1:
            words.pop()
        yield _Piece(rest.start, words[-1], len(words))
        start = words[-1]


def _trimmed(text: str, start: int, end: int) -> _Piece | None:
    """The stretch without the blanks at its ends; None if it is nothing else."""
    inside = text[start:end]
    words = len(inside.split())
    if not words:
        return None
    start = end - len(inside.lstrip())
    return _Piece(start, start + len(inside.strip()), words)


def _pack(pieces: Sequence[_Piece]) -> Iterator[tuple[int, int]]:
    """Neighbouring pieces joined to passages of about the same size, none too large."""
    before = [0, *accumulate(piece.words for piece in pieces)]

    def size(first: int, last: int) -> float:
        return _size(before[last + 1] - before[first], pieces[last].end - pieces[first].start)

    first = 0
    while first < len(pieces):
        rest = size(first, len(pieces) - 1)
        goal = rest / math.ceil(rest)
        last = first
        while last + 1 < len(pieces):
            longer = size(first, last + 1)
            if longer > 1 or longer - goal > goal - size(first, last):
                break
            last += 1
        yield pieces[first].start, pieces[last].end
        first = last + 1


def _size(words: int, characters: int) -> float:
    """How much of a passage is full: 1 is all of it."""
    return max(words / MAX_WORDS, characters / MAX_CHARACTERS)
