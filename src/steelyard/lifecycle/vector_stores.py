"""Vector stores of a server: uploaded files in a knowledge base of their own, searched.

put ─→ in_progress ─→ read in the child, cut, written, embedded ─→ completed, or failed with why

The files of a store are rows. What was under way when a server ended is taken up anew. A store's
documents are named "FILE/DOCUMENT", so that a passage knows which file it is from.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Json, Passage
from steelyard.errors import InputError, SteelyardError
from steelyard.knowledge.base import Base
from steelyard.knowledge.index import Scope
from steelyard.knowledge.ingest import Outcome, update
from steelyard.knowledge.reading import Found, read_files
from steelyard.knowledge.reading.document import title_of
from steelyard.knowledge.search import FUSED_K, SqliteIndex
from steelyard.lifecycle import uploads
from steelyard.lifecycle.background import Worker
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.knowledge import open_knowledge
from steelyard.lifecycle.renewing import drop_collection
from steelyard.models import Embedder
from steelyard.store.files import StoredFile, new_id
from steelyard.store.vector_stores import FileStatus, Member, VectorStore

BEST = 2 / (FUSED_K + 1)  # of a passage that is first by words and by meaning
MOST_OPEN = 32  # stores whose index stays in memory. Source: ours


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage of a file. `score` is 1 where it is first by its words and by its meaning."""

    member: Member
    passage: Passage
    score: float


class Stores:
    """The vector stores of a home folder, and the thread that takes up their files.

    `embedder` gives what makes vectors, and the source that it is opened from elsewhere.
    """

    def __init__(self, home: Home, embedder: Callable[[], tuple[Embedder, str]]) -> None:
        self._home, self._embedder = home, embedder
        self._indexes: dict[str, SqliteIndex] = {}
        self._lock = threading.Lock()
        self._worker: Worker[Member] = Worker("vector stores", self._take, self._take_up)

    def start(self) -> None:
        """Take up what waits."""
        self._worker.start()

    def close(self, timeout_s: float) -> None:
        """End; what is being taken up is taken up anew at the next start."""
        self._worker.close(timeout_s)
        with self._lock:
            for index in self._indexes.values():
                index.close()
            self._indexes.clear()

    # ------------------------------------------------------------ what there is

    def create(self, name: str, metadata: dict[str, str]) -> VectorStore:
        """A new store, without files."""
        id = new_id("vs_")
        open_knowledge(self._home.path, id).close()  # first: no row without a base
        return self._home.vector_stores.add(id, name, metadata)

    def remove(self, store: VectorStore) -> None:
        """Remove a store with all that is searched in it; the files stay."""
        # The texts first: whoever is killed in between can be asked again, as the row is there.
        drop_collection(self._home, store.id)
        self._home.vector_stores.remove(store.id)
        self._forget(store.id)

    def put(
        self,
        store: VectorStore,
        files: Sequence[StoredFile],
        attributes: dict[str, Json],
        *,
        batch: str = "",
    ) -> None:
        """Have files taken up."""
        for file in files:
            self._home.vector_stores.put(store.id, file.id, attributes, batch=batch)
        self._worker.wake()

    def take_out(self, member: Member) -> None:
        """Take a file out of a store; the file itself stays."""
        with open_knowledge(self._home.path, member.store, create=False) as base:
            _drop(base, member.file)  # first, as in `remove`
            self._home.vector_stores.take_out(member.store, member.file)
            _drop(base, member.file)  # taken up in between

    def forget_file(self, file: StoredFile) -> None:
        """Take a file out of every store."""
        for member in self._home.vector_stores.members(file=file.id):
            self.take_out(member)

    def passages(self, member: Member) -> list[Passage]:
        """What is searched of a file, in its order."""
        return self._index(member.store).passages(self._scope(member.store, {member.file}))

    # ------------------------------------------------------------ searching

    def search(
        self,
        store: VectorStore,
        queries: Sequence[str],
        k: int,
        wanted: Callable[[dict[str, Json]], bool],
    ) -> list[Hit]:
        """The k best passages for any of the queries, of the files whose attributes are wanted."""
        members = {one.file: one for one in self._home.vector_stores.members(store.id)}
        chosen = {id for id, member in members.items() if wanted(member.attributes)}
        self._home.vector_stores.touch(store.id)
        if not chosen:
            return []
        scope = self._scope(store.id, None if len(chosen) == len(members) else chosen)
        found = self._index(store.id).search(queries, k, scopes=[scope] * len(queries))
        best: dict[str, Hit] = {}
        for passage in (one for passages in found for one in passages):
            file = next(
                (id for id in map(_file_of, (passage.document, *passage.also)) if id in chosen),
                None,
            )
            score = passage.relevance / BEST
            if file is not None and (passage.id not in best or best[passage.id].score < score):
                best[passage.id] = Hit(members[file], passage, score)
        return sorted(best.values(), key=lambda hit: -hit.score)[:k]

    def _scope(self, store: str, files: Collection[str] | None) -> Scope:
        if files is None:
            return Scope(any_time=True)
        with open_knowledge(self._home.path, store, create=False) as base:
            names = [one.id for one in base.documents() if _file_of(one.id) in files]
        return Scope(any_time=True, documents=frozenset(names))

    def _index(self, store: str) -> SqliteIndex:
        """The index of a store, which sees what is written to it later."""
        with self._lock:
            if (known := self._indexes.get(store)) is not None:
                return known
        embedder, _ = self._embedder()
        with open_knowledge(self._home.path, store, create=False) as base:
            base.embed(embedder)  # nothing, unless another embedder made its vectors
            index = SqliteIndex(base.path, embedder)
        with self._lock:
            if store in self._indexes:
                index.close()
                return self._indexes[store]
            if len(self._indexes) >= MOST_OPEN:
                # Who searches in it just now has it still; Python closes it after them.
                self._indexes.pop(next(iter(self._indexes)))
            self._indexes[store] = index
            return index

    def _forget(self, store: str) -> None:
        with self._lock:
            index = self._indexes.pop(store, None)
        if index is not None:
            index.close()

    # ------------------------------------------------------------ taking up

    def _take(self) -> Member | None:
        """The file that waits longest."""
        waiting = [one for one in self._home.vector_stores.members() if one.status == "in_progress"]
        return waiting[-1] if waiting else None

    def _take_up(self, member: Member) -> None:
        status: FileStatus = "completed"
        size, told = 0, None
        try:
            size = self._read(member)
        except Exception as error:  # the job worker: this file fails
            if self._worker.closing:
                return
            status = "failed"
            told = str(error) if isinstance(error, SteelyardError) else type(error).__name__
        if not self._home.vector_stores.end(member, status, size_bytes=size, error=told):
            self._gone(member)

    def _read(self, member: Member) -> int:
        """Take up one file; how many bytes of text are searched.

        Raises:
            InputError: it cannot be read, or not to its end.
        """
        file = self._home.files.find(member.file)
        if file is None:
            raise InputError("the file was deleted")
        path = uploads.path_of(self._home, file)
        embedder, source = self._embedder()
        with open_knowledge(self._home.path, member.store, create=False) as base:
            _drop(base, file.id, but=path.absolute())
            added = update(base, [path], embedder, read=_Reader(file))
            base.embedder = source
            if added.unreadable:
                raise InputError(added.unreadable[0][1])
        self._index(member.store).prepare()
        return sum(len(one.text.encode()) for one in self.passages(member))

    def _gone(self, member: Member) -> None:
        """A file, or its store, was taken away while it was taken up, or it was cancelled."""
        found = self._home.vector_stores.members(member.store, file=member.file)
        if self._home.vector_stores.find(member.store) is None:
            self._forget(member.store)
            drop_collection(self._home, member.store)
        elif not found or found[0].status == "cancelled":
            with open_knowledge(self._home.path, member.store, create=False) as base:
                _drop(base, member.file)


@dataclass(frozen=True)
class _Reader:
    """Reads an uploaded file as documents of its own, whatever it says of users and tenants."""

    file: StoredFile

    def __call__(self, files: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
        for found, outcome in read_files(files):
            if isinstance(outcome, list):
                outcome = [
                    replace(
                        one,
                        id=f"{self.file.id}/{one.id}",
                        title=(
                            title_of(self.file.name)
                            if one.title == title_of(found.id)
                            else one.title
                        ),
                        tenant=None,
                        user=None,
                    )
                    for one in outcome
                ]
            yield found, outcome


def _file_of(document: str) -> str:
    """The id of the file that a document is from."""
    return document.partition("/")[0]


def _drop(base: Base, file: str, *, but: Path | None = None) -> None:
    """Take the documents of a file out of a base, wherever it lay when it was read."""
    for source in base.sources():
        if Path(source).stem == file and source != str(but):
            base.remove_source(source)
