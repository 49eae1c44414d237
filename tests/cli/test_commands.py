"""weigh, ask and report as they are typed: what goes where, and what comes back later."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import steelyard as package
from fake_tasks import rows_of, write_rows, write_task
from steelyard.core import Answer
from steelyard.lifecycle import open_home
from steelyard.models.fake import FakeBackend
from steelyard.recipes.answering import LanguageModelSystem

WEIGH = ("weigh", "task.toml", "--recipes", "nearest-shot")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, typed_in: Callable[..., Any]) -> Any:
    """What the first command of a user leaves, a text task that was weighed, and what it said."""
    folder = tmp_path_factory.mktemp("first")
    write_task(folder, "text")
    return folder, typed_in(folder, *WEIGH, "--json", "out.json")


@pytest.fixture
def weighed(first: Any, folder: Path) -> Any:
    """The same in the folder of this test alone."""
    shutil.copytree(first[0], folder, dirs_exist_ok=True)
    return first[1]


# ---------------------------------------------------------------- weigh


def test_a_recipe_of_a_run_is_a_file_that_weighs_as_the_same_recipe(weighed, folder, steelyard):
    assert weighed.code == 0
    ran = steelyard("report", "--recipe", "nearest-shot")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith('name = "nearest-shot"\n')
    assert 'examples = "nearest"' in ran.out
    (folder / "mine.toml").write_text(ran.out.replace("nearest-shot", "mine"), encoding="utf-8")
    again = steelyard("weigh", "task.toml", "--recipes", "mine.toml,nearest-shot", "--json", "-")
    keys = {recipe["name"]: recipe["key"] for recipe in json.loads(again.out)["recipes"]}
    assert keys["mine"] == keys["nearest-shot"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nearest-shod", 'recipe "nearest-shod" is not known. Known: '),
        ("majority", "there is nothing to write down: it is a control without a model, or the run"),
    ],
)
def test_a_recipe_that_cannot_be_written_down_is_an_error_of_usage(weighed, steelyard, name, said):
    assert weighed.code == 0
    ran = steelyard("report", "--recipe", name)
    assert ran.code == 2
    assert said in ran.err


def test_weigh_prints_the_verdict_and_where_the_report_is_and_no_progress(weighed, folder):
    assert (weighed.code, weighed.err) == (0, "")
    verdict = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    said = " ".join(weighed.out.split())
    assert f"small: Use {verdict['chosen']}" in said
    assert verdict["reason"] in said
    [page] = (folder / ".steelyard" / "reports").glob("*.html")
    [kept] = (folder / ".steelyard" / "reports").glob("*.json")
    assert f".steelyard/reports/{page.name}" in weighed.out
    assert f".steelyard/reports/{kept.name}" in weighed.out
    assert kept.read_bytes() == (folder / "out.json").read_bytes()


def test_the_printed_table_is_whole_also_where_there_is_no_terminal(folder, steelyard):
    write_task(folder, "json")
    ran = steelyard("weigh", "task.toml", "--json", "out.json")
    assert ran.code == 0
    assert "…" not in ran.out
    for recipe in json.loads((folder / "out.json").read_text(encoding="utf-8"))["recipes"]:
        low, high = recipe["dev"]["interval"]
        rows = [x for x in ran.out.splitlines() if " scores " not in x]
        [line] = [x for x in rows if recipe["name"] in x.split()[:2]]
        assert f"{recipe['dev']['score']:.2f} [{low:.2f} {high:.2f}]" in line


def test_json_on_standard_output_is_alone_there(folder, steelyard):
    write_task(folder)
    ran = steelyard(*WEIGH[:2], "--recipes", "few-shot", "--json", "-")
    assert ran.code == 0
    verdict = json.loads(ran.out)
    assert verdict["task"] == "small"
    assert {r["name"] for r in verdict["recipes"]} == {"majority", "tfidf", "zero-shot", "few-shot"}


def test_seed_home_and_recipes_are_heard(folder, steelyard):
    write_task(folder)
    options = "--seed 7 --home elsewhere --recipes few-shot,nearest-shot --json out.json"
    assert steelyard("weigh", "task.toml", *options.split()).code == 0
    verdict = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    assert verdict["seed"] == 7
    assert len(verdict["recipes"]) == 5
    assert (folder / "elsewhere" / "steelyard.db").is_file()
    assert not (folder / ".steelyard").exists()


def test_a_data_file_is_weighed_says_what_was_inferred_and_leaves_its_task_file(
    folder, steelyard, monkeypatch
):
    # The inferred task names the default model; the fake stands in for it.
    opening = sys.modules["steelyard.models.opening"]
    monkeypatch.setattr(opening, "is_fake", lambda source: True)
    monkeypatch.setattr(opening, "FakeBackend", lambda source: FakeBackend("fake"))
    write_rows(Path("tickets.jsonl"), rows_of("label", 60))
    command = ("weigh", "tickets.jsonl", "--target", "target", "--recipes", "few-shot")
    ran = steelyard(*command)
    assert ran.code == 0
    assert "The output is label" in ran.err
    assert "Written to tickets.task.toml" in ran.err
    assert "The output is label" not in ran.out  # said once
    assert (folder / "tickets.task.toml").is_file()
    assert steelyard("weigh", "tickets.task.toml", "--recipes", "few-shot").code == 0
    assert steelyard(*command).code == 0


def test_the_limit_of_the_task_can_leave_no_verdict_and_that_is_exit_code_1(folder, steelyard):
    write_task(folder)
    ran = steelyard(*WEIGH, "--minutes", "1e-9")
    assert (ran.code, ran.out) == (1, "")
    [message] = ran.err.splitlines()
    assert message.startswith("failed: no verdict: the time limit came before majority")
    assert "--minutes" in message


# ---------------------------------------------------------------- ask


def test_ask_answers_with_the_chosen_system(weighed, steelyard):
    train = rows_of("text", 100)[0]
    ran = steelyard("ask", "task.toml", train["text"])
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{train['target']}\n"


def test_a_task_that_was_weighed_is_known_by_its_name_and_any_by_its_folder(
    weighed, folder, steelyard, monkeypatch
):
    row = rows_of("text", 100)[0]
    name = json.loads((folder / "out.json").read_text(encoding="utf-8"))["task"]
    shutil.rmtree(folder / ".steelyard")  # that of a copy: the file it was weighed from is another
    assert steelyard(*WEIGH).code == 0
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    home = ("--home", str(folder / ".steelyard"))
    for told in (name, str(folder)):
        ran = steelyard("ask", told, row["text"], *home)
        assert (ran.code, ran.out, ran.err) == (0, f"{row['target']}\n", "")
    unknown = steelyard("ask", "nobody", "x", *home)
    assert unknown.code == 2
    assert unknown.err.startswith("error: nobody: neither a file nor the name of a task")
    assert f"(there are {name})" in unknown.err
    nowhere = steelyard("ask", name, "x")
    assert nowhere.code == 2
    assert "weighed in .steelyard (there is none)" in nowhere.err
    (folder / "task.toml").unlink()
    assert "(there is none)" in steelyard("ask", name, "x", *home).err


def test_ask_json_is_the_answer_with_its_usage_and_recipe(weighed, folder, steelyard):
    ran = steelyard("ask", "task.toml", "baker Rome", "--json", "-")
    body = json.loads(ran.out)
    assert ran.code == 0
    chosen = json.loads((folder / "out.json").read_text(encoding="utf-8"))["chosen"]
    assert body["recipe"] == chosen
    assert set(body) >= {"recipe", "value", "text", "valid", "usage", "error"}
    both = steelyard("ask", "task.toml", "baker Rome", "--json", "answer.json")
    assert both.out == body["text"] + "\n"
    assert json.loads((folder / "answer.json").read_text(encoding="utf-8"))["text"] == body["text"]


def test_ask_reads_its_input_from_standard_input(weighed, steelyard, monkeypatch):
    train = rows_of("text", 100)[0]
    monkeypatch.setattr(sys, "stdin", io.StringIO(train["text"]))
    assert steelyard("ask", "task.toml", "-").out == f"{train['target']}\n"


def test_an_answer_that_did_not_come_is_exit_code_1(weighed, steelyard, monkeypatch):
    failed = Answer(valid=False, error="too long")
    monkeypatch.setattr(LanguageModelSystem, "answer", lambda *_, **__: failed)
    ran = steelyard("ask", "task.toml", "x")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "failed: nearest-shot could not answer: too long\n"


def test_an_answer_of_the_wrong_form_is_given_with_a_warning(weighed, steelyard, monkeypatch):
    monkeypatch.setattr(
        LanguageModelSystem, "answer", lambda *_, **__: Answer("x", "x", valid=False)
    )
    ran = steelyard("ask", "task.toml", "x")
    assert (ran.code, ran.out) == (0, "x\n")
    assert ran.err.startswith("warning: the answer does not have the form")


# ---------------------------------------------------------------- report


NEXT = "Next    steelyard publish task.toml\n"  # which a report does not say


def test_report_opens_the_newest_run_again_as_it_was(weighed, folder, steelyard):
    for again in (("report",), ("report", "small"), ("report", "1")):
        ran = steelyard(*again, "--json", "again.json")
        assert (ran.code, ran.err) == (0, "")
        assert f"{ran.out}{NEXT}" == weighed.out
        assert (folder / "again.json").read_bytes() == (folder / "out.json").read_bytes()
    ran = steelyard("report", "--json", "-")
    assert json.loads(ran.out) == json.loads((folder / "out.json").read_text(encoding="utf-8"))


def test_report_lists_the_runs(weighed, steelyard):
    steelyard(*WEIGH, "--seed", "1")
    ran = steelyard("report", "--list")
    assert (ran.code, ran.err) == (0, "")
    head, newest, oldest = ran.out.splitlines()
    assert head.split()[:4] == ["run", "task", "outcome", "chosen"]
    assert newest.split()[:3] == ["2", "small", "chosen"]
    assert oldest.split()[:3] == ["1", "small", "chosen"]
    listed = json.loads(steelyard("report", "--list", "--json", "-").out)["runs"]
    assert [(one["run"], one["task"]) for one in listed] == [(2, "small"), (1, "small")]


def test_a_report_is_written_while_another_steelyard_works_in_the_home_folder(weighed, steelyard):
    with open_home(Path(".steelyard")):
        assert steelyard("report").out + NEXT == weighed.out
        assert steelyard("weigh", "task.toml").code == 2


def test_an_unknown_run_is_exit_code_2_with_those_that_are_known(weighed, steelyard):
    ran = steelyard("report", "smal")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == 'error: run "smal" is not known. Known: small, 1. Did you mean "small"?\n'


# ---------------------------------------------------------------- as a process


def test_as_a_process_it_is_quiet_and_leaves_the_same(folder):
    write_task(folder)
    command = [sys.executable, "-m", "steelyard.cli.main", *WEIGH[:2]]
    ran = subprocess.run(
        [*command, "--recipes", "few-shot", "--json", "-"],
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["task"] == "small"
    for noise in (b"Traceback", b"Warning", b"building", b"waiting"):
        assert noise not in ran.stderr
