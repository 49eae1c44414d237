"""What the tests of a knowledge base share: a reader without a child, and a look at the tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import DataError
from steelyard.knowledge.base import Base
from steelyard.knowledge.duplicates import same
from steelyard.knowledge.reading import Document, Found, Unreadable
from steelyard.knowledge.reading.formats import read_documents
from steelyard.knowledge.reading.source import Source


@dataclass
class Reader:
    """Reads in this process, in batches of `size` documents, and remembers which files."""

    size: int = 2
    read: list[str] = field(default_factory=list)

    def __call__(
        self, files: Iterable[Found]
    ) -> Iterator[tuple[Found, list[Document] | Unreadable]]:
        for found in files:
            self.read.append(found.id)
            batch: list[Document] = []
            try:
                for document in read_documents(Source(found.path, found.id)):
                    batch.append(document)
                    if len(batch) == self.size:
                        yield found, batch
                        batch = []
            except (DataError, OSError) as error:
                if batch:
                    yield found, batch
                yield found, Unreadable(found.path, str(error))
            else:
                yield found, batch


@dataclass
class CountingEmbedder:
    """Small vectors made of the text's letters; counts the texts."""

    fingerprint: str = "letters"
    num_texts: int = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.num_texts += len(texts)
        vectors = np.array([[1 + text.count(c) for c in "aeiost"] for text in texts], np.float32)
        unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def rows(base: Base, query: str, *values: Any) -> list[Any]:
    """What a query gives."""
    with base.engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query, values)]


def passages(base: Base) -> list[Any]:
    """All passages, in a form in which two bases can be compared."""
    return sorted(
        rows(
            base,
            "SELECT document.source, document.tenant, document.user, document.id, version, "
            "valid_from, valid_to, title, metadata, first, last, headings, page, passage.text "
            "FROM passage JOIN document ON document.number = passage.document",
        ),
        key=repr,
    )


def shown(base: Base) -> list[str]:
    """The texts of the passages that stand for themselves."""
    return sorted(t for (t,) in rows(base, "SELECT text FROM passage WHERE same_as IS NULL"))


def write_rows(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    """A JSONL file of documents."""
    path.write_text("".join(json.dumps(row) + "\n" for row in documents), encoding="utf-8")


def check(base: Base, embedder: CountingEmbedder | None = None) -> None:
    """Everything that holds of a base between two calls."""
    whole = rows(
        base,
        "SELECT passage.text, first, last, document.text FROM passage "
        "JOIN document ON document.number = passage.document",
    )
    assert all(text == document[first:last] for text, first, last, document in whole)
    with base.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    assert rows(base, "PRAGMA integrity_check") == [("ok",)]
    assert not rows(base, "SELECT 1 FROM document WHERE source NOT IN (SELECT path FROM source)")
    assert not rows(
        base, "SELECT 1 FROM passage WHERE document NOT IN (SELECT number FROM document)"
    )
    _check_folds(base)
    if embedder is not None:
        _check_vectors(base, embedder)


def _check_folds(base: Base) -> None:
    found = {
        number: (text, same_as, ("" if title == Path(source).stem else title, *where))
        for number, text, same_as, title, source, *where in rows(
            base,
            "SELECT passage.number, passage.text, same_as, title, source, tenant, user, "
            "valid_from, valid_to, metadata FROM passage "
            "JOIN document ON document.number = passage.document",
        )
    }
    for text, same_as, where in found.values():
        if same_as is not None:
            first, above, where_first = found[same_as]
            assert above is None
            assert where == where_first
            assert same(text, first)
    banded = {number for (number,) in rows(base, "SELECT DISTINCT passage FROM band")}
    assert banded == {number for number, (_, same_as, _) in found.items() if same_as is None}
    words = [
        (where, text.casefold().split())
        for text, same_as, where in found.values()
        if same_as is None
    ]
    assert len(words) == len({repr(one) for one in words}), "an equal passage was not folded"


def _check_vectors(base: Base, embedder: CountingEmbedder) -> None:
    found = rows(
        base,
        "SELECT searched.text, embedder, value FROM passage "
        "JOIN searched ON searched.number = passage.number "
        "LEFT JOIN vector ON vector.passage = passage.number WHERE same_as IS NULL",
    )
    assert len(found) == rows(base, "SELECT count(*) FROM vector")[0][0]
    for text, name, value in found:
        assert name == embedder.fingerprint
        expected = CountingEmbedder().embed([text])[0].astype(np.float16)
        assert value == expected.tobytes()
