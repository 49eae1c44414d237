"""The database's shape, one function per version. A released function is never edited."""

from __future__ import annotations

from sqlalchemy import Connection, text

from steelyard.errors import StoreError

V1 = """
CREATE TABLE trial (
    key TEXT PRIMARY KEY,
    task_hash TEXT NOT NULL,
    recipe TEXT NOT NULL,
    split TEXT NOT NULL,
    seed INTEGER NOT NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE answer (
    trial TEXT NOT NULL REFERENCES trial(key),
    example_id TEXT NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (trial, example_id)
) WITHOUT ROWID;
CREATE TABLE build (
    key TEXT PRIMARY KEY,
    artefact TEXT,
    seconds REAL NOT NULL,
    details TEXT NOT NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE verdict (
    id INTEGER PRIMARY KEY,
    task_name TEXT NOT NULL,
    task_hash TEXT NOT NULL,
    run_key TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL
);
"""


# `user` is '' for an answer that is everybody's.
V2 = """
CREATE TABLE accepted (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_name TEXT NOT NULL,
    input TEXT NOT NULL,
    target TEXT NOT NULL,
    user TEXT NOT NULL,
    time TEXT NOT NULL
);
CREATE UNIQUE INDEX accepted_once ON accepted (task_name, user, input);
CREATE INDEX accepted_user ON accepted (user);
"""


def _v1(connection: Connection) -> None:
    _run(connection, V1)


def _v2(connection: Connection) -> None:
    _run(connection, V2)


def _run(connection: Connection, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(text(statement))


MIGRATIONS = (_v1, _v2)


def migrate(connection: Connection) -> None:
    """Bring a database of any earlier version to the newest, inside the caller's transaction.

    Raises:
        StoreError: the database was written by a newer Steelyard.
    """
    version = int(connection.execute(text("PRAGMA user_version")).scalar_one())
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the home folder's database has version {version}, and this Steelyard knows up to "
            f"{len(MIGRATIONS)}; upgrade Steelyard or use another --home"
        )
    for number, step in enumerate(MIGRATIONS[version:], start=version + 1):
        step(connection)
        connection.execute(text(f"PRAGMA user_version = {number}"))
