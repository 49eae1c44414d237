"""Small tasks for the fake model, in memory and as files, for every test that weighs something."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from steelyard.core import (
    Answer,
    Example,
    ModelSpec,
    Output,
    Recipe,
    Row,
    Score,
    Split,
    Task,
    Usage,
)
from steelyard.measure.verdict import Weighed

WORDS = {
    "billing": ["invoice", "charge", "refund", "card", "payment"],
    "login": ["password", "account", "locked", "signin", "email"],
    "shipping": ["parcel", "courier", "late", "tracking", "address"],
}
FILLERS = ["please", "help", "my", "the", "with", "today", "again", "order"]
CITIES = ("Rome", "Oslo", "Quito", "Kampala")
JOBS = ("baker", "nurse", "pilot", "clerk")
KINDS = ("label", "json", "text")

# What a second run of the same command may say differently: times, and the money they cost.
TIMES = ("minutes", "turning_points", "pareto")
RECIPE_TIMES = ("setup_seconds", "setup_usd", "usd_per_1k", "usd_per_1k_interval", "latency_ms")
BREAK_EVEN_TIMES = ("calls", "interval")


def without_times(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """A verdict's JSON without the keys that hold times or money: equal for equal runs."""
    recipes = [_without(recipe, RECIPE_TIMES) for recipe in verdict["recipes"]]
    pairs = [sorted((entry["a"], entry["b"])) for entry in verdict["break_even"]]
    kept = _without(verdict, TIMES)
    return {**kept, "recipes": recipes, "break_even": sorted(pairs)}


def _without(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    assert all(key in table for key in keys)
    return {key: value for key, value in table.items() if key not in keys}


# ---------------------------------------------------------------- rows


def rows_of(kind: str, count: int, *, seed: int = 1, noise: float = 0.1) -> list[dict[str, Any]]:
    """Different rows of a kind of output; `noise` is the share of wrong labels."""
    rng = random.Random(f"{kind}:{seed}")
    make = {"label": _ticket, "json": _person, "text": _sentence}[kind]
    return [make(rng, number, noise) for number in range(count)]


def _ticket(rng: random.Random, number: int, noise: float) -> dict[str, Any]:
    label = rng.choice(list(WORDS))
    words = rng.choices(WORDS[label], k=2) + rng.choices(FILLERS, k=4)
    rng.shuffle(words)
    said = rng.choice(list(WORDS)) if rng.random() < noise else label
    return {"text": f"{' '.join(words)} n{number}", "target": said}


def _person(rng: random.Random, number: int, _noise: float) -> dict[str, Any]:
    city, job = rng.choice(CITIES), rng.choice(JOBS)
    words = [city, job, *rng.choices(FILLERS, k=4)]
    rng.shuffle(words)
    target = {"city": city, "job": job, "years": None if job == "clerk" else len(city)}
    return {"text": f"{' '.join(words)} n{number}", "target": target}


def _sentence(rng: random.Random, number: int, _noise: float) -> dict[str, Any]:
    city, job = rng.choice(CITIES), rng.choice(JOBS)
    words = [city, job, *rng.choices(FILLERS, k=3)]
    rng.shuffle(words)
    return {"text": f"{' '.join(words)} n{number}", "target": f"the {job} from {city}"}


# ---------------------------------------------------------------- tasks as files


def task_text(
    kind: str = "label", *, model: str = "fake", file: str = "rows.jsonl", more: str = ""
) -> str:
    """A task file over the columns text and target; answers cost nothing, so that the choice
    hangs on scores alone and not on how busy the machine is."""
    return (
        'name = "small"\ninstruction = "Answer."\n\n'
        f'[data]\nfiles = ["{file}"]\ninput = "text"\ntarget = "target"\n\n'
        f'[output]\ntype = "{kind}"\n\n'
        f'[models]\nbase = ["{model}"]\nusd_per_machine_hour = 0\n{more}'
    )


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_task(
    folder: Path, kind: str = "label", *, rows: Sequence[Any] | None = None, **changes: Any
) -> Path:
    """Write rows.jsonl and task.toml and return the latter's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / "rows.jsonl", rows_of(kind, 100) if rows is None else rows)
    path = folder / "task.toml"
    path.write_text(task_text(kind, **changes), encoding="utf-8")
    return path


# ---------------------------------------------------------------- tasks in memory


def example(id: str, input: str, target: Any = "yes", group: str | None = None) -> Example:
    return Example(id, input, target, id if group is None else group)


def make_task(train: Sequence[Example], output: Output, **changes: Any) -> Task:
    """A task in memory over the fake, with as much of dev and test as it is given."""
    fields: dict[str, Any] = {
        "name": "small",
        "instruction": "Answer.",
        "output": output,
        "scorer": "label" if output.type == "label" else "exact",
        "tolerance": 0.02,
        "train": tuple(train),
        "dev": (),
        "test": (),
        "hash": "0" * 64,
        "models": (ModelSpec("fake", "fake"),),
    }
    return Task(**fields | changes)


# ---------------------------------------------------------------- measured rows


def row(
    id: str, score: float | None = 1.0, *, usd: float = 0.0, error: str | None = None, **more: Any
) -> Row:
    """A measured row: with a score, or with an error and none."""
    if error is not None:
        score = None
    fields: dict[str, Any] = {
        "example_id": id,
        "group": id,
        "answer": Answer("yes", "yes", usage=Usage(10, 4, 2), valid=error is None, error=error),
        "score": None if score is None else Score(score, {"valid": 1.0}),
        "compute_ms": 1.0,
        "cost_usd": usd,
        "batch_size": 4,
    }
    return Row(**fields | more)


def recipe(name: str, **parts: Any) -> Recipe:
    return Recipe(name, model=parts.pop("model", "fake"), **parts)


def weighed(
    name: str,
    scores: Sequence[float | None],
    test: Sequence[float | None] = (),
    *,
    usd: float = 0.0,
    model: str = "fake",
    **more: Any,
) -> Weighed:
    """A finished recipe with these scores on dev and test; None is an example that failed."""

    def rows(prefix: str, values: Sequence[float | None]) -> list[Row]:
        return [
            row(f"{prefix}{number}", score, usd=usd, error="lost" if score is None else None)
            for number, score in enumerate(values)
        ]

    measured: dict[Split, list[Row]] = {"dev": rows("e", scores)}
    if test:
        measured["test"] = rows("t", test)
    fields: dict[str, Any] = {"control": False, "status": "finished", "setup_seconds": 0.0}
    return Weighed(recipe=recipe(name, model=model), rows=measured, **fields | more)


# ---------------------------------------------------------------- what a home holds


def put_back(kept: Path, place: Path) -> Path:
    """A folder as it was kept, where it was made: homes and collections hold whole paths."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(kept, place))


def stored(home: Path) -> dict[tuple[str, str, str, str], str]:
    """The stored body of every row, by (trial, recipe, split, example); none before the first.

    Reads beside a process that writes.
    """
    found = _answers(home, "SELECT trial, recipe, split, example_id, row", "")
    return {tuple(row[:4]): row[4] for row in found}


def trials(home: Path, split: str) -> dict[str, int]:
    """How many rows each recipe has on a split, over all seeds."""
    return dict(_answers(home, "SELECT recipe, count(*)", "WHERE split = ? GROUP BY recipe", split))


def _answers(home: Path, columns: str, which: str, *values: str) -> list[Any]:
    query = f"{columns} FROM answer JOIN trial ON key = trial {which}"
    try:
        with closing(sqlite3.connect(f"file:{home}/steelyard.db?mode=ro", uri=True)) as connection:
            return connection.execute(query, values).fetchall()
    except sqlite3.OperationalError:
        return []
