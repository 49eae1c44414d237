"""Options that several commands share, and how a task is named on the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from steelyard.core import Json, Task
from steelyard.errors import InputError, unknown
from steelyard.lifecycle import DEFAULT_HOME, json_text, weighed_tasks
from steelyard.tasks import READERS, load_data_file, load_task

TaskPath = Annotated[
    Path,
    typer.Argument(
        metavar="TASK",
        help="A task.toml, its folder, one data file (then see --target), or the name of a task "
        "that was weighed in this home.",
    ),
]
HomePath = Annotated[
    Path, typer.Option("--home", help="Where results are kept.", show_default=True)
]
JsonPath = Annotated[
    str | None,
    typer.Option("--json", metavar="PATH", help="Write the result as JSON; - for standard output."),
]
TargetColumn = Annotated[
    str | None,
    typer.Option("--target", metavar="COLUMN", help="With a data file: what to predict."),
]
HOME = DEFAULT_HOME
TASK_FILE = "task.toml"


def is_data_file(path: Path) -> bool:
    """Whether it is rows that a task is to be inferred from."""
    return path.suffix.lower() in READERS


def open_task(path: Path, target: str | None, home: Path) -> Task:
    """Load a task file, or infer one from a data file, which says on standard error what it
    inferred. A folder stands for its task.toml, and a name for the task file that was weighed last
    under it in this home.

    Raises:
        InputError: neither can be read.
    """
    if path.is_dir() and (path / TASK_FILE).is_file():
        path /= TASK_FILE
    elif not path.exists() and path.name == str(path) and not path.suffix:
        path = _weighed(path.name, home)
    if is_data_file(path):
        task = load_data_file(path, target=target)
        for note in task.notes:
            sys.stderr.write(f"· {note}\n")
        return task
    if path.suffix and path.suffix.lower() != ".toml":
        raise InputError(
            f"{path}: {unknown('data file type', path.suffix, READERS)} Expected one of them or a "
            "task.toml. Save the rows in one of these types."
        )
    if target is not None:
        raise InputError(f"--target {target}: {path} is a task file, which names its own target")
    return load_task(path)


def _weighed(name: str, home: Path) -> Path:
    tasks = weighed_tasks(home)
    if name in tasks:
        return tasks[name]
    there = f"there are {', '.join(tasks)}" if tasks else "there is none"
    raise InputError(
        f"{name}: neither a file nor the name of a task that was weighed in {home} ({there}). "
        "Expected a task.toml, its folder, a data file or such a name; correct it"
    )


def check_writable(path: str | None) -> None:
    """Say before the work, not after it, that its result could not be written.

    Raises:
        InputError: the file of --json cannot be written there.
    """
    if path is None or path == "-":
        return
    folder = Path(path).resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise InputError(
            f"--json {path}: cannot be written; expected a file in a folder that exists and that "
            "you may write to"
        )


def write_json(path: str | None, verdict: Json) -> None:
    """Write the machine-readable result where --json says, if it says so."""
    if path == "-":
        sys.stdout.write(json_text(verdict))
    elif path is not None:
        Path(path).write_text(json_text(verdict), encoding="utf-8")
