"""`steelyard check` as it is typed: exit codes, what is printed, and what is left behind."""

from __future__ import annotations

import json

import pytest

from fake_tasks import rows_of, write_task


def dirty() -> list[dict[str, str]]:
    rows = rows_of("label", 120, noise=0)  # no wrong labels: they would be severe too
    rows[9]["text"] += " card 4539 1488 0343 6467"
    return rows


def test_findings_are_printed_the_severest_first_with_rows_and_remedy(folder, steelyard):
    write_task(folder, rows=dirty())
    ran = steelyard("check", "task.toml")
    assert (ran.code, ran.err) == (0, "")
    said = " ".join(ran.out.split())
    assert "small: 72 train, 24 dev, 24 test rows. Findings: 1 severe," in said
    assert "severe personal-card Payment cards: 1 in 1 example" in said
    assert "Rows: row-10 (rows.jsonl:10)" in said
    assert said.index("personal-card") < said.index("label-balance")


def test_strict_is_exit_code_1_only_where_something_is_severe(folder, steelyard):
    write_task(folder, rows=dirty())
    assert steelyard("check", "task.toml", "--strict").code == 1
    write_task(folder / "good", rows=rows_of("label", 120, noise=0))
    assert steelyard("check", "good/task.toml", "--strict").code == 0


def test_json_and_fix_say_where_the_copy_is_and_it_passes_strictly(folder, steelyard):
    write_task(folder, rows=dirty())
    ran = steelyard("check", "task.toml", "--fix", "clean", "--json", "-")
    body = json.loads(ran.out)
    assert ran.code == 0
    assert body["fix"]["folder"] == "clean"
    log = (folder / "clean" / "changes.jsonl").read_text(encoding="utf-8").splitlines()
    assert body["fix"]["num_changes"] == len(log) >= 1
    assert "[CARD_1]" in (folder / "clean" / "rows.jsonl").read_text(encoding="utf-8")
    assert steelyard("check", "clean/task.toml", "--strict").code == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("check none.toml", "none.toml: the task file cannot be read"),
        ("check task.toml --fix .", "--fix .: it is there already"),
        ("check task.toml --chosen", ".steelyard: no home folder there"),
        ("check task.toml --json no/where.json", "--json no/where.json: cannot be written"),
    ],
)
def test_bad_input_is_exit_code_2_with_one_message(folder, steelyard, command, words):
    write_task(folder)
    ran = steelyard(*command.split())
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
