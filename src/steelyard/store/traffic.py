"""What was asked of a server, what it said, and what users said to that: a file of its own.

Requests are many and may be dropped; feedback is little and may not. Both are written by one
thread (`lifecycle/recording.py`) and read by everybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, text

from steelyard.core import Json, digest
from steelyard.store.migrations import TRAFFIC_MIGRATIONS
from steelyard.store.sqlite import open_sqlite, utc_now, writing

Status = Literal["waiting", "accepted", "rejected"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it begins. `input` is None where texts are not recorded.

    `release` names the very version that was asked, or a base model.
    """

    id: str
    release: str
    route: str
    user: str
    key: str
    input: str | None
    began_at: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended. `sources` counts what was looked up; None: nothing is."""

    id: str
    answer: str | None
    error: str | None
    valid: bool
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    sources: int | None
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a user said to an answer. The same said twice has the same id.

    Units: `score` is in [0, 1].
    """

    response: str
    score: float | None = None
    correction: Json = None
    comment: str | None = None
    user: str = ""
    key: str = ""
    status: Status = "waiting"
    created_at: str = ""

    @property
    def id(self) -> str:
        """Names what was said, not when or how often."""
        said = [self.response, self.score, self.correction, self.comment]
        return f"fb-{digest(said)[:24]}"


@dataclass(frozen=True, slots=True)
class Given:
    """Feedback and the request that it is about, as far as that is still there."""

    feedback: Feedback
    release: str | None
    input: str | None
    answer: str | None


class Traffic:
    """The requests, answers and feedback of a home folder.

    Raises:
        StoreError: the file is no database, or one of a newer Steelyard.
    """

    def __init__(self, path: Path) -> None:
        self.engine = open_sqlite(
            path, TRAFFIC_MIGRATIONS, remedy="Move it away; a new one is made"
        )

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction for what follows."""
        with writing(self.engine) as connection:
            yield connection

    def request(self, id: str) -> Mapping[str, Any] | None:
        """The row of a request, or None."""
        query = text("SELECT * FROM request WHERE id = :id")
        with self.engine.connect() as connection:
            found = connection.execute(query, {"id": id}).mappings().one_or_none()
        return None if found is None else {**found}

    def count(self) -> int:
        """How many requests are recorded."""
        with self.engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM request")).scalar_one())

    def recent(self, release: str, limit: int) -> list[dict[str, Any]]:
        """The newest requests to a release that ended, the earliest of them first."""
        query = text(
            "SELECT * FROM (SELECT * FROM request WHERE release = :release AND valid IS NOT NULL "
            "ORDER BY began_at DESC, id LIMIT :limit) ORDER BY began_at, id"
        )
        with self.engine.connect() as connection:
            found = connection.execute(query, {"release": release, "limit": limit})
            return [{**row} for row in found.mappings().all()]

    def feedback(self, *, status: Status | None = None, id: str | None = None) -> list[Given]:
        """What users said, the earliest first."""
        query = text(
            "SELECT feedback.*, release, input, answer FROM feedback "
            "LEFT JOIN request ON request.id = feedback.response "
            "WHERE (:status IS NULL OR status = :status) AND (:id IS NULL OR feedback.id = :id) "
            "ORDER BY feedback.rowid"
        )
        with self.engine.connect() as connection:
            found = connection.execute(query, {"status": status, "id": id}).mappings().all()
        return [_given({**row}) for row in found]

    def decide(self, ids: Sequence[str], status: Status, who: str) -> None:
        """Mark feedback as accepted or rejected."""
        with self.writing() as connection:
            for id in ids:
                connection.execute(
                    text(
                        "UPDATE feedback SET status = :status, decided_by = :who, "
                        "decided_at = :now WHERE id = :id"
                    ),
                    {"status": status, "who": who, "now": utc_now(), "id": id},
                )

    def forget_user(self, user: str) -> tuple[int, int]:
        """Drop the requests and the feedback of a user; how many of each there were."""
        assert user, "nobody has no name"
        with self.writing() as connection:
            feedback = connection.execute(
                text(
                    "DELETE FROM feedback WHERE user = :user OR response IN "
                    "(SELECT id FROM request WHERE user = :user)"
                ),
                {"user": user},
            )
            requests = connection.execute(
                text("DELETE FROM request WHERE user = :user"), {"user": user}
            )
            return int(requests.rowcount), int(feedback.rowcount)

    def forget_before(self, time: str) -> int:
        """Drop requests older than a time, and what was said to them; how many requests."""
        with self.writing() as connection:
            connection.execute(
                text(
                    "DELETE FROM feedback WHERE response IN "
                    "(SELECT id FROM request WHERE began_at < :time)"
                ),
                {"time": time},
            )
            query = text("DELETE FROM request WHERE began_at < :time")
            return int(connection.execute(query, {"time": time}).rowcount)


def add_requests(connection: Connection, rows: Sequence[Request]) -> None:
    """Write requests as they begin."""
    connection.exec_driver_sql(
        "INSERT OR IGNORE INTO request (id, release, route, user, key, input, began_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(r.id, r.release, r.route, r.user, r.key, r.input, r.began_at) for r in rows],
    )


def add_outcomes(connection: Connection, rows: Sequence[Outcome]) -> None:
    """Write how requests ended."""
    connection.exec_driver_sql(
        "UPDATE request SET answer = ?, error = ?, valid = ?, prompt_tokens = ?, "
        "cached_tokens = ?, completion_tokens = ?, sources = ?, milliseconds = ? WHERE id = ?",
        [
            (
                *(r.answer, r.error, int(r.valid), r.prompt_tokens, r.cached_tokens),
                *(r.completion_tokens, r.sources, r.milliseconds, r.id),
            )
            for r in rows
        ],
    )


def add_feedback(connection: Connection, feedback: Feedback) -> bool:
    """Write feedback; whether it is new."""
    added = connection.execute(
        text(
            "INSERT OR IGNORE INTO feedback "
            "(id, response, score, correction, comment, user, key, status, created_at) VALUES "
            "(:id, :response, :score, :correction, :comment, :user, :key, 'waiting', :now)"
        ),
        {
            "id": feedback.id,
            "response": feedback.response,
            "score": feedback.score,
            "correction": json.dumps(feedback.correction, ensure_ascii=False),
            "comment": feedback.comment,
            "user": feedback.user,
            "key": feedback.key,
            "now": feedback.created_at or utc_now(),
        },
    )
    return bool(added.rowcount)


def _given(row: Mapping[str, Any]) -> Given:
    feedback = Feedback(
        response=row["response"],
        score=row["score"],
        correction=json.loads(row["correction"]),
        comment=row["comment"],
        user=row["user"],
        key=row["key"],
        status=row["status"],
        created_at=row["created_at"],
    )
    return Given(feedback, row["release"], row["input"], row["answer"])
