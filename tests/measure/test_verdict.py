"""From rows to the figures of a verdict: means over what was scored, money, latency, finalists."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe, row, weighed
from steelyard.core import Answer, Context, Latency, Limits, ModelSpec, Output, Row, Usage, Weights
from steelyard.measure.decision import Candidate, Decision, compare_pairs, decide
from steelyard.measure.grading import Grader
from steelyard.measure.money import fronts, num_labels
from steelyard.measure.scorers import SCORERS
from steelyard.measure.verdict import (
    NUM_DISAGREEMENTS,
    RECIPES_SIDE_BY_SIDE,
    Weighed,
    baseline,
    break_evens,
    candidate,
    checked,
    disagreements,
    finalists,
    latency,
    report,
    usd_per_1k,
)

DEV = tuple(example(f"e{number}", f"text {number}") for number in range(60))
TASK = make_task([example("t1", "a")], Output("text"), dev=DEV, usd_per_machine_hour=3.6)
GROUPS = {e.id: e.group for e in DEV}


def figures(one: Weighed, task: Any = TASK) -> Any:
    return report(one, Grader(SCORERS["exact"]), task, confidence=0.95, seed=0)


# ---------------------------------------------------------------- failures are no zeros


def test_a_failed_example_is_not_a_zero():
    scores: list[float | None] = [1.0] * 45 + [0.0] * 15
    scores[3] = scores[50] = None
    failing, whole = weighed("failing", scores), weighed("whole", [1.0] * 60)
    dev = figures(checked(failing)).dev
    assert (dev.num_examples, dev.num_errors) == (60, 2)
    assert dev.score == pytest.approx(44 / 58)
    assert dev.interval[0] < 44 / 58 < dev.interval[1]
    one, other = candidate(checked(failing), TASK), candidate(whole, TASK)
    assert len(one.scores) == 58
    [between] = compare_pairs([(other, one)], GROUPS, "dev", confidence=0.95, seed=0)
    assert between.num_examples == 58
    assert between.difference == pytest.approx(14 / 58)


@pytest.mark.parametrize(("errors", "status"), [(0, "finished"), (3, "finished"), (4, "failed")])
def test_more_than_one_failure_in_twenty_fails_the_recipe(errors, status):
    one = checked(weighed("a", [None] * errors + [1.0] * (60 - errors)))
    assert one.status == status
    assert figures(one).status == status
    assert (figures(one).dev is None) == (status == "failed")
    if status == "failed":
        assert one.why == "4 of 60 examples failed, the first with: lost"
        assert figures(one).why == one.why


def test_no_rows_are_not_a_failure_of_examples():
    skipped = Weighed(recipe("a"), False, "skipped", why="no time")
    assert checked(skipped) == skipped
    line = figures(skipped)
    assert (line.status, line.why, line.dev, line.test) == ("skipped", "no time", None, None)
    assert (line.setup_seconds, line.setup_usd, line.usd_per_1k) == (None, None, None)
    assert (line.prompt_tokens, line.latency_ms) == (None, Latency())


def test_examples_of_one_group_have_no_interval():
    rows = [row(f"e{number}", 1.0, group="same") for number in range(10)]
    assert figures(replace(weighed("a", []), rows={"dev": rows})).dev is None


# ---------------------------------------------------------------- one line of the table


def test_a_line_says_what_the_recipe_is_and_what_it_took():
    one = replace(
        weighed("lora", [1.0, 0.0, 1.0, 1.0], usd=0.002, setup_seconds=1000.0),
        curve={"points": []},
    )
    one = replace(one, recipe=replace(one.recipe, weights=Weights("lora")))
    line = figures(one)
    assert (line.name, line.model, line.weights, line.decoding) == (
        "lora",
        "fake",
        "lora r=16",
        "free",
    )
    assert line.context == "instruction + output description"
    assert line.setup_seconds == 1000.0
    assert line.setup_usd == pytest.approx(1.0)  # 1000 s at $3.6 an hour
    assert line.usd_per_1k == pytest.approx(2.0)
    assert (line.prompt_tokens, line.cached_tokens, line.completion_tokens) == (10, 4, 2)
    assert line.learning_curve == {"points": []}
    assert line.dev is not None
    assert (line.dev.score, line.dev.num_examples, line.dev.num_errors) == (0.75, 4, 0)
    assert line.dev.details["valid"] == 1.0


def test_a_control_of_its_own_has_no_context_weights_or_decoding():
    line = figures(weighed("majority", [1.0, 0.0], model="majority", control=True))
    assert (line.context, line.weights, line.decoding) == ("none", "none", "none")
    assert line.control


def test_tokens_are_means_over_the_answers_that_came():
    rows = [
        row("e0", answer=Answer("a", usage=Usage(100, 0, 10))),
        row("e1", answer=Answer("a", usage=Usage(200, 50, 20))),
        row("e2", error="lost"),
    ]
    line = figures(replace(weighed("a", []), rows={"dev": rows}))
    assert (line.prompt_tokens, line.cached_tokens, line.completion_tokens) == (150, 25, 15)


# ---------------------------------------------------------------- money and time


def test_the_price_of_a_thousand_comes_from_the_batched_rows():
    alone = [row(f"a{n}", usd=1.0, batch_size=1) for n in range(8)]
    together = [row(f"b{n}", usd=0.003, batch_size=32) for n in range(32)]
    assert usd_per_1k(alone + together) == pytest.approx(3.0)
    assert usd_per_1k(alone) == pytest.approx(1000.0)
    assert usd_per_1k([]) == 0.0


def test_latency_is_the_nearest_rank_of_the_lone_answers():
    def rows(values: Sequence[float | None]) -> list[Row]:
        return [row(f"e{n}", latency_ms=value) for n, value in enumerate(values)]

    assert latency(rows([30, 10, 20, None, 40])) == Latency(20, 40)
    assert latency(rows([7])) == Latency(7, 7)
    assert latency(rows([None])) == Latency()
    assert latency([]) == Latency()
    assert latency(rows(range(1, 101))) == Latency(50, 95)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60))
def test_latency_agrees_with_an_independent_percentile(values):
    found = latency([row(f"e{n}", latency_ms=value) for n, value in enumerate(values)])
    p50, p95 = np.percentile(values, [50, 95], method="inverted_cdf")
    assert (found.p50, found.p95) == (p50, p95)


def test_limits_rule_out_a_recipe_and_none_rules_nothing_out():
    rows = [row("e0", usd=0.002, latency_ms=900.0, batch_size=1), row("e1", usd=0.002)]
    one = replace(weighed("a", []), rows={"dev": rows})
    for limits, eligible in [
        (Limits(), True),
        (Limits(usd_per_1k=2.0), True),
        (Limits(usd_per_1k=1.99), False),
        (Limits(p95_ms=900.0), True),
        (Limits(p95_ms=899.0), False),
    ]:
        assert candidate(one, replace(TASK, limits=limits)).eligible is eligible
    silent = replace(weighed("b", [1.0]), rows={"dev": [row("e0")]})
    assert candidate(silent, replace(TASK, limits=Limits(p95_ms=1.0))).eligible


def test_the_dearer_set_up_breaks_even_after_the_calls_that_pay_for_it():
    # Set up for $1 more, and $0.001 cheaper an answer: 1000 calls.
    lora = weighed("lora", [1.0] * 20, usd=0.001, setup_seconds=1000.0)
    many = weighed("many-shot", [1.0] * 20, usd=0.002, setup_seconds=0.0)
    [found] = break_evens([many, lora], ["lora"], TASK, seed=0)
    assert (found.a, found.b) == ("lora", "many-shot")
    assert found.calls == pytest.approx(1000)
    assert found.interval is None  # one batch is one observation of time
    model = ModelSpec("fake", "fake", url="http://m", usd_per_1m_input=1.0)
    [by_token] = break_evens([many, lora], ["lora"], replace(TASK, models=(model,)), seed=0)
    assert by_token.interval == pytest.approx((1000, 1000))


def test_machine_time_varies_between_batches_and_not_within_them():
    def timed(name: str, seconds: float, num_batches: int = 2, **more: Any) -> Weighed:
        made = weighed(name, [1.0] * 20, **more)
        rows = []
        for number, one in enumerate(made.rows["dev"]):
            spent = seconds * (1 + number * num_batches // 20 / 10)
            rows.append(replace(one, compute_ms=1000 * spent, cost_usd=spent))
        return replace(made, rows={"dev": rows})

    lora = timed("lora", 0.001, setup_seconds=1050.0)
    many = timed("many-shot", 0.002)
    [found] = break_evens([many, lora], ["lora"], TASK, seed=0)
    assert found.calls == pytest.approx(1000)
    # Two batches show that a saving varies, and are far too few to bound it.
    assert found.interval is not None
    low, high = found.interval
    assert low < 1000
    assert high is None or high > 1000
    assert figures(many).usd_per_1k == pytest.approx(2.1)
    assert figures(many).usd_per_1k_interval is None
    line = figures(timed("ten batches", 0.002, 10))
    assert line.usd_per_1k == pytest.approx(2.9)
    assert line.usd_per_1k_interval is not None
    low, high = line.usd_per_1k_interval
    assert 2.3 < low < 2.7
    assert 3.1 < high < 3.5
    assert figures(weighed("one batch", [1.0] * 20, usd=0.001)).usd_per_1k_interval is None


def test_the_fronts_are_of_money_and_of_time_and_without_diagnostics():
    def line(name: str, right: int, usd: float, p50: float | None, **more: Any) -> Any:
        made = weighed(name, [1.0] * right + [0.0] * (60 - right), **more)
        return replace(figures(made), usd_per_1k=usd, latency_ms=Latency(p50, p50))

    lines = [
        line("plain", 30, 2.0, 10.0),
        line("lora", 50, 1.0, 40.0),
        line("slow", 55, 3.0, 90.0),
        line("worse", 20, 2.0, None),
        line("oracle", 60, 0.1, 1.0, diagnostic=True),
    ]
    assert fronts(lines) == {
        "usd_per_1k": ["lora", "slow"],
        "p50_ms": ["plain", "lora", "slow"],
    }


@pytest.mark.parametrize(
    ("one", "labels"),
    [
        (recipe("zero-shot"), 0),
        (recipe("rag", context=Context(passages=3)), 0),
        (recipe("few-shot", context=Context(examples="fixed", num_examples=4)), 4),
        (recipe("few-shot", context=Context(examples="fixed", num_examples=400)), 30),
        (recipe("nearest-shot", context=Context(examples="nearest", num_examples=4)), 30),
        (recipe("lora", weights=Weights("lora")), 30),
        (recipe("head", weights=Weights("head")), 30),
        (recipe("tapt", weights=Weights("lora", learn=("documents",))), 0),
        (recipe("majority", model="majority"), 30),
        (
            recipe(
                "distil",
                weights=Weights(
                    "lora", learn=("teacher",), teacher=Context(examples="fixed", num_examples=2)
                ),
            ),
            2,
        ),
    ],
)
def test_a_recipe_is_built_from_the_labels_that_it_shows_or_learns_from(one: Any, labels: int):
    task = replace(TASK, train=tuple(example(f"t{n}", "a") for n in range(30)), usd_per_label=0.5)
    assert num_labels(one, task) == labels
    made = replace(weighed("x", [1.0] * 20, setup_seconds=1000.0), recipe=one)
    assert figures(made, task).num_labels == labels
    assert figures(made, task).setup_usd == pytest.approx(1.0 + labels / 2)


def test_a_recipe_that_is_dearer_in_both_never_breaks_even():
    lora = weighed("lora", [1.0] * 20, usd=0.002, setup_seconds=1000.0)
    plain = weighed("plain", [1.0] * 20, usd=0.001, setup_seconds=0.0)
    [found] = break_evens([plain, lora], ["plain"], TASK, seed=0)
    assert (found.a, found.b, found.calls, found.interval) == ("lora", "plain", None, None)


def test_only_finished_recipes_break_even_and_each_pair_once():
    three = [
        weighed(name, [1.0] * 12, setup_seconds=s) for name, s in zip("abc", (1, 2, 3), strict=True)
    ]
    skipped = Weighed(recipe("d"), False, "skipped", why="no time")
    found = break_evens([*three, skipped], ["a", "b"], TASK, seed=0)
    assert sorted((entry.a, entry.b) for entry in found) == [("b", "a"), ("c", "a"), ("c", "b")]


# ---------------------------------------------------------------- who is opened on test

SCORES = {"majority": 0.1, "tfidf": 0.5, "zero-shot": 0.4, "lora": 0.9, "few-shot": 0.6}


def finished(names: Sequence[str] = tuple(SCORES)) -> list[Weighed]:
    right = {name: round(SCORES[name.split("@")[0]] * 60) for name in names}
    return [
        weighed(
            name,
            [1.0] * count + [0.0] * (60 - count),
            model=name if name in ("majority", "tfidf") else name.partition("@")[2] or "fake",
        )
        for name, count in right.items()
    ]


def decided(outcome: str, chosen: str | None, best: str = "lora", rival: str | None = None) -> Any:
    return Decision(outcome, chosen, rival, best, rival, {}, ())  # type: ignore[arg-type]


def test_the_chosen_one_and_the_plain_prompt_are_the_finalists():
    assert finalists(decided("chosen", "lora"), finished()) == ["lora", "zero-shot"]


def test_a_plain_prompt_that_was_chosen_is_held_against_the_best_or_the_runner_up():
    assert finalists(decided("chosen", "zero-shot", "lora"), finished()) == ["zero-shot", "lora"]
    assert finalists(decided("chosen", "zero-shot", "zero-shot"), finished()) == [
        "zero-shot",
        "lora",
    ]


def test_the_two_that_cannot_be_told_apart_are_the_finalists():
    decision = decided("cannot_tell", None, "lora", "few-shot")
    assert finalists(decision, finished()) == ["lora", "few-shot"]


def test_nothing_is_opened_when_nothing_works():
    assert finalists(decided("nothing_works", None), finished()) == []


def test_the_plain_prompt_of_the_same_model_is_the_baseline():
    names = ["majority", "zero-shot@big", "zero-shot@small", "lora@small", "lora@big"]
    for model in ("small", "big"):
        name = f"lora@{model}"
        assert (
            baseline(name, decided("chosen", name, name), finished(names)) == f"zero-shot@{model}"
        )


def test_without_a_plain_prompt_the_baseline_is_the_next_best():
    left = finished(["majority", "tfidf", "lora"])
    assert baseline("lora", decided("chosen", "lora"), left) == "tfidf"
    assert baseline("lora", decided("chosen", "lora"), finished(["majority", "lora"])) == "majority"


def test_a_failed_plain_prompt_is_no_baseline():
    all_of_them = [
        replace(w, status="failed") if w.recipe.name == "zero-shot" else w for w in finished()
    ]
    assert baseline("lora", decided("chosen", "lora"), all_of_them) == "few-shot"


def test_a_decision_over_weighed_recipes_names_finalists_that_were_weighed():
    made = finished()
    decision = decide([candidate(w, TASK) for w in made], GROUPS, tolerance=0.02)
    assert (decision.outcome, decision.chosen) == ("chosen", "lora")
    assert finalists(decision, made) == ["lora", "zero-shot"]


# ---------------------------------------------------------------- where recipes disagree


def test_the_examples_that_split_the_recipes_most_come_first_and_majority_is_left_out():
    a = weighed("a", [1.0] * 60)
    b = weighed("b", [0.5 if n == 7 else 0.0 if n in (20, 5) else 1.0 for n in range(60)])
    majority = weighed("majority", [0.0] * 60, model="majority")
    shown = disagreements(TASK, [majority, a, b], ["b"])
    assert [entry["id"] for entry in shown] == ["e5", "e20", "e7"]
    assert shown[0]["split"] == "dev"
    assert (shown[0]["input"], shown[0]["target"]) == ("text 5", "yes")
    assert [(s["recipe"], s["score"]) for s in shown[0]["answers"]] == [("b", 0.0), ("a", 1.0)]
    json.dumps(shown, allow_nan=False)


def test_a_failed_example_is_shown_with_its_error_and_no_score():
    a, b = weighed("a", [1.0, 0.0, 1.0]), weighed("b", [None, 1.0, 1.0])
    c = weighed("c", [0.0, 1.0, 1.0])
    task = replace(TASK, dev=DEV[:3])
    first = disagreements(task, [a, b, c], [])[0]
    sides = {side["recipe"]: side for side in first["answers"]}
    assert first["id"] == "e0"
    assert (sides["b"]["score"], sides["b"]["error"]) == (None, "lost")
    assert sides["a"]["error"] is None


def test_agreement_everywhere_shows_nothing():
    assert disagreements(TASK, [weighed("a", [1.0] * 60), weighed("b", [1.0] * 60)], []) == []


def test_only_so_many_examples_and_recipes_are_shown_the_wanted_ones_among_them():
    rng = random.Random(3)
    made = [weighed(f"r{n}", [float(rng.random() < 0.1 * n) for _ in range(60)]) for n in range(8)]
    shown = disagreements(TASK, made, ["r0"])
    assert len(shown) == NUM_DISAGREEMENTS
    for entry in shown:
        names = [side["recipe"] for side in entry["answers"]]
        assert names[0] == "r0"
        assert len(names) == RECIPES_SIDE_BY_SIDE


# ---------------------------------------------------------------- whatever the rows


@settings(max_examples=30, deadline=None)
@given(st.lists(st.none() | st.floats(0, 1), min_size=2, max_size=40))
def test_a_report_is_over_the_scored_rows_and_has_no_nan(scores):
    one = weighed("a", scores)
    dev = figures(one).dev
    values = [score for score in scores if score is not None]
    if len(values) < 2:
        assert dev is None
        return
    assert dev.score == pytest.approx(math.fsum(values) / len(values))
    assert dev.num_errors == len(scores) - len(values)
    assert 0 <= dev.interval[0] <= dev.interval[1] <= 1
    json.dumps(dev.details, allow_nan=False)


def test_a_candidate_holds_the_scores_of_a_split_by_example():
    test_rows = [row("t0", 0.25, usd=0.01)]
    one = replace(weighed("a", [1.0]), rows={"test": test_rows})
    found = candidate(one, TASK, "test")
    assert found == Candidate(one.recipe, {"t0": 0.25}, pytest.approx(10.0), True, work=4.0)
