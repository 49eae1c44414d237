"""The docs are true: commands parse, task files load, options are all described."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

import steelyard
from steelyard.cli.main import app
from steelyard.measure.scorers import SCORERS as SCORER_TABLE
from steelyard.recipes import presets
from steelyard.tasks import SCORERS, load_task

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS: Any = typer.main.get_command(app)


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def command_lines() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                _, _, command = line.rpartition("| ")
                command = command.removeprefix("$ ")
                if command.startswith("steelyard "):
                    found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_every_documented_command_parses(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: Any = COMMANDS
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    context = command.make_context("steelyard", words, resilient_parsing=False)
    assert context.params is not None


@pytest.mark.parametrize("name", sorted(COMMANDS.commands))
def test_every_option_is_on_the_page_of_its_verb(name: str) -> None:
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    command = COMMANDS.commands[name]
    for verb in getattr(command, "commands", {"": command}).values():
        for parameter in verb.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert f"`{parameter.opts[0]}" in page, parameter.opts


def test_every_key_of_the_documented_task_file_is_accepted(tmp_path: Path) -> None:
    [block] = blocks(ROOT / "docs" / "task-file.md", "toml")
    documented = tomllib.loads(block)
    (tmp_path / "handbook").mkdir()
    (tmp_path / "faq.md").write_text("Ask.", encoding="utf-8")
    (tmp_path / "more.jsonl").write_text('{"text": "someone"}', encoding="utf-8")
    (tmp_path / "pairs.jsonl").write_text(
        '{"text": "someone", "chosen": {"name": "p"}, "rejected": {"name": null}}', encoding="utf-8"
    )
    (tmp_path / "orders.jsonl").write_text('{"user": "u1", "text": "tea"}', encoding="utf-8")
    rows = "\n".join(
        f'{{"text": "person {i}", "output": {{"name": "p{i}"}}, "candidate_id": "c{i}", '
        f'"source_ids": ["faq.md"], '
        f'"user_id": "u{i}", "created_at": "2026-01-01", "row_id": "r{i}"}}'
        for i in range(20)
    )
    (tmp_path / "resumes.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "resume.schema.json").write_text(
        '{"type": "object", "properties": {"name": {"type": "string"}}}', encoding="utf-8"
    )
    (tmp_path / "task.toml").write_text(block, encoding="utf-8")
    task = load_task(tmp_path / "task.toml")
    assert task.instruction == documented["instruction"]
    assert task.tolerance == documented["score"]["tolerance"]
    assert task.limits.minutes == documented["limits"]["minutes"]
    assert len(task.train) + len(task.dev) + len(task.test) == 20


def test_the_scorers_that_tasks_accept_are_those_that_measure_has() -> None:
    assert set(SCORERS) == set(SCORER_TABLE)
    page = (ROOT / "docs" / "task-file.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in SCORERS)


def test_every_preset_is_described(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "weigh.md").read_text(encoding="utf-8")
    for example in ("resumes", "tickets", "rewrite"):
        task = load_task(ROOT / "examples" / example / "task.toml")
        for name in presets(task):
            way, plus, decoding = name.rpartition("+")
            if decoding not in ("constrained", "calibrated"):
                way, plus = name, ""
            assert f"`{way}`" in page
            assert not plus or f"`+{decoding}`" in page


def test_the_public_names_are_there() -> None:
    for name in steelyard.__all__:
        assert getattr(steelyard, name) is not None
    with pytest.raises(AttributeError):
        steelyard.nothing_of_the_kind  # noqa: B018
