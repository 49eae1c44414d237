"""`steelyard weigh`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from steelyard.cli.live import watch
from steelyard.cli.options import HOME, HomePath, JsonPath, TargetColumn, TaskPath, open_task
from steelyard.cli.printing import print_verdict
from steelyard.lifecycle import json_text, open_home, weigh, write_report


def command(
    path: TaskPath,
    target: TargetColumn = None,
    home: HomePath = HOME,
    seed: Annotated[int, typer.Option(help="Training, shots and resampling.")] = 0,
    recipes: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME", help="Only these, and the controls."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after about this long.")] = None,
    json: JsonPath = None,
) -> None:
    """Build every recipe, measure them on the same examples, and say which to use."""
    task = open_task(path, target)
    names = [name.strip() for name in recipes.split(",") if name.strip()] if recipes else None
    with watch() as listen:
        verdict = weigh(
            task, home=home, seed=seed, recipes=names, minutes=minutes, listen=listen
        ).to_json()
    with open_home(home) as opened:
        files = write_report(opened, verdict)
    text_goes_to = Console(stderr=json == "-")
    print_verdict(text_goes_to, verdict)
    text_goes_to.print(f"JSON    {files.json}", style="dim", soft_wrap=True, highlight=False)
    text_goes_to.print(f"Report  {files.html}", style="dim", soft_wrap=True, highlight=False)
    if json == "-":
        sys.stdout.write(json_text(verdict))
    elif json is not None:
        Path(json).write_text(json_text(verdict), encoding="utf-8")
