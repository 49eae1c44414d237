"""What the weights of a recipe learn from, stage by stage.

documents     the task's documents, each a text
inputs        the inputs of train, and those without targets
examples      train's targets, after the prompts that serving will show
teacher       a teacher's answers to the same inputs, after those prompts
preferences   the chosen and the rejected answers, after those prompts
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from steelyard.core import Context, Objective, Query, Recipe, Task, Usage, Weights, digest
from steelyard.errors import TrainingError
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.near_misses import evidence_shown
from steelyard.recipes.paraphrasing import Copies, paraphrase
from steelyard.recipes.presets import model_of
from steelyard.recipes.prompt import target_text
from steelyard.recipes.teaching import Teaching, teach
from steelyard.recipes.workshop import Workshop, opened, prompting
from steelyard.training import Job, TrainingRow


@dataclass(frozen=True)
class Asked:
    """What others wrote for it took: a teacher's seconds, and those and the tokens of the model
    that says documents in other words."""

    seconds: float = 0.0
    usage: Usage = Usage()


def training_job(system: LanguageModelSystem, task: Task, workshop: Workshop) -> tuple[Job, Asked]:
    """All that the weights learn from and how, and what others took to write for it.

    Raises:
        TrainingError: a stage has nothing to learn from.
    """
    weights = system.recipe.weights
    seconds, usage = 0.0, Usage()
    rows: list[TrainingRow] = []
    for stage in weights.learn:
        if stage == "teacher":
            taught = _teacher(system, task, workshop)
            own = taught.rows
            seconds += taught.seconds
        else:
            own = _ROWS[stage](system, task, workshop)
        if not own:
            raise TrainingError(
                f"{system.recipe.name} learns from {stage}, and the task has none. "
                f"{_REMEDIES[stage]}, or leave the recipe out"
            )
        if stage == "documents" and weights.paraphrases:
            copies = _paraphrased(own, system, task, workshop)
            own = [*own, *(TrainingRow((), text, "paraphrase", stage) for text in copies.texts)]
            seconds, usage = seconds + copies.seconds, copies.usage
        rows += own
    job = Job(
        model=model_of(task, system.recipe),
        fingerprint=system.backend.fingerprint,
        weights=weights,
        seed=workshop.seed,
        rows=tuple(rows),
        memory_gb=task.limits.memory_gb,
    )
    return job, Asked(seconds, usage)


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


def _paraphrased(
    rows: list[TrainingRow], system: LanguageModelSystem, task: Task, workshop: Workshop
) -> Copies:
    spec, weights = task.knowledge.paraphrase, system.recipe.weights
    if spec is None or weights.paraphrase_model not in (None, spec.name):
        raise TrainingError(
            f"{system.recipe.name} learns from {weights.paraphrases} paraphrases of each document "
            f"by {weights.paraphrase_model or 'a model'}, and the task names "
            f"{'no model to write them' if spec is None else spec.name}. Name it as paraphrase "
            "under [knowledge], or leave the recipe out"
        )
    return paraphrase(
        [row.target for row in rows],
        weights.paraphrases,
        spec=spec,
        writer=opened(spec, task, workshop),
        workshop=workshop,
    )


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
