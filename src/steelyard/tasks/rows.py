"""Data files → rows that remember where they stand: JSONL, JSON lists, CSV, Parquet."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import NoReturn

from steelyard.core import Json
from steelyard.errors import DataError, need, unknown
from steelyard.tasks.wording import shown

# Source: ours. An example is read by a model whose context is far shorter, so a longer row is a
# file of another kind; reading stops there and not when the memory is full.
MAX_ROW_BYTES = 10_000_000
MAX_DEPTH = 64  # Source: ours; no answer is nested so deeply, and recursion has its limit

# What may stand between the cells of a CSV file: spreadsheets write the one of their language.
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as its file holds it; `where` is `file:line` (Parquet: the row's number)."""

    where: str
    values: Mapping[str, Json]


def read_rows(path: Path) -> list[RawRow]:
    """The rows of one data file, in its order.

    Raises:
        DataError: the file cannot be read, is malformed or holds no rows.
        MissingExtraError: a Parquet file, and pyarrow is not installed.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: {unknown('data file type', path.suffix, READERS)} "
            "Save the rows in one of these types."
        )
    try:
        rows = reader(path)
    except OSError as error:
        raise DataError(
            f"{path}: the data file cannot be read ({error.strerror or error}). "
            f"Expected a {', '.join(READERS)} file. Correct the path."
        ) from error
    if not rows:
        raise DataError(f"{path}: there are no rows in it. Expected one per example. Add rows.")
    return rows


def parse_json(text: str) -> Json:
    """A JSON value, strictly: no NaN, no half characters, no nesting beyond `MAX_DEPTH`.

    Raises:
        ValueError: with the reason in words.
    """
    try:
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
        if "\\u" in text:  # the only way to spell half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a \\ud8xx escape without its second half") from None
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column" if "\n" in text.strip() else "column"
        raise ValueError(f"{error.msg} at {at} {error.colno}") from None
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(value):
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return value


def _is_deep(value: Json) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        below = [item.values() if isinstance(item, dict) else item for item in level]
        level = [v for values in below for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True


def _finite(digits: str) -> float:
    return value if math.isfinite(value := float(digits)) else _not_json(digits)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON; write null for a missing value")


def _decode(raw: bytes, path: Path, first_line: int = 1) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        line = first_line + raw.count(b"\n", 0, error.start)
        column = error.start - raw.rfind(b"\n", 0, error.start)
        utf16 = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        looks = " (the file looks like UTF-16)" if utf16 else ""
        raise DataError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} at column {column} is not UTF-8{looks}. "
            "Expected a file in UTF-8. Save it as UTF-8, "
            "for instance with: iconv -f ENCODING -t UTF-8 OLD > NEW"
        ) from None


def _object(value: Json, where: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise DataError(
            f"{where}: the row is {shown(value)}. Expected a JSON object with a key per column, "
            'such as {"text": "…", "label": "…"}. Correct the row.'
        )
    return value


def _read_jsonl(path: Path) -> list[RawRow]:
    rows = []
    with path.open("rb") as file:
        for number in itertools.count(1):
            raw = file.readline(MAX_ROW_BYTES + 1)
            if not raw:
                break
            where = f"{path}:{number}"
            if len(raw) > MAX_ROW_BYTES:
                raise DataError(
                    f"{where}: the line is longer than {MAX_ROW_BYTES:,} bytes. "
                    "Expected one example a line. Split the row, or remove it."
                )
            if number == 1:
                raw = raw.removeprefix(codecs.BOM_UTF8)
            text = _decode(raw, path, number).rstrip()
            if not text:
                continue
            try:
                value = parse_json(text)
            except ValueError as error:
                is_list = number == 1 and text.lstrip().startswith("[")
                remedy = "Name a JSON list .json, not .jsonl." if is_list else "Correct the line."
                raise DataError(
                    f"{where}: not valid JSON: {error}. Expected one JSON object a line, "
                    f'such as {{"text": "…", "label": "…"}}. {remedy}'
                ) from None
            rows.append(RawRow(where, _object(value, where)))
    return rows


def _read_json(path: Path) -> list[RawRow]:
    text = _decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), path)
    try:
        values = parse_json(text)
    except ValueError as error:
        raise DataError(
            f"{path}: not valid JSON: {error}. Expected one list of objects. "
            "Correct it, or name the file .jsonl if it holds one object a line."
        ) from None
    if not isinstance(values, list):
        raise DataError(
            f"{path}: holds {shown(values)}. Expected one list of objects. "
            "Put the rows into a list at the top, or one object a line into a .jsonl file."
        )
    rows = []
    decoder = json.JSONDecoder()
    position, line, counted = text.index("[") + 1, 1, 0
    for number, value in enumerate(values, 1):
        while text[position] in " \t\r\n,":
            position += 1
        line += text.count("\n", counted, position)
        counted = position
        _, position = decoder.raw_decode(text, position)
        where = f"{path}:{line} (row {number})"  # a list may stand on one line
        rows.append(RawRow(where, _object(value, where)))
    return rows


def separator_of(line: str) -> str:
    """What separates the cells of a CSV file, told from its first line: a semicolon or a tab where
    commas leave a single cell.

    >>> separator_of("text;label"), separator_of("text,a;b"), separator_of("text")
    (';', ',', ',')
    """
    cells = {mark: len(next(csv.reader([line], delimiter=mark), ())) for mark in SEPARATORS}
    return "," if cells[","] > 1 else max(SEPARATORS, key=lambda mark: cells[mark])


def _read_csv(path: Path) -> list[RawRow]:
    text = _decode(path.read_bytes().removeprefix(codecs.BOM_UTF8), path)
    before = csv.field_size_limit(MAX_ROW_BYTES)
    rows: list[RawRow] = []
    header: list[str] = []
    line, separator = 1, ","
    try:
        first = io.StringIO(text.lstrip("\r\n"), newline="").readline()
        separator = "\t" if path.suffix.lower() == ".tsv" else separator_of(first)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if not cells:
                continue
            if not header:
                header = _header(cells, where)
            elif len(cells) != len(header):
                raise DataError(
                    f"{where}: the row has {len(cells)} cells. Expected {len(header)}, as in the "
                    f"header. Put cells that hold {SEPARATORS[separator]} or line breaks between "
                    '"quotes".'
                )
            else:  # CSV has no null: an empty cell is the nearest thing to it
                pairs = zip(header, cells, strict=True)
                rows.append(RawRow(where, {key: cell or None for key, cell in pairs}))
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}: not valid CSV: {error}. Expected cells between "
            f'{SEPARATORS[separator]}, quotes inside a cell doubled (""). '
            "Correct the row that begins on this line."
        ) from None
    finally:
        csv.field_size_limit(before)
    return rows


def _header(cells: list[str], where: str) -> list[str]:
    repeated = [cell for index, cell in enumerate(cells) if cell in cells[:index]]
    if repeated:
        raise DataError(
            f"{where}: column {shown(repeated[0])} stands twice in the header. "
            "Expected each name once. Rename or remove one of them."
        )
    return cells


def _read_parquet(path: Path) -> list[RawRow]:
    parquet = need("pyarrow.parquet", "parquet")
    lib = need("pyarrow", "parquet")
    with path.open("rb") as file:
        try:
            values = parquet.ParquetFile(file).read().to_pylist()
        except (lib.ArrowException, ValueError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise DataError(
                f"{path}: not a readable Parquet file: {reason}. "
                "Expected Parquet. Write the file again, or name it by the type it has."
            ) from None
    rows = []
    for number, row in enumerate(values, 1):
        where = f"{path}: row {number}"
        rows.append(RawRow(where, {key: _plain(value, where) for key, value in row.items()}))
    return rows


def _plain(value: object, where: str) -> Json:
    """A Parquet cell as JSON: dates as ISO 8601, NaN as null, maps as lists of pairs."""
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item, where) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, where) for key, item in value.items()}
    raise DataError(
        f"{where}: a cell of type {type(value).__name__} has no JSON form. "
        "Expected texts, numbers, dates, lists or structs. Convert or remove the column."
    )


READERS: dict[str, Callable[[Path], list[RawRow]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".parquet": _read_parquet,
}
