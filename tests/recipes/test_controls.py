"""Majority and tfidf on data whose answer can be seen."""

from __future__ import annotations

import json

import pytest

from fake_tasks import example, make_task, recipe
from steelyard.core import Output, Query
from steelyard.recipes.controls import build_majority, build_tfidf

LABELS = Output("label", ("a", "b"))
OBJECT = Output("json", schema={"type": "object"})


def majority(*targets, output=LABELS):
    task = make_task([example(f"e{n}", f"x{n}", t) for n, t in enumerate(targets)], output)
    return build_majority(recipe("majority"), task)


def tfidf(rows, output=LABELS):
    task = make_task([example(f"e{n}", text, t) for n, (text, t) in enumerate(rows)], output)
    return build_tfidf(recipe("tfidf"), task)


def test_majority_is_the_commonest_target_whatever_the_input():
    system = majority("b", "a", "b")
    assert [a.value for a in system.answer_many([Query("x"), Query("")])] == ["b", "b"]
    assert system.answer("x").text == "b"
    assert system.recipe.name == "majority"
    assert system.answer_many([]) == []


def test_of_equally_common_targets_majority_is_the_first():
    assert majority("b", "a").answer("x").value == "b"
    assert majority("a", "b", "b", "a").answer("x").value == "a"


def test_majority_of_json_counts_equal_values_and_writes_them_on_one_line():
    answer = majority({"n": 1}, {"n": None}, {"n": 1}, output=OBJECT).answer("x")
    assert answer.value == {"n": 1}
    assert json.loads(answer.text) == {"n": 1}
    assert answer.valid


def test_tfidf_learns_labels_from_words():
    rows = [("red apple pie", "a"), ("blue sky sea", "b")] * 5
    system = tfidf(rows)
    assert [a.value for a in system.answer_many([Query("an apple"), Query("the sea")])] == [
        "a",
        "b",
    ]
    assert type(system.answer("an apple").value) is str


def test_tfidf_hears_words_of_one_letter():
    rows = [("grade x", "a"), ("grade y", "b")] * 5
    assert [a.value for a in tfidf(rows).answer_many([Query("x"), Query("y")])] == ["a", "b"]


def test_tfidf_gives_the_target_of_the_nearest_example_for_json_and_text():
    rows = [("blue sky", {"c": 1}), ("red apple", {"c": 2}), ("green leaf", {"c": 3})]
    assert tfidf(rows, OBJECT).answer("a red pear").value == {"c": 2}
    rows = [("blue sky", "hello"), ("red apple", "bye")]
    answer = tfidf(rows, Output("text")).answer("red")
    assert (answer.value, answer.text) == ("bye", "bye")


def test_tfidf_takes_the_first_example_when_no_word_is_shared():
    rows = [("blue sky", "hello"), ("red apple", "bye")]
    assert tfidf(rows, Output("text")).answer("zzz").value == "hello"


def test_tfidf_with_one_label_in_train_answers_it():
    assert tfidf([("red", "a"), ("blue", "a")]).answer("green").value == "a"


@pytest.mark.parametrize("output", [LABELS, Output("text")])
def test_tfidf_takes_inputs_without_any_word(output):
    system = tfidf([("!!!", "a"), ("…", "b"), ("?", "a")], output)
    assert system.answer("!!!").value in ("a", "b")
