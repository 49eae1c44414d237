"""Searching a base: every kind, inside every scope, whatever others write meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from filled import Doc, create, delete, fill
from hypothesis import given, settings
from hypothesis import strategies as st

from steelyard.core import Passage
from steelyard.errors import InputError, StoreError
from steelyard.knowledge import search as search_module
from steelyard.knowledge import vectors
from steelyard.knowledge.index import Index, Scope
from steelyard.knowledge.search import KINDS, SqliteIndex
from steelyard.models.fake import FakeEmbedder

NOW = "2025-06-01"


def opened(path: Path) -> SqliteIndex:
    return SqliteIndex(path, FakeEmbedder(), now=lambda: NOW)


def base(tmp_path: Path, *documents: Doc) -> SqliteIndex:
    return opened(fill(tmp_path / "base.sqlite", documents, FakeEmbedder()))


def ids(passages: Sequence[Passage]) -> list[str]:
    return [passage.document for passage in passages]


ANIMALS = (
    Doc("cats", ["The cat sleeps on the mat.", "Cats hunt mice at night."], title="Cats"),
    Doc("dogs", ["The dog barks at the cat."], valid_from="2020-01-01"),
    Doc("fish", ["Fish swim in the river."]),
)


def test_it_is_an_index(tmp_path):
    index: Index = base(tmp_path, *ANIMALS)
    assert index.search(["cats"], 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_comes_first_with_all_that_is_known_of_it(tmp_path, kind):
    [[first, *rest]] = base(tmp_path, *ANIMALS).search(["cats hunt mice"], 3, kind=kind)
    assert first == Passage(
        "cats", 27, 51, "Cats hunt mice at night.", title="Cats", relevance=first.relevance
    )
    relevance = [first.relevance, *(passage.relevance for passage in rest)]
    assert relevance == sorted(relevance, reverse=True)


def test_a_date_of_validity_is_the_time_of_a_passage(tmp_path):
    [[found]] = base(tmp_path, *ANIMALS).search(["barks"], 1, kind="lexical")
    assert found.time == "2020-01-01"


def test_lexical_search_finds_only_what_shares_a_word(tmp_path):
    [found] = base(tmp_path, *ANIMALS).search(["swim"], 9, kind="lexical")
    assert ids(found) == ["fish"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_title_of_a_document_is_searched_with_each_of_its_passages(tmp_path, kind):
    mills = Doc("mills", ["It was built in 1888.", "Rats live there."], title="The Red Mill")
    index = base(tmp_path, *ANIMALS, mills)
    [found] = index.search(["red mill built"], 2, kind=kind)
    assert [(p.document, p.start) for p in found] == [("mills", 0), ("mills", 22)]
    delete(index.path, "mills")
    assert index.search(["red mill"], 9, kind="lexical") == [[]]


def test_hybrid_search_finds_what_either_kind_finds(tmp_path):
    index = base(tmp_path, *ANIMALS)
    kinds = {kind: index.search(["the cat barks"], 9, kind=kind)[0] for kind in KINDS}
    found = {kind: {p.id for p in passages} for kind, passages in kinds.items()}
    assert found["hybrid"] == found["lexical"] | found["vector"]
    lexical, vector = (
        [p.id for p in kinds[kind]].index("dogs:0-25") + 1 for kind in ("lexical", "vector")
    )
    [dogs] = [p for p in kinds["hybrid"] if p.document == "dogs"]
    assert dogs.relevance == pytest.approx(1 / (10 + lexical) + 1 / (10 + vector))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("query", ["", "?!", '"', "\ud800", "🙂", "x " * 5000])
def test_any_query_is_answered(tmp_path, kind, query):
    [found] = base(tmp_path, *ANIMALS).search([query], 2, kind=kind)
    assert len(found) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_base_and_no_queries_and_none_wanted_find_nothing(tmp_path, kind):
    index = base(tmp_path)
    assert index.search(["cat"], 5, kind=kind) == [[]]
    assert index.search([], 5, kind=kind) == []
    assert index.passages(Scope()) == []
    full = base(tmp_path, *ANIMALS)
    assert full.search(["cat"], 0, kind=kind) == [[]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_folded_duplicate_is_not_found(tmp_path, kind):
    texts = ["The cat sleeps.", "The cat sleeps!", "A cat wakes."]
    index = base(tmp_path, Doc("cats", texts, folded=[1]))
    [found] = index.search(["cat sleeps"], 9, kind=kind)
    assert [p.text for p in found] == [texts[0], texts[2]]
    assert [p.text for p in index.passages(Scope())] == [texts[0], texts[2]]


def test_all_passages_of_a_scope_come_in_order(tmp_path):
    index = base(tmp_path, *reversed(ANIMALS))
    assert [p.id for p in index.passages(Scope())] == [
        "cats:0-26",
        "cats:27-51",
        "dogs:0-25",
        "fish:0-23",
    ]


def test_an_unknown_kind_and_a_missing_scope_are_errors(tmp_path):
    index = base(tmp_path, *ANIMALS)
    with pytest.raises(InputError, match=r'"lexicl" is not known.*Did you mean "lexical"'):
        index.search(["cat"], 1, kind="lexicl")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 queries came with 1 scopes"):
        index.search(["cat", "dog"], 1, scopes=[Scope()])


def test_where_no_base_is_says_so(tmp_path):
    with pytest.raises(StoreError, match="no knowledge base can be opened there"):
        opened(tmp_path / "none.sqlite")
    (tmp_path / "other").write_bytes(b"not a database at all, but a file of some length" * 30)
    with pytest.raises(StoreError, match="no knowledge base can be opened there"):
        opened(tmp_path / "other")


# ---------------------------------------------------------------- scopes

SCOPED = (
    Doc("all", ["shared cat"]),
    Doc("ann", ["cat of ann"], user="ann"),
    Doc("bob", ["cat of bob"], user="bob"),
    Doc("acme", ["cat of acme"], tenant="acme"),
    Doc("acme-ann", ["cat of ann at acme"], tenant="acme", user="ann"),
    Doc("old", ["old cat"], valid_to="2024-01-01"),
    Doc("new", ["new cat"], valid_from="2024-01-01"),
    Doc("later", ["later cat"], valid_from="2026-01-01"),
    Doc("red", ["red cat"], metadata={"colour": "red", "size": 2}),
)
NOBODYS = {"all", "new", "red"}


@pytest.mark.parametrize("kind", [*KINDS, "passages"])
@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(), NOBODYS),
        (Scope(user="ann"), NOBODYS | {"ann"}),
        (Scope(user="nobody"), NOBODYS),
        (Scope(tenant="acme"), {"acme"}),
        (Scope(tenant="acme", user="ann"), {"acme", "acme-ann"}),
        (Scope(tenant="acme", user="bob"), {"acme"}),
        (Scope(tenant="none"), set()),
        (Scope(as_of="2023-12-31"), {"all", "old", "red"}),
        (Scope(as_of="2024-01-01"), {"all", "new", "red"}),
        (Scope(as_of="2026-01-01T00:00:00+00:00"), {"all", "new", "red", "later"}),
        (Scope(any_time=True), NOBODYS | {"old", "later"}),
        (Scope(user="ann", any_time=True), NOBODYS | {"old", "later", "ann"}),
        (Scope(as_of="2023-12-31", any_time=True), NOBODYS | {"old", "later"}),
        (Scope(documents=frozenset({"old", "bob"}), any_time=True), {"old"}),
        (Scope(metadata={"colour": "red"}), {"red"}),
        (Scope(metadata={"colour": "red", "size": 2}), {"red"}),
        (Scope(metadata={"colour": "red", "size": 3}), set()),
        (Scope(metadata={"size": "2"}), set()),
        (Scope(documents=frozenset({"all", "bob", "x"})), {"all"}),
        (Scope(documents=frozenset()), set()),
    ],
)
def test_a_scope_decides_what_is_seen(tmp_path, kind, scope, expected):
    index = base(tmp_path, *SCOPED)
    if kind == "passages":
        found = index.passages(scope)
    else:
        [found] = index.search(["cat"], 99, kind=kind, scopes=[scope])
    assert sorted(ids(found)) == sorted(expected)


def test_a_base_is_dated_where_anything_holds_for_a_time(tmp_path):
    index = base(tmp_path, Doc("always", ["cat"]))
    assert not index.is_dated
    fill(index.path, [Doc("old", ["old cat"], valid_to="2024-01-01")], FakeEmbedder())
    assert index.is_dated


def test_each_query_has_its_own_scope(tmp_path):
    found = base(tmp_path, *SCOPED).search(
        ["cat"] * 3, 9, scopes=[Scope(user="ann"), Scope(user="bob"), Scope(tenant="acme")]
    )
    assert [{"ann", "bob", "acme"} & set(ids(one)) for one in found] == [{"ann"}, {"bob"}, {"acme"}]


def test_a_name_is_never_sql(tmp_path):
    index = base(tmp_path, *SCOPED)
    for name in ("' OR 1=1 --", '"; DROP TABLE passage', "%", "*"):
        scope = Scope(tenant=name, user=name, documents=frozenset({name}), metadata={name: name})
        assert index.passages(scope) == []


owners = st.sampled_from(["", "a", "b"])
dates = st.sampled_from(["", "2024-01-01", "2024-06-01", "2025-01-01", "2026-01-01"])
words = st.lists(st.sampled_from(["cat", "dog", "fish", "red", "mat"]), min_size=1, max_size=4)
drawn_documents = st.lists(
    st.builds(
        lambda texts, tenant, user, start, end, colour: (texts, tenant, user, start, end, colour),
        st.lists(words.map(" ".join), min_size=1, max_size=3),
        owners,
        owners,
        dates,
        dates.map(lambda date: date or "9"),
        st.sampled_from(["red", "blue", None]),
    ),
    max_size=12,
)
maybe = st.sampled_from([None, "a", "b"])
drawn_scopes = st.builds(
    Scope,
    tenant=maybe,
    user=maybe,
    as_of=st.one_of(st.none(), dates.filter(bool), st.just("2024-03-05T10:00:00")),
    metadata=st.sampled_from([{}, {"colour": "red"}, {"colour": None}]),
    documents=st.sampled_from([None, frozenset({"d0", "d3", "d5"})]),
)


def is_in(document: Doc, scope: Scope) -> bool:
    when = scope.as_of or NOW
    return (
        document.tenant == (scope.tenant or "")
        and document.user in ("", scope.user or "")
        and document.valid_from <= when < document.valid_to
        and all(document.metadata.get(k) == v for k, v in scope.metadata.items())
        and (scope.documents is None or document.id in scope.documents)
    )


@settings(max_examples=60, deadline=None)
@given(
    drawn_documents,
    st.lists(drawn_scopes, min_size=1, max_size=6),
    words.map(" ".join),
    st.integers(1, 50),
    st.booleans(),
)
def test_no_search_ever_leaves_its_scope_and_vectors_find_all_of_it(
    tmp_path_factory, drawn, scopes, query, k, by_graph
):
    documents = [
        Doc(f"d{n}", texts, tenant, user, start, end, metadata={"colour": colour} if colour else {})
        for n, (texts, tenant, user, start, end, colour) in enumerate(drawn)
    ]
    with pytest.MonkeyPatch.context() as patch:
        if by_graph:
            patch.setattr(vectors, "EXACT_PASSAGES", 0)
            patch.setattr(vectors, "SCOPED_PASSAGES", 0)
            patch.setattr(search_module, "EXACT_PASSAGES", 0)
        index = base(tmp_path_factory.mktemp("base"), *documents)
        index.prepare()
        for kind in KINDS:
            found = index.search([query] * len(scopes), k, kind=kind, scopes=scopes)
            for passages, scope in zip(found, scopes, strict=True):
                allowed = {d.id: d for d in documents if is_in(d, scope)}
                assert set(ids(passages)) <= set(allowed)
                total = sum(len(d.texts) for d in allowed.values())
                if kind != "lexical":
                    assert len({p.id for p in passages}) == min(k, total)
                else:
                    wanted = set(query.split())
                    fitting = [
                        t for d in allowed.values() for t in d.texts if wanted & set(t.split())
                    ]
                    assert len(passages) == min(k, len(fitting))
        assert (index.graph_recall is not None) == (by_graph and bool(documents))
        index.close()


# ---------------------------------------------------------------- changes


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_write_is_found_and_what_they_delete_is_not(tmp_path, kind):
    index = base(tmp_path, *ANIMALS)
    index.search(["owl"], 9, kind=kind)
    fill(index.path, [Doc("owls", ["An owl hoots."])], FakeEmbedder())
    assert index.search(["owl hoots"], 1, kind=kind)[0][0].document == "owls"
    delete(index.path, "owls")
    assert "owls" not in ids(index.search(["owl hoots"], 9, kind=kind)[0])
    assert "owls" not in ids(index.passages(Scope()))


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    first = base(tmp_path, *ANIMALS)
    (tmp_path / "other").mkdir()
    assert base(tmp_path / "other", *ANIMALS).fingerprint == first.fingerprint
    seen = [first.fingerprint]
    fill(first.path, [Doc("owls", ["An owl hoots."])], FakeEmbedder())
    seen.append(first.fingerprint)
    fill(first.path, [Doc("bats", ["A bat flies."])], None)
    seen.append(first.fingerprint)
    delete(first.path, "bats")
    assert first.fingerprint == seen[1]
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE document SET user = 'ann' WHERE id = 'fish'",
        "UPDATE document SET valid_to = '2020' WHERE id = 'fish'",
        "UPDATE document SET metadata = '{\"a\": 1}' WHERE id = 'fish'",
        "UPDATE passage SET same_as = 1 WHERE number = 2",
        "UPDATE vector SET value = zeroblob(512) WHERE passage = 2",
        "DELETE FROM vector WHERE passage = 2",
    ],
)
def test_the_fingerprint_changes_with_all_that_decides_an_answer(tmp_path, change):
    import sqlite3

    index = base(tmp_path, *ANIMALS)
    before = index.fingerprint
    with sqlite3.connect(index.path) as connection:
        connection.execute(change)
    connection.close()
    assert index.fingerprint != before


def test_the_fingerprint_changes_with_the_code_and_the_embedder(tmp_path, monkeypatch):
    index = base(tmp_path, *ANIMALS)
    before = index.fingerprint
    monkeypatch.setattr(search_module, "VERSION", -1)
    changed = index.fingerprint
    monkeypatch.setattr(FakeEmbedder, "fingerprint", "another")
    assert len({before, changed, index.fingerprint}) == 3


def test_vectors_of_another_embedder_are_not_compared(tmp_path, monkeypatch):
    index = base(tmp_path, *ANIMALS)
    monkeypatch.setattr(FakeEmbedder, "fingerprint", "another")
    other = opened(index.path)
    assert other.search(["cat"], 9, kind="vector") == [[]]
    assert other.search(["cat"], 9, kind="hybrid")[0] != []


def test_vectors_of_different_lengths_are_an_error(tmp_path):
    import sqlite3

    index = base(tmp_path, *ANIMALS)
    with sqlite3.connect(index.path) as connection:
        connection.execute("UPDATE vector SET value = zeroblob(4) WHERE passage = 3")
    connection.close()
    with pytest.raises(StoreError, match="the vector of passage 3 has another length"):
        index.search(["cat"], 1, kind="vector")
    assert index.search(["cat"], 1, kind="lexical")[0]


def test_threads_can_share_an_index_while_another_writes(tmp_path):
    index = base(tmp_path, *ANIMALS)
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(30):
                for kind in KINDS:
                    assert len(index.search(["the cat sleeps"], 2, kind=kind)[0]) == 2
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(10):
        fill(index.path, [Doc(f"new{n}", [f"bird {n}"])], FakeEmbedder())
    for thread in threads:
        thread.join()
    assert failures == []


# ---------------------------------------------------------------- large bases


def test_a_large_base_gets_a_graph_that_grows_and_goes(tmp_path, monkeypatch):
    for module in (vectors, search_module):
        monkeypatch.setattr(module, "EXACT_PASSAGES", 20)
    monkeypatch.setattr(vectors, "SCOPED_PASSAGES", 0)
    texts = [f"passage {n} about {'cats' if n % 2 else 'dogs'}" for n in range(60)]
    index = base(tmp_path, Doc("many", texts))
    assert index.graph_recall is None
    exact, before = index.search(["7 about cats"], 1, kind="vector"), index.fingerprint
    index.prepare()
    assert index.graph_recall is not None
    assert index.graph_recall > 0.9
    assert index.fingerprint != before
    assert index.search(["7 about cats"], 1, kind="vector") == exact
    fill(index.path, [Doc("owls", ["An owl hoots."])], FakeEmbedder())
    assert index.search(["owl hoots"], 1, kind="vector")[0][0].document == "owls"
    index.prepare()
    assert opened(index.path).graph_recall is not None
    delete(index.path, "many")
    assert ids(index.search(["cats"], 9, kind="vector")[0]) == ["owls"]
    index.prepare()
    assert index.graph_recall is None
    assert not list(tmp_path.glob("*.graphs"))


def test_an_index_opens_what_is_only_created(tmp_path):
    create(tmp_path / "b.sqlite")
    index = opened(tmp_path / "b.sqlite")
    index.prepare()
    assert index.search(["x"], 1) == [[]]
    assert len(index.fingerprint) == 64


def test_a_zero_vector_is_like_nothing(tmp_path):
    index = base(tmp_path, *ANIMALS)
    [found] = index.search([""], 9, kind="vector")
    assert np.allclose([p.relevance for p in found], 0)
