"""Words are scored as FTS5 scores them, and no text is a query language."""

from __future__ import annotations

import random
import re
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from filled import Doc, fill
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steelyard.knowledge import lexical
from steelyard.knowledge.lexical import TEMPORARY, Lexical

WORDS = [
    "river",
    "bank",
    "mills",
    "milling",
    "café",
    "Straße",
    "data",
    "data_set",
    "naïve",
    "42",
    "running",
    "runs",
    "the",
    "a",
    "of",
]


@pytest.fixture
def connection(tmp_path: Path):
    """A base of 300 random passages, seven of them folded away."""
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(300)]
    path = fill(tmp_path / "base.sqlite", [Doc("d", texts, folded=range(5, 12))], None)
    connection = sqlite3.connect(path)
    connection.executescript(TEMPORARY)
    yield connection
    connection.close()


def opened(connection: sqlite3.Connection) -> Lexical:
    rows = connection.execute("SELECT number FROM passage WHERE same_as IS NULL ORDER BY number")
    return Lexical(connection, np.array(rows.fetchall(), dtype=np.int64).ravel())


def found(lexical: Lexical, query: str) -> dict[int, float]:
    scores = lexical.search(query)
    return {int(lexical._numbers[i]): float(scores[i]) for i in np.flatnonzero(scores > -np.inf)}


def by_fts5(connection: sqlite3.Connection, query: str) -> dict[int, float]:
    """What SQLite itself finds with the words of a query joined by OR."""
    words = list(dict.fromkeys(re.findall(r"[^\W_]+", query.lower())))
    match = " OR ".join(f'"{word}"' for word in words)
    rows = connection.execute(
        "SELECT words.rowid, -bm25(words) FROM words JOIN passage ON number = words.rowid "
        "WHERE words MATCH ? AND same_as IS NULL",
        (match,),
    )
    return dict(rows.fetchall())


@pytest.mark.parametrize(
    "query",
    [
        "river",
        "the river of a mill",
        "NAIVE cafe strasse straße",
        "data_set",
        "running 42",
        "the",
        "no such words but river",
    ],
)
def test_scores_are_those_of_fts5(connection, query):
    ours = found(opened(connection), query)
    assert ours
    assert ours == pytest.approx(by_fts5(connection, query), rel=1e-4, abs=2e-5)


def test_word_forms_and_accents_find_each_other(connection):
    index = opened(connection)
    assert found(index, "mill").keys() == found(index, "Mills").keys()
    assert found(index, "CAFE").keys() == found(index, "café").keys()


@pytest.mark.parametrize(
    "query",
    [
        *("", " ", "?!…", '"', "'", "AND", "NOT", "( OR", "river*", "text:river", "{x}"),
        *("NEAR(a b)", "\x00", "\ud800", "🙂", "-river", "^river", "a" * 50_000, "x' OR 1=1 --"),
    ],
)
def test_no_text_is_syntax(connection, query):
    index = opened(connection)
    everything = found(index, "river")
    for number, score in found(index, query).items():
        assert score > 0
        assert number in everything or "river" not in query


def test_operators_are_words(tmp_path):
    path = fill(tmp_path / "b.sqlite", [Doc("d", ["not here", "near and far", "x"])], None)
    with sqlite3.connect(path) as connection:
        connection.executescript(TEMPORARY)
        assert list(found(opened(connection), "NOT")) == [1]
        assert list(found(opened(connection), "NEAR AND")) == [2]
    connection.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(max_size=80))
def test_any_text_can_be_asked(connection, query):
    scores = opened(connection).search(query)
    assert scores.shape == (293,)
    assert not np.isnan(scores).any()


def test_the_beginning_of_a_very_long_query_counts(connection):
    index = opened(connection)
    assert found(index, "river " + "zzz " * 100_000) == found(index, "river")
    assert found(index, "zzz " * 100_000 + "river") == {}


def test_words_that_most_passages_hold_are_passed_over_unless_there_are_no_others(
    connection, monkeypatch
):
    index = opened(connection)
    monkeypatch.setattr(lexical, "COMMON_PASSAGES", 10)
    for word in ("river", "bank"):
        assert index._count(word) > 150
    index._holding["42"] = 20
    assert found(index, "river 42") == found(index, "42")
    assert len(found(index, "river bank")) > 150


def test_postings_are_kept_within_their_bytes_and_found_again(connection, monkeypatch):
    index = opened(connection)
    before = {word: found(index, word) for word in ("river", "bank", "42")}
    monkeypatch.setattr(lexical, "POSTINGS_BYTES", 3000)
    assert {word: found(index, word) for word in before} == before
    assert index._bytes <= 3000
    assert index._bytes == sum(a.nbytes + b.nbytes for a, b in index._postings.values())


def test_what_is_warmed_is_not_read_again(connection, monkeypatch):
    index = opened(connection)
    index.warm()
    monkeypatch.setattr(index, "_read", lambda word: pytest.fail(f"{word} was read"))
    assert found(index, "river bank")


def test_an_empty_base_holds_no_words(tmp_path):
    path = fill(tmp_path / "b.sqlite", [], None)
    with sqlite3.connect(path) as connection:
        connection.executescript(TEMPORARY)
        assert opened(connection).search("river").shape == (0,)
    connection.close()


@pytest.mark.parametrize(("coded", "value"), [(b"\x05", 5), (b"\x81\x00", 128), (b"\x83\x2c", 428)])
def test_lengths_are_read_as_sqlite_writes_them(coded, value):
    assert lexical._varint(coded) == value
