"""What a task may be learned from beside its examples: inputs without targets, and preferences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from steelyard.core import Json, Preference, digest
from steelyard.errors import DataError, nearest
from steelyard.tasks.examples import Template, to_text
from steelyard.tasks.rows import RawRow, parse_json, read_rows
from steelyard.tasks.task_file import OutputType
from steelyard.tasks.wording import count, shown

SIDES = ("chosen", "rejected")


def read_unlabelled(
    file: Path, template: Template, measured: Collection[str]
) -> tuple[tuple[str, ...], list[str]]:
    """The inputs of a file, each once and none that dev or test asks, and notes about the others.

    Raises:
        DataError: a column is missing, or an input is empty.
    """
    rows = read_rows(file)
    _check_columns(rows, file, template.columns)
    inputs = list(dict.fromkeys(_input(row, template) for row in rows))
    kept = tuple(text for text in inputs if text not in measured)
    return kept, _dropped(len(inputs) - len(kept), "unlabelled input", file)


def read_preferences(
    file: Path, template: Template, output_type: OutputType, measured: Collection[str]
) -> tuple[tuple[Preference, ...], list[str]]:
    """The pairs of a file with the columns of the input, `chosen` and `rejected`, none of them
    about an input that dev or test asks, and notes about the others.

    Raises:
        DataError: a column is missing, a cell is empty, or both answers are the same.
    """
    rows = read_rows(file)
    _check_columns(rows, file, (*template.columns, *SIDES))
    pairs = [_preference(row, template, output_type) for row in rows]
    kept = tuple(pair for pair in pairs if pair.input not in measured)
    return kept, _dropped(len(pairs) - len(kept), "preference", file)


def _dropped(number: int, what: str, file: Path) -> list[str]:
    if not number:
        return []
    verb = "is" if number == 1 else "are"
    return [
        f"{count(number, what)} of {file.name} {verb} about inputs of dev or test and "
        f"{verb} not learned from."
    ]


def _preference(row: RawRow, template: Template, output_type: OutputType) -> Preference:
    text = _input(row, template)
    chosen, rejected = (_answer(row, side, output_type) for side in SIDES)
    if chosen == rejected:
        raise DataError(
            f"{row.where}: chosen and rejected are both {shown(chosen)}. Expected two different "
            "answers, of which the first is the better one. Correct one, or remove the row."
        )
    return Preference(text, chosen, rejected, digest(text)[:16])


def _answer(row: RawRow, side: str, output_type: OutputType) -> Json:
    value = row.values.get(side)
    text = to_text(value).strip()
    if not text:
        raise DataError(
            f"{row.where}: {side} is empty. Expected an answer. Fill it in, or remove the row."
        )
    if output_type != "json":
        return text
    try:
        return parse_json(value) if isinstance(value, str) else value
    except ValueError as error:
        raise DataError(
            f"{row.where}: {side} is {shown(value)}, which is not valid JSON: {error}. "
            'Expected JSON, as [output] type is "json". Correct the cell.'
        ) from None


def _input(row: RawRow, template: Template) -> str:
    if not any(to_text(row.values.get(column)).strip() for column in template.columns):
        raise DataError(
            f"{row.where}: the input (column {', '.join(template.columns)}) is empty. "
            "Expected a text. Fill it in, or remove the row."
        )
    return template.fill(row.values)


def _check_columns(rows: Sequence[RawRow], file: Path, columns: Sequence[str]) -> None:
    known = list(dict.fromkeys(column for row in rows for column in row.values))
    for column in columns:
        if column not in known:
            raise DataError(
                f'{file}: there is no column "{column}" in it. Expected the columns '
                f"{', '.join(columns)}. Columns: {', '.join(known)}. "
                f"Rename one.{nearest(column, known)}"
            )
