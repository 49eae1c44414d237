"""Files into a knowledge base: only what changed is read, cut and written.

    find → unchanged by size and time, or by hash?  → nothing to do
         → read in the child → cut → written, batch by batch, a file's last batch with its hash
    what was there and is no longer found           → removed
    passages without a vector                       → embedded

A kill at any point loses the batch in flight: the next run finds the file without its hash, reads
it again and keeps what it finds written already.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

from steelyard import __version__
from steelyard.errors import InputError
from steelyard.knowledge import writing
from steelyard.knowledge.base import Base, get_setting, set_setting
from steelyard.knowledge.passages import CUTTING
from steelyard.knowledge.reading import Document, Found, Unreadable, find_files, read_files
from steelyard.models import Embedder
from steelyard.store.sqlite import writing as transaction

# A batch is written when it holds this much: about a thousand passages, whose writing takes a few
# tenths of a second. Source: ours.
BATCH_CHARACTERS = 500_000
DOCUMENT_CHARACTERS = 500  # what a document counts for beside its text
PAGE_PATHS = 1_000  # paths that are looked at together
PARSERS = ("pypdf", "kreuzberg")  # the packages that read some formats

Outcome = list[Document] | Unreadable
Reader = Callable[[Iterable[Found]], Iterable[tuple[Found, Outcome]]]


@dataclass(slots=True)
class Added:
    """What an ingest did. Files are counted, then documents, then passages.

    `num_new` documents were written, others kept as they were; `num_gone` were removed, those
    that a new one replaced among them. `unreadable` files are listed with their reasons.
    """

    num_files: int = 0
    num_unchanged: int = 0
    num_removed_files: int = 0
    num_new: int = 0
    num_gone: int = 0
    num_embedded: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is: how many files or passages are done, of how many if that is known."""

    stage: str
    done: int
    total: int | None = None


Listener = Callable[[Progress], None]


@dataclass(slots=True)
class _Part:
    """What a batch holds of one file: the first, the last or all of its documents."""

    found: Found
    sha256: str | None
    is_first: bool = True
    is_last: bool = False
    prepared: list[writing.Prepared] = field(default_factory=list)
    error: str | None = None


def update(
    base: Base,
    paths: Sequence[Path],
    embedder: Embedder | None = None,
    *,
    only: bool = False,
    read: Reader = read_files,
    listen: Listener = lambda _: None,
) -> Added:
    """Make the base hold what these files and folders hold now.

    What was added from elsewhere stays, unless `only`. Without an embedder the passages get their
    vectors by `Base.embed`.

    Raises:
        InputError: a path is not there; nothing was done.
    """
    check_there(paths)
    with base.alone("adding", lambda: listen(Progress("waiting", 0))):
        ingest = _Ingest(base, listen)
        try:
            ingest.run(paths, read, only=only)
        finally:
            ingest.close()
    if embedder is not None:
        ingest.added.num_embedded = base.embed(
            embedder, lambda done, total: listen(Progress("embedding", done, total))
        )
    return ingest.added


def check_there(paths: Iterable[Path]) -> None:
    """Say early that there is nothing to add.

    Raises:
        InputError: a path is not there.
    """
    for path in paths:
        if not path.exists():
            raise InputError(
                f"{path}: there is no such file or folder; correct the path, or take what it held "
                f"out of the collection with: steelyard knowledge remove {path}"
            )


class _Ingest:
    """One run over some paths: what it has seen, and the batch that is not written yet."""

    def __init__(self, base: Base, listen: Listener) -> None:
        self.added = Added()
        self._base = base
        self._listen = listen
        self._connection = base.engine.connect().execution_options(writes=True)
        self._seen = _Paths()
        self._closed: list[Unreadable] = []  # files and folders that were found and not opened
        self._asked: dict[str, _Part] = {}  # files on their way through the reader
        self._batch: list[_Part] = []
        self._batch_characters = 0

    def close(self) -> None:
        self._connection.close()
        self._seen.close()

    def run(self, paths: Sequence[Path], read: Reader, *, only: bool) -> None:
        """Read, write and remove; everything but the vectors."""
        with self._connection.begin():
            self._connection.exec_driver_sql(
                "CREATE TEMP TABLE IF NOT EXISTS kept (number INTEGER PRIMARY KEY)"
            )
            self._read_again("cutting", str(CUTTING), "UPDATE source SET sha256 = NULL")
            self._read_again(
                "reader", _reader(), "UPDATE source SET sha256 = NULL WHERE error IS NOT NULL"
            )
        for found, pairs in groupby(read(self._changed(paths)), key=lambda pair: pair[0]):
            self._take(self._asked.pop(str(found.path)), (outcome for _, outcome in pairs))
        for part in self._asked.values():  # files of which the reader had nothing to say
            self._take(part, ())
        for wrong in self._closed:
            self._take(_Part(Found(wrong.path, wrong.path.parent, 0, 0), None), [wrong])
        self._write()
        self._remove_missing(None if only else [_absolute(path) for path in paths])
        self.added.unreadable = [
            (path, error) for path, error in self._base.unreadable() if path in self._seen
        ]

    def _read_again(self, key: str, made_with: str, statement: str) -> None:
        """Forget hashes of files that were read with something else."""
        if get_setting(self._connection, key) != made_with:
            self._connection.exec_driver_sql(statement)
            set_setting(self._connection, key, made_with)

    # ------------------------------------------------------------ what changed

    def _changed(self, paths: Sequence[Path]) -> Iterator[Found]:
        """The files that have to be read, one after the other, while the reader asks for them."""
        for item in find_files(paths):
            path = str(item.path)
            self._seen.add(path)
            if isinstance(item, Unreadable):
                self._closed.append(item)
                continue
            self.added.num_files += 1
            part = self._look(item)
            if part is None:
                self.added.num_unchanged += 1
            else:
                self._asked[path] = part
                yield part.found

    def _look(self, found: Found) -> _Part | None:
        """The file as it has to be read, or None if it is as it was."""
        path = str(found.path)
        with self._base.engine.connect() as connection:
            row = connection.exec_driver_sql(
                "SELECT name, sha256, size_bytes, modified_ns FROM source WHERE path = ?", (path,)
            ).first()
        if row is None:
            return _Part(found, _hash(found.path))
        name, sha256, *status = row
        # A file that is found below several folders has its id from the outermost of them.
        is_named = len(name) >= len(found.id)
        if is_named:
            found = replace(found, root=found.path.parents[name.count("/")])
        if sha256 is None or not is_named:
            return _Part(found, _hash(found.path))
        if [found.size_bytes, found.modified_ns] == status:
            return None
        now = _hash(found.path)
        if now != sha256:
            return _Part(found, now)
        with transaction(self._base.engine) as connection:
            connection.exec_driver_sql(
                "UPDATE source SET size_bytes = ?, modified_ns = ? WHERE path = ?",
                (found.size_bytes, found.modified_ns, path),
            )
        return None

    # ------------------------------------------------------------ writing

    def _take(self, part: _Part, outcomes: Iterable[Outcome]) -> None:
        """Put what was read of a file into the batch, and write that whenever it is full."""
        self._batch.append(part)
        for outcome in outcomes:
            if isinstance(outcome, Unreadable):
                part.error = outcome.reason
                continue
            for document in outcome:
                part.prepared.append(writing.prepare(document))
                self._batch_characters += len(document.text) + DOCUMENT_CHARACTERS
                if self._batch_characters >= BATCH_CHARACTERS:
                    self._write()
                    part = replace(part, is_first=False, prepared=[])
                    self._batch.append(part)
        part.is_last = True

    def _write(self) -> None:
        with self._connection.begin():
            for part in self._batch:
                self._write_part(part)
        self._batch, self._batch_characters = [], 0
        self._listen(Progress("reading", self.added.num_files))

    def _write_part(self, part: _Part) -> None:
        connection, path = self._connection, str(part.found.path)
        if part.is_first:
            connection.exec_driver_sql("DELETE FROM kept")
        connection.exec_driver_sql(
            "INSERT INTO source VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
            "name = excluded.name, sha256 = excluded.sha256, size_bytes = excluded.size_bytes, "
            "modified_ns = excluded.modified_ns, error = excluded.error, "
            "added_at = excluded.added_at",
            (
                path,
                part.found.id,
                part.sha256 if part.is_last else None,
                part.found.size_bytes,
                part.found.modified_ns,
                part.error,
                datetime.now(UTC).isoformat(timespec="seconds"),
            ),
        )
        there = writing.find(connection, path, part.prepared)
        new = {one.sha256: one for one in part.prepared if one.sha256 not in there}
        self._keep(there.values())
        # Added before the old ones go: passages that stay as they were take over their vectors.
        replaced = writing.replaced(connection, path, list(new.values()))
        self._keep(writing.add(connection, path, list(new.values())))
        self._delete(replaced)
        self.added.num_new += len(new)
        if part.is_last:
            rest = connection.exec_driver_sql(
                "SELECT number FROM document WHERE source = ? "
                "AND number NOT IN (SELECT number FROM kept)",
                (path,),
            )
            self._delete([number for (number,) in rest])

    def _keep(self, documents: Iterable[int]) -> None:
        if rows := [(number,) for number in documents]:
            self._connection.exec_driver_sql("INSERT OR IGNORE INTO kept VALUES (?)", rows)

    def _delete(self, documents: Sequence[int]) -> None:
        writing.delete(self._connection, documents)
        self.added.num_gone += len(documents)

    def _remove_missing(self, roots: Sequence[str] | None) -> None:
        """Remove the files that are no longer below these roots; None: all that were not seen."""
        for path in _source_paths(self._base):
            if path in self._seen or any(_is_below(path, str(f.path)) for f in self._closed):
                continue
            if roots is None or any(_is_below(path, root) for root in roots):
                self.added.num_gone += self._base.remove_source(path)
                self.added.num_removed_files += 1


def _reader() -> str:
    """What decides which files can be read: another one may read what this one could not."""
    parsers = [name for name in PARSERS if importlib.util.find_spec(name)]
    return " ".join([__version__, *(f"{name} {version(name)}" for name in parsers)])


def _absolute(path: Path) -> str:
    """As `find_files` names it: links are not resolved."""
    return os.path.abspath(path)  # noqa: PTH100


def _source_paths(base: Base) -> Iterator[str]:
    """The paths of all sources, a page at a time: there may be millions."""
    last = ""
    while True:
        with base.engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT path FROM source WHERE path > ? ORDER BY path LIMIT ?", (last, PAGE_PATHS)
            ).all()
        if not rows:
            return
        yield from (path for (path,) in rows)
        last = rows[-1][0]


class _Paths:
    """A set of paths that is held in a file without a name: there may be millions."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("")
        self._connection.execute("CREATE TABLE seen (path TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, path: str) -> None:
        self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (path,))

    def __contains__(self, path: str) -> bool:
        found = self._connection.execute("SELECT 1 FROM seen WHERE path = ?", (path,))
        return found.fetchone() is not None

    def close(self) -> None:
        self._connection.close()


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _hash(path: Path) -> str | None:
    """None if it cannot be opened; the reader will say why."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
