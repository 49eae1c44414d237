"""What diagnostics are measured on, and what is said of them."""

from __future__ import annotations

import pytest

from fake_tasks import example, make_task, weighed
from steelyard.core import Json, Output
from steelyard.measure.decision import Candidate
from steelyard.measure.diagnostics import CONTRASTS, DIAGNOSED, diagnosed, explain
from steelyard.measure.verdict import candidate

TASK = make_task([], Output("text"))
GROUPS = {f"e{n}": f"g{n}" for n in range(200)}


def measured(name: str, *scores: float | None) -> Candidate:
    return candidate(weighed(name, scores), TASK)


def said(*candidates: Candidate, groups: dict[str, str] = GROUPS) -> list[Json]:
    return list(explain(candidates, groups, confidence=0.95, seed=0))


# ---------------------------------------------------------------- which examples


def test_those_are_taken_that_a_recipe_it_is_held_against_was_measured_on():
    rows = [example(f"r{n}", "x") for n in range(3 * DIAGNOSED)]
    some = {row.id for row in rows[5:15]}
    assert diagnosed("shuffled-shot", rows, {"few-shot": some, "rag": ["r0"]}) == tuple(rows[5:15])
    either = {"zero-shot": some, "rag": {"r0"}}
    assert diagnosed("oracle-passages", rows, either) == (rows[0], *rows[5:15])
    of_a_model = {"few-shot@a": some, "few-shot@b": ["r1"]}
    assert diagnosed("shuffled-shot@b", rows, of_a_model) == (rows[1],)


def test_they_are_no_more_than_are_enough():
    rows = [example(f"r{n}", "x") for n in range(2 * DIAGNOSED)]
    whole = {"few-shot": {row.id for row in rows}}
    assert diagnosed("shuffled-shot", rows, whole) == tuple(rows[:DIAGNOSED])
    assert diagnosed("shuffled-shot", rows, {}) == tuple(rows[:DIAGNOSED])


# ---------------------------------------------------------------- what is said


def test_a_difference_beyond_chance_says_what_it_means():
    [found] = said(measured("rag", *[1.0] * 40), measured("undated-passages", *[0.0] * 40))
    assert (found["a"], found["b"], found["split"]) == ("rag", "undated-passages", "dev")
    assert found["difference"] == 1.0
    assert found["interval"][0] > 0.7
    assert (found["num_examples"], found["num_groups"]) == (40, 40)
    assert found["sentence"].startswith(
        "rag scores 1.000 higher than undated-passages on 40 dev examples, interval ["
    )
    assert found["sentence"].endswith(
        "]: answering as of the time that is asked about beats ignoring time."
    )


@pytest.mark.parametrize(("rag", "way"), [([0.5] * 40, "higher"), ([0.5, 0.4] * 20, "lower")])
def test_one_that_may_be_chance_or_is_the_other_way_claims_nothing(rag, way):
    [found] = said(measured("rag", *rag), measured("random-passages", *[0.5] * 40))
    assert f" {way} than random-passages" in found["sentence"]
    assert found["sentence"].endswith("it is not shown to matter which passages are shown.")
    assert ("which may be chance" in found["sentence"]) == (way == "higher")


def test_what_a_diagnostic_was_not_measured_on_is_left_out():
    [found] = said(measured("few-shot", *[1.0] * 100), measured("shuffled-shot", *[0.0] * 30))
    assert found["num_examples"] == 30


def test_recipes_of_one_model_are_held_against_each_other_and_pairs_must_be_whole():
    names = ["rag@a", "random-passages@a", "rag@b", "undated-passages", "few-shot"]
    found = said(*(measured(name, *[0.5] * 10) for name in names))
    assert [(f["a"], f["b"]) for f in found] == [("rag@a", "random-passages@a")]
    assert said() == []


def test_of_one_group_nothing_is_said():
    pair = measured("rag", 1.0, 1.0), measured("random-passages", 0.0, 0.0)
    assert said(*pair, groups={"e0": "g", "e1": "g"}) == []
    assert len(said(*pair)) == 1


def test_p_values_are_adjusted_over_all_that_is_said():
    one = said(measured("rag", *[1.0] * 4), measured("random-passages", *[0.0] * 4))
    more = said(
        measured("rag", *[1.0] * 4),
        measured("random-passages", *[0.0] * 4),
        measured("undated-passages", *[0.0] * 4),
        measured("oracle-passages", *[1.0] * 4),
    )
    assert len(more) == 3
    assert more[1]["p_adjusted"] > one[0]["p_adjusted"]


def test_every_contrast_says_both_ways_in_words_that_end_without_a_stop():
    for contrast in CONTRASTS:
        assert contrast.higher != contrast.not_higher
        assert not contrast.higher.endswith(".")
        assert not contrast.not_higher.endswith(".")
