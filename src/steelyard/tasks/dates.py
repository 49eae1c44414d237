"""Times in one spelling, so that comparing them as text compares them as times."""

from __future__ import annotations

from datetime import UTC, date, datetime


def iso_time(value: str) -> str:
    """An ISO 8601 date as it is, or a time in UTC without fractions and without its zone.

    >>> iso_time("2026-05-01"), iso_time("2026-05-01T12:00:00+02:00")
    ('2026-05-01', '2026-05-01T10:00:00')

    Raises:
        ValueError: it is neither.
    """
    value = value.strip()
    if len(value) == len("2026-05-01"):
        return date.fromisoformat(value).isoformat()
    time = datetime.fromisoformat(value)
    utc = time.astimezone(UTC) if time.tzinfo else time
    return utc.replace(tzinfo=None, microsecond=0).isoformat()
