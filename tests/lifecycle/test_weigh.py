"""`weigh` from a task to a verdict, with the fake: what it says, keeps and repeats."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fake_tasks import KINDS, rows_of, stored, trials, without_times, write_task
from steelyard.core import ModelSpec, Task, Verdict
from steelyard.lifecycle import json_text, open_home, weigh, write_report
from steelyard.lifecycle.events import Ended, Measured, Planned, Started, Training
from steelyard.lifecycle.page.words import as_interval, as_ms
from steelyard.measure.turning import here
from steelyard.recipes import select
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


def names_of(journey: Journey) -> list[str]:
    """The recipes that are weighed when none is named."""
    return [recipe.name for recipe in select(journey.task)]


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
    assert [r.name for r in journey.verdict.recipes] == names_of(journey)
    for report in journey.verdict.recipes:
        assert report.dev is not None
        assert (report.dev.num_examples, report.dev.num_errors) == (len(journey.task.dev), 0)
    on_dev = dict.fromkeys(names_of(journey), len(journey.task.dev))
    assert trials(journey.home, "dev") == on_dev


@pytest.mark.parametrize("kind", KINDS)
def test_the_sealed_test_is_opened_for_two_recipes_and_once(journeys, kind):
    journey = journeys[kind]
    opened = [r.name for r in journey.verdict.recipes if r.test is not None]
    assert journey.verdict.outcome == "chosen"
    assert len(opened) == 2
    assert journey.verdict.chosen in opened
    assert journey.verdict.baseline in opened
    assert journey.verdict.test_looks == 2
    assert trials(journey.home, "test") == dict.fromkeys(opened, len(journey.task.test))
    [between] = [c for c in journey.verdict.comparisons if c.split == "test"]
    assert {between.a, between.b} == set(opened)
    shown = {entry["id"] for entry in journey.verdict.disagreements}
    assert shown
    assert shown <= {example.id for example in journey.task.dev}


@pytest.mark.parametrize("kind", KINDS)
def test_what_would_change_the_answer_begins_at_the_answer(journeys, kind):
    verdict = journeys[kind].verdict
    assert {entry["of"] for entry in verdict.turning_points} >= {"tolerance", "p95_ms", "volume"}
    for entry in verdict.turning_points:
        piece = entry["answers"][here(entry["answers"], entry["now"])]
        answer = (verdict.outcome, verdict.chosen or verdict.prefer)
        assert (piece["outcome"], piece["recipe"]) == answer


def test_the_fake_learns_from_examples_and_the_plain_prompt_does_not(journeys):
    for kind in KINDS:
        scores = {r.name: r.dev.score for r in journeys[kind].verdict.recipes if r.dev}
        assert scores["zero-shot"] < 0.5 < scores["lora"]
        assert scores["zero-shot"] < scores["nearest-shot"]


def test_the_events_tell_the_plan_each_start_each_answer_and_each_end(journeys):
    journey = journeys["text"]
    names = names_of(journey)
    plan, *rest = journey.events
    assert isinstance(plan, Planned)
    assert plan.recipes == tuple(names)
    assert (plan.num_train, plan.num_dev, plan.num_test) == (60, 20, 20)
    assert list(dict.fromkeys(e.recipe for e in rest if isinstance(e, Started))) == names
    assert sorted(e.report.name for e in rest if isinstance(e, Ended)) == sorted(names)
    assert {e.recipe for e in rest if isinstance(e, Training)} == {"lora"}
    measured = [e for e in rest if isinstance(e, Measured) and e.recipe == "lora"]
    assert [e.done for e in measured if e.split == "dev"] == [15, 16, 17, 18, 19, 20]


# ---------------------------------------------------------------- the same again


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_command_and_seed_in_two_homes_give_the_same_json_but_for_times(
    journeys, kind, tmp_path
):
    again = weigh(journeys[kind].task, home=tmp_path / "home").to_json()
    assert without_times(again) == without_times(journeys[kind].json)


def test_a_second_run_asks_nothing_trains_nothing_and_says_the_same(journeys, monkeypatch):
    journey = journeys["json"]
    before = stored(journey.home)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(LanguageModelSystem, "answer_many", refuse)
    monkeypatch.setattr("steelyard.training.run.subprocess.Popen", refuse)
    again = weigh(journey.task, home=journey.home).to_json()
    assert stored(journey.home) == before
    first = journey.json
    assert {**again, "minutes": 0} == {**first, "minutes": 0}
    with open_home(journey.home) as home:
        assert len(home.database.verdicts()) == 1


def test_another_seed_looks_at_the_test_again_and_the_look_is_counted_and_shown(tmp_path):
    task = load_task(write_task(tmp_path))
    few = ["few-shot"]
    first = weigh(task, home=tmp_path / "home", recipes=few)
    before = stored(tmp_path / "home")
    second = weigh(task, home=tmp_path / "home", recipes=few, seed=1)
    assert (first.test_looks, second.test_looks) == (2, 4)
    assert before.items() <= stored(tmp_path / "home").items()
    assert trials(tmp_path / "home", "dev")["few-shot"] == 2 * len(task.dev)
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
    assert trials(tmp_path / "home", "test") == {}


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


def test_a_sweep_is_weighed_beside_the_controls_and_drawn(tmp_path: Path) -> None:
    task = load_task(write_task(tmp_path, "label"))
    verdict = weigh(task, home=tmp_path / "home", sweep="examples=0,1,2").to_json()
    names = {recipe["name"] for recipe in verdict["recipes"]}
    swept = {f"nearest-shot[examples={n}]" for n in (0, 1, 2)}
    assert names == swept | {"majority", "tfidf", "zero-shot"}
    [curve] = verdict["curves"]
    assert {point["recipe"] for point in curve["points"]} == swept
    by_name = {recipe["name"]: recipe for recipe in verdict["recipes"]}
    for point in curve["points"]:
        assert point["dev"] == by_name[point["recipe"]]["dev"]
    with open_home(tmp_path / "home") as home:
        page = write_report(home, verdict).html.read_text(encoding="utf-8")
    assert "How much is enough" in page
    assert "Score on dev, with interval over examples" in page
    waits = curve["points"][0]["latency_ms"]
    [said] = re.findall(
        "Milliseconds alone, p50 to p95 over examples</title><desc>([^<]+)</desc>", page
    )
    span = as_interval((waits["p50"], waits["p95"]), as_ms)
    assert said.startswith(f"{as_ms(waits['p50'])} {span} at 0, ")
    assert curve["sentence"] in page


def test_with_several_seeds_trained_recipes_show_their_spread(tmp_path):
    task = load_task(write_task(tmp_path))
    home = tmp_path / "home"
    verdict = weigh(task, home=home, recipes=["lora"], seed=range(2, 5))
    named = {report.name: report for report in verdict.recipes}
    scores = named["lora"].seed_scores
    assert len(scores) == 3
    assert scores[0] == named["lora"].dev.score
    assert named["zero-shot"].seed_scores == ()
    assert verdict.seed == 2
    assert sum("was trained with 3 seeds" in note for note in verdict.notes) == 1
    alone = weigh(task, home=home, recipes=["lora"], seed=3)
    again = next(report for report in alone.recipes if report.name == "lora")
    assert again.dev.score == scores[1]
    assert again.seed_scores == ()
    assert trials(home, "dev")["lora"] == 3 * len(task.dev)
