from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steelyard.training.batches import (
    IGNORED,
    MICRO_BATCH_TOKENS,
    Encoded,
    collate,
    micro_batches,
    rows_of_step,
    steps_per_epoch,
)

sizes = st.tuples(st.integers(1, 60), st.integers(1, 20))


def encoded(length: int) -> Encoded:
    return Encoded([5] * (length - 1), [2])


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


@given(st.lists(st.integers(1, MICRO_BATCH_TOKENS + 50), min_size=1, max_size=40))
def test_micro_batches_hold_every_row_once_within_the_limit(lengths: list[int]) -> None:
    rows = [encoded(length) for length in lengths]
    batches = list(micro_batches(rows))
    assert sorted(map(id, rows)) == sorted(id(row) for batch in batches for row in batch)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= MICRO_BATCH_TOKENS


def test_micro_batches_are_of_near_lengths_and_as_few_as_that_allows() -> None:
    half = MICRO_BATCH_TOKENS // 2
    rows = [encoded(length) for length in (half, 10, half, 11, half + 1)]
    assert [list(map(len, batch)) for batch in micro_batches(rows)] == [
        [10, 11],
        [half, half],
        [half + 1],
    ]


def test_no_rows_no_micro_batches() -> None:
    assert list(micro_batches([])) == []


def test_rows_are_padded_on_the_right_and_labels_stand_on_the_targets() -> None:
    ids, mask, labels = collate([Encoded([5, 6, 7], [8, 9]), Encoded([5], [9])], pad_id=0)
    assert ids.tolist() == [[5, 6, 7, 8, 9], [5, 9, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    n = IGNORED
    assert labels.tolist() == [[n, n, n, 8, 9], [n, 9, n, n, n]]
