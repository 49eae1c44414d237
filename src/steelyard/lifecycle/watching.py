"""How what is served is doing: signs of drift, and giving a place back to the release before."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.core import Json, Release, Row, Task
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.publishing import go_back, promotions
from steelyard.lifecycle.releases import find_release, read_snapshot
from steelyard.lifecycle.reviewing import MOST_OF_USER, waiting
from steelyard.lifecycle.scheduling import Schedule, Schedules
from steelyard.measure import drift
from steelyard.measure.drift import Sign
from steelyard.measure.grading import abstains
from steelyard.models import embedder_of, open_embedder
from steelyard.recipes.prompt import target_text
from steelyard.store import Alias, Promotion, TrialRef
from steelyard.store.plain import plain
from steelyard.store.refreshes import RefreshJob
from steelyard.store.traffic import Traffic
from steelyard.tasks import load_task

SETTLED = 60  # scores of each, after which a challenger may be promoted. Source: ours
NO_FAULT = ("client_gone",)  # errors that are the client's


@dataclass(frozen=True, slots=True)
class Standing:
    """How the champion of a name is doing."""

    name: str
    release: Release
    aliases: dict[Alias, int]
    num_requests: int
    signs: tuple[Sign, ...]
    last: RefreshJob | None
    schedule: Schedule | None = None

    def to_json(self) -> Json:
        """As `steelyard status --json` has it."""
        return {
            "name": self.name,
            "release": self.release.id,
            "recipe": self.release.recipe,
            "published_at": self.release.created_at,
            "aliases": dict(self.aliases),
            "num_requests": self.num_requests,
            "signs": _told(self.signs),
            "last_refresh": None if self.last is None else plain(self.last),
            "schedule": None if self.schedule is None else _schedule(self.schedule),
        }


def status(home: Home) -> list[Standing]:
    """How each champion is doing; the signs are kept for a server to show."""
    found, schedules = [], {one.name: one for one in Schedules(home).all()}
    for name in dict.fromkeys(release.name for release in home.releases.all()):
        aliases = home.releases.aliases(name)
        if "champion" not in aliases:
            continue
        champion, jobs = find_release(home, name), home.refreshes.all(name)
        asked = len(_requests(home, champion))
        last = jobs[0] if jobs else None
        signs, schedule = look(home, champion), schedules.get(name)
        found.append(Standing(name, champion, aliases, asked, signs, last, schedule))
    return found


def _schedule(one: Schedule) -> Json:
    at = None if one.at is None else one.at.isoformat(timespec="seconds")
    return {"every_hours": one.rule.every_hours, "on_drift": one.rule.on_drift, "due_at": at}


def look(home: Home, release: Release) -> tuple[Sign, ...]:
    """The signs of drift of a release, from the newest requests to it and all its feedback.

    What is held against them is its rows of dev, and of the inputs train.
    """
    task, recipe = read_snapshot(release, home)
    trial = TrialRef(release.task_hash, release.recipe, release.fingerprint, "dev", release.seed)
    rows = list(home.database.rows(trial).values())
    requests = _requests(home, release)
    answered = [one for one in requests if one["error"] is None]
    ended = [one for one in requests if one["error"] not in NO_FAULT]
    signs: list[tuple[str, Any]] = [
        ("inputs", lambda level: _inputs(task, requests, level, release.seed)),
        ("words", lambda level: _words(task, requests, level, release.seed)),
    ]
    if task.output.type == "label":
        signs.append(("labels", lambda level: _labels(task, rows, answered, level, release.seed)))
    counted = {
        "errors": (_count(r.error for r in rows), _count(one["error"] for one in ended)),
        "form": (
            _count(not r.answer.valid for r in rows if r.error is None),
            _count(not one["valid"] for one in answered),
        ),
    }
    if recipe.context.passages:
        counted["empty"] = (
            _count(not r.answer.sources for r in rows if r.error is None),
            _count(not one["sources"] for one in answered),
        )
    if (sentence := task.knowledge.abstain) is not None:
        counted["refusals"] = (
            _count(abstains(target_text(r.answer.value), sentence) for r in rows),
            _count(abstains(one["answer"] or "", sentence) for one in answered),
        )
    level = drift.level(len(signs) + len(counted) + 1)
    found = [make(level) for _, make in signs]
    found += [drift.more_often(name, *two, level=level) for name, two in counted.items()]
    found.append(drift.fallen("scores", scores(home, release), level=level))
    home.refreshes.keep_drift(release.id, _told(found))
    return tuple(found)


def scores(home: Home, release: Release, *, since: str = "") -> list[float]:
    """What users gave a release, in their order, `since` a time; of one user no more than
    `MOST_OF_USER`."""
    found, of_user = [], dict[str, int]()
    for given in waiting(home, None):
        said = given.feedback
        if given.release != release.id or said.score is None or said.created_at < since:
            continue
        of_user[said.user] = of_user.get(said.user, 0) + 1
        if not said.user or of_user[said.user] <= MOST_OF_USER:
            found.append(said.score)
    return found


def give_back(home: Home) -> list[tuple[str, Release, str]]:
    """Roll back each refreshed champion that users score lower than the one before; name, the
    champion that it is now, and why.

    A test that may be taken after every score: in all of its time, a release that is no worse is
    rolled back in at most a share `FALSE_ALARMS` of cases.
    """
    done = []
    for name in dict.fromkeys(release.name for release in home.releases.all()):
        aliases = home.releases.aliases(name)
        if "champion" not in aliases or "previous" not in aliases:
            continue
        champion, before = find_release(home, name), find_release(home, f"{name}@previous")
        if "refreshed" not in (champion.verdict or {}) or not _may_roll_back(champion, home):
            continue
        sign = lower(scores(home, before), scores(home, champion))
        if sign.alarm:
            why = (
                f"Rolled back: users scored {champion.id} {sign.seen:.2f} over {sign.num_seen} "
                f"answers, and {before.id} {sign.expected:.2f} (p = {sign.p_value:.2g})."
            )
            done.append((name, go_back(home, name, why, _told([sign])[0]), why))
    return done


def settle(home: Home) -> list[tuple[str, Release, str]]:
    """Take the share of requests from each challenger that users score lower than the champion, and
    promote each that `SETTLED` scores do not show lower; name, the release, and why.

    Both answered in the same time, so that what users ask is the same. In all of its time, a
    challenger that is no worse is given up in at most a share `FALSE_ALARMS` of cases.
    """
    done = []
    for name in dict.fromkeys(release.name for release in home.releases.all()):
        if (shared := home.releases.shared(name)) is None:
            continue
        champion, challenger = find_release(home, name), find_release(home, f"{name}@challenger")
        before = scores(home, champion, since=shared.time)
        now = scores(home, challenger, since=shared.time)
        sign = drift.paired_below("scores", now, before, level=drift.FALSE_ALARMS)
        if sign.seen is None or sign.expected is None or sign.p_value is None:
            continue
        told = (
            f"users scored {challenger.id} {sign.seen:.2f} and {champion.id} {sign.expected:.2f} "
            f"over {sign.num_seen} answers each (p = {sign.p_value:.2g})."
        )
        evidence = _told([sign])[0]
        if sign.alarm:
            why = f"Rolled back: {told}"
            line = Promotion(name, "challenger", None, getpass.getuser(), why, evidence)
            home.releases.promote([line])
            done.append((name, champion, why))
        elif sign.num_seen >= SETTLED and sign.seen >= sign.expected - _tolerance(champion, home):
            why = f"Promoted: {told}"
            lines = promotions(home, name, challenger.version, "champion", why, evidence)
            home.releases.promote(lines)
            done.append((name, challenger, why))
    return done


def lower(before: Sequence[float], now: Sequence[float]) -> Sign:
    """Whether scores are lower than those before, of which there must be `drift.FIRST`."""
    level = drift.FALSE_ALARMS
    if len(before) < drift.FIRST or not now:
        return Sign("scores", None, None, None, level, len(now))
    floor = drift.lower_end(before, level / 2)
    expected = sum(before) / len(before)
    return drift.below("scores", floor, now, level=level, expected=expected)


def _tolerance(release: Release, home: Home) -> float:
    return read_snapshot(release, home)[0].tolerance


def _may_roll_back(release: Release, home: Home) -> bool:
    """As the task file has it now, or had it when the release was published."""
    task = read_snapshot(release, home)[0]
    if task.path is not None and task.path.is_file():
        task = load_task(task.path)
    return task.refresh.rollback


def _requests(home: Home, release: Release) -> list[dict[str, Any]]:
    if not home.traffic.is_file():
        return []
    traffic = Traffic(home.traffic)
    try:
        found = traffic.recent(release.id, drift.MOST)
    finally:
        traffic.close()
    return found


def _inputs(task: Task, requests: Sequence[dict[str, Any]], level: float, seed: int) -> Sign:
    asked = [one["input"] for one in requests if one["input"]]
    known = [example.input for example in task.train]
    chosen = np.random.default_rng(seed).permutation(len(known))[: drift.MOST]
    if min(len(asked), len(known)) < drift.LEAST:
        return Sign("inputs", 0.0, None, None, level, len(asked))
    embedder = open_embedder(embedder_of(task.models[0]))
    reference = embedder.embed([known[i] for i in chosen])
    return drift.moved("inputs", reference, embedder.embed(asked), level=level, seed=seed)


def _words(task: Task, requests: Sequence[dict[str, Any]], level: float, seed: int) -> Sign:
    """The share of each input's words that are in no row of train: of dev, and of requests."""
    known = {word for example in task.train for word in _split(example.input)}

    def unseen(text: str) -> float:
        words = _split(text)
        return sum(word not in known for word in words) / max(1, len(words))

    before = [unseen(example.input) for example in task.dev]
    now = [unseen(one["input"]) for one in requests if one["input"]]
    return drift.grown("words", before, now, level=level, seed=seed)


def _labels(
    task: Task,
    rows: Sequence[Row],
    answered: Sequence[dict[str, Any]],
    level: float,
    seed: int,
) -> Sign:
    """Which labels are answered; one that the task does not know is a place of its own."""
    labels = [*task.output.labels, ""]
    one = np.eye(len(labels), dtype=np.float32)

    def drawn(texts: Sequence[str]) -> Any:
        return one[[labels.index(t) if t in labels else len(labels) - 1 for t in texts]]

    before = drawn([target_text(row.answer.value) for row in rows if row.error is None])
    now = drawn([request["answer"] or "" for request in answered])
    return drift.moved("labels", before, now, level=level, seed=seed)


def _split(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _count(values: Any) -> tuple[int, int]:
    """How many are true, of how many."""
    found = [bool(value) for value in values]
    return sum(found), len(found)


def _told(signs: Sequence[Sign]) -> list[Json]:
    return [{**plain(sign), "alarm": sign.alarm} for sign in signs]
