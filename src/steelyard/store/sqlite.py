"""How every SQLite file of ours is opened and brought to its newest shape.

A file's shape is its `user_version`: the number of the steps that were taken. Each step is a
function that is never edited once released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from steelyard.errors import StoreError

Migration = Callable[[Connection], None]
BUSY_MS = 60_000  # how long one writer waits for another. Source: ours, a batch takes seconds
CACHE_KIB = 4_096  # of a connection; with four times as much, writing is no faster. Source: ours


def open_sqlite(path: Path, steps: Sequence[Migration], *, remedy: str) -> Engine:
    """Open a file in WAL mode, making or migrating it. `remedy` ends the message when it fails.

    Raises:
        StoreError: the file is no database, or one of a newer Steelyard.
    """
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    try:
        with engine.connect() as connection:
            version = _version(connection)
        if version != len(steps):
            with writing(engine) as connection:
                migrate(connection, steps)
    except DatabaseError as error:
        engine.dispose()
        raise StoreError(
            f"{path}: the database cannot be opened ({error.orig}); expected one that "
            f"Steelyard wrote. {remedy}"
        ) from error
    except StoreError as error:
        engine.dispose()
        raise StoreError(f"{path}: {error} {remedy}") from error
    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that takes the file's one write lock at once, waiting for it if it must.

    One that begins by reading could not wait: SQLite refuses it the lock when another has
    written in between.
    """
    with engine.execution_options(writes=True).begin() as connection:
        yield connection


def migrate(connection: Connection, steps: Sequence[Migration]) -> None:
    """Bring a database of any earlier version to the newest, inside the caller's transaction.

    Raises:
        StoreError: the database was written by a newer Steelyard.
    """
    version = _version(connection)
    if version > len(steps):
        raise StoreError(
            f"the database has version {version}, and this Steelyard knows up to "
            f"{len(steps)}; upgrade Steelyard."
        )
    for number, step in enumerate(steps[version:], start=version + 1):
        step(connection)
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")


def statements(*script: str) -> Migration:
    """A step that runs these statements, one string each."""

    def step(connection: Connection) -> None:
        for statement in script:
            connection.exec_driver_sql(statement)

    return step


def utc_now() -> str:
    """The time as rows have it: ISO 8601, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(connection: Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would begin late, and never for DDL
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA secure_delete = ON")  # what is deleted is not to be found in the file
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
