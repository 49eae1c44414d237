"""A Recipe and a Task become a System."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Json, Query, Recipe, System, Task, digest
from steelyard.errors import StoreError
from steelyard.knowledge.rerank import Likelihood, MaxSim
from steelyard.models import Backend, open_backend, open_embedder
from steelyard.recipes.answering import LanguageModelSystem, answer_limit
from steelyard.recipes.controls import build_majority, build_tfidf
from steelyard.recipes.finding import Lookup, Rerank, find_parts
from steelyard.recipes.presets import model_of
from steelyard.recipes.prompt import Frame, target_text
from steelyard.store import Artefacts, Database
from steelyard.training import Job, Progress, TrainingRow, train_in_child

CONTROL_BUILDERS = {"majority": build_majority, "tfidf": build_tfidf}
ANSWERING = 3  # counts changes to prompts, engine, parsing or controls that make old rows stale


@dataclass(frozen=True)
class Workshop:
    """Where systems are built: the store, a folder for unfinished jobs, and who is told.

    `lookup` is where contexts look; `deadline` is a `time.monotonic()` after which training is
    given up.
    """

    database: Database
    artefacts: Artefacts
    jobs: Path
    seed: int
    lookup: Lookup = Lookup()
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
    started = time.perf_counter()
    answering = prompting(recipe, task, backend, workshop)
    seconds = time.perf_counter() - started
    curve, trained_seconds = None, 0.0
    if recipe.weights.method != "none":
        job = training_job(answering, task, workshop.seed)
        folder, curve, trained_seconds = _trained(job, workshop)
        answering = replace(answering, backend=backend.adapted(folder))
    started = time.perf_counter()
    answering.prepare()
    if recipe.decoding.calibrated:
        answering = answering.calibrated()
    seconds += time.perf_counter() - started
    if recipe.context.passages or recipe.context.history != "none":
        seconds += workshop.lookup.seconds
    fingerprint = digest(
        [
            *(recipe.key, task.hash, answering.backend.fingerprint, workshop.seed),
            *(task.limits.too_long, ANSWERING),
            *workshop.lookup.fingerprint(recipe.context),
        ]
    )
    setup = _first_seconds(workshop, fingerprint, seconds) + trained_seconds
    return Built(answering, fingerprint, setup, curve)


def prompting(
    recipe: Recipe, task: Task, backend: Backend, workshop: Workshop
) -> LanguageModelSystem:
    """The system of a recipe on a backend as it is: nothing trained, nothing prepared."""
    lengths = [backend.count_target_tokens(target_text(e.target)) for e in task.train]
    return LanguageModelSystem(
        recipe=recipe,
        frame=Frame.of(task, recipe.context),
        backend=backend,
        find=find_parts(
            recipe,
            task,
            workshop.lookup,
            embedder=lambda: open_embedder(model_of(task, recipe).source),
            rerank=_reranker(recipe, task, backend),
            seed=workshop.seed,
        ),
        max_tokens=answer_limit(lengths),
        truncate=task.limits.too_long == "truncate",
    )


def _reranker(recipe: Recipe, task: Task, backend: Backend) -> Rerank | None:
    if recipe.context.rerank == "maxsim":
        return MaxSim(open_embedder(model_of(task, recipe).source))
    return Likelihood(backend) if recipe.context.rerank == "llm" else None


def training_job(system: LanguageModelSystem, task: Task, seed: int) -> Job:
    """The rows as the trained model will meet them, and how to learn from them.

    A row is shown what it will be shown when it is asked, but for itself and its group.
    """
    prompts = system.prompts([Query.of(example) for example in task.train])
    rows = tuple(
        TrainingRow(prompt=prompt, target=target_text(example.target), group=example.group)
        for example, prompt in zip(task.train, prompts, strict=True)
    )
    model, base = model_of(task, system.recipe), system.backend.fingerprint
    memory_gb = task.limits.memory_gb
    return Job(model, base, system.recipe.weights, seed, rows, memory_gb=memory_gb)


def _trained(job: Job, workshop: Workshop) -> tuple[Path, Json, float]:
    """The adapter's folder, its learning curve and the seconds it took, now or earlier."""
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
