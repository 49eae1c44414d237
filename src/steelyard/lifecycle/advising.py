"""The verb `advise`: what to try before measuring, and how often that was right."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from steelyard.advice import Advice, Facts, advise_on, compared, facts_of, track_record
from steelyard.core import Json, Recipe, Row, Task
from steelyard.lifecycle.events import Listener
from steelyard.lifecycle.home import DEFAULT_HOME, open_home
from steelyard.lifecycle.looking import open_lookup, unseen
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.measure.diagnostics import DIAGNOSED, explain
from steelyard.measure.grading import Grader
from steelyard.measure.race import rounds
from steelyard.measure.trial import ALONE
from steelyard.measure.verdict import Weighed, candidate, latency
from steelyard.models import check_model
from steelyard.recipes import presets, select

# What is measured, and the fact that follows from the first less the second.
PAIRS = {
    "knowledge_gap": ("oracle-passages", "zero-shot"),
    "learns_in_context": ("few-shot", "shuffled-shot"),
}


def advise(
    task: Task | None = None,
    facts: Facts | None = None,
    *,
    measured: bool = False,
    home: Path = DEFAULT_HOME,
    seed: int = 0,
    listen: Listener = lambda _: None,
) -> Advice:
    """What the evidence says of a task, or of facts alone; given facts override the task's.

    `measured` runs two diagnostics on at most 50 rows of dev: whether the right passage brings
    more than the model knows, where documents and their `evidence` are given, and whether true
    examples bring more than exchanged ones.

    Raises:
        InputError: the model cannot be run.
    """
    found = {**({} if task is None else facts_of(task)), **(facts or {})}
    fitting = None if task is None else set(presets(task))
    if task is None or not measured:
        return advise_on(found, fitting=fitting)
    more, notes = _diagnose(task, home, seed, listen)
    advice = advise_on({**more, **found}, fitting=fitting)
    return replace(advice, notes=(*advice.notes, *notes))


def prior(task: Task, recipes: Mapping[str, Recipe], answer: str | None) -> Json:
    """The advice from a task alone, held against what measuring it came to."""
    known = {**presets(task), **{name.split("@")[0]: r for name, r in recipes.items()}}
    return compared(advise_on(facts_of(task), fitting=set(known)), answer, known)


def hits_and_misses(home: Path = DEFAULT_HOME) -> Json:
    """How often the bets of this home's verdicts were right, by task and by rule."""
    with open_home(home, create=False, lock=None) as opened:
        return track_record([verdict["body"] for verdict in opened.database.verdicts()])


def _diagnose(
    task: Task, home: Path, seed: int, listen: Listener
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The facts that only a model can tell, and a sentence for each comparison."""
    wanted = dict.fromkeys(name for pair in PAIRS.values() for name in pair)
    known = presets(task)
    pairs = [pair for pair in PAIRS.values() if all(name in known for name in pair)]
    names = [name for name in wanted if any(name in pair for pair in pairs)]
    recipes = [recipe for recipe in select(task, names) if recipe.name.split("@")[0] in names]
    for model in task.models:
        check_model(model)
    with open_home(home) as opened:
        lookup = unseen(open_lookup(task, opened, recipes), task)
        trials = Trials(task, seed, opened, lookup, Grader.of(task), listen, time.monotonic(), None)
        order = [example for examples in rounds(task.dev) for example in examples][:DIAGNOSED]
        entered = [trials.enter(recipe) for recipe in recipes]
        weighed = [
            trials.advance(one, order, alone=ALONE) for one in entered if one.status == "finished"
        ]
    done = {one.recipe.name: one for one in weighed if one.status == "finished"}
    groups = {example.id: example.group for example in task.dev}
    told = explain(
        [candidate(one, task) for one in done.values()], groups, confidence=CONFIDENCE, seed=seed
    )
    return _facts(task, done), tuple(entry["sentence"] for entry in told)


def _facts(task: Task, done: Mapping[str, Weighed]) -> dict[str, float]:
    """Of several models the first one's."""
    at = f"@{task.models[0].name}" if len(task.models) > 1 else ""
    found: dict[str, float] = {}
    for fact, (high, low) in PAIRS.items():
        if high + at in done and low + at in done:
            found[fact] = _mean(done[high + at].rows["dev"]) - _mean(done[low + at].rows["dev"])
    if "knowledge_gap" in found:
        found["oracle"] = _mean(done["oracle-passages" + at].rows["dev"])
    if task.limits.p95_ms is not None and "few-shot" + at in done:
        wait = latency(done["few-shot" + at].rows["dev"]).p50
        if wait is not None:
            found["shots_over_limit"] = wait > task.limits.p95_ms
    return found


def _mean(rows: Sequence[Row]) -> float:
    scores = [row.score.value for row in rows if row.score is not None]
    return sum(scores) / len(scores) if scores else 0.0
