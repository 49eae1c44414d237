"""What was uploaded to a server, as rows; the bytes are files beside the database."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import Engine, text

from steelyard.store.sqlite import utc_now

ID_BYTES = 12  # as long as the hosted API's ids


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that was uploaded. `name` is what its sender calls it, and no path."""

    id: str
    name: str
    purpose: str
    size_bytes: int
    created_at: str


def new_id(prefix: str) -> str:
    """An id that nobody can guess, such as "file-0a1b…"."""
    return prefix + secrets.token_hex(ID_BYTES)


class Files:
    """The uploaded files of a home folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, file: StoredFile) -> None:
        """Keep the row of a file whose bytes are there."""
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO file (id, name, purpose, size_bytes, created_at) "
                    "VALUES (:id, :name, :purpose, :size, :now)"
                ),
                {
                    "id": file.id,
                    "name": file.name,
                    "purpose": file.purpose,
                    "size": file.size_bytes,
                    "now": file.created_at or utc_now(),
                },
            )

    def all(self, purpose: str | None = None) -> list[StoredFile]:
        """The files of a purpose, or of all, the newest first."""
        query = text(
            "SELECT id, name, purpose, size_bytes, created_at FROM file "
            "WHERE :purpose IS NULL OR purpose = :purpose ORDER BY number DESC"
        )
        with self._engine.connect() as connection:
            found = connection.execute(query, {"purpose": purpose}).mappings().all()
        return [StoredFile(**row) for row in found]

    def find(self, id: str) -> StoredFile | None:
        """The file of an id, or None."""
        query = text("SELECT id, name, purpose, size_bytes, created_at FROM file WHERE id = :id")
        with self._engine.connect() as connection:
            row = connection.execute(query, {"id": id}).mappings().one_or_none()
        return None if row is None else StoredFile(**row)

    def remove(self, id: str) -> bool:
        """Drop the row of a file; whether there was one."""
        with self._engine.begin() as connection:
            query = text("DELETE FROM file WHERE id = :id")
            return bool(connection.execute(query, {"id": id}).rowcount)
