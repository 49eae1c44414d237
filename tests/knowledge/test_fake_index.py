"""The fake index finds by words and keeps to a scope, as any index must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steelyard.core import Passage
from steelyard.knowledge.fake import Held, WordIndex
from steelyard.knowledge.index import Index, Scope

MILLS = {"mill": "the mill was built in 1888", "barn": "the barn burnt", "cat": "cats sleep"}


def held(id: str, text: str = "the mill", **more: object) -> Held:
    return Held(Passage(id, 0, len(text), text), **more)  # type: ignore[arg-type]


def found(index: Index, query: str, scope: Scope | None = None, k: int = 9) -> list[str]:
    [passages] = index.search([query], k, scopes=[scope] if scope else [])
    return [passage.document for passage in passages]


def test_the_passage_that_shares_most_comes_first_and_one_that_shares_nothing_not_at_all():
    index = WordIndex.of(MILLS)
    assert found(index, "when was the mill built") == ["mill", "barn"]
    assert found(index, "when was the mill built", k=1) == ["mill"]
    assert found(index, "zebra") == []
    [[first, second]] = index.search(["the mill"], 2)
    assert first.relevance > second.relevance > 0
    assert first.id == "mill:0-26"


def test_each_part_of_a_scope_leaves_out_what_is_outside_it():
    index = WordIndex(
        (
            held("all"),
            held("ann", user="ann"),
            held("bob", user="bob"),
            held("shop", tenant="shop"),
            held("old", valid_to="2020-01-01"),
            held("next", valid_from="2999-01-01"),
            held("red", metadata={"colour": "red"}),
        )
    )
    assert found(index, "mill") == ["all", "red"]
    assert found(index, "mill", Scope(user="ann")) == ["all", "ann", "red"]
    assert found(index, "mill", Scope(tenant="shop")) == ["shop"]
    assert found(index, "mill", Scope(as_of="2019-06-01")) == ["all", "old", "red"]
    assert found(index, "mill", Scope(as_of="2999-06-01")) == ["all", "next", "red"]
    assert found(index, "mill", Scope(any_time=True)) == ["all", "old", "next", "red"]
    assert index.is_dated
    assert not WordIndex((held("all"),)).is_dated
    assert found(index, "mill", Scope(metadata={"colour": "red"})) == ["red"]
    assert found(index, "mill", Scope(documents=frozenset({"ann", "all"}))) == ["all"]
    assert found(index, "mill", Scope(documents=frozenset())) == []


def test_a_fingerprint_changes_with_what_is_held():
    prints = {
        WordIndex(()).fingerprint,
        WordIndex.of({"a": "x"}).fingerprint,
        WordIndex.of({"a": "y"}).fingerprint,
        WordIndex((held("a", "x", user="ann"),)).fingerprint,
    }
    assert len(prints) == 4
    assert WordIndex.of({"a": "x"}).fingerprint in prints


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", "x y"])), max_size=12))
def test_nobody_finds_what_is_anothers(entries):
    index = WordIndex(tuple(held(f"{u}{n}", t, user=u) for n, (u, t) in enumerate(entries)))
    for user in "abcd":
        seen = found(index, "x y", Scope(user=user), k=99)
        assert len(seen) == sum(owner == user for owner, _ in entries)
        assert all(name.startswith(user) for name in seen)
    assert found(index, "x y", k=99) == []
