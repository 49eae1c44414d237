"""Scopes as SQL: the one place that decides which documents a question may see."""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from steelyard.knowledge.index import Scope

VISIBLE = "document.tenant = :tenant AND document.user IN ('', :user)"
HOLDS = " AND document.valid_from <= :as_of AND :as_of < document.valid_to"


def register(connection: sqlite3.Connection) -> None:
    """Teach a connection what `where` uses."""
    connection.create_function("has_metadata", 2, _has_metadata, deterministic=True)


def where(scope: Scope) -> tuple[str, dict[str, str]]:
    """The condition on `document` and its values; without `any_time`, `as_of` must be set.

    >>> where(Scope(user="ann", as_of="2024-05-01"))[1]
    {'tenant': '', 'user': 'ann', 'as_of': '2024-05-01'}
    """
    condition = VISIBLE
    values = {"tenant": scope.tenant or "", "user": scope.user or ""}
    if not scope.any_time:
        assert scope.as_of is not None
        condition += HOLDS
        values["as_of"] = scope.as_of
    if scope.metadata:
        condition += " AND has_metadata(document.metadata, :metadata)"
        values["metadata"] = json.dumps(dict(scope.metadata))
    if scope.documents is not None:
        condition += " AND document.id IN (SELECT value FROM json_each(:documents))"
        values["documents"] = json.dumps(sorted(scope.documents))
    return condition, values


def settled(scope: Scope, dates: Sequence[str], now: str) -> Scope:
    """The same scope with the last of the base's `dates` that is not after its own.

    Nothing begins or ends in between, so all scopes that see the same become equal.

    >>> settled(Scope(as_of="2024-05-01"), ["", "2023", "2025"], "2026").as_of
    '2023'
    """
    as_of = now if scope.as_of is None else scope.as_of
    at = bisect_right(dates, as_of)
    return replace(scope, as_of=dates[at - 1] if at else as_of)


def key(scope: Scope) -> str:
    """The same text for scopes that see the same; `where` has no other input."""
    return json.dumps(where(scope)[1], sort_keys=True)


def _has_metadata(held: str, wanted: str) -> bool:
    """Whether each wanted value is held, key by key; a missing one is null."""
    values = json.loads(held)
    return all(
        json.dumps(values.get(name), sort_keys=True) == json.dumps(value, sort_keys=True)
        for name, value in json.loads(wanted).items()
    )
