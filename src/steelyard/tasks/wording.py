"""How messages print values and counts."""

from __future__ import annotations

import json

from steelyard.core import Json


def shown(value: Json, width: int = 60) -> str:
    """A value as a message prints it: JSON, cut to `width` characters.

    >>> shown("x" * 100, width=8)
    '"xxxxxx…'
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= width else text[: width - 1] + "…"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "row"), count(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def money(usd: float | None) -> str:
    """US dollars with two significant figures, and no exponent.

    >>> money(0.00123), money(1.5), money(None)
    ('0.0012', '1.5', '')
    """
    if usd is None:
        return ""
    if usd == 0:
        return "0"
    if usd < 1e-6:
        return "<0.000001"
    return f"{usd:.2g}" if usd >= 1e-4 else f"{usd:.6f}"
