"""The verdict in words: every number in them is one of the tables', and no time or price is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from fake_tasks import example, make_task, weighed
from steelyard.core import Comparison, Context, Output, Task, Weights
from steelyard.measure import sentences
from steelyard.measure.decision import Decision, compare_pairs, decide, settle
from steelyard.measure.scorers import SCORERS
from steelyard.measure.verdict import Weighed, candidate, finalists, report

N = 100
SHOTS = Context(examples="fixed", num_examples=4)
GROUPS = {f"{prefix}{n}": f"g{n}" for prefix in "et" for n in range(N)}
TASK = make_task(
    [example("r1", "a")],
    Output("text"),
    dev=tuple(example(f"e{n}", "x") for n in range(N)),
    test=tuple(example(f"t{n}", "x") for n in range(N)),
)


def right(count: int, *, start: int = 0) -> list[float | None]:
    return [float(start <= number < start + count) for number in range(N)]


MAJORITY = weighed("majority", right(20), right(20), model="majority")


def told(
    made: Sequence[Weighed], task: Task = TASK
) -> tuple[str, Decision, tuple[Comparison, ...]]:
    """The reason, the decision and the test comparison behind it."""
    decision = decide([candidate(w, task) for w in made], GROUPS, tolerance=task.tolerance)
    named = {w.recipe.name: w for w in made}
    final = finalists(decision, made)
    shown = [w if w.recipe.name in final else _unopened(w) for w in made]
    tests: tuple[Comparison, ...] = ()
    if final:
        pair = tuple(candidate(named[name], task, "test") for name in final)
        tests = compare_pairs([pair], GROUPS, "test", confidence=0.95, seed=0)
    reports = {
        w.recipe.name: report(w, SCORERS["exact"], task, confidence=0.95, seed=0) for w in shown
    }
    text = sentences.reason(task, decision, reports, tests, confidence=0.95)
    return text, decision, tests


def _unopened(one: Weighed) -> Weighed:
    return replace(one, rows={"dev": one.rows["dev"]})


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+\.\d{3}", text))


def spelt(comparison: Comparison) -> set[str]:
    values = (abs(comparison.difference), *comparison.interval)
    return numbers(" ".join(f"{value:.3f}" for value in values))


# ---------------------------------------------------------------- chosen


def test_the_chosen_one_is_said_first_and_its_test_difference_is_the_tables():
    lora = weighed("lora", right(90), right(85), usd=0.01)
    plain = weighed("zero-shot", right(50), right(45))
    text, decision, [test] = told([MAJORITY, lora, plain])
    assert decision.outcome == "chosen"
    assert text.startswith("Use lora.")
    assert "100 sealed test examples" in text
    assert test.difference == pytest.approx(0.4)
    assert spelt(test) <= numbers(text)
    assert {"0.850", "0.450"} <= numbers(text)
    assert "may be chance" not in text
    assert "0.400 higher" in text


def test_another_that_scores_the_same_on_dev_is_named_beside_the_highest():
    head, lora = (
        weighed(n, right(90), right(85), usd=usd) for n, usd in (("head", 0.1), ("lora", 9))
    )
    text, decision, _ = told([MAJORITY, head, lora, weighed("zero-shot", right(50), right(45))])
    assert (decision.chosen, decision.standings["lora"]) == ("head", "open")
    assert "On dev it scores highest of 3 recipes; lora scores the same." in text


def test_a_test_difference_that_may_be_chance_is_said_to_be():
    lora = weighed("lora", right(90), right(50), usd=0.01)
    plain = weighed("zero-shot", right(50), right(48, start=20))
    text, _, [test] = told([MAJORITY, lora, plain])
    assert test.interval[0] < 0 < test.interval[1]
    assert "which may be chance" in text


def test_a_chosen_recipe_that_is_lower_on_test_is_said_to_be_lower():
    lora = weighed("lora", right(90), right(20), usd=0.01)
    plain = weighed("zero-shot", right(50), right(80))
    text, _, _ = told([MAJORITY, lora, plain])
    assert "0.600 lower" in text


def test_a_cheaper_one_within_the_tolerance_says_why_it_was_chosen():
    task = replace(TASK, tolerance=0.05)
    best = weighed("lora", right(91), right(90), usd=0.01)
    cheap = weighed("few-shot", right(90), right(90), usd=0.0001)
    text, decision, _ = told([MAJORITY, best, cheap], task)
    assert (decision.chosen, decision.standings["few-shot"]) == ("few-shot", "within")
    [gap] = [c for c in decision.comparisons if (c.a, c.b) == ("lora", "few-shot")]
    assert text.startswith("Use few-shot.")
    assert "within the tolerance of 0.05" in text
    assert "few-shot costs no more" in text
    assert spelt(gap) <= numbers(text)


def test_a_cheaper_open_one_says_that_the_gap_may_be_chance():
    best = weighed("lora", right(90), right(90), usd=0.01)
    cheap = weighed("few-shot", right(89, start=10), right(90), usd=0.0001)
    text, decision, _ = told([MAJORITY, best, cheap])
    assert (decision.chosen, decision.standings["few-shot"]) == ("few-shot", "open")
    assert "lora" in text
    assert "may be chance" in text
    assert "few-shot costs no more" in text


def test_the_best_over_a_limit_is_named_with_the_limits():
    task = replace(TASK, limits=replace(TASK.limits, usd_per_1k=1.0))
    best = weighed("lora", right(90), right(90), usd=1.0)
    other = weighed("few-shot", right(60), right(60))
    text, decision, _ = told([MAJORITY, best, other], task)
    assert (decision.chosen, decision.standings["few-shot"]) == ("few-shot", "worse")
    assert "lora" in text
    assert "limits" in text


def test_failures_on_test_are_said_beside_the_scores():
    lora = weighed("lora", right(90), [None, None, *right(98)[2:]], usd=0.01)
    plain = weighed("zero-shot", right(50), right(45))
    text, _, [test] = told([MAJORITY, lora, plain])
    assert test.num_examples == 98
    assert "98 sealed test examples" in text
    assert "lora failed on 2 examples" in text
    assert "zero-shot failed" not in text


def test_the_best_of_the_other_arm_is_named_with_its_score():
    lora = weighed("lora", right(90), right(85))
    lora = replace(lora, recipe=replace(lora.recipe, weights=Weights("lora")))
    text, _, _ = told([MAJORITY, lora, weighed("zero-shot", right(50), right(45))])
    assert (
        "The best prompt without trained weights, zero-shot, scores 0.500 on dev, against 0.900."
        in text
    )


def test_a_choice_that_the_sealed_test_made_says_so():
    high = weighed("high", right(90), right(90), usd=0.001)
    high = replace(high, recipe=replace(high.recipe, weights=Weights("lora")))
    other = weighed("few-shot", right(84, start=16), right(60), usd=0.001)
    other = replace(other, recipe=replace(other.recipe, context=SHOTS))
    _, decision, [test] = told([MAJORITY, high, other])
    assert (decision.outcome, decision.rival) == ("cannot_tell", "few-shot")
    settled = settle(decision, test, tolerance=0.02, eligible=["high", "few-shot"])
    named = {
        w.recipe.name: report(w, SCORERS["exact"], TASK, confidence=0.95, seed=0)
        for w in (MAJORITY, high, other)
    }
    text = sentences.reason(TASK, settled, named, [test], confidence=0.95)
    assert text.startswith("Use high. On 100 sealed test examples it scores 0.900")
    assert "The sealed test decided: 100 dev examples could not tell high from few-shot" in text


# ---------------------------------------------------------------- the other outcomes


def test_cannot_tell_names_both_says_what_would_tell_and_what_is_safer():
    best = weighed("lora", right(90), right(90), usd=0.001)
    best = replace(best, recipe=replace(best.recipe, weights=Weights("lora")))
    other = weighed("few-shot", right(84, start=16), right(84), usd=0.001)
    other = replace(other, recipe=replace(other.recipe, context=SHOTS))
    text, decision, [test] = told([MAJORITY, best, other])
    assert (decision.outcome, decision.rival, decision.prefer) == (
        "cannot_tell",
        "few-shot",
        "lora",
    )
    assert text.startswith("Cannot tell lora from few-shot")
    assert "on 100 dev examples" in text
    needed = re.search(r"About (\d+) dev examples would tell; there are 100", text)
    assert needed is not None
    assert int(needed[1]) > 100
    assert "lora is the safer bet" in text
    assert spelt(test) <= numbers(text)


def test_nothing_works_says_so_and_that_the_test_stayed_sealed():
    majority = weighed("majority", right(50), right(50), model="majority")
    made = [majority, weighed("zero-shot", right(52, start=20)), weighed("lora", right(40))]
    text, decision, tests = told(made)
    assert decision.outcome == "nothing_works"
    assert tests == ()
    assert text.startswith("Nothing works")
    assert "zero-shot" in text
    assert "sealed test was not opened" in text


def test_nothing_works_within_the_limits_names_the_one_nearest_to_them():
    task = replace(TASK, limits=replace(TASK.limits, usd_per_1k=1.0))
    made = [weighed("lora", right(90), usd=1.0), weighed("few-shot", right(88), usd=0.5)]
    text, decision, _ = told([MAJORITY, *made], task)
    assert decision.outcome == "nothing_works"
    assert "limits" in text
    assert "few-shot" in text


# ---------------------------------------------------------------- what a sentence never holds


def test_the_sentences_are_the_same_whatever_things_cost_by_a_little():
    def made(usd: float) -> list[Weighed]:
        lora = weighed("lora", right(90), right(85), usd=usd, setup_seconds=1e6 * usd)
        return [MAJORITY, lora, weighed("zero-shot", right(50), right(45), usd=usd / 9)]

    assert told(made(0.001))[0] == told(made(0.00123))[0]


# ---------------------------------------------------------------- warnings


def warned(made: Sequence[Weighed], task: Task = TASK) -> list[str]:
    lines = [report(w, SCORERS["exact"], task, confidence=0.95, seed=0) for w in made]
    return sentences.warnings(task, lines)


def test_few_dev_examples_are_warned_of_and_many_are_not():
    few = replace(TASK, dev=TASK.dev[:20])
    many = replace(TASK, dev=TASK.dev * 10)
    smallest = sentences.minimum_difference(20)
    [warning] = warned([MAJORITY], few)
    assert "20 dev examples" in warning
    assert f"{smallest:.2f}" in warning
    assert warned([MAJORITY], many) == []


def test_failures_and_recipes_without_a_score_are_warned_of():
    failing = weighed("lora", [None, *right(99)])
    skipped: Any = Weighed(failing.recipe, False, "skipped", why="the time limit came")
    found = " ".join(warned([failing, skipped], replace(TASK, dev=TASK.dev * 10)))
    assert "lora failed on 1 dev example;" in found
    assert "lora was skipped: the time limit came." in found


MANY = replace(TASK, dev=TASK.dev * 10)


def curve(*points: tuple[int, float, float | None], best: int, **more: Any) -> dict[str, Any]:
    """A learning curve of steps with the losses on rows trained on and held out."""
    names = ("step", "train_loss", "held_out_loss")
    plain = {"num_too_long": 0, "trouble": None, "stopped": "after 3 epochs", "best_step": best}
    return {**plain, "points": [dict(zip(names, p, strict=True)) for p in points], **more}


def test_over_fitting_is_said_with_what_was_done():
    learned = curve((4, 1.0, 0.5), (8, 0.4, 0.4), (12, 0.1, 0.6), best=8)
    assert warned([replace(weighed("lora", right(90)), curve=learned)], MANY) == [
        "lora over-fitted after step 8: by step 12 its loss on rows held out rose from 0.400 to "
        "0.600, while on the rows it learned from it fell to 0.100. The weights of step 8 are used."
    ]


@pytest.mark.parametrize(
    "learned",
    [
        curve((4, 1.0, 0.5), (8, 0.4, 0.4), best=8),  # the last is the best
        curve((4, 1.0, 0.4), (8, 0.4, 0.41), best=4),  # hardly higher
        curve((4, 0.4, 0.4), (8, 0.5, 0.6), best=4),  # worse on both: not by heart
        curve((4, 1.0, None), (8, 0.4, None), best=8),  # nothing was held out
    ],
)
def test_no_over_fitting_is_said_where_none_was_seen(learned):
    assert warned([replace(weighed("lora", right(90)), curve=learned)], MANY) == []


def test_weights_that_know_less_than_retrieval_reads_are_warned_of():
    passages = Context(passages=3)
    rag = with_parts("rag", right(80), context=passages)
    closed = with_parts("cpt+lora", right(20), weights=Weights("lora"))
    close = with_parts("lora", right(78), weights=Weights("lora"))
    reading = with_parts("lora+rag", right(20), context=passages, weights=Weights("lora"))
    assert warned([rag, closed, close, reading], MANY) == [
        "cpt+lora, trained and shown no passages, scores 0.200 on dev, below rag, which is not "
        "trained and reads them (0.800): what the documents hold is not in its weights."
    ]
    assert warned([closed, close, reading], MANY) == []
    oracle = replace(rag, diagnostic=True)
    assert warned([oracle, closed], MANY) == []


def with_parts(name: str, scores: list[float | None], **parts: Any) -> Weighed:
    made = weighed(name, scores)
    return replace(made, recipe=replace(made.recipe, **parts))


def test_earlier_stages_are_warned_of_by_their_name():
    earlier = curve((4, 1.0, None), best=4, stage="documents", trouble="nan", stopped="it was nan")
    learned = curve((4, 1.0, 0.5), best=4, stage="examples", earlier=[earlier])
    assert warned([replace(weighed("cpt+lora", right(90)), curve=learned)], MANY) == [
        "The training of cpt+lora (documents) went wrong: it was nan."
    ]


def test_training_that_went_wrong_is_warned_of():
    stopped = "the loss was nan at step 6 (training rows [3]); the weights of step 4 were kept"
    learned = curve((4, 1.0, 0.5), best=4, trouble="the loss was nan", stopped=stopped)
    assert warned([replace(weighed("lora", right(90)), curve=learned)], MANY) == [
        f"The training of lora went wrong: {stopped}."
    ]


def test_the_spread_over_seeds_is_the_sample_standard_deviation():
    lines = [
        report(replace(w, seed_scores=scores), SCORERS["exact"], TASK, confidence=0.95, seed=0)
        for w, scores in (
            (weighed("lora", right(90)), (0.9, 0.8, 0.85)),
            (weighed("full", right(90)), (0.9,)),
            (MAJORITY, ()),
        )
    ]
    assert sentences.seeds(lines, 3) == [
        "lora was trained with 3 seeds: dev 0.900, 0.800, 0.850; mean 0.850, standard deviation "
        "0.050. The first is the one that is compared.",
        "full was trained with 1 seed of 3, because the next one failed or had no time: dev 0.900.",
    ]
