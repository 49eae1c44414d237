"""Which rows a step learns from, how they are split, and where their tokens stand."""

from __future__ import annotations

from itertools import takewhile

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from steelyard.training import batches
from steelyard.training.batches import (
    MOST_PADDED,
    WORTH_SHARING,
    Encoded,
    micro_batches,
    pack,
    rows_of_step,
    shared_tokens,
    steps_per_epoch,
)

CPU = torch.device("cpu")
sizes = st.tuples(st.integers(1, 60), st.integers(1, 20))
few = st.integers(5, 7)  # few kinds of tokens, so that rows often begin alike
some_rows = st.lists(
    st.builds(
        Encoded,
        prompt=st.lists(few, min_size=1, max_size=8),
        target=st.lists(few, min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=8,
)
beginnings = st.integers(0, 40).map(lambda length: list(range(100, 100 + length)))


def after(beginning: list[int], rows: list[Encoded]) -> list[Encoded]:
    return [Encoded([*beginning, *row.prompt], row.target) for row in rows]


def unlike(length: int, number: int) -> Encoded:
    """A row of so many tokens that begins like none of another number."""
    return Encoded([1000 + number] * (length - 1), [2])


# ---------------------------------------------------------------- which rows


@given(size=sizes, epoch=st.integers(0, 3), seed=st.integers(0, 5))
def test_an_epoch_shows_every_row_once(size: tuple[int, int], epoch: int, seed: int) -> None:
    num_rows, batch_size = size
    steps = steps_per_epoch(num_rows, batch_size)
    shown = [
        rows_of_step(num_rows, batch_size, epoch * steps + step, seed) for step in range(steps)
    ]
    assert sorted(row for rows in shown for row in rows) == list(range(num_rows))
    assert all(len(rows) == batch_size for rows in shown[:-1])
    assert 1 <= len(shown[-1]) <= batch_size


def test_the_rows_of_a_step_depend_on_seed_and_step_alone() -> None:
    assert rows_of_step(10, 4, 7, 1) == rows_of_step(10, 4, 7, 1)
    first_epoch = rows_of_step(10, 10, 0, 1)
    assert rows_of_step(10, 10, 1, 1) != first_epoch
    assert rows_of_step(10, 10, 0, 2) != first_epoch


def test_the_last_step_of_an_epoch_may_be_smaller() -> None:
    assert steps_per_epoch(10, 4) == 3
    assert [len(rows_of_step(10, 4, step, 0)) for step in range(4)] == [4, 4, 2, 4]


# ---------------------------------------------------------------- what they share


@given(beginning=beginnings, rows=some_rows)
def test_what_is_shared_is_the_longest_common_beginning_that_leaves_each_prompt_a_token(
    beginning: list[int], rows: list[Encoded]
) -> None:
    rows = after(beginning, rows)
    places = zip(*(row.prompt[:-1] for row in rows), strict=False)
    longest = len(list(takewhile(lambda found: len(set(found)) == 1, places)))
    found = shared_tokens(rows)
    assert found == (longest if longest * (len(rows) - 1) >= WORTH_SHARING else 0)


def test_a_beginning_is_shared_from_the_tokens_on_that_are_worth_it() -> None:
    beginning = list(range(100, 100 + WORTH_SHARING))
    long = [Encoded([*beginning, token], [2]) for token in (5, 6)]
    short = [Encoded([*beginning[1:], token], [2]) for token in (5, 6, 7)]
    assert shared_tokens(long) == WORTH_SHARING
    assert shared_tokens(short[:2]) == 0  # one token less is saved by two rows
    assert shared_tokens(short) == WORTH_SHARING - 1  # but more by three
    assert shared_tokens(long[:1]) == 0  # one row shares with none


def test_a_target_is_never_shared() -> None:
    same = [Encoded([5] * 99, [2, 3])] * 3
    assert shared_tokens(same) == 98


# ---------------------------------------------------------------- how they are split


@given(
    lengths=st.lists(st.integers(2, 90), min_size=1, max_size=40),
    beginning=beginnings,
    limit=st.integers(1, 300),
)
def test_micro_batches_hold_every_row_once_by_length_and_within_the_limit(
    lengths: list[int], beginning: list[int], limit: int
) -> None:
    rows = after(beginning, [unlike(length, n) for n, length in enumerate(lengths)])
    shared = shared_tokens(rows)
    found = list(micro_batches(rows, limit))
    assert sorted(map(id, rows)) == sorted(id(row) for batch in found for row in batch)
    assert sorted(map(len, rows)) == [len(row) for batch in found for row in batch]
    counts = [shared + sum(len(row) - shared for row in batch) for batch in found]
    for batch, tokens in zip(found, counts, strict=True):
        padded = len(batch) * (len(batch[-1]) - shared)
        assert len(batch) == 1 or (tokens <= limit and padded <= MOST_PADDED * limit)
        # Fewer rows may no longer be worth sharing for: what that costs is bounded.
        assert len(pack(batch, CPU).ids) < max(tokens, len(batch[0])) + WORTH_SHARING
    for batch, tokens, later in zip(found, counts, found[1:], strict=False):
        own = len(later[0]) - shared
        assert tokens + own > limit or (len(batch) + 1) * own > MOST_PADDED * limit


def test_micro_batches_worked_by_hand() -> None:
    rows = [unlike(length, length) for length in (50, 10, 29, 11, 51)]
    found = [list(map(len, batch)) for batch in micro_batches(rows, 100)]
    assert found == [[10, 11, 29, 50], [51]]


def test_a_long_row_is_kept_from_many_short_ones() -> None:
    short, long = [unlike(10, n) for n in range(31)], unlike(800, 99)
    assert [len(batch) for batch in micro_batches([long, *short], 2048)] == [31, 1]
    assert [len(batch) for batch in micro_batches([long, *short[:4]], 2048)] == [5]


def test_a_shared_beginning_counts_once_in_each_micro_batch() -> None:
    rows = after(list(range(100, 200)), [unlike(10, n) for n in range(6)])
    assert [len(batch) for batch in micro_batches(rows, 100 + 3 * 10)] == [3, 3]
    assert [len(batch) for batch in micro_batches(rows, 100 + 6 * 10)] == [6]


# ---------------------------------------------------------------- how they are packed


def test_rows_packed_worked_by_hand() -> None:
    batch = pack([Encoded([5, 6, 7], [8, 9]), Encoded([5], [9])], CPU)
    assert (batch.shared, batch.packing.lengths) == (0, [4, 1])
    assert batch.ids.tolist() == [5, 6, 7, 8, 5]
    assert batch.positions.tolist() == [0, 1, 2, 3, 0]
    assert batch.states.tolist() == [2, 3, 4]
    assert batch.targets.tolist() == [8, 9, 9]


def test_a_shared_beginning_stands_once_before_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WORTH_SHARING", 2)
    batch = pack([Encoded([5, 6, 7], [8, 9]), Encoded([5, 6, 4, 3], [2])], CPU)
    assert (batch.shared, batch.packing.lengths) == (2, [2, 2])
    assert batch.ids.tolist() == [5, 6, 7, 8, 4, 3]
    assert batch.positions.tolist() == [0, 1, 2, 3, 2, 3]
    assert batch.states.tolist() == [2, 3, 5]
    assert batch.targets.tolist() == [8, 9, 2]


@given(beginning=beginnings, rows=some_rows, worth=st.sampled_from([0, 1, 16, WORTH_SHARING]))
def test_each_target_is_learned_from_all_that_comes_before_it_in_its_row(
    beginning: list[int], rows: list[Encoded], worth: int
) -> None:
    rows = after(beginning, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "WORTH_SHARING", worth)
        batch = pack(rows, CPU)
    ids, states, targets = batch.ids.tolist(), batch.states.tolist(), batch.targets.tolist()
    assert len(ids) == batch.shared + sum(batch.packing.lengths)
    found, start = [], batch.shared
    for number, length in enumerate(batch.packing.lengths):
        end = start + length
        read = ids[: batch.shared] + ids[start:end]
        assert batch.positions[start:end].tolist() == list(range(batch.shared, len(read)))
        for state, target in zip(states, targets, strict=True):
            if start <= state < end:
                seen = read[: batch.shared + state - start + 1]
                found.append((number, seen, target))
        start = end
    assert batch.positions[: batch.shared].tolist() == list(range(batch.shared))
    assert found == [
        (number, row.prompt + row.target[:i], row.target[i])
        for number, row in enumerate(rows)
        for i in range(len(row.target))
    ]
