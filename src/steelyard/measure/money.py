"""What answers cost and how sure that is: prices, labels, intervals, and the Pareto front.

A batch is one observation of machine time: its rows share it. Tokens are counted row by row. So an
interval resamples batches where the machine-hour is what is paid for, and groups of examples where
tokens are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from steelyard.core import Recipe, RecipeReport, Row, Task
from steelyard.measure.statistics import Interval, cost_interval
from steelyard.measure.trial import Price

T = TypeVar("T")


def price_of(recipe: Recipe, task: Task) -> Price:
    """What an answer of a recipe costs: by its model's tokens, or by the hour of this machine."""
    hour = task.usd_per_machine_hour
    model = next((model for model in task.models if model.name == recipe.model), None)
    if model is None or recipe.weights.method == "head":
        return Price(hour)  # it answers on this machine, whoever serves the model
    return Price(hour, model)


def num_labels(recipe: Recipe, task: Task) -> int:
    """How many labelled training rows a recipe is built from, those of dev and test aside.

    What is drawn at random or trained on needs them made; the plain prompt and passages need none.
    """
    if recipe.model == recipe.name or recipe.context.reflection is not None:
        return len(task.train)  # a control counts all, and a search asks about any
    learned = recipe.weights.method == "head" or "examples" in recipe.weights.learn
    if recipe.weights.method != "none" and learned:
        return len(task.train)
    return max(_num_shown(recipe, n, task) for n in range(len(recipe.contexts)))


def _num_shown(recipe: Recipe, number: int, task: Task) -> int:
    context = recipe.contexts[number]
    if context.examples in ("nearest", "searched"):
        return len(task.train)
    return 0 if context.examples == "none" else min(context.num_examples, len(task.train))


def per_1k_interval(
    rows: Sequence[Row], price: Price, *, confidence: float, seed: int
) -> Interval | None:
    """Where the cost of a thousand such answers lies; None where too few batches were observed."""
    observed = observations(rows, price)
    if len(rows) < 2 or len(set(observed)) < 2:
        return None
    low, high = cost_interval(
        [row.cost_usd for row in rows], observed, confidence=confidence, seed=seed
    )
    return (1000 * low, 1000 * high) if math.isfinite(high) else None


def observations(rows: Sequence[Row], price: Price) -> list[str]:
    """What each row's cost was observed with: its batch, or the group of its example.

    Rows of a batch have the same time to the last bit, and those of two batches do not.
    """
    if not price.is_by_token:
        return [f"{row.batch_size}:{row.compute_ms!r}" for row in rows]
    return [row.group for row in rows]


def fronts(reports: Sequence[RecipeReport]) -> dict[str, list[str]]:
    """Which recipes nothing cheaper beats, and which nothing quicker: names by what is spent.

    `usd_per_1k` is the running cost, and `p50_ms` what a lone caller waits.
    """
    measured = [one for one in reports if one.dev is not None and not one.diagnostic]

    def names(cost: Callable[[RecipeReport], float | None]) -> list[str]:
        spent = [
            (c, one.dev.score, one.name)
            for one in measured
            if one.dev and (c := cost(one)) is not None
        ]
        return [name for _, _, name in front(spent, lambda p: p[0], lambda p: p[1])]

    return {
        "usd_per_1k": names(lambda one: one.usd_per_1k),
        "p50_ms": names(lambda one: one.latency_ms.p50),
    }


def front(items: Sequence[T], cost: Callable[[T], float], score: Callable[[T], float]) -> list[T]:
    """The items that nothing cheaper or equally cheap beats, from the cheapest upwards.

    >>> front([(1, 0.5), (2, 0.4), (3, 0.9)], lambda p: p[0], lambda p: p[1])
    [(1, 0.5), (3, 0.9)]
    """
    kept: list[T] = []
    for item in sorted(items, key=lambda one: (cost(one), -score(one))):
        if not kept or score(item) > score(kept[-1]):
            kept.append(item)
    return kept
