"""What is due to be refreshed, by what was interrupted and by the schedules of task files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from steelyard.core import Json, Release, Task
from steelyard.errors import SteelyardError
from steelyard.lifecycle.events import Listener
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.refreshing import Refreshed, job_key, refresh_in
from steelyard.lifecycle.releases import find_release, read_snapshot
from steelyard.lifecycle.scheduling import due_at, is_due, now_utc
from steelyard.lifecycle.watching import give_back, look, settle
from steelyard.tasks import load_task


@dataclass(frozen=True, slots=True)
class Due:
    """A release whose refresh is due, and why; or why it cannot be."""

    name: str
    task: Task | None
    why: str


def due(home: Home, *, now: datetime | None = None) -> list[Due]:
    """What is to be refreshed now: what was interrupted, and what its task file's schedule says.

    A schedule counts from the end of the last refresh, so that of many that were missed one runs.
    A clock that went back makes one due at once.
    """
    moment = now or now_utc()
    found = []
    for name in dict.fromkeys(release.name for release in home.releases.all()):
        if "champion" not in home.releases.aliases(name):
            continue
        champion = find_release(home, name)
        path = read_snapshot(champion, home)[0].path
        try:
            task = None if path is None else load_task(path)
        except SteelyardError as error:
            found.append(Due(name, None, str(error)))
            continue
        why = None if task is None else why_due(task, champion, home, moment)
        if why is not None:
            found.append(Due(name, task, why))
    return found


def why_due(task: Task, champion: Release, home: Home, now: datetime) -> str | None:
    """Why a champion is to be refreshed now, or None."""
    if home.releases.shared(champion.name) is not None:
        return None  # one at a time
    jobs, hours = home.refreshes.all(champion.name), task.refresh.every_hours
    if jobs and jobs[0].status == "running":
        return jobs[0].why
    if hours is not None and is_due(hours, due_at(hours, champion, jobs), now):
        return f"every {hours:g} hours"
    if task.refresh.on_drift and all(job.key != job_key(task, champion, home) for job in jobs):
        signs = [sign.name for sign in look(home, champion) if sign.alarm]
        return f"drift of {', '.join(signs)}" if signs else None
    return None


def refresh_due(
    *, home: Path = DEFAULT_HOME, listen: Listener = lambda _: None, now: datetime | None = None
) -> list[Refreshed]:
    """Refresh all that is due, one after the other; what fails is told and stops no other.

    First, challengers with a share of the requests are settled, and refreshed releases that users
    score lower than the one before give their place back.

    Raises:
        HomeError: another process works in the home folder.
    """
    done = []
    with open_home(home, create=False) as opened:
        for name, release, why in (*settle(opened), *give_back(opened)):
            body: Json = {"way": "nothing", "sentence": why, "release": release.id}
            done.append(Refreshed(name, "nothing", why, release, body))
        for one in due(opened, now=now):
            if one.task is None:
                done.append(Refreshed(one.name, "nothing", one.why, None, {"sentence": one.why}))
                continue
            try:
                done.append(refresh_in(one.task, opened, one.name, one.why, listen))
            except SteelyardError as error:
                told = f"failed: {error}"
                done.append(Refreshed(one.name, "nothing", told, None, {"sentence": told}))
    return done
