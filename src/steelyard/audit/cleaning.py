"""A cleaned copy of a task's data, and a log of every change; the source is never touched.

    DIR/task.toml       the task, with paths that hold from there
    DIR/rows.jsonl      each data file: copies and near copies left out, personal data replaced
    DIR/changes.jsonl   a line for each row that was left out, and each cell that was changed

What needs judgement (targets at odds, labels that are likely wrong, bias) is left as it is.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from steelyard.audit.alike import SURE, near_pairs
from steelyard.audit.personal import Redactor
from steelyard.audit.sheet import Placed, Sheet
from steelyard.core import Json
from steelyard.errors import InputError, SteelyardError, WorkError, need
from steelyard.tasks.examples import to_text
from steelyard.tasks.load import load_task
from steelyard.tasks.rows import RawRow, read_rows
from steelyard.tasks.task_file import TaskSpec

LOG = "changes.jsonl"
KEEP_FIRST = {"test": 0, "dev": 1, "train": 2}  # of two near copies, the one that measures

Change = dict[str, Json]


def write_clean(sheet: Sheet, folder: Path) -> list[Change]:
    """Write the cleaned copy into a new folder, and return what its log says.

    Raises:
        InputError: the folder has something in it, or cannot be written.
        WorkError: what is left is no task, such as too few rows.
    """
    spec = sheet.spec
    if spec is None:
        raise InputError("--fix: the task has no file. Expected a task.toml or a data file.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"--fix {folder}: it is there already. Expected a new or an empty folder, because "
            "nothing is ever written over. Name another one."
        )
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        changes = _write(spec, dropped(sheet), part, folder)
        try:
            load_task(part / "task.toml")
        except SteelyardError as error:
            raise WorkError(
                f"--fix {folder}: what is left after cleaning is no task: {error}"
            ) from error
        if folder.exists():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise InputError(
            f"--fix {folder}: cannot be written ({error.strerror or error}). Expected a new folder "
            "in one that you may write to. Name another one."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return changes


def dropped(sheet: Sheet) -> dict[str, Change]:
    """The rows to leave out, by where they stand, and why.

    Only sure near copies are. Where the splits are given, they matter across them only; where they
    are to be drawn, any two could end in different ones. How alike two texts are depends a little
    on the others, so what is left is looked through again until there are none.
    """
    found: dict[str, Change] = {
        copy.where: {"action": "dropped", "why": "copy", "of": copy.of} for copy in sheet.copies
    }
    rows = sorted(sheet.rows, key=lambda row: KEEP_FIRST[row.split])
    while near := _near_copies(rows, across_only=sheet.splits_are_given):
        for id_, (of, alike) in near.items():
            why = {"action": "dropped", "why": "near copy", "of": of, "alike": round(alike, 3)}
            found[sheet.wheres[id_]] = {**why, "id": id_}
        rows = [row for row in rows if row.id not in near]
    return found


def _near_copies(rows: Sequence[Placed], *, across_only: bool) -> dict[str, tuple[str, float]]:
    """Rows that are a near copy of an earlier one that stays, with it and how alike they are."""
    earlier: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)
    for a, b, alike in near_pairs([row.example.input for row in rows], similarity=SURE):
        if not across_only or rows[a].split != rows[b].split:
            earlier[b].append((a, alike))
    copies: dict[int, tuple[str, float]] = {}
    for place in sorted(earlier):
        hit = next(((a, alike) for a, alike in earlier[place] if a not in copies), None)
        if hit is not None:
            copies[place] = (rows[hit[0]].id, hit[1])
    return {rows[place].id: of for place, of in copies.items()}


def _write(
    spec: TaskSpec, leave_out: Mapping[str, Change], part: Path, folder: Path
) -> list[Change]:
    redactor = Redactor()
    changes: list[Change] = []
    names = _file_names(spec)
    for file, name in names.items():
        rows = []
        for row in read_rows(file):
            if row.where in leave_out:
                changes.append({"where": row.where, **leave_out[row.where]})
                continue
            values, more = _redacted(row, spec, redactor)
            rows.append(values)
            changes += more
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        WRITERS[file.suffix.lower()](part / name, rows)
    (part / "task.toml").write_text(_task_text(spec, names, folder), encoding="utf-8")
    _copy_scorer(spec, part)
    lines = (json.dumps(change, ensure_ascii=False) + "\n" for change in changes)
    (part / LOG).write_text("".join(lines), encoding="utf-8")
    return changes


def _redacted(
    row: RawRow, spec: TaskSpec, redactor: Redactor
) -> tuple[dict[str, Json], list[Change]]:
    """A row without personal data. Times stay, and labels, of which a task has a fixed set."""
    as_they_are = {spec.data.time, spec.data.target if spec.output_type == "label" else None}
    values, changes = dict(row.values), []
    for column, value in row.values.items():
        if column in as_they_are:
            continue
        values[column], used = redactor.redact_json(value)
        if used:
            changes.append({"where": row.where, "action": "redacted", "column": column, "as": used})
    return values, changes


# ---------------------------------------------------------------- the files


def _file_names(spec: TaskSpec) -> dict[Path, str]:
    """What each data file is called in the copy: its own name, numbered where two share one."""
    names: dict[Path, str] = {}
    for files in spec.data.files.values():
        for file in files:
            name, number = file.name, 2
            while name in names.values():
                name, number = f"{file.stem}-{number}{file.suffix}", number + 1
            names.setdefault(file, name)
    return names


def _task_text(spec: TaskSpec, names: Mapping[Path, str], folder: Path) -> str:
    """The task file with every path as it must be spelt in the copy."""
    text = spec.path.read_text(encoding="utf-8-sig")
    home = spec.path.absolute().parent
    values = tomllib.loads(text)
    ours = {file.absolute(): name for file, name in names.items()}
    spelt: dict[str, str] = {}
    for table, keys in PATH_KEYS.items():
        for key in keys:
            listed = values.get(table, {}).get(key, [])
            for old in listed if isinstance(listed, list) else [listed]:
                place = Path(os.path.normpath(home / Path(old).expanduser()))
                if place in ours:
                    spelt[old] = ours[place]
                elif place.exists():
                    spelt[old] = os.path.relpath(place, folder.absolute())
    for old, new in spelt.items():
        for quoted in (json.dumps(old, ensure_ascii=False), f"'{old}'"):
            text = text.replace(quoted, json.dumps(new, ensure_ascii=False))
    return text


PATH_KEYS = {
    "data": ("files", "train", "dev", "test"),
    "output": ("schema",),
    "knowledge": ("documents", "history"),
    "models": ("base",),
}


def _copy_scorer(spec: TaskSpec, part: Path) -> None:
    """The user's own scoring function stands beside the task file."""
    if spec.scorer.startswith("python:"):
        module = spec.path.parent / f"{spec.scorer.split(':')[1]}.py"
        if module.is_file():
            shutil.copyfile(module, part / module.name)


def _write_jsonl(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    lines = (json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")


def _write_json(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    text = json.dumps([dict(row) for row in rows], ensure_ascii=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def _write_csv(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows([to_text(row.get(column)) for column in columns] for row in rows)


def _write_parquet(path: Path, rows: Sequence[Mapping[str, Json]]) -> None:
    arrow, parquet = need("pyarrow", "parquet"), need("pyarrow.parquet", "parquet")
    parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), path)


WRITERS: dict[str, Callable[[Path, Sequence[Mapping[str, Json]]], None]] = {
    ".jsonl": _write_jsonl,
    ".json": _write_json,
    ".csv": _write_csv,
    ".tsv": _write_csv,
    ".parquet": _write_parquet,
}
