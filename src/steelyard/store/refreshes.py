"""Refreshes as rows, so that one that was killed goes on, and the last look at drift."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Engine, text

from steelyard.core import Json
from steelyard.store.sqlite import utc_now, writing

State = Literal["running", "done", "failed", "given up"]


@dataclass(frozen=True, slots=True)
class RefreshJob:
    """One refresh of a release. `key` names what it was begun with, `body` what came of it."""

    id: int
    name: str
    key: str
    why: str
    status: State
    body: Json
    began_at: str
    ended_at: str | None


class Refreshes:
    """The refreshes of a home folder, and what was last seen of drift."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self, name: str | None = None) -> list[RefreshJob]:
        """The refreshes of a name, or of all, the newest first."""
        query = text("SELECT * FROM refresh WHERE :name IS NULL OR name = :name ORDER BY id DESC")
        with self._engine.connect() as connection:
            found = connection.execute(query, {"name": name}).mappings().all()
        return [RefreshJob(**{**row, "body": json.loads(row["body"])}) for row in found]

    def begin(self, name: str, key: str, why: str, *, now: str | None = None) -> RefreshJob:
        """The refresh that was begun with the same and did not end, or a new one.

        One that was begun with something else is given up: it would answer another question.
        """
        began = now or utc_now()
        with writing(self._engine) as connection:
            values = {"name": name, "key": key, "why": why, "now": began}
            connection.execute(
                text(
                    "UPDATE refresh SET status = 'given up', ended_at = :now "
                    "WHERE name = :name AND status = 'running' AND key != :key"
                ),
                values,
            )
            known = connection.execute(
                text("SELECT 1 FROM refresh WHERE name = :name AND status = 'running'"), values
            )
            if known.first() is None:
                connection.execute(
                    text(
                        "INSERT INTO refresh (name, key, why, status, body, began_at) "
                        "VALUES (:name, :key, :why, 'running', 'null', :now)"
                    ),
                    values,
                )
        return self.all(name)[0]

    def end(self, id: int, status: State, body: Json, *, now: str | None = None) -> None:
        """Write what came of a refresh."""
        values = {
            "id": id,
            "status": status,
            "body": json.dumps(body, ensure_ascii=False),
            "now": now or utc_now(),
        }
        with writing(self._engine) as connection:
            connection.execute(
                text(
                    "UPDATE refresh SET status = :status, body = :body, ended_at = :now "
                    "WHERE id = :id"
                ),
                values,
            )

    def keep_drift(self, release: str, body: Json) -> None:
        """Keep what was seen of a release's drift in place of what was seen before."""
        values = {"release": release, "body": json.dumps(body), "now": utc_now()}
        with writing(self._engine) as connection:
            query = "INSERT OR REPLACE INTO drift VALUES (:release, :body, :now)"
            connection.execute(text(query), values)

    def drift(self) -> dict[str, dict[str, Any]]:
        """The last look at each release: `looked_at` and its signs."""
        with self._engine.connect() as connection:
            found = connection.execute(text("SELECT * FROM drift")).mappings().all()
        return {
            row["release"]: {"looked_at": row["looked_at"], "signs": json.loads(row["body"])}
            for row in found
        }
