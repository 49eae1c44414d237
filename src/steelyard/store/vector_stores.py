"""Vector stores as rows: which files each holds, and how far they were taken up.

Their passages are in a knowledge base of their own (`knowledge/base.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Engine, text

from steelyard.core import Json
from steelyard.store.sqlite import utc_now, writing

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class VectorStore:
    """A named set of files that is searched."""

    id: str
    name: str
    metadata: dict[str, str]
    created_at: str
    active_at: str


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a vector store. `attributes` are what searches filter by; `error` is why it could
    not be read, or not to its end. `size_bytes` counts the text of its passages."""

    store: str
    file: str
    batch: str
    attributes: dict[str, Json]
    status: FileStatus
    error: str | None
    size_bytes: int
    created_at: str


class VectorStores:
    """The vector stores of a home folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, id: str, name: str, metadata: dict[str, str]) -> VectorStore:
        """A new one, without files."""
        now = utc_now()
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO vector_store (id, name, metadata, created_at, active_at) "
                    "VALUES (:id, :name, :metadata, :now, :now)"
                ),
                {"id": id, "name": name, "metadata": _written(metadata), "now": now},
            )
        return VectorStore(id, name, metadata, now, now)

    def change(self, id: str, name: str, metadata: dict[str, str]) -> None:
        """Give it another name, or other metadata."""
        with self._engine.begin() as connection:
            connection.execute(
                text("UPDATE vector_store SET name = :name, metadata = :metadata WHERE id = :id"),
                {"id": id, "name": name, "metadata": _written(metadata)},
            )

    def all(self) -> list[VectorStore]:
        """All of them, the newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(text(f"{_STORES} ORDER BY number DESC")).mappings().all()
        return [_store(row) for row in rows]

    def find(self, id: str) -> VectorStore | None:
        """The one of an id, or None."""
        with self._engine.connect() as connection:
            query = text(f"{_STORES} WHERE id = :id")
            row = connection.execute(query, {"id": id}).mappings().one_or_none()
        return None if row is None else _store(row)

    def touch(self, id: str) -> None:
        """It was used just now."""
        with self._engine.begin() as connection:
            query = text("UPDATE vector_store SET active_at = :now WHERE id = :id")
            connection.execute(query, {"id": id, "now": utc_now()})

    def remove(self, id: str) -> None:
        """Drop it and its members; the files stay."""
        with writing(self._engine) as connection:
            connection.execute(text("DELETE FROM vector_store_file WHERE store = :id"), {"id": id})
            connection.execute(text("DELETE FROM vector_store WHERE id = :id"), {"id": id})

    def put(self, store: str, file: str, attributes: dict[str, Json], *, batch: str = "") -> None:
        """Have a file taken up, in progress; one that is there already is taken up anew."""
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO vector_store_file "
                    "(store, file, batch, attributes, status, size_bytes, created_at) "
                    "VALUES (:store, :file, :batch, :attributes, 'in_progress', 0, :now) "
                    "ON CONFLICT (store, file) DO UPDATE SET batch = excluded.batch, "
                    "attributes = excluded.attributes, status = 'in_progress', error = NULL"
                ),
                {
                    "store": store,
                    "file": file,
                    "batch": batch,
                    "attributes": _written(attributes),
                    "now": utc_now(),
                },
            )

    def end(
        self, member: Member, status: FileStatus, *, size_bytes: int = 0, error: str | None = None
    ) -> bool:
        """Write how the taking up ended; False where it was taken out or cancelled meanwhile."""
        values = {
            "store": member.store,
            "file": member.file,
            "status": status,
            "error": error,
            "size": size_bytes,
        }
        with self._engine.begin() as connection:
            done = connection.execute(
                text(
                    "UPDATE vector_store_file SET status = :status, error = :error, "
                    "size_bytes = :size "
                    "WHERE store = :store AND file = :file AND status = 'in_progress'"
                ),
                values,
            )
            return bool(done.rowcount)

    def describe(self, store: str, file: str, attributes: dict[str, Json]) -> None:
        """Give a member other attributes."""
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "UPDATE vector_store_file SET attributes = :attributes "
                    "WHERE store = :store AND file = :file"
                ),
                {"store": store, "file": file, "attributes": _written(attributes)},
            )

    def take_out(self, store: str, file: str) -> bool:
        """Drop a member; whether there was one."""
        query = text("DELETE FROM vector_store_file WHERE store = :store AND file = :file")
        with self._engine.begin() as connection:
            return bool(connection.execute(query, {"store": store, "file": file}).rowcount)

    def members(self, store: str | None = None, *, file: str | None = None) -> list[Member]:
        """The members of a store, or of all, the newest first; or only those of a file."""
        query = text(
            "SELECT store, file, batch, attributes, status, error, size_bytes, created_at "
            "FROM vector_store_file WHERE (:store IS NULL OR store = :store) "
            "AND (:file IS NULL OR file = :file) ORDER BY number DESC"
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query, {"store": store, "file": file}).mappings().all()
        return [Member(**{**row, "attributes": json.loads(row["attributes"])}) for row in rows]


_STORES = "SELECT id, name, metadata, created_at, active_at FROM vector_store"


def _store(row: Any) -> VectorStore:
    return VectorStore(**{**row, "metadata": json.loads(row["metadata"])})


def _written(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)
