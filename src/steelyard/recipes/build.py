"""A Recipe and a Task become a System."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from steelyard.core import Context, Json, Recipe, System, Task, Usage, Weights, digest
from steelyard.errors import StoreError
from steelyard.models import Backend, embedder_of, open_embedder
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.controls import build_majority, build_tfidf, load_libraries
from steelyard.recipes.head import HeadSystem, fit_head, head_key, load_head, save_head
from steelyard.recipes.lessons import Asked, training_job
from steelyard.recipes.presets import model_of
from steelyard.recipes.reflecting import reflect
from steelyard.recipes.searching import Found, Ground, race
from steelyard.recipes.sections import WIDE, SectionedSystem
from steelyard.recipes.workshop import ANSWERING, Place, Workshop, opened, prompting
from steelyard.training import Job, Trained, is_whole, train_in_child

CONTROL_BUILDERS = {"majority": build_majority, "tfidf": build_tfidf}


@dataclass(frozen=True)
class Built:
    """A system, what it took to set up, and a fingerprint that names all its answers.

    `note` says what was found where something was searched for, and `reflection` which tokens of
    the task's reflection model that took; `paraphrasing` are those of the model that says documents
    in other words. `before` is what there was before weights were trained: the plain prompt on the
    base. `artefacts` name the weights in the store, and `unfinished` is the folder of a training
    that paused.
    """

    system: System
    fingerprint: str
    setup_seconds: float
    curve: Json = None
    note: str | None = None
    reflection: Usage = Usage()
    paraphrasing: Usage = Usage()
    before: System | None = None
    artefacts: tuple[str, ...] = ()
    unfinished: Path | None = None


def build(recipe: Recipe, task: Task, workshop: Workshop) -> Built:
    """Build `recipe` for `task`; what was built before, training above all, is reused.

    Raises:
        ModelError: the base model is not there.
        TrainingError: training ended without weights, or not before the deadline.
        SearchError: a search found nothing, or not before the deadline.
    """
    if recipe.model in CONTROL_BUILDERS:
        load_libraries()
        started = time.perf_counter()
        control = CONTROL_BUILDERS[recipe.model](recipe, task)
        seconds = time.perf_counter() - started
        fingerprint = digest([recipe.key, task.hash, ANSWERING])
        return Built(control, fingerprint, _first_seconds(workshop, fingerprint, seconds))

    if recipe.weights.method == "head":
        return _build_head(recipe, task, workshop)
    backend = opened(model_of(task, recipe), task, workshop)
    found = _found(recipe, task, backend, workshop)
    recipe = found.recipe
    started = time.perf_counter()
    answering = prompting(recipe, task, backend, workshop)
    seconds = time.perf_counter() - started
    curve, trained_seconds, before = None, 0.0, None
    artefacts: tuple[str, ...] = ()
    unfinished = None
    asked = Asked()
    if recipe.weights.method != "none":
        context = replace(recipe.context, describe_output=True)
        plain = replace(recipe, context=context, weights=Weights())
        before = prompting(plain, task, backend, workshop)
        job, asked = training_job(answering, task, workshop)
        folder, curve, trained_seconds = trained(job, workshop)
        trained_seconds += asked.seconds
        artefacts = (folder.name,)
        unfinished = None if is_whole(curve) else workshop.jobs / job.key
        answering = replace(answering, backend=backend.adapted(folder))
    started = time.perf_counter()
    system = finished(answering, task, workshop)
    seconds += time.perf_counter() - started
    if recipe.context.passages or recipe.context.history != "none":
        seconds += workshop.lookup.seconds
    depends = _depends(task, recipe.context, answering.backend, workshop)
    fingerprint = digest([recipe.key, *depends])
    setup = _first_seconds(workshop, fingerprint, seconds) + trained_seconds + found.seconds
    return Built(
        *(system, fingerprint, setup, curve),
        note=found.note,
        reflection=found.usage,
        paraphrasing=asked.usage,
        before=before,
        artefacts=artefacts,
        unfinished=unfinished,
    )


def reopen(
    recipe: Recipe,
    task: Task,
    workshop: Workshop,
    artefacts: Sequence[str],
    *,
    through: Backend | None = None,
) -> Built:
    """The system of a recipe on weights that are there: nothing is searched for, nothing trained.

    `through` is a backend that has them already.

    Raises:
        ModelError: the base model is not there.
        StoreError: an artefact is gone, or not what was put in.
    """
    folders = [workshop.artefacts.get(name) for name in artefacts]
    if recipe.model in CONTROL_BUILDERS:
        return build(recipe, task, workshop)
    if recipe.weights.method == "head":
        embedder = open_embedder(embedder_of(model_of(task, recipe)))
        key = head_key(task.train, embedder, workshop.seed)
        fingerprint = digest([recipe.key, task.hash, key, ANSWERING])
        system: System = HeadSystem(recipe, load_head(folders[0]), embedder)
        return Built(system, fingerprint, 0.0, artefacts=tuple(artefacts))
    backend = opened(model_of(task, recipe), task, workshop) if through is None else through
    for folder in folders if through is None else ():
        backend = backend.adapted(folder)
    system = finished(prompting(recipe, task, backend, workshop), task, workshop)
    fingerprint = digest([recipe.key, *_depends(task, recipe.context, backend, workshop)])
    return Built(system, fingerprint, 0.0, artefacts=tuple(artefacts))


def finished(system: LanguageModelSystem, task: Task, workshop: Workshop) -> System:
    """A system that answers as its recipe says, the backend ready for it."""
    recipe = system.recipe
    if recipe.decoding.kind == "sections":
        widely = replace(recipe, context=replace(recipe.context, passages=WIDE))
        wide = prompting(widely, task, system.backend, workshop)
        sectioned = SectionedSystem.of(system, wide.find)
        sectioned.prepare()
        return sectioned
    system.prepare()
    return system.calibrated() if recipe.decoding.calibrated else system


def _found(recipe: Recipe, task: Task, backend: Backend, workshop: Workshop) -> Found:
    """The recipe with nothing left to search for; most have nothing to begin with."""
    context, reflection = recipe.context, task.search.reflection
    if context.examples != "searched" and context.reflection is None:
        return Found(recipe, None, 0.0)

    ground = Ground(
        task=task,
        open=lambda one: finished(prompting(one, task, backend, workshop), task, workshop),
        grade=workshop.grade,
        key=_depends(task, context, backend, workshop),
        database=workshop.database,
        seed=workshop.seed,
        told=workshop.told,
        deadline=workshop.deadline,
    )
    if context.reflection is None:
        return race(recipe, ground)
    assert reflection is not None, "presets name the model of the task"
    return reflect(recipe, ground, reflection, opened(reflection, task, workshop))


def _build_head(recipe: Recipe, task: Task, workshop: Workshop) -> Built:
    embedder = open_embedder(embedder_of(model_of(task, recipe)))
    key = head_key(task.train, embedder, workshop.seed)
    folder = workshop.jobs / key

    def fit() -> Trained:
        started = time.perf_counter()
        save_head(fit_head(task.train, embedder, seed=workshop.seed), folder)
        return Trained(folder, None, time.perf_counter() - started)

    stored, _, seconds = _kept(key, fit, workshop)
    fingerprint = digest([recipe.key, task.hash, key, ANSWERING])
    system = HeadSystem(recipe, load_head(stored), embedder)
    return Built(system, fingerprint, seconds, artefacts=(stored.name,))


def _depends(task: Task, context: Context, backend: Backend, workshop: Workshop) -> list[Json]:
    """All that answers depend on beside the recipe."""
    return [
        *(task.hash, backend.fingerprint, workshop.seed, task.limits.too_long, ANSWERING),
        *workshop.lookup.fingerprint(context),
    ]


def trained(job: Job, place: Place) -> tuple[Path, Json, float]:
    """The adapter's folder, its learning curve and the seconds it took, now or earlier.

    Where only a part of it is wanted, and the whole is there without ever having paused, it is the
    whole.

    Raises:
        TrainingError: the training ended without weights; the same call goes on from what it left.
    """
    folder, database = place.jobs / job.key, place.database

    def train() -> Trained:
        return train_in_child(
            job,
            folder,
            log=place.log,
            deadline=place.deadline,
            until=place.until,
            wanted=place.wanted,
        )

    key = job.key if place.until >= 1 else f"{job.key}@{place.until:g}"
    if database.build(key) is None and database.build(job.key) is not None:
        key = job.key
    stored, curve, seconds = _kept(key, train, place)
    if is_whole(curve):
        database.add_build(job.key, stored.name, seconds, curve)
        shutil.rmtree(folder, ignore_errors=True)
    return stored, curve, seconds


def _kept(key: str, make: Callable[[], Trained], place: Place) -> tuple[Path, Json, float]:
    """The artefact of a key, its details and its seconds: made once, and again if spoilt."""
    known = place.database.build(key)
    if known is not None and known[0] is not None:
        name, seconds, curve = known
        try:
            return place.artefacts.get(str(name)), curve, seconds
        except StoreError:
            place.database.forget_build(key)  # spoilt on disk
            shutil.rmtree(place.artefacts.root / str(name), ignore_errors=True)
    made = make()
    name = place.artefacts.put(made.folder)
    place.database.add_build(key, name, made.seconds, made.curve)
    return place.artefacts.get(name), made.curve, made.seconds


def _first_seconds(workshop: Workshop, fingerprint: str, seconds: float) -> float:
    """The set-up time of the first build: a later one finds caches warm."""
    workshop.database.add_build(f"setup:{fingerprint}", None, seconds, None)
    found = workshop.database.build(f"setup:{fingerprint}")
    return seconds if found is None else found[1]
