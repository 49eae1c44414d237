"""What the weights of a recipe learn from, stage by stage.

documents     the task's documents, each a text
inputs        the inputs of train, and those without targets
examples      train's targets, after the prompts that serving will show
teacher       a teacher's answers to the same inputs, after those prompts
preferences   the chosen and the rejected answers, after those prompts
"""

from __future__ import annotations

from collections.abc import Callable

from steelyard.core import Context, Objective, Query, Recipe, Task, Weights, digest
from steelyard.errors import TrainingError
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.near_misses import evidence_shown
from steelyard.recipes.presets import model_of
from steelyard.recipes.prompt import target_text
from steelyard.recipes.teaching import Teaching, teach
from steelyard.recipes.workshop import Workshop, opened, prompting
from steelyard.training import Job, TrainingRow


def training_job(system: LanguageModelSystem, task: Task, workshop: Workshop) -> tuple[Job, float]:
    """All that the weights learn from and how, and the seconds that a teacher took.

    Raises:
        TrainingError: a stage has nothing to learn from.
    """
    weights = system.recipe.weights
    seconds = 0.0
    rows: list[TrainingRow] = []
    for stage in weights.learn:
        if stage == "teacher":
            taught = _teacher(system, task, workshop)
            own, seconds = taught.rows, taught.seconds
        else:
            own = _ROWS[stage](system, task, workshop)
        if not own:
            raise TrainingError(
                f"{system.recipe.name} learns from {stage}, and the task has none. "
                f"{_REMEDIES[stage]}, or leave the recipe out"
            )
        rows += own
    job = Job(
        model=model_of(task, system.recipe),
        fingerprint=system.backend.fingerprint,
        weights=weights,
        seed=workshop.seed,
        rows=tuple(rows),
        memory_gb=task.limits.memory_gb,
    )
    return job, seconds


_REMEDIES: dict[Objective, str] = {
    "documents": "Name some under [knowledge]",
    "inputs": "Add rows to train",
    "examples": "Add rows to train",
    "teacher": "Add rows to train, or name a file of inputs as unlabelled under [data]",
    "preferences": "Name a file of pairs as preferences under [data]",
}


def _documents(_system: LanguageModelSystem, _task: Task, workshop: Workshop) -> list[TrainingRow]:
    first: dict[str, str] = {}  # equal texts are read once
    for id, text in workshop.lookup.texts:
        first.setdefault(text, id)
    return [TrainingRow((), text, id, "documents") for text, id in first.items()]


def _inputs(_system: LanguageModelSystem, task: Task, _workshop: Workshop) -> list[TrainingRow]:
    groups = {text: digest(text)[:16] for text in task.unlabelled}
    groups |= {example.input: example.group for example in task.train}
    return [TrainingRow((), text, group, "inputs") for text, group in groups.items()]


def _examples(system: LanguageModelSystem, task: Task, workshop: Workshop) -> list[TrainingRow]:
    """The rows as the trained model will meet them.

    A row is shown what it will be shown when it is asked, but for itself and its group. Where its
    evidence is withheld and the task may say that it does not know, that is its target.
    """
    prompts = system.prompts([Query.of(example) for example in task.train])
    shown = evidence_shown(system.recipe, task, workshop.seed)
    abstain = task.knowledge.abstain if system.recipe.context.passages else None
    rows = []
    for example, prompt in zip(task.train, prompts, strict=True):
        withheld = abstain is not None and not shown.get(example.id, True)
        target = abstain if withheld else example.target
        rows.append(TrainingRow(prompt, target_text(target), example.group))
    return rows


def _preferences(system: LanguageModelSystem, task: Task, _: Workshop) -> list[TrainingRow]:
    prompts = system.prompts([Query(pair.input) for pair in task.preferences])
    return [
        TrainingRow(
            prompt,
            target_text(pair.chosen),
            pair.group,
            "preferences",
            rejected=target_text(pair.rejected),
        )
        for pair, prompt in zip(task.preferences, prompts, strict=True)
    ]


_ROWS: dict[Objective, Callable[[LanguageModelSystem, Task, Workshop], list[TrainingRow]]] = {
    "documents": _documents,
    "inputs": _inputs,
    "examples": _examples,
    "preferences": _preferences,
}


def _teacher(system: LanguageModelSystem, task: Task, workshop: Workshop) -> Teaching:
    recipe = teacher_of(system.recipe)
    backend = system.backend
    if recipe.model != system.recipe.model:
        backend = opened(model_of(task, recipe), task, workshop)
    return teach(prompting(recipe, task, backend, workshop), system, task, workshop)


def teacher_of(recipe: Recipe) -> Recipe:
    """Who teaches: the recipe's teacher model, or its own base, with the teacher's context."""
    weights = recipe.weights
    return Recipe(
        f"{recipe.name} teacher",
        model=weights.teacher_model or recipe.model,
        context=weights.teacher or Context(),
        weights=Weights(),
        decoding=recipe.decoding,
    )
