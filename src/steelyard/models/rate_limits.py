"""What a server's headers say about when it may be asked again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# What is left, and when there is more: OpenAI's names, and those of the IETF's draft.
# Source: OpenAI, "Rate limits in headers"; draft-ietf-httpapi-ratelimit-headers-07, 6.1
PAIRS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("ratelimit-remaining", "ratelimit-reset"),
)
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
NUMBER = re.compile(r"\d+(\.\d+)?")


class Gate:
    """Shut while a server said that it is not to be asked."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def hear(self, headers: Mapping[str, str]) -> float:
        """Shut it for as long as these headers ask for, which are the seconds that come back."""
        seconds = advised_seconds(headers)
        self._until = max(self._until, self._clock() + seconds)
        return seconds

    @property
    def seconds_left(self) -> float:
        """How long it stays shut."""
        return max(0.0, self._until - self._clock())


def advised_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """How long a server asks to be left alone; 0 where it does not, or says it in no known way.

    Names of headers are in small letters.

    >>> advised_seconds({"retry-after": "7"})
    7.0
    >>> advised_seconds({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m2s"})
    62.0
    """
    advised = [
        _number(headers.get("retry-after-ms")) / 1000,  # Source: OpenAI's and Azure's servers
        _retry_after(headers.get("retry-after"), now or datetime.now(UTC)),
    ]
    for left, reset in PAIRS:
        if headers.get(left, "").strip() == "0":
            advised.append(duration(headers.get(reset, "")))
    return max(advised)


def duration(text: str) -> float:
    """The seconds of a duration such as "6m0s", "20ms" or "1.5"; 0 for anything else.

    >>> duration("1h0m1.5s")
    3601.5
    >>> duration("soon")
    0.0
    """
    text = text.strip()
    if NUMBER.fullmatch(text):
        return float(text)
    parts = PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        return 0.0
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def _retry_after(text: str | None, now: datetime) -> float:
    """Seconds, or a date. Source: RFC 9110, 10.2.3"""
    if text is None or NUMBER.fullmatch(text.strip()):
        return _number(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def _number(text: str | None) -> float:
    found = NUMBER.fullmatch((text or "").strip())
    return float(found[0]) if found else 0.0
