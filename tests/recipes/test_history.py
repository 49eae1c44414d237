"""A user's history: theirs alone, earlier than now, the last or the nearest of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example
from steelyard.core import Example, Passage, Query
from steelyard.knowledge.fake import Held, WordIndex
from steelyard.models.fake import FakeEmbedder
from steelyard.recipes.history import History


def turn(id: str, user: str | None, time: str | None, text: str = "x") -> Example:
    return replace(example(id, text), user=user, time=time)


def record(id: str, user: str, time: str | None = None, text: str = "x") -> Held:
    passage = Passage(id, 0, len(text), text, time=time)
    return Held(passage, user=user, valid_from=time or "")


def found(history: History, query: Query, n: int = 3) -> list[tuple[str, int]]:
    """What a query finds, as it is shown, with the rank of each."""
    [parts] = history.find([query], n)
    return [(part.content.id, part.rank) for part in parts]


TURNS = [
    turn("t3", "ann", "2026-03-01", "where is my red kettle"),
    turn("t1", "ann", "2026-01-01", "the blue cup broke"),
    turn("t2", "ann", "2026-02-01", "a kettle again"),
    turn("b1", "bob", "2026-01-15", "red kettle"),
    turn("n1", None, "2026-01-15", "red kettle"),
]


def test_the_last_turns_are_shown_by_time_and_ranked_from_the_latest():
    history = History(TURNS, None, None)
    assert found(history, Query("q", "ann"), 2) == [("t2", 1), ("t3", 0)]
    assert found(history, Query("q", "ann")) == [("t1", 2), ("t2", 1), ("t3", 0)]
    assert found(history, Query("q", "bob")) == [("b1", 0)]


def test_nothing_of_now_or_later_is_known_and_nothing_without_a_user():
    history = History(TURNS, None, None)
    assert found(history, Query("q", "ann", "2026-02-01")) == [("t1", 0)]
    assert found(history, Query("q", "ann", "2025-01-01")) == []
    assert found(history, Query("q", "carl", "2026-09-01")) == []
    assert found(history, Query("q")) == []


def test_a_turn_without_a_time_is_only_known_to_be_earlier_where_nobody_asks_when():
    history = History([turn("t", "ann", None)], None, None)
    assert found(history, Query("q", "ann")) == [("t", 0)]
    assert found(history, Query("q", "ann", "2026-01-01")) == []


def test_a_row_is_not_its_own_history():
    history = History(TURNS, None, None)
    assert found(history, Query("q", "ann", example="t3")) == [("t1", 1), ("t2", 0)]


def test_the_nearest_turns_are_ranked_by_nearness_and_shown_by_time():
    history = History(TURNS, None, FakeEmbedder())
    asked = Query("my blue cup", "ann")
    assert found(history, asked, 2) == [("t1", 0), ("t3", 1)]
    assert found(history, replace(asked, time="2026-02-15"), 2) == [("t1", 0), ("t2", 1)]
    assert found(history, replace(asked, user="carl"), 2) == []


@pytest.mark.parametrize("embedder", [None, FakeEmbedder()])
def test_records_stand_beside_turns(embedder):
    records = WordIndex(
        (
            record("r1", "ann", "2026-01-10", "order 1: x kettle"),
            record("r2", "ann", "2026-04-01", "order 2: x cup"),
            record("r3", "bob", "2026-01-10", "order 3: x kettle"),
            record("r4", "ann", None, "lives in Oslo x"),
        )
    )
    history = History(TURNS[:1], records, embedder)
    ids = {id for id, _ in found(history, Query("x kettle", "ann"), 9)}
    assert ids == {"t3", "r1:0-17", "r2:0-14", "r4:0-15"}
    before = {id for id, _ in found(history, Query("x", "ann", "2026-02-01"), 9)}
    assert before == {"r1:0-17", "r4:0-15"}
    [parts] = history.find([Query("x kettle", "ann")], 2)
    assert sorted(part.rank for part in parts) == [0, 0]  # the best of each kind
    assert {part.kind for part in parts} == {"turn", "record"}


def test_the_last_records_are_the_latest():
    held = [record(f"r{n}", "ann", f"2026-01-{n:02}") for n in (3, 1, 2)]
    history = History([], WordIndex(tuple(held)), None)
    assert found(history, Query("q", "ann"), 2) == [("r2:0-1", 1), ("r3:0-1", 0)]


def test_nothing_known_is_no_history():
    for embedder in (None, FakeEmbedder()):
        assert History([], None, embedder).find([Query("q", "ann"), Query("q")], 3) == [[], []]
        assert History([], WordIndex(()), embedder).find([], 3) == []


USERS: Sequence[str | None] = ("ann", "bob", "carl", None)
TIMES: Sequence[str | None] = ("2026-01-01", "2026-01-02", "2026-01-02T08:00:00", None)


@settings(max_examples=150, deadline=None)
@given(
    turns=st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(TIMES)), max_size=12),
    records=st.lists(
        st.tuples(st.sampled_from(("ann", "bob", "carl")), st.sampled_from(TIMES)), max_size=8
    ),
    asked=st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(TIMES)), max_size=5),
    nearest=st.booleans(),
    n=st.integers(1, 6),
)
def test_nobody_ever_sees_what_is_anothers_or_later(turns, records, asked, nearest, n):
    pool = [turn(f"t{i}", user, time, "x y") for i, (user, time) in enumerate(turns)]
    held = [record(f"r{i}", user, time, "x z") for i, (user, time) in enumerate(records)]
    owners: dict[str, str | None] = {one.id: one.user for one in pool}
    owners |= {one.passage.id: one.user for one in held}
    history = History(pool, WordIndex(tuple(held)), FakeEmbedder() if nearest else None)
    queries = [Query("x", user, time) for user, time in asked]
    for query, parts in zip(queries, history.find(queries, n), strict=True):
        assert len(parts) <= n
        assert all(owners[part.content.id] == query.user is not None for part in parts)
        if query.time is not None:
            times = [part.content.time for part in parts if part.kind == "turn"]
            assert all(time is not None and time < query.time for time in times)
        if query.user is not None and query.time is None:
            mine = sum(owner == query.user for owner in owners.values())
            assert len(parts) == min(n, mine)
