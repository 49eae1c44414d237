"""Trained weights of a verdict as files for other tools, checked before they are handed over."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.core import Json, Query, Task
from steelyard.errors import InputError, WorkError, unknown
from steelyard.lifecycle.asking import newest_verdict, system_named
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.model_card import model_card
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.prompt import target_text

if TYPE_CHECKING:
    from steelyard.training.export_checks import Check, Row

FORMATS = ("peft", "merged", "gguf", "gguf-q8_0", "gguf-adapter")
CARD = "README.md"


@dataclass(frozen=True)
class Exported:
    """Where an export is, of which recipe, and what it was checked by."""

    folder: Path
    recipe: str
    base: str
    checks: tuple[Check, ...]


def export(task: Task, home: Home, *, format: str, to: Path, recipe: str | None = None) -> Exported:
    """Write the trained weights of a recipe of the task's newest verdict to the new folder `to`.

    The chosen recipe, unless another is named. Nothing is left there when a check fails.

    Raises:
        InputError: the recipe has no weights to export, or not in this format.
        WorkError: what was written does not say what the trained model says.
    """
    if format not in FORMATS:
        raise InputError(f"--format: {unknown('format', format, FORMATS)}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"--to {to}: there is something already; name a folder that is not there")
    verdict = newest_verdict(home, task)
    system = _trained(task, home, verdict, recipe)
    from steelyard.models.torch_backend import TorchBackend
    from steelyard.training import export as files
    from steelyard.training import export_checks

    backend = system.backend
    if not isinstance(backend, TorchBackend):
        raise InputError(
            f"{system.recipe.name}: the weights of the model {backend.source} are not on this "
            "machine; only local models can be exported"
        )
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=".export-") as name:
        folder = Path(name) / "export"
        folder.mkdir()
        written = files.export(backend, format, folder)
        checks = export_checks.check(backend, format, written, _rows(system, task))
        if failed := [check for check in checks if not check.passed and check.why is None]:
            raise WorkError(f"{system.recipe.name} as {format}: {failed[0]}; nothing was written")
        base = backend.base
        card = model_card(task, verdict, system, format=format, base=base, checks=checks)
        (folder / CARD).write_text(card, encoding="utf-8")
        if to.is_dir():
            to.rmdir()
        shutil.move(folder, to)
    return Exported(to, system.recipe.name, base, checks)


def _trained(task: Task, home: Home, verdict: Json, recipe: str | None) -> LanguageModelSystem:
    reports = {r["name"]: r for r in verdict["recipes"]}
    name = recipe or verdict["chosen"] or verdict["prefer"]
    if recipe is not None and recipe not in reports:
        raise InputError(f"--recipe: {unknown('recipe', recipe, reports)}")
    system = None if name is None else system_named(task, home, verdict, name)
    if not isinstance(system, LanguageModelSystem) or system.recipe.weights.method == "none":
        trained = [r["name"] for r in reports.values() if r["learning_curve"]]
        raise InputError(
            f"{task.name}: {name or 'nothing'} was chosen, and has no trained model to export. "
            f"Name one with --recipe: {', '.join(trained) or 'this verdict has none'}"
        )
    return system


def _rows(system: LanguageModelSystem, task: Task) -> list[Row]:
    """Dev rows as the model meets them; the sealed test stays out of it."""
    from steelyard.models.torch_backend import TorchBackend
    from steelyard.training.export_checks import PLACES, Row

    backend = system.backend
    assert isinstance(backend, TorchBackend)
    renderer = backend.renderer
    examples = task.dev[:PLACES]
    prompts = system.prompts([Query.of(example) for example in examples])
    rows = [
        Row(
            renderer.text(prompt),
            renderer.prompt_ids(prompt),
            renderer.target_ids(target_text(example.target)),
        )
        for prompt, example in zip(prompts, examples, strict=True)
    ]
    return [row for row in rows if len(row.ids) < backend.context_tokens]
