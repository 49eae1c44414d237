"""The shape of the home folder's database, a step per version. A released step is never edited."""

from __future__ import annotations

from steelyard.store.sqlite import Migration, statements

MIGRATIONS: tuple[Migration, ...] = (
    statements(
        """
CREATE TABLE trial (
    key TEXT PRIMARY KEY,
    task_hash TEXT NOT NULL,
    recipe TEXT NOT NULL,
    split TEXT NOT NULL,
    seed INTEGER NOT NULL,
    created_at TEXT NOT NULL
)""",
        """
CREATE TABLE answer (
    trial TEXT NOT NULL REFERENCES trial(key),
    example_id TEXT NOT NULL,
    row TEXT NOT NULL,
    PRIMARY KEY (trial, example_id)
) WITHOUT ROWID""",
        """
CREATE TABLE build (
    key TEXT PRIMARY KEY,
    artefact TEXT,
    seconds REAL NOT NULL,
    details TEXT NOT NULL,
    created_at TEXT NOT NULL
)""",
        """
CREATE TABLE verdict (
    id INTEGER PRIMARY KEY,
    task_name TEXT NOT NULL,
    task_hash TEXT NOT NULL,
    run_key TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL
)""",
    ),
    # `user` is '' for an answer that is everybody's.
    statements(
        """
CREATE TABLE accepted (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_name TEXT NOT NULL,
    input TEXT NOT NULL,
    target TEXT NOT NULL,
    user TEXT NOT NULL,
    time TEXT NOT NULL
)""",
        "CREATE UNIQUE INDEX accepted_once ON accepted (task_name, user, input)",
        "CREATE INDEX accepted_user ON accepted (user)",
    ),
)
