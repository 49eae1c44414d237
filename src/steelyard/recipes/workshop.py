"""Where systems are built, and a recipe's prompts as a system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from steelyard.core import ModelSpec, Recipe, Task
from steelyard.knowledge.rerank import Likelihood, MaxSim
from steelyard.models import Account, Backend, LabelScorer, embedder_of, open_backend, open_embedder
from steelyard.recipes.answering import LanguageModelSystem, answer_limit
from steelyard.recipes.finding import Lookup, Rerank, find_parts
from steelyard.recipes.presets import model_of
from steelyard.recipes.prompt import Frame, target_text
from steelyard.recipes.searching import Grade
from steelyard.store import Artefacts, Database
from steelyard.training import Progress

ANSWERING = 4  # counts changes to prompts, engine, parsing or controls that make old rows stale
MOST_ALIKE = 64  # targets that guesses are taken from. Source: ours, docs/log/2026-11-27-guesses.md


@dataclass(frozen=True)
class Workshop:
    """Where systems are built: the store, a folder for unfinished jobs, and who is told.

    `grade` scores what is tried on train, `lookup` is where contexts look; `deadline` is a
    `time.monotonic()` after which training, or a search, is given up, and `until` the share of the
    training's steps after which it pauses. `log` hears of training, and `told` of a search: how
    many answers there are of how many. Training that is not `wanted` any more ends. `account` pays
    for models behind URLs.
    """

    database: Database
    artefacts: Artefacts
    jobs: Path
    seed: int
    grade: Grade
    lookup: Lookup = Lookup()
    log: Callable[[Progress], None] = lambda _: None
    told: Callable[[int, int], None] = lambda _done, _total: None
    deadline: float | None = None
    until: float = 1.0
    wanted: Callable[[], bool] = lambda: True
    account: Account | None = None


class Place(Protocol):
    """Where training is done once and its weights are kept. A `Workshop` is one."""

    @property
    def database(self) -> Database: ...
    @property
    def artefacts(self) -> Artefacts: ...
    @property
    def jobs(self) -> Path: ...
    @property
    def log(self) -> Callable[[Progress], None]: ...
    @property
    def deadline(self) -> float | None: ...
    @property
    def until(self) -> float: ...
    @property
    def wanted(self) -> Callable[[], bool]: ...


def opened(model: ModelSpec, task: Task, workshop: Workshop) -> Backend:
    """A base model, with the memory and the money that the task has for it."""
    return open_backend(model, memory_gb=task.limits.memory_gb, account=workshop.account)


def prompting(
    recipe: Recipe, task: Task, backend: Backend, workshop: Workshop
) -> LanguageModelSystem:
    """The system of a recipe on a backend as it is: nothing trained, nothing prepared."""
    lengths = [backend.count_target_tokens(target_text(e.target)) for e in task.train]
    alike = [target_text(e.target) for e in task.train if e.user is None]
    return LanguageModelSystem(
        recipe=recipe,
        frame=Frame.of(task, recipe.context),
        backend=backend,
        find=find_parts(
            recipe,
            task,
            workshop.lookup,
            embedder=lambda: open_embedder(embedder_of(model_of(task, recipe))),
            rerank=_reranker(recipe, task, backend),
            seed=workshop.seed,
        ),
        max_tokens=answer_limit(lengths, backend.context_tokens),
        truncate=task.limits.too_long == "truncate",
        alike=tuple(alike[:MOST_ALIKE]),
    )


def _reranker(recipe: Recipe, task: Task, backend: Backend) -> Rerank | None:
    if recipe.context.rerank == "maxsim":
        return MaxSim(open_embedder(embedder_of(model_of(task, recipe))))
    if recipe.context.rerank != "llm":
        return None
    assert isinstance(backend, LabelScorer), "recipes/allowing.py leaves others out"
    return Likelihood(backend)
