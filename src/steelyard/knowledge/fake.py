"""The fake index: passages in memory, found by the words they share with a query.

A deterministic stand-in for a knowledge base, for tests and dry runs. It keeps to `Scope` as any
index must, and searches the same way whatever the kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from steelyard.core import Json, Passage, digest
from steelyard.knowledge.index import Kind, Scope


@dataclass(frozen=True, slots=True)
class Held:
    """A passage, whose it is and when it holds."""

    passage: Passage
    tenant: str | None = None
    user: str | None = None
    valid_from: str = ""
    valid_to: str = "9"
    metadata: Mapping[str, Json] = field(default_factory=dict)

    @property
    def documents(self) -> tuple[str, ...]:
        """All documents that say it."""
        return self.passage.document, *self.passage.also

    def is_in(self, scope: Scope, now: str) -> bool:
        """Whether a question of this scope may see it."""
        when = scope.as_of or now
        return (
            self.tenant == scope.tenant
            and self.user in (None, scope.user)
            and (scope.any_time or self.valid_from <= when < self.valid_to)
            and all(self.metadata.get(key) == value for key, value in scope.metadata.items())
            and (scope.documents is None or not scope.documents.isdisjoint(self.documents))
        )


@dataclass(frozen=True)
class WordIndex:
    """An `Index` over passages in memory. Relevance is the share of words in common."""

    held: tuple[Held, ...]

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> WordIndex:
        """One passage for each document, by its id."""
        return cls(tuple(Held(Passage(id, 0, len(text), text)) for id, text in texts.items()))

    @property
    def fingerprint(self) -> str:
        return digest(
            [
                [h.passage.id, h.passage.text, h.tenant, h.user, h.valid_from, h.valid_to]
                for h in self.held
            ]
        )

    @property
    def is_dated(self) -> bool:
        return any((held.valid_from, held.valid_to) != ("", "9") for held in self.held)

    def search(
        self,
        queries: Sequence[str],
        k: int,
        *,
        kind: Kind = "hybrid",  # noqa: ARG002  all kinds are one here
        scopes: Sequence[Scope] = (),
    ) -> list[list[Passage]]:
        """The k passages that share most words with each query; none that shares nothing."""
        scopes = scopes or [Scope()] * len(queries)
        return [self._search(query, k, scope) for query, scope in zip(queries, scopes, strict=True)]

    def passages(self, scope: Scope) -> list[Passage]:
        """All passages of a scope, in the order in which they were given."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return [held.passage for held in self.held if held.is_in(scope, now)]

    def _search(self, query: str, k: int, scope: Scope) -> list[Passage]:
        found = [
            replace(passage, relevance=_overlap(query, f"{passage.title} {passage.text}"))
            for passage in self.passages(scope)
        ]
        found = [passage for passage in found if passage.relevance > 0]
        return sorted(found, key=lambda passage: -passage.relevance)[:k]


def _overlap(a: str, b: str) -> float:
    left, right = (set(re.findall(r"\w+", text.lower())) for text in (a, b))
    return len(left & right) / max(1, len(left | right))
