"""The named recipes: a table of values, and which of them fit a task.

Adding a way to adapt means adding a line here, or a value to a part in core/recipe.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from steelyard.core import Context, Decoding, ModelSpec, Recipe, Task, Weights
from steelyard.errors import InputError, unknown
from steelyard.recipes.prompt import target_text
from steelyard.recipes.recipe_file import ANY_MODEL, read_recipe

CONTROLS = ("majority", "tfidf", "zero-shot")  # always run: a verdict needs them
# Explain the others and are never chosen (measure/diagnostics.py says what they are held against):
# reading with retrieval taken out of it, retrieval with reading taken out of it, documents with
# their dates taken out, and whether examples teach more than their form.
DIAGNOSTICS = ("oracle-passages", "random-passages", "undated-passages", "shuffled-shot")

# Dear, or rarely worth what they cost: weighed only when they are named, or when the task asks for
# them in another way (`_asked_for`).
ON_REQUEST = ("searched-shot", "full", "cpt+lora", "tapt+lora", "distil", "rag+sections")

# Few enough for a small model's attention and a CPU's patience.
# Source: ours, see docs/log/2026-11-21-first-figures.md
SHOTS = {"label": 8, "json": 2, "text": 4}
PASSAGES = 3  # Source: ours, docs/log/2026-11-24-context.md
TURNS = 4  # Source: ours, not measured yet
# Characters of a long target: about 1,000 tokens, half of a context of 2,048. Source: ours
LONG = 4_000

# What a task must have for a preset to fit it.
_DOCUMENTS = "[knowledge] documents"
NEEDS = {
    **dict.fromkeys(("rag", "rag+shots", "lora+rag", "cpt+lora", "random-passages"), _DOCUMENTS),
    "rag+sections": f'{_DOCUMENTS} and [output] type = "text"',
    "oracle-passages": f"{_DOCUMENTS} and evidence of rows of dev",
    "undated-passages": f"{_DOCUMENTS} and [data] time of rows of dev",
    "gepa": "[search] reflection",
    "history": "[data] user and something to show of those who ask",
    "lora+dpo": "[data] preferences",
    "head": '[output] type = "label"',
}

# What each output type can be decoded by; the first one is the plain preset, the others are
# named with a plus: `zero-shot+constrained`.
DECODINGS: dict[str, tuple[tuple[str, Decoding], ...]] = {
    "label": (("", Decoding("labels")), ("+calibrated", Decoding("labels", calibrated=True))),
    "json": (("", Decoding("free")), ("+constrained", Decoding("constrained"))),
    "text": (("", Decoding("free")),),
}


def presets(task: Task) -> dict[str, Recipe]:
    """Every named recipe that fits the task, in the order in which they run."""
    shots = min(SHOTS[task.output.type], len(task.train))
    passages, bare = Context(passages=PASSAGES), Context(describe_output=False)
    ways = {
        "zero-shot": (Context(), Weights()),
        **{
            f"zero-shot[instruction={number}]": (Context(instruction=text), Weights())
            for number, text in enumerate(task.instructions, 2)
        },
        "few-shot": (Context(examples="fixed", num_examples=shots), Weights()),
        "nearest-shot": (Context(examples="nearest", num_examples=shots), Weights()),
        "searched-shot": (Context(examples="searched", num_examples=shots), Weights()),
        "lora": (bare, Weights("lora")),
        "full": (bare, Weights("full")),
    }
    if task.search.reflection is not None:
        ways["gepa"] = (Context(reflection=task.search.reflection.name), Weights())
    if task.knowledge.documents:
        few = min(2, shots)
        ways["rag"] = (passages, Weights())
        ways["rag+shots"] = (replace(passages, examples="nearest", num_examples=few), Weights())
        ways["lora+rag"] = (replace(bare, passages=PASSAGES), Weights("lora"))
        ways["cpt+lora"] = (bare, _read_documents(task))
    ways["tapt+lora"] = (bare, Weights("lora", learn=("inputs", "examples")))
    teacher = Context(examples="nearest", num_examples=shots)
    ways["distil"] = (bare, Weights("lora", learn=("teacher",), teacher=teacher))
    if task.preferences:
        ways["lora+dpo"] = (bare, Weights("lora", learn=("examples", "preferences")))
    if has_users(task):
        ways["history"] = (Context(history="nearest", num_turns=TURNS), Weights())
    table = {name: Recipe(name, model=name) for name in ("majority", "tfidf")}
    if task.output.type == "label":
        context = Context(describe_output=False)
        weights, decoding = Weights("head"), Decoding("labels")
        table["head"] = Recipe("head", context=context, weights=weights, decoding=decoding)
    for way, (context, weights) in ways.items():
        for suffix, decoding in DECODINGS[task.output.type]:
            if decoding.calibrated and not _calibratable(context, weights):
                continue
            name = way + suffix
            table[name] = Recipe(name, context=context, weights=weights, decoding=decoding)
    if "rag" in table and task.output.type == "text":
        table["rag+sections"] = replace(
            table["rag"], name="rag+sections", decoding=Decoding("sections")
        )
    return table | _diagnostics(task, passages, shots)


def _read_documents(task: Task) -> Weights:
    """Documents, then examples; in other words too, where the task names who says them so."""
    weights = Weights("lora", learn=("documents", "examples"))
    writer = task.knowledge.paraphrase
    if writer is None:
        return weights
    return replace(weights, paraphrases=task.knowledge.copies, paraphrase_model=writer.name)


def is_long(task: Task) -> bool:
    """Whether some answers may be more than one generation holds."""
    return any(len(target_text(example.target)) > LONG for example in task.train)


def _diagnostics(task: Task, passages: Context, shots: int) -> dict[str, Recipe]:
    """Those that have something to say about the task, each with the plain decoding."""
    contexts: dict[str, Context] = {}
    if task.knowledge.documents:
        if any(example.evidence for example in task.dev):
            contexts["oracle-passages"] = replace(passages, search="evidence")
        contexts["random-passages"] = replace(passages, search="random")
        if any(example.time for example in task.dev):
            contexts["undated-passages"] = replace(passages, as_of="any")
    if len({target_text(example.target) for example in task.train}) > 1:
        contexts["shuffled-shot"] = Context(examples="shuffled", num_examples=shots)
    _, decoding = DECODINGS[task.output.type][0]
    return {name: Recipe(name, context=own, decoding=decoding) for name, own in contexts.items()}


def has_users(task: Task) -> bool:
    """Whether there is something to show of those who ask."""
    known, asking = ({row.user for row in rows if row.user} for rows in (task.train, task.dev))
    return bool(asking) and (task.knowledge.history is not None or bool(known & asking))


def _calibratable(context: Context, weights: Weights) -> bool:
    """Trained weights know how often each label comes, and what is found differs by input, so
    that one empty input cannot stand for them all."""
    found = context.examples == "nearest" or context.passages or context.history != "none"
    return weights.method == "none" and not found


def select(task: Task, names: Sequence[str] | None = None, *, every: bool = False) -> list[Recipe]:
    """The recipes to weigh: those named, and the controls; all that fit when none is named, but
    for those `ON_REQUEST` (with `every`, these too). A name that ends in .toml is a file with a
    recipe of the user's own.

    With several base models each recipe runs on each, named `recipe@model`; a name without a
    model means that recipe on all of them.

    Raises:
        InputError: a name is not known, or a file does not hold a recipe.
    """
    table = presets(task)
    files = [name for name in names or () if name.endswith(".toml")]
    models = task.models
    bound: dict[str, str] = {}  # to the model that a file names
    for file in files:
        recipe = read_recipe(Path(file), table, [model.name for model in models])
        table[recipe.name], bound[recipe.name] = recipe, recipe.model
    expanded: dict[str, Recipe] = {}
    for name, recipe in table.items():
        if recipe.model == name:  # a control that is its own model
            expanded[name] = recipe
            continue
        for model in models:
            if bound.get(name, ANY_MODEL) not in (ANY_MODEL, model.name):
                continue
            full = name if len(models) == 1 else f"{name}@{model.name}"
            expanded[full] = replace(recipe, name=full, model=model.name)
    if names is None:
        left_out = () if every else set(ON_REQUEST) - _asked_for(task)
        return [r for r in expanded.values() if _way(r.name) not in left_out]
    named = [*(name for name in names if name not in files), *bound]
    known = [*table, *(name for name in expanded if name not in table)]
    for name in named:
        if name not in known:
            raise InputError(_unfit(name, known))
    wanted = {*named, *CONTROLS}
    return [r for name, r in expanded.items() if name in wanted or name.split("@")[0] in wanted]


def _unfit(name: str, known: Sequence[str]) -> str:
    """Why a recipe cannot be named for a task: it does not fit it, or there is none such."""
    needs = NEEDS.get(_way(name))
    if needs is None or _way(name) in known:
        return unknown("recipe", name, known)
    return f'recipe "{name}" does not fit this task: it needs {needs}. Known: {", ".join(known)}.'


def _asked_for(task: Task) -> set[str]:
    """What of `ON_REQUEST` the task asks for without its name."""
    asked = {
        "searched-shot": task.search.examples,
        "distil": bool(task.unlabelled),  # inputs that nothing else learns from
        "rag+sections": is_long(task),
        "cpt+lora": task.knowledge.paraphrase is not None,
    }
    return {name for name, wanted in asked.items() if wanted}


def _way(name: str) -> str:
    """A recipe's name without its model and decoding: the part of the table that it is.

    >>> _way("cpt+lora+constrained@small")
    'cpt+lora'
    """
    plain = name.split("@")[0]
    for suffix in ("+constrained", "+calibrated"):
        plain = plain.removesuffix(suffix)
    return plain


def is_one_of(recipe: Recipe, names: Sequence[str]) -> bool:
    """Whether a recipe, on whatever model, is in a table of names such as `CONTROLS`."""
    return recipe.name.split("@")[0] in names


def model_of(task: Task, recipe: Recipe) -> ModelSpec:
    """The base model that a recipe names."""
    return next(model for model in task.models if model.name == recipe.model)
