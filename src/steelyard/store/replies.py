"""Replies that were paid for, and what they cost, so that no run pays for them again.

A file of its own: whoever removes it loses nothing but that money.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text

from steelyard.store.sqlite import Migration, open_sqlite, statements, writing

MIGRATIONS: tuple[Migration, ...] = (
    statements(
        "CREATE TABLE reply (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE payment (task TEXT NOT NULL, usd REAL NOT NULL)",
        "CREATE INDEX payment_task ON payment (task)",
    ),
)


class Replies:
    """Opens, or makes, the replies of a home folder, for one task's payments.

    Raises:
        StoreError: the file is no database, or one of a newer Steelyard.
    """

    def __init__(self, path: Path, task: str) -> None:
        self._task = task
        self._engine: Engine = open_sqlite(
            path, MIGRATIONS, remedy="Remove it: replies will be asked for, and paid, again"
        )

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def reply(self, key: str) -> str | None:
        """The reply that was kept under a key."""
        query = text("SELECT body FROM reply WHERE key = :key")
        with self._engine.connect() as connection:
            found = connection.execute(query, {"key": key}).scalar_one_or_none()
        return None if found is None else str(found)

    def keep(self, key: str, reply: str) -> None:
        """Keep a reply; the first one of a key stays."""
        insert = text("INSERT OR IGNORE INTO reply VALUES (:key, :body)")
        with writing(self._engine) as connection:
            connection.execute(insert, {"key": key, "body": reply})

    def spent(self) -> float:
        """US dollars paid for the task so far, in all runs."""
        query = text("SELECT total(usd) FROM payment WHERE task = :task")
        with self._engine.connect() as connection:
            return float(connection.execute(query, {"task": self._task}).scalar_one())

    def spend(self, usd: float) -> None:
        """Remember that so much was paid."""
        insert = text("INSERT INTO payment VALUES (:task, :usd)")
        with writing(self._engine) as connection:
            connection.execute(insert, {"task": self._task, "usd": usd})
