"""The home folder: the database, artefacts, unfinished jobs and reports of one project."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import HomeError
from steelyard.store import Artefacts, Database

DEFAULT_HOME = Path(".steelyard")


@dataclass(frozen=True)
class Home:
    """An open home folder. `closing` lets go of what was opened in it when it is closed."""

    path: Path
    database: Database
    artefacts: Artefacts
    closing: ExitStack

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def reports(self) -> Path:
        return self.path / "reports"


@contextmanager
def open_home(path: Path, *, create: bool = True) -> Iterator[Home]:
    """Open a home folder for one process; it is released, also by a kill, when that ends.

    Raises:
        HomeError: it is not there, cannot be written, or another process is working in it.
    """
    if not create and not (path / "steelyard.db").is_file():
        raise HomeError(f"{path}: no home folder there; weigh a task first, or name it with --home")
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / "lock").open("a", encoding="utf-8")
    except OSError as error:
        raise HomeError(
            f"{path}: the home folder cannot be written ({error.strerror}); "
            "expected a folder you may write to. Name another one with --home"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HomeError(
                f"{path}: another steelyard is working in this home folder; "
                "wait for it to end, or name another one with --home"
            ) from error
        database = Database(path / "steelyard.db")
        with ExitStack() as closing:
            closing.callback(database.close)
            yield Home(path, database, Artefacts(path / "artefacts"), closing)
