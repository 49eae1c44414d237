"""Which recipe is chosen: every branch by hand, then twins and random labels by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fake_tasks import recipe
from steelyard.core import Comparison, Context, Decoding, Recipe, Weights
from steelyard.errors import TrialError
from steelyard.measure.decision import (
    SAME_COST,
    Candidate,
    Decision,
    cheapest,
    compare_pairs,
    decide,
    no_dearer,
    settle,
)
from steelyard.measure.statistics import paired

N = 100
SHOTS = Context(examples="fixed", num_examples=4)


def candidate(
    name: str, right: Sequence[bool], usd: float = 1.0, *, eligible: bool = True, **parts: Any
) -> Candidate:
    """A recipe by the examples that it gets right."""
    scores = {f"e{number}": float(value) for number, value in enumerate(right)}
    return Candidate(recipe(name, **parts), scores, usd, eligible)


def right(count: int, *, start: int = 0, n: int = N) -> list[bool]:
    """`count` right answers in a row, from `start` on."""
    return [start <= number < start + count for number in range(n)]


def groups(n: int = N) -> dict[str, str]:
    return {f"e{number}": f"g{number}" for number in range(n)}


def chosen(*candidates: Candidate, tolerance: float = 0.02) -> Decision:
    return decide(candidates, groups(), tolerance=tolerance)


MAJORITY = candidate("majority", right(20), 0.0, model="majority")
BEST = candidate("best", right(90), 10.0, weights=Weights("lora"))

# Against BEST (90 right), over 100 examples, tolerance 0.02:
#   WORSE   60 right, all among BEST's            difference .30, p tiny
#   LEVEL   the same 90                           difference 0, interval ± .03
#   NEAR    89 right, disagreeing on 21           difference .01, open
#   BEHIND  84 right, disagreeing on 26           difference .06, open
WORSE = right(60)
LEVEL = right(90)
NEAR = right(89, start=10)
BEHIND = [*[False] * 16, *[True] * 84]


# ---------------------------------------------------------------- the branches


def test_nothing_that_beats_majority_means_nothing_works():
    majority = candidate("majority", right(50), 0.0, model="majority")
    decision = chosen(majority, candidate("a", right(52, start=20)), candidate("b", right(40)))
    assert (decision.outcome, decision.chosen, decision.prefer) == ("nothing_works", None, None)
    assert (decision.best, decision.rival) == ("a", None)
    assert decision.standings == {
        "a": "no better than majority",
        "b": "no better than majority",
    }


def test_a_recipe_significantly_worse_than_majority_does_not_beat_it():
    majority = candidate("majority", right(80), 0.0, model="majority")
    decision = chosen(majority, candidate("a", right(30)))
    assert decision.outcome == "nothing_works"
    assert decision.comparisons[0].p_adjusted < 0.05


def test_the_best_is_chosen_when_the_others_are_worse():
    decision = chosen(MAJORITY, BEST, candidate("cheap", WORSE, 0.1))
    assert (decision.outcome, decision.chosen, decision.rival) == ("chosen", "best", None)
    assert decision.standings == {"best": "best", "cheap": "worse"}


def test_the_only_recipe_that_beats_majority_is_chosen():
    decision = chosen(MAJORITY, BEST)
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


def test_a_cheaper_recipe_within_the_tolerance_is_chosen():
    decision = chosen(MAJORITY, BEST, candidate("cheap", LEVEL, 0.1), tolerance=0.05)
    assert (decision.outcome, decision.chosen, decision.best) == ("chosen", "cheap", "best")
    assert decision.standings["cheap"] == "within"


def test_a_dearer_recipe_within_the_tolerance_is_not_chosen():
    decision = chosen(MAJORITY, BEST, candidate("dear", LEVEL, 100.0), tolerance=0.05)
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


def test_significantly_lower_and_within_the_tolerance_is_within():
    near = candidate("near", [*right(80)], 0.1)
    decision = chosen(MAJORITY, BEST, near, tolerance=0.2)
    [against] = [c for c in decision.comparisons if (c.a, c.b) == ("best", "near")]
    assert against.p_adjusted < 0.05
    assert against.interval[1] <= 0.2
    assert decision.standings["near"] == "within"
    assert decision.chosen == "near"


def test_a_cheaper_open_recipe_with_a_small_gap_is_chosen():
    decision = chosen(MAJORITY, BEST, candidate("cheap", NEAR, 0.1))
    assert decision.standings["cheap"] == "open"
    assert (decision.outcome, decision.chosen) == ("chosen", "cheap")


def test_a_cheaper_open_recipe_with_a_large_gap_leaves_it_open():
    decision = chosen(MAJORITY, BEST, candidate("cheap", BEHIND, 0.1))
    assert decision.standings["cheap"] == "open"
    assert (decision.outcome, decision.chosen) == ("cannot_tell", None)
    assert (decision.best, decision.rival, decision.prefer) == ("best", "cheap", "cheap")


def test_a_cheaper_open_recipe_with_a_large_gap_also_stands_against_a_near_one():
    near = candidate("near", NEAR, 1.0, context=SHOTS)
    decision = chosen(MAJORITY, BEST, near, candidate("cheap", BEHIND, 0.1))
    assert set(decision.standings.values()) == {"best", "open"}
    assert (decision.outcome, decision.rival, decision.prefer) == ("cannot_tell", "cheap", "cheap")


@pytest.mark.parametrize("gap", [NEAR, BEHIND])
def test_the_same_cost_and_open_leaves_it_open_and_prefers_the_higher(gap):
    other = candidate("other", gap, 10.0 * SAME_COST * 0.99, context=SHOTS)
    decision = chosen(MAJORITY, BEST, other)
    assert (decision.outcome, decision.rival, decision.prefer) == ("cannot_tell", "other", "best")


PLAIN = candidate("plain", NEAR, 10.0 * SAME_COST * 0.99)


def test_at_the_same_cost_an_open_recipe_that_needs_less_is_chosen_when_the_gap_is_small():
    decision = chosen(MAJORITY, BEST, PLAIN)
    assert decision.standings == {"best": "best", "plain": "open"}
    assert (decision.outcome, decision.chosen, decision.rival) == ("chosen", "plain", None)


def test_at_the_same_cost_an_open_recipe_that_needs_less_leaves_it_open_when_the_gap_is_large():
    decision = chosen(MAJORITY, BEST, candidate("plain", BEHIND, 10.0))
    assert (decision.outcome, decision.rival, decision.prefer) == ("cannot_tell", "plain", "best")


@pytest.mark.parametrize("gap", [NEAR, BEHIND])
def test_at_the_same_cost_an_open_recipe_that_needs_more_does_not_stand_against_the_best(gap):
    best = candidate("best", right(90), 10.0)
    decision = chosen(MAJORITY, best, candidate("shots", gap, 9.0, context=SHOTS))
    assert decision.standings["shots"] == "open"
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


def test_of_those_within_the_tolerance_at_the_same_cost_the_one_that_needs_least_is_chosen():
    level = candidate("plain", right(89), 10.0 * SAME_COST * 0.99)
    both = candidate("both", right(90), 10.0, context=SHOTS, weights=Weights("lora"))
    decision = chosen(MAJORITY, BEST, both, level, tolerance=0.06)
    assert {decision.standings[name] for name in ("both", "plain")} == {"within"}
    assert decision.chosen == "plain"


def test_needing_less_does_not_make_up_for_a_higher_cost():
    decision = chosen(MAJORITY, BEST, replace(PLAIN, usd_per_1k=10.0 * SAME_COST * 1.01))
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


@pytest.mark.parametrize(("work", "picked"), [(1.4, "plain"), (1.6, "best"), (None, "best")])
def test_what_needs_more_of_one_model_is_only_cheaper_where_an_answer_is_less_work(work, picked):
    """A clock on a busy machine says three times the cost; tokens say what they say."""
    best = replace(BEST, work=1.0)
    decision = chosen(MAJORITY, best, replace(PLAIN, usd_per_1k=30.0, work=work))
    assert (decision.outcome, decision.chosen) == ("chosen", picked)


def test_work_for_another_model_says_nothing():
    plain = candidate("plain", NEAR, 30.0, model="other")
    decision = chosen(MAJORITY, replace(BEST, work=1.0), replace(plain, work=1.0))
    assert decision.chosen == "best"


def test_what_needs_more_and_is_no_less_work_does_not_stand_against_the_plain_prompt():
    plain = replace(candidate("plain", right(90), 30.0), work=1.2)
    tuned = candidate("tuned", BEHIND, 10.0, weights=Weights("lora"))
    assert chosen(MAJORITY, plain, replace(tuned, work=1.0)).chosen == "plain"
    assert chosen(MAJORITY, plain, tuned).outcome == "cannot_tell"


def test_the_same_cost_and_open_is_chosen_when_only_decoding_differs():
    other = candidate(
        "best+constrained",
        NEAR,
        10.0,
        weights=Weights("lora"),
        decoding=Decoding("constrained"),
    )
    decision = chosen(MAJORITY, BEST, other)
    assert decision.standings["best+constrained"] == "open"
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


def test_a_cheaper_open_recipe_with_a_large_gap_leaves_it_open_also_when_only_decoding_differs():
    plain = candidate("plain", BEHIND, 1.0, weights=Weights("lora"))
    decision = chosen(MAJORITY, BEST, plain)
    assert decision.standings["plain"] == "open"
    assert (decision.outcome, decision.rival, decision.prefer) == ("cannot_tell", "plain", "plain")


def test_a_dearer_open_recipe_does_not_stand_against_the_best():
    other = candidate("other", NEAR, 10.0 * SAME_COST * 1.01, context=SHOTS)
    decision = chosen(MAJORITY, BEST, other)
    assert decision.standings["other"] == "open"
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


# ---------------------------------------------------------------- limits


def test_the_best_over_a_limit_leaves_the_choice_to_one_within_the_tolerance():
    over = replace(BEST, eligible=False)
    level = candidate("level", LEVEL, 20.0)
    decision = chosen(MAJORITY, over, level, tolerance=0.05)
    assert (decision.outcome, decision.chosen, decision.best) == ("chosen", "level", "best")


def test_the_best_over_a_limit_leaves_the_choice_to_the_best_of_the_worse():
    over = replace(BEST, eligible=False)
    decision = chosen(MAJORITY, over, candidate("a", WORSE), candidate("b", right(50), 0.1))
    assert (decision.outcome, decision.chosen) == ("chosen", "a")
    assert decision.standings["a"] == "worse"


def test_every_working_recipe_over_a_limit_means_nothing_works():
    over = replace(BEST, eligible=False)
    decision = chosen(MAJORITY, over, candidate("b", right(21)))
    assert (decision.outcome, decision.chosen, decision.prefer) == ("nothing_works", None, None)
    assert decision.standings == {"best": "best", "b": "no better than majority"}


def test_an_open_recipe_beside_a_best_over_a_limit_cannot_be_told_from_it():
    over = replace(BEST, eligible=False)
    decision = chosen(MAJORITY, over, candidate("cheap", BEHIND, 0.1))
    assert (decision.outcome, decision.rival, decision.prefer) == ("cannot_tell", "cheap", "cheap")


def test_a_recipe_over_a_limit_does_not_stand_against_the_best():
    other = candidate("other", BEHIND, 0.1, eligible=False)
    decision = chosen(MAJORITY, BEST, other)
    assert (decision.outcome, decision.chosen) == ("chosen", "best")


# ---------------------------------------------------------------- edges


def test_no_majority_is_no_verdict():
    with pytest.raises(TrialError, match=r"expected the majority control.*finished: best"):
        chosen(BEST)


def test_majority_alone_is_no_verdict():
    with pytest.raises(TrialError, match="at least one other finished recipe; finished: majority"):
        chosen(MAJORITY)


def test_nothing_finished_is_no_verdict():
    with pytest.raises(TrialError, match="finished: none"):
        chosen()


def test_cheapest_takes_the_best_of_those_that_cost_about_the_same():
    cheap, better = candidate("cheap", right(50), 1.0), candidate("better", right(60), 1.49)
    dear = candidate("dear", right(90), 1.51)
    assert cheapest([dear, cheap, better]) is better
    assert cheapest([dear]) is dear


def test_free_recipes_cost_the_same():
    a, b = candidate("a", right(50), 0.0), candidate("b", right(60), 0.0)
    assert cheapest([a, b, candidate("c", right(90), 1e-9)]) is b


@pytest.mark.parametrize(
    ("usd", "needs_more", "no_say"),
    [
        (0.5, True, True),  # cheaper: it may need what it likes
        (1.0, False, True),  # as cheap
        (1.4, False, True),  # as cheap, within the factor
        (1.0, True, False),  # as cheap, and needs more
        (2.0, False, False),  # dearer
    ],
)
def test_being_less_says_nothing_against_one_that_is_cheaper_or_as_cheap_and_needs_no_more(
    usd, needs_more, no_say
):
    weights = Weights("lora") if needs_more else Weights()
    one = candidate("one", [True] * N, usd=usd, weights=weights)
    other = candidate("other", [True] * N, usd=1.0)
    assert no_dearer(one, other) is no_say


@pytest.mark.parametrize("usd", [0.5, 1.0, 1.4])
def test_a_recipe_that_scores_lower_than_one_that_costs_no_more_is_not_chosen(usd):
    higher = candidate("higher", right(60), usd=usd)
    lower = candidate("lower", right(56), usd=1.0)
    best = candidate("best", right(62), usd=9.0)
    assert no_dearer(higher, lower)
    for tolerance in (0.0, 0.02, 0.1, 0.5):
        found = chosen(MAJORITY, best, higher, lower, tolerance=tolerance)
        assert "lower" not in (found.chosen, found.prefer)


def test_the_order_of_the_recipes_decides_nothing():
    made = [BEST, candidate("near", NEAR, 1.0, context=SHOTS), candidate("worse", WORSE, 0.1)]
    first, *others = [
        chosen(*order) for order in ([MAJORITY, *made], [*made[::-1], MAJORITY], [*made, MAJORITY])
    ]
    assert (first.outcome, first.chosen, first.best) == ("chosen", "near", "best")
    for other in others:
        assert (other.outcome, other.chosen, other.best) == ("chosen", "near", "best")
        assert other.standings == first.standings
        assert set(other.comparisons) == set(first.comparisons)


# ---------------------------------------------------------------- the comparisons


def test_the_comparisons_are_each_against_majority_and_the_best_against_each_holm_adjusted():
    from statsmodels.stats.multitest import multipletests

    others = [BEST, candidate("near", NEAR), candidate("worse", WORSE)]
    decision = chosen(MAJORITY, *others)
    pairs = [(o, MAJORITY) for o in others] + [(BEST, others[1]), (BEST, others[2])]
    assert [(c.a, c.b) for c in decision.comparisons] == [(a.name, b.name) for a, b in pairs]
    results = [
        paired(list(a.scores.values()), list(b.scores.values()), list(a.scores)) for a, b in pairs
    ]
    adjusted = multipletests([r.p_value for r in results], method="holm")[1]
    for comparison, result, p in zip(decision.comparisons, results, adjusted, strict=True):
        assert comparison.difference == result.difference
        assert comparison.interval == result.interval
        assert comparison.p_adjusted == pytest.approx(p)
        assert (comparison.split, comparison.num_examples, comparison.num_groups) == ("dev", N, N)


def test_a_pair_is_compared_on_the_examples_that_both_answered():
    a = Candidate(recipe("a"), {"e1": 1.0, "e2": 1.0, "e3": 0.0, "e4": 1.0}, 1.0)
    b = Candidate(recipe("b"), {"e2": 0.0, "e3": 0.0, "e4": 1.0, "e5": 0.0}, 1.0)
    [found] = compare_pairs([(a, b)], groups(), "test", confidence=0.95, seed=0)
    assert (found.num_examples, found.split) == (3, "test")
    assert found.difference == pytest.approx(1 / 3)


def test_examples_of_one_group_are_one_observation():
    right_pairs = [bool(number % 2) for number in range(N)]
    a, b = candidate("a", [True] * N), candidate("b", right_pairs)
    halves = {f"e{number}": f"g{number // 50}" for number in range(N)}
    [alone] = compare_pairs([(a, b)], groups(), "dev", confidence=0.95, seed=0)
    [clustered] = compare_pairs([(a, b)], halves, "dev", confidence=0.95, seed=0)
    assert (alone.num_groups, clustered.num_groups) == (N, 2)
    assert alone.p_adjusted < 0.05 < clustered.p_adjusted


def test_no_shared_example_is_an_error_and_not_a_number():
    a = Candidate(recipe("a"), {"e1": 1.0}, 1.0)
    b = Candidate(recipe("b"), {"e2": 1.0}, 1.0)
    with pytest.raises(TrialError, match=r"0 example\(s\)"):
        compare_pairs([(a, b)], groups(), "dev", confidence=0.95, seed=0)


# ---------------------------------------------------------------- whatever the scores


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_what_is_chosen_beats_majority_may_be_chosen_and_is_in_the_right_field(data):
    count = data.draw(st.integers(1, 4))
    share = st.integers(0, 24)
    made = [
        candidate(
            f"r{number}",
            right(data.draw(share), start=data.draw(share), n=48),
            data.draw(st.sampled_from([0.0, 0.1, 0.14, 1.0])),
            eligible=data.draw(st.booleans()),
            context=SHOTS if data.draw(st.booleans()) else Context(),
        )
        for number in range(count)
    ]
    majority = candidate("majority", right(3, n=48), 0.0, model="majority")
    decision = decide([majority, *made], groups(48), tolerance=0.05)
    named = {c.name: c for c in made}
    assert set(decision.standings) == set(named)
    assert decision.best in named
    assert (decision.outcome == "chosen") == (decision.chosen is not None)
    assert (decision.outcome == "cannot_tell") == (decision.prefer is not None)
    assert (decision.outcome == "cannot_tell") == (decision.rival is not None)
    for name in (decision.chosen, decision.prefer, decision.rival):
        if name is not None:
            assert named[name].eligible
            assert decision.standings[name] != "no better than majority"
    again = decide([majority, *made], groups(48), tolerance=0.05)
    assert again == decision


# ---------------------------------------------------------------- what chance does

SIMULATIONS = 100
SLACK = stats.binom.ppf(0.99, SIMULATIONS, 0.05) / SIMULATIONS


def drawn(rng: np.random.Generator, name: str, skill: float, n: int, **parts: Any) -> Candidate:
    return candidate(name, (rng.random(n) < skill).tolist(), **parts)


def test_of_two_equally_good_and_equally_priced_recipes_few_win():
    rng = np.random.default_rng(11)
    n, wins, outcomes = 40, 0, []
    for _ in range(SIMULATIONS):
        majority = drawn(rng, "majority", 0.2, n, usd=0.0, model="majority")
        twins = [drawn(rng, name, 0.75, n, weights=w) for name, w in TWINS.items()]
        decision = decide([majority, *twins], groups(n), tolerance=0.02)
        outcomes.append(decision.outcome)
        other = next(name for name in TWINS if name != decision.best)
        [between] = [c for c in decision.comparisons if (c.a, c.b) == (decision.best, other)]
        wins += decision.outcome == "chosen" and between.p_adjusted < 0.05
    assert wins / SIMULATIONS <= SLACK
    assert outcomes.count("cannot_tell") / SIMULATIONS >= 1 - SLACK


TWINS = {"a": Weights("lora", rank=8), "b": Weights("lora")}


def test_over_random_labels_nothing_works():
    rng = np.random.default_rng(12)
    n, works = 40, 0
    for _ in range(SIMULATIONS):
        # Four labels, equally common: an answer is right by chance alone.
        recipes = [drawn(rng, f"r{number}", 0.25, n) for number in range(3)]
        majority = drawn(rng, "majority", 0.25, n, usd=0.0, model="majority")
        decision = decide([majority, *recipes], groups(n), tolerance=0.02)
        works += decision.outcome != "nothing_works"
    assert works / SIMULATIONS <= SLACK


def test_a_recipe_that_is_much_better_is_mostly_found():
    rng = np.random.default_rng(13)
    n, found = 40, 0
    for _ in range(40):
        majority = drawn(rng, "majority", 0.2, n, usd=0.0, model="majority")
        made = [drawn(rng, "good", 0.9, n), drawn(rng, "poor", 0.4, n, weights=Weights("lora"))]
        decision = decide([majority, *made], groups(n), tolerance=0.02)
        found += decision.chosen == "good"
    assert found >= 36


def test_a_candidate_is_named_by_its_recipe_and_scored_by_its_mean():
    made = Candidate(Recipe("a"), {"e1": 1.0, "e2": 0.5}, 1.0)
    assert (made.name, made.mean) == ("a", 0.75)


def left_open() -> Decision:
    return Decision("cannot_tell", None, "rival", "best", "rival", {}, ())


def on_test(low: float, high: float) -> Comparison:
    return Comparison("best", "rival", "test", (low + high) / 2, (low, high), 0.5, 100, 100)


@pytest.mark.parametrize(
    ("interval", "picked"),
    [
        ((0.01, 0.2), "best"),  # higher beyond chance
        ((-0.2, -0.01), "rival"),  # lower beyond chance
        ((-0.01, 0.02), "rival"),  # within the tolerance, and the rival is no dearer
        ((0.001, 0.015), "rival"),  # higher, and by no more than the tolerance
        ((-0.01, 0.05), None),  # open still
    ],
)
def test_the_sealed_test_settles_what_dev_left_open_where_it_can(interval, picked):
    decision = settle(left_open(), on_test(*interval), tolerance=0.02, eligible=["best", "rival"])
    assert decision.chosen == picked
    assert decision.outcome == ("cannot_tell" if picked is None else "chosen")
    assert decision.prefer == ("rival" if picked is None else None)
    assert decision.rival == "rival"


def test_the_sealed_test_does_not_choose_what_the_limits_forbid():
    decision = settle(left_open(), on_test(0.1, 0.3), tolerance=0.02, eligible=["rival"])
    assert decision.outcome == "cannot_tell"
