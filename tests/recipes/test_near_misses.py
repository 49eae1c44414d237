"""Training with passages: the evidence in a stated share of rows, near misses beside it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe
from steelyard.core import Context, Output, Passage, Query, Weights
from steelyard.knowledge.fake import WordIndex
from steelyard.models.fake import FakeEmbedder
from steelyard.recipes.finding import Lookup, find_parts
from steelyard.recipes.near_misses import as_trained, evidence_shown

PLACES = ("mill", "barn", "inn", "dam", "pier", "fort")
TEXTS = {f"{p}-{n}": f"the {p} number {n} was built by Ott" for p in PLACES for n in range(4)}
TRAIN = [
    replace(example(id, f"who built the {id.replace('-', ' number ')}", "Ott"), evidence=(id,))
    for id in TEXTS
]
TASK = make_task(TRAIN, Output("text"))


def lora(share: float | None, **context: object) -> object:
    parts = Context(**{"passages": 3, **context})
    return recipe("r", context=parts, weights=Weights("lora", evidence_share=share))


def shown(of, queries, *, seed: int = 0, task=TASK) -> list[list[str]]:
    find = find_parts(
        of, task, Lookup(WordIndex.of(TEXTS)), embedder=FakeEmbedder, rerank=None, seed=seed
    )
    return [[part.content.document for part in parts] for parts in find(queries)]


# ---------------------------------------------------------------- the share


@pytest.mark.parametrize("share", [0.0, 0.4, 0.5, 0.8, 1.0])
def test_exactly_the_stated_share_of_training_rows_is_shown_its_evidence(share):
    found = shown(lora(share), [Query.of(row) for row in TRAIN])
    with_it = [row.id in documents for row, documents in zip(TRAIN, found, strict=True)]
    assert sum(with_it) == round(share * len(TRAIN))
    assert {len(documents) for documents in found} == {3}


def test_without_a_share_all_are_shown_it_but_a_fifth_where_the_task_may_abstain():
    assert all(evidence_shown(lora(None), TASK, 0).values())
    knowledge = replace(TASK.knowledge, abstain="I do not know.")
    found = evidence_shown(lora(None), replace(TASK, knowledge=knowledge), 0)
    assert sum(found.values()) == round(0.8 * len(TRAIN))


def test_which_rows_those_are_depends_on_the_seed_alone():
    one, again, other = (evidence_shown(lora(0.5), TASK, seed) for seed in (1, 1, 2))
    backwards = evidence_shown(lora(0.5), replace(TASK, train=TASK.train[::-1]), 1)
    assert one == again == backwards
    assert one != other
    assert sum(one.values()) == sum(other.values()) == 12


def test_the_same_passages_stand_at_the_same_places_every_time():
    queries = [Query.of(row) for row in TRAIN]
    assert shown(lora(0.5), queries, seed=3) == shown(lora(0.5), queries, seed=3)
    assert shown(lora(0.5), queries[5:6], seed=3) == shown(lora(0.5), queries, seed=3)[5:6]


def test_what_is_asked_when_serving_and_measuring_is_found_as_ever():
    asked = Query("who built the mill number 2", example="dev row", evidence=("mill-2",))
    plain = recipe("r", context=Context(passages=3))
    assert shown(lora(0.0), [asked]) == shown(plain, [asked])


def test_rows_without_evidence_are_shown_what_is_found():
    rows = [replace(row, evidence=()) for row in TRAIN]
    queries = [Query.of(row) for row in rows]
    plain = recipe("r", context=Context(passages=3))
    task = replace(TASK, train=tuple(rows))
    assert shown(lora(0.0), queries, task=task) == shown(plain, queries, task=task)


@pytest.mark.parametrize("kind", ["evidence", "random"])
def test_a_search_that_says_what_is_shown_is_left_alone(kind):
    assert evidence_shown(lora(0.5, search=kind), TASK, 0) == {}


def test_a_prompt_alone_has_no_training_rows():
    assert evidence_shown(recipe("r", context=Context(passages=3)), TASK, 0) == {}


# ---------------------------------------------------------------- one row


def passages(*documents: str) -> list[Passage]:
    return [Passage(document, 0, 1, document) for document in documents]


def names(found: list[Passage]) -> list[str]:
    return [passage.document for passage in found]


ASKED = Query("q", example="e1", evidence=("right",))


def test_what_search_found_stays_in_its_order():
    found = passages("a", "right", "b", "c")
    top = as_trained(ASKED, found, passages("right"), k=3, shown=True, seed=0)
    assert names(top) == ["a", "right", "b"]


def test_withheld_evidence_leaves_the_next_near_misses():
    found = passages("right", "a", "right", "b", "c")
    top = as_trained(ASKED, found, passages("right"), k=3, shown=False, seed=0)
    assert names(top) == ["a", "b", "c"]


def test_evidence_that_was_not_found_takes_the_room_of_the_last_near_miss():
    tops = [
        names(as_trained(ASKED, passages(*"abcd"), passages("right"), k=3, shown=True, seed=seed))
        for seed in range(20)
    ]
    assert all([name for name in top if name != "right"] == ["a", "b"] for top in tops)
    assert {top.index("right") for top in tops} == {0, 1, 2}


def test_evidence_without_any_near_miss_stands_alone():
    assert names(as_trained(ASKED, [], passages("right"), k=3, shown=True, seed=0)) == ["right"]


def test_every_document_of_the_evidence_is_shown_while_there_is_room():
    asked = replace(ASKED, evidence=("x", "y", "z"))
    found, evidence = passages("a", "y", "b"), passages("x", "y", "z")
    assert set(names(as_trained(asked, found, evidence, k=3, shown=True, seed=0))) == {*"xyz"}
    two = names(as_trained(asked, found, evidence, k=2, shown=True, seed=0))
    assert len(two) == 2
    assert set(two) < {"x", "y", "z"}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "c", "d", "right"]), max_size=8),
    st.integers(1, 5),
    st.booleans(),
    st.integers(0, 3),
)
def test_a_row_has_at_most_k_passages_and_its_evidence_just_when_it_should(found, k, show, seed):
    top = names(as_trained(ASKED, passages(*found), passages("right"), k=k, shown=show, seed=seed))
    assert len(top) <= k
    assert ("right" in top) == show
    assert len(top) == k or len(found) < k + found.count("right")
