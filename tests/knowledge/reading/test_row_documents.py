"""CSV and JSONL: a document a row, wrong rows told, long ones never held."""

from __future__ import annotations

import json

import pytest
from made_files import only, read

from steelyard.knowledge.reading import ReadingLimits

ROW = {
    "doc_id": "d1",
    "title": "T",
    "text": "Hello\r\nyou",
    "valid_from": 2019,
    "valid_to": "2020-05-01T12:00:00+02:00",
    "tenant": "acme",
    "user": 7,
    "year": 2020,
    "nothing": None,
    "list": [1],
}


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_jsonl_row_is_a_document(tmp_path):
    document = only(tmp_path / "a.jsonl", lines(ROW))
    assert (document.id, document.title, document.text) == ("d1", "T", "Hello\nyou")
    assert (document.valid_from, document.valid_to) == ("2019-01-01", "2020-05-01T10:00:00")
    assert (document.tenant, document.user, document.format) == ("acme", "7", "jsonl")
    assert document.metadata == {"year": 2020, "list": [1]}


def test_a_csv_row_is_a_document(tmp_path):
    documents, reason = read(
        tmp_path / "a.csv",
        'ID,Title,Body,lang\r\n5,One,"Two\r\nlines",en\r\n\r\n,,Three,\r\n',
    )
    assert reason is None
    assert [(d.id, d.title, d.text) for d in documents] == [
        ("5", "One", "Two\nlines"),
        ("a.csv#2", "a", "Three"),
    ]
    assert [d.metadata for d in documents] == [{"lang": "en"}, {}]


def test_without_a_text_column_all_columns_are_the_text(tmp_path):
    document = only(tmp_path / "a.jsonl", lines({"id": "W1", "size": 4, "tags": ["ä"], "no": ""}))
    assert document.text == 'id: W1\nsize: 4\ntags: ["ä"]'
    assert document.id == "W1"
    assert document.metadata == {"size": 4, "tags": ["ä"]}


def test_wrong_rows_are_told_and_the_others_read(tmp_path):
    content = (
        lines({"text": "one"})
        + '{"text": \n[1]\n\n{"text": NaN}\n'
        + lines({"text": ""}, {"text": "x", "valid_to": "soon"}, {"text": "two"})
    )
    documents, reason = read(tmp_path / "a.jsonl", content)
    assert [(d.id, d.text) for d in documents] == [("a.jsonl#1", "one"), ("a.jsonl#8", "two")]
    assert str(reason).startswith("5 of its 7 rows were not read. Line 2: not valid JSON: ")
    assert str(reason).endswith("And 2 more.")


def test_csv_between_semicolons_or_tabs_is_read(tmp_path):
    for separator in (";", "\t"):
        content = f"text{separator}x\na, b{separator}1\n"
        [document], reason = read(tmp_path / "a.csv", content)
        assert (document.text, document.metadata, reason) == ("a, b", {"x": "1"}, None)


def test_csv_rows_of_another_length_are_told(tmp_path):
    documents, reason = read(tmp_path / "a.csv", "text,x\na,1\nb\nc,3\n")
    assert [d.text for d in documents] == ["a", "c"]
    assert reason == "1 of its 3 rows were not read. Row 2: it has 1 cells, the header 2."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("text,text\na,b\n", "stands twice"),
        ("text\n", "no rows"),
        ('text\nfine\n"never closed\n', "read up to row 1 and no further"),
    ],
)
def test_a_broken_csv_is_told(tmp_path, content, says):
    assert says in str(read(tmp_path / "a.csv", content)[1])


def test_a_json_list_named_jsonl_is_told(tmp_path):
    assert "Write one object a line" in str(read(tmp_path / "a.jsonl", '[\n{"a": 1}\n]')[1])


def test_deeply_nested_json_is_told(tmp_path):
    deep = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
    documents, reason = read(tmp_path / "a.jsonl", deep + lines({"text": "fine"}))
    assert [d.text for d in documents] == ["fine"]
    assert "nested more than" in str(reason)


def test_a_line_over_the_limit_is_told_and_the_next_one_read(tmp_path):
    limits = ReadingLimits(characters=1000)
    for name in ("a.jsonl", "a.ndjson"):
        content = lines({"text": "one"}, {"text": "x" * 50_000}, {"text": "two"})
        documents, reason = read(tmp_path / name, content, limits)
        assert [d.text for d in documents] == ["one", "two"]
        assert "Line 2: longer than 1,000 characters" in str(reason)
    documents, reason = read(tmp_path / "a.csv", f"text\none\n{'x' * 5000}\ntwo\n", limits)
    assert [d.text for d in documents] == ["one"]
    assert "longer than 1,000 characters" in str(reason)


def test_the_rows_of_a_file_in_windows_1252_are_read(tmp_path):
    documents, _ = read(tmp_path / "a.csv", "text\nKäse für alle\n".encode("cp1252"))
    assert [d.text for d in documents] == ["Käse für alle"]
