"""A knowledge base: the documents of one collection, in one SQLite file."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from sqlalchemy import Connection, Engine

from steelyard.core import Json
from steelyard.knowledge import neighbours, writing
from steelyard.knowledge.tables import ALWAYS, MIGRATIONS, STILL
from steelyard.models import Embedder
from steelyard.store.sqlite import open_sqlite
from steelyard.store.sqlite import writing as transaction

EMBED_PASSAGES = 512  # of one batch: a few seconds of work that a kill can cost. Source: ours
# What has no vector of an embedder, from a number on.
LACKING = (
    "FROM passage LEFT JOIN vector ON vector.passage = passage.number AND embedder = ? "
    "WHERE number >= CAST(? AS INTEGER) AND same_as IS NULL AND vector.passage IS NULL"
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One document of a base. `num_folded` of its passages say the same as earlier ones."""

    id: str
    version: int
    title: str
    source: str
    tenant: str | None
    user: str | None
    valid_from: str | None
    valid_to: str | None
    metadata: Json
    num_passages: int
    num_folded: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a base holds. `num_folded` passages say the same as earlier ones."""

    num_documents: int
    num_passages: int
    num_folded: int


class Base:
    """An open knowledge base; any number of processes may have it open and write to it.

    Raises:
        StoreError: the file is no knowledge base, or one of a newer Steelyard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = open_sqlite(
            path,
            MIGRATIONS,
            remedy="Move the file away and add the documents again",
        )

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @contextmanager
    def alone(self, work: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Let one process at a time do this work; others wait here, after calling `waiting`."""
        with self.path.with_suffix(f".{work}.lock").open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    # ------------------------------------------------------------ what is there

    def documents(self) -> list[Listed]:
        """All documents, by id and version."""
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT id, version, title, source, tenant, user, valid_from, valid_to, metadata, "
                "count(passage.number), count(passage.same_as) FROM document "
                "LEFT JOIN passage ON passage.document = document.number "
                "GROUP BY document.number ORDER BY tenant, user, id, version, source"
            )
            return [
                Listed(
                    name,
                    version,
                    title,
                    source,
                    tenant or None,
                    user or None,
                    None if valid_from == ALWAYS else valid_from,
                    None if valid_to == STILL else valid_to,
                    json.loads(metadata),
                    *counts,
                )
                for (
                    name,
                    version,
                    title,
                    source,
                    tenant,
                    user,
                    valid_from,
                    valid_to,
                    metadata,
                    *counts,
                ) in rows
            ]

    def texts(self, *, now: str) -> list[tuple[str, str]]:
        """The id and the text of each document that is everybody's and holds at a time."""
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT id, text FROM document WHERE tenant = '' AND user = '' "
                "AND valid_from <= ? AND ? < valid_to ORDER BY id, version, source",
                (now, now),
            )
            return [(id, text) for id, text in rows]

    def unreadable(self) -> list[tuple[str, str]]:
        """The files that were not read, or not to their end, each with its reason."""
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT path, error FROM source WHERE error IS NOT NULL ORDER BY path"
            )
            return [(path, error) for path, error in rows]

    def counts(self) -> Counts:
        """How much there is in all."""
        with self.engine.connect() as connection:
            row = connection.exec_driver_sql(
                "SELECT (SELECT count(*) FROM document), count(*), count(same_as) FROM passage"
            ).one()
        return Counts(*row)

    def sources(self) -> list[str]:
        """The paths of all files that were added, the unreadable ones among them."""
        with self.engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT path FROM source ORDER BY path")
            return [path for (path,) in rows]

    # ------------------------------------------------------------ what goes

    def remove_source(self, path: str) -> int:
        """Remove a file and all its documents; how many those were comes back."""
        with transaction(self.engine) as connection:
            rows = connection.exec_driver_sql(
                "SELECT number FROM document WHERE source = ?", (path,)
            )
            numbers = [number for (number,) in rows]
            writing.delete(connection, numbers)
            connection.exec_driver_sql("DELETE FROM source WHERE path = ?", (path,))
        return len(numbers)

    def remove_document(self, id: str, *, tenant: str | None = None) -> int:
        """Remove all versions of a document, of every user; how many they were comes back."""
        with transaction(self.engine) as connection:
            rows = connection.exec_driver_sql(
                "SELECT number FROM document WHERE id = ? AND tenant = ?", (id, tenant or "")
            )
            numbers = [number for (number,) in rows]
            writing.delete(connection, numbers)
        return len(numbers)

    def forget_user(self, user: str, *, tenant: str | None = None) -> tuple[int, list[str]]:
        """Remove all of a user's documents, and every trace of their words from the file.

        How many documents they were comes back, and the files that they came from: these still
        hold them, and bring them back when they change.
        """
        if not user:
            raise ValueError("a user has a name")
        with transaction(self.engine) as connection:
            rows = connection.exec_driver_sql(
                "SELECT number, source FROM document WHERE user = ? AND tenant = ? ORDER BY source",
                (user, tenant or ""),
            ).all()
            writing.delete(connection, [number for number, _ in rows])
            # Deleted words stay in FTS5's segments until those are merged.
            connection.exec_driver_sql("INSERT INTO words (words) VALUES ('optimize')")
        neighbours.forget(self.path)
        raw = self.engine.raw_connection()
        raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.close()
        return len(rows), sorted({source for _, source in rows})

    # ------------------------------------------------------------ vectors

    @property
    def embedder(self) -> str | None:
        """Where the embedder of this base is opened from, as it was last said."""
        with self.engine.connect() as connection:
            return get_setting(connection, "embedder_source")

    @embedder.setter
    def embedder(self, source: str) -> None:
        with transaction(self.engine) as connection:
            set_setting(connection, "embedder_source", source)

    @property
    def is_embedded(self) -> bool:
        """Whether every passage has its vector, of the embedder that made the last ones."""
        with self.engine.connect() as connection:
            below = get_setting(connection, "embedded")
            return below == str(writing.next_number(connection, "passage"))

    def embed(
        self, embedder: Embedder, listen: Callable[[int, int], None] = lambda *_: None
    ) -> int:
        """Give every passage that stands for itself a vector of this embedder.

        Batch by batch, so that an interruption costs one; how many there were comes back.
        `listen` hears how many are done, of how many.
        """
        with self.alone("embedding"):
            return self._embed(embedder, listen)

    def _embed(self, embedder: Embedder, listen: Callable[[int, int], None]) -> int:
        name = embedder.fingerprint
        with transaction(self.engine) as connection:
            if get_setting(connection, "embedder") != name:
                set_setting(connection, "embedder", name)
                set_setting(connection, "embedded", "0")
        done = total = 0
        while True:
            with self.engine.connect() as connection:
                below = get_setting(connection, "embedded")
                rows = connection.exec_driver_sql(
                    f"WITH lacking AS (SELECT number {LACKING} ORDER BY number LIMIT ?) "  # noqa: S608
                    "SELECT number, text FROM lacking JOIN searched USING (number) ORDER BY number",
                    (name, below, EMBED_PASSAGES),
                ).all()
                if rows and not total:
                    total = connection.exec_driver_sql(
                        f"SELECT count(*) {LACKING}", (name, below)
                    ).scalar_one()
            if not rows:
                with transaction(self.engine) as connection:
                    if not _mark_embedded(connection, name):
                        return done
                continue
            vectors = embedder.embed([text for _, text in rows]).astype(np.float16)
            with transaction(self.engine) as connection:
                connection.exec_driver_sql(  # one that went meanwhile gets none
                    "INSERT OR REPLACE INTO vector SELECT number, ?, ? FROM passage "
                    "WHERE number = ? AND same_as IS NULL",
                    [
                        (name, vector.tobytes(), number)
                        for (number, _), vector in zip(rows, vectors, strict=True)
                    ],
                )
                _mark_embedded(connection, name)
            done += len(rows)
            listen(done, max(done, total))


def _mark_embedded(connection: Connection, embedder: str) -> bool:
    """Write down from which number on to look for passages without a vector; is there one?"""
    below = get_setting(connection, "embedded")
    lacking = connection.exec_driver_sql(
        f"SELECT passage.number {LACKING} ORDER BY passage.number LIMIT 1", (embedder, below)
    ).scalar()
    number = writing.next_number(connection, "passage") if lacking is None else lacking
    set_setting(connection, "embedded", str(number))
    return lacking is not None


def get_setting(connection: Connection, key: str) -> str | None:
    query = "SELECT value FROM setting WHERE key = ?"
    value: str | None = connection.exec_driver_sql(query, (key,)).scalar()
    return value


def set_setting(connection: Connection, key: str, value: str) -> None:
    connection.exec_driver_sql("INSERT OR REPLACE INTO setting VALUES (?, ?)", (key, value))
