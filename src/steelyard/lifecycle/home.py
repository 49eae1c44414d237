"""The home folder: the database, artefacts, unfinished jobs and reports of one project."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from steelyard.errors import HomeError
from steelyard.store import Artefacts, Database, Releases
from steelyard.store.files import Files
from steelyard.store.keys import Keys
from steelyard.store.refreshes import Refreshes
from steelyard.store.tuning import Tuning
from steelyard.store.vector_stores import VectorStores

DEFAULT_HOME = Path(".steelyard")


@dataclass(frozen=True)
class Home:
    """An open home folder. `closing` lets go of what was opened in it when it is closed."""

    path: Path
    database: Database
    artefacts: Artefacts
    closing: ExitStack

    @property
    def releases(self) -> Releases:
        """What was published here."""
        return Releases(self.database.engine)

    @property
    def keys(self) -> Keys:
        """Who may ask a server of this home."""
        return Keys(self.database.engine)

    @property
    def refreshes(self) -> Refreshes:
        """The refreshes of what was published here."""
        return Refreshes(self.database.engine)

    @property
    def files(self) -> Files:
        """What was uploaded to a server of this home."""
        return Files(self.database.engine)

    @property
    def tuning(self) -> Tuning:
        """The fine-tuning jobs of a server of this home."""
        return Tuning(self.database.engine)

    @property
    def vector_stores(self) -> VectorStores:
        """The vector stores of a server of this home."""
        return VectorStores(self.database.engine)

    @property
    def traffic(self) -> Path:
        """The file of what a server was asked, and said."""
        return self.path / "traffic.db"

    @property
    def jobs(self) -> Path:
        return self.path / "jobs"

    @property
    def reports(self) -> Path:
        return self.path / "reports"


# What a process may do to a home folder that nobody else does at the same time. `None` takes no
# lock: rows are added and read, which SQLite orders.
LOCKS = {
    "work": ("lock", "another steelyard is working in this home folder"),
    "serve": ("serve.lock", "another steelyard serves this home folder"),
}


@contextmanager
def open_home(path: Path, *, create: bool = True, lock: str | None = "work") -> Iterator[Home]:
    """Open a home folder for one process; it is released, also by a kill, when that ends.

    Raises:
        HomeError: it is not there, cannot be written, or another process has that lock.
    """
    if not create and not (path / "steelyard.db").is_file():
        raise HomeError(f"{path}: no home folder there; weigh a task first, or name it with --home")
    with ExitStack() as closing:
        try:
            path.mkdir(parents=True, exist_ok=True)
            if lock is not None:
                _take(path, *LOCKS[lock], closing)
        except OSError as error:
            raise HomeError(
                f"{path}: the home folder cannot be written ({error.strerror}); "
                "expected a folder you may write to. Name another one with --home"
            ) from error
        database = Database(path / "steelyard.db")
        closing.callback(database.close)
        yield Home(path, database, Artefacts(path / "artefacts"), closing)


def _take(path: Path, name: str, told: str, closing: ExitStack) -> None:
    file = closing.enter_context((path / name).open("a", encoding="utf-8"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise HomeError(
            f"{path}: {told}; wait for it to end, or name another one with --home"
        ) from error
