"""A knowledge base's file, filled by hand, for tests of what searches it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steelyard.knowledge.base import Base
from steelyard.models import Embedder


@dataclass(frozen=True)
class Doc:
    """A document: its passages stand one after the other, a line each."""

    id: str
    texts: Sequence[str]
    tenant: str = ""
    user: str = ""
    valid_from: str = ""
    valid_to: str = "9"
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    folded: Sequence[int] = ()  # which passages are folded into the first one


def create(path: Path) -> None:
    """An empty base."""
    Base(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO source (path, name, added_at) VALUES ('s', 's', '2024')")
    connection.close()


def fill(path: Path, documents: Sequence[Doc], embedder: Embedder | None) -> Path:
    """Add documents with their passages and vectors, making the base where there is none."""
    if not path.exists():
        create(path)
    connection = sqlite3.connect(path)
    with connection:
        for document in documents:
            _add(connection, document, embedder)
    connection.close()
    return path


def delete(path: Path, id: str) -> None:
    """Remove a document and what is derived from it."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            "DELETE FROM passage WHERE document IN (SELECT number FROM document WHERE id = ?)",
            (id,),
        )
        connection.execute("DELETE FROM document WHERE id = ?", (id,))
    connection.close()


def _add(connection: sqlite3.Connection, document: Doc, embedder: Embedder | None) -> None:
    owner = connection.execute(
        "INSERT INTO document (id, version, source, tenant, user, title, valid_from, valid_to, "
        "metadata, sha256, text) VALUES (?, ?, 's', ?, ?, ?, ?, ?, ?, '', ?)",
        (
            document.id,
            connection.execute(
                "SELECT count(*) FROM document WHERE id = ?", (document.id,)
            ).fetchone()[0],
            document.tenant,
            document.user,
            document.title,
            document.valid_from,
            document.valid_to,
            json.dumps(dict(document.metadata)),
            "\n".join(document.texts),
        ),
    ).lastrowid
    searched = [f"{document.title}\n{text}" for text in document.texts]
    vectors = None if embedder is None else embedder.embed(searched).astype(np.float16)
    start, original = 0, None
    for place, text in enumerate(document.texts):
        folded = place in document.folded
        number = connection.execute(
            "INSERT INTO passage (document, first, last, headings, text, same_as) "
            "VALUES (?, ?, ?, '[]', ?, ?)",
            (owner, start, start + len(text), text, original if folded else None),
        ).lastrowid
        if vectors is not None and not folded:
            connection.execute(
                "INSERT INTO vector VALUES (?, ?, ?)",
                (number, embedder.fingerprint, vectors[place].tobytes()),  # type: ignore[union-attr]
            )
        original = original or number
        start += len(text) + 1
