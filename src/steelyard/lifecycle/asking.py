"""The verb `ask`: the system a verdict stands for, answering."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json, Recipe, System, Task
from steelyard.errors import HomeError, InputError
from steelyard.lifecycle.home import Home, open_home
from steelyard.lifecycle.looking import open_lookup
from steelyard.measure.grading import Grader
from steelyard.recipes import Lookup, Workshop, build, select, stored_recipe


@dataclass(frozen=True)
class Chosen:
    """A built system and the verdict that it comes from."""

    system: System
    verdict: Json


def chosen_system(task: Task, home: Home) -> Chosen:
    """Build the recipe that the task's newest verdict chose, or prefers while it cannot tell.

    It can be asked while the home folder is open, where it looks things up.

    Raises:
        InputError: the task has no verdict here, or one that chose nothing.
    """
    verdict = newest_verdict(home, task)
    name = verdict["chosen"] or verdict["prefer"]
    if name is None:
        raise InputError(
            f"{task.name}: its verdict is that nothing works, so there is no system to ask; "
            "add examples or another base model, and weigh again"
        )
    return Chosen(system_named(task, home, verdict, name), verdict)


def system_named(task: Task, home: Home, verdict: Json, name: str) -> System:
    """Build the recipe that a verdict weighed under a name.

    Raises:
        InputError: the task gives no such recipe any more.
    """
    recipe = recipe_named(task, verdict, name)
    lookup = open_lookup(task, home, [recipe])
    return build(recipe, task, workshop_of(task, home, verdict["seed"], lookup)).system


def workshop_of(task: Task, home: Home, seed: int, lookup: Lookup) -> Workshop:
    """Where a system of a task is built in a home folder."""
    grade = Grader.of(task).grade
    return Workshop(home.database, home.artefacts, home.jobs, seed, grade, lookup)


def recipe_named(task: Task, verdict: Json, name: str) -> Recipe:
    """The recipe of that name, if it still is the one that was weighed. One that is none of the
    task's own, such as one of a file or of a sweep, is as the verdict keeps it.

    Raises:
        InputError: there is none, or it is another one by now.
    """
    again = f"run: steelyard weigh {task.path}"
    own = next((recipe for recipe in select(task, every=True) if recipe.name == name), None)
    recipe = own or _kept(task, verdict, name)
    if recipe is None:
        raise InputError(
            f"{task.name}: its verdict chose {name}, which the task's base models no longer give; "
            f"{again}"
        )
    keys = {report["name"]: report.get("key") for report in verdict.get("recipes", ())}
    if keys.get(name) not in (None, recipe.key):  # verdicts of earlier versions have no keys
        raise InputError(
            f"{task.name}: its verdict chose {name}, which is another recipe since: "
            f"{recipe.context}; {again}"
        )
    return recipe


def _kept(task: Task, verdict: Json, name: str) -> Recipe | None:
    texts = {report["name"]: report.get("toml") for report in verdict.get("recipes", ())}
    if not texts.get(name):
        return None
    recipe = stored_recipe(texts[name])
    return recipe if any(model.name == recipe.model for model in task.models) else None


def weighed_tasks(home: Path) -> dict[str, Path]:
    """The names of the tasks that were weighed in a home, with the file of each, where it still
    is."""
    try:
        with open_home(home, create=False, lock=None) as opened:
            verdicts = opened.database.verdicts()
    except HomeError:
        return {}
    paths = {v["task_name"]: Path(v["task_path"]) for v in reversed(verdicts) if v["task_path"]}
    return {name: path for name, path in paths.items() if path.is_file()}


def newest_verdict(home: Home, task: Task) -> Json:
    """The newest verdict of exactly this task, its rows included.

    Raises:
        InputError: there is none.
    """
    found = [v for v in home.database.verdicts() if v["task_hash"] == task.hash]
    if not found:
        changed = any(v["task_name"] == task.name for v in home.database.verdicts())
        since = "it changed since it was weighed" if changed else "it was not weighed yet"
        raise InputError(
            f"{task.name}: no verdict in {home.path} ({since}); run: steelyard weigh {task.path}"
        )
    return found[0]["body"]
