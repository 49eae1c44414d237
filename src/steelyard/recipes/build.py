"""A Recipe and a Task become a System."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Example, Json, Recipe, System, Task, digest
from steelyard.errors import StoreError
from steelyard.knowledge import NearestExamples
from steelyard.models import Backend, open_backend, open_embedder
from steelyard.recipes.answering import LanguageModelSystem, Shots, answer_limit
from steelyard.recipes.controls import build_majority, build_tfidf
from steelyard.recipes.presets import model_of
from steelyard.recipes.prompt import build_prompt, target_text
from steelyard.store import Artefacts, Database
from steelyard.training import Job, Progress, TrainingRow, train_in_child

CONTROL_BUILDERS = {"majority": build_majority, "tfidf": build_tfidf}
ANSWERING = 2  # counts changes to prompts, engine, parsing or controls that make old rows stale


@dataclass(frozen=True)
class Workshop:
    """Where systems are built: the store, a folder for unfinished jobs, and who is told.

    `deadline` is a `time.monotonic()` after which training is given up.
    """

    database: Database
    artefacts: Artefacts
    jobs: Path
    seed: int
    log: Callable[[Progress], None] = lambda _: None
    deadline: float | None = None


@dataclass(frozen=True)
class Built:
    """A system, what it took to set up, and a fingerprint that names all its answers."""

    system: System
    fingerprint: str
    setup_seconds: float
    curve: Json = None


def build(recipe: Recipe, task: Task, workshop: Workshop) -> Built:
    """Build `recipe` for `task`; what was built before, training above all, is reused.

    Raises:
        ModelError: the base model is not there.
        TrainingError: training ended without weights, or not before the deadline.
    """
    if recipe.model in CONTROL_BUILDERS:
        started = time.perf_counter()
        system: System = CONTROL_BUILDERS[recipe.model](recipe, task)
        seconds = time.perf_counter() - started
        fingerprint = digest([recipe.key, task.hash, ANSWERING])
        return Built(system, fingerprint, _first_seconds(workshop, fingerprint, seconds))

    backend = open_backend(model_of(task, recipe), memory_gb=task.limits.memory_gb)
    curve, trained_seconds = None, 0.0
    if recipe.weights.method == "lora":
        folder, curve, trained_seconds = _trained(recipe, task, backend, workshop)
        backend = backend.adapted(folder)
    started = time.perf_counter()
    answering = LanguageModelSystem(
        recipe=recipe,
        instruction=task.instruction,
        output=task.output,
        backend=backend,
        shots=_shots(recipe, task, workshop.seed),
        max_tokens=answer_limit(
            [backend.count_target_tokens(target_text(e.target)) for e in task.train]
        ),
        truncate=task.limits.too_long == "truncate",
    )
    answering.prepare()
    if recipe.decoding.calibrated:
        answering = answering.calibrated()
    seconds = time.perf_counter() - started
    too_long = task.limits.too_long
    fingerprint = digest(
        [recipe.key, task.hash, backend.fingerprint, workshop.seed, too_long, ANSWERING]
    )
    setup = _first_seconds(workshop, fingerprint, seconds) + trained_seconds
    return Built(answering, fingerprint, setup, curve)


def training_job(recipe: Recipe, task: Task, backend: Backend, seed: int) -> Job:
    """The rows as the trained model will meet them, and how to learn from them."""
    model = model_of(task, recipe)
    shots = _shots(recipe, task, seed)([example.input for example in task.train])
    rows = tuple(
        TrainingRow(
            prompt=build_prompt(
                task.instruction,
                task.output,
                own,
                example.input,
                describe=recipe.context.describe_output,
            ),
            target=target_text(example.target),
            group=example.group,
        )
        for example, own in zip(task.train, shots, strict=True)
    )
    memory_gb = task.limits.memory_gb
    return Job(model, backend.fingerprint, recipe.weights, seed, rows, memory_gb=memory_gb)


def _trained(
    recipe: Recipe, task: Task, backend: Backend, workshop: Workshop
) -> tuple[Path, Json, float]:
    """The adapter's folder, its learning curve and the seconds it took, now or earlier."""
    job = training_job(recipe, task, backend, workshop.seed)
    known = workshop.database.build(job.key)
    if known is not None and known[0] is not None:
        name, seconds, curve = known
        try:
            return workshop.artefacts.get(str(name)), curve, seconds
        except StoreError:
            workshop.database.forget_build(job.key)  # spoilt on disk: train it again
            shutil.rmtree(workshop.artefacts.root / str(name), ignore_errors=True)
    folder = workshop.jobs / job.key
    trained = train_in_child(job, folder, log=workshop.log, deadline=workshop.deadline)
    name = workshop.artefacts.put(trained.folder)
    workshop.database.add_build(job.key, name, trained.seconds, trained.curve)
    shutil.rmtree(folder, ignore_errors=True)
    return workshop.artefacts.get(name), trained.curve, trained.seconds


def _first_seconds(workshop: Workshop, fingerprint: str, seconds: float) -> float:
    """The set-up time of the first build: a later one finds caches warm."""
    workshop.database.add_build(f"setup:{fingerprint}", None, seconds, None)
    found = workshop.database.build(f"setup:{fingerprint}")
    return seconds if found is None else found[1]


def _shots(recipe: Recipe, task: Task, seed: int) -> Shots:
    context = recipe.context
    if context.examples == "fixed":
        fixed = fixed_examples(task.train, context.num_examples, seed=seed)
        return lambda inputs: [fixed] * len(inputs)
    if context.examples == "nearest":
        pool = NearestExamples(task.train, open_embedder(model_of(task, recipe).source))
        return lambda inputs: [*pool.nearest(inputs, context.num_examples)]
    return lambda inputs: [()] * len(inputs)


def fixed_examples(pool: Sequence[Example], k: int, *, seed: int) -> tuple[Example, ...]:
    """The same k examples for every input, in the same order: its prefix can be cached.

    Targets that repeat (labels) are taken in turn, so that k examples show as many as they can.
    """
    order = list(pool)
    random.Random(f"shots:{seed}").shuffle(order)
    seen: dict[str, int] = {}
    ranked = []
    for place, example in enumerate(order):
        text = target_text(example.target)
        seen[text] = seen.get(text, 0) + 1
        ranked.append((seen[text], place, example))
    ranked.sort(key=lambda entry: entry[:2])
    return tuple(example for _, _, example in ranked[:k])
