"""Knowledge bases for the benchmarks: of given documents, and large ones of their sentences.

A large base is of new passages: each is four sentences of one document, drawn at random, so that
words and topics are distributed as they are in text. Its vector is the mean of its sentences'
vectors, scaled to length 1: the sentences alone are embedded.
"""

from __future__ import annotations

import json
import random
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.knowledge.base import Base
from steelyard.models import Embedder

SENTENCES = 4  # of a passage
PASSAGES = 20  # of a document
USERS = 1000  # each has one document in a hundred of a large base


@dataclass(frozen=True)
class Sentences:
    """The sentences of some documents, their vectors, and others kept apart to be asked.

    Shapes: vectors [N, D], of the sentences of all documents one after the other.
    """

    documents: list[list[str]]
    vectors: NDArray[np.float32]
    asked: list[str]


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, documents: Sequence[Mapping[str, Any]], embedder: Embedder) -> None:
    """A base of documents (doc_id, title, text) of one passage each."""
    connection = _create(path)
    for document in documents:
        number = _document(connection, document["doc_id"], document["title"], "", document["text"])
        _passage(connection, number, 0, document["text"])
    connection.commit()
    connection.close()
    Base(path).embed(embedder)


def sentences(corpus: Path, embedder: Embedder, *, num_sentences: int, num_asked: int) -> Sentences:
    """The sentences of a corpus, as many of each document as there is room for."""
    rng = random.Random(0)
    whole = [_split(row["text"]) for row in read(corpus)]
    whole = [own for own in whole if len(own) >= 2 * SENTENCES]
    rng.shuffle(whole)
    documents: list[list[str]] = []
    left = num_sentences
    while whole and left > 0:
        documents.append(whole.pop()[:left])
        left -= len(documents[-1])
    rest = [sentence for own in whole for sentence in own] or documents[-1]
    asked = [" ".join(s.split()[:12]) for s in rng.choices(rest, k=num_asked)]
    flat = [sentence for own in documents for sentence in own]
    return Sentences(documents, embedder.embed(flat), asked)


def write_large(path: Path, given: Sentences, num_passages: int, embedder: str) -> None:
    """A base of so many passages. Every hundredth document belongs to one of the users."""
    rng = random.Random(1)
    connection = _create(path)
    firsts = np.cumsum([0, *(len(own) for own in given.documents)])
    for number in range(num_passages // PASSAGES):
        chosen = rng.randrange(len(given.documents))
        own = given.documents[chosen]
        drawn = [rng.choices(range(len(own)), k=SENTENCES) for _ in range(PASSAGES)]
        texts = [" ".join(own[place] for place in places) for places in drawn]
        user = f"user{number // 100 % USERS}" if number % 100 == 0 else ""
        document = _document(connection, f"d{number}", "", user, "\n".join(texts))
        start = 0
        for places, text in zip(drawn, texts, strict=True):
            passage = _passage(connection, document, start, text)
            mean = given.vectors[firsts[chosen] + np.array(places)].mean(axis=0)
            vector = (mean / np.linalg.norm(mean)).astype(np.float16)
            connection.execute(
                "INSERT INTO vector VALUES (?, ?, ?)", (passage, embedder, vector.tobytes())
            )
            start += len(text) + 1
    connection.commit()
    connection.close()


def _create(path: Path) -> sqlite3.Connection:
    Base(path).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO source (path, name, added_at) VALUES ('s', 's', '2026')")
    return connection


def _document(connection: sqlite3.Connection, id: str, title: str, user: str, text: str) -> int:
    return _number(
        connection.execute(
            "INSERT INTO document (id, version, source, user, title, metadata, sha256, text) "
            "VALUES (?, 1, 's', ?, ?, '{}', '', ?)",
            (id, user, title, text),
        )
    )


def _passage(connection: sqlite3.Connection, document: int, start: int, text: str) -> int:
    return _number(
        connection.execute(
            "INSERT INTO passage (document, first, last, headings, text) VALUES (?, ?, ?, '[]', ?)",
            (document, start, start + len(text), text),
        )
    )


def _number(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _split(text: str) -> list[str]:
    return list(_sentences(text))


def _sentences(text: str) -> Iterator[str]:
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
        words = sentence.split()
        if 5 <= len(words) <= 60:
            yield " ".join(words)
