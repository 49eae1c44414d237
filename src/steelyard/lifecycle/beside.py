"""What a verdict says beside its decision: money, what would change it, labels, time, slices, and
what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steelyard.audit.slices import sliced
from steelyard.core import Comparison, Json, Task
from steelyard.lifecycle.advising import prior
from steelyard.lifecycle.fresh import fresh, refreshed, worth_refreshing
from steelyard.lifecycle.shares import label_curves
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.measure.decision import Decision
from steelyard.measure.freshness import cutoff_of
from steelyard.measure.labels import turning_point
from steelyard.measure.turning import case_of, turning_points
from steelyard.measure.verdict import Weighed, candidate


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for beside a verdict: shares of the labels in percent, and a day to be built
    on."""

    percents: Sequence[int] = ()
    built_on: str | None = None


def beside(
    trials: Trials,
    weighed: Sequence[Weighed],
    decision: Decision,
    tests: tuple[Comparison, ...],
    *,
    against: str | None,
    asked: Asked,
) -> dict[str, Any]:
    """The fields of a `Verdict` that follow from what was measured, or are measured now."""
    task, answer = trials.task, decision.chosen or decision.prefer
    case = case_of(weighed, decision, tests, task, confidence=CONFIDENCE)
    grown = label_curves(trials, weighed, asked.percents) if asked.percents else ()
    crossings = [found for curve in grown if (found := turning_point(curve)) is not None]
    return {
        "turning_points": (*turning_points(case), *crossings),
        "label_curves": grown,
        "freshness": _freshness(trials, weighed, answer, asked.built_on),
        "slices": _slices(task, weighed, [answer, against]),
        "prior": prior(task, {w.recipe.name: w.recipe for w in weighed}, answer),
    }


def _freshness(
    trials: Trials, weighed: Sequence[Weighed], answer: str | None, built_on: str | None
) -> Json:
    found = fresh(trials, weighed)
    if built_on is None:
        return found
    recipes = worth_refreshing(weighed, answer, trials.task)
    options = refreshed(trials, recipes, built_on)
    bare: Json = {"cutoff": cutoff_of(trials.task.train), "recipes": []}
    return {**(found or bare), "refreshed": options}


def _slices(
    task: Task, weighed: Sequence[Weighed], names: Sequence[str | None]
) -> tuple[Json, ...]:
    """Scores by slice of dev, of the answer and of what it is held against."""
    found = {w.recipe.name: candidate(w, task).scores for w in weighed if w.rows.get("dev")}
    return tuple(sliced(name, found[name], task.dev) for name in names if name in found)
