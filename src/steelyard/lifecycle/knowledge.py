"""The verbs of knowledge: documents added to a collection, taken out, listed, searched."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from steelyard.core import Passage
from steelyard.errors import HomeError, InputError, ModelError
from steelyard.knowledge.base import Base
from steelyard.knowledge.index import Kind, Scope
from steelyard.knowledge.ingest import Added, Listener, Progress, update
from steelyard.knowledge.search import SqliteIndex
from steelyard.models import Embedder, check_embedder, open_embedder

DEFAULT_COLLECTION = "default"
COLLECTION = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True)
class Removed:
    """What was taken out. `sources` are files that still hold it, and bring it back."""

    num_documents: int
    sources: tuple[str, ...] = ()


def open_knowledge(
    home: Path, collection: str = DEFAULT_COLLECTION, *, create: bool = True
) -> Base:
    """The knowledge base of a collection; the caller closes it. `base.documents()` lists it.

    Raises:
        InputError: that is no name for a collection, or there is none of that name.
        HomeError: the home folder cannot be written.
    """
    if not COLLECTION.fullmatch(collection):
        raise InputError(
            f'collection "{collection}": expected a name of letters, digits, ".", "-" and "_"'
        )
    folder = home / "knowledge"
    path = folder / f"{collection}.db"
    if not create and not path.is_file():
        known = sorted(file.stem for file in folder.glob("*.db"))
        there = f"Known: {', '.join(known)}." if known else "There is none yet."
        raise InputError(
            f'collection "{collection}" is not in {home}. {there} '
            "Add documents with: steelyard knowledge add PATH"
        )
    try:
        return Base(path)
    except OSError as error:
        raise HomeError(
            f"{folder}: the folder cannot be written ({error.strerror}); "
            "expected one you may write to. Name another home with --home"
        ) from error


def add_documents(
    base: Base,
    paths: Sequence[Path],
    embedder: str | None = None,
    *,
    only: bool = False,
    listen: Listener = lambda _: None,
) -> Added:
    """Make a base hold what these files and folders hold now, with the vectors of its passages.

    `embedder` is kept for the collection: without one, the last is taken. It is only opened if
    passages lack vectors. What was added from elsewhere stays, unless `only`.

    Raises:
        InputError: a path or the embedder is not there; nothing was done.
    """
    source = _embedder_source(embedder or base.embedder or "default")
    added = update(base, paths, only=only, listen=listen)
    if source != base.embedder or not base.is_embedded:
        opened = open_embedder(source)
        added.num_embedded = base.embed(
            opened, lambda done, total: listen(Progress("embedding", done, total))
        )
        base.embedder = source
        index = SqliteIndex(base.path, opened)
        try:
            index.prepare(lambda done, total: listen(Progress("indexing", done, total)))
        finally:
            index.close()
    return added


def remove_documents(base: Base, names: Sequence[str], *, tenant: str | None = None) -> Removed:
    """Take out files, folders, or documents by their ids.

    Raises:
        InputError: one of them is not there; nothing was done.
    """
    sources = base.sources()
    ids = {document.id for document in base.documents() if document.tenant == tenant}
    steps: list[Callable[[], int]] = []
    for name in names:
        path = os.path.abspath(name)  # noqa: PTH100  as find_files names them: links stay
        below = [s for s in sources if s == path or s.startswith(path.rstrip("/") + "/")]
        if below:
            steps += [partial(base.remove_source, source) for source in below]
        elif name in ids:
            steps.append(partial(base.remove_document, name, tenant=tenant))
        else:
            close = difflib.get_close_matches(name, [*ids, *sources], n=1)
            hint = f' Did you mean "{close[0]}"?' if close else ""
            raise InputError(
                f"{name}: no file, folder or document id of this collection; "
                f"see what it holds with: steelyard knowledge list.{hint}"
            )
    return Removed(sum(step() for step in steps))


def forget_user(base: Base, user: str, *, tenant: str | None = None) -> Removed:
    """Take out all that a user has, with every trace of it in the collection's files.

    Raises:
        InputError: the user has nothing here.
    """
    num_documents, sources = base.forget_user(user, tenant=tenant) if user else (0, [])
    if not num_documents:
        others = sorted({d.tenant or "" for d in base.documents() if user and d.user == user})
        hint = f" They have some in tenant {', '.join(filter(None, others))}: add --tenant."
        if others == [""]:
            hint = " They have some of no tenant: leave --tenant out."
        where = f' of tenant "{tenant}"' if tenant else ""
        raise InputError(
            f'user "{user}"{where} has no documents in this collection.{hint if others else ""}'
        )
    return Removed(num_documents, tuple(sources))


def search_documents(
    base: Base, query: str, k: int, *, kind: Kind = "hybrid", scope: Scope | None = None
) -> list[Passage]:
    """The k best passages of a base for a query, best first.

    Raises:
        InputError: nothing can be asked so.
    """
    if not query.strip():
        raise InputError("the query is empty; expected some words")
    if k < 1:
        raise InputError(f"--num-passages {k}: expected at least 1")
    index = SqliteIndex(base.path, _searching(base, kind))
    try:
        return index.search([query], k, kind=kind, scopes=[scope or Scope()])[0]
    finally:
        index.close()


def _searching(base: Base, kind: Kind) -> Embedder:
    """The embedder of a base, its passages embedded; a lexical search needs none."""
    if kind == "lexical":
        return open_embedder("fake")
    embedder = open_embedder(base.embedder or "default")
    base.embed(embedder)
    return embedder


def _embedder_source(source: str) -> str:
    """The embedder as it can be opened from everywhere, once it is known to be there."""
    if source not in ("default", "fake"):
        folder = Path(source).expanduser().absolute()
        if not (folder / "modules.json").is_file():
            raise ModelError(
                f"{source}: no embedder there; expected a sentence-transformers folder (with a "
                'modules.json), or "default" for all-MiniLM-L6-v2'
            )
        source = str(folder)
    check_embedder(source)
    return source
