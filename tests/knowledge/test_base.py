"""What is in a base, what can be taken out of it, and the vectors of its passages."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from bases import CountingEmbedder, Reader, check, rows, shown, write_rows
from steelyard.errors import StoreError
from steelyard.knowledge import base as base_module
from steelyard.knowledge.base import Base, Counts, Listed
from steelyard.knowledge.ingest import update
from steelyard.knowledge.tables import MIGRATIONS


@pytest.fixture
def base(tmp_path: Path):
    with Base(tmp_path / "base.db") as opened:
        yield opened


def add(base: Base, path: Path, embedder: CountingEmbedder | None = None) -> None:
    update(base, [path], embedder or CountingEmbedder(), read=Reader())


@pytest.fixture
def records(base: Base, tmp_path: Path) -> Path:
    """A file of everybody's and of two users' records, added."""
    path = tmp_path / "records.jsonl"
    write_rows(
        path,
        [
            {"id": "rules", "text": "Orders are sent on Mondays."},
            {"id": "o1", "text": "A blue zanzibar lamp.", "user": "ann"},
            {"id": "o2", "text": "Two quixotic chairs.", "user": "ann", "tenant": "shop"},
            {"id": "o3", "text": "A green table.", "user": "bob"},
            {"id": "o4", "text": "A blue zanzibar lamp.", "user": "bob"},
        ],
    )
    add(base, path)
    return path


def test_documents_are_listed_with_what_is_known_of_them(base, tmp_path):
    path = tmp_path / "rows.jsonl"
    body = {"id": "fees", "title": "Fees", "text": "Two.\n\n" + "word " * 100, "product": "card"}
    ends = {"valid_from": "2020", "valid_to": "2021", "user": "ann", "tenant": "shop"}
    write_rows(path, [body, {**body, **ends}, {**body, "id": "fees 2"}])
    add(base, path)
    source = str(path)
    product = {"product": "card"}
    common = ("Fees", source, None, None, None, None, product)
    assert base.documents() == [
        Listed("fees", 1, *common, 2, 0),
        Listed("fees 2", 1, *common, 2, 2),
        Listed("fees", 1, "Fees", source, "shop", "ann", "2020-01-01", "2022-01-01", product, 2, 0),
    ]
    assert base.sources() == [source]


def test_an_empty_base_lists_nothing(base):
    assert (base.documents(), base.sources(), base.unreadable()) == ([], [], [])


def test_a_file_is_removed_with_all_that_it_held(base, records):
    assert base.remove_source(str(records)) == 5
    assert base.sources() == []
    assert rows(base, "SELECT 1 FROM passage UNION SELECT 1 FROM band") == []
    check(base, CountingEmbedder())
    assert base.remove_source(str(records)) == 0


def test_a_document_is_removed_in_its_tenant(base, records):
    assert base.remove_document("o2") == 0
    assert base.remove_document("o2", tenant="shop") == 1
    assert base.remove_document("o1") == 1
    check(base, CountingEmbedder())
    assert len(base.documents()) == 3


def test_forgetting_a_user_takes_theirs_in_that_tenant_and_says_where_they_came_from(base, records):
    assert base.forget_user("ann") == (1, [str(records)])
    assert [d.id for d in base.documents() if d.user] == ["o3", "o4", "o2"]
    assert base.forget_user("ann", tenant="shop") == (1, [str(records)])
    assert [d.id for d in base.documents()] == ["rules", "o3", "o4"]
    assert base.forget_user("nobody") == (0, [])
    check(base, CountingEmbedder())
    assert rows(base, "SELECT count(*) FROM vector") == [(3,)]


def test_nobodys_documents_are_not_forgotten_for_want_of_a_name(base, records):
    with pytest.raises(ValueError, match="a user has a name"):
        base.forget_user("")
    assert len(base.documents()) == 5


def test_of_a_forgotten_user_no_word_is_left_in_the_files(base, records, tmp_path):
    """Neither of what they had when they were forgotten, nor of what was replaced before."""
    write_rows(records, [{"id": "o2", "text": "Two serendipitous chairs.", "user": "ann"}])
    add(base, records)
    base.forget_user("ann")
    base.close()
    left = b"".join(p.read_bytes() for p in tmp_path.glob("base.db*"))
    for word in (b"zanzibar", b"quixot", b"serendip", b"chair"):
        assert word not in left.lower()


# ---------------------------------------------------------------- vectors


def test_vectors_are_of_half_precision_and_named_by_their_embedder(base, records):
    [(name, value)] = rows(
        base,
        "SELECT embedder, value FROM vector JOIN passage ON passage.number = vector.passage "
        "WHERE text = 'A green table.'",
    )
    [(title,)] = rows(base, "SELECT title FROM document WHERE text = 'A green table.'")
    expected = CountingEmbedder().embed([f"{title}\nA green table."])[0]
    assert name == "letters"
    assert np.abs(np.frombuffer(value, np.float16) - expected).max() < 1e-3


def test_another_embedder_makes_all_vectors_anew_and_the_same_one_none(base, records):
    assert base.embed(CountingEmbedder()) == 0
    assert base.embed(CountingEmbedder("other")) == 5
    check(base, CountingEmbedder("other"))
    assert base.embed(CountingEmbedder("other")) == 0


def test_a_base_knows_whether_vectors_are_lacking(base, records):
    assert base.is_embedded
    base.remove_document("o1")
    write_rows(records, [{"id": "new", "text": "Something new."}])
    update(base, [records], read=Reader())
    assert not base.is_embedded
    base.embed(CountingEmbedder())
    assert base.is_embedded
    assert base.counts() == Counts(1, 1, 0)


def test_a_new_base_lacks_no_vectors_once_it_was_looked_at(base):
    assert not base.is_embedded
    base.embed(CountingEmbedder())
    assert base.is_embedded


def test_embedding_goes_on_where_it_was_interrupted(base, records, monkeypatch):
    monkeypatch.setattr(base_module, "EMBED_PASSAGES", 2)
    embedder = CountingEmbedder("other")

    def stop(done: int, total: int) -> None:
        assert total == 5
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        base.embed(embedder, stop)
    assert rows(base, "SELECT count(*) FROM vector WHERE embedder = 'other'") == [(4,)]
    assert base.embed(embedder) == 1
    assert embedder.num_texts == 5


def test_a_passage_that_goes_while_it_is_embedded_gets_no_vector(base, records):
    class Slow(CountingEmbedder):
        def embed(self, texts):
            base.remove_source(str(records))
            return super().embed(texts)

    base.embed(Slow("other"))
    assert rows(base, "SELECT * FROM vector") == []


def test_a_passage_that_comes_back_while_others_are_embedded_is_not_overlooked(base, tmp_path):
    write_rows(
        tmp_path / "rows.jsonl",
        [{"id": f"d{i}", "text": text} for i, text in enumerate(["One.", "one", "Two."])],
    )
    update(base, [tmp_path / "rows.jsonl"], None, read=Reader())

    class Slow(CountingEmbedder):
        def embed(self, texts):
            if any(text.endswith("One.") for text in texts):
                base.remove_document("d0")
            return super().embed(texts)

    base.embed(Slow())
    assert shown(base) == ["Two.", "one"]
    check(base, CountingEmbedder())


# ---------------------------------------------------------------- the file


def test_a_base_of_a_newer_steelyard_is_refused(tmp_path):
    path = tmp_path / "base.db"
    Base(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreError, match=rf"base\.db.*version {len(MIGRATIONS) + 1}.*upgrade"):
        Base(path)


def test_a_path_may_have_any_characters(tmp_path):
    path = tmp_path / "50% #1?" / "a b.db"
    with Base(path) as base:
        assert base.documents() == []
    assert [file.name for file in path.parent.glob("*.db")] == ["a b.db"]


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path):
    path = tmp_path / "base.db"
    path.write_text("this is not a database, it is a text of some length\n" * 40)
    with pytest.raises(StoreError, match=r"base\.db.*Move the file away"):
        Base(path)


def test_one_process_at_a_time_does_a_work(base):
    other = Base(base.path)
    waited = []

    def waiting():
        waited.append(True)
        raise TimeoutError

    with base.alone("x"), pytest.raises(TimeoutError), other.alone("x", waiting):
        pass
    assert waited == [True]
    with other.alone("x", waiting):
        other.close()
