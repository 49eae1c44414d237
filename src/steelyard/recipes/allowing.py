"""Which recipes a base model allows, and why not the others."""

from __future__ import annotations

from steelyard.core import Recipe, Task
from steelyard.recipes.presets import model_of


def why_not(recipe: Recipe, task: Task) -> str | None:
    """Why a recipe cannot be built on its model; None where it can.

    A model behind a URL, or one that llama.cpp runs, answers and tells nothing else: weights cannot
    be learned there, and the probability of a given text is not told.
    """
    if recipe.model == recipe.name:  # a control is its own model
        return None
    model = model_of(task, recipe)
    if model.url is None and model.engine == "torch":
        return None
    where = "behind a URL" if model.url is not None else "run by llama.cpp"
    method, context = recipe.weights.method, recipe.context
    if method not in ("none", "head"):
        return f"{model.name} is {where}, where no weights can be learned"
    here = [other for other in task.models if other.url is None and other.engine == "torch"]
    if method == "head" and here:
        return f"a head reads nothing of {model.name}, and it is weighed beside another model"
    if recipe.decoding.calibrated or context.rerank == "llm":
        what = "each label" if recipe.decoding.calibrated else "a question after a passage"
        return f"{model.name} is {where}, and does not tell how likely {what} is"
    return None
