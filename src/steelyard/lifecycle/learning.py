"""Learning from use without training: what users accepted or corrected, and forgetting it."""

from __future__ import annotations

from steelyard.core import Example, Json, Task
from steelyard.errors import InputError
from steelyard.lifecycle.home import Home
from steelyard.tasks.schema import misfit
from steelyard.tasks.wording import shown


def learn(
    task: Task,
    home: Home,
    input: str,
    target: Json,
    *,
    user: str | None = None,
    time: str | None = None,
) -> None:
    """Keep an answer that a user accepted or corrected: the next system built shows it.

    It is one of the nearest examples, and of the user's earlier turns, from then on. With a user
    it is shown to that user alone. `time` (ISO 8601) is now when it is not given.

    Raises:
        InputError: the target is no answer to this task.
    """
    wrong = problem(task, target)
    if wrong is not None:
        raise InputError(
            f"{task.name}: the accepted answer {shown(target)} {wrong}. Expected an answer as "
            "the task's targets are. Correct it."
        )
    home.database.accept(task.name, [Example("", input, target, "", user, time)])


def unlearn(home: Home, user: str) -> int:
    """Drop all that was learned from a user, in every task; how many answers that were."""
    return home.database.forget_user(user)


def problem(task: Task, target: Json) -> str | None:
    """Why a value is no answer to a task, or None."""
    output = task.output
    if output.type == "json":
        wrong = misfit(iter([("it", target)]), output.schema or {})
        return None if wrong is None else f"does not fit the schema: {wrong[1]}"
    if not isinstance(target, str) or not target.strip():
        return "is no text"
    if output.type == "label" and target not in output.labels:
        return f"is none of the labels {', '.join(output.labels)}"
    return None
