"""`steelyard export`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
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
from steelyard.cli.printing import open_console
from steelyard.lifecycle import export, open_home


def command(
    path: TaskPath,
    format: Annotated[str, typer.Option(help="peft, merged, gguf, gguf-q8_0 or gguf-adapter.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="A new folder for the files.")],
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another recipe than the chosen one.")
    ] = None,
    target: TargetColumn = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Write trained weights for other tools, and check them there."""
    check_writable(json)
    task = open_task(path, target, home)
    told = "writing the weights, and asking both the same"
    with open_home(home, create=False) as opened, working(told):
        exported = export(task, opened, format=format, to=to, recipe=recipe)
    console = open_console(json)
    console.print(f"{exported.recipe} as {format}: {exported.folder}", highlight=False)
    for check in exported.checks:
        console.print(f"· {check}", highlight=False, soft_wrap=True)
    checks = [asdict(check) | {"passed": check.passed} for check in exported.checks]
    body = {"folder": str(exported.folder), "recipe": exported.recipe, "base": exported.base}
    write_json(json, {**body, "format": format, "checks": checks})
