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
    # A release never changes; an alias is what the newest promotion about it says. A key is kept
    # by its hash alone.
    statements(
        """
CREATE TABLE release (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (name, version)
)""",
        """
CREATE TABLE promotion (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    alias TEXT NOT NULL,
    version INTEGER,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    evidence TEXT NOT NULL,
    time TEXT NOT NULL
)""",
        """
CREATE TABLE api_key (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    created_at TEXT NOT NULL,
    revoked_at TEXT
)""",
    ),
    # A refresh that was begun and has no end was killed, or runs. `drift` holds the last look.
    statements(
        """
CREATE TABLE refresh (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    why TEXT NOT NULL,
    status TEXT NOT NULL,
    body TEXT NOT NULL,
    began_at TEXT NOT NULL,
    ended_at TEXT
)""",
        "CREATE INDEX refresh_name ON refresh (name, id)",
        """
CREATE TABLE drift (
    release TEXT PRIMARY KEY,
    body TEXT NOT NULL,
    looked_at TEXT NOT NULL
)""",
    ),
    # What clients of the hosted API keep on a server. Their bytes and passages are elsewhere.
    statements(
        """
CREATE TABLE file (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    purpose TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL
)""",
        """
CREATE TABLE tuning_job (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    model TEXT NOT NULL UNIQUE,
    asked TEXT NOT NULL,
    result TEXT NOT NULL,
    created_at TEXT NOT NULL,
    ended_at TEXT
)""",
        # `mark` is '' or names what is told once, such as a step that is run again.
        """
CREATE TABLE tuning_event (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    job TEXT NOT NULL,
    mark TEXT NOT NULL,
    level TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at TEXT NOT NULL
)""",
        "CREATE UNIQUE INDEX tuning_event_once ON tuning_event (job, mark) WHERE mark != ''",
        "CREATE INDEX tuning_event_job ON tuning_event (job, number)",
        """
CREATE TABLE vector_store (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at TEXT NOT NULL,
    active_at TEXT NOT NULL
)""",
        """
CREATE TABLE vector_store_file (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    store TEXT NOT NULL,
    file TEXT NOT NULL,
    batch TEXT NOT NULL,
    attributes TEXT NOT NULL,
    status TEXT NOT NULL,
    error TEXT,
    size_bytes INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    UNIQUE (store, file)
)""",
    ),
    statements("ALTER TABLE verdict ADD COLUMN task_path TEXT NOT NULL DEFAULT ''"),
)

# Of the file of requests and feedback (store/traffic.py).
TRAFFIC_MIGRATIONS: tuple[Migration, ...] = (
    statements(
        """
CREATE TABLE request (
    id TEXT PRIMARY KEY,
    release TEXT NOT NULL,
    route TEXT NOT NULL,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    input TEXT,
    began_at TEXT NOT NULL,
    answer TEXT,
    error TEXT,
    valid INTEGER,
    prompt_tokens INTEGER,
    cached_tokens INTEGER,
    completion_tokens INTEGER,
    sources INTEGER,
    milliseconds REAL
) WITHOUT ROWID""",
        "CREATE INDEX request_began ON request (began_at)",
        "CREATE INDEX request_user ON request (user) WHERE user != ''",
        """
CREATE TABLE feedback (
    id TEXT NOT NULL UNIQUE,
    response TEXT NOT NULL,
    score REAL,
    correction TEXT NOT NULL,
    comment TEXT,
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at TEXT NOT NULL,
    decided_by TEXT,
    decided_at TEXT
)""",
        "CREATE INDEX feedback_response ON feedback (response)",
    ),
)
