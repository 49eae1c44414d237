"""The context curve: where enough is, worked by hand."""

from __future__ import annotations

from collections.abc import Sequence
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


def curve(*amounts: Amount, tolerance: float = 0.02) -> Any:
    groups = {f"e{i}": f"e{i}" for i in range(NUM)}
    return context_curve("passages", amounts, groups, tolerance=tolerance, confidence=0.95, seed=0)


def share(right: int) -> list[float]:
    """The first `right` examples are right."""
    return [1.0] * right + [0.0] * (NUM - right)


def test_the_sweet_spot_is_the_least_amount_that_is_as_good_as_the_best() -> None:
    found = curve(
        amount(0, share(10)), amount(1, share(25)), amount(2, share(50)), amount(8, share(50))
    )
    assert found["sweet_spot"] == 2
    assert found["sentence"] == (
        "Sweet spot: passages = 2 scores 0.833; no other amount scores more, and passages = 0 "
        "scores 0.167."
    )
    assert [p["value"] for p in found["points"]] == [0, 1, 2, 8]


def test_an_amount_surely_within_the_tolerance_is_enough() -> None:
    close = [0.99] * 50 + [0.0] * 10
    found = curve(amount(0, share(10)), amount(1, close), amount(4, share(50)))
    assert found["sweet_spot"] == 1
    assert "within 0.02 of the best (passages = 4, 0.833)" in found["sentence"]
    assert (
        curve(amount(0, share(10)), amount(1, close), amount(4, share(50)), tolerance=0.001)[
            "sweet_spot"
        ]
        == 4
    )


def test_what_chance_can_do_is_no_sweet_spot() -> None:
    found = curve(amount(0, share(30)), amount(1, share(31)))
    assert found["sweet_spot"] is None
    assert "is not worse beyond chance" in found["sentence"]


def test_the_least_amount_may_be_the_best() -> None:
    found = curve(amount(0, share(40)), amount(1, share(20)))
    assert found["sweet_spot"] is None
    assert found["sentence"] == "No sweet spot: passages = 0, the least, scores highest."


@pytest.mark.parametrize("amounts", [(), (amount(1, share(3)),)])
def test_one_amount_is_no_curve(amounts: tuple[Amount, ...]) -> None:
    found = curve(*amounts)
    assert found["sweet_spot"] is None
    assert f"{len(amounts)} of its amounts could be measured" in found["sentence"]


def test_fewer_that_are_not_shown_to_be_less_are_named() -> None:
    almost = [*share(48)[:2], 0.0, *share(48)[3:50], 1.0, *[0.0] * 9]
    found = curve(amount(0, share(10)), amount(1, almost), amount(4, share(50)))
    assert found["sweet_spot"] == 4
    assert found["sentence"].endswith(
        f"passages = 1 scores {sum(almost) / NUM:.3f}, which is not shown to be less."
    )
