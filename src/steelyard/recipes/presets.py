"""The named recipes: a table of values, and which of them fit a task.

Adding a way to adapt means adding a line here, or a value to a part in core.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steelyard.core import Context, Decoding, ModelSpec, Recipe, Task, Weights
from steelyard.errors import InputError, unknown

CONTROLS = ("majority", "tfidf", "zero-shot")  # always run: a verdict needs them

# Few enough for a small model's attention and a CPU's patience.
# Source: ours, see docs/log/2026-11-21-first-figures.md
SHOTS = {"label": 8, "json": 2, "text": 4}

# What each output type can be decoded by; the first one is the plain preset, the others are
# named with a plus: `zero-shot+constrained`.
DECODINGS: dict[str, tuple[tuple[str, Decoding], ...]] = {
    "label": (("", Decoding("labels")), ("+calibrated", Decoding("labels", calibrated=True))),
    "json": (("", Decoding("free")), ("+constrained", Decoding("constrained"))),
    "text": (("", Decoding("free")),),
}


def presets(task: Task) -> dict[str, Recipe]:
    """Every named recipe that fits the task's output, in the order in which they run."""
    shots = min(SHOTS[task.output.type], len(task.train))
    ways = {
        "zero-shot": (Context(), Weights()),
        "few-shot": (Context(examples="fixed", num_examples=shots), Weights()),
        "nearest-shot": (Context(examples="nearest", num_examples=shots), Weights()),
        "lora": (Context(describe_output=False), Weights("lora")),
    }
    table = {name: Recipe(name, model=name) for name in ("majority", "tfidf")}
    for way, (context, weights) in ways.items():
        for suffix, decoding in DECODINGS[task.output.type]:
            if decoding.calibrated and not _calibratable(context, weights):
                continue
            name = way + suffix
            table[name] = Recipe(name, context=context, weights=weights, decoding=decoding)
    return table


def _calibratable(context: Context, weights: Weights) -> bool:
    """Trained weights know how often each label comes, and nearest shots differ by input, so
    that one empty input cannot stand for them all."""
    return weights.method == "none" and context.examples != "nearest"


def select(task: Task, names: Sequence[str] | None = None) -> list[Recipe]:
    """The recipes to weigh: those named, and the controls; all that fit when none is named.

    With several base models each recipe runs on each, named `recipe@model`; a name without a
    model means that recipe on all of them.

    Raises:
        InputError: a name is not known.
    """
    table = presets(task)
    models = task.models
    expanded: dict[str, Recipe] = {}
    for name, recipe in table.items():
        if recipe.model == name:  # a control that is its own model
            expanded[name] = recipe
            continue
        for model in models:
            full = name if len(models) == 1 else f"{name}@{model.name}"
            expanded[full] = replace(recipe, name=full, model=model.name)
    if names is None:
        return list(expanded.values())
    known = [*table, *(name for name in expanded if name not in table)]
    for name in names:
        if name not in known:
            raise InputError(unknown("recipe", name, known))
    wanted = {*names, *CONTROLS}
    return [r for name, r in expanded.items() if name in wanted or name.split("@")[0] in wanted]


def model_of(task: Task, recipe: Recipe) -> ModelSpec:
    """The base model that a recipe names."""
    return next(model for model in task.models if model.name == recipe.model)
