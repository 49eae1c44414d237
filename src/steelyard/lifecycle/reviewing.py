"""What users said of answers, looked at by somebody before it becomes examples."""

from __future__ import annotations

import getpass
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json, Task
from steelyard.errors import InputError
from steelyard.knowledge.base import Base
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.learning import learn, problem, unlearn
from steelyard.lifecycle.releases import read_snapshot
from steelyard.recipes.prompt import target_text
from steelyard.store.traffic import Given, Status, Traffic

MOST_OF_USER = 20  # corrections of one user that agreement may accept. Source: ours


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What went with a user, and which releases still hold rows of theirs."""

    requests: int
    feedback: int
    accepted: int
    documents: int
    releases: tuple[str, ...]


def waiting(home: Home, status: Status | None = "waiting") -> list[Given]:
    """What users said that waits for a decision, the earliest first; all for None."""
    if not home.traffic.is_file():
        return []
    traffic = Traffic(home.traffic)
    try:
        return traffic.feedback(status=status)
    finally:
        traffic.close()


def accept(home: Home, ids: Sequence[str]) -> int:
    """Make corrections examples: those of a user are shown to that user alone.

    All or none is accepted; how many were.

    Raises:
        InputError: one of them has no correction, or its request was not recorded.
    """
    found = [_find(home, id) for id in ids]
    learned = [_lesson(home, given) for given in found]
    for given, (task, text) in zip(found, learned, strict=True):
        feedback = given.feedback
        user, time = feedback.user or None, feedback.created_at
        learn(task, home, text, feedback.correction, user=user, time=time)
    _decide(home, ids, "accepted")
    return len(found)


def reject(home: Home, ids: Sequence[str]) -> int:
    """Put feedback aside; how much.

    Raises:
        InputError: there is none of an id.
    """
    for id in ids:
        _find(home, id)
    _decide(home, ids, "rejected")
    return len(ids)


def agreed(given: Sequence[Given], least: int) -> list[str]:
    """The ids of corrections that so many different users gave to the same input.

    A user counts once for an input, and of one user no more than `MOST_OF_USER` are taken: nobody
    teaches alone.
    """
    voices: dict[tuple[str | None, str | None, str], dict[str, str]] = defaultdict(dict)
    for one in given:
        feedback = one.feedback
        if feedback.correction is None or not feedback.user or one.input is None:
            continue
        key = ((one.release or "").partition("@")[0], one.input, target_text(feedback.correction))
        voices[key].setdefault(feedback.user, feedback.id)
    taken: list[str] = []
    of_user: dict[str, int] = defaultdict(int)
    for users in voices.values():
        if len(users) < least:
            continue
        for user, id in users.items():
            if of_user[user] < MOST_OF_USER:
                of_user[user] += 1
                taken.append(id)
    return taken


def exported(given: Given) -> dict[str, Json]:
    """Feedback as a line of a file, with the columns that a task can read."""
    feedback = given.feedback
    return {
        "id": feedback.id,
        "input": given.input,
        "answer": given.answer,
        "target": feedback.correction,
        "score": feedback.score,
        "comment": feedback.comment,
        "user": feedback.user or None,
        "release": given.release,
        "status": feedback.status,
        "time": feedback.created_at,
    }


def forget(home: Home, user: str) -> Forgotten:
    """Delete all that a user asked, said, accepted and owns, in every collection.

    Releases hold their task as it was; those with rows of the user are named: publish them again
    from data without.

    Raises:
        InputError: the user has no name.
    """
    if not user:
        raise InputError("expected the name of a user")
    requests = feedback = documents = 0
    if home.traffic.is_file():
        traffic = Traffic(home.traffic)
        try:
            requests, feedback = traffic.forget_user(user)
        finally:
            traffic.close()
    for path in sorted((home.path / "knowledge").glob("*.db")):
        documents += _forget_documents(path, user)
    marked = tuple(
        release.id
        for release in home.releases.all()
        if any(
            example.user == user or user in example.metadata.get("users", ())
            for example in read_snapshot(release, home)[0].train
        )
    )
    return Forgotten(requests, feedback, unlearn(home, user), documents, marked)


def _forget_documents(path: Path, user: str) -> int:
    with Base(path) as base:
        tenants = {document.tenant for document in base.documents() if document.user == user}
        return sum(base.forget_user(user, tenant=tenant)[0] for tenant in tenants)


def _find(home: Home, id: str) -> Given:
    for given in waiting(home, None):
        if given.feedback.id == id:
            return given
    raise InputError(f"{id}: no feedback has that id; see: steelyard feedback list --all")


def _lesson(home: Home, given: Given) -> tuple[Task, str]:
    """The task that a correction is about, and its input."""
    feedback = given.feedback
    if feedback.correction is None:
        raise InputError(f"{feedback.id}: it has no correction, so there is nothing to learn")
    if given.input is None or given.release is None:
        raise InputError(
            f"{feedback.id}: its request is not recorded any more, or without its text (--record); "
            "reject it"
        )
    task = _task_of(home, given.release)
    wrong = problem(task, feedback.correction)
    if wrong is not None:
        raise InputError(f"{feedback.id}: the correction {wrong}; reject it")
    return task, given.input


def _task_of(home: Home, id: str) -> Task:
    for release in home.releases.all(id.partition("@")[0]):
        if release.id == id:
            return read_snapshot(release, home)[0]
    raise InputError(f"{id}: is no release of this home folder, so it has no task to learn for")


def _decide(home: Home, ids: Sequence[str], status: Status) -> None:
    traffic = Traffic(home.traffic)
    try:
        traffic.decide(ids, status, getpass.getuser())
    finally:
        traffic.close()
