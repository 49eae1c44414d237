"""task.toml → Task: read, check, fold, split, describe the output, hash."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from steelyard.core import (
    SPLITS,
    Example,
    Json,
    Knowledge,
    Output,
    Preference,
    Split,
    Task,
    digest,
)
from steelyard.errors import DataError
from steelyard.tasks.examples import (
    Item,
    Template,
    check_columns,
    fold,
    give_ids,
    input_template,
    to_item,
)
from steelyard.tasks.knowledge import checked_knowledge, knowledge_hash
from steelyard.tasks.output import Splits, data_files, describe_output
from steelyard.tasks.retention import read_retention
from steelyard.tasks.rows import RawRow, read_rows
from steelyard.tasks.schema import spelling
from steelyard.tasks.split import MIN_GROUPS, draw_splits, num_shared
from steelyard.tasks.task_file import TaskSpec, parse_task, read_task_text
from steelyard.tasks.unlabelled import read_preferences, read_unlabelled
from steelyard.tasks.wording import count

MEASURED: tuple[Split, ...] = ("dev", "test")  # nothing of them is learned from
NAMED_ROWS = 3  # that cannot be read either, beside the first; the others are counted


def load_task(path: str | Path) -> Task:
    """The task that a `task.toml` describes, its rows read, checked and split.

    Raises:
        TaskError: the task file is wrong.
        DataError: the rows are.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    path = Path(path)
    return load_spec(parse_task(path, read_task_text(path)))


def load_spec(spec: TaskSpec) -> Task:
    """The task of a task file already parsed."""
    parts, notes = _read(spec)
    splits, more = _split(spec, parts)
    notes += [*more, *_leaks(spec, splits)]
    _check_sizes(spec, splits, notes)
    knowledge = checked_knowledge(spec.knowledge)
    for file in spec.retention:
        read_retention(file)
    output, splits, more = describe_output(spec, splits)
    notes += more
    examples = {name: tuple(item.example for item in splits[name]) for name in SPLITS}
    unlabelled, preferences, more = _beside(spec, examples)
    notes += more
    return Task(
        name=spec.name,
        instruction=spec.instruction,
        output=output,
        scorer=spec.scorer,
        tolerance=spec.tolerance,
        train=examples["train"],
        dev=examples["dev"],
        test=examples["test"],
        hash=_hash(spec, output, knowledge, examples, unlabelled, preferences),
        models=spec.models,
        usd_per_machine_hour=spec.usd_per_machine_hour,
        usd_per_label=spec.data.usd_per_label,
        limits=spec.limits,
        notes=(*spec.notes, *notes),
        path=spec.path.absolute(),
        knowledge=knowledge,
        instructions=spec.instructions,
        search=spec.search,
        unlabelled=unlabelled,
        preferences=preferences,
        retention=spec.retention,
        refresh=spec.refresh,
        engines=spec.engines,
    )


def _beside(
    spec: TaskSpec, examples: Mapping[Split, Sequence[Example]]
) -> tuple[tuple[str, ...], tuple[Preference, ...], list[str]]:
    """The inputs without targets and the preferences that the task file names, and notes."""
    template = input_template(spec.data_table, spec.data.input)
    measured = {example.input for name in MEASURED for example in examples[name]}
    unlabelled: tuple[str, ...] = ()
    preferences: tuple[Preference, ...] = ()
    notes: list[str] = []
    if (file := spec.data.unlabelled) is not None:
        unlabelled, notes = read_unlabelled(file, template, measured)
    if (file := spec.data.preferences) is not None:
        preferences, more = read_preferences(file, template, spec.output_type, measured)
        notes = notes + more
    return unlabelled, preferences, notes


def read_items(spec: TaskSpec) -> dict[str, list[Item]]:
    """Every row of the data files, repeats among them: by split, or "all" where they are to be
    split. Ids are as the rows have them.

    Raises:
        TaskError: a column that the task file names is not there.
        DataError: a row that cannot be read.
    """
    template = input_template(spec.data_table, spec.data.input)
    parts: dict[str, list[Item]] = {}
    numbers = itertools.count(1)
    for name, files in spec.data.files.items():
        parts[name] = []
        for file in files:
            rows = read_rows(file)
            check_columns(spec, template, rows, file)
            parts[name] += _items(rows, numbers, spec, template)
    return parts


def _items(
    rows: Sequence[RawRow], numbers: Iterator[int], spec: TaskSpec, template: Template
) -> list[Item]:
    """The rows of a file as items.

    Raises:
        DataError: rows that cannot be read: what is wrong with the first, and how many more.
    """
    items: list[Item] = []
    wrong: list[tuple[str, DataError]] = []
    for row in rows:
        try:
            items.append(to_item(row, next(numbers), spec, template))
        except DataError as error:
            wrong.append((row.where, error))
    if not wrong:
        return items
    (_, first), *others = wrong
    if not others:
        raise first
    named = ", ".join(where for where, _ in others[:NAMED_ROWS])
    more = f"{named}, …" if len(others) > NAMED_ROWS else named
    raise DataError(f"{first} {count(len(others), 'more row')} cannot be read either: {more}")


def _read(spec: TaskSpec) -> tuple[dict[str, list[Item]], list[str]]:
    parts, notes = fold(read_items(spec))
    parts, more = give_ids(parts, spec.data.id)
    return parts, notes + more


def _split(spec: TaskSpec, parts: Mapping[str, list[Item]]) -> tuple[Splits, list[str]]:
    """The given splits as they are; the missing ones drawn from train, never from test."""
    source = "all" if "all" in parts else "train"
    given: Splits = {name: parts[name] for name in SPLITS if name != source and name in parts}
    shares = {
        name: share
        for name, share in zip(SPLITS, spec.data.split, strict=True)
        if name not in given
    }
    pool = parts[source]
    if len(shares) == 1:
        return {**given, "train": pool}, []
    drawn = draw_splits([item.example.group for item in pool], shares, spec.data.seed)
    splits = given | {name: [pool[row] for row in rows] for name, rows in drawn.items()}
    names = ", ".join(file.name for file in spec.data.files[source])
    sizes = ", ".join(f"{len(rows):,} {name}" for name, rows in drawn.items())
    return splits, [f"The rows of {names} were split with seed {spec.data.seed}: {sizes}."]


def _leaks(spec: TaskSpec, splits: Splits) -> list[str]:
    notes = []
    inputs = num_shared({name: [i.example.input for i in splits[name]] for name in SPLITS})
    if inputs:
        notes.append(
            f"Leakage: {count(inputs, 'input')} with different targets in more than one split."
        )
    groups = num_shared({name: [i.example.group for i in splits[name]] for name in SPLITS})
    if groups and spec.data.group is not None:
        notes.append(
            f"Leakage: {count(groups, 'group')} with rows in more than one split, so scores may "
            "flatter what was learned from train."
        )
    return notes


def _check_sizes(spec: TaskSpec, splits: Splits, notes: Sequence[str]) -> None:
    found = {name: len({item.example.group for item in splits[name]}) for name in SPLITS}
    short = [name for name in SPLITS if found[name] < MIN_GROUPS[name]]
    if not short:
        return
    has = ", ".join(
        f"{name} has {count(len(splits[name]), 'row')} in {count(found[name], 'group')} "
        f"and needs {MIN_GROUPS[name]}"
        for name in short
    )
    is_group = f'group = "{spec.data.group}"' if spec.data.group else "each different input"
    given = [name for name in short if name != "train" and name in spec.data.files]
    remedy = f", or remove {given[0]} from [data] to have it drawn from train" if given else ""
    if spec.data.group is not None:
        remedy += ", or group by a finer column"
    raise DataError(
        f"{data_files(spec)}: fewer rows than the splits need: {has} (a group is {is_group}). "
        f"{''.join(note + ' ' for note in notes)}"
        "Expected at least 1 group in train and 2 each in dev and test. "
        f"Add rows{remedy}."
    )


def _hash(
    spec: TaskSpec,
    output: Output,
    knowledge: Knowledge,
    examples: Mapping[Split, Sequence[Example]],
    unlabelled: Sequence[str],
    preferences: Sequence[Preference],
) -> str:
    body = {
        "instruction": spec.instruction,
        "output": asdict(output) | {"schema": spelling(output.schema)},
        "scorer": spec.scorer,
        "rows": {name: [_hashed(row) for row in examples[name]] for name in SPLITS},
    }
    more = {
        "knowledge": knowledge_hash(knowledge),
        "unlabelled": list(unlabelled) or None,
        "preferences": [[p.input, p.chosen, p.rejected] for p in preferences] or None,
    }
    return digest(body | {name: value for name, value in more.items() if value is not None})


def _hashed(row: Example) -> list[Json]:
    """What of a row can change an answer or a score; what it does not have is left out."""
    more = {"user": row.user, "time": row.time, "also": row.also, "evidence": row.evidence}
    rest = {name: value for name, value in more.items() if value}
    return [row.id, row.input, row.target, row.group, *([rest] if rest else [])]
