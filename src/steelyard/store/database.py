"""The rows: trials and their answers, builds, verdicts. SQLite in WAL mode, one writer.

A row is written as soon as it is known, so that any interruption costs the batch in flight and
nothing else. It never changes, but for one that failed elsewhere and is asked again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from steelyard.core import (
    Answer,
    Example,
    Json,
    Row,
    Score,
    Section,
    Source,
    Split,
    Usage,
    digest,
)
from steelyard.store import migrations
from steelyard.store.sqlite import open_sqlite, utc_now


@dataclass(frozen=True, slots=True)
class TrialRef:
    """What a trial's rows depend on. `system` is the fingerprint of what answered."""

    task_hash: str
    recipe: str
    system: str
    split: Split
    seed: int

    @property
    def key(self) -> str:
        return digest(asdict(self))


class Database:
    """Opens, and migrates, the database of a home folder.

    Raises:
        StoreError: the file is no database, or one of a newer Steelyard.
    """

    def __init__(self, path: Path) -> None:
        self.engine: Engine = open_sqlite(
            path,
            migrations.MIGRATIONS,
            remedy="Move it away, or name another home folder with --home",
        )

    def close(self) -> None:
        """Let go of the file."""
        self.engine.dispose()

    def rows(self, trial: TrialRef) -> dict[str, Row]:
        """The rows a trial has so far, by example id."""
        query = text("SELECT example_id, row FROM answer WHERE trial = :trial")
        with self.engine.connect() as connection:
            found = connection.execute(query, {"trial": trial.key}).all()
        return {example_id: _row(json.loads(body)) for example_id, body in found}

    def add_rows(self, trial: TrialRef, rows: Sequence[Row]) -> None:
        """Write the rows of one batch, all or none; one that failed gives way to another."""
        head = {**asdict(trial), "key": trial.key, "now": utc_now()}
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT OR IGNORE INTO trial VALUES "
                    "(:key, :task_hash, :recipe, :split, :seed, :now)"
                ),
                head,
            )
            connection.execute(
                text(
                    "INSERT INTO answer VALUES (:trial, :example_id, :row) "
                    "ON CONFLICT DO UPDATE SET row = excluded.row "
                    "WHERE json_extract(answer.row, '$.answer.error') IS NOT NULL"
                ),
                [
                    {
                        "trial": trial.key,
                        "example_id": row.example_id,
                        "row": json.dumps(asdict(row), ensure_ascii=False),
                    }
                    for row in rows
                ],
            )

    def test_looks(self, task_hash: str) -> int:
        """How many distinct systems have been measured on the sealed test split of a task."""
        query = text("SELECT count(*) FROM trial WHERE task_hash = :task AND split = 'test'")
        with self.engine.connect() as connection:
            return int(connection.execute(query, {"task": task_hash}).scalar_one())

    def build(self, key: str) -> tuple[str | None, float, Json] | None:
        """Artefact hash, seconds and details of a finished build, or None."""
        query = text("SELECT artefact, seconds, details FROM build WHERE key = :key")
        with self.engine.connect() as connection:
            found = connection.execute(query, {"key": key}).one_or_none()
        return None if found is None else (found[0], found[1], json.loads(found[2]))

    def add_build(self, key: str, artefact: str | None, seconds: float, details: Json) -> None:
        """Remember a finished build; the first one of a key stays."""
        row = {
            "key": key,
            "artefact": artefact,
            "seconds": seconds,
            "details": json.dumps(details),
            "now": utc_now(),
        }
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT OR IGNORE INTO build VALUES (:key, :artefact, :seconds, :details, :now)"
                ),
                row,
            )

    def forget_build(self, key: str) -> None:
        """Drop a build whose artefact turned out to be spoilt, so that it is made again."""
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM build WHERE key = :key"), {"key": key})

    def add_verdict(self, run_key: str, body: Json, task_path: Path | None = None) -> None:
        """Keep a verdict, and where its task file was; a run of the same key replaces its own
        earlier one."""
        row = {
            "name": body["task"],
            "hash": body["task_hash"],
            "run": run_key,
            "body": json.dumps(body, ensure_ascii=False),
            "path": "" if task_path is None else str(task_path.resolve()),
            "now": utc_now(),
        }
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM verdict WHERE run_key = :run"), row)
            connection.execute(
                text(
                    "INSERT INTO verdict "
                    "(task_name, task_hash, run_key, body, created_at, task_path) "
                    "VALUES (:name, :hash, :run, :body, :now, :path)"
                ),
                row,
            )

    def verdicts(self) -> list[dict[str, Any]]:
        """All verdicts, newest first: id, task_name, task_hash, created_at, task_path (empty where
        it is not known) and body."""
        query = text(
            "SELECT id, task_name, task_hash, created_at, task_path, body FROM verdict "
            "ORDER BY id DESC"
        )
        with self.engine.connect() as connection:
            found = connection.execute(query).mappings().all()
        return [{**row, "body": json.loads(row["body"])} for row in found]

    def accept(self, task_name: str, examples: Sequence[Example]) -> None:
        """Keep answers that users accepted or corrected; a later one to the same input of the
        same user takes the place of the earlier."""
        rows = [
            {
                "task": task_name,
                "input": example.input,
                "target": json.dumps(example.target, ensure_ascii=False),
                "user": example.user or "",
                "time": example.time or utc_now(),
            }
            for example in examples
        ]
        with self.engine.begin() as connection:
            for row in rows:
                connection.execute(
                    text(
                        "INSERT OR REPLACE INTO accepted (task_name, input, target, user, time) "
                        "VALUES (:task, :input, :target, :user, :time)"
                    ),
                    row,
                )

    def accepted(self, task_name: str, up_to: int | None = None) -> tuple[Example, ...]:
        """The answers accepted for a task, the first one first, up to that number if given."""
        query = text(
            "SELECT id, input, target, user, time FROM accepted "
            "WHERE task_name = :task AND (:last IS NULL OR id <= :last) ORDER BY id"
        )
        with self.engine.connect() as connection:
            found = connection.execute(query, {"task": task_name, "last": up_to}).all()
        return tuple(
            Example(
                id=f"accepted-{number}",
                input=input_text,
                target=json.loads(target),
                group=f"accepted-{number}",
                user=user or None,
                time=time,
            )
            for number, input_text, target, user, time in found
        )

    def last_accepted(self) -> int:
        """The number of the newest accepted answer there is, in any task."""
        with self.engine.connect() as connection:
            query = text("SELECT coalesce(max(id), 0) FROM accepted")
            return int(connection.execute(query).scalar_one())

    def forget_user(self, user: str) -> int:
        """Drop the accepted answers of one user, in all tasks, and say how many there were."""
        with self.engine.begin() as connection:
            query = text("DELETE FROM accepted WHERE user = :user AND user != ''")
            return int(connection.execute(query, {"user": user}).rowcount)


def _row(plain: dict[str, Any]) -> Row:
    answer = plain.pop("answer")
    score = plain.pop("score")
    sources = answer.get("sources")  # rows of earlier versions have none
    answer["usage"] = Usage(**answer["usage"])
    answer["sources"] = None if sources is None else tuple(_source(s) for s in sources)
    answer["left_out"] = tuple(answer.get("left_out", ()))
    answer["sections"] = tuple(
        Section(s["title"], s["text"], tuple(s["sources"])) for s in answer.get("sections", ())
    )
    return Row(
        **plain,
        answer=Answer(**answer),
        score=None if score is None else Score(**score),
    )


def _source(plain: dict[str, Any]) -> Source:
    return Source(**{**plain, "also": tuple(plain.get("also", ()))})
