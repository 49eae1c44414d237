"""The verb `refresh`: what is served, brought up to date by the least that is shown to help.

champion ── news ──→ ways (examples, index, weights, both) ── measured on new and old rows ─→
choose ── nothing ──→ it stays             (a row says why)
   └──── a way ───→ the next version, measured again through what serves it, is the champion
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Json, Recipe, Release, Row, Serving, Task, digest
from steelyard.errors import HomeError, ReleaseError, SteelyardError
from steelyard.lifecycle.asking import workshop_of
from steelyard.lifecycle.events import Listener
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.publishing import add_release, release_name
from steelyard.lifecycle.releases import (
    find_release,
    indexes,
    open_release,
    read_snapshot,
    take_snapshot,
)
from steelyard.lifecycle.renewing import (
    News,
    Option,
    drop_collection,
    news,
    options,
    refreshed_collection,
)
from steelyard.lifecycle.serving import prepare
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.lifecycle.weigh import open_account, reach_scorer
from steelyard.measure.grading import Grader
from steelyard.measure.renewal import Renewal, Tried, Way, choose, enough
from steelyard.measure.trial import ALONE
from steelyard.measure.verdict import Weighed, candidate
from steelyard.models import Account
from steelyard.recipes import Built, reopen
from steelyard.store.refreshes import RefreshJob


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh came to: the way that was taken, the new release if there is one, and why."""

    name: str
    way: Way
    sentence: str
    release: Release | None
    body: Json


def refresh(
    task: Task,
    *,
    home: Path = DEFAULT_HOME,
    name: str | None = None,
    why: str = "asked for",
    listen: Listener = lambda _: None,
) -> Refreshed:
    """Refresh the champion of a name by the least that is shown to help, or leave it.

    The same call after an interruption goes on where it stopped.

    Raises:
        HomeError: another refresh of it runs.
        InputError: nothing is published under that name.
        WorkError: a way could not be built or measured; what is served stays.
    """
    name = release_name(task) if name is None else name
    with _opened(home, name) as opened:
        return refresh_in(task, opened, name, why, listen)


def refresh_in(task: Task, home: Home, name: str, why: str, listen: Listener) -> Refreshed:
    """The same in an open home folder."""
    champion = find_release(home, name)
    key = job_key(task, champion, home)
    gone = _rolled_back(home, name, key)
    job = home.refreshes.begin(name, key, why)
    _clear(task, home, name)
    if gone is not None:
        shared = home.releases.shared(name)
        tried = shared is not None and f"{name}@{shared.version}" == gone
        state = "is tried on a share of the requests" if tried else "was rolled back"
        sentence = f"Nothing was changed: what is new now made {gone}, which {state}."
        body: Json = {"way": "nothing", "sentence": sentence, "release": None}
        home.refreshes.end(job.id, "done", body)
        return Refreshed(name, "nothing", sentence, None, body)
    try:
        done = _Run(task, home, champion, job, listen).run()
    except SteelyardError as error:
        home.refreshes.end(job.id, "failed", {"sentence": str(error), "way": "nothing"})
        raise
    home.refreshes.end(job.id, "done", done.body)
    return done


def job_key(task: Task, champion: Release, home: Home) -> str:
    """Names all that a refresh depends on: the same twice comes to the same."""
    return digest([task.hash, champion.id, home.database.last_accepted()])


def _clear(task: Task, home: Home, name: str) -> None:
    """Remove the collections of refreshes that came to nothing."""
    used = {release.collection for release in home.releases.all()}
    for job in home.refreshes.all(name):
        within = refreshed_collection(task, job.id)
        if job.status in ("given up", "failed") and within not in used:
            drop_collection(home, within)


def _rolled_back(home: Home, name: str, key: str) -> str | None:
    """The release that the same refresh came to before, as it is the champion no more."""
    for job in home.refreshes.all(name):
        if job.key == key and job.status == "done" and job.body.get("release"):
            return str(job.body["release"])
    return None


@contextmanager
def _opened(path: Path, name: str) -> Iterator[Home]:
    """The home folder for a refresh, or that another one is under way."""
    try:
        with open_home(path, create=False) as opened:
            yield opened
    except HomeError as error:
        if not (path / "steelyard.db").is_file():
            raise
        with open_home(path, create=False, lock=None) as looked:
            running = [job for job in looked.refreshes.all(name) if job.status == "running"]
        if not running:
            raise
        raise HomeError(
            f"{name}: a refresh of it began at {running[0].began_at} and has not ended, and "
            f"{str(error).partition(': ')[2]}"
        ) from error


@dataclass(frozen=True)
class _Run:
    """One refresh of a champion, from what is new to a new release or none."""

    task: Task
    home: Home
    champion: Release
    job: RefreshJob
    listen: Listener

    def run(self) -> Refreshed:
        home, champion = self.home, self.champion
        before, recipe = read_snapshot(champion, home)
        reach_scorer(self.task)
        found = news(self.task, before, recipe, champion, home)
        ways = options(found, before, recipe, champion, home, number=self.job.id)
        told = {
            "champion": champion.id,
            "why": self.job.why,
            "num_new": len(found.new),
            "num_old": len(found.old),
            "num_learned": found.num_learned,
            "num_gone": found.num_gone,
            "documents_changed": any(one.way in ("index", "both") for one in ways),
            "ways": [],
        }
        lacking = _lacking(found, ways, champion)
        if lacking is not None:
            return self._stays(lacking, told, ways)
        measured = self._measured(found, ways, recipe)
        groups = {example.id: example.group for example in found.task.dev}
        tried = [_tried(way, one[0], found) for way, one in measured.items()]
        if not all(enough(one.new, groups) and enough(one.old, groups) for one in tried):
            return self._stays("Nothing was changed: too many answers failed.", told, ways)
        renewal = choose(
            tried,
            groups,
            tolerance=self.task.tolerance,
            confidence=CONFIDENCE,
            seed=champion.seed,
        )
        told["ways"] = list(renewal.ways)
        if renewal.way == "nothing":
            return self._stays(renewal.sentence, told, ways)
        option = next(one for one in ways if one.way == renewal.way)
        return self._promoted(renewal, option, *measured[renewal.way], told=told, ways=ways)

    def _measured(
        self, found: News, ways: Sequence[Option], recipe: Recipe
    ) -> dict[Way, tuple[Weighed, Built]]:
        """Doing nothing, and each way that could be built, on the new rows and the old ones."""
        champion, account = self.champion, open_account(self.task, self.home)
        as_weighed = replace(champion, serving=None)  # like the other ways; checked when it is made
        served = open_release(as_weighed, self.home, measuring=found.task)
        stays = Built(served.system, served.fingerprint, 0.0, artefacts=champion.artefacts)
        lookup = ways[0].lookup  # not used: the system is there already
        as_it_is = Option("nothing", found.task, lookup, champion.accepted, champion.collection)
        done: dict[Way, tuple[Weighed, Built | None]] = {}
        done["nothing"] = self._measure(as_it_is, recipe, stays, account)
        for option in ways:
            built = None
            if not option.learned:
                workshop = workshop_of(option.task, self.home, champion.seed, option.lookup)
                workshop = replace(workshop, account=account)
                built = reopen(recipe, option.task, workshop, champion.artefacts)
            done[option.way] = self._measure(option, recipe, built, account)
        failed = done["nothing"][0]
        if failed.status != "finished":
            raise ReleaseError(f"{champion.id} cannot be measured: {failed.why}")
        return {
            way: (weighed, built)
            for way, (weighed, built) in done.items()
            if weighed.status == "finished" and built is not None
        }

    def _measure(
        self, option: Option, recipe: Recipe, built: Built | None, account: Account
    ) -> tuple[Weighed, Built | None]:
        task = option.task
        trials = Trials(
            task,
            self.champion.seed,
            self.home,
            option.lookup,
            Grader.of(task),
            self.listen,
            time.monotonic(),
            task.limits.minutes,
            built={} if built is None else {recipe: built},
            account=account,
        )
        entered = trials.enter(recipe)
        if entered.status != "finished":
            return entered, None
        built = trials.built[recipe]
        return trials.finish(trials.advance(entered, task.dev, alone=ALONE)), built

    def _promoted(
        self,
        renewal: Renewal,
        option: Option,
        weighed: Weighed,
        built: Built,
        *,
        told: dict[str, Json],
        ways: Sequence[Option],
    ) -> Refreshed:
        champion, task, share = self.champion, option.task, self.task.refresh.canary
        rows: dict[str, Row] = {row.example_id: row for row in weighed.rows["dev"]}
        body = told | {"way": renewal.way, "sentence": renewal.sentence}
        draft = Release(
            name=champion.name,
            task=task.name,
            task_hash=task.hash,
            recipe=champion.recipe,
            seed=champion.seed,
            snapshot=take_snapshot(task, built.system.recipe, self.home),
            artefacts=built.artefacts,
            index=indexes(option.lookup),
            accepted=option.accepted,
            fingerprint=built.fingerprint,
            verdict={**champion.verdict, "refreshed": body},
            collection=option.collection,
            serving=self._serving(built, task),
        )
        try:
            release = add_release(
                *(draft, self.home, rows),
                alias="champion" if share is None else "challenger",
                why=f"refreshed ({self.job.why}): {renewal.sentence}",
                evidence=body if share is None else body | {"share": share},
            )
        except ReleaseError as error:
            self._drop(ways, "")
            raise ReleaseError(f"{champion.id} stays the champion. {error}") from error
        self._drop(ways, option.collection)
        alias = "champion" if share is None else "challenger"
        body |= {"release": release.id, "alias": alias, "parity": release.parity}
        return Refreshed(champion.name, renewal.way, renewal.sentence, release, body)

    def _serving(self, built: Built, task: Task) -> Serving | None:
        """What the new release is served through: what the champion is."""
        before = self.champion.serving
        if before is None:
            return None
        return prepare(before, built.system.recipe, task, built.artefacts, self.home)

    def _stays(self, sentence: str, told: dict[str, Json], ways: Sequence[Option]) -> Refreshed:
        self._drop(ways, "")
        body = told | {"way": "nothing", "sentence": sentence, "release": None}
        return Refreshed(self.champion.name, "nothing", sentence, None, body)

    def _drop(self, ways: Sequence[Option], but: str) -> None:
        for name in {one.collection for one in ways} - {but, self.champion.collection}:
            drop_collection(self.home, name)


def _lacking(found: News, ways: Sequence[Option], champion: Release) -> str | None:
    """Why nothing can be tried or compared, or None."""
    if not ways:
        return f"Nothing changed for {champion.id} since it was published."
    sizes = {"new": found.new, "old": found.old}
    for kind, rows in sizes.items():
        if len({row.group for row in rows}) < 2:
            return (
                f"Nothing was changed: there is something new, and {len(rows)} {kind} rows of dev "
                "to show that it helps and does no harm; expected some in at least 2 groups. "
                "Add rows, or accept feedback."
            )
    return None


def _tried(way: Way, weighed: Weighed, found: News) -> Tried:
    of = candidate(weighed, found.task)
    return Tried(
        way,
        new={e.id: of.scores[e.id] for e in found.new if e.id in of.scores},
        old={e.id: of.scores[e.id] for e in found.old if e.id in of.scores},
        eligible=of.eligible,
    )
