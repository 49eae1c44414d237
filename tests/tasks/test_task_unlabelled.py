"""Inputs without targets, and preferences, as task files name them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, task_text, write_rows
from steelyard.core import Preference, Task
from steelyard.errors import DataError, TaskError
from steelyard.tasks import load_task


def load(folder: Path, key: str, rows: Sequence[Any] | None, kind: str = "text") -> Task:
    folder.mkdir(exist_ok=True)
    write_rows(folder / "rows.jsonl", rows_of(kind, 40))
    if rows is not None:
        write_rows(folder / "more.jsonl", rows)
    text = task_text(kind).replace("[data]\n", f'[data]\n{key} = "more.jsonl"\n')
    (folder / "task.toml").write_text(text, encoding="utf-8")
    return load_task(folder / "task.toml")


def pair(text: str, chosen: Any = "a", rejected: Any = "b") -> dict[str, Any]:
    return {"text": text, "chosen": chosen, "rejected": rejected}


def test_unlabelled_inputs_are_read_each_once(tmp_path):
    task = load(tmp_path, "unlabelled", [{"text": "one"}, {"text": "two"}, {"text": "one"}])
    assert task.unlabelled == ("one", "two")
    assert not any("more.jsonl" in note for note in task.notes)


def test_what_dev_and_test_ask_is_learned_from_in_no_way(tmp_path):
    plain = load(tmp_path, "unlabelled", [{"text": "one"}])
    asked = [plain.dev[0].input, plain.test[0].input, plain.train[0].input, "one"]
    task = load(tmp_path, "unlabelled", [{"text": text} for text in asked])
    assert task.unlabelled == (plain.train[0].input, "one")
    assert "2 unlabelled inputs of more.jsonl are about inputs of dev or test" in task.notes[-1]
    task = load(tmp_path, "preferences", [pair(text) for text in asked])
    assert [p.input for p in task.preferences] == [plain.train[0].input, "one"]
    assert "2 preferences of more.jsonl are about inputs of dev or test" in task.notes[-1]


def test_preferences_are_read_with_their_sides_in_the_form_of_the_task(tmp_path):
    [text] = load(tmp_path / "t", "preferences", [pair("x", " good ", "bad")]).preferences
    assert (text.input, text.chosen, text.rejected) == ("x", "good", "bad")
    rows = [pair("x", {"city": "Rome"}, '{"city": null}')]
    [as_json] = load(tmp_path / "j", "preferences", rows, "json").preferences
    assert as_json == Preference("x", {"city": "Rome"}, {"city": None}, text.group)


@pytest.mark.parametrize(
    ("kind", "chosen", "rejected"),
    [("text", "same ", "same"), ("json", {"a": 1, "b": 2}, '{"b": 2, "a": 1}')],
)
def test_equal_sides_are_an_error_with_the_line(tmp_path, kind, chosen, rejected):
    rows = [pair("x"), pair("y", chosen, rejected)]
    if kind == "json":
        rows[0] = pair("x", {"a": 1}, {"a": 2})
    with pytest.raises(DataError, match=r"more\.jsonl:2: chosen and rejected are both"):
        load(tmp_path, "preferences", rows, kind)


@pytest.mark.parametrize(
    ("key", "rows", "message"),
    [
        ("unlabelled", [{"text": "x"}, {"text": " "}], r"more\.jsonl:2: the input \(column text\)"),
        ("unlabelled", [{"txt": "x"}], 'there is no column "text" in it.*Did you mean|Rename one'),
        ("preferences", [{"text": "x", "chosen": "a"}], 'there is no column "rejected"'),
        ("preferences", [pair("x"), pair("y", "")], r"more\.jsonl:2: chosen is empty"),
        ("unlabelled", None, r"more\.jsonl"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, key, rows, message):
    with pytest.raises((DataError, TaskError), match=message):
        load(tmp_path, key, rows)


def test_a_side_that_is_no_json_is_an_error_where_json_is_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"more\.jsonl:1: rejected is .* not valid JSON"):
        load(tmp_path, "preferences", [pair("x", {"a": 1}, "{a")], "json")


def test_the_task_hash_covers_both(tmp_path):
    hashes = [
        load(tmp_path / str(n), key, rows).hash
        for n, (key, rows) in enumerate(
            [
                ("unlabelled", [{"text": "one"}]),
                ("unlabelled", [{"text": "two"}]),
                ("preferences", [pair("one")]),
                ("preferences", [pair("one", "c")]),
            ]
        )
    ]
    assert len(set(hashes)) == 4
