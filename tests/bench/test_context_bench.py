"""What the benchmarks of time, users and places ask, and how they turn data into tasks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bench_scripts import load_script
from fake_tasks import example, write_rows
from steelyard.core import Passage
from steelyard.tasks import load_task

load_script("knowledge_bases")
load_script("rounds")
timeqa = load_script("timeqa")
retail = load_script("retail")
position = load_script("position")


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("asked", "question", "first", "last"),
    [
        (
            "Who owned the mill in Oslo from 1811 to 1827?",
            "Who owned the mill in Oslo?",
            *("1811-01-01", "1826-12-31"),
        ),
        (
            "In the time period from 2004 to May 2006, where was it held?",
            "Where was it held?",
            *("2004-01-01", "2006-04-30"),
        ),
        (
            "Which club did he play for between Sep 1948 and June 1997 ?",
            "Which club did he play for?",
            *("1948-09-01", "1997-05-31"),
        ),
        ("Who led it from 1999 to 1999?", "Who led it?", "1999-01-01", "1999-12-31"),
    ],
)
def test_a_question_loses_its_time_to_its_dates(asked, question, first, last):
    found = timeqa.dated({"question": asked})
    assert found.question == question
    assert (found.first, found.last) == (date.fromisoformat(first), date.fromisoformat(last))
    assert found.first <= found.middle <= found.last


@pytest.mark.parametrize(
    "asked",
    [
        "Who owned the mill?",
        "Who led it in 1975?",
        "Who led what was founded in 1960 from 1970 to 1980?",
        "Who led it from season 1970 to 1980?",
    ],
)
def test_a_question_without_one_range_is_none_of_them(asked):
    assert timeqa.dated({"question": asked}) is None


def question(number: int, first: int, *gold: str, group: str = "p#r") -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "group": group,
        "question": f"Who owned it from {first} to {first + 10}?",
        "answers": [f"Owner {number}", f"{number}"],
        "gold_doc_ids": list(gold),
        "page": group.partition("#")[0],
    }


def test_only_questions_whose_paragraphs_are_theirs_and_that_are_asked_for_two_times_are_taken():
    rows = [question(1, 1800, "p#1"), question(2, 1850, "p#2"), question(3, 1900, "p#3", "p#4")]
    assert [one.row["id"] for one in timeqa.chosen(rows)] == ["q1", "q2", "q3"]
    rows += [question(4, 1950, "p#4"), question(5, 1960), question(6, 1970, "p#6", group="p#s")]
    assert [one.row["id"] for one in timeqa.chosen(rows)] == ["q1", "q2"]


def test_the_task_has_paragraphs_with_the_dates_of_their_questions_and_others_without(tmp_path):
    data, folder = tmp_path / "data", tmp_path / "task"
    data.mkdir()
    folder.mkdir()
    rows = [question(n, 1500 + 20 * n, f"p{n // 4}#{n}", group=f"p{n // 4}") for n in range(20)]
    words = "and eight words more that say nothing"
    corpus = [
        {"doc_id": f"{page}#{n}", "title": "Mill", "text": f"Owner {n} {words}"}
        for page in ("p0", "p1", "p2", "p3", "p4", "other")
        for n in range(50)
    ]
    write_rows(data / "train.jsonl", rows)
    write_rows(data / "corpus.jsonl", corpus)
    task = load_task(timeqa.prepare(data, folder, num_others=3))
    written = [json.loads(line) for line in (folder / "paragraphs.jsonl").read_text().splitlines()]
    dated = {row["doc_id"] for row in written if "valid_from" in row}
    assert dated == {f"p{n // 4}#{n}" for n in range(20)}
    assert len(written) == 20 + 5 * 3
    examples = [*task.train, *task.dev, *task.test]
    assert {e.input for e in examples} == {"Who owned it?"}
    assert {e.time for e in examples if e.id == "q3"} == {"1564-12-31"}
    assert all(e.evidence[0].startswith(f"{e.group}#") for e in examples)


# ---------------------------------------------------------------- users


def order(number: int, user: str, *things: str) -> dict[str, Any]:
    items = [{"name": thing, "price": 10.5 + n} for n, thing in enumerate(things)]
    return {"order_id": f"#W{number}", "user_id": user, "status": "pending", "items": items}


def test_a_record_says_what_an_order_holds():
    assert retail.record(order(7, "ann", "Kettle", "Cup")) == {
        "user": "ann",
        "text": "Order #W7, pending: Kettle 10.50 USD, Cup 11.50 USD",
    }


def test_each_customer_asks_about_what_one_of_their_orders_has_and_no_other():
    orders = [order(1, "ann", "Kettle", "Cup"), order(2, "ann", "Cup"), order(3, "bob", "Cup")]
    orders += [order(4, "cyd", "Cup"), order(5, "cyd", "Cup")]
    rows = retail.questions(orders)
    assert [(row["user"], row["question"], row["answer"]) for row in rows] == [
        ("ann", "Which of my orders has the Kettle?", "#W1"),
        ("bob", "What did I pay for the Cup?", "10.50"),
    ]


def test_the_task_of_a_shop_is_one_that_loads(tmp_path: Path) -> None:
    data, folder = tmp_path / "data", tmp_path / "task"
    data.mkdir()
    folder.mkdir()
    orders = [order(n, f"user{n}", "Kettle", "Cup") for n in range(30)]
    write_rows(data / "retail_orders.jsonl", orders)
    task = load_task(retail.prepare(data, folder))
    examples = [*task.train, *task.dev, *task.test]
    assert Counter(e.user for e in examples) == {f"user{n}": 1 for n in range(30)}
    assert task.knowledge.history == folder / "orders.jsonl"


# ---------------------------------------------------------------- places


def test_near_misses_are_neither_right_nor_hold_the_answer():
    row = replace(example("e", "When was it built?", "1888"), evidence=("gold",))
    texts = {"d1": "In 1888.", "gold": "It.", "d2": "In 1889.", "d3": "No.", "d4": "Yes."}
    found = [Passage(name, 0, len(text), text) for name, text in texts.items()]
    assert [p.document for p in position.near_misses(found, row, 2)] == ["d2", "d3"]
    assert [p.document for p in position.near_misses(found, row, 9)] == ["d2", "d3", "d4"]
    spelt = replace(row, target="88", also=("yes",))  # stands in both years
    assert [p.document for p in position.near_misses(found, spelt, 9)] == ["d3"]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_a_place_moves_the_right_passage_and_nothing_else(count):
    right = Passage("right", 0, 1, "r")
    misses = [Passage(f"d{n}", 0, 1, "x") for n in range(count)]
    orders = {place: position.placed(right, misses, place) for place in position.PLACES}
    for shown in orders.values():
        assert [p for p in shown if p is not right] == misses[::-1]
    assert orders["first"][0] is orders["last"][-1] is right
    if count > 1:
        assert 0 < orders["middle"].index(right) < count
