"""Fine-tuning jobs as rows, so that one that was killed goes on, and what was told of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Engine, text

from steelyard.core import Json
from steelyard.store.sqlite import utc_now, writing

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ACTIVE: tuple[Status, ...] = ("queued", "running")
Level = Literal["info", "warn", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class TuningJob:
    """One fine-tuning. `model` is the name of what comes of it; `asked` is what it was made with
    and never changes, `result` what came of it."""

    id: str
    status: Status
    model: str
    asked: dict[str, Any]
    result: dict[str, Any]
    created_at: str
    ended_at: str | None


@dataclass(frozen=True, slots=True)
class TuningEvent:
    """Something that was told of a job; `data` are its figures, where it has any."""

    number: int
    level: Level
    message: str
    data: Json
    created_at: str


class Tuning:
    """The fine-tuning jobs of a home folder."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, id: str, model: str, asked: dict[str, Json]) -> TuningJob:
        """A new job, queued."""
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO tuning_job (id, status, model, asked, result, created_at) "
                    "VALUES (:id, 'queued', :model, :asked, '{}', :now)"
                ),
                {"id": id, "model": model, "asked": _written(asked), "now": utc_now()},
            )
        found = self.find(id)
        assert found is not None, "it was just written"
        return found

    def all(self, *statuses: Status) -> list[TuningJob]:
        """The jobs that have one of these statuses, or all, the newest first."""
        with self._engine.connect() as connection:
            rows = connection.execute(text(f"{_JOBS} ORDER BY number DESC")).mappings().all()
        jobs = [_job(row) for row in rows]
        return [job for job in jobs if not statuses or job.status in statuses]

    def find(self, id: str) -> TuningJob | None:
        """The job of an id, or None."""
        with self._engine.connect() as connection:
            query = text(f"{_JOBS} WHERE id = :id")
            row = connection.execute(query, {"id": id}).mappings().one_or_none()
        return None if row is None else _job(row)

    def move(
        self,
        id: str,
        status: Status,
        *,
        of: Sequence[Status] = ACTIVE,
        result: dict[str, Json] | None = None,
    ) -> bool:
        """Give a job that has one of the statuses `of` another one; whether it had.

        Who cancels and who finishes a job at the same moment cannot both do so.
        """
        ended = None if status in ACTIVE else utc_now()
        values = {
            "id": id,
            "status": status,
            "of": json.dumps(list(of)),
            "result": None if result is None else _written(result),
            "now": ended,
        }
        with writing(self._engine) as connection:
            done = connection.execute(
                text(
                    "UPDATE tuning_job SET status = :status, "
                    "ended_at = coalesce(ended_at, :now), "
                    "result = coalesce(:result, result) "
                    "WHERE id = :id AND status IN (SELECT value FROM json_each(:of))"
                ),
                values,
            )
            return bool(done.rowcount)

    def tell(
        self, id: str, message: str, *, level: Level = "info", data: Json = None, mark: str = ""
    ) -> None:
        """Keep what is told of a job; of one mark the first alone."""
        values = {
            "job": id,
            "mark": mark,
            "level": level,
            "message": message,
            "data": json.dumps(data),
            "now": utc_now(),
        }
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT OR IGNORE INTO tuning_event "
                    "(job, mark, level, message, data, created_at) "
                    "VALUES (:job, :mark, :level, :message, :data, :now)"
                ),
                values,
            )

    def events(self, id: str) -> list[TuningEvent]:
        """What was told of a job, the newest first."""
        query = text(
            "SELECT number, level, message, data, created_at FROM tuning_event "
            "WHERE job = :id ORDER BY number DESC"
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query, {"id": id}).mappings().all()
        return [TuningEvent(**{**row, "data": json.loads(row["data"])}) for row in rows]


_JOBS = "SELECT id, status, model, asked, result, created_at, ended_at FROM tuning_job"


def _job(row: Any) -> TuningJob:
    asked, result = json.loads(row["asked"]), json.loads(row["result"])
    return TuningJob(**{**row, "asked": asked, "result": result})


def _written(value: dict[str, Json]) -> str:
    return json.dumps(value, ensure_ascii=False)
