"""`steelyard ask`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from steelyard.cli.live import working
from steelyard.cli.options import (
    HOME,
    HomePath,
    JsonPath,
    TargetColumn,
    TaskPath,
    check_writable,
    open_task,
    write_json,
)
from steelyard.errors import InputError, WorkError
from steelyard.lifecycle import chosen_system, open_home
from steelyard.tasks.dates import iso_time


def command(
    path: TaskPath,
    text: Annotated[str, typer.Argument(help="The input; - reads it from standard input.")],
    target: TargetColumn = None,
    home: HomePath = HOME,
    user: Annotated[str | None, typer.Option(help="Who asks, to use their history.")] = None,
    time: Annotated[str | None, typer.Option(help="As of when, in ISO 8601.")] = None,
    json: JsonPath = None,
) -> None:
    """Answer with the system that the task's verdict chose."""
    check_writable(json)
    task = open_task(path, target, home)
    if time is not None:
        time = as_time(time)
    if text == "-":
        text = sys.stdin.read()
    with open_home(home, create=False) as opened, working("asking the system that was chosen"):
        chosen = chosen_system(task, opened)
        answer = chosen.system.answer(text, user=user, time=time)
    if answer.error is not None:
        raise WorkError(f"{chosen.system.recipe.name} could not answer: {answer.error}")
    if not answer.valid:
        sys.stderr.write("warning: the answer does not have the form that the task asks for\n")
    if json != "-":
        sys.stdout.write(answer.text + "\n")
    write_json(json, {"recipe": chosen.system.recipe.name, **asdict(answer)})


def as_time(value: str) -> str:
    """A time in the spelling that tasks have theirs in.

    Raises:
        InputError: it is none.
    """
    try:
        return iso_time(value)
    except (ValueError, OverflowError):
        raise InputError(
            f"--time {value}: expected ISO 8601, such as 2026-05-01 or 2026-05-01T12:00:00Z"
        ) from None
