"""What of a text is shown: up to a stop, up to so many tokens, and where it cites."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from steelyard.knowledge.text import MARKS, cited


def visible(text: str, stops: Sequence[str], *, final: bool) -> tuple[str, bool]:
    """The text before the first stop, and whether one came.

    While the text still grows, an end that may become a stop is held back.

    >>> visible("one\\nEN", ["\\nEND"], final=False)
    ('one', False)
    >>> visible("one\\nEN", ["\\nEND"], final=True)
    ('one\\nEN', False)
    >>> visible("one\\nEND two", ["\\nEND", "two"], final=True)
    ('one', True)
    """
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if places:
        return text[: min(places)], True
    if final:
        return text, False
    held = max((_overlap(text, stop) for stop in stops), default=0)
    return text[: len(text) - held], False


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text a stop begins with."""
    sizes = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)


def at_most(text: str, limit: int, count: Callable[[str], int]) -> str:
    """The longest beginning of a text that has at most so many tokens.

    >>> at_most("one two three", 2, lambda text: len(text.split()))
    'one two '
    """
    if count(text) <= limit:
        return text
    low, high = 0, len(text)  # the beginning of length `low` fits
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(text[:middle]) <= limit else (low, middle)
    return text[:low]


def marks(text: str, num_sources: int) -> list[tuple[int, int, int]]:
    """Where a text cites which of its sources: (start, end, number from 1 on) of each mark.

    >>> marks("Ott built it [2]. So it is [9].", 2)
    [(13, 16, 2)]
    """
    return [
        (mark.start(), mark.end(), number)
        for mark in re.finditer(MARKS, text)
        for number in cited(mark[0])
        if 1 <= number <= num_sources
    ]
