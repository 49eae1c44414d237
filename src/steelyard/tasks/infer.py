"""One data file → the task file that a user would have written for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from steelyard.core import Json, Task
from steelyard.errors import InputError, TaskError, unknown
from steelyard.tasks.examples import to_text
from steelyard.tasks.load import load_spec
from steelyard.tasks.rows import RawRow, parse_json, read_rows
from steelyard.tasks.task_file import DEFAULT_SCORERS, OutputType, parse_task, read_task_text

# Columns that are the answer when nobody says which is, the likeliest first.
TARGET_NAMES = ("target", "label", "intent", "output", "answer", "category", "class")


def load_data_file(data_file: str | Path, *, target: str | None = None) -> Task:
    """The task of one data file, and its task file written beside it as `<stem>.task.toml`.

    The task's notes begin with what was inferred. Nothing is written unless the task loads.

    Raises:
        TaskError: another task file of that name is there, or it cannot be written.
        InputError: a column cannot be found or guessed.
        DataError: the rows are wrong.
    """
    data_file = Path(data_file)
    text, inferred = infer_task(data_file, target=target)
    path = data_file.with_suffix(".task.toml")
    if path.exists() and read_task_text(path) != text:
        raise TaskError(
            f"{path}: this task file is there already and differs from what {data_file} would "
            "give. Expected to write it. Use that task file instead of the data file, or delete it."
        )
    task = load_spec(parse_task(path, text))
    _write(path, text)
    return replace(task, notes=(*inferred, f"Written to {path}.", *task.notes))


def infer_task(
    data_file: str | Path, *, target: str | None = None, name: str | None = None
) -> tuple[str, list[str]]:
    """The text of a task file for one data file, and a sentence for each thing inferred.

    Raises:
        InputError: a column cannot be found or guessed.
        DataError: the rows cannot be read.
    """
    data_file = Path(data_file)
    rows = read_rows(data_file)
    columns = list(dict.fromkeys(column for row in rows for column in row.values))
    notes = []
    if target is None:
        target = _guess_target(columns, data_file)
        notes.append(f'The target is the column "{target}", by its name.')
    elif target not in columns:
        raise InputError(f"{data_file}: {unknown('column', target, columns)} Name one of them.")
    source, why = _guess_input(rows, [column for column in columns if column != target], data_file)
    notes.append(why)
    output_type, why = _guess_type([row.values.get(target) for row in rows], target)
    notes.append(why)
    scorer = DEFAULT_SCORERS[output_type]
    notes.append(f"The scorer is {scorer}, the usual one for {output_type}.")
    instruction = _instruction(output_type, target)
    notes.append(f'The instruction is "{instruction}" Edit it: a better one helps every prompt.')
    lines = [
        f"name = {_toml(name or data_file.stem)}",
        f"instruction = {_toml(instruction)}",
        "",
        "[data]",
        f"files = [{_toml(data_file.name)}]",
        f"input = {_toml(source)}",
        f"target = {_toml(target)}",
        "",
        "[output]",
        f"type = {_toml(output_type)}",
        "",
        "[score]",
        f"scorer = {_toml(scorer)}",
    ]
    return "\n".join(lines) + "\n", notes


def _guess_target(columns: Sequence[str], data_file: Path) -> str:
    by_name = {column.lower(): column for column in columns}
    for name in TARGET_NAMES:
        if name in by_name:
            return by_name[name]
    raise InputError(
        f"{data_file}: no target was named, and no column is called {', '.join(TARGET_NAMES)}. "
        f"Expected one of its columns: {', '.join(columns)}. Name it with --target COLUMN."
    )


def _guess_input(rows: Sequence[RawRow], columns: Sequence[str], file: Path) -> tuple[str, str]:
    """The column of the longest texts. Addresses and codes (no space in most) come last, and a
    name with braces, which would read as a template, does not come at all."""
    best: tuple[bool, float, str] | None = None
    for column in (column for column in columns if not set(column) & set("{}")):
        cells = [row.values.get(column) for row in rows]
        texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
        if column.lower() == "id" or len(texts) * 2 < len(rows) or all(map(_is_structure, texts)):
            continue
        prose = sum(" " in text.strip() or not text.isascii() for text in texts) * 2 >= len(texts)
        length = sum(map(len, texts)) / len(rows)
        if best is None or (prose, length) > best[:2]:
            best = (prose, length, column)
    if best is None:
        raise InputError(
            f"{file}: no column holds texts to be the input (columns: {', '.join(columns)}). "
            "Expected one. Write a task file that names the input."
        )
    _, length, column = best
    rest = [other for other in columns if other not in (column, "id")]
    unseen = f" The model does not see: {', '.join(rest)}." if rest else ""
    return (
        column,
        f'The input is the column "{column}": its texts are the longest, {length:.0f} characters '
        f"on average.{unseen}",
    )


def _guess_type(values: Sequence[Json], target: str) -> tuple[OutputType, str]:
    """json: every value is an object, a list or a text of an object. label: at most 20 different
    values or one in twenty rows, whichever is more, each twice or more on average, of at most
    four words on average. text: everything else.

    Source: ours; 77 intents over 1,600 rows are labels (banking77), names and dates are text.
    """
    present = [value for value in values if value is not None]
    if present and all(_is_structure(value) for value in present):
        return "json", f'The output is json: every value of "{target}" is structured.'
    texts = [to_text(value) for value in present]
    distinct = set(texts)
    words = sum(len(text.split()) for text in texts) / max(1, len(texts))
    few = len(distinct) <= max(20, len(texts) / 20) and 2 * len(distinct) <= len(texts)
    found = f'"{target}" has {len(distinct):,} different values in {len(texts):,} rows'
    if few and words <= 4 and not any(isinstance(value, dict | list) for value in present):
        return "label", f"The output is label: {found}, {words:.1f} words on average."
    return "text", f"The output is text: {found}, {words:.1f} words on average."


def _is_structure(value: Json) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = parse_json(value)
        except ValueError:
            return False
    return isinstance(value, dict | list)


def _instruction(output_type: OutputType, target: str) -> str:
    what = target.replace("_", " ").strip() or "target"
    return {
        "label": f"Read the text and name its {what}.",
        "json": "Read the text and extract the details as JSON.",
        "text": f"Read the text and write its {what}.",
    }[output_type]


def _toml(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise TaskError(
            f"{path}: the task file cannot be written ({error.strerror}). Expected a folder that "
            "can be. Move the data file to one, or write the task file yourself."
        ) from error
