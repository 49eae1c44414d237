"""Releases, which never change, and the log that says which of them has which alias."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Engine, text

from steelyard.core import Json, Release
from steelyard.store.plain import plain, typed
from steelyard.store.sqlite import utc_now, writing

Alias = Literal["champion", "challenger", "previous"]
ALIASES: tuple[Alias, ...] = get_args(Alias)


@dataclass(frozen=True, slots=True)
class Promotion:
    """A line of the log: from then on the alias means that version, or nothing (None)."""

    name: str
    alias: Alias
    version: int | None
    who: str
    why: str
    evidence: Json = None
    time: str = ""


class Releases:
    """The releases of a home folder. An alias is what the last line of the log about it says."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, release: Release, promotions: Sequence[Promotion]) -> Release:
        """Keep a release under the next version of its name, and log who promoted it to what.

        Lines of the log with version 0 are about the new one.
        """
        with writing(self._engine) as connection:
            found = connection.execute(
                text("SELECT coalesce(max(version), 0) FROM release WHERE name = :name"),
                {"name": release.name},
            )
            version = int(found.scalar_one()) + 1
            body = {**plain(release), "version": version, "created_at": utc_now()}
            connection.execute(
                text("INSERT INTO release VALUES (:name, :version, :body, :now)"),
                {
                    "name": release.name,
                    "version": version,
                    "body": json.dumps(body, ensure_ascii=False),
                    "now": body["created_at"],
                },
            )
            for one in promotions:
                self._log(connection, one, version if one.version == 0 else one.version)
        return typed(Release, body)

    def promote(self, promotions: Sequence[Promotion]) -> None:
        """Add lines to the log, all or none."""
        with writing(self._engine) as connection:
            for one in promotions:
                self._log(connection, one, one.version)

    def all(self, name: str | None = None) -> list[Release]:
        """The releases of a name, or of all names, the newest version of each first."""
        query = text(
            "SELECT body FROM release WHERE :name IS NULL OR name = :name "
            "ORDER BY name, version DESC"
        )
        with self._engine.connect() as connection:
            found = connection.execute(query, {"name": name}).scalars().all()
        return [typed(Release, json.loads(body)) for body in found]

    def aliases(self, name: str) -> dict[Alias, int]:
        """Which version each alias of a name means; those that mean none are not there."""
        found: dict[Alias, int | None] = {one.alias: one.version for one in self.log(name)}
        return {alias: version for alias, version in found.items() if version is not None}

    def shared(self, name: str) -> Promotion | None:
        """The line of the log by which a challenger answers a share of the champion's requests
        (`evidence["share"]`), or None while none does."""
        lines = [one for one in self.log(name) if one.alias == "challenger"]
        if not lines or lines[-1].version is None or not lines[-1].evidence:
            return None
        return lines[-1] if "share" in lines[-1].evidence else None

    def log(self, name: str) -> list[Promotion]:
        """Every promotion of a name, the first one first."""
        query = text(
            "SELECT name, alias, version, who, why, evidence, time FROM promotion "
            "WHERE name = :name ORDER BY id"
        )
        with self._engine.connect() as connection:
            found = connection.execute(query, {"name": name}).mappings().all()
        return [Promotion(**{**row, "evidence": json.loads(row["evidence"])}) for row in found]

    def state(self) -> int:
        """A number that is another one after every promotion."""
        with self._engine.connect() as connection:
            query = text("SELECT coalesce(max(id), 0) FROM promotion")
            return int(connection.execute(query).scalar_one())

    @staticmethod
    def _log(connection: Any, one: Promotion, version: int | None) -> None:
        connection.execute(
            text(
                "INSERT INTO promotion (name, alias, version, who, why, evidence, time) "
                "VALUES (:name, :alias, :version, :who, :why, :evidence, :time)"
            ),
            {
                **plain(one),
                "version": version,
                "evidence": json.dumps(one.evidence, ensure_ascii=False),
                "time": one.time or utc_now(),
            },
        )
