"""What a knowledge base can be asked, whatever keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from steelyard.core import Json, Passage

Kind = Literal["lexical", "vector", "hybrid"]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which passages a question may see; whatever is outside it is never read.

    Without a tenant only passages of no tenant are seen, and with one only that tenant's.
    A user sees their own passages and those of nobody; without a user, those of nobody.
    `as_of` (ISO 8601) leaves what held then; without it, what holds now or has no dates;
    `any_time` leaves everything, whatever its dates.
    `metadata` must be equal, key by key. `documents` leaves only passages of these, also where a
    passage of another document stands for theirs.
    """

    tenant: str | None = None
    user: str | None = None
    as_of: str | None = None
    any_time: bool = False
    metadata: Mapping[str, Json] = field(default_factory=dict)
    documents: frozenset[str] | None = None


class Index(Protocol):
    """Passages that can be searched. SQLite is the first; others can stand behind it.

    `fingerprint` names everything that decides what a search returns.
    """

    @property
    def fingerprint(self) -> str: ...

    @property
    def is_dated(self) -> bool:
        """Whether anything in it holds for a time only."""
        ...

    def search(
        self, queries: Sequence[str], k: int, *, kind: Kind = "hybrid", scopes: Sequence[Scope] = ()
    ) -> list[list[Passage]]:
        """The k best passages for each query, best first; fewer where fewer fit.

        `scopes` has one scope per query, or is empty: then each is `Scope()`.
        """
        ...

    def passages(self, scope: Scope) -> list[Passage]:
        """All passages of a scope, in the order of documents and places."""
        ...
