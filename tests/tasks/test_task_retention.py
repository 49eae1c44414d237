"""Retention files: both forms, and every way to get one wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fake_tasks import write_task
from steelyard.errors import DataError, TaskError
from steelyard.tasks import RetentionItem, load_task, read_retention

CHOICE = {"question": "2 and 2?", "choices": ["3", "4"], "answer": 1}
LAST = {"prompt": "He looked at the", "answer": " moon "}


def write(folder: Path, *rows: object) -> Path:
    path = folder / "kept.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_multiple_choice_and_last_words_are_read(tmp_path):
    assert read_retention(write(tmp_path, CHOICE, LAST)) == [
        RetentionItem("2 and 2?", ("3", "4"), 1),
        RetentionItem("He looked at the", ("moon",), 0),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "2 and 2?", "answer": 1},
        CHOICE | {"answer": 2},
        CHOICE | {"answer": True},
        CHOICE | {"answer": "4"},
        CHOICE | {"choices": ["4"], "answer": 0},
        CHOICE | {"choices": ["3", ""]},
        LAST | {"answer": " "},
        LAST | {"prompt": None},
    ],
)
def test_any_other_row_is_refused_with_its_line(tmp_path, row):
    with pytest.raises(DataError, match=r"kept.jsonl:2: .* is no row of a retention file"):
        read_retention(write(tmp_path, CHOICE, row))


def test_one_row_is_refused(tmp_path):
    with pytest.raises(DataError, match="one row tells nothing"):
        read_retention(write(tmp_path, CHOICE))


def test_a_task_names_its_retention_files_and_keeps_its_hash(tmp_path):
    plain = load_task(write_task(tmp_path))
    file = write(tmp_path, CHOICE, LAST)
    task = load_task(write_task(tmp_path, more='\n[score]\nretention = ["kept.jsonl"]\n'))
    assert task.retention == (file,)
    assert plain.retention == ()
    assert task.hash == plain.hash


def test_a_task_with_a_wrong_retention_file_is_refused(tmp_path):
    more = '\n[score]\nretention = ["kept.jsonl"]\n'
    path = write_task(tmp_path, more=more)
    with pytest.raises(TaskError, match=r"task.toml:\d+: \[score\] retention names .*no such file"):
        load_task(path)
    write(tmp_path, CHOICE, {"a": 1})
    with pytest.raises(DataError, match=r"kept.jsonl:2"):
        load_task(path)
