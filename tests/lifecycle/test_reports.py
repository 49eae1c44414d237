"""Any run can be opened again, as JSON and as one HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import write_task
from steelyard.errors import InputError
from steelyard.lifecycle import Home, find_verdict, json_text, open_home, weigh, write_report
from steelyard.tasks import load_task


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("weighed")
    task = load_task(write_task(folder))
    return weigh(task, home=folder / "home", recipes=["few-shot"]).to_json()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with open_home(tmp_path / "home") as opened:
        yield opened


def test_a_kept_verdict_is_the_one_that_was_given(verdict, home):
    home.database.add_verdict("run", verdict)
    found = find_verdict(home, None)
    assert found == verdict
    files = write_report(home, found)
    assert json.loads(files.json.read_text(encoding="utf-8")) == verdict
    assert files.json.read_text(encoding="utf-8") == json_text(verdict)
    page = files.html.read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert verdict["reason"].split(".")[0] in page


def test_a_report_is_named_by_task_hash_and_seed_and_written_again_in_place(verdict, home):
    stem = f"small-{verdict['task_hash'][:8]}-seed0"
    for _ in range(2):
        files = write_report(home, verdict)
    assert (files.json.name, files.html.name) == (f"{stem}.json", f"{stem}.html")
    other = write_report(home, {**verdict, "seed": 7})
    assert other.html.name == f"small-{verdict['task_hash'][:8]}-seed7.html"
    assert len(list(home.reports.iterdir())) == 4


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../etc/passwd", "etc-passwd"),
        ("a b/c", "a-b-c"),
        ("Überblick", "Überblick"),
        ("..", "task"),
        ("💥", "task"),
    ],
)
def test_a_report_stays_in_its_folder_whatever_the_task_is_called(verdict, home, name, safe):
    files = write_report(home, {**verdict, "task": name})
    assert files.json.parent == home.reports
    assert files.json.name.startswith(f"{safe}-")
    assert files.html.is_file()


def test_a_run_is_found_by_number_by_task_and_the_newest_by_default(verdict, home):
    old = {**verdict, "seed": 1}
    other = {**verdict, "task": "other", "seed": 2}
    for number, body in enumerate((old, verdict, other)):
        home.database.add_verdict(f"run{number}", body)
    assert find_verdict(home, None) == other
    assert find_verdict(home, "small") == verdict
    assert find_verdict(home, "1") == old
    with pytest.raises(InputError) as caught:
        find_verdict(home, "smal")
    assert str(caught.value) == (
        'run "smal" is not known. Known: other, small, 3, 2, 1. Did you mean "small"?'
    )


def test_an_empty_home_says_what_to_do(home):
    with pytest.raises(InputError, match="no verdicts here yet; run: steelyard weigh TASK"):
        find_verdict(home, None)


def test_a_number_that_json_does_not_know_is_never_written(verdict):
    with pytest.raises(ValueError, match="nan"):
        json_text({**verdict, "minutes": float("nan")})
