from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steelyard.core import ModelSpec, Weights
from steelyard.models import Message
from steelyard.training import Job, TrainingRow, held_out_rows
from tiny import ask

ROWS = tuple(
    TrainingRow((*ask(f"Grüße {i}\n", "Be."), Message("assistant", "x")), f'"{i}"', f"g{i}")
    for i in range(3)
)
JOB = Job(ModelSpec("mine", "fake", usd_per_1m_input=0.5), "print", Weights("lora"), 3, ROWS)


def test_a_job_reads_back_as_it_was_written(tmp_path: Path) -> None:
    JOB.write(tmp_path / "new")
    again = Job.read(tmp_path / "new")
    assert again == JOB
    assert again.key == JOB.key


def test_the_key_covers_all_that_decides_the_weights_and_nothing_else() -> None:
    changed = [
        replace(JOB, fingerprint="other"),
        replace(JOB, weights=replace(JOB.weights, rank=8)),
        replace(JOB, seed=4),
        replace(JOB, rows=ROWS[::-1]),
        replace(JOB, rows=ROWS[:2]),
        replace(JOB, rows=(replace(ROWS[0], target="y"), *ROWS[1:])),
        replace(JOB, rows=(replace(ROWS[0], group="y"), *ROWS[1:])),
        replace(JOB, rows=(replace(ROWS[0], prompt=ask("y")), *ROWS[1:])),
    ]
    assert len({JOB.key, *(job.key for job in changed)}) == 1 + len(changed)
    assert replace(JOB, model=ModelSpec("other name", "elsewhere")).key == JOB.key


def rows_of(*group_sizes: int) -> list[TrainingRow]:
    return [
        TrainingRow(ask("?"), "!", f"g{group}")
        for group, size in enumerate(group_sizes)
        for _ in range(size)
    ]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=60), st.integers(0, 9))
def test_held_out_groups_are_whole_and_of_a_useful_size(sizes: list[int], seed: int) -> None:
    rows = rows_of(*sizes)
    held = held_out_rows(rows, seed)
    assert len(held) == len(rows)
    sides = {(row.group, out) for row, out in zip(rows, held, strict=True)}
    assert len(sides) == len(sizes)  # no group is on both sides
    assert held == held_out_rows(rows, seed)
    if any(held):
        assert 8 <= sum(held) <= max(8, len(rows) // 4)


@pytest.mark.parametrize(
    ("num_rows", "expected"), [(0, 0), (1, 0), (23, 0), (24, 8), (80, 8), (240, 24), (1600, 64)]
)
def test_how_many_rows_are_held_out(num_rows: int, expected: int) -> None:
    assert sum(held_out_rows(rows_of(*[1] * num_rows), seed=0)) == expected


def test_groups_too_large_to_spare_leave_every_row_to_train_on() -> None:
    assert not any(held_out_rows(rows_of(30, 30), seed=0))
    assert not any(held_out_rows(rows_of(40, 1, 1), seed=0))  # two rows would say nothing


def test_the_order_of_rows_does_not_decide_which_are_held_out() -> None:
    rows = rows_of(*[2] * 50)
    forwards = Counter(
        row.group for row, out in zip(rows, held_out_rows(rows, 1), strict=True) if out
    )
    backwards = Counter(
        row.group for row, out in zip(rows[::-1], held_out_rows(rows[::-1], 1), strict=True) if out
    )
    assert forwards == backwards
    other = {r.group for r, out in zip(rows, held_out_rows(rows, 2), strict=True) if out}
    assert other != set(forwards)


def test_rows_that_say_whether_they_are_held_out_are_taken_at_their_word():
    plain = rows_of(*[1] * 40)
    given = [replace(row, held_out=number < 3) for number, row in enumerate(plain)]
    assert [i for i, out in enumerate(held_out_rows(given, seed=0)) if out] == [0, 1, 2]
    assert not any(held_out_rows([replace(row, held_out=False) for row in plain], seed=0))
    assert any(held_out_rows(plain, seed=0))


def test_a_job_of_another_beta_or_other_held_out_rows_is_another_one_and_reads_back(tmp_path):
    row = TrainingRow(ask("a"), "b", "g", "preferences", rejected="c")
    job = Job(ModelSpec("m", "fake"), "f", Weights("lora"), 0, (row,))
    others = [
        replace(job, beta=0.5),
        replace(job, rows=(replace(row, held_out=False),)),
        replace(job, rows=(replace(row, held_out=True),)),
    ]
    assert len({one.key for one in (job, *others)}) == 4
    for one in (job, *others):
        one.write(tmp_path)
        assert Job.read(tmp_path) == one
