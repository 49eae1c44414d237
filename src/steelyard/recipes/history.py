"""What a user asked before and what is known about them: theirs alone, and earlier than now.

A turn is an example of the same user: a row of train, or an answer that they accepted. A record
is a text about them, such as an order. Nobody's history holds anything of another user, and a
query without a user has none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from steelyard.core import Example, Passage, Query
from steelyard.knowledge.index import Index, Scope
from steelyard.knowledge.nearest import NearestExamples
from steelyard.models import Embedder
from steelyard.recipes.prompt import Part


class History:
    """The turns and records of every user.

    With an embedder the n nearest to the input are found, without one the n last.
    """

    def __init__(
        self, turns: Sequence[Example], records: Index | None, embedder: Embedder | None
    ) -> None:
        self._turns = [turn for turn in turns if turn.user is not None]
        self._records = records
        self._nearest = NearestExamples(self._turns, embedder) if embedder else None
        self._numbers: dict[str, list[int]] = defaultdict(list)
        for number, turn in enumerate(self._turns):
            assert turn.user is not None
            self._numbers[turn.user].append(number)

    def find(self, queries: Sequence[Query], n: int) -> list[list[Part]]:
        """For each query the n turns and records of its user, the earliest first.

        They are ranked from the last one, or from the nearest one, on.
        """
        turns, records = self._find_turns(queries, n), self._find_records(queries, n)
        return [_merged([*a, *b], n) for a, b in zip(turns, records, strict=True)]

    def _find_turns(self, queries: Sequence[Query], n: int) -> list[list[Part]]:
        among = [self._earlier(query) for query in queries]
        if self._nearest is None:
            found = [sorted((self._turns[i] for i in own), key=_time)[-n:] for own in among]
            assert n > 0
        elif any(among):
            inputs = [query.input for query in queries]
            found = self._nearest.nearest(inputs, n, among=among)
        else:
            found = [[] for _ in queries]
        return [
            [Part("turn", turn, len(turns) - 1 - place) for place, turn in enumerate(turns)]
            for turns in found
        ]

    def _earlier(self, query: Query) -> list[int]:
        """The numbers of the turns of the query's user before its time, but not the query itself.

        Where the query has a time, a turn without one is not known to be earlier.
        """
        if query.user is None:
            return []
        return [
            i
            for i in self._numbers.get(query.user, ())
            if self._turns[i].id != query.example and _is_before(self._turns[i].time, query.time)
        ]

    def _find_records(self, queries: Sequence[Query], n: int) -> list[list[Part]]:
        found: list[list[Passage]] = [[] for _ in queries]
        if self._records is None:
            return [[] for _ in queries]
        asked = [i for i, query in enumerate(queries) if query.user is not None]
        scopes = [Scope(user=queries[i].user, as_of=queries[i].time) for i in asked]
        if self._nearest is None:
            known = [sorted(self._records.passages(s), key=_time)[::-1][:n] for s in scopes]
        else:
            known = self._records.search([queries[i].input for i in asked], n, scopes=scopes)
        for i, passages in zip(asked, known, strict=True):
            found[i] = passages
        return [[Part("record", p, rank) for rank, p in enumerate(own)] for own in found]


def _merged(parts: Sequence[Part], n: int) -> list[Part]:
    """The n most relevant of both kinds, by time."""
    best = sorted(parts, key=lambda part: part.rank)[:n]
    return sorted(best, key=lambda part: _time(part.content))


def _time(content: Example | Passage) -> str:
    return content.time or ""


def _is_before(turn: str | None, now: str | None) -> bool:
    return now is None or (turn is not None and turn < now)
