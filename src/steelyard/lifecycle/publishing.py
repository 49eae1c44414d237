"""The verb `publish`: the system of a verdict as a release, measured through what will serve it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steelyard.core import Answer, Example, Json, Query, Release, Row, Serving, Task
from steelyard.errors import InputError, ReleaseError
from steelyard.lifecycle.asking import newest_verdict, recipe_named, workshop_of
from steelyard.lifecycle.engine import Engine, Work
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.looking import open_lookup, unseen
from steelyard.lifecycle.releases import Served, indexes, open_release, read_snapshot, take_snapshot
from steelyard.lifecycle.serving import prepare
from steelyard.measure.grading import Grader
from steelyard.measure.trial import ALONE
from steelyard.recipes import DIAGNOSTICS, build, is_one_of
from steelyard.recipes.prompt import target_text
from steelyard.store import Alias, Promotion, TrialRef

NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}", re.ASCII)
PARITY_ROWS = 200  # of dev are measured again; a score moves by 0.02 with 4 of them. Source: ours
SHOWN_ROWS = 5  # of those that differ, in the message; the release's `parity` has all


@dataclass(frozen=True, slots=True)
class Published:
    """A release, and whether it was there already."""

    release: Release
    known: bool = False


def publish(
    task: Task,
    *,
    home: Path = DEFAULT_HOME,
    name: str | None = None,
    recipe: str | None = None,
    alias: Alias = "champion",
    why: str = "",
    serving: Serving | None = None,
) -> Published:
    """Publish the recipe that the task's newest verdict chose, or one of it that is named.

    The system is made anew from what is stored, asked rows of dev through the engine that serves,
    and refused when its score is not that of the verdict within the task's tolerance. Publishing
    the same again makes no new version; it is promoted, if it was not.

    `serving` says what serves it, where that is not what it was weighed with, by its `engine`
    ("llama.cpp", or the name of a [models.NAME] table of the task) and perhaps the `format` of the
    weights written for llama.cpp; all else of it is made here.

    Raises:
        InputError: there is no verdict, none of what it weighed has that name, or the engine
            cannot serve it.
        ReleaseError: what would serve differs from what was measured; nothing was published.
    """
    name = release_name(task) if name is None else name
    if not NAME.fullmatch(name):
        raise InputError(
            f'--as "{name}": expected a name of ASCII letters, digits, ".", "-" and "_", that '
            "begins with a letter or digit"
        )
    with open_home(home, create=False) as opened:
        draft, rows = _draft(task, opened, name, recipe)
        if serving is not None:
            draft = _through(draft, serving, opened)
        found = _same(draft, opened)
        if found is None:
            return Published(add_release(draft, opened, rows, alias=alias, why=why or "published"))
        if opened.releases.aliases(name).get(alias) != found.version:
            reason = why or "published again"
            lines = promotions(opened, name, found.version, alias, reason, found.parity)
            opened.releases.promote(lines)
        return Published(found, known=True)


def release_name(task: Task) -> str:
    """The name that a task is published under when none is given."""
    return re.sub(r"[^\w.-]+", "-", task.name, flags=re.ASCII)


def add_release(
    draft: Release,
    home: Home,
    rows: Mapping[str, Row],
    *,
    alias: Alias,
    why: str,
    evidence: Json = None,
) -> Release:
    """Keep a draft as the next version and give it an alias, once it answers as its rows of dev do.

    `evidence` is kept in the promotion log; without it, what the parity found is.

    Raises:
        ReleaseError: what would serve differs from what was measured; nothing was published.
    """
    draft = replace(draft, parity=_parity(draft, home, rows))
    evidence = draft.parity if evidence is None else evidence
    return home.releases.add(draft, promotions(home, draft.name, 0, alias, why, evidence))


def rollback(name: str, *, home: Path = DEFAULT_HOME, why: str = "") -> Release:
    """Make the release that was the champion before the champion again.

    Raises:
        InputError: there is no such name, or nothing to go back to.
    """
    with open_home(home, create=False, lock=None) as opened:
        return go_back(opened, name, why or "rolled back")


def go_back(home: Home, name: str, why: str, evidence: Json = None) -> Release:
    """In an open home folder, make the release that was the champion before the champion again.

    Raises:
        InputError: there is no such name, or nothing to go back to.
    """
    aliases = home.releases.aliases(name)
    if "previous" not in aliases:
        known = dict.fromkeys(release.name for release in home.releases.all())
        there = f"Published here: {', '.join(known) or 'nothing'}."
        raise InputError(f"{name}: there is no previous release to go back to. {there}")
    version = aliases["previous"]
    home.releases.promote(promotions(home, name, version, "champion", why, evidence))
    return next(r for r in home.releases.all(name) if r.version == version)


def _draft(task: Task, home: Home, name: str, recipe: str | None) -> tuple[Release, dict[str, Row]]:
    """The release that is to be published, and the rows of dev that its verdict stands on."""
    verdict = newest_verdict(home, task)
    wanted = recipe or verdict["chosen"] or verdict["prefer"]
    if wanted is None:
        raise InputError(
            f"{task.name}: its verdict is that nothing works, so there is nothing to publish; "
            "add examples or another base model and weigh again, or name a recipe with --recipe"
        )
    chosen = recipe_named(task, verdict, wanted)
    if is_one_of(chosen, DIAGNOSTICS):
        raise InputError(f"{wanted} only explains other recipes; expected one that can be served")
    lookup = open_lookup(task, home, [chosen])
    workshop = workshop_of(task, home, verdict["seed"], unseen(lookup, task))
    built = build(chosen, task, workshop)
    plain = built.system.recipe
    trial = TrialRef(task.hash, plain.name, built.fingerprint, "dev", verdict["seed"])
    rows = home.database.rows(trial)
    if not all(example.id in rows for example in task.dev):
        raise InputError(
            f"{task.name}: {wanted} is not measured on all of dev as it would be built now; "
            f"run: steelyard weigh {task.path} --recipes {wanted}"
        )
    release = Release(
        name=name,
        task=task.name,
        task_hash=task.hash,
        recipe=plain.name,
        seed=verdict["seed"],
        snapshot=take_snapshot(task, plain, home),
        artefacts=built.artefacts,
        index=indexes(lookup),
        accepted=home.database.last_accepted(),
        fingerprint=built.fingerprint,
        verdict=verdict,
    )
    return release, rows


def _through(draft: Release, wanted: Serving, home: Home) -> Release:
    """A draft that is served through another engine than the one it was weighed with."""
    task, recipe = read_snapshot(draft, home)
    return replace(draft, serving=prepare(wanted, recipe, task, draft.artefacts, home))


def _same(draft: Release, home: Home) -> Release | None:
    """The release that is already what a draft would become."""
    for known in home.releases.all(draft.name):
        as_draft = replace(known, verdict=draft.verdict, parity=None, version=0, created_at="")
        if as_draft == replace(draft, accepted=known.accepted):
            return known
    return None


def promotions(
    home: Home, name: str, version: int, alias: Alias, why: str, evidence: Json
) -> list[Promotion]:
    """The lines of the log that give an alias to a version; a champion leaves its place behind."""
    before, who = home.releases.aliases(name), getpass.getuser()
    lines = [Promotion(name, alias, version, who, why, evidence)]
    if alias != "champion":
        return lines
    if "champion" in before and before["champion"] != version:
        lines.append(Promotion(name, "previous", before["champion"], who, why))
    if "challenger" in before and before["challenger"] == version:
        lines.append(Promotion(name, "challenger", None, who, why))
    return lines


# ---------------------------------------------------------------- measured again


def _parity(draft: Release, home: Home, before: Mapping[str, Row]) -> Json:
    """How dev rows answered by what will serve differ from those of the verdict.

    Raises:
        ReleaseError: their mean score differs by more than the task's tolerance.
    """
    task, _ = read_snapshot(draft, home)
    served, grader = open_release(draft, home, measuring=task), Grader.of(task)
    examples = task.dev[:PARITY_ROWS]
    answers = _through_engine(served, examples)
    pairs = [
        _Pair(example, before[example.id], answer, _score(answer, example, grader))
        for example, answer in zip(examples, answers, strict=True)
    ]
    scores = [[pair.earlier for pair in pairs], [pair.now for pair in pairs]]
    means = [sum(values) / len(values) for values in scores]
    differing = [pair for pair in pairs if pair.differs]
    body = {
        "num_examples": len(pairs),
        "score": means[0],
        "score_served": means[1],
        "tolerance": task.tolerance,
        "differing": [pair.to_json() for pair in differing],
    }
    if abs(means[0] - means[1]) > task.tolerance:
        shown = "\n".join(pair.line() for pair in differing[:SHOWN_ROWS])
        raise ReleaseError(
            f"{draft.name}: {draft.recipe} scored {means[0]:.3f} on dev when it was weighed and "
            f"{means[1]:.3f} through what would serve it; expected no more than "
            f"{task.tolerance:g} between them. Nothing was published. {_remedy(draft)} "
            f"{len(differing)} of {len(pairs)} answers differ:\n{shown}"
        )
    return body


def _remedy(draft: Release) -> str:
    if draft.serving is None:
        return "Weigh the task again on this machine."
    other = " or another --format" if draft.serving.format else ""
    return f"Name another engine than {draft.serving.engine}{other}, or weigh what it runs."


def _through_engine(served: Served, examples: Sequence[Example]) -> list[Answer]:
    """The first examples asked one by one, as by a lone caller, the others all at once."""
    engine = Engine(most_waiting=len(examples) + 1)

    def asked(example: Example) -> Future[Answer]:
        return engine.submit(Work(served, Query.of(example), served.answer_all))

    try:
        answers = [asked(example).result() for example in examples[:ALONE]]
        together = [asked(example) for example in examples[ALONE:]]
        return answers + [future.result() for future in together]
    finally:
        engine.close()


@dataclass(frozen=True)
class _Pair:
    """An example as it was answered when it was weighed, and as it would be served."""

    example: Example
    row: Row
    answer: Answer
    now: float

    @property
    def earlier(self) -> float:
        return 0.0 if self.row.score is None else self.row.score.value

    @property
    def differs(self) -> bool:
        return self.answer.value != self.row.answer.value or self.answer.error != self.row.error

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.example.id,
            "weighed": _said(self.row.answer),
            "served": _said(self.answer),
            "scores": [self.earlier, self.now],
        }

    def line(self) -> str:
        said = self.to_json()
        return f"  {said['id']}: weighed {said['weighed']!r}, served {said['served']!r}"


def _said(answer: Answer) -> str:
    return answer.error or answer.text or target_text(answer.value)


def _score(answer: Answer, example: Example, grader: Grader) -> float:
    return 0.0 if answer.error is not None else grader.grade(answer, example).value
