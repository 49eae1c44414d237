"""When what is served is to be refreshed by its task file, found without reading a row of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from steelyard.core import Refresh, Release
from steelyard.errors import SteelyardError
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.releases import find_release, read_snapshot
from steelyard.store.refreshes import RefreshJob
from steelyard.tasks.task_file import parse_task, read_task_text


def due_at(every_hours: float, champion: Release, jobs: Sequence[RefreshJob]) -> datetime:
    """When the next refresh is due: so long after the last one ended, or after publishing."""
    last = jobs[0].ended_at if jobs and jobs[0].ended_at else champion.created_at
    return datetime.fromisoformat(last) + timedelta(hours=every_hours)


def is_due(every_hours: float, at: datetime, now: datetime) -> bool:
    """Whether it is time; a clock that went back to before the last one makes it so at once."""
    return now >= at or now < at - timedelta(hours=every_hours)


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a task file says about the champion of a name. `at` is None where no hours are given.

    `begun`: a refresh of it did not end; `looks`: something of it is looked at between two.
    """

    name: str
    rule: Refresh
    at: datetime | None
    begun: bool
    looks: bool

    def is_due(self, now: datetime) -> bool:
        """Whether its hours are over, or one was interrupted."""
        hours = self.rule.every_hours
        return self.begun or (
            hours is not None and self.at is not None and is_due(hours, self.at, now)
        )


@dataclass
class Schedules:
    """The schedules of a home folder, as the task files have them now."""

    home: Home
    _paths: dict[str, Path | None] = field(default_factory=dict)  # by the name of a snapshot

    def all(self) -> list[Schedule]:
        """Those of the champions whose task file says when; a file that is wrong says nothing."""
        found = []
        for name in dict.fromkeys(release.name for release in self.home.releases.all()):
            if "champion" not in self.home.releases.aliases(name):
                continue
            champion = find_release(self.home, name)
            if (rule := self._rule(champion)) is not None:
                found.append(self._schedule(champion, rule))
        return found

    def _schedule(self, champion: Release, rule: Refresh) -> Schedule:
        name, releases = champion.name, self.home.releases
        jobs, hours = self.home.refreshes.all(name), rule.every_hours
        shared = releases.shared(name) is not None
        may_go_back = rule.rollback and "previous" in releases.aliases(name)
        return Schedule(
            name,
            rule,
            None if hours is None or shared else due_at(hours, champion, jobs),
            bool(jobs) and jobs[0].status == "running",
            shared or rule.on_drift or (may_go_back and "refreshed" in (champion.verdict or {})),
        )

    def _rule(self, champion: Release) -> Refresh | None:
        try:
            if champion.snapshot not in self._paths:
                self._paths[champion.snapshot] = read_snapshot(champion, self.home)[0].path
            path = self._paths[champion.snapshot]
            if path is None:
                return None
            rule = parse_task(path, read_task_text(path)).refresh
        except SteelyardError:
            return None
        return rule if rule.every_hours is not None or rule.on_drift else None


def now_utc() -> datetime:
    """The time by which schedules go."""
    return datetime.now(UTC)
