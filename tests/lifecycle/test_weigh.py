"""`weigh` from a task to a verdict, with the fake: what it says, keeps, repeats and gives up."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_tasks import KINDS, rows_of, task_text, without_times, write_rows, write_task
from steelyard.core import Limits, ModelSpec, Task, Verdict
from steelyard.errors import InputError, ModelError, TaskError, TrialError
from steelyard.lifecycle import json_text, open_home, weigh, write_report
from steelyard.lifecycle.events import Ended, Measured, Planned, Started, Training
from steelyard.recipes import presets
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.tasks import load_task

# DESIGN section 5: what scripts of users rely on.
VERDICT_KEYS = {
    *("task", "task_hash", "seed", "outcome", "chosen", "reason", "recipes", "comparisons"),
    *("break_even", "minutes", "hardware"),
}
RECIPE_KEYS = {
    *("name", "model", "context", "weights", "decoding", "status", "why", "dev", "test"),
    *("setup_seconds", "setup_usd", "usd_per_1k", "prompt_tokens", "cached_tokens"),
    *("completion_tokens", "latency_ms"),
}
SPLIT_KEYS = {"score", "interval", "num_examples", "num_errors"}
COMPARISON_KEYS = {"a", "b", "split", "difference", "interval", "p_adjusted"}
BREAK_EVEN_KEYS = {"a", "b", "calls", "interval"}


@dataclass(frozen=True)
class Journey:
    """A task that was weighed once: where, what came of it and what was told on the way."""

    task: Task
    home: Path
    verdict: Verdict
    events: list[Any]

    @property
    def json(self) -> Any:
        return self.verdict.to_json()


@pytest.fixture(scope="module")
def journeys(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Journey]:
    """One task of each kind, weighed in full with seed 0."""
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        task = load_task(write_task(folder, kind))
        events: list[Any] = []
        verdict = weigh(task, home=folder / "home", listen=events.append)
        made[kind] = Journey(task, folder / "home", verdict, events)
    return made


def trials(home: Path) -> list[tuple[str, str, int, int]]:
    """(recipe, split, seed, number of rows) of every trial."""
    query = (
        "SELECT recipe, split, seed, count(*) FROM trial JOIN answer ON trial = key "
        "GROUP BY key ORDER BY recipe, split, seed"
    )
    with closing(sqlite3.connect(home / "steelyard.db")) as connection:
        return connection.execute(query).fetchall()


def keys(table: Mapping[str, Any] | None) -> set[str]:
    return set(table or {})


# ---------------------------------------------------------------- the whole journey


@pytest.mark.parametrize("kind", KINDS)
def test_a_verdict_has_every_key_that_scripts_rely_on_and_is_json(journeys, kind):
    body = json.loads(json_text(journeys[kind].json))
    assert keys(body) >= VERDICT_KEYS
    assert body["outcome"] in ("chosen", "cannot_tell", "nothing_works")
    for recipe in body["recipes"]:
        assert keys(recipe) >= RECIPE_KEYS
        assert recipe["status"] == "finished"
        assert keys(recipe["dev"]) >= SPLIT_KEYS
        assert recipe["test"] is None or keys(recipe["test"]) >= SPLIT_KEYS
        assert keys(recipe["latency_ms"]) == {"p50", "p95"}
    assert all(keys(entry) >= COMPARISON_KEYS for entry in body["comparisons"])
    assert all(keys(entry) >= BREAK_EVEN_KEYS for entry in body["break_even"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_recipe_that_fits_is_measured_on_the_whole_of_dev(journeys, kind):
    journey = journeys[kind]
    assert [r.name for r in journey.verdict.recipes] == list(presets(journey.task))
    for report in journey.verdict.recipes:
        assert report.dev is not None
        assert (report.dev.num_examples, report.dev.num_errors) == (len(journey.task.dev), 0)
    on_dev = [(name, rows) for name, split, _, rows in trials(journey.home) if split == "dev"]
    assert on_dev == sorted((name, len(journey.task.dev)) for name in presets(journey.task))


@pytest.mark.parametrize("kind", KINDS)
def test_the_sealed_test_is_opened_for_two_recipes_and_once(journeys, kind):
    journey = journeys[kind]
    opened = [r.name for r in journey.verdict.recipes if r.test is not None]
    assert journey.verdict.outcome == "chosen"
    assert len(opened) == 2
    assert journey.verdict.chosen in opened
    assert journey.verdict.baseline in opened
    assert journey.verdict.test_looks == 2
    on_test = [(name, rows) for name, split, _, rows in trials(journey.home) if split == "test"]
    assert on_test == sorted((name, len(journey.task.test)) for name in opened)
    [between] = [c for c in journey.verdict.comparisons if c.split == "test"]
    assert {between.a, between.b} == set(opened)
    shown = {entry["id"] for entry in journey.verdict.disagreements}
    assert shown
    assert shown <= {example.id for example in journey.task.dev}


def test_the_fake_learns_from_examples_and_the_plain_prompt_does_not(journeys):
    for kind in KINDS:
        scores = {r.name: r.dev.score for r in journeys[kind].verdict.recipes if r.dev}
        assert scores["zero-shot"] < 0.5 < scores["lora"]
        assert scores["zero-shot"] < scores["nearest-shot"]


def test_the_events_tell_the_plan_each_start_each_answer_and_each_end(journeys):
    journey = journeys["text"]
    names = list(presets(journey.task))
    plan, *rest = journey.events
    assert isinstance(plan, Planned)
    assert plan.recipes == tuple(names)
    assert (plan.num_train, plan.num_dev, plan.num_test) == (60, 20, 20)
    assert [e.recipe for e in rest if isinstance(e, Started)] == names
    assert [e.report.name for e in rest if isinstance(e, Ended)] == names
    assert {e.recipe for e in rest if isinstance(e, Training)} == {"lora"}
    done = [e.done for e in rest if isinstance(e, Measured) and (e.recipe, e.split) == ("lora", "dev")]
    assert done == [15, 16, 17, 18, 19, 20]


# ---------------------------------------------------------------- the same again


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_command_and_seed_in_two_homes_give_the_same_json_but_for_times(
    journeys, kind, tmp_path
):
    again = weigh(journeys[kind].task, home=tmp_path / "home").to_json()
    assert without_times(again) == without_times(journeys[kind].json)


def test_a_second_run_asks_nothing_trains_nothing_and_says_the_same(journeys, monkeypatch):
    journey = journeys["json"]
    before = rows(journey.home)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(LanguageModelSystem, "answer_many", refuse)
    monkeypatch.setattr("steelyard.training.run.subprocess.Popen", refuse)
    again = weigh(journey.task, home=journey.home).to_json()
    assert rows(journey.home) == before
    first = journey.json
    assert {**again, "minutes": 0} == {**first, "minutes": 0}
    with open_home(journey.home) as home:
        assert len(home.database.verdicts()) == 1


def rows(home: Path) -> dict[tuple[str, str], str]:
    """The stored body of every row, by trial and example."""
    with closing(sqlite3.connect(home / "steelyard.db")) as connection:
        found = connection.execute("SELECT trial, example_id, row FROM answer").fetchall()
    return {(trial, example): body for trial, example, body in found}


def test_another_seed_looks_at_the_test_again_and_the_look_is_counted_and_shown(tmp_path):
    task = load_task(write_task(tmp_path))
    few = ["few-shot"]
    first = weigh(task, home=tmp_path / "home", recipes=few)
    before = rows(tmp_path / "home")
    second = weigh(task, home=tmp_path / "home", recipes=few, seed=1)
    assert (first.test_looks, second.test_looks) == (2, 4)
    assert before.items() <= rows(tmp_path / "home").items()
    assert {seed for *_, seed, _ in trials(tmp_path / "home")} == {0, 1}
    with open_home(tmp_path / "home") as home:
        page = write_report(home, second.to_json()).html.read_text(encoding="utf-8")
        assert len(home.database.verdicts()) == 2
    assert "4" in page[page.index("sealed") - 400 : page.index("sealed") + 400]


# ---------------------------------------------------------------- outcomes


def test_random_labels_mean_nothing_works_and_the_test_stays_sealed(tmp_path):
    data = rows_of("label", 100, noise=1.0)
    task = load_task(write_task(tmp_path, rows=data))
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    assert (verdict.outcome, verdict.chosen, verdict.baseline) == ("nothing_works", None, None)
    assert verdict.test_looks == 0
    assert all(report.test is None for report in verdict.recipes)
    assert "test" not in {split for _, split, *_ in trials(tmp_path / "home")}


def test_only_the_named_recipes_and_the_controls_are_weighed(tmp_path):
    task = load_task(write_task(tmp_path))
    verdict = weigh(task, home=tmp_path / "home", recipes=["nearest-shot"])
    names = [report.name for report in verdict.recipes]
    assert names == ["majority", "tfidf", "zero-shot", "nearest-shot"]


def test_two_models_are_weighed_side_by_side(tmp_path):
    task = load_task(write_task(tmp_path, "text"))
    task = replace(task, models=(ModelSpec("one", "fake"), ModelSpec("two", "fake:1")))
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    scores = {report.name: report.dev.score for report in verdict.recipes if report.dev}
    assert set(scores) > {"few-shot@one", "few-shot@two", "zero-shot@one", "zero-shot@two"}
    assert scores["few-shot@one"] == scores["few-shot@two"]


# ---------------------------------------------------------------- failures


def long_row(number: int) -> dict[str, str]:
    return {"text": f"n{number} " + "word " * 2100, "target": "billing"}


def task_of_long(folder: Path, dev: int, test: int, **changes: Any) -> Task:
    """A task with `dev` and `test` inputs longer than the fake's context."""
    data = rows_of("label", 140)
    parts = {
        "train": data[:40],
        "dev": [*data[40 : 80 - dev], *map(long_row, range(dev))],
        "test": [*data[80 : 120 - test], *map(long_row, range(100, 100 + test))],
    }
    for name, part in parts.items():
        write_rows(folder / f"{name}.jsonl", part)
    files = "".join(f'{name} = "{name}.jsonl"\n' for name in parts)
    path = folder / "task.toml"
    path.write_text(task_text().replace('files = ["rows.jsonl"]\n', files), encoding="utf-8")
    return replace(load_task(path), **changes)


def test_an_input_longer_than_the_context_is_an_error_of_that_example_alone(tmp_path):
    task = task_of_long(tmp_path, dev=1, test=0)
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    reports = {report.name: report for report in verdict.recipes}
    assert reports["tfidf"].dev.num_errors == 0
    for name in ("zero-shot", "few-shot"):
        assert reports[name].status == "finished"
        assert (reports[name].dev.num_examples, reports[name].dev.num_errors) == (40, 1)
    assert any("failed on 1 dev example" in warning for warning in verdict.warnings)
    errors = [json.loads(body)["answer"]["error"] for body in rows(tmp_path / "home").values()]
    assert any("context holds 2048" in (error or "") for error in errors)


def test_truncating_answers_what_was_too_long_also_after_a_run_that_did_not(tmp_path):
    task = task_of_long(tmp_path, dev=1, test=0)
    weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    cutting = replace(task, limits=Limits(too_long="truncate"))
    verdict = weigh(cutting, home=tmp_path / "home", recipes=["few-shot"])
    assert [r.dev.num_errors for r in verdict.recipes if r.dev] == [0, 0, 0, 0]


def test_a_recipe_that_fails_too_often_is_failed_with_its_reason_and_the_others_go_on(tmp_path):
    task = task_of_long(tmp_path, dev=3, test=0)
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    reports = {report.name: report for report in verdict.recipes}
    assert (reports["few-shot"].status, reports["few-shot"].dev) == ("failed", None)
    assert str(reports["few-shot"].why).startswith("3 of 40 examples failed, the first with: the")
    assert (verdict.outcome, verdict.chosen) == ("chosen", "tfidf")


def test_a_chosen_recipe_that_fails_on_the_whole_of_test_still_has_a_verdict(tmp_path):
    task = task_of_long(tmp_path, dev=0, test=40)
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    reports = {report.name: report for report in verdict.recipes}
    assert verdict.outcome == "chosen"
    assert reports["zero-shot"].test is None
    assert [c for c in verdict.comparisons if c.split == "test"] == []


# ---------------------------------------------------------------- the time limit


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only the fake's answers move."""
    clock = SimpleNamespace(now=time.monotonic())

    def sleep(seconds: float) -> None:
        clock.now += seconds

    stand_in = SimpleNamespace(
        monotonic=lambda: clock.now, perf_counter=lambda: clock.now, sleep=sleep
    )
    for name in ("lifecycle.weigh", "measure.trial", "models.fake"):
        monkeypatch.setattr(sys.modules[f"steelyard.{name}"], "time", stand_in)
    return clock


def minutes_for(seconds: float) -> float:
    return seconds / 60 / 0.8  # a fifth of the limit is kept for the sealed test


def test_a_time_limit_skips_what_did_not_fit_with_its_reason_and_still_decides(tmp_path, clock):
    task = load_task(write_task(tmp_path, "text", model="fake:20"))
    home = tmp_path / "home"
    # 20 dev examples of 20 ms: zero-shot is through after 0.4 s, few-shot's batch after 0.7 s.
    verdict = weigh(task, home=home, minutes=minutes_for(0.65))
    reports = {report.name: report for report in verdict.recipes}
    assert [r.status for r in verdict.recipes] == ["finished"] * 3 + ["skipped"] * 3
    assert reports["few-shot"].why == "the time limit came after 15 of 20 answers"
    assert reports["lora"].why == "the time limit came before lora could start"
    assert verdict.outcome == "chosen"
    assert ("few-shot", "dev", 0, 15) in trials(home)

    kept = rows(home)
    whole = weigh(task, home=home)
    assert {report.status for report in whole.recipes} == {"finished"}
    assert kept.items() <= rows(home).items()


def test_without_time_for_the_controls_there_is_no_verdict(tmp_path, clock):
    task = load_task(write_task(tmp_path, "text"))

    def late(_: Any) -> None:
        clock.now += 1

    with pytest.raises(TrialError, match=r"no verdict.*finished: none.*--minutes"):
        weigh(task, home=tmp_path / "home", minutes=0.01, listen=late)


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_a_time_limit_that_is_none_is_refused_and_nothing_is_written(tmp_path, minutes):
    task = load_task(write_task(tmp_path))
    with pytest.raises(InputError, match="minutes"):
        weigh(task, home=tmp_path / "home", minutes=minutes)
    assert not (tmp_path / "home").exists()


# ---------------------------------------------------------------- wrong requests


@pytest.mark.parametrize(
    ("changes", "request_", "error", "said"),
    [
        ({}, {"recipes": ["loar"]}, InputError, 'Did you mean "lora"?'),
        ({"models": (ModelSpec("m", "/no/such"),)}, {}, ModelError, '"/no/such" is not there'),
        ({"models": (ModelSpec("m", "m.gguf"),)}, {}, ModelError, "no such file"),
        ({"scorer": "python:no_such_module:f"}, {}, TaskError, "no_such_module"),
        ({"scorer": "fields"}, {}, TaskError, "json"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_written(
    tmp_path, changes, request_, error, said
):
    task = replace(load_task(write_task(tmp_path)), **changes)
    with pytest.raises(error) as caught:
        weigh(task, home=tmp_path / "home", **request_)
    assert said in str(caught.value)
    assert not (tmp_path / "home").exists()


def test_a_scoring_function_of_the_users_own_is_found_beside_the_task_file(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "own_scorer.py").write_text(
        "def half(answer, target):\n    return 0.5 if answer == target else 0.0\n"
    )
    path = write_task(tmp_path, more='[score]\nscorer = "python:own_scorer:half"\n')
    verdict = weigh(load_task(path), home=tmp_path / "home", recipes=["few-shot"])
    scores = [report.dev.score for report in verdict.recipes if report.dev]
    assert 0 < max(scores) <= 0.5
    assert verdict.scorer == "python:own_scorer:half"
