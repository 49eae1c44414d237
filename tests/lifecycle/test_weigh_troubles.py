"""`weigh` in trouble: failing examples, no time left, wrong requests."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_tasks import rows_of, stored, task_text, trials, write_rows, write_task
from steelyard.core import Limits, ModelSpec, Task
from steelyard.errors import InputError, ModelError, TaskError, TrialError
from steelyard.lifecycle import weigh
from steelyard.tasks import load_task

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
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"], exhaustive=True)
    reports = {report.name: report for report in verdict.recipes}
    assert reports["tfidf"].dev.num_errors == 0
    for name in ("zero-shot", "few-shot"):
        assert reports[name].status == "finished"
        assert (reports[name].dev.num_examples, reports[name].dev.num_errors) == (40, 1)
    assert any("failed on 1 dev example" in warning for warning in verdict.warnings)
    errors = [json.loads(body)["answer"]["error"] for body in stored(tmp_path / "home").values()]
    assert any("context holds 2048" in (error or "") for error in errors)


def test_truncating_answers_what_was_too_long_also_after_a_run_that_did_not(tmp_path):
    task = task_of_long(tmp_path, dev=1, test=0)
    weigh(task, home=tmp_path / "home", recipes=["few-shot"])
    cutting = replace(task, limits=Limits(too_long="truncate"))
    verdict = weigh(cutting, home=tmp_path / "home", recipes=["few-shot"])
    assert [r.dev.num_errors for r in verdict.recipes if r.dev] == [0, 0, 0, 0]


def test_a_recipe_that_fails_too_often_is_failed_with_its_reason_and_the_others_go_on(tmp_path):
    task = task_of_long(tmp_path, dev=3, test=0)
    verdict = weigh(task, home=tmp_path / "home", recipes=["few-shot"], exhaustive=True)
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
        monotonic=lambda: clock.now,
        perf_counter=lambda: clock.now,
        process_time=lambda: clock.now,
        sleep=sleep,
    )
    for name in ("lifecycle.weigh", "lifecycle.trials", "measure.trial", "models.fake"):
        monkeypatch.setattr(sys.modules[f"steelyard.{name}"], "time", stand_in)
    return clock


def minutes_for(seconds: float) -> float:
    return seconds / 60 / 0.8  # a fifth of the limit is kept for the sealed test


def test_a_time_limit_skips_what_did_not_fit_with_its_reason_and_still_decides(tmp_path, clock):
    task = load_task(write_task(tmp_path, "text", model="fake:20"))
    home = tmp_path / "home"
    # 20 dev examples of 20 ms: zero-shot is through after 0.4 s and
    # one answer that warms up, few-shot's batch after 0.7 s more.
    names = ["few-shot", "nearest-shot"]
    verdict = weigh(task, home=home, recipes=names, minutes=minutes_for(0.67))
    reports = {report.name: report for report in verdict.recipes}
    assert [r.status for r in verdict.recipes] == ["finished"] * 3 + ["skipped"] * 2
    assert reports["few-shot"].why == "the time limit came after 15 of 20 answers"
    late = "the time limit came before nearest-shot could start"
    assert reports["nearest-shot"].why == late
    assert f"nearest-shot was skipped: {late}." in verdict.warnings
    assert verdict.outcome == "chosen"
    assert trials(home, "dev")["few-shot"] == 15

    kept = stored(home)
    whole = weigh(task, home=home, recipes=names)
    assert {report.status for report in whole.recipes} == {"finished"}
    assert kept.items() <= stored(home).items()


def test_without_time_for_the_controls_there_is_no_verdict(tmp_path, clock):
    task = load_task(write_task(tmp_path, "text"))

    def late(_: Any) -> None:
        clock.now += 1

    said = (
        r"no verdict: the time limit came before majority and tfidf and zero-shot had answered the "
        r"first 20 dev examples; at the pace so far more than --minutes 0\.\d is needed; not one "
        r"answer was timed\. Finished: none"
    )
    with pytest.raises(TrialError, match=said):
        weigh(task, home=tmp_path / "home", minutes=0.01, listen=late)


def test_minutes_too_few_for_the_plain_prompt_say_how_many_it_needs(tmp_path, clock):
    # The answer that warms up takes the 2 s that there are; 20 more take 40 s.
    task = load_task(write_task(tmp_path, "text", model="fake:2000"))
    verdict = weigh(task, home=tmp_path / "home", recipes=[], minutes=minutes_for(1.9))
    [note] = [note for note in verdict.notes if "--minutes" in note]
    needed = 42 / 60 / 0.8
    assert note == (
        "The time limit came before zero-shot had answered the first 20 dev examples; at the pace "
        f"so far about --minutes {0.9:g} would do."
    )
    assert 0.8 < needed < 0.9
    reports = {report.name: report for report in verdict.recipes}
    assert reports["zero-shot"].status == "skipped"
    again = weigh(task, home=tmp_path / "again", recipes=[], minutes=0.9)
    assert {report.status for report in again.recipes} == {"finished"}
    assert not [note for note in again.notes if "--minutes" in note]


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
        ({}, {"recipes": ["no.toml"]}, TaskError, "no.toml: cannot be read"),
        ({}, {"seed": range(0)}, InputError, "--seeds: expected at least 1"),
        ({}, {"seed": range(2**32 - 1, 2**32 + 1)}, InputError, "--seed 4294967296"),
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


def test_a_new_price_of_the_machine_hour_prices_the_rows_that_are_there(tmp_path):
    task = load_task(write_task(tmp_path))
    prices = {}
    for hourly in (1.0, 3.0):
        priced = replace(task, usd_per_machine_hour=hourly)
        verdict = weigh(priced, home=tmp_path / "home", recipes=["few-shot"])
        prices[hourly] = [report.usd_per_1k for report in verdict.recipes]
    assert prices[3.0] == pytest.approx([3 * usd for usd in prices[1.0]])
