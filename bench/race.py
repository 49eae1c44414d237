"""What dropping recipes early would have saved, replayed over scores that are known whole.

    python bench/race.py                                  simulated studies
    python bench/race.py --home .steelyard --home other   and every task stored in these homes

Each table of scores (recipes × dev examples) is replayed in many random orders of its groups.
"agrees" counts replays whose pick (the highest mean of those left) is the highest of the whole
table, or within the tolerance of it; "evaluations" is the share of the table that was needed with
a look after every example, "until one is left" the same without what the last one answers alone,
and "in rounds" with the looks of `weigh`. With a margin of 0 whoever is shown to be lower is
dropped, as where the leader costs no more; with the tolerance as the margin, whoever is lower by
more than that, as where the leader is dearer.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Example
from steelyard.measure.race import race, rounds

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Scores of recipes on the same examples. Shapes: scores [recipes, N], groups [N]."""

    name: str
    scores: Floats
    groups: NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, action="append", default=[])
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--tolerance", type=float, default=0.02)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    print(
        "| table | recipes | examples | margin | agrees | evaluations | until one is left "
        "| in rounds | best dropped |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    # All tables first, so that they are the same however often each is replayed.
    for table in [*simulated(rng), *(t for home in options.home for t in stored(home))]:
        for margin in (0.0, options.tolerance):
            print(replayed(table, options.replays, options.tolerance, margin, rng), flush=True)
    print(
        "\n| equal recipes | examples | studies | anybody dropped, looked at after every example |"
    )
    print("|---|---|---|---|")
    for recipes, examples in ((2, 100), (2, 400), (5, 200), (10, 200)):
        share = twins(recipes, examples, options.studies, rng)
        print(f"| {recipes} | {examples} | {options.studies} | {share:.1%} |", flush=True)


def replayed(
    table: Table, replays: int, tolerance: float, margin: float, rng: np.random.Generator
) -> str:
    """One row: how often the race picks as well as measuring everything, and what it needs."""
    means = table.scores.mean(axis=1)
    best, agrees, lost, spent, alone, in_rounds = means.max(), 0, 0, 0, 0, 0
    pieces = rounds([Example(str(n), "", "", str(n)) for n in range(table.scores.shape[1])])
    ends = np.cumsum([len(piece) for piece in pieces])
    for _ in range(replays):
        order = in_groups(table.groups, rng)
        raced = race(table.scores[:, order], groups=table.groups[order].tolist(), margin=margin)
        agrees += means[list(raced.left)].max() >= best - tolerance
        lost += int(means.argmax()) not in raced.left
        spent += raced.evaluations
        if len(raced.left) == 1:
            alone += ends[-1] - max(after for after in raced.dropped_after if after is not None)
        afters = [ends[-1] if after is None else after for after in raced.dropped_after]
        in_rounds += int(ends[np.searchsorted(ends, afters)].sum())
    recipes, examples = table.scores.shape
    return (
        f"| {table.name} | {recipes} | {examples} | {margin:g} | {agrees / replays:.1%} "
        f"| {spent / replays / table.scores.size:.1%} "
        f"| {(spent - alone) / replays / table.scores.size:.1%} "
        f"| {in_rounds / replays / table.scores.size:.1%} | {lost / replays:.1%} |"
    )


def in_groups(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order of examples in which groups stay together."""
    place = rng.permutation(groups.max() + 1)
    return np.argsort(place[groups], kind="stable")


def twins(recipes: int, examples: int, studies: int, rng: np.random.Generator) -> float:
    """The share of studies of equal recipes in which any is dropped."""
    dropped = 0
    for _ in range(studies):
        skill = rng.beta(2, 1, examples)
        scores = (rng.random((recipes, examples)) < skill).astype(np.float64)
        dropped += len(race(scores).left) < recipes
    return dropped / studies


# ---------------------------------------------------------------- tables of scores


def simulated(rng: np.random.Generator) -> Iterator[Table]:
    """Ten recipes as verdicts had them: controls and plain prompts far below, a few level."""
    for name, means in (
        ("simulated, one far above", (0.04, 0.1, 0.2, 0.25, 0.4, 0.5, 0.55, 0.6, 0.62, 0.84)),
        ("simulated, three level", (0.04, 0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.80, 0.81, 0.82)),
        ("simulated, all near", (0.60, 0.61, 0.62, 0.63, 0.64, 0.65, 0.66, 0.67, 0.68, 0.70)),
    ):
        for examples in (120, 400, 1000):
            luck = rng.random(examples)  # an example is hard or easy for all
            own = rng.random((len(means), examples))
            shared = rng.random((len(means), examples)) < 0.5
            scores = (np.where(shared, luck, own) < np.array(means)[:, None]).astype(np.float64)
            yield Table(name, scores, np.arange(examples))


def stored(home: Path) -> Iterator[Table]:
    """Every task's newest complete table of dev scores in a home folder, read only."""
    database = home / "steelyard.db"
    query = "SELECT task_hash, recipe, key FROM trial WHERE split = 'dev' ORDER BY created_at"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = dict(connection.execute("SELECT task_hash, task_name FROM verdict"))
        trials: dict[str, dict[str, str]] = defaultdict(dict)
        for task, recipe, key in connection.execute(query):
            trials[task][recipe] = key
        for task, recipes in trials.items():
            rows = {name: _rows(connection, key) for name, key in recipes.items()}
            most = max(len(found) for found in rows.values())
            whole = {name: found for name, found in rows.items() if len(found) == most}
            shared = set.intersection(*(set(found) for found in whole.values()))
            if len(whole) < 2 or len(shared) < 20:
                continue
            ids = sorted(shared)
            scores = np.array([[found[id_][0] for id_ in ids] for found in whole.values()])
            first = next(iter(whole.values()))
            groups = np.unique([first[id_][1] for id_ in ids], return_inverse=True)[1]
            yield Table(names.get(task, task[:8]), scores, groups)


def _rows(connection: sqlite3.Connection, key: str) -> dict[str, tuple[float, str]]:
    """Score and group of the examples that have a score."""
    found = {}
    for id_, body in connection.execute(
        "SELECT example_id, row FROM answer WHERE trial = ?", (key,)
    ):
        row = json.loads(body)
        if row["score"] is not None:
            found[id_] = (row["score"]["value"], row["group"])
    return found


if __name__ == "__main__":
    main()
