"""Pages of what is kept on a server, as the hosted API's lists have them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from steelyard.core import Json
from steelyard.errors import RequestError
from steelyard.serve import wire


class Listing(wire.Strict):
    """How much of a list is shown, from where on."""

    after: str | None = Field(None, max_length=200)
    limit: int = Field(20, ge=1, le=100)


class Ordered(Listing):
    """A list that can be turned round, and read backwards."""

    before: str | None = Field(None, max_length=200)
    order: Literal["asc", "desc"] = "desc"


def listed(items: Sequence[dict[str, Json]], asked: Listing) -> dict[str, Json]:
    """A page of things that have ids, given the newest first.

    Raises:
        RequestError: `after` or `before` is none of them.
    """
    before = None
    rows = list(items)
    if isinstance(asked, Ordered):
        before = asked.before
        if asked.order == "asc":
            rows.reverse()
    first = 0 if asked.after is None else _place(rows, asked.after, "after") + 1
    last = len(rows) if before is None else _place(rows, before, "before")
    shown = rows[first:last][: asked.limit]
    if before is not None and asked.after is None:
        shown = rows[max(0, last - asked.limit) : last]
    more = first + len(shown) < last if before is None else len(shown) < last - first
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": more,
    }


def _place(rows: Sequence[dict[str, Json]], id: str, param: str) -> int:
    for place, row in enumerate(rows):
        if row["id"] == id:
            return place
    raise RequestError(f"nothing in this list has the id {id[:100]}", param=param)


def unix(time_text: str) -> int:
    """A time as rows have it in Unix seconds."""
    return int(datetime.fromisoformat(time_text).timestamp())
