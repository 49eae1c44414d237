"""Recipes built from shares of the training rows, several seeds each: their learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from steelyard.core import Example, Json, Recipe, digest
from steelyard.lifecycle.trials import CONFIDENCE, Trials
from steelyard.measure.labels import Point, label_curve
from steelyard.measure.money import num_labels
from steelyard.measure.trial import ALONE, OutOfTimeError
from steelyard.measure.verdict import Weighed
from steelyard.recipes import is_one_of

LEAST = 2  # labels that anything is built from
# Built from shares when a sweep of labels names no recipe: what a label task and what others have.
LEARNERS = ("head", "nearest-shot", "lora")


def share_of(train: Sequence[Example], percent: int, seed: int) -> tuple[Example, ...]:
    """A part of train in its order: whole groups in an order of chance that belongs to the seed,
    so that a smaller share is part of a larger one."""
    if percent >= 100:
        return tuple(train)
    wanted = max(LEAST, math.ceil(len(train) * percent / 100))
    groups = dict.fromkeys(example.group for example in train)
    order = sorted(groups, key=lambda group: digest(["share", seed, group]))
    sizes: dict[str, int] = {}
    for example in train:
        sizes[example.group] = sizes.get(example.group, 0) + 1
    kept: set[str] = set()
    taken = 0
    for group in order:
        if taken >= wanted:
            break
        kept.add(group)
        taken += sizes[group]
    return tuple(example for example in train if example.group in kept)


def label_curves(
    trials: Trials, weighed: Sequence[Weighed], percents: Sequence[int]
) -> tuple[Json, ...]:
    """The curve over labels of every weighed recipe that is built from all of train.

    The time limit ends a curve where it comes; what was measured stays and is drawn.
    """
    task = trials.task
    measured = [
        one
        for one in weighed
        if one.status == "finished" and not one.control and one.recipe.model != one.recipe.name
    ]
    learners = [w for w in measured if num_labels(w.recipe, task) == len(task.train)]
    prompts = [w for w in measured if w not in learners] + [
        w for w in weighed if is_one_of(w.recipe, ("zero-shot",)) and w.status == "finished"
    ]
    groups = {example.id: example.group for example in task.dev}
    best = max(
        ((w.recipe.name, _scores(w)) for w in prompts),
        key=lambda pair: sum(pair[1].values()) / len(pair[1]),
        default=None,
    )
    return tuple(
        label_curve(
            one.recipe.name,
            _points(trials, one, percents),
            groups,
            prompt=best,
            confidence=CONFIDENCE,
            seed=trials.seed,
        )
        for one in learners
    )


def _points(trials: Trials, whole: Weighed, percents: Sequence[int]) -> list[Point]:
    points: list[Point] = []
    varies = whole.recipe.weights.method != "none"
    for number in range(trials.num_seeds):
        seed = trials.seed + number
        for percent in percents:
            if percent >= 100 and number and not varies:
                continue  # the same examples, looked up in the same way
            try:
                found = whole if percent >= 100 and not number else None
                found = found or _built(trials, whole.recipe, percent, seed)
            except OutOfTimeError:
                return points
            if found is not None and found.status == "finished":
                count = len(share_of(trials.task.train, percent, seed))
                points.append(Point(count, seed, _scores(found)))
    return points


def _built(trials: Trials, recipe: Recipe, percent: int, seed: int) -> Weighed | None:
    """The recipe from a share of train, measured on all of dev."""
    task = replace(trials.task, train=share_of(trials.task.train, percent, seed))
    if percent < 100:
        way, at, model = recipe.name.partition("@")
        recipe = replace(recipe, name=f"{way}[labels={percent}%]{at}{model}")
    part = replace(trials, task=task, seed=seed, num_seeds=1, built={})
    entered = part.enter(recipe)
    if entered.status != "finished":
        return None
    return part.finish(part.advance(entered, task.dev, alone=ALONE))


def _scores(weighed: Weighed) -> dict[str, float]:
    rows = weighed.rows["dev"]
    return {row.example_id: row.score.value for row in rows if row.score is not None}
