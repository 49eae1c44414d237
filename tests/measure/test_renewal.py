"""Which way of refreshing is taken follows from scores on new and old rows alone."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from steelyard.measure.renewal import Renewal, Tried, Way, choose, enough

NEW = [f"n{i}" for i in range(20)]
OLD = [f"o{i}" for i in range(20)]
GROUPS = {example: example for example in (*NEW, *OLD)}


def tried(way: Way, new: float, old: float = 1.0, *, eligible: bool = True) -> Tried:
    """A way that is right on these shares of the rows."""

    def right(ids: list[str], share: float) -> Mapping[str, float]:
        return {id: float(n < round(share * len(ids))) for n, id in enumerate(ids)}

    return Tried(way, right(NEW, new), right(OLD, old), eligible)


def chosen(*ways: Tried, tolerance: float = 0.02) -> Renewal:
    return choose([tried("nothing", 0.2), *ways], GROUPS, tolerance=tolerance)


def test_what_is_shown_higher_and_does_no_harm_is_taken():
    renewal = chosen(tried("index", 0.9))
    assert renewal.way == "index"
    assert renewal.sentence.startswith("Refreshing the index brings +0.700 [")
    assert renewal.sentence.endswith("on 20 new rows, and +0.000 on 20 old ones.")


def test_of_what_is_level_the_least_is_taken_and_of_what_is_not_the_best():
    level = chosen(tried("both", 0.9), tried("weights", 0.9), tried("examples", 0.9))
    assert level.way == "examples"
    assert chosen(tried("examples", 0.7), tried("weights", 0.9)).way == "weights"
    assert chosen(tried("examples", 0.7), tried("weights", 0.9), tolerance=0.2).way == "examples"


@pytest.mark.parametrize(
    ("way", "standing"),
    [
        (tried("weights", 1.0, 0.95), "worse on the old rows"),
        (tried("weights", 0.3), "not shown better on the new rows"),
        (tried("weights", 0.1), "not shown better on the new rows"),
        (tried("weights", 1.0, eligible=False), "beyond the task's limits"),
    ],
)
def test_what_is_not_better_or_does_harm_is_left_and_the_sentence_says_why(way, standing):
    renewal = chosen(way)
    assert renewal.way == "nothing"
    assert [one["standing"] for one in renewal.ways] == ["as it is", standing]
    assert standing in renewal.sentence


def test_a_loss_on_old_rows_within_the_tolerance_is_borne():
    assert chosen(tried("weights", 1.0, 0.95), tolerance=0.05).way == "weights"


def test_with_more_ways_each_must_show_more():
    one = chosen(tried("index", 0.55))
    four = chosen(*(tried(way, 0.55) for way in ("examples", "index", "weights", "both")))
    assert four.ways[1]["new"]["p_adjusted"] > one.ways[1]["new"]["p_adjusted"]


def test_rows_of_one_group_are_not_enough():
    assert not enough({"a": 1.0, "b": 0.0}, {"a": "g", "b": "g"})
    assert enough({"a": 1.0, "b": 0.0}, {"a": "g", "b": "h"})
