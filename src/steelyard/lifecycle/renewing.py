"""What is new since a release was published, and the ways in which it could be taken up.

task file now ─┐                         train: its rows, and answers accepted for everybody
snapshot ──────┼─→ the task of the refresh
accepted ──────┘                         dev:   old  rows that the release was measured on
                                                new  rows that it never saw, and some accepted
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import SPLITS, Example, Recipe, Release, Task, digest
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.knowledge import open_knowledge
from steelyard.lifecycle.looking import collection, open_lookup, reopen_lookup, unseen, users_of
from steelyard.lifecycle.releases import indexes
from steelyard.measure.money import num_labels
from steelyard.measure.renewal import Way
from steelyard.recipes import Lookup
from steelyard.recipes.prompt import target_text
from steelyard.store.sqlite import utc_now

# Of the accepted answers one in so many is measured on and never learned from. Source: ours
HELD_OUT = 3
VOICES = 2  # users that must agree before an answer of theirs is everybody's. Source: ours


@dataclass(frozen=True)
class News:
    """The task of a refresh, and its rows of dev by whether the release knows them.

    `accepted` is the number up to which accepted answers are looked at; `num_learned` rows are
    there to learn from that were not, `num_gone` are no longer.
    """

    task: Task
    old: tuple[Example, ...]
    new: tuple[Example, ...]
    accepted: int
    num_learned: int
    num_gone: int
    num_own: int

    @property
    def learns(self) -> bool:
        """Whether there is anything else to learn from, or to show."""
        return bool(self.num_learned or self.num_gone or self.num_own)


@dataclass(frozen=True)
class Option:
    """A way of refreshing: the task, and what it looks up, as the release would have them.

    `learned`: its weights are to be made, and are not those of the release.
    """

    way: Way
    task: Task
    lookup: Lookup
    accepted: int
    collection: str
    learned: bool = False


def news(task: Task, before: Task, recipe: Recipe, release: Release, home: Home) -> News:
    """What of a task, and of what users said, a release does not know.

    A row that it learned from and that now stands in dev is measured on by nobody.
    """
    accepted = home.database.accepted(task.name)
    last = home.database.last_accepted()
    in_file = {example.input for split in SPLITS for example in task.split(split)}
    shared = [example for example in everyones(accepted) if example.input not in in_file]
    held = [example for example in shared if _is_held_out(example)]
    learned = [example for example in shared if not _is_held_out(example)]
    here = {example.id for example in task.train}
    shots = [e for e in before.train if e.id in recipe.context.shots and e.id not in here]
    train = (*task.train, *shots, *learned)

    measured_on = _pairs((*before.dev, *before.test))
    known = measured_on | _pairs(before.train)
    dev = (*task.dev, *held)
    old = tuple(e for e in dev if _pair(e) in measured_on)
    new = tuple(e for e in dev if _pair(e) not in known)
    shown = _pairs(before.train) | _pairs(e for e in accepted if _number(e) <= release.accepted)
    now = _pairs(e for split in SPLITS for e in task.split(split)) | _pairs(shared)
    rows = [[e.id, e.input, e.target] for e in (*train, *old, *new)]
    fresh = replace(
        task,
        train=train,
        dev=(*old, *new),
        hash=digest([task.hash, rows]),
        models=before.models,
    )
    return News(
        task=fresh,
        old=old,
        new=new,
        accepted=last,
        num_learned=len(_pairs(train) - shown),
        num_gone=len(_pairs(before.train) - now),
        num_own=sum(
            _number(e) > release.accepted and e.user is not None and e.input not in in_file
            for e in accepted
        ),
    )


def everyones(accepted: Sequence[Example]) -> list[Example]:
    """The accepted answers that may be shown to everybody and learned: of no user, or the same of
    `VOICES` users. Of several to one input the latest; `metadata` names the users."""
    voices: dict[tuple[str, str], list[Example]] = defaultdict(list)
    for example in accepted:
        voices[_pair(example)].append(example)
    found: dict[str, tuple[int, Example]] = {}
    for same in voices.values():
        users = sorted({example.user for example in same if example.user is not None})
        if len(users) == len(same) and len(users) < VOICES:
            continue
        first, last = same[0], max(_number(example) for example in same)
        one = replace(first, user=None, metadata={"users": users})
        if first.input not in found or found[first.input][0] < last:
            found[first.input] = (last, one)
    return [example for _, example in found.values()]


def options(
    found: News, before: Task, recipe: Recipe, release: Release, home: Home, *, number: int
) -> list[Option]:
    """The ways that make a difference to a release; none when nothing changed for it.

    The documents are read into a collection of this refresh alone, so that what is served goes on
    with its own.
    """
    task, kept = found.task, release.collection or collection(before)
    # What is not learned anew stays as it was; the rows it is measured on are the same for all.
    still = replace(
        task,
        train=before.train,
        output=before.output,
        instruction=before.instruction,
        hash=digest([task.hash, before.hash, "index"]),
    )
    changed = _changed_documents(task, recipe, home, kept, number)
    name = release.collection if changed is None else changed
    teaches = recipe.weights.method != "none" and (
        (bool(found.num_learned or found.num_gone) and num_labels(recipe, task) > 0)
        or (changed is not None and "documents" in recipe.weights.learn)
    )
    context = recipe.context
    is_control = recipe.model == recipe.name and num_labels(recipe, task) > 0
    shows = context.examples != "none" or context.history != "none" or is_control
    looks = context.passages > 0 or context.history != "none"

    def option(way: Way, of: Task, accepted: int, within: str, learned: bool = False) -> Option:
        lookup = looked_up(of, home, recipe, accepted, within)
        return Option(way, of, unseen(lookup, task), accepted, within, learned)

    made = []
    if shows and found.learns:
        made.append(option("examples", task, found.accepted, release.collection))
    if looks and changed is not None:
        made.append(option("index", still, release.accepted, name))
    if teaches:
        made.append(option("weights", task, found.accepted, release.collection, learned=True))
    if looks and changed is not None and (teaches or (shows and found.learns)):
        made.append(option("both", task, found.accepted, name, learned=teaches))
    return made


def looked_up(task: Task, home: Home, recipe: Recipe, accepted: int, within: str) -> Lookup:
    """Where a recipe looks in a collection as it stands, and its texts where they are learned."""
    lookup = reopen_lookup(task, home, recipe, accepted=accepted, within=within or None)
    if "documents" in recipe.weights.learn and task.knowledge.documents:
        with open_knowledge(home.path, within or collection(task), create=False) as base:
            lookup = replace(lookup, texts=tuple(base.texts(now=utc_now())))
    return lookup


def refreshed_collection(task: Task, number: int) -> str:
    """The collection of the documents as the refresh of that number reads them."""
    return f"{collection(task)}.r{number}"


def drop_collection(home: Home, name: str) -> None:
    """Remove a collection that nothing published looks up."""
    if not name:
        return
    for file in (home.path / "knowledge").glob("*"):
        if file.name.startswith(f"{name}."):
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def _changed_documents(
    task: Task, recipe: Recipe, home: Home, kept: str, number: int
) -> str | None:
    """The collection of the documents and records as they are now, or None when they are as they
    were."""
    reads = "documents" in recipe.weights.learn
    if not (recipe.context.passages or recipe.context.history != "none" or reads):
        return None
    if not task.knowledge.documents and task.knowledge.history is None:
        return None
    name = refreshed_collection(task, number)
    before = looked_up(task, home, recipe, 0, kept)
    for source, target in ((kept, name), (users_of(kept), users_of(name))):
        _copy(home.path / "knowledge" / f"{source}.db", home.path / "knowledge" / f"{target}.db")
    now = open_lookup(task, home, [recipe], within=name)
    if indexes(now) == indexes(before) and now.texts == before.texts:
        drop_collection(home, name)
        return None
    return name


def _copy(source: Path, target: Path) -> None:
    """Copy a database that others may be writing to, all or nothing."""
    if target.exists() or not source.is_file():
        return
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(part)) as other:
        one.backup(other)
    part.replace(target)


def _is_held_out(example: Example) -> bool:
    return int(digest(["held out", example.input])[:8], 16) % HELD_OUT == 0


def _number(example: Example) -> int:
    return int(example.id.removeprefix("accepted-"))


def _pair(example: Example) -> tuple[str, str]:
    return example.input, target_text(example.target)


def _pairs(examples: Iterable[Example]) -> set[tuple[str, str]]:
    return {_pair(example) for example in examples}
