"""Each way in which a stranger gets it wrong: exit code 2, one message, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, task_text, write_rows, write_task
from steelyard.store import Database

ROWS = rows_of("label", 60)


def task(*changes: tuple[str, str], kind: str = "label", rows: Any = None) -> Callable[[], None]:
    """Writes a good task, then bends its text: each (old, new) in turn."""

    def write() -> None:
        path = write_task(Path(), kind, rows=rows_of(kind, 60) if rows is None else rows)
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    return write


def data(content: bytes) -> Callable[[], None]:
    """Writes a good task over these bytes of data."""

    def write() -> None:
        task()()
        Path("rows.jsonl").write_bytes(content)

    return write


def schema(content: Any) -> Callable[[], None]:
    def write() -> None:
        task(('type = "json"', 'type = "json"\nschema = "schema.json"'), kind="json")()
        text = content if isinstance(content, str) else json.dumps(content)
        Path("schema.json").write_text(text, encoding="utf-8")

    return write


def lines(*rows: Any) -> bytes:
    return "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()


def base(name: str) -> Callable[[], None]:
    return task(('base = ["fake"]', f'base = ["{name}"]'))


def home_file() -> None:
    task()()
    Path("mine").write_text("a file")


LATIN = "".join(f'{{"text": "caf\xe9 {n}", "target": "a"}}\n' for n in range(9)).encode("latin-1")
NUMBER = {"type": "object", "properties": {"city": {"type": "integer"}}}

# What was written, what was typed, and words of the message: where, what was expected, what to do.
CASES: dict[str, tuple[Callable[[], object], str, list[str]]] = {
    "missing task file": (
        task(),
        "weigh tusk.toml",
        ["tusk.toml", "cannot be read (No such file", "Expected a task.toml", "Correct the path"],
    ),
    "a folder without a task file": (
        task(),
        "weigh ..",
        ["..: the task file cannot be read", "Expected a task.toml"],
    ),
    "the name of a task that nobody weighed": (
        task(),
        "publish small",
        ["small: neither a file nor the name of a task", "(there is none)", "Expected a task.toml"],
    ),
    "missing data file in the task": (
        task(("rows.jsonl", "row.jsonl")),
        "weigh task.toml",
        ['task.toml:5: [data] files names "row.jsonl"', "Expected a file", '"rows.jsonl"?'],
    ),
    "missing data file": (
        task(),
        "weigh row.jsonl --target target",
        ["row.jsonl: the data file cannot be read (No such file", "Correct the path"],
    ),
    "a file of an unknown kind": (
        task(("rows.jsonl", "task.toml")),
        "weigh task.toml",
        ['data file type ".toml" is not known', ".jsonl", "Save the rows"],
    ),
    "malformed task file": (
        task(('name = "small"', "name = small")),
        "weigh task.toml",
        ["task.toml:1: not valid TOML", "Expected lines such as", "Correct the line"],
    ),
    "unknown key": (
        task(("instruction", "instrction")),
        "weigh task.toml",
        ['task.toml:2: key "instrction" is not known', 'Did you mean "instruction"?'],
    ),
    "missing key": (
        task(('name = "small"\n', "")),
        "weigh task.toml",
        ["name is missing", "Expected a text", "Add a line such as"],
    ),
    "unknown scorer": (
        task(("[models]", '[score]\nscorer = "acuracy"\n\n[models]')),
        "weigh task.toml",
        ['task.toml:13: scorer "acuracy" is not known', "Known: exact, label, fields"],
    ),
    "a scorer for another output": (
        task(("[models]", '[score]\nscorer = "fields"\n\n[models]')),
        "weigh task.toml",
        ["task.toml:13", '"fields" compares json', "Expected one of exact, label", "Change one"],
    ),
    "a scoring function that is not there": (
        task(("[models]", '[score]\nscorer = "python:nowhere:f"\n\n[models]')),
        "weigh task.toml",
        ["nowhere"],
    ),
    "column that does not exist": (
        task(('input = "text"', 'input = "txt"')),
        "weigh task.toml",
        ['task.toml:6: [data] input names the column "txt"', "Columns: text", '"text"?'],
    ),
    "target column that does not exist": (
        task(),
        "weigh rows.jsonl --target tarjet",
        ['rows.jsonl: column "tarjet" is not known', 'Did you mean "target"?', "Name one"],
    ),
    "a data file in capitals is still a data file": (
        lambda: Path("ROWS.JSONL").write_bytes(lines(*ROWS)),
        "weigh ROWS.JSONL --target tarjet",
        ['ROWS.JSONL: column "tarjet" is not known', 'Did you mean "target"?'],
    ),
    "malformed JSONL line": (
        data(lines(ROWS[0], ROWS[1], '{"text": "x", "target": }', *ROWS[2:])),
        "weigh task.toml",
        ["rows.jsonl:3: not valid JSON", "Expected one JSON object a line", "Correct the line"],
    ),
    "wrong encoding": (
        data(LATIN),
        "weigh task.toml",
        ["rows.jsonl:1: byte 0xe9 at column 14 is not UTF-8", "Save it as UTF-8", "iconv"],
    ),
    "UTF-16": (
        data(lines(*ROWS).decode().encode("utf-16")),
        "weigh task.toml",
        ["rows.jsonl:1", "looks like UTF-16", "Save it as UTF-8"],
    ),
    "empty data": (
        data(b""),
        "weigh task.toml",
        ["rows.jsonl: there are no rows in it", "Expected one per example", "Add rows"],
    ),
    "empty target": (
        data(lines(*ROWS, {"text": "x", "target": None})),
        "weigh task.toml",
        ["rows.jsonl:61: the target (column target) is empty", "Fill it in, or remove the row"],
    ),
    "many empty targets": (
        data(lines(*({"text": "x", "target": None},) * 7, *ROWS)),
        "weigh task.toml",
        [
            "rows.jsonl:1: the target (column target) is empty",
            "6 more rows cannot be read either: rows.jsonl:2, rows.jsonl:3, rows.jsonl:4, …",
        ],
    ),
    "a spreadsheet": (
        lambda: Path("rows.xlsx").write_bytes(b"PK"),
        "weigh rows.xlsx --target queue",
        ['rows.xlsx: data file type ".xlsx" is not known. Known: .jsonl', "Save the rows"],
    ),
    "one label only": (
        data(lines(*({**row, "target": "login"} for row in ROWS))),
        "weigh task.toml",
        ['rows.jsonl: every row of train and dev has the label "login"', "at least two", "Add"],
    ),
    "target not matching the schema": (
        schema(NUMBER),
        "weigh task.toml",
        ["rows.jsonl:", "does not fit schema.json: at $.city", "Correct the target, or the schema"],
    ),
    "a schema that is not a schema": (
        schema({"type": "object", "properties": 5}),
        "weigh task.toml",
        ["schema.json: not a JSON Schema: at $.properties", "Expected", "Correct the file"],
    ),
    "a schema that is not JSON": (
        schema("{"),
        "weigh task.toml",
        ["schema.json: the schema is not valid JSON", "Expected a JSON Schema", "Correct"],
    ),
    "a schema that is not there": (
        task(('type = "json"', 'type = "json"\nschema = "schema.json"'), kind="json"),
        "weigh task.toml",
        ['[output] schema names "schema.json"', "Expected a file"],
    ),
    "fewer rows than the splits need": (
        data(lines(*ROWS[:3])),
        "weigh task.toml",
        ["rows.jsonl: fewer rows than the splits need", "needs 2", "Add rows"],
    ),
    "a model folder that is not there": (
        base("./no-model"),
        "weigh task.toml",
        ["no-model", "is not there", 'expected "default", a model folder, a .gguf file'],
    ),
    "a model file that is not there": (
        base("no-model.gguf"),
        "weigh task.toml",
        ["no-model.gguf: no such file", "expected a .gguf model"],
    ),
    "a model folder that holds none": (
        base("."),
        "weigh task.toml",
        ["the folder lacks config.json", "expected a Hugging Face model folder"],
    ),
    "a home folder that is a file": (
        home_file,
        "weigh task.toml --home mine",
        ["mine: the home folder cannot be written", "expected a folder you may write to", "--home"],
    ),
    "a home folder inside a file": (
        home_file,
        "weigh task.toml --home mine/deep",
        ["mine/deep: the home folder cannot be written", "--home"],
    ),
    "unknown recipe": (
        task(),
        "weigh task.toml --recipes few-shot,loar",
        ['recipe "loar" is not known', "Known: majority", 'Did you mean "lora"?'],
    ),
    "no minutes": (task(), "weigh task.toml --minutes 0", ["--minutes 0", "expected more than 0"]),
    "minutes that are no number": (
        task(),
        "weigh task.toml --minutes nan",
        ["--minutes nan", "expected more than 0"],
    ),
    "a seed below 0": (task(), "weigh task.toml --seed -1", ["seed", "-1"]),
    "a JSON path in a folder that is not there": (
        task(),
        "weigh task.toml --json no/such/out.json",
        ["--json no/such/out.json: cannot be written", "expected a file in a folder that exists"],
    ),
    "a JSON path that is a folder": (
        task(),
        "weigh task.toml --json .",
        ["--json .: cannot be written", "expected a file"],
    ),
    "a target for a task file": (
        task(),
        "weigh task.toml --target text",
        ["--target text", "task.toml is a task file"],
    ),
    "documents": (
        task(("[models]", '[knowledge]\ndocuments = ["a.md"]\n\n[models]')),
        "weigh task.toml",
        ['task.toml:13: [knowledge] documents names "a.md"', "Correct the path"],
    ),
    "asking as of no time": (
        task(),
        "ask task.toml hello --time May",
        ["--time May: expected ISO 8601"],
    ),
    "asking before weighing": (
        task(),
        "ask task.toml hello",
        [".steelyard: no home folder there", "weigh a task first", "--home"],
    ),
    "a report where nothing was weighed": (
        task(),
        "report",
        [".steelyard: no home folder there", "weigh a task first", "--home"],
    ),
}  # fmt: skip


def contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in Path().rglob("*")}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_is_exit_code_2_one_message_and_nothing_half_written(case, folder, steelyard):
    prepare, typed, words = CASES[case]
    prepare()
    before = contents()
    ran = steelyard(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    *usage, message = ran.err.strip().splitlines()
    assert "Traceback" not in ran.err
    assert message.lower().startswith("error: ")
    assert usage == [] or usage[0].startswith("Usage: ")  # said by the parser, under its own head
    for word in words:
        assert word in message
    assert contents() == before


@pytest.mark.parametrize(
    "typed", ["wiegh task.toml", "weigh", "weigh a b", "weigh --sead 1 t.toml"]
)
def test_wrong_usage_is_exit_code_2_and_names_what_is_wrong(folder, steelyard, typed):
    ran = steelyard(*typed.split())
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: ")
    assert "Error: " in ran.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.ENOSPC, 1, "failed: big.bin: No space left on device; free some, and the same"),
        (errno.EACCES, 2, "error: big.bin: Permission denied; expected a place that you may read"),
    ],
)
def test_a_full_disk_and_a_locked_place_are_one_message(
    folder, steelyard, monkeypatch, number, code, said
):
    def full(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "big.bin")

    task()()
    monkeypatch.setattr(sys.modules["steelyard.cli.weigh"], "weigh", full)
    ran = steelyard("weigh", "task.toml")
    assert (ran.code, ran.out) == (code, "")
    [message] = ran.err.splitlines()
    assert message.startswith(said)


def test_a_database_on_a_full_disk_is_exit_code_1_with_one_message(folder, steelyard, monkeypatch):
    def full(database: Database, *_: object) -> None:
        with database.engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
            connection.exec_driver_sql("CREATE TABLE more AS SELECT randomblob(1000000)")

    task()()
    monkeypatch.setattr(Database, "add_rows", full)
    ran = steelyard("weigh", "task.toml")
    assert (ran.code, ran.out) == (1, "")
    [message] = ran.err.splitlines()
    assert message == (
        "failed: a database of the home folder cannot be written (database or disk is full); "
        "expected room on a disk that you may write to"
    )


def test_a_database_that_is_none_is_exit_code_1_with_one_message(folder, steelyard):
    task()()
    Path(".steelyard").mkdir()
    Path(".steelyard/steelyard.db").write_text("not a database " * 100)
    ran = steelyard("weigh", "task.toml")
    assert (ran.code, ran.out) == (1, "")
    [message] = ran.err.splitlines()
    assert message.startswith("failed: .steelyard/steelyard.db: the database cannot be opened")


def too_long(policy: str) -> None:
    long = {"text": "word " * 2100, "target": "login"}
    parts = {"train": ROWS[:30], "dev": [*ROWS[30:49], long], "test": ROWS[49:]}
    for name, rows in parts.items():
        write_rows(Path(f"{name}.jsonl"), rows)
    files = "".join(f'{name} = "{name}.jsonl"\n' for name in parts)
    text = task_text(more=f'[limits]\ntoo_long = "{policy}"\n')
    Path("task.toml").write_text(text.replace('files = ["rows.jsonl"]\n', files), encoding="utf-8")


@pytest.mark.parametrize(("policy", "errors"), [("error", 1), ("truncate", 0)])
def test_an_input_longer_than_the_context_is_reported_per_example_or_cut(
    folder, steelyard, policy, errors
):
    too_long(policy)
    ran = steelyard("weigh", "task.toml", "--recipes", "few-shot", "--json", "out.json")
    assert (ran.code, ran.err) == (0, "")
    assert ("few-shot failed on 1 dev example" in ran.out) == bool(errors)
    verdict = json.loads(Path("out.json").read_text(encoding="utf-8"))
    [few_shot] = [recipe for recipe in verdict["recipes"] if recipe["name"] == "few-shot"]
    assert few_shot["dev"]["num_errors"] == errors


def test_an_inferred_task_file_is_whole_or_not_there(folder, steelyard):
    write_rows(Path("rows.jsonl"), [*ROWS, "{"])
    assert steelyard("weigh", "rows.jsonl", "--target", "target").code == 2
    assert [p.name for p in folder.iterdir()] == ["rows.jsonl"]
