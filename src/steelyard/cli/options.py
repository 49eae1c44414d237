"""Options that several commands share, and how a task is named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steelyard.core import Task
from steelyard.lifecycle import DEFAULT_HOME
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


def open_task(path: Path, target: str | None) -> Task:
    """Load a task file, or infer one from a data file.

    Raises:
        InputError: neither can be read.
    """
    if path.suffix in READERS:
        return load_data_file(path, target=target)
    return load_task(path)
