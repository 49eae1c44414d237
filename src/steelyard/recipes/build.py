"""A Recipe and a Task become a System."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Json, Recipe, System, Task, digest
from steelyard.errors import StoreError
from steelyard.models import open_backend
from steelyard.recipes.controls import build_majority, build_tfidf
from steelyard.recipes.lessons import training_job
from steelyard.recipes.presets import model_of
from steelyard.recipes.workshop import ANSWERING, Workshop, prompting
from steelyard.training import Job, train_in_child

CONTROL_BUILDERS = {"majority": build_majority, "tfidf": build_tfidf}


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
        job, taught_seconds = training_job(answering, task, workshop)
        folder, curve, trained_seconds = _trained(job, workshop)
        trained_seconds += taught_seconds
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
