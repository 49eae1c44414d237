"""Lexical search: BM25 over the postings of SQLite's FTS5 index, summed by NumPy.

FTS5 keeps the words and keeps them up to date. What it does slowly is to score: a question of
common words matches most passages, one virtual-table row at a time. So the postings of a word
are read from it once (through its own `fts5vocab`), scored and kept; a search then adds a few
arrays. Figures: docs/log. Queries are split into words by the same FTS5 tokenizer and never
become part of a MATCH, so no text is syntax.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

K1, B = 1.2, 0.75  # Source: Robertson et al. 1994, Okapi at TREC-3; also those of FTS5
LEAST_IDF = 1e-6  # of a word in more than half of the passages. Source: FTS5's bm25()
# A word in more than half of the passages, and in so many, says nothing and is passed over.
COMMON_PASSAGES = 1000  # Source: ours
QUERY_CHARACTERS = 10_000  # the rest of a longer query is passed over. Source: ours
POSTINGS_BYTES = 256_000_000  # kept at once: the words of about 500,000 passages. Source: ours
COUNTED_WORDS = 100_000  # whose passages were counted; a query can name any number of them
WARMED_WORDS = 2000  # the commonest ones, read before they are asked for. Source: ours

TEMPORARY = """
CREATE VIRTUAL TABLE IF NOT EXISTS temp.held USING fts5vocab('main', 'words', 'row');
CREATE VIRTUAL TABLE IF NOT EXISTS temp.places USING fts5vocab('main', 'words', 'instance');
CREATE VIRTUAL TABLE IF NOT EXISTS temp.asked USING fts5 (
    text, content = '', tokenize = 'porter unicode61'
);
CREATE VIRTUAL TABLE IF NOT EXISTS temp.asked_words USING fts5vocab('temp', 'asked', 'row');
"""


def idf(num_holding: int, num_passages: int) -> float:
    """The weight of a word that so many of all passages hold.

    Source: Robertson & Spärck Jones 1976, with FTS5's least value instead of negative ones.
    """
    weight = float(np.log((num_passages - num_holding + 0.5) / (num_holding + 0.5)))
    return weight if weight > 0 else LEAST_IDF


def bm25(
    counts: NDArray[np.float32], lengths: NDArray[np.float32], mean_length: float, weight: float
) -> NDArray[np.float32]:
    """What a word adds to the score of each passage that holds it so many times.

    Shapes: counts and lengths (in words) of P passages → [P].
    Source: Robertson & Zaragoza 2009, The Probabilistic Relevance Framework, equation 3.15.
    """
    saturation = counts + K1 * (1 - B + B * lengths / mean_length)
    added: NDArray[np.float32] = (weight * counts * (K1 + 1) / saturation).astype(np.float32)
    return added


class Lexical:
    """The words of one state of a base.

    `numbers` are the passages that may be found, ascending; a place is an index into them. Words
    are counted over all passages, those folded into another among them. The connection has the
    TEMPORARY tables.
    """

    def __init__(self, connection: sqlite3.Connection, numbers: NDArray[np.int64]) -> None:
        self._connection = connection
        self._numbers = numbers
        rows = connection.execute("SELECT id, sz FROM words_docsize ORDER BY id").fetchall()
        ids = np.array([number for number, _ in rows], dtype=np.int64)
        sizes = np.array([_varint(size) for _, size in rows], dtype=np.float32)
        self._num_passages = len(rows)
        self._mean_length = float(sizes.mean()) if len(rows) else 1.0
        places = np.searchsorted(ids, numbers)
        self._lengths = sizes[np.minimum(places, len(rows) - 1)] if len(rows) else sizes
        self._holding: dict[str, int] = {}
        self._postings: dict[str, tuple[NDArray[np.int32], NDArray[np.float32]]] = {}
        self._bytes = 0

    def warm(self) -> None:
        """Read the postings of the commonest words now instead of when they are first asked for."""
        words = self._connection.execute(
            "SELECT term FROM temp.held WHERE doc <= ? OR doc <= ? ORDER BY doc DESC LIMIT ?",
            (self._num_passages // 2, COMMON_PASSAGES, WARMED_WORDS),
        )
        for (word,) in words.fetchall():
            if self._bytes > POSTINGS_BYTES // 2:
                break
            self._posting(word)

    def search(self, query: str) -> NDArray[np.float32]:
        """The BM25 score of each place; minus infinity where no word of the query stands."""
        scores = np.zeros(len(self._numbers), dtype=np.float32)
        for word in self._words(query):
            places, added = self._posting(word)
            scores[places] += added
        scores[scores == 0] = -np.inf
        return scores

    def _words(self, query: str) -> list[str]:
        """The different words of a query that passages hold, as the tokenizer leaves them."""
        text = query[:QUERY_CHARACTERS].encode(errors="replace").decode()  # lone surrogates
        self._connection.execute("INSERT INTO temp.asked (asked) VALUES ('delete-all')")
        self._connection.execute("INSERT INTO temp.asked (text) VALUES (?)", (text,))
        words = self._connection.execute("SELECT term FROM temp.asked_words ORDER BY term")
        known = [(word, self._count(word)) for (word,) in words.fetchall()]
        held = [(word, count) for word, count in known if count]
        most = max(self._num_passages // 2, COMMON_PASSAGES)
        telling = [word for word, count in held if count <= most]
        return telling or [word for word, _ in held]

    def _count(self, word: str) -> int:
        """How many passages hold a word."""
        if word not in self._holding:
            if len(self._holding) >= COUNTED_WORDS:
                self._holding.clear()
            row = self._connection.execute(
                "SELECT doc FROM temp.held WHERE term = ?", (word,)
            ).fetchone()
            self._holding[word] = 0 if row is None else int(row[0])
        return self._holding[word]

    def _posting(self, word: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """The places that hold a word, and what it adds to each."""
        kept = self._postings.pop(word, None)
        if kept is None:
            kept = self._read(word)
            self._bytes += kept[0].nbytes + kept[1].nbytes
        self._postings[word] = kept  # the latest used stand last
        while self._bytes > POSTINGS_BYTES and len(self._postings) > 1:
            places, added = self._postings.pop(next(iter(self._postings)))
            self._bytes -= places.nbytes + added.nbytes
        return kept

    def _read(self, word: str) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        # One string of all numbers: three times as fast as a row for each.
        row = self._connection.execute(
            "SELECT group_concat(doc) FROM temp.places WHERE term = ?", (word,)
        ).fetchone()
        occurrences = np.fromstring(row[0] or "", dtype=np.int64, sep=",")
        holding, counts = np.unique(occurrences, return_counts=True)
        places = np.searchsorted(self._numbers, holding)
        places[places == len(self._numbers)] = 0
        found = self._numbers[places] == holding if len(self._numbers) else np.zeros(0, np.bool_)
        places = places[found].astype(np.int32)
        weight = idf(len(holding), self._num_passages)
        counted = counts[found].astype(np.float32)
        return places, bm25(counted, self._lengths[places], self._mean_length, weight)


def _varint(coded: Iterable[int]) -> int:
    """SQLite's variable-length integer, which FTS5 keeps the length of a passage as."""
    value = 0
    for byte in coded:
        value = value << 7 | byte & 0x7F
    return value
