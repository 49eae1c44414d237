"""CSV and JSONL: each row a document, read as it comes, however long the file is."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TextIO

from steelyard.core import Json
from steelyard.errors import DataError
from steelyard.knowledge.reading.document import Document
from steelyard.knowledge.reading.source import Source, one_line, tidy
from steelyard.knowledge.reading.text import open_text
from steelyard.tasks.rows import SEPARATORS, parse_json, separator_of

TEXT_COLUMNS = ("text", "body", "content")
ID_COLUMNS = ("doc_id", "id")
NAMED_PROBLEMS = 3  # how many wrong rows the reason names; the rest is counted


class _Wrong(Exception):  # noqa: N818  one row, not the file: never leaves this module
    pass


def read_jsonl(source: Source) -> Iterator[Document]:
    """A document a line. Wrong lines are passed over, and told at the end.

    Raises:
        DataError: after the last good row, if others were wrong.
    """
    with open_text(source.path) as file:
        yield from _documents(source, _json_lines(file, source), "jsonl", "Line")


def read_csv(source: Source) -> Iterator[Document]:
    """A document a row below the header, as `read_jsonl`.

    Raises:
        DataError: the header is wrong, or after the last good row, if others were wrong.
    """
    limit = csv.field_size_limit(source.limits.characters)
    try:
        with open_text(source.path) as file:
            yield from _documents(source, _csv_rows(file, source), "csv", "Row")
    finally:
        csv.field_size_limit(limit)


_Rows = Iterable[tuple[int, Mapping[str, Json] | _Wrong]]


def _documents(source: Source, rows: _Rows, format: str, unit: str) -> Iterator[Document]:
    problems: list[str] = []
    num_good = num_wrong = 0
    for number, row in rows:
        try:
            if isinstance(row, _Wrong):
                raise row
            document = _document(source, row, number, format)
        except (_Wrong, DataError) as error:
            num_wrong += 1
            if num_wrong <= NAMED_PROBLEMS:
                problems.append(f"{unit} {number}: {error}")
            continue
        num_good += 1
        yield document
    if not num_good and not num_wrong:
        raise DataError("there are no rows in it. Add some, or remove the file.")
    if num_wrong:
        more = f" And {num_wrong - len(problems):,} more." if num_wrong > len(problems) else ""
        raise DataError(
            f"{num_wrong:,} of its {num_good + num_wrong:,} rows were not read. "
            f"{' '.join(problems)}{more}"
        )


def _document(source: Source, row: Mapping[str, Json], number: int, format: str) -> Document:
    names: dict[str, str] = {}
    for key in row:
        names.setdefault(key.strip().lower(), key)
    filled = {key: value for key, value in row.items() if not _is_empty(value)}
    body = next((names[n] for n in TEXT_COLUMNS if names.get(n) in filled), None)
    identity = next((names[n] for n in ID_COLUMNS if names.get(n) in filled), None)
    if body is not None:
        text = _written(filled[body])
    elif any(name in names for name in TEXT_COLUMNS):
        raise _Wrong("it has no text. Fill or remove it.")
    else:
        text = "\n".join(f"{key}: {_written(value)}" for key, value in filled.items())
    return source.document(
        tidy(text),
        format,
        id=(one_line(_written(filled[identity])) if identity else "") or f"{source.id}#{number}",
        about={key: value for key, value in filled.items() if key not in (body, identity)},
    )


def _is_empty(value: Json) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _written(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# ---------------------------------------------------------------- JSONL


def _json_lines(file: TextIO, source: Source) -> _Rows:
    for number, line in enumerate(_lines(file, source), 1):
        if isinstance(line, _Wrong):
            yield number, line
        elif line.strip():
            yield number, _json_row(line, number)


def _json_row(line: str, number: int) -> Mapping[str, Json] | _Wrong:
    try:
        row = parse_json(line)
    except ValueError as error:
        if number == 1 and line.lstrip().startswith("["):
            return _Wrong("it begins a JSON list. Write one object a line.")
        return _Wrong(f"not valid JSON: {error}. Correct it.")
    if not isinstance(row, dict):
        return _Wrong('it is no JSON object such as {"text": "…"}. Correct it.')
    return row


def _lines(file: TextIO, source: Source) -> Iterator[str | _Wrong]:
    """The lines, without ever holding more of one than the limit."""
    limit = source.limits.characters
    while line := file.readline(limit + 1):
        if len(line) <= limit or line.endswith("\n"):
            yield line
            continue
        while line and not line.endswith("\n"):
            line = file.readline(limit)
        yield _Wrong(f"longer than {limit:,} characters. Split it.")


# ---------------------------------------------------------------- CSV


def _csv_rows(file: TextIO, source: Source) -> _Rows:
    separator = separator_of(file.readline(source.limits.characters))
    file.seek(0)
    reader = csv.reader(_csv_lines(file, source), delimiter=separator, strict=True)
    header: list[str] = []
    number = 0
    try:
        for cells in reader:
            if not cells:
                continue
            if not header:
                header = _header(cells)
                continue
            number += 1
            if len(cells) != len(header):
                yield number, _Wrong(f"it has {len(cells)} cells, the header {len(header)}.")
            else:
                yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        # After this the reader no longer knows where a row begins.
        raise DataError(
            f"it was read up to row {number} and no further: line {reader.line_num} is not valid "
            f"CSV ({error}). Put cells with {SEPARATORS[separator]} or line breaks between "
            '"quotes".'
        ) from None


def _csv_lines(file: TextIO, source: Source) -> Iterator[str]:
    for line in _lines(file, source):
        if isinstance(line, _Wrong):
            raise csv.Error(str(line).rstrip("."))
        yield line


def _header(cells: list[str]) -> list[str]:
    repeated = [cell for index, cell in enumerate(cells) if cell in cells[:index]]
    if repeated:
        raise DataError(
            f'column "{repeated[0][:40]}" stands twice in its header. Rename one of them.'
        )
    return cells
