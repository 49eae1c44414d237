"""The race over dev: who is dropped, who is not, and what a time limit leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import rows_of, stored, write_task
from steelyard.core import Task
from steelyard.lifecycle import racing, weigh
from steelyard.lifecycle.trials import Trials
from steelyard.measure.race import FIRST_ROUND, rounds
from steelyard.measure.trial import ALONE, OutOfTimeError
from steelyard.tasks import load_task

RECIPES = ["zero-shot", "few-shot", "lora"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Labels that the plain prompt cannot guess, with 120 dev examples."""
    folder = tmp_path_factory.mktemp("race")
    more = "\n[limits]\nminutes = 5\n"
    rows = rows_of("label", 600, noise=0.0)
    return load_task(write_task(folder, rows=rows, more=more))


def named(verdict: Any, name: str) -> Any:
    return next(r for r in verdict["recipes"] if r["name"] == name)


@pytest.fixture(scope="module")
def verdict(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    return weigh(task, home=home, recipes=RECIPES, minutes=60).to_json() | {"home": home}


def test_who_is_shown_to_be_lower_is_dropped_and_says_by_whom(task: Task, verdict: Any) -> None:
    plain, chosen = named(verdict, "zero-shot"), named(verdict, "lora")
    assert verdict["chosen"] is not None
    assert plain["status"] == "eliminated"
    assert plain["dev"]["num_examples"] in (FIRST_ROUND, 2 * FIRST_ROUND)
    assert f"dropped after {plain['dev']['num_examples']} of {len(task.dev)}" in plain["why"]
    assert chosen["status"] == "finished"
    assert chosen["dev"]["num_examples"] == len(task.dev)
    assert f"{plain['dev']['score']:.3f}" in plain["why"]
    assert plain["latency_ms"] == {"p50": None, "p95": None}
    assert plain["usd_per_1k"] is not None


def test_it_says_how_many_answers_it_took(task: Task, verdict: Any) -> None:
    asked = [r for r in verdict["recipes"] if not r["control"] or r["name"] == "zero-shot"]
    done = sum(r["dev"]["num_examples"] for r in asked)
    assert verdict["evaluations"] == {"done": done, "all": len(asked) * len(task.dev)}
    assert done < len(asked) * len(task.dev)


def test_a_dropped_plain_prompt_is_still_what_the_choice_is_held_against(
    task: Task, verdict: Any
) -> None:
    assert verdict["baseline"] == "zero-shot"
    assert named(verdict, "zero-shot")["test"]["num_examples"] == len(task.test)
    [test] = [c for c in verdict["comparisons"] if c["split"] == "test"]
    assert {test["a"], test["b"]} == {verdict["chosen"], "zero-shot"}


def test_controls_that_cost_nothing_are_never_dropped(task: Task, verdict: Any) -> None:
    for name in ("majority", "tfidf"):
        control = named(verdict, name)
        assert (control["status"], control["dev"]["num_examples"]) == ("finished", len(task.dev))


def test_dropped_recipes_are_in_no_comparison_on_dev(verdict: Any) -> None:
    dev = [c for c in verdict["comparisons"] if c["split"] == "dev"]
    assert dev
    assert all("zero-shot" not in (c["a"], c["b"]) for c in dev)


def test_exhaustive_measures_all_and_chooses_the_same(
    task: Task, verdict: Any, tmp_path: Path
) -> None:
    whole = weigh(task, home=tmp_path, recipes=RECIPES, minutes=60, exhaustive=True).to_json()
    assert {r["status"] for r in whole["recipes"]} == {"finished"}
    assert {r["dev"]["num_examples"] for r in whole["recipes"]} == {len(task.dev)}
    assert whole["chosen"] == verdict["chosen"]
    assert whole["evaluations"]["done"] == whole["evaluations"]["all"]


def test_the_rows_of_a_dropped_recipe_are_kept_and_not_asked_again(
    task: Task, verdict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored(verdict["home"])
    again = weigh(task, home=verdict["home"], recipes=RECIPES, minutes=60).to_json()
    assert stored(verdict["home"]) == before
    assert named(again, "zero-shot")["why"] == named(verdict, "zero-shot")["why"]


def test_a_rival_that_the_limits_forbid_drops_nobody(task: Task, tmp_path: Path) -> None:
    dear = replace(
        task,
        usd_per_machine_hour=1000.0,
        limits=replace(task.limits, minutes=None, usd_per_1k=1e-9),
    )
    found = weigh(dear, home=tmp_path, recipes=RECIPES).to_json()
    assert {r["status"] for r in found["recipes"]} == {"finished"}


def test_a_time_limit_leaves_all_with_the_examples_that_all_were_measured_on(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance = Trials.advance
    second = {e.id for e in rounds(task.dev)[1]}

    def late(self: Trials, weighed: Any, examples: Any, *, alone: int) -> Any:
        if weighed.recipe.name == "lora" and {e.id for e in examples} & second:
            raise OutOfTimeError("the time limit came")
        return advance(self, weighed, examples, alone=alone)

    monkeypatch.setattr(racing, "behind", lambda scores, *_, **__: dict.fromkeys(scores, 1.0))
    monkeypatch.setattr(Trials, "advance", late)
    found = weigh(task, home=tmp_path, recipes=RECIPES).to_json()
    counts = {r["name"]: r["dev"]["num_examples"] for r in found["recipes"]}
    assert set(counts.values()) == {len(rounds(task.dev)[0])}
    assert set(counts) >= {*RECIPES, "majority", "tfidf"}
    assert f"on {FIRST_ROUND} of {len(task.dev)} dev examples" in " ".join(found["notes"])
    assert found["chosen"] is not None


def test_training_starts_only_where_a_perfect_score_would_still_win(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(racing.Race, "_unbeatable", lambda self, but: "zero-shot")
    found = weigh(task, home=tmp_path, recipes=RECIPES).to_json()
    lora = named(found, "lora")
    assert lora["status"] == "skipped"
    assert "not even a perfect score would beat zero-shot" in lora["why"]


def test_with_a_tolerance_of_1_nothing_is_trained_and_who_costs_more_gives_way_to_who_scores_more(
    task: Task, tmp_path: Path
) -> None:
    found = weigh(replace(task, tolerance=1.0), home=tmp_path, recipes=RECIPES).to_json()
    assert "not even a perfect score would beat" in named(found, "lora")["why"]
    asked = [named(found, name) for name in ("zero-shot", "few-shot")]
    # tfidf costs no more, so that it need not score a whole tolerance more.
    assert [one["status"] for one in asked] == ["eliminated", "eliminated"]
    assert all("shown to be lower than tfidf" in one["why"] for one in asked)
    assert found["outcome"] == "chosen"


def test_lone_answers_come_in_the_last_round_or_in_the_first_where_a_limit_is_about_them(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    advance = Trials.advance

    def seen(self: Trials, weighed: Any, examples: Any, *, alone: int) -> Any:
        if weighed.recipe.name == "lora":
            asked.append((len(examples), alone))
        return advance(self, weighed, examples, alone=alone)

    monkeypatch.setattr(Trials, "advance", seen)
    sizes = [len(piece) for piece in rounds(task.dev)]
    weigh(task, home=tmp_path / "a", recipes=["lora"])
    assert asked == [*((size, 0) for size in sizes[:-1]), (sizes[-1], ALONE)]
    asked.clear()
    timed = replace(task, limits=replace(task.limits, p95_ms=60_000.0))
    weigh(timed, home=tmp_path / "b", recipes=["lora"])
    assert asked == [(sizes[0], ALONE), *((size, 0) for size in sizes[1:])]
