"""A small, correct task in an empty folder, for tests to bend."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROWS = [
    {"id": f"t{number}", "text": f"ticket {number}", "label": ("card", "cash", "fee")[number % 3]}
    for number in range(30)
]
TASK = """\
name = "tickets"
instruction = "Name the intent."

[data]
files = ["tickets.jsonl"]
input = "text"
target = "label"

[output]
type = "label"
"""


def write_jsonl(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, so that messages hold relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def task_file(folder: Path) -> Callable[..., Path]:
    """Writes tickets.jsonl and task.toml, the latter with each pair of texts replaced."""

    def write(
        *changes: tuple[str, str], rows: Sequence[object] | None = ROWS, add: str = ""
    ) -> Path:
        if rows is not None:
            write_jsonl(Path("tickets.jsonl"), rows)
        text = TASK
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = Path("task.toml")
        path.write_text(text + add, encoding="utf-8")
        return path

    return write
