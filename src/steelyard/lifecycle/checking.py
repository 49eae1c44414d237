"""The verb `check`: what is wrong with a task's data, and with the answers of its system."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.audit import CHECKS
from steelyard.audit.cleaning import LOG, write_clean
from steelyard.audit.findings import Finding, in_order
from steelyard.audit.lengths import lengths
from steelyard.audit.sheet import Sheet, read_sheet
from steelyard.audit.slices import by_slice
from steelyard.audit.swaps import by_swap
from steelyard.core import SPLITS, Json, Recipe, Task
from steelyard.errors import InputError, WorkError
from steelyard.lifecycle.asking import newest_verdict, recipe_named
from steelyard.lifecycle.home import DEFAULT_HOME, Home, open_home
from steelyard.lifecycle.looking import open_lookup, unseen
from steelyard.lifecycle.trials import Trials
from steelyard.measure.grading import Grader
from steelyard.models import open_backend


@dataclass(frozen=True, slots=True)
class Audit:
    """What `check` found. `places` are the `file:line` of the examples in evidence.

    `cleaned` is the folder of the cleaned copy, if one was asked for, and `num_changes` how many
    lines its log has.
    """

    task: str
    task_hash: str
    splits: dict[str, int]
    findings: tuple[Finding, ...]
    places: dict[str, str]
    cleaned: Path | None = None
    num_changes: int = 0

    @property
    def is_severe(self) -> bool:
        """Whether scores of this task would be wrong."""
        return any(finding.severity == "severe" for finding in self.findings)

    def to_json(self) -> dict[str, Json]:
        """The machine-readable result; docs/check.md describes every key."""
        body: dict[str, Json] = {
            "task": self.task,
            "task_hash": self.task_hash,
            "splits": self.splits,
            "findings": [finding.to_json() for finding in self.findings],
            "places": self.places,
        }
        if self.cleaned is not None:
            body["fix"] = {
                "folder": str(self.cleaned),
                "log": str(self.cleaned / LOG),
                "num_changes": self.num_changes,
            }
        return body


def check(
    task: Task, *, chosen: bool = False, fix: Path | None = None, home: Path = DEFAULT_HOME
) -> Audit:
    """Audit the data of a task, without measuring anything.

    `chosen` also audits the system that the newest verdict chose and the one it was held against:
    their scores by slice of dev, and whether answers change when persons do. `fix` writes a
    cleaned copy into a new folder.

    Raises:
        InputError: the data cannot be read, there is no verdict, or the copy cannot be written.
        WorkError: what is left after cleaning is no task.
    """
    sheet = read_sheet(task)
    found = [finding for one in CHECKS.values() for finding in one(sheet)]
    found += _lengths(sheet)
    if chosen:
        with open_home(home, create=False) as opened:
            found += _bias(task, opened)
    changes = [] if fix is None else write_clean(sheet, fix)
    evidence = {id_ for finding in found for id_ in finding.evidence}
    return Audit(
        task=task.name,
        task_hash=task.hash,
        splits={split: len(task.split(split)) for split in SPLITS},
        findings=in_order(found),
        places={id_: sheet.place(at) for id_, at in sheet.wheres.items() if id_ in evidence},
        cleaned=fix,
        num_changes=len(changes),
    )


def _lengths(sheet: Sheet) -> list[Finding]:
    """Against every base model of the task that is here."""
    findings = []
    for spec in sheet.task.models:
        try:
            if spec.url is not None and spec.tokenizer is None:
                raise InputError("a model by URL does not say how it counts tokens")
            backend = open_backend(spec, memory_gb=sheet.task.limits.memory_gb)
        except InputError as error:
            findings.append(
                Finding(
                    "note",
                    "lengths-not-measured",
                    f"Lengths were not held against the context of {spec.name}: {error}.",
                    "Nothing, if no input is long.",
                )
            )
            continue
        findings += lengths(sheet, backend, spec.name)
    return findings


def _bias(task: Task, home: Home) -> list[Finding]:
    """Scores by slice and flips, of the chosen system and of what it was held against.

    Both were measured on dev, so that only what is asked with exchanged terms is new.
    """
    verdict = newest_verdict(home, task)
    names = [name for name in (verdict["chosen"] or verdict["prefer"], verdict["baseline"]) if name]
    if not names:
        raise InputError(
            f"{task.name}: its verdict is that nothing works, so there is no system to audit. "
            "Check without --chosen."
        )
    recipes = [recipe_named(task, verdict, name) for name in dict.fromkeys(names)]
    lookup = unseen(open_lookup(task, home, recipes), task)
    grader = Grader.of(task)
    seed = int(verdict["seed"])
    trials = Trials(task, seed, home, lookup, grader, lambda _: None, time.monotonic(), None)
    return [finding for recipe in recipes for finding in _bias_of(recipe, trials)]


def _bias_of(recipe: Recipe, trials: Trials) -> Sequence[Finding]:
    built, rows = trials.answers(recipe, "dev")
    if all(row.score is None for row in rows):
        raise WorkError(f"{recipe.name} failed on every example of dev. Weigh the task again.")
    dev = trials.task.dev
    scores = {row.example_id: row.score.value for row in rows if row.score is not None}
    answers = {row.example_id: row.answer for row in rows}
    return [
        *by_slice(recipe.name, scores, dev),
        *by_swap(recipe.name, built.system, dev, answers),
    ]
