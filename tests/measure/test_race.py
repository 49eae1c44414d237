"""Tests that may be looked at after every example: no false alarms, and gaps found early."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example
from steelyard.errors import TrialError
from steelyard.measure.race import (
    RACE_STAKES,
    STAKES,
    anytime_p_values,
    behind,
    log_wealth,
    per_group,
    race,
    share,
)

SPREAD = (0.4, 0.4, 0.2)
differences = st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=1, max_size=40)


# ---------------------------------------------------------------- references


def test_the_wealth_is_the_mean_over_stakes_of_what_each_would_have_made():
    seen = [1.0, -0.5, 0.0, 0.25]
    expected = []
    for end in range(1, 5):
        each = [math.prod(1 + stake * d for d in seen[:end]) for stake in STAKES]
        expected.append(math.log(sum(each) / len(each)))
    assert log_wealth(seen) == pytest.approx(expected)


def test_a_row_of_wins_is_enough_when_the_sign_test_would_be_at_a_stricter_level():
    p = anytime_p_values([1.0] * 20)
    first = int(np.argmax(p <= 0.05)) + 1
    assert first == 7  # by hand: (1/4) Σ (1 + stake)^7 = 27.3 ≥ 20, and 15.4 at 6
    assert p[19] < 1e-3


def test_a_margin_is_what_the_difference_must_exceed():
    rng = np.random.default_rng(0)
    seen = (rng.random(3000) < 0.4).astype(float) - (rng.random(3000) < 0.3)
    assert anytime_p_values(seen, margin=0.0)[-1] < 0.001
    assert anytime_p_values(seen, margin=0.15)[-1] > 0.5


def table(**scores: list[float | None]) -> dict[str, dict[str, float | None]]:
    return {name: {f"e{n}": s for n, s in enumerate(own)} for name, own in scores.items()}


def p_values(scores: dict[str, dict[str, float | None]], size: int, **more: object) -> dict:
    rules = {"margin": 0.0, "leading": list(scores)} | more
    return behind(scores, [example(f"e{n}", "") for n in range(size)], **rules)


def test_a_bet_is_on_who_of_the_others_had_the_highest_mean_until_then():
    """By hand: nobody leads at first, so the mean of the others; then b does, then a and b."""
    scores = table(a=[0.0, 1.0, 1.0], b=[1.0, 0.0, 1.0], c=[0.0, 0.0, 0.0])
    gaps = [0.5, 0.0, 1.0]  # above c: (0 + 1)/2; b, which led; a and b, which are level
    wealth = [
        sum(
            w * math.prod(1 + s * g for g in gaps[:end])
            for s, w in zip(RACE_STAKES, SPREAD, strict=True)
        )
        for end in range(1, 4)
    ]
    found = p_values(scores, 3)
    assert found["c"] == pytest.approx(1 / max(wealth))
    # Above a: −0 + (1 + 0)/2, then 0 − 1 of b, then b again: level.
    up = sum(w * (1 + s * 0.5) for s, w in zip(RACE_STAKES, SPREAD, strict=True))
    assert found["a"] == pytest.approx(1 / up)


def test_who_may_not_lead_drops_nobody_and_who_is_out_leads_no_more():
    scores = table(a=[1.0] * 20, b=[0.0] * 20)
    assert p_values(scores, 20)["b"] < 1e-4
    assert p_values(scores, 20, leading=["b"])["b"] == 1.0
    short = {"a": dict(list(scores["a"].items())[:5]), "b": scores["b"]}
    assert p_values(short, 20)["b"] == pytest.approx(p_values(scores, 5)["b"])


def test_whoever_costs_no_more_need_only_be_higher_and_whoever_is_dearer_by_more_than_the_margin():
    scores = table(a=[1.0] * 4, b=[0.0] * 4)

    def p_of_b(**more: object) -> float:
        return p_values(scores, 4, margin=0.1, **more)["b"]

    def by_hand(gap: float) -> float:
        made = [w * (1 + s / 1.1 * gap) ** 4 for s, w in zip(RACE_STAKES, SPREAD, strict=True)]
        return 1 / sum(made)

    assert p_of_b() == pytest.approx(by_hand(0.9))
    assert p_of_b(no_dearer=[("a", "b")]) == pytest.approx(by_hand(0.9))  # the other way round
    assert p_of_b(no_dearer=[("b", "a")]) == pytest.approx(by_hand(1.0))


def test_what_failed_says_nothing():
    whole = table(a=[1.0, 1.0, 1.0], b=[0.0, 0.0, 0.0])
    failed = table(a=[1.0, None, 1.0, 1.0], b=[0.0, 0.0, 0.0, 0.0])
    assert p_values(failed, 4)["b"] == pytest.approx(p_values(whole, 3)["b"])
    assert p_values({}, 3) == {}


def test_those_that_are_left_share_the_chance_to_be_wrong():
    assert [share(0.95, left) for left in (10, 2, 1)] == pytest.approx([0.005, 0.025, 0.025])


# ---------------------------------------------------------------- properties


@settings(max_examples=30)
@given(differences)
def test_p_values_lie_in_0_to_1_and_never_rise(seen):
    p = anytime_p_values(seen)
    assert ((p > 0) & (p <= 1)).all()
    assert (np.diff(p) <= 0).all()


@settings(max_examples=30)
@given(differences)
def test_the_final_wealth_does_not_depend_on_the_order(seen):
    assert log_wealth(seen)[-1] == pytest.approx(log_wealth(seen[::-1])[-1], abs=1e-9)


@settings(max_examples=30)
@given(differences, st.floats(0.01, 0.5))
def test_a_larger_margin_is_never_shown_more_easily(seen, margin):
    assert log_wealth(seen, margin=margin)[-1] <= log_wealth(seen)[-1] + 1e-9


@settings(max_examples=30)
@given(st.lists(st.sampled_from([-1.0, 1.0]), min_size=3, max_size=8))
def test_a_fair_bet_neither_gains_nor_loses_on_average(head):
    """What comes next is fair, so the mean of the two futures is the present."""
    futures = [math.exp(log_wealth([*head, step])[-1]) for step in (-1.0, 1.0)]
    assert sum(futures) / 2 == pytest.approx(math.exp(log_wealth(head)[-1]))


# ---------------------------------------------------------------- simulations


def studies(gap: float, *, count: int, size: int, seed: int) -> list[np.ndarray]:
    """Two recipes that are right or wrong, the first better by `gap`; what is hard is shared."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        skill = np.clip(rng.beta(2, 1, size), gap, 1 - gap)
        chances = np.stack([skill + gap / 2, skill - gap / 2])
        found.append((rng.random((2, size)) < chances).astype(np.float64))
    return found


def test_twins_looked_at_after_every_example_have_a_winner_in_at_most_5_percent_of_studies():
    raced = [race(scores) for scores in studies(0.0, count=600, size=300, seed=1)]
    winners = sum(len(one.left) < 2 for one in raced)
    assert winners / 600 <= 0.05


def test_looking_at_an_ordinary_test_after_every_example_would_find_winners_far_more_often():
    """Why not the z test: the same studies, the same looks."""
    false = 0
    for a, b in studies(0.0, count=300, size=300, seed=1):
        seen = np.cumsum(a - b)[9:]
        spread = np.sqrt(np.maximum(np.cumsum((a - b) ** 2)[9:], 1.0))
        false += bool((np.abs(seen / spread) > 1.96).any())
    assert false / 300 > 0.15


def test_four_equal_recipes_lose_one_in_at_most_5_percent_of_studies():
    rng = np.random.default_rng(2)
    lost = 0
    for _ in range(400):
        skill = rng.beta(2, 1, 200)
        lost += len(race((rng.random((4, 200)) < skill).astype(np.float64)).left) < 4
    assert lost / 400 <= 0.05


def test_ten_equal_recipes_lose_one_in_at_most_5_percent_of_studies():
    rng = np.random.default_rng(7)
    lost = 0
    for _ in range(300):
        skill = rng.beta(2, 1, 150)
        lost += len(race((rng.random((10, 150)) < skill).astype(np.float64)).left) < 10
    assert lost / 300 <= 0.05


def test_groups_that_answer_as_one_are_no_false_winner():
    rng = np.random.default_rng(3)
    false = 0
    for _ in range(400):
        groups = np.repeat(np.arange(40), rng.integers(1, 9, 40))
        shared = (rng.random((2, 40)) < 0.5).astype(np.float64)
        false += len(race(shared[:, groups], groups=groups.tolist()).left) < 2
    assert false / 400 <= 0.05


def test_a_large_gap_is_found_early_and_a_small_one_late():
    large = [race(scores) for scores in studies(0.4, count=60, size=600, seed=4)]
    small = [race(scores) for scores in studies(0.1, count=60, size=600, seed=5)]
    assert all(one.left == (0,) for one in large)
    spent = np.mean([one.dropped_after[1] or 600 for one in large])
    assert spent < 120
    found = np.mean([one.left == (0,) for one in small])
    assert found > 0.4
    assert np.mean([one.dropped_after[1] or 600 for one in small]) > 2 * spent


def test_the_best_of_eight_is_left_and_most_answers_are_saved():
    rng = np.random.default_rng(6)
    means = np.array([0.05, 0.1, 0.3, 0.4, 0.5, 0.55, 0.6, 0.85])
    kept, spent = 0, []
    for _ in range(60):
        scores = (rng.random((8, 400)) < means[:, None]).astype(np.float64)
        raced = race(scores)
        kept += 7 in raced.left
        spent.append(raced.evaluations / scores.size)
    assert kept == 60
    assert np.mean(spent) < 0.35


# ---------------------------------------------------------------- edges


def test_a_recipe_that_is_out_drops_nobody_afterwards():
    best, second, third = np.ones(400), np.zeros(400), np.zeros(400)
    second[::2] = 1.0
    third[::4] = 1.0
    raced = race(np.stack([best, second, third]))
    assert raced.dropped_by == (None, 0, 0)
    assert raced.left == (0,)
    assert raced.evaluations == 400 + sum(n for n in raced.dropped_after if n is not None)


def test_a_group_is_one_observation_in_units_of_the_largest():
    assert per_group(np.array([1.0, 1.0, 0.0, -1.0]), ["x", "y", "x", "x"]).tolist() == [
        [0.0, pytest.approx(1 / 3)]
    ]


def test_one_example_drops_nobody():
    assert race(np.array([[1.0], [0.0]])).left == (0, 1)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([[0.5, 0.5]], "1 recipe"),
        ([[], []], "0 example"),
        ([[0.5, 2.0], [0.5, 0.5]], "recipe 0 has 2.0 on example 1"),
        ([[0.5, 1.0], [0.5, math.nan]], "recipe 1 has nan on example 1"),
    ],
)
def test_what_cannot_be_raced_is_an_error(scores, words):
    with pytest.raises(TrialError, match=words):
        race(np.array(scores))


def test_differences_and_margins_off_the_scale_are_errors():
    with pytest.raises(TrialError, match=r"difference 1 is 1\.5"):
        log_wealth([0.0, 1.5])
    with pytest.raises(TrialError, match="difference 0 is nan"):
        log_wealth([math.nan])
    with pytest.raises(TrialError, match="the margin is 1"):
        log_wealth([0.0], margin=1.0)
