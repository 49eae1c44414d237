"""Splits: whole groups, close to the shares, stable."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core import Split
from steelyard.tasks.split import MIN_GROUPS, draw_splits, num_shared

SHARES: dict[Split, float] = {"train": 0.6, "dev": 0.2, "test": 0.2}
GROUPS = st.lists(st.integers(0, 30).map(str), min_size=1, max_size=120)


def by_row(groups: list[str], seed: int = 0) -> dict[int, str]:
    drawn = draw_splits(groups, SHARES, seed)
    return {row: name for name, rows in drawn.items() for row in rows}


@settings(max_examples=50)
@given(GROUPS, st.integers(0, 5))
def test_every_row_has_one_split_and_no_group_is_cut(groups: list[str], seed: int) -> None:
    drawn = draw_splits(groups, SHARES, seed)
    assert sorted(row for rows in drawn.values() for row in rows) == list(range(len(groups)))
    homes = {(groups[row], name) for name, rows in drawn.items() for row in rows}
    assert len(homes) == len(set(groups))


@settings(max_examples=50)
@given(GROUPS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(groups: list[str], rng: random.Random) -> None:
    shuffled = list(groups)
    rng.shuffle(shuffled)
    home = {group: by_row(groups)[row] for row, group in enumerate(groups)}
    assert home == {group: by_row(shuffled)[row] for row, group in enumerate(shuffled)}


@settings(max_examples=50)
@given(GROUPS)
def test_five_groups_are_enough_and_fewer_are_not(groups: list[str]) -> None:
    drawn = draw_splits(groups, SHARES, 0)
    enough = all(
        len({groups[row] for row in drawn[name]}) >= least for name, least in MIN_GROUPS.items()
    )
    assert enough == (len(set(groups)) >= 5)


@settings(max_examples=30)
@given(st.integers(10, 200), st.integers(0, 9))
def test_single_rows_are_cut_where_the_sorted_hashes_say(number: int, seed: int) -> None:
    groups = [f"g{i}" for i in range(number)]
    order = sorted(
        range(number), key=lambda i: hashlib.sha256(f"{seed}\0{groups[i]}".encode()).hexdigest()
    )
    # the share, rounded half down; in tenths, so that no rounding is left to floats
    cut = (2 * number + 4) // 10
    drawn = draw_splits(groups, SHARES, seed)
    assert drawn["test"] == sorted(order[:cut])
    assert drawn["dev"] == sorted(order[cut : 2 * cut])
    assert drawn["train"] == sorted(order[2 * cut :])


def test_one_more_row_moves_at_most_the_rows_at_the_borders() -> None:
    groups = [f"g{i}" for i in range(500)]
    before, after = by_row(groups), by_row([*groups, "new"])
    assert sum(before[row] != after[row] for row in before) <= 2


def test_another_seed_draws_other_rows() -> None:
    groups = [f"g{i}" for i in range(100)]
    assert draw_splits(groups, SHARES, 0)["test"] != draw_splits(groups, SHARES, 1)["test"]


def test_a_group_of_half_the_rows_goes_to_train() -> None:
    groups = ["big"] * 50 + [f"g{i}" for i in range(50)]
    for seed in range(5):
        drawn = draw_splits(groups, SHARES, seed)
        assert 0 in drawn["train"]
        assert {name: len(rows) for name, rows in drawn.items()} == {
            "train": 60,
            "dev": 20,
            "test": 20,
        }


def test_five_large_groups_still_fill_all_splits() -> None:
    drawn = draw_splits([group for group in "abcde" for _ in range(20)], SHARES, 0)
    assert {name: len(rows) for name, rows in drawn.items()} == {"train": 20, "dev": 40, "test": 40}


def test_dev_alone_is_drawn_in_its_proportion_to_train() -> None:
    groups = [f"g{i}" for i in range(100)]
    drawn = draw_splits(groups, {"train": 0.6, "dev": 0.2}, 0)
    assert {name: len(rows) for name, rows in drawn.items()} == {"train": 75, "dev": 25}


def test_shared_values_are_counted_once_each() -> None:
    assert num_shared({"train": ["a", "a", "b"], "dev": ["b", "c"], "test": ["b", "c"]}) == 2
    assert num_shared({"train": ["a", "a"], "dev": [], "test": []}) == 0
