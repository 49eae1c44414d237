"""Every database that was ever written still opens."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path

import pytest

from fake_tasks import row
from steelyard.errors import StoreError
from steelyard.store import Database, Releases, TrialRef
from steelyard.store.keys import Keys
from steelyard.store.migrations import MIGRATIONS
from steelyard.store.traffic import Traffic

# As version 1 wrote it. Never edited: a user's file looks like this.
VERSION_1 = """
CREATE TABLE trial (key TEXT PRIMARY KEY, task_hash TEXT NOT NULL, recipe TEXT NOT NULL,
                    split TEXT NOT NULL, seed INTEGER NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE answer (trial TEXT NOT NULL REFERENCES trial(key), example_id TEXT NOT NULL,
                     row TEXT NOT NULL, PRIMARY KEY (trial, example_id)) WITHOUT ROWID;
CREATE TABLE build (key TEXT PRIMARY KEY, artefact TEXT, seconds REAL NOT NULL,
                    details TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE verdict (id INTEGER PRIMARY KEY, task_name TEXT NOT NULL, task_hash TEXT NOT NULL,
                      run_key TEXT NOT NULL UNIQUE, body TEXT NOT NULL, created_at TEXT NOT NULL);
PRAGMA user_version = 1;
"""
# As version 2 wrote it.
VERSION_2 = (
    VERSION_1.replace("PRAGMA user_version = 1;", "")
    + """
CREATE TABLE accepted (id INTEGER PRIMARY KEY AUTOINCREMENT, task_name TEXT NOT NULL,
                       input TEXT NOT NULL, target TEXT NOT NULL, user TEXT NOT NULL,
                       time TEXT NOT NULL);
CREATE UNIQUE INDEX accepted_once ON accepted (task_name, user, input);
CREATE INDEX accepted_user ON accepted (user);
INSERT INTO accepted VALUES (4, 'small', 'hi', '"yes"', 'ann', '2026-01-01T00:00:00+00:00');
PRAGMA user_version = 2;
"""
)
ROW_1 = (
    '{"example_id": "e1", "group": "g", "answer": {"value": {"a": 1}, "text": "{\\"a\\": 1}", '
    '"valid": true, "usage": {"prompt_tokens": 5, "cached_tokens": 0, "completion_tokens": 3}, '
    '"error": null}, "score": {"value": 0.5, "parts": {"valid": true}}, "compute_ms": 1.25, '
    '"cost_usd": 1e-07, "batch_size": 1, "latency_ms": 1.25}'
)
TRIAL = TrialRef("t" * 64, "lora", "s" * 64, "test", 3)
NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    path = tmp_path / "steelyard.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
        trial = (TRIAL.key, TRIAL.task_hash, TRIAL.recipe, TRIAL.split, TRIAL.seed, NOW)
        connection.execute("INSERT INTO trial VALUES (?, ?, ?, ?, ?, ?)", trial)
        connection.execute("INSERT INTO answer VALUES (?, 'e1', ?)", (TRIAL.key, ROW_1))
        build = ("k", "a" * 64, 2.5, '{"points": []}', NOW)
        connection.execute("INSERT INTO build VALUES (?, ?, ?, ?, ?)", build)
        body = json.dumps({"task": "small", "task_hash": TRIAL.task_hash})
        verdict = (7, "small", TRIAL.task_hash, "run", body, NOW)
        connection.execute("INSERT INTO verdict VALUES (?, ?, ?, ?, ?, ?)", verdict)
    connection.close()
    return path


def shape(path: Path) -> tuple[int, set[str]]:
    """The version of a database and the names of its tables."""
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    connection.close()
    return version, {name for (name,) in tables}


def test_a_database_of_version_1_opens_with_all_that_was_in_it(version_1):
    database = Database(version_1)
    [found] = database.rows(TRIAL).values()
    assert found.answer.value == {"a": 1}
    assert found.answer.usage.prompt_tokens == 5
    assert found.score is not None
    assert (found.score.value, found.cost_usd, found.latency_ms) == (0.5, 1e-07, 1.25)
    later = {"sources": None, "left_out": (), "sections": ()}  # of answers, not known to version 1
    written = json.loads(ROW_1)["answer"]
    written["usage"]["estimated"] = False
    assert asdict(found)["answer"] == written | later
    assert {**asdict(found), "answer": None} == {**json.loads(ROW_1), "answer": None}
    assert database.test_looks(TRIAL.task_hash) == 1
    assert database.build("k") == ("a" * 64, 2.5, {"points": []})
    [verdict] = database.verdicts()
    assert (verdict["id"], verdict["body"]["task"], verdict["created_at"]) == (7, "small", NOW)
    database.add_rows(TRIAL, [row("e2")])
    assert set(database.rows(TRIAL)) == {"e1", "e2"}
    database.close()
    assert shape(version_1)[0] == len(MIGRATIONS)


def test_a_new_database_has_the_newest_version_and_the_same_tables(version_1, tmp_path):
    path = tmp_path / "new.db"
    for _ in range(2):  # the second time there is nothing to do
        Database(path).close()
    Database(version_1).close()
    assert shape(path) == shape(version_1)
    assert shape(path)[0] == len(MIGRATIONS)


def test_a_database_of_version_2_keeps_its_accepted_answers(tmp_path):
    path = tmp_path / "steelyard.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_2)
    connection.close()
    database = Database(path)
    [found] = database.accepted("small")
    assert (found.id, found.input, found.target, found.user) == ("accepted-4", "hi", "yes", "ann")
    assert database.last_accepted() == 4
    assert database.accepted("small", up_to=3) == ()
    assert Releases(database.engine).all() == []
    assert Keys(database.engine).all() == []
    database.close()


def test_a_file_of_requests_that_is_none_is_said_to_be_none(tmp_path):
    path = tmp_path / "traffic.db"
    path.write_text("this is not a database, it is a text of some length\n" * 40)
    with pytest.raises(StoreError, match=r"traffic\.db.*Move it away; a new one is made"):
        Traffic(path)


def test_a_database_of_a_newer_steelyard_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "steelyard.db"
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreError, match=r"version \d+, and this Steelyard knows up to.*upgrade"):
        Database(path)
    assert shape(path)[0] == len(MIGRATIONS) + 1


def test_a_migration_that_fails_leaves_the_database_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "steelyard.db"
    Database(path).close()
    before = shape(path)

    def fails(connection):
        connection.exec_driver_sql("CREATE TABLE half_done (x)")
        raise RuntimeError("power cut")

    monkeypatch.setattr("steelyard.store.migrations.MIGRATIONS", (*MIGRATIONS, fails))
    with pytest.raises(RuntimeError, match="power cut"):
        Database(path)
    assert shape(path) == before


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path):
    path = tmp_path / "steelyard.db"
    path.write_text("this is not a database, it is a text of some length\n" * 40)
    with pytest.raises(StoreError, match=r"steelyard\.db"):
        Database(path)
