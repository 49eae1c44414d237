"""A recipe of the user's own as TOML, read and written.

name = "lora-64"
like = "lora"            # the preset whose values it begins with

[weights]
rank = 64
dora = true
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from steelyard.core import Context, Decoding, Json, Recipe, Weights
from steelyard.errors import TaskError, unknown
from steelyard.tasks.toml_table import Table

PARTS = {"context": Context, "weights": Weights, "decoding": Decoding}
AT_LEAST_ONE = {"rank", "alpha", "epochs", "batch_size", "patience", "budget_tokens"}
SHARES = {"dropout", "weight_decay"}
ANY_MODEL = ""  # each of the task's
MOST_BYTES = 100_000  # of a recipe file


def read_recipe(path: Path, table: Mapping[str, Recipe], models: Sequence[str]) -> Recipe:
    """The recipe that a file describes. What it leaves out is as in the preset that it is `like`,
    or else as in a plain prompt; its model is `ANY_MODEL` when it names none.

    `table` holds what is there for the task: its presets, and recipes that were read before.

    Raises:
        TaskError: it cannot be read, or is not a recipe for this task; with file and line.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise TaskError(f"{path}: is larger than {MOST_BYTES} bytes. Expected a recipe.")
        top = Table.parse(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"{path}: cannot be read ({error}). Expected a recipe in TOML. Correct the path."
        ) from error
    elsewhere = {part: [f.name for f in fields(kind)] for part, kind in PARTS.items()}
    top.known_only(["name", "like", "model", *PARTS], elsewhere)
    name = top.required("name", "my-recipe")
    if name in table:
        raise top.error("name", f'is "{name}", which another has. Expected a name of its own.')
    if set("@[],") & set(name):
        raise top.error("name", f'is "{name}". Expected a name without @, comma and brackets.')
    prompts = {n: recipe for n, recipe in table.items() if recipe.model != n}  # no controls
    like = top.choice("like", prompts)
    base = Recipe(name, decoding=prompts["zero-shot"].decoding)
    if like is not None:
        base = replace(prompts[like], name=name)
    model = top.choice("model", models)
    found = {part: _part(top.table(part), getattr(base, part)) for part in PARTS}
    recipe = replace(base, model=model or ANY_MODEL, **found)
    _check_fits(top, recipe, prompts)
    teacher = recipe.weights.teacher_model
    if teacher is not None and teacher not in models:
        raise top.table("weights").error("teacher_model", unknown("model", teacher, models))
    return recipe


def recipe_toml(recipe: Recipe) -> str:
    """The recipe as a file that reads as it: what differs from the defaults, and its decoding."""
    lines = [f"name = {_written(recipe.name)}", f"model = {_written(recipe.model)}"]
    for part, kind in PARTS.items():
        lines += _section([part], getattr(recipe, part), kind())
    return "\n".join(lines) + "\n"


def stored_recipe(text: str) -> Recipe:
    """The recipe that `recipe_toml` wrote, under whatever name it has."""
    top = Table.parse(Path("recipe.toml"), text)
    name, model = top.required("name", "lora"), top.required("model", "default")
    parts: dict[str, Any] = {part: _part(top.table(part), kind()) for part, kind in PARTS.items()}
    return Recipe(name, model, **parts)


def _section(at: list[str], value: Any, plain: Any) -> list[str]:
    own, inside = [], []
    for field in fields(value):
        mine, usual = getattr(value, field.name), getattr(plain, field.name)
        if is_dataclass(mine):
            kind: Any = type(mine)
            inside += _section([*at, field.name], mine, kind())
        elif mine != usual or [*at, field.name] == ["decoding", "kind"]:
            own.append(f"{field.name} = {_written(mine)}")
    return (["", f"[{'.'.join(at)}]", *own] if own or len(at) > 1 else []) + inside


def _written(value: Json) -> str:
    """A TOML value: its texts, numbers, switches and lists are written as JSON writes them."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _part(table: Table, base: Any) -> Any:
    """A part of a recipe: the values of `base`, and what the file says instead."""
    others = {part: [f.name for f in fields(kind)] for part, kind in PARTS.items()}
    del others[table.at[0]]
    table.known_only([field.name for field in fields(base)], others)
    hints = get_type_hints(type(base))
    return replace(base, **{key: _value(table, key, hints[key]) for key in table.values})


def _value(table: Table, key: str, hint: Any) -> Json:
    """What a key holds, read as its field's type asks."""
    if isinstance(hint, types.UnionType):  # X | None, and a key that is there is not None
        (hint,) = (part for part in get_args(hint) if part is not type(None))
    if hint in PARTS.values():
        return _part(table.table(key), hint())
    if get_origin(hint) is Literal:
        return table.choice(key, get_args(hint))
    if get_origin(hint) is tuple:
        return _choices(table, key, get_args(get_args(hint)[0]))
    if hint is bool:
        return table.switch(key)
    return table.string(key) if hint is str else _number(table, key, hint)


def _choices(table: Table, key: str, known: Sequence[str]) -> Json:
    values = table.strings(key, json.dumps(known[:1])) or ()
    for value in values:
        if value not in known:
            raise table.error(key, f'holds "{value}". {unknown(key, value, known)}')
    return values


def _number(table: Table, key: str, hint: type) -> Json:
    if hint is int:
        value = table.whole(key)
        if value == 0 and key in AT_LEAST_ONE:
            raise table.error(key, "is 0. Expected a whole number of at least 1.")
        return value
    if key == "relevance_floor":
        return table.number(key, low=-1e9)
    if key in SHARES or key.endswith("_share"):
        return table.number(key, high=1.0)
    return table.number(key, low_is_in=False)


def _check_fits(top: Table, recipe: Recipe, prompts: Mapping[str, Recipe]) -> None:
    """Refuse what none of the task's own recipes has, and parts that contradict each other."""
    context, weights, decoding = recipe.context, recipe.weights, recipe.decoding
    at = {part: top.table(part) for part in PARTS}
    kinds = list(dict.fromkeys(known.decoding.kind for known in prompts.values()))
    if decoding.kind not in kinds:
        raise at["decoding"].error(
            "kind",
            f'is "{decoding.kind}". Expected {" or ".join(kinds)} for the output of this task.',
        )
    if decoding.calibrated and decoding.kind != "labels":
        raise at["decoding"].error("calibrated", "is true. Expected it with labels alone.")
    if (context.examples == "none") != (context.num_examples == 0):
        raise at["context"].error(
            "num_examples",
            f'is {context.num_examples}, and examples is "{context.examples}". Expected a number '
            "from 1 on together with a way to choose them.",
        )
    if (context.history == "none") != (context.num_turns == 0):
        raise at["context"].error(
            "num_turns",
            f'is {context.num_turns}, and history is "{context.history}". Expected a number from '
            "1 on together with a way to choose them.",
        )
    if context.passages and not any(known.context.passages for known in prompts.values()):
        raise at["context"].error(
            "passages", "needs documents. Name them in the task under [knowledge] documents."
        )
    if context.num_turns and not any(known.context.num_turns for known in prompts.values()):
        raise at["context"].error("num_turns", "needs users. Name their column in the task.")
    if weights.method == "head" and decoding.kind != "labels":
        raise at["weights"].error("method", 'is "head". Expected it where answers are labels.')
    if weights.method == "qlora" and weights.dora:
        raise at["weights"].error("dora", 'is true. Expected it with method = "lora" alone.')
    if weights.method in ("none", "full", "head") and (weights.dora or weights.rank_stabilised):
        key = "dora" if weights.dora else "rank_stabilised"
        raise at["weights"].error(
            key, f'is true, and method is "{weights.method}". Expected it with "lora".'
        )
