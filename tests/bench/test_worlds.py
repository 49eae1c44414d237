"""The planted worlds: what is planted is there, what must not be seen is not, and a verdict on each
is judged by what must come of it."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_scripts import load_script
from steelyard.core import Query, Recipe, Task
from steelyard.recipes.controls import build_tfidf
from steelyard.tasks import load_task

pytest.importorskip("torch")

planted = load_script("planted")
load_script("rounds")
worlds = load_script("worlds")

NAMES = ("knowledge", "convention", "knows_already", "nothing", "moving")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Task]:
    """Every world of seed 0 in full, as the product reads it."""
    return {
        name: load_task(planted.write(getattr(planted, name)(0), tmp_path_factory.mktemp(name)))
        for name in NAMES
    }


def targets(task: Task, split: str) -> set[str]:
    return {example.target for example in getattr(task, split)}


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_makes_the_same_bytes_and_another_one_others(name: str) -> None:
    make = getattr(planted, name)
    assert make(3) == make(3)
    assert make(3)["test.jsonl"] != make(4)["test.jsonl"]


@pytest.mark.parametrize("name", NAMES)
def test_a_world_is_a_task_without_leaks_or_lost_rows(name: str, tasks: dict[str, Task]) -> None:
    task = tasks[name]
    assert task.name == name
    assert task.notes == ()
    inputs = [e.input for e in (*task.train, *task.dev, *task.test)]
    assert len(set(inputs)) == len(inputs)


# ---------------------------------------------------------------- knowledge


def test_facts_asked_in_dev_and_test_were_never_trained_on(tasks: dict[str, Task]) -> None:
    task = tasks["knowledge"]
    assert [len(task.train), len(task.dev), len(task.test)] == [60, 80, 60]
    trained = " ".join(f"{e.input} {e.target}" for e in task.train)
    for example in (*task.dev, *task.test):
        assert example.target not in trained
        assert example.group not in trained
    assert not targets(task, "dev") & targets(task, "test")


def test_each_fact_stands_in_the_document_named_as_evidence_and_in_no_other() -> None:
    files = planted.knowledge(0)
    documents = {Path(name).name: text for name, text in files.items() if "documents/" in name}
    assert len(documents) == 50
    for split in ("train", "dev", "test"):
        for row in map(json.loads, files[f"{split}.jsonl"].splitlines()):
            holding = [name for name, text in documents.items() if row["target"] in text]
            assert holding == [row["evidence"]]
            assert row["group"] in documents[row["evidence"]]
            assert row["target"] not in row["text"]


# ---------------------------------------------------------------- labels


def test_the_letter_of_an_article_decides_the_desk_and_no_number_comes_twice(
    tasks: dict[str, Task],
) -> None:
    task = tasks["convention"]
    assert [len(task.train), len(task.dev), len(task.test)] == [500, 166, 166]
    desks: dict[str, set[str]] = {}
    numbers = []
    for example in (*task.train, *task.dev, *task.test):
        [(letter, number)] = re.findall(r"\b([A-Z])(\d{4})\b", example.input)
        desks.setdefault(letter, set()).add(example.target)
        numbers.append(number)
    assert len(set(numbers)) == len(numbers)
    assert set(desks) == set(planted.LETTERS)
    counts = Counter(desk for found in desks.values() for desk in found)
    assert counts == dict.fromkeys(planted.CODES, 3)
    assert planted.convention(1)["train.jsonl"] != planted.convention(0)["train.jsonl"]


def test_a_bag_of_words_does_not_learn_the_convention(tasks: dict[str, Task]) -> None:
    task = tasks["convention"]
    answers = build_tfidf(Recipe("tfidf", "tfidf"), task).answer_many(
        [Query.of(example) for example in task.dev]
    )
    right = sum(a.value == e.target for a, e in zip(answers, task.dev, strict=True))
    assert right / len(task.dev) < 0.4


def test_labels_of_nothing_follow_neither_words_nor_order(tasks: dict[str, Task]) -> None:
    task = tasks["nothing"]
    counts = Counter(example.target for example in task.train)
    assert max(counts.values()) < 0.35 * len(task.train)
    answers = build_tfidf(Recipe("tfidf", "tfidf"), task).answer_many(
        [Query.of(example) for example in task.dev]
    )
    right = sum(a.value == e.target for a, e in zip(answers, task.dev, strict=True))
    assert 0.1 < right / len(task.dev) < 0.4


def test_ten_examples_teach_none_of_the_answers_that_are_asked_for(
    tasks: dict[str, Task],
) -> None:
    task = tasks["knows_already"]
    assert len(task.train) == 10
    [shown, *asked] = ({e.also[0] for e in task.split(s)} for s in ("train", "dev", "test"))
    assert len(shown) == 10
    assert not shown & set.union(*asked)
    assert all(e.also[0] in e.input for e in (*task.dev, *task.test))


# ---------------------------------------------------------------- moving


def test_a_third_of_the_facts_change_and_documents_hold_what_was_right_when(
    tasks: dict[str, Task],
) -> None:
    task = tasks["moving"]
    documents = [json.loads(line) for line in planted.moving(0)["documents.jsonl"].splitlines()]

    def said(example: Any) -> str:
        [document] = example.evidence
        versions = [d for d in documents if d["id"] == document]
        known = [d for d in versions if d["valid_from"] <= example.time]
        return str(max(known, key=lambda d: d["valid_from"])["text"])

    for example in (*task.train, *task.dev, *task.test):
        assert example.target in said(example)
    change = planted.CHANGE.isoformat()
    assert all(e.time < change and e.metadata["outdated"] is None for e in task.train)
    later = [*task.dev, *task.test]
    assert all(e.time > change for e in later)
    assert [len(task.train), len(later)] == [160, 120]
    outdated = [e for e in later if e.metadata["outdated"] is not None]
    assert len(outdated) == len(later) // 3
    assert all(e.metadata["outdated"] not in said(e) for e in outdated)
    learned = targets(task, "train")
    stale = sum(e.metadata["outdated"] in learned for e in outdated)
    assert 0.5 < stale / len(outdated) < 0.85  # two facts in three were asked before
    assert 0.5 < sum(e.target in learned for e in later) / (len(later) - len(outdated)) < 0.85


# ---------------------------------------------------------------- judging


def test_a_twin_is_rarely_told_apart_and_a_better_one_is() -> None:
    assert worlds.twin_winners(20, 60, seed=0) <= 0.1
    assert worlds.twin_winners(20, 60, seed=0, edge=0.3) >= 0.9


def test_twins_are_equally_skilled_and_majority_is_not() -> None:
    scores = planted.twin_scores(random.Random(1), 4000)
    means = {name: sum(found.values()) / len(found) for name, found in scores.items()}
    assert means["one"] == pytest.approx(2 / 3, abs=0.03)
    assert means["two"] == pytest.approx(2 / 3, abs=0.03)
    assert means["majority"] == pytest.approx(0.25, abs=0.03)


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The small world of moving facts, weighed with the fake: it copies, and reads no passages."""
    folder = tmp_path_factory.mktemp("moved")
    return worlds.weighed("moving", 0, folder, model="fake", small=True)


def test_nothing_works_on_random_labels_and_that_is_right(tmp_path: Path) -> None:
    seen = worlds.weighed("nothing", 1, tmp_path, model="fake", small=True)
    row = worlds.row_of("nothing", seen, 0.52)
    assert (row["outcome"], row["wrong"], row["told"]) == ("nothing_works", [], None)
    assert set(row["dev"]) >= {"majority", "tfidf", "zero-shot", "nearest-shot", "lora"}
    majority = f"{row['dev']['majority']:.3f}"
    assert worlds.line_of(row) == [
        *("nothing", "1", "nothing_works", "", "", "", majority, "nothing works", "right", "0.5")
    ]


def test_stale_answers_are_those_of_changed_facts_that_say_what_was_right_before(
    moved: Any,
) -> None:
    answers = build_tfidf(Recipe("tfidf", "tfidf"), moved.task).answer_many(
        [Query.of(example) for example in moved.task.dev]
    )
    pairs = list(zip(answers, moved.task.dev, strict=True))
    by_hand = sum(answer.value == example.metadata["outdated"] for answer, example in pairs)
    stale = worlds.stale_answers(moved)
    assert stale["tfidf"] == by_hand > 0
    assert stale["majority"] <= 1
    assert f"tfidf {by_hand}" in worlds.tell_stale(moved)


def judged(seen: Any, chosen: str | None, dev: dict[str, float] | None = None) -> Any:
    """The same as seen, had this been chosen, and these been the scores."""
    recipes = [
        replace(report, dev=replace(report.dev, score=(dev or {}).get(report.name, 0.0)))
        for report in seen.verdict.recipes
    ]
    return replace(seen, verdict=replace(seen.verdict, chosen=chosen, recipes=tuple(recipes)))


def test_passages_must_be_chosen_and_nobody_may_know_the_facts_without_them(moved: Any) -> None:
    assert worlds.wrong_knowledge(judged(moved, "rag", {"rag": 0.5})) == []
    for other in ("lora", None):
        assert worlds.wrong_knowledge(judged(moved, other)) == ["what is chosen has no passages"]
    [told] = worlds.wrong_knowledge(judged(moved, "rag", {"lora": 0.06}))
    assert told == "lora has no passages and scores 0.060 on dev"


def test_passages_must_give_no_more_stale_answers_than_weights(
    moved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for num_rag, expected in (
        (1, []),
        (3, ["what is chosen gives more stale answers than weights"]),
    ):
        counts = {"rag": num_rag, "lora": 2}
        monkeypatch.setattr(worlds, "stale_answers", lambda _, counts=counts: counts)
        assert worlds.wrong_moving(judged(moved, "rag")) == expected


def test_weights_must_be_chosen_for_a_convention_and_the_plain_prompt_for_what_is_known(
    moved: Any,
) -> None:
    assert worlds.wrong_convention(judged(moved, "lora")) == []
    assert worlds.wrong_convention(judged(moved, "few-shot")) == ["what is chosen has no weights"]
    assert worlds.wrong_knows_already(judged(moved, "zero-shot")) == []
    assert worlds.wrong_knows_already(judged(moved, None)) == ["the plain prompt is not chosen"]


def test_equal_recipes_score_the_same_under_both_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds, "NUM_STUDIES", 10)
    monkeypatch.setattr(worlds, "STUDY_EXAMPLES", 40)
    seen = worlds.weighed("twins", 0, tmp_path, model="fake", small=True)
    assert {"zero-shot@one", "zero-shot@two", "few-shot@one", "few-shot@two"} <= set(seen.recipes)
    assert worlds.wrong_twins(seen) == []
    other = judged(seen, None, {"few-shot@one": 0.5, "few-shot@two": 0.49})
    assert worlds.wrong_twins(other) == ["few-shot scores 0.5 and 0.49"]
