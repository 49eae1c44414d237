"""Options that several commands share, and how a task is named on the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from steelyard.core import Json, Task
from steelyard.errors import InputError, unknown
from steelyard.lifecycle import DEFAULT_HOME, json_text
from steelyard.tasks import READERS, load_data_file, load_task

TaskPath = Annotated[
    Path, typer.Argument(metavar="TASK", help="A task.toml, or one data file (then see --target).")
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


def is_data_file(path: Path) -> bool:
    """Whether it is rows that a task is to be inferred from."""
    return path.suffix.lower() in READERS


def open_task(path: Path, target: str | None) -> Task:
    """Load a task file, or infer one from a data file, which says on standard error what it
    inferred.

    Raises:
        InputError: neither can be read.
    """
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
