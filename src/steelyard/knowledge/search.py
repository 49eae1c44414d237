"""The SQLite index: lexical, vector and hybrid search over a knowledge base's file.

    queries ─ embedder ─→ vectors ─┐                    ┌─ cosine (vectors.py) ─┐
                                   ├─ scope → a mask ──→┤                       ├─ fuse ─→ passages
    queries ───────────────────────┘     (scopes.py)    └─ BM25 (lexical.py) ───┘

A scope becomes a mask over the passages before anything is ranked. What is read from the file is
kept until another connection writes to it; each search sees one state of the file.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from steelyard.core import Passage, digest
from steelyard.errors import InputError, StoreError, unknown
from steelyard.knowledge import lexical, neighbours, scopes
from steelyard.knowledge.index import Kind, Scope
from steelyard.knowledge.ranking import best, fuse
from steelyard.knowledge.tables import ALWAYS, STILL
from steelyard.knowledge.vectors import EXACT_PASSAGES, Mask, Vectors, read_vectors
from steelyard.models import Embedder
from steelyard.store.sqlite import utc_now

VERSION = 2  # of what a search returns for the same base; part of the fingerprint
KINDS: tuple[Kind, ...] = ("lexical", "vector", "hybrid")
# How two rankings are fused: the constant of the sum (60 in the paper), and how deep each is, at
# least. Source: ours, on half of squad1k, kept on the other half and on timeqa_human (docs/log).
FUSED_K, FUSED_PASSAGES = 10, 50
MASKS = 64  # scopes whose documents are remembered
CACHE_KIB = 65_536
COLUMNS = (
    "document.id, passage.first, passage.last, passage.text, document.title, passage.headings, "
    "passage.page, document.valid_from, "
    # of the same tenant, user and dates, so that nobody learns of a document that they may not see
    "(SELECT json_group_array(DISTINCT other.id) FROM passage AS alike JOIN document AS other "
    "ON other.number = alike.document WHERE alike.same_as = passage.number)"
)
# The passages that a scope sees, of which one that is folded is seen as the one that stands for it.
SEEN = (
    "SELECT coalesce(passage.same_as, passage.number) FROM passage JOIN document "
    "ON document.number = passage.document WHERE "
)

Found = list[tuple[int, float]]  # places and their relevance, best first


class SqliteIndex:
    """An `Index` over the file of a knowledge base, which others may write to meanwhile.

    Threads take turns. Relevance is BM25 (lexical), the cosine (vector) or the fused sum (hybrid).

    Raises:
        StoreError: there is no knowledge base at `path`.
    """

    def __init__(self, path: Path, embedder: Embedder, *, now: Callable[[], str] = utc_now) -> None:
        self.path = path
        self._embedder, self._now = embedder, now
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=ro",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
            self._connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            scopes.register(self._connection)
            self._connection.executescript(lexical.TEMPORARY)
            self._state = self._read()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{path}: no knowledge base can be opened there ({error}); add documents first"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @property
    def fingerprint(self) -> str:
        """Names the passages, their scopes and vectors, the graph if one is used, and this code."""
        with self._reading() as state:
            graph = self._vectors(state).graph
            parts = [VERSION, state.content, self._embedder.fingerprint]
            return digest([*parts, None if graph is None else graph.sha256])

    @property
    def is_dated(self) -> bool:
        with self._reading() as state:
            return state.is_dated

    @property
    def graph_recall(self) -> float | None:
        """Which share of the ten nearest the graph finds, as measured; None: search is exact."""
        with self._reading() as state:
            graph = self._vectors(state).graph
            return None if graph is None else graph.recall

    def prepare(self, listen: neighbours.Listen = neighbours.unheard) -> None:
        """Make ready what the first searches would wait for; a large base gets its graph.

        Without it every search is right and those in a large base are slow.
        """
        with self._reading() as state:
            state.lexical.warm()
            vectors = self._vectors(state)
        if len(vectors.matrix) <= EXACT_PASSAGES:
            neighbours.forget(self.path)
        elif vectors.graph is None or len(vectors.graph.missing):
            # Minutes, in which others go on searching without it.
            vectors.graph = neighbours.build(self.path, vectors.numbers, vectors.matrix, listen)

    def search(
        self, queries: Sequence[str], k: int, *, kind: Kind = "hybrid", scopes: Sequence[Scope] = ()
    ) -> list[list[Passage]]:
        if kind not in KINDS:
            raise InputError(unknown("kind of search", kind, KINDS))
        asked = scopes or [Scope()] * len(queries)
        if len(asked) != len(queries):
            raise InputError(
                f"{len(queries)} queries came with {len(asked)} scopes; expected one for each"
            )
        if not queries or k <= 0:
            return [[] for _ in queries]
        embedded = None if kind == "lexical" else self._embedder.embed(queries)
        with self._reading() as state:
            answers = []
            for number, (query, scope) in enumerate(zip(queries, asked, strict=True)):
                mask = state.mask(scope, self._now())
                vector = None if embedded is None else embedded[number]
                found = self._find(state, query, vector, k, kind, mask)
                answers.append(state.passages_at(found))
            return answers

    def passages(self, scope: Scope) -> list[Passage]:
        with self._reading() as state:
            return state.passages_of(scope, self._now())

    def _find(
        self,
        state: _State,
        query: str,
        vector: NDArray[np.float32] | None,
        k: int,
        kind: Kind,
        mask: Mask,
    ) -> Found:
        depth = max(k, FUSED_PASSAGES) if kind == "hybrid" else k
        rankings: list[Found] = []
        if kind != "vector":
            scores = state.lexical.search(query)
            if mask is not None:
                scores[~mask] = -np.inf
            places = best(scores, depth)
            rankings.append(list(zip(places.tolist(), scores[places].tolist(), strict=True)))
        if vector is not None:
            rankings.append(self._vectors(state).search(vector, depth, mask))
        if kind != "hybrid":
            return rankings[0]
        return fuse([[place for place, _ in ranking] for ranking in rankings], k=FUSED_K)[:k]

    def _vectors(self, state: _State) -> Vectors:
        """The vectors of a state, and their graph where there is one."""
        if state.vectors is None:
            state.vectors = read_vectors(
                self._connection, state.numbers, self._embedder.fingerprint
            )
            if len(state.vectors.matrix) > EXACT_PASSAGES:
                vectors = state.vectors
                vectors.graph = neighbours.load(self.path, vectors.numbers, vectors.matrix)
        return state.vectors

    @contextmanager
    def _reading(self) -> Iterator[_State]:
        """The newest state of the file, which stays as it is until the end."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                if _version(self._connection) != self._state.version:
                    self._state = _State(self._connection)
                yield self._state
            finally:
                self._connection.execute("COMMIT")

    def _read(self) -> _State:
        self._connection.execute("BEGIN")
        try:
            return _State(self._connection)
        finally:
            self._connection.execute("COMMIT")


class _State:
    """What was read from the file at one moment. Passages are known by their place in `numbers`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.version = _version(connection)
        rows = connection.execute(
            "SELECT number, document FROM passage WHERE same_as IS NULL ORDER BY number"
        ).fetchall()
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 2)
        self.numbers = np.ascontiguousarray(table[:, 0])
        self._documents, self._document_of = np.unique(table[:, 1], return_inverse=True)
        dates = connection.execute(
            "SELECT valid_from FROM document UNION SELECT valid_to FROM document"
        )
        self._dates = sorted(date for (date,) in dates)
        self.vectors: Vectors | None = None
        self._masks: dict[str, Mask] = {}

    @property
    def is_dated(self) -> bool:
        return any(date not in (ALWAYS, STILL) for date in self._dates)

    @cached_property
    def lexical(self) -> lexical.Lexical:
        return lexical.Lexical(self._connection, self.numbers)

    @cached_property
    def content(self) -> str:
        """A hash of all that is searched."""
        whole = hashlib.sha256()
        for query in (
            "SELECT number, id, tenant, user, title, valid_from, valid_to, metadata "
            "FROM document ORDER BY number",
            "SELECT number, document, first, last, headings, page, text, same_as "
            "FROM passage ORDER BY number",
        ):
            for row in self._connection.execute(query):
                whole.update(repr(row).encode(errors="replace"))
        vectors = self._connection.execute(
            "SELECT passage, embedder, value FROM vector ORDER BY passage"
        )
        for passage, embedder, value in vectors:
            whole.update(f"{passage} {embedder} ".encode())
            whole.update(value)
        return whole.hexdigest()

    def mask(self, scope: Scope, now: str) -> Mask:
        """Which places a scope may see; None: all."""
        settled = scopes.settled(scope, self._dates, now)
        condition, values = scopes.where(settled)
        if scope.documents is not None:
            return self._mask_of_named(condition, values)
        key = scopes.key(settled)
        if key not in self._masks:
            rows = self._connection.execute(
                f"SELECT number FROM document WHERE {condition}",  # noqa: S608  our own words
                values,
            ).fetchall()
            visible = np.isin(self._documents, np.array(rows, dtype=np.int64).ravel())
            self._masks[key] = None if visible.all() else visible
            if len(self._masks) > MASKS:
                self._masks.pop(next(iter(self._masks)))
        documents = self._masks[key]
        return None if documents is None else documents[self._document_of]

    def _mask_of_named(self, condition: str, values: dict[str, str]) -> Mask:
        """The mask of a scope that names documents: few, and other ones for every question."""
        rows = self._connection.execute(SEEN + condition, values).fetchall()
        return np.isin(self.numbers, np.array(rows, dtype=np.int64).ravel())

    def passages_at(self, found: Found) -> list[Passage]:
        """The passages at some places, with their relevance, in this order."""
        return [
            _passage(
                self._connection.execute(
                    f"SELECT {COLUMNS} FROM passage JOIN document "  # noqa: S608
                    "ON document.number = passage.document WHERE passage.number = ?",
                    (int(self.numbers[place]),),
                ).fetchone(),
                relevance,
            )
            for place, relevance in found
        ]

    def passages_of(self, scope: Scope, now: str) -> list[Passage]:
        """All passages of a scope, by document and place."""
        condition, values = scopes.where(scopes.settled(scope, self._dates, now))
        rows = self._connection.execute(
            f"SELECT {COLUMNS} FROM passage JOIN document "  # noqa: S608
            f"ON document.number = passage.document WHERE passage.number IN ({SEEN}{condition}) "
            "ORDER BY document.id, document.version, document.number, passage.first",
            values,
        )
        return [_passage(row, 0.0) for row in rows]


def _passage(
    row: tuple[str, int, int, str, str, str, int | None, str, str], relevance: float
) -> Passage:
    document, first, last, text, title, headings, page, valid_from, also = row
    return Passage(
        document,
        first,
        last,
        text,
        title=title,
        headings=tuple(json.loads(headings)),
        page=page,
        time=valid_from or None,
        relevance=relevance,
        also=tuple(sorted(set(json.loads(also)) - {document})),
    )


def _version(connection: sqlite3.Connection) -> int:
    """A number that is another one once another connection has written."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
