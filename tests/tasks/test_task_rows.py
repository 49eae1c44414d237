"""Data files: the same rows from every type, and a place for every fault."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.errors import DataError, MissingExtraError
from steelyard.tasks import rows as rows_module
from steelyard.tasks.rows import parse_json, read_rows


def write(name: str, content: str | bytes) -> Path:
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_rows(path)
    return str(caught.value)


def values(path: Path) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path)]


def test_every_type_gives_the_same_rows(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    rows = [{"text": 'a "b", c\nd', "label": "é"}, {"text": "x", "label": None}]
    write("r.jsonl", "\n".join(json.dumps(row) for row in rows))
    write("r.json", json.dumps(rows, indent=1))
    write("r.csv", 'text,label\n"a ""b"", c\nd",é\nx,\n')
    write("r.tsv", 'text\tlabel\n"a ""b"", c\nd"\té\nx\t\n')
    parquet.write_table(arrow.Table.from_pylist(rows), "r.parquet")
    for suffix in rows_module.READERS:
        assert values(Path("r" + suffix)) == rows


def test_rows_remember_their_lines(folder: Path) -> None:
    def places(path: Path) -> list[str]:
        return [row.where for row in read_rows(path)]

    assert places(write("a.jsonl", '{"a":1}\n\n{"a":2}\n')) == ["a.jsonl:1", "a.jsonl:3"]
    assert places(write("a.csv", 'a\r\n"x\r\ny"\r\n\r\nz\r\n')) == ["a.csv:2", "a.csv:5"]
    assert places(write("a.json", ' [\n{"a":\n1},\n\n{"a":2}, {"a":3}]')) == [
        "a.json:2 (row 1)",
        "a.json:5 (row 2)",
        "a.json:5 (row 3)",
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_is_read_as_spreadsheets_of_any_language_write_it(
    folder: Path, separator: str, end: str
) -> None:
    lines = ["", f"text{separator}label", f'"a{separator} ""b"""{separator}x', f"c{separator}"]
    rows = [{"text": f'a{separator} "b"', "label": "x"}, {"text": "c", "label": None}]
    assert values(write("a.csv", "\ufeff" + end.join(lines))) == rows


def test_marks_within_the_cells_of_a_header_do_not_separate(folder: Path) -> None:
    assert values(write("a.csv", "text,a;b\nx;y,z\n")) == [{"text": "x;y", "a;b": "z"}]
    assert values(write("b.csv", '"text;label"\nx\n')) == [{"text;label": "x"}]


def test_tabs_alone_separate_cells_where_the_name_says_so(folder: Path) -> None:
    assert values(write("a.tsv", "one, two, three\tlabel\nx, y\tz\n")) == [
        {"one, two, three": "x, y", "label": "z"}
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_a_byte_order_mark_is_not_data(folder: Path, name: str) -> None:
    content = {"a.jsonl": '{"a": "1"}', "a.json": '[{"a": "1"}]', "a.csv": "a\n1\n"}[name]
    assert values(write(name, "\ufeff" + content)) == [{"a": "1"}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.jsonl",
            '{"a": 1}\n{"a": }\n',
            "a.jsonl:2: not valid JSON: Expecting value at column 7. Expected one JSON object a "
            'line, such as {"text": "…", "label": "…"}. Correct the line.',
        ),
        (
            "a.jsonl",
            '[\n{"a": 1}\n]',
            "a.jsonl:1: not valid JSON: Expecting value at column 2. Expected one JSON "
            'object a line, such as {"text": "…", "label": "…"}. '
            "Name a JSON list .json, not .jsonl.",
        ),
        (
            "a.jsonl",
            '{"a": NaN}',
            "a.jsonl:1: not valid JSON: NaN is not JSON; write null for a missing value. Expected "
            'one JSON object a line, such as {"text": "…", "label": "…"}. Correct the line.',
        ),
        (
            "a.jsonl",
            '{"a": 1e999}',
            "a.jsonl:1: not valid JSON: 1e999 is not JSON; write null for a missing value. "
            'Expected one JSON object a line, such as {"text": "…", "label": "…"}. '
            "Correct the line.",
        ),
        (
            "a.jsonl",
            '{"a": "\\ud800"}',
            "a.jsonl:1: not valid JSON: a \\ud8xx escape without its second half. Expected one "
            'JSON object a line, such as {"text": "…", "label": "…"}. Correct the line.',
        ),
        (
            "a.jsonl",
            '{"a": 1}\n["x"]\n',
            'a.jsonl:2: the row is ["x"]. Expected a JSON object with a key per column, such as '
            '{"text": "…", "label": "…"}. Correct the row.',
        ),
        (
            "a.jsonl",
            b'{"a": 1}\n{"a": "caf\xe9"}\n',
            "a.jsonl:2: byte 0xe9 at column 11 is not UTF-8. Expected a file in UTF-8. Save it as "
            "UTF-8, for instance with: iconv -f ENCODING -t UTF-8 OLD > NEW",
        ),
        (
            "a.csv",
            "text,label\nx,y\n".encode("utf-16"),
            "a.csv:1: byte 0xff at column 1 is not UTF-8 (the file looks like UTF-16). Expected a "
            "file in UTF-8. Save it as UTF-8, for instance with: "
            "iconv -f ENCODING -t UTF-8 OLD > NEW",
        ),
        (
            "a.csv",
            b"text,label\nx,y\ncaf\xe9,y\n",
            "a.csv:3: byte 0xe9 at column 4 is not UTF-8. Expected a file in UTF-8. Save it as "
            "UTF-8, for instance with: iconv -f ENCODING -t UTF-8 OLD > NEW",
        ),
        (
            "a.csv",
            "text,label\nx,y\na,b,c\n",
            "a.csv:3: the row has 3 cells. Expected 2, as in the header. Put cells that hold "
            'commas or line breaks between "quotes".',
        ),
        (
            "a.csv",
            'text,label\nx,y\n"open,y\nz,y\n',
            "a.csv:3: not valid CSV: unexpected end of data. Expected cells between commas, "
            'quotes inside a cell doubled (""). Correct the row that begins on this line.',
        ),
        (
            "a.csv",
            "text;label\nx;y\na;b;c\n",
            "a.csv:3: the row has 3 cells. Expected 2, as in the header. Put cells that hold "
            'semicolons or line breaks between "quotes".',
        ),
        (
            "a.csv",
            "text,text\nx,y\n",
            'a.csv:1: column "text" stands twice in the header. Expected each name once. '
            "Rename or remove one of them.",
        ),
        (
            "a.json",
            '{"rows": []}',
            'a.json: holds {"rows": []}. Expected one list of objects. Put the rows into a list '
            "at the top, or one object a line into a .jsonl file.",
        ),
        (
            "a.json",
            '{"a": 1}\n{"a": 2}\n',
            "a.json: not valid JSON: Extra data at line 2, column 1. Expected one list of "
            "objects. Correct it, or name the file .jsonl if it holds one object a line.",
        ),
        ("a.jsonl", "\n", "a.jsonl: there are no rows in it. Expected one per example. Add rows."),
        ("a.csv", "a,b\n", "a.csv: there are no rows in it. Expected one per example. Add rows."),
        ("a.json", "[]", "a.json: there are no rows in it. Expected one per example. Add rows."),
        (
            "a.txt",
            "x",
            'a.txt: data file type ".txt" is not known. Known: .jsonl, .json, .csv, .tsv, '
            ".parquet. Save the rows in one of these types.",
        ),
        (
            "a.parquet",
            "not parquet at all",
            "a.parquet: not a readable Parquet file: Parquet magic bytes not found in footer. "
            "Either the file is corrupted or this is not a parquet file. "
            "Expected Parquet. Write the file again, or name it by the type it has.",
        ),
    ],
)
def test_a_broken_file_is_an_error_with_line_expectation_and_remedy(
    folder: Path, name: str, content: str | bytes, expected: str
) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow.parquet")
    assert message(write(name, content)) == expected


def test_a_missing_file_is_an_error(folder: Path) -> None:
    assert message(Path("gone.csv")) == (
        "gone.csv: the data file cannot be read (No such file or directory). "
        "Expected a .jsonl, .json, .csv, .tsv, .parquet file. Correct the path."
    )


def test_a_line_beyond_the_cap_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MAX_ROW_BYTES", 20)
    long = json.dumps({"a": "x" * 20})
    assert message(write("a.jsonl", '{"a": 1}\n' + long)) == (
        "a.jsonl:2: the line is longer than 20 bytes. Expected one example a line. "
        "Split the row, or remove it."
    )
    assert message(write("a.csv", "a\n" + "x" * 21)).startswith(
        "a.csv:2: not valid CSV: field larger than field limit (20)."
    )


def test_nesting_beyond_the_cap_is_an_error_and_up_to_it_is_not() -> None:
    cap = rows_module.MAX_DEPTH
    assert parse_json("[" * cap + "]" * cap) is not None
    for depth in (cap + 1, 100_000):
        with pytest.raises(ValueError, match=f"nested more than {cap} deep"):
            parse_json("[" * depth + "]" * depth)
    assert len(parse_json("[" + "[]," * 500 + "[]]")) == 501


def test_parquet_cells_become_json(folder: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    row = {
        "time": datetime(2024, 5, 6, 7, 8),
        "price": Decimal("1.50"),
        "score": float("nan"),
        "tags": ["a", "b"],
        "nested": {"n": 1, "ok": True},
    }
    parquet.write_table(arrow.Table.from_pylist([row]), "a.parquet")
    assert values(Path("a.parquet")) == [
        {
            "time": "2024-05-06T07:08:00",
            "price": 1.5,
            "score": None,
            "tags": ["a", "b"],
            "nested": {"n": 1, "ok": True},
        }
    ]
    parquet.write_table(arrow.Table.from_pylist([{"a": b"raw"}]), "b.parquet")
    assert message(Path("b.parquet")) == (
        "b.parquet: row 1: a cell of type bytes has no JSON form. "
        "Expected texts, numbers, dates, lists or structs. Convert or remove the column."
    )


def test_parquet_without_its_extra_says_how_to_install_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'steelyard\[parquet\]'"):
        read_rows(write("a.parquet", "x"))


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
WRITERS: dict[str, Callable[[list[dict[str, str]]], str]] = {
    ".jsonl": lambda rows: "\n".join(json.dumps(row) for row in rows),
    ".json": lambda rows: json.dumps(rows, ensure_ascii=False, indent=2),
}


@settings(max_examples=50)
@given(rows=st.lists(st.fixed_dictionaries({"a": TEXTS, "b": TEXTS}), min_size=1, max_size=5))
def test_what_json_writes_is_read_back(
    rows: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("json")
    for suffix, dump in WRITERS.items():
        path = base / f"a{suffix}"
        path.write_bytes(dump(rows).encode())
        assert values(path) == rows
