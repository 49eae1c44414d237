"""Which rows learn, which choose, which judge: seeded, stable, a group never cut."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

from steelyard.core import SPLITS, Split

# Source: ours. A mean over one group has no interval, so dev and test need two.
MIN_GROUPS: dict[Split, int] = {"train": 1, "dev": 2, "test": 2}


def draw_splits(
    groups: Sequence[str], shares: Mapping[Split, float], seed: int
) -> dict[Split, list[int]]:
    """The row numbers of each split named in `shares`, given the group of each row.

    Groups are walked in the order of a hash of (seed, group). Test takes each one that brings it
    nearer to its share, then dev, and train takes the rest; so a new row moves only rows near a
    border, whatever the order of the file. A split left with fewer groups than `MIN_GROUPS` is
    given the smallest of the richest split, as far as there are any.

    >>> draw_splits(list("abcdefghij"), {"train": 0.6, "dev": 0.2, "test": 0.2}, seed=0)
    {'train': [0, 1, 6, 7, 8, 9], 'dev': [2, 4], 'test': [3, 5]}
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows[group].append(row)
    order = sorted(rows, key=lambda group: hashlib.sha256(f"{seed}\0{group}".encode()).digest())
    total = sum(shares.values())
    room = {name: len(groups) * share / total for name, share in shares.items()}
    taken: dict[Split, list[str]] = {name: [] for name in shares}
    for group in order:
        size = len(rows[group])
        # nearer with the group than without it: |room - size| < |room|
        wants = (name for name in ("test", "dev") if name in room and size < 2 * room[name])
        name: Split = next(wants, "train")
        taken[name].append(group)
        room[name] -= size
    _feed_the_poor(taken, {group: len(rows[group]) for group in order})
    return {name: sorted(row for group in taken[name] for row in rows[group]) for name in shares}


def _feed_the_poor(taken: dict[Split, list[str]], sizes: Mapping[str, int]) -> None:
    def surplus(name: Split) -> int:
        return len(taken[name]) - MIN_GROUPS[name]

    while True:
        poor, rich = min(taken, key=surplus), max(taken, key=surplus)
        if surplus(poor) >= 0 or surplus(rich) <= 0:
            return
        group = min(taken[rich], key=lambda group: sizes[group])
        taken[rich].remove(group)
        taken[poor].append(group)


def num_shared(values: Mapping[Split, Sequence[Hashable]]) -> int:
    """How many distinct values stand in more than one split."""
    homes: dict[Hashable, set[Split]] = defaultdict(set)
    for name in SPLITS:
        for value in values.get(name, ()):
            homes[value].add(name)
    return sum(len(home) > 1 for home in homes.values())
