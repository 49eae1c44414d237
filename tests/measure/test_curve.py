"""The context curve: where enough is, worked by hand."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from steelyard.core import Recipe, RecipeReport
from steelyard.measure.curve import Amount, context_curve
from steelyard.measure.decision import Candidate

NUM = 60


def amount(value: int, scores: Sequence[float]) -> Amount:
    name = f"rag[passages={value}]"
    found = Candidate(Recipe(name), {f"e{i}": s for i, s in enumerate(scores)}, 0.1)
    report = RecipeReport(name, "default", "", "none", "free", control=False, status="finished")
    return Amount(value, found, report)


def curve(*amounts: Amount) -> Any:
    groups = {f"e{i}": f"e{i}" for i in range(NUM)}
    return context_curve("passages", amounts, groups, confidence=0.95, seed=0)


def share(right: int) -> list[float]:
    """The first `right` examples are right."""
    return [1.0] * right + [0.0] * (NUM - right)


def drawn(rng: random.Random, chance: float) -> list[float]:
    return [float(rng.random() < chance) for _ in range(NUM)]


def test_the_sweet_spot_is_the_smallest_amount_that_gains_and_that_none_beats() -> None:
    found = curve(
        amount(0, share(10)), amount(1, share(25)), amount(2, share(50)), amount(8, share(50))
    )
    assert found["sweet_spot"] == 2
    assert found["sentence"].startswith("Sweet spot: passages = 2 scores 0.833, 0.667 [0.")
    assert found["sentence"].endswith(
        " more than passages = 0, and no other amount is shown to score more."
    )
    assert [p["value"] for p in found["points"]] == [0, 1, 2, 8]


def test_a_higher_amount_that_may_be_chance_does_not_move_the_spot_and_is_named() -> None:
    almost = [*share(48)[:2], 0.0, *share(48)[3:50], 1.0, *[0.0] * 9]
    found = curve(amount(0, share(10)), amount(1, almost), amount(4, share(50)))
    assert found["sweet_spot"] == 1
    assert found["sentence"].endswith(
        " The highest, passages = 4, scores 0.833, which may be chance."
    )


def test_an_amount_that_does_not_gain_beyond_chance_is_no_spot_though_none_beats_it() -> None:
    """Passages = 1 is a little above none and not shown below 4."""
    found = curve(amount(0, share(30)), amount(1, share(34)), amount(4, share(38)))
    assert found["sweet_spot"] == 4


def test_beyond_the_spot_more_may_be_worse() -> None:
    found = curve(amount(0, share(10)), amount(2, share(45)), amount(16, share(20)))
    assert found["sweet_spot"] == 2


def test_what_chance_can_do_is_no_sweet_spot() -> None:
    found = curve(amount(0, share(30)), amount(1, share(31)))
    assert found["sweet_spot"] is None
    assert found["sentence"].startswith(
        "No sweet spot: passages = 1 scores highest, which may be chance: 0.017 ["
    )


def test_the_least_amount_may_be_the_best() -> None:
    found = curve(amount(0, share(40)), amount(1, share(20)))
    assert found["sweet_spot"] is None
    assert found["sentence"] == "No sweet spot: passages = 0, the least, scores highest."


def test_who_gains_and_is_beaten_by_one_whose_gain_may_be_chance_is_no_spot() -> None:
    """A planted knot: 4 beats 2 on the same examples, and was measured on few that 0 was."""
    few = amount(4, share(60))
    scores = {e: s for e, s in few.candidate.scores.items() if int(e[1:]) in {*range(10, 60)}}
    zero = {f"e{i}": float(i < 5) for i in range(14)}
    none = replace(amount(0, share(0)), candidate=replace(few.candidate, scores=zero))
    knot = replace(few, candidate=replace(few.candidate, scores=scores))
    two = [1.0] * 14 + [0.0] * 46
    found = curve(none, amount(2, two), knot)
    assert found["sweet_spot"] is None
    assert found["sentence"] == (
        "No sweet spot: passages = 2 gained on passages = 0 beyond chance, and others, whose own "
        "gain may be chance, are shown to score more."
    )


def test_planted_curves_have_their_spot_and_flat_ones_none_more_often_than_chance_allows() -> None:
    spots = {"rising": Counter(), "flat": Counter()}  # type: ignore[var-annotated]
    planted = {"rising": (0.1, 0.45, 0.95, 0.95), "flat": (0.5, 0.5, 0.5, 0.5)}
    for study in range(20):
        rng = random.Random(study)
        for name, chances in planted.items():
            amounts = [amount(v, drawn(rng, c)) for v, c in zip((0, 1, 2, 4), chances, strict=True)]
            spots[name][curve(*amounts)["sweet_spot"]] += 1
    assert spots["rising"][2] >= 19
    assert spots["flat"][None] >= 18


@pytest.mark.parametrize("amounts", [(), (amount(1, share(3)),)])
def test_one_amount_is_no_curve(amounts: tuple[Amount, ...]) -> None:
    found = curve(*amounts)
    assert found["sweet_spot"] is None
    assert f"{len(amounts)} of its amounts could be measured" in found["sentence"]
