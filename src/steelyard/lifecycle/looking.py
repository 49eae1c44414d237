"""What a task's contexts look things up in: its documents, records and accepted answers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from steelyard.core import Example, Recipe, Task, digest
from steelyard.errors import InputError
from steelyard.knowledge.ingest import Outcome, Reader, update
from steelyard.knowledge.reading import Document, Found, read_files
from steelyard.knowledge.search import SqliteIndex
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.knowledge import COLLECTION, open_knowledge
from steelyard.models import embedder_of, open_embedder
from steelyard.models.places import is_fake
from steelyard.recipes import Lookup
from steelyard.recipes.prompt import target_text
from steelyard.store.sqlite import utc_now
from steelyard.tasks.knowledge import read_history


def open_lookup(
    task: Task, home: Home, recipes: Sequence[Recipe], *, within: str | None = None
) -> Lookup:
    """Where these recipes look, until the home folder is closed.

    What they need of the documents and records is read now, as far as it changed. The task's
    collection, or the one named by `within`, then holds what the task names and nothing else.

    Raises:
        InputError: there is no text in any of them.
    """
    contexts = [context for recipe in recipes for context in recipe.contexts]
    reads = any("documents" in recipe.weights.learn for recipe in recipes)
    lookup = Lookup(accepted=_accepted(task, home))
    known, within = task.knowledge, within or collection(task)
    started = time.perf_counter()
    if known.documents and (reads or any(context.passages for context in contexts)):
        index, unread = _index(task, home, within, known.documents, read_files)
        lookup = replace(lookup, documents=index, notes=unread)
        if reads:
            with open_knowledge(home.path, within) as base:
                lookup = replace(lookup, texts=tuple(base.texts(now=utc_now())))
    if known.history is not None and any(context.history != "none" for context in contexts):
        records, _ = _index(task, home, users_of(within), [known.history], _read_records)
        lookup = replace(lookup, records=records)
    return replace(lookup, seconds=_first_seconds(home, lookup, time.perf_counter() - started))


def reopen_lookup(
    task: Task, home: Home, recipe: Recipe, *, accepted: int, within: str | None = None
) -> Lookup:
    """Where a recipe looks, as it stands: no document is read again.

    Of the accepted answers those up to that number; one that was corrected since is not among them.

    Raises:
        InputError: what it looks up is not in the home folder.
    """
    lookup = Lookup(accepted=_accepted(task, home, accepted))
    within = within or collection(task)
    if task.knowledge.documents and recipe.context.passages:
        lookup = replace(lookup, documents=_reopened(task, home, within))
    if task.knowledge.history is not None and recipe.context.history != "none":
        lookup = replace(lookup, records=_reopened(task, home, users_of(within)))
    return lookup


def _accepted(task: Task, home: Home, up_to: int | None = None) -> tuple[Example, ...]:
    """The accepted answers, but for those that are rows of train by now."""
    known = {(example.input, target_text(example.target)) for example in task.train}
    return tuple(
        example
        for example in home.database.accepted(task.name, up_to)
        if (example.input, target_text(example.target)) not in known
    )


def _reopened(task: Task, home: Home, name: str) -> SqliteIndex:
    with open_knowledge(home.path, name, create=False) as base:
        path = base.path
    index = SqliteIndex(path, open_embedder(embedder_of(task.models[0])))
    home.closing.callback(index.close)
    index.prepare()
    return index


def unseen(lookup: Lookup, task: Task) -> Lookup:
    """Without the accepted answers to what dev and test ask, which would give those away."""
    asked = {example.input for example in (*task.dev, *task.test)}
    return replace(lookup, accepted=tuple(a for a in lookup.accepted if a.input not in asked))


def that_differ(recipes: Sequence[Recipe], lookup: Lookup) -> tuple[list[Recipe], Lookup]:
    """Without the recipes that ignore dates where there are none, which a note then says."""
    if lookup.documents is None or lookup.documents.is_dated:
        return list(recipes), lookup
    left = [recipe for recipe in recipes if recipe.context.as_of == "asked"]
    notes = tuple(
        f"{recipe.name} was left out: no document has dates"
        for recipe in recipes
        if recipe not in left
    )
    return left, replace(lookup, notes=(*lookup.notes, *notes))


def users_of(collection: str) -> str:
    """The collection of the records of users that stands beside one of documents."""
    return f"{collection}.users"


def collection(task: Task) -> str:
    """The collection of a task's documents: its name, spelt as a collection's must be."""
    if COLLECTION.fullmatch(task.name):
        return task.name
    safe = re.sub(r"[^\w.-]+", "-", task.name).strip("-.")[:60]
    return f"{safe or 'task'}-{digest(task.name)[:8]}"


def _index(
    task: Task, home: Home, name: str, paths: Sequence[Path], read: Reader
) -> tuple[SqliteIndex, tuple[str, ...]]:
    """The index of a collection that holds these paths, and a note for each file not read."""
    source = embedder_of(task.models[0])
    embedder = open_embedder(source)
    with open_knowledge(home.path, name) as base:
        added = update(base, paths, embedder, only=True, read=read)
        base.embedder = "fake" if is_fake(source) else "default"
        notes = tuple(f"{path} was not read: {reason}" for path, reason in added.unreadable)
        if not base.documents():
            raise InputError(
                f"{task.name}: nothing can be read in {', '.join(map(str, paths))}. "
                f"{' '.join(notes)} Expected text. Name something else under [knowledge]."
            )
    index = SqliteIndex(base.path, embedder)
    home.closing.callback(index.close)
    index.prepare()
    return index, notes


def _read_records(files: Iterable[Found]) -> Iterator[tuple[Found, Outcome]]:
    """A history file as documents: one for each record, its user's own from its time on."""
    for found in files:
        yield (
            found,
            [
                Document(
                    id=record.id,
                    title="",
                    text=record.text,
                    format="record",
                    user=record.user,
                    valid_from=record.time,
                )
                for record in read_history(found.path)
            ],
        )


def _first_seconds(home: Home, lookup: Lookup, seconds: float) -> float:
    """What making these indexes took the first time: a later one finds them made."""
    indexes = [i.fingerprint for i in (lookup.documents, lookup.records) if i is not None]
    if not indexes:
        return 0.0
    key = f"index:{'+'.join(indexes)}"
    home.database.add_build(key, None, seconds, None)
    found = home.database.build(key)
    return seconds if found is None else found[1]
