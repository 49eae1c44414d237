"""Small changes of inputs: what they change, and what a system's score becomes."""

from __future__ import annotations

import doctest
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe
from steelyard.core import Answer, Output
from steelyard.measure import robustness as module
from steelyard.measure.grading import Grader
from steelyard.measure.robustness import CHANGES, other_case, reordered, robustness, with_typos

TASK = make_task([], Output("label", ("card", "cash")))
EXAMPLES = [example("a", "where is my card", "card"), example("b", "get cash\nnow", "cash")]


class Reading:
    """Answers with the first of its words that the input has."""

    def __init__(self, *words: str, error: str | None = None) -> None:
        self.recipe = recipe("reader")
        self.words, self.error = words, error
        self.asked: list[str] = []

    def answer(self, input, *, user=None, time=None):
        raise NotImplementedError

    def answer_many(self, queries):
        self.asked += [query.input for query in queries]
        if self.error:
            return [Answer(valid=False, error=self.error) for _ in queries]
        found = [next((w for w in self.words if w in q.input), "") for q in queries]
        return [Answer(value=word, text=word) for word in found]


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(module).failed == 0


def test_a_system_is_scored_on_plain_inputs_and_under_each_change():
    found = robustness(Reading("card", "cash"), EXAMPLES, Grader.of(TASK), seed=0)
    assert list(found) == ["plain", "case", "typos", "lines"]
    assert (found["plain"], found["case"], found["lines"]) == (1.0, 0.0, 1.0)


def test_every_system_is_asked_the_same_inputs_for_the_same_seed():
    first, second = Reading("card"), Reading("cash")
    for one in (first, second):
        robustness(one, EXAMPLES, Grader.of(TASK), seed=3)
    assert first.asked == second.asked
    assert len(first.asked) == 8


def test_a_change_that_changes_nothing_is_left_out():
    single = [example("a", "1 2 3"), example("b", "4")]
    assert list(robustness(Reading(""), single, Grader.of(TASK), seed=0)) == ["plain"]


def test_failures_are_no_numbers():
    lost = Reading("card", error="lost")
    assert set(robustness(lost, EXAMPLES, Grader.of(TASK), seed=0).values()) == {None}


@given(st.text(), st.integers(0, 99))
def test_a_change_keeps_what_it_must_keep(text, seed):
    typos = with_typos(text, random.Random(seed))
    assert Counter(typos) == Counter(text)
    assert sum(a != b for a, b in zip(typos, text, strict=True)) <= 2 * max(1, len(text) // 30)
    lines = reordered(text, random.Random(seed))
    assert Counter(lines.split("\n")) == Counter(text.split("\n"))
    assert other_case(text, random.Random(seed)).lower() == text.lower() or not text.isascii()


def test_several_lines_never_stay_in_order():
    assert all(reordered("a\nb\nc", random.Random(s)) != "a\nb\nc" for s in range(50))


def test_a_typo_is_in_a_long_word_alone():
    changed = [with_typos("do it where I am", random.Random(s)) for s in range(20)]
    assert {text.replace("do it ", "").replace(" I am", "") for text in changed} <= {
        "wehre",
        "wheer",
        "where",
        "wrehe",
        "whree",
    }
    assert set(CHANGES) == {"case", "typos", "lines"}
