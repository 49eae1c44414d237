"""What a context finds: examples, passages, diagnostics, and what a training row may not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_tasks import example, make_task, recipe
from steelyard.core import Context, Example, Output, Passage, Query
from steelyard.knowledge.fake import Held, WordIndex
from steelyard.models.fake import FakeEmbedder
from steelyard.recipes.finding import Lookup, find_parts, fixed_examples, shuffled
from steelyard.recipes.prompt import Part

TEXTS = {
    "mill": "the mill was built in 1888",
    "barn": "the barn was built in 1890",
    "cat": "cats sleep",
    "dog": "dogs bark in the mill",
}
TRAIN = [example(f"e{n}", f"text {n}", f"target {n}", group=f"g{n // 2}") for n in range(8)]
TASK = make_task(TRAIN, Output("text"))


def parts_of(
    context: Context, queries: Sequence[Query], lookup: Lookup | None = None, **more: Any
) -> list[list[Part]]:
    find = find_parts(
        recipe("r", context=context),
        more.pop("task", TASK),
        Lookup(WordIndex.of(TEXTS)) if lookup is None else lookup,
        embedder=FakeEmbedder,
        rerank=more.pop("rerank", None),
        seed=more.pop("seed", 0),
    )
    return find(queries)


def ids(parts: Sequence[Part]) -> list[str]:
    return [p.content.document if isinstance(p.content, Passage) else p.content.id for p in parts]


# ---------------------------------------------------------------- passages


BUILT = Query("when was the mill built")


def test_the_best_passage_stands_next_to_the_question_unless_told_to_stand_first():
    [last] = parts_of(Context(passages=2), [BUILT])
    assert [(id, part.rank) for id, part in zip(ids(last), last, strict=True)] == [
        ("barn", 1),
        ("mill", 0),
    ]
    [first] = parts_of(Context(passages=2, order="best_first"), [BUILT])
    assert ids(first) == ["mill", "barn"]


def test_a_floor_keeps_out_what_is_less_relevant():
    [every] = parts_of(Context(passages=3), [BUILT])
    assert ids(every) == ["dog", "barn", "mill"]
    [some] = parts_of(Context(passages=3, relevance_floor=0.3), [BUILT])
    assert ids(some) == ["barn", "mill"]
    assert parts_of(Context(passages=3, relevance_floor=2.0), [BUILT]) == [[]]


def test_a_reranker_is_shown_more_than_is_kept_and_decides_the_order_and_the_floor():
    seen: list[list[str]] = []

    def backwards(queries: Sequence[str], found: Sequence[Sequence[Passage]]) -> list[Any]:
        assert list(queries) == [BUILT.input]
        seen.extend([p.document for p in passages] for passages in found)
        return [
            [replace(p, relevance=float(n)) for n, p in reversed(list(enumerate(passages)))]
            for passages in found
        ]

    context = Context(passages=2, rerank="maxsim")
    [parts] = parts_of(context, [BUILT], rerank=backwards)
    assert seen == [["mill", "barn", "dog"]]
    assert ids(parts) == ["barn", "dog"]
    [high] = parts_of(replace(context, relevance_floor=2.0), [BUILT], rerank=backwards)
    assert ids(high) == ["dog"]


def test_a_question_as_of_a_time_sees_what_held_then_and_only_its_users_documents():
    def held(id: str, **more: Any) -> Held:
        return Held(Passage(id, 0, 8, "the mill"), **more)

    lookup = Lookup(
        WordIndex(
            (
                held("old", valid_to="2020-01-01"),
                held("new", valid_from="2020-01-01"),
                held("anns", user="ann"),
            )
        )
    )
    context = Context(passages=9, order="best_first")
    asked = [
        Query("mill"),
        Query("mill", time="2019-01-01"),
        Query("mill", "ann", "2021-01-01"),
        Query("mill", "bob"),
    ]
    found = [ids(parts) for parts in parts_of(context, asked, lookup)]
    assert found == [["new"], ["old"], ["new", "anns"], ["new"]]


def test_a_context_of_any_date_sees_all_times_but_no_other_users_documents():
    def held(id: str, **more: Any) -> Held:
        return Held(Passage(id, 0, 8, "the mill"), **more)

    lookup = Lookup(
        WordIndex(
            (
                held("old", valid_to="2020-01-01"),
                held("new", valid_from="2020-01-01"),
                held("anns", user="ann", valid_to="2020-01-01"),
            )
        )
    )
    context = Context(passages=9, order="best_first", as_of="any")
    asked = [Query("mill", time="2019-01-01"), Query("mill", "ann", "2021-01-01"), Query("mill")]
    found = [ids(parts) for parts in parts_of(context, asked, lookup)]
    assert found == [["old", "new"], ["old", "new", "anns"], ["old", "new"]]
    [random] = parts_of(Context(passages=9, search="random"), asked[:1], lookup)
    assert sorted(ids(random)) == ["new", "old"]


def test_the_oracle_finds_evidence_that_is_folded_into_another_document():
    kept = Passage("mill", 0, 8, "the mill", also=("copy",))
    lookup = Lookup(WordIndex((Held(kept), Held(Passage("barn", 0, 8, "the barn")))))
    context = Context(passages=2, search="evidence")
    asked = [replace(BUILT, evidence=("copy",)), replace(BUILT, evidence=("barn",))]
    assert [ids(parts) for parts in parts_of(context, asked, lookup)] == [["mill"], ["barn"]]


def test_the_oracle_sees_the_evidence_alone_and_nothing_where_there_is_none():
    context = Context(passages=2, search="evidence", order="best_first")
    asked = [
        replace(BUILT, evidence=("cat",)),
        replace(BUILT, evidence=("cat", "mill", "barn")),
        BUILT,
        replace(BUILT, evidence=("nowhere",)),
    ]
    found = [ids(parts) for parts in parts_of(context, asked)]
    assert found == [["cat"], ["mill", "barn"], [], []]


def test_only_the_oracle_looks_at_the_evidence():
    hinted = replace(BUILT, evidence=("cat",))
    for context in (Context(passages=2), Context(passages=2, search="random")):
        assert parts_of(context, [hinted]) == parts_of(context, [BUILT])


def test_random_passages_are_the_same_for_a_question_and_a_seed_and_differ_between_questions():
    context = Context(passages=2, search="random")
    asked = [Query(f"question {n}") for n in range(12)]
    found = [ids(parts) for parts in parts_of(context, asked)]
    assert found == [ids(parts) for parts in parts_of(context, asked)]
    assert found[::-1] == [ids(parts) for parts in parts_of(context, asked[::-1])]
    assert found != [ids(parts) for parts in parts_of(context, asked, seed=1)]
    assert {id for own in found for id in own} == set(TEXTS)
    assert all(len(set(own)) == 2 for own in found)


def test_random_passages_are_nobodys_own():
    own = Held(Passage("own", 0, 1, "x"), user="ann")
    lookup = Lookup(WordIndex((own,)))
    assert parts_of(Context(passages=2, search="random"), [Query("x", "ann")], lookup) == [[]]


# ---------------------------------------------------------------- examples


def test_kinds_stand_in_the_order_in_which_a_prompt_shows_them():
    user = replace(TRAIN[0], user="ann")
    task = replace(TASK, train=(user, *TRAIN[1:]))
    context = Context(
        examples="nearest", num_examples=1, passages=1, history="last", num_turns=1
    )  # fmt: skip
    [parts] = parts_of(context, [Query("the mill", "ann")], task=task)
    assert [part.kind for part in parts] == ["example", "turn", "passage"]
    assert parts_of(Context(), [BUILT, BUILT]) == [[], []]
    assert parts_of(context, []) == []


def test_a_training_row_is_shown_neither_itself_nor_its_group():
    queries = [Query.of(row) for row in TRAIN]
    for context in (
        Context(examples="nearest", num_examples=7),
        Context(examples="fixed", num_examples=8),
    ):
        for row, parts in zip(TRAIN, parts_of(context, queries), strict=True):
            assert len(parts) == 6
            assert all(isinstance(p.content, Example) for p in parts)
            assert all(p.content.group != row.group for p in parts if hasattr(p.content, "group"))
        [others] = parts_of(context, [Query("text 1")])
        assert len(others) >= 7


def test_the_nearest_example_is_last_and_ranked_first():
    [parts] = parts_of(Context(examples="nearest", num_examples=3), [Query("text 5")])
    assert parts[-1].content == TRAIN[5]
    assert [part.rank for part in parts] == [2, 1, 0]


def test_accepted_answers_join_the_nearest_at_once_and_a_users_only_for_that_user():
    everyones = example("a1", "a red kettle", "yes")
    anns = replace(example("a2", "a red kettle now", "no"), user="ann")
    lookup = Lookup(accepted=(everyones, anns))
    context = Context(examples="nearest", num_examples=2)
    asked = [Query("a red kettle now", user) for user in ("ann", "bob", None)]
    found = [ids(parts)[-1] for parts in parts_of(context, asked, lookup)]
    assert found == ["a2", "a1", "a1"]
    [ann, bob, _] = parts_of(context, asked, lookup)
    assert set(ids(ann)) == {"a1", "a2"}
    assert "a2" not in ids(bob)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["ann", "bob", None]), max_size=8),
    st.sampled_from(["ann", "bob", "carl", None]),
)
def test_no_accepted_answer_of_another_user_is_ever_an_example(owners, user):
    accepted = tuple(
        replace(example(f"a{n}", "a kettle"), user=owner) for n, owner in enumerate(owners)
    )
    context = Context(examples="nearest", num_examples=20)
    [parts] = parts_of(context, [Query("a kettle", user)], Lookup(accepted=accepted))
    shown = {id for id in ids(parts) if id.startswith("a")}
    assert shown == {f"a{n}" for n, owner in enumerate(owners) if owner in (None, user)}


def test_shuffled_examples_are_the_fixed_ones_with_each_others_targets():
    shots = fixed_examples(TRAIN, 5, seed=0)
    mixed = shuffled(shots, seed=0)
    assert [s.input for s in mixed] == [s.input for s in shots]
    assert sorted(s.target for s in mixed) == sorted(s.target for s in shots)
    assert all(a.target != b.target for a, b in zip(mixed, shots, strict=True))
    [parts] = parts_of(Context(examples="shuffled", num_examples=5), [BUILT])
    assert tuple(part.content for part in parts) == mixed
    assert shuffled([], seed=0) == ()
    assert shuffled(shots[:1], seed=0) == shots[:1]


# ---------------------------------------------------------------- fingerprints


@pytest.mark.parametrize(
    ("context", "documents", "records", "accepted"),
    [
        (Context(), False, False, False),
        (Context(passages=1), True, False, False),
        (Context(history="last", num_turns=1), False, True, True),
        (Context(examples="nearest", num_examples=1), False, False, True),
        (Context(examples="fixed", num_examples=1), False, False, False),
    ],
)
def test_a_fingerprint_names_what_the_context_looks_at_and_nothing_else(
    context, documents, records, accepted
):
    lookup = Lookup(WordIndex.of({"a": "x"}), WordIndex.of({"b": "y"}))
    plain = lookup.fingerprint(context)
    other = WordIndex.of({"a": "z"})
    assert (replace(lookup, documents=other).fingerprint(context) != plain) == documents
    assert (replace(lookup, records=other).fingerprint(context) != plain) == records
    more = replace(lookup, accepted=(example("a", "x"),))
    assert (more.fingerprint(context) != plain) == accepted
