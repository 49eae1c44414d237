"""Releases opened: the object that is measured before it is published and that is served after."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Answer, Query, Recipe, Release, System, Task
from steelyard.errors import InputError, StoreError, unknown
from steelyard.lifecycle.asking import workshop_of
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.looking import reopen_lookup, unseen
from steelyard.lifecycle.serving import backend_of, base_of
from steelyard.models import Backend, Listen
from steelyard.recipes import Lookup, reopen
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.store import ALIASES
from steelyard.store.plain import plain, typed

SNAPSHOT = "release.json"


@dataclass(frozen=True, eq=False)
class Served:
    """A release as something that answers. `stale` says in sentences what is not as it was.

    `base` is its base model alone, where another engine than the one it was weighed with has it.
    """

    release: Release
    task: Task
    system: System
    fingerprint: str
    stale: tuple[str, ...] = ()
    base: tuple[str, Backend] | None = None

    def answer_all(self, queries: Sequence[Query], listen: Listen) -> list[Answer]:
        """What is said to each query; `listen` hears texts on their way where there are any."""
        if isinstance(self.system, LanguageModelSystem):
            return self.system.answer_many(queries, listen)
        return self.system.answer_many(queries)


def take_snapshot(task: Task, recipe: Recipe, home: Home) -> str:
    """Keep a task and a recipe as they are now, and return the name of the artefact."""
    folder = Path(tempfile.mkdtemp(dir=home.path, prefix=".release-"))
    try:
        task_body = {**plain(task), "path": None if task.path is None else str(task.path)}
        body = {"task": task_body, "recipe": plain(recipe)}
        # As the task has them: the order of a schema's fields is the one in which they are written.
        text = json.dumps(body, ensure_ascii=False)
        (folder / SNAPSHOT).write_text(text, encoding="utf-8")
        return home.artefacts.put(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_snapshot(release: Release, home: Home) -> tuple[Task, Recipe]:
    """The task and the recipe of a release.

    Raises:
        StoreError: they are gone, or not what was published.
    """
    path = home.artefacts.get(release.snapshot) / SNAPSHOT
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        return typed(Task, body["task"]), typed(Recipe, body["recipe"])
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path}: no release can be read there ({error}); publish again"
        ) from error


def open_release(release: Release, home: Home, *, measuring: Task | None = None) -> Served:
    """A release ready to answer, for as long as the home folder is open.

    `measuring` is a task whose dev and test it is measured on: what users accepted as answers to
    those very inputs is left out.

    Raises:
        InputError: what it looks up, or its base model, is not there.
        StoreError: its snapshot or its weights are gone, or not what was published.
    """
    task, recipe = read_snapshot(release, home)
    lookup = reopen_lookup(
        task, home, recipe, accepted=release.accepted, within=release.collection or None
    )
    if measuring is not None:
        lookup = unseen(lookup, measuring)
    workshop = workshop_of(task, home, release.seed, lookup)
    serving, through, base = release.serving, None, None
    if serving is not None:
        through = backend_of(serving, recipe, task, home)
        base = base_of(serving, recipe, task, home)
    built = reopen(recipe, task, workshop, release.artefacts, through=through)
    return Served(
        release,
        task,
        built.system,
        built.fingerprint,
        tuple(_stale(release, lookup, through)),
        None if base is None else (recipe.model, base),
    )


def indexes(lookup: Lookup) -> tuple[str | None, ...]:
    """Names what a release looks up: its documents and the records of users."""
    return tuple(
        None if index is None else index.fingerprint for index in (lookup.documents, lookup.records)
    )


def find_release(home: Home, wanted: str) -> Release:
    """The release that a name means: `name` (its champion), `name@3` or `name@challenger`.

    Raises:
        InputError: there is none, with those there are.
    """
    name, _, which = wanted.partition("@")
    known = home.releases.all(name)
    if not known:
        names = dict.fromkeys(release.name for release in home.releases.all())
        if not names:
            raise InputError(
                f"{wanted}: nothing is published here yet; run: steelyard publish TASK"
            )
        raise InputError(unknown("release", name, names))
    aliases: dict[str, int] = dict(home.releases.aliases(name).items())
    version = aliases.get(which or "champion") if which in ("", *ALIASES) else _number(which)
    for release in known:
        if release.version == version:
            return release
    there = [*(str(r.version) for r in known), *aliases]
    raise InputError(unknown(f"release {name} of version", which or "champion", there))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None


def _stale(release: Release, lookup: Lookup, through: Backend | None) -> list[str]:
    why = []
    if indexes(lookup) != release.index:
        why.append("the documents or records it looks up are not those that it was published with")
    ran = None if release.serving is None else release.serving.fingerprint
    if release.serving is not None and through is not None and through.fingerprint != ran:
        engine = release.serving.engine
        why.append(f"{engine} does not run what it ran when it was published")
    return why
