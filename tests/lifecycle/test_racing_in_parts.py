"""Trainings in parts: who is stopped on the way, and that nothing else comes out differently."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import steelyard
from fake_tasks import rows_of, stored, task_text, without_times, write_rows
from steelyard.core import Task
from steelyard.lifecycle import weigh
from steelyard.lifecycle.trials import Trials
from steelyard.measure.race import FIRST_ROUND
from steelyard.measure.trial import OutOfTimeError
from steelyard.recipes import build
from steelyard.tasks import load_task

# Taught by the fake's plain prompt, which guesses: shown to be lower than "lora" after a part.
MISLED = """name = "misled"
like = "lora"

[weights]
learn = ["teacher"]

[weights.teacher]
describe_output = true
"""
PATIENCE_SECONDS = 120.0


def write(folder: Path, *, train: int = 400, model: str = "fake") -> Path:
    """Labels that the plain prompt cannot guess, with 120 dev examples, and a recipe misled."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of("label", train + 200, noise=0.0)
    parts = {"train": rows[:train], "dev": rows[train:][:120], "test": rows[train + 120 :]}
    for name, part in parts.items():
        write_rows(folder / f"{name}.jsonl", part)
    (folder / "misled.toml").write_text(MISLED, encoding="utf-8")
    files = "".join(f'{name} = "{name}.jsonl"\n' for name in parts)
    path = folder / "task.toml"
    text = task_text(model=model).replace('files = ["rows.jsonl"]\n', files)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def task(path: Path) -> Task:
    return load_task(path)


def weighed(path: Path, home: Path, *, recipes: list[str] | None = None, **more: Any) -> Any:
    names = recipes or ["lora", str(path.parent / "misled.toml")]
    return weigh(load_task(path), home=home, recipes=names, **more).to_json()


@pytest.fixture(scope="module")
def verdict(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    return weighed(path, home) | {"home": home}


def named(verdict: Any, name: str) -> Any:
    return next(r for r in verdict["recipes"] if r["name"] == name)


def test_who_is_behind_is_stopped_after_a_part_and_says_so(task: Task, verdict: Any) -> None:
    misled, lora = named(verdict, "misled"), named(verdict, "lora")
    assert misled["status"] == "eliminated"
    assert misled["trained_share"] == pytest.approx(
        1 / 3
    )  # the fake's quarter is one epoch of three
    assert misled["dev"]["num_examples"] == FIRST_ROUND
    assert misled["why"].startswith(
        f"dropped after 1 of 3 steps of training, on {FIRST_ROUND} of {len(task.dev)} dev "
        "examples: shown to be lower than lora after about as much of its own training ("
    )
    assert (lora["status"], lora["trained_share"]) == ("finished", 1.0)
    told = "misled was dropped after 33% of its training, and is measured as it was then"
    assert told in " ".join(verdict["notes"])
    assert not list((verdict["home"] / "jobs").iterdir())


def test_answers_in_between_are_counted(task: Task, verdict: Any) -> None:
    rows = [r["dev"]["num_examples"] for r in verdict["recipes"] if r["model"] != r["name"]]
    # Of lora, what had learned a quarter answered one round.
    assert verdict["evaluations"]["done"] == sum(rows) + FIRST_ROUND


def test_exhaustive_trains_all_to_the_end(path: Path, verdict: Any, tmp_path: Path) -> None:
    whole = weighed(path, tmp_path, exhaustive=True)
    assert {r["trained_share"] for r in whole["recipes"]} == {None, 1.0}
    assert {r["status"] for r in whole["recipes"]} == {"finished"}
    ours, theirs = named(verdict, "lora"), named(whole, "lora")
    assert ours["dev"] == theirs["dev"]
    assert ours["test"] == theirs["test"]


def test_one_training_alone_never_pauses(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _shares(path, tmp_path, monkeypatch, ["lora", "zero-shot"]) == [1.0]


def test_few_rows_are_not_worth_the_answers_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = write(tmp_path, train=190)
    names = ["lora", str(small.parent / "misled.toml")]
    assert _shares(small, tmp_path / "home", monkeypatch, names) == [1.0, 1.0]


def _shares(
    path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, recipes: list[str]
) -> list[float]:
    """How far each training was asked to go."""
    module: Any = sys.modules[build.__module__]
    train, asked = module.train_in_child, []

    def seen(job: Any, folder: Path, **more: Any) -> Any:
        asked.append(more["until"])
        return train(job, folder, **more)

    monkeypatch.setattr(module, "train_in_child", seen)
    weighed(path, home, recipes=recipes)
    return asked


def test_where_time_ends_between_parts_what_the_training_goes_on_from_stays(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, late = Trials.advance, []

    def slow(self: Trials, weighed: Any, examples: Any, *, alone: int) -> Any:
        if weighed.recipe.name == "lora":
            late.append(True)
            raise OutOfTimeError("the time limit came after 0 of 20 answers")
        return advance(self, weighed, examples, alone=alone)

    monkeypatch.setattr(Trials, "advance", slow)
    monkeypatch.setattr(Trials, "is_late", lambda _self: bool(late))
    found = weighed(path, tmp_path)
    assert named(found, "lora")["status"] == "skipped"
    assert len(list((tmp_path / "jobs").iterdir())) == 1


@pytest.mark.slow
def test_killed_in_a_part_of_a_training_the_same_command_ends_with_the_same_verdict(
    path: Path, verdict: Any, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    for parts in (1, 2):  # of the one, and of the other
        source = str(Path(steelyard.__file__).parents[1])
        command = [sys.executable, "-m", "steelyard.cli.main", "weigh", str(path), "--home"]
        process = subprocess.Popen(
            [*command, str(home), "--recipes", f"lora,{path.parent / 'misled.toml'}"],
            env={**os.environ, "PYTHONPATH": source},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        since = time.monotonic()
        while process.poll() is None and _parts_built(home) < parts:
            assert time.monotonic() - since < PATIENCE_SECONDS
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = weighed(path, home)
    assert without_times(again) == without_times({k: v for k, v in verdict.items() if k != "home"})
    assert {key[1:] for key in stored(home)} == {key[1:] for key in stored(verdict["home"])}


def _parts_built(home: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{home}/steelyard.db?mode=ro", uri=True)) as connection:
            query = "SELECT count(*) FROM build WHERE key LIKE '%@0.25'"
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0
