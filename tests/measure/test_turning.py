"""What would change the answer: steps by hand, and everywhere the same as deciding again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe, row, weighed
from steelyard import core
from steelyard.core import Limits, ModelSpec, Output, Task, Usage, Weights
from steelyard.measure.decision import decide
from steelyard.measure.turning import Answer, Case, case_of, here, turning_points
from steelyard.measure.verdict import Weighed, candidate

N = 100
DEV = tuple(example(f"e{number}", f"text {number}") for number in range(N))
GROUPS = {e.id: e.group for e in DEV}
TASK = make_task([example("t1", "a")], Output("text"), dev=DEV, usd_per_machine_hour=1.0)


def measured(
    name: str,
    right: int,
    *,
    usd: float,
    wait: float = 100.0,
    setup_seconds: float = 0.0,
    skip: int = 0,
    **parts: Any,
) -> Weighed:
    """A recipe with so many right answers after `skip` wrong ones, which are as much work as they
    cost. Units: `usd` per 1,000."""
    answer = core.Answer("yes", "yes", usage=Usage(0, 0, round(100 * usd)))
    rows = [
        row(
            f"e{number}",
            float(skip <= number < skip + right),
            usd=usd / 1000,
            answer=answer,
            compute_ms=usd / 1000 * 3_600_000,
            batch_size=4 if number < N - 5 else 1,
            latency_ms=None if number < N - 5 else wait,
        )
        for number in range(N)
    ]
    made = weighed(name, [], setup_seconds=setup_seconds)
    return replace(made, recipe=recipe(name, **parts), rows={"dev": rows})


MAJORITY = measured("majority", 20, usd=0.0, wait=1.0)
LORA = measured("lora", 90, usd=1.0, wait=400.0, setup_seconds=36_000, weights=Weights("lora"))
PLAIN = measured("plain", 60, usd=4.0, wait=200.0)
NEAR = measured("near", 86, usd=0.1, wait=50.0)  # the first 86 of the 90 that lora gets right


def case(*recipes: Weighed, task: Task = TASK, tests: Any = ()) -> Case:
    found = [candidate(one, task) for one in (MAJORITY, *recipes)]
    decision = decide(found, GROUPS, tolerance=task.tolerance)
    return case_of((MAJORITY, *recipes), decision, tests, task, confidence=0.95)


def points(found: Case) -> dict[str, Any]:
    return {entry["of"]: entry for entry in turning_points(found)}


def pieces(entry: Any) -> list[tuple[float, Any, str, str | None]]:
    return [(p["from"], p["to"], p["outcome"], p["recipe"]) for p in entry["answers"]]


# ---------------------------------------------------------------- by hand


def test_a_wider_tolerance_lets_the_cheaper_recipe_win_from_the_gap_and_its_interval_on():
    found = case(LORA, NEAR)
    behind = next(c for c in found.comparisons if (c.a, c.b) == ("lora", "near"))
    assert behind.difference == pytest.approx(0.04)
    entry = points(found)["tolerance"]
    # A cheaper open recipe leaves it open up to the estimate; from there on it wins.
    assert pieces(entry) == [
        (0.0, behind.difference, "cannot_tell", "near"),
        (behind.difference, 1.0, "chosen", "near"),
    ]
    assert entry["now"] == 0.02
    assert entry["sentence"] == (
        "Tolerance (now 0.020): from 0.040 on near, now the safer bet, would be chosen."
    )


def test_another_value_never_names_what_is_the_answer_already_as_if_it_were_not():
    """What is chosen now may be left open elsewhere; what is the safer bet now, chosen."""
    for entry in (points(case(LORA, NEAR)), points(case(NEAR, LORA, PLAIN))):
        for found in entry.values():
            assert "near would be used" not in found["sentence"]
    open_still = Answer("cannot_tell", "b").instead_of(Answer("cannot_tell", "a"))
    assert open_still == "the data could still not tell (b would be the safer bet)"
    left_open = Answer("cannot_tell", "a").instead_of(Answer("chosen", "a"))
    assert left_open == "the data could not tell (a would be the safer bet)"


def test_a_limit_on_the_wait_turns_at_the_waits_that_were_measured():
    entry = points(case(LORA, PLAIN))["p95_ms"]
    assert pieces(entry) == [
        (0.0, 200.0, "nothing_works", None),
        (200.0, 400.0, "chosen", "plain"),
        (400.0, None, "chosen", "lora"),
    ]
    assert entry["sentence"] == (
        "Limit on the p95 wait (now none): below 400 ms plain would be used."
    )


def test_a_limit_on_the_cost_turns_at_the_costs_that_were_measured():
    entry = points(case(LORA, PLAIN))["usd_per_1k"]
    assert [p[2:] for p in pieces(entry)] == [("nothing_works", None), ("chosen", "lora")]
    assert entry["answers"][1]["from"] == pytest.approx(1.0)


def test_few_answers_do_not_pay_for_a_dear_set_up():
    """lora costs 10 USD once and 1 per thousand, level costs 2 and needs less: it wins until lora
    is 1.5 times as cheap, 1.5 · (10 + v) = 2 · v at v = 30 thousand."""
    level = measured("level", 90, usd=2.0, wait=100.0)
    entry = points(case(LORA, level))["volume"]
    steps = [piece["from"] for piece in entry["answers"]]
    assert steps[0] == 1.0
    assert [p[3] for p in pieces(entry)] == ["level", "lora"]
    assert steps[1] == pytest.approx(30_000)
    assert "below 30,000 level would be used" in entry["sentence"]
    assert entry["answers"][-1]["to"] is None


def test_a_recipe_that_is_twice_as_dear_may_lose_to_one_as_good():
    level = measured("level", 90, usd=2.0, weights=Weights("lora"), wait=400.0)
    entry = points(case(LORA, level))["cost"]
    assert entry["about"] == "lora"
    assert entry["now"] == 1.0
    last = entry["answers"][-1]
    assert (last["outcome"], last["recipe"]) == ("chosen", "level")
    assert last["from"] == pytest.approx(3.0)  # 1.5 times the other's 2


def test_the_price_of_a_machine_hour_matters_only_beside_other_prices_or_a_limit():
    assert "usd_per_machine_hour" not in points(case(LORA, PLAIN))
    limited = replace(TASK, limits=Limits(usd_per_1k=2.0))
    entry = points(case(LORA, PLAIN, task=limited))["usd_per_machine_hour"]
    assert entry["now"] == 1.0
    # lora takes one hour for a thousand answers: over 2 USD an hour the limit forbids it.
    assert entry["answers"][-1]["outcome"] == "nothing_works"
    assert entry["answers"][-1]["from"] == pytest.approx(2.0)


def test_token_prices_have_an_axis_of_their_own():
    model = ModelSpec("fake", "fake", url="http://m", usd_per_1m_input=1.0)
    found = case(LORA, PLAIN, task=replace(TASK, models=(model,)))
    entry = points(found)["token_price"]
    assert entry["about"] == "fake"
    assert pieces(entry) == [(0.0, None, "chosen", "lora")]
    assert "no other value changes the answer" in entry["sentence"]


def test_the_sealed_test_decides_again_what_it_decided():
    near = measured("near", 84, usd=0.1, skip=12)  # its gap may be chance, and it is cheaper
    open_case = case(LORA, near)
    assert open_case.again().outcome == "cannot_tell"
    [dev] = [c for c in open_case.comparisons if (c.a, c.b) == ("lora", "near")]
    test = replace(dev, split="test", difference=0.2, interval=(0.1, 0.3))
    assert replace(open_case, tests=(test,)).again() == Answer("chosen", "lora")


def test_where_nothing_works_nothing_has_a_running_cost_to_change():
    poor = measured("poor", 20, usd=1.0)
    found = points(case(poor))
    assert "cost" not in found
    assert pieces(found["tolerance"]) == [(0.0, 1.0, "nothing_works", None)]


# ---------------------------------------------------------------- everywhere

counts = st.integers(min_value=15, max_value=100)
usds = st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1.4, 2.0, 10.0])


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(counts, usds, st.integers(0, 10_000)), min_size=1, max_size=4),
    st.floats(0.0, 1.0),
    st.floats(1.0, 1e6),
)
def test_a_piece_says_what_deciding_again_says(
    drawn: Sequence[tuple[int, float, int]], tolerance: float, volume: float
):
    recipes = [
        measured(f"r{i}", right, usd=usd, setup_seconds=float(setup), skip=min(3 * i, N - right))
        for i, (right, usd, setup) in enumerate(drawn)
    ]
    found = case(*recipes)
    by_name = points(found)
    candidates = [candidate(one, TASK) for one in (MAJORITY, *recipes)]

    def expect(entry: Any, at: float, again: Any) -> None:
        piece = entry["answers"][here(entry["answers"], at)]
        edges = [p["from"] for p in entry["answers"]]
        if any(math.isclose(at, edge, rel_tol=1e-6) for edge in edges):
            return  # on a step
        assert (piece["outcome"], piece["recipe"]) == (again.outcome, again.chosen or again.prefer)

    expect(by_name["tolerance"], tolerance, decide(candidates, GROUPS, tolerance=tolerance))
    total = [
        replace(c, usd_per_1k=c.usd_per_1k + 1000 / volume * found.lines[c.name][1])
        for c in candidates
    ]
    expect(by_name["volume"], volume, decide(total, GROUPS, tolerance=TASK.tolerance))


def test_hours_are_those_of_the_rows_that_a_cost_comes_from():
    assert case(LORA).hours["lora"] == pytest.approx(1.0)
    priced = replace(LORA, rows={"dev": [replace(r, cost_usd=9.0) for r in LORA.rows["dev"]]})
    assert case(priced).hours["lora"] == pytest.approx(1.0)
