"""`steelyard refresh`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from steelyard.cli.live import watch
from steelyard.cli.options import (
    HOME,
    HomePath,
    JsonPath,
    TargetColumn,
    check_writable,
    open_task,
    write_json,
)
from steelyard.cli.printing import open_console
from steelyard.errors import InputError
from steelyard.lifecycle import Refreshed, refresh, refresh_due


def command(
    path: Annotated[
        Path | None, typer.Argument(metavar="[TASK]", help="A task.toml, or one data file.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="The task's own name otherwise.")
    ] = None,
    due: Annotated[
        bool, typer.Option("--due", help="All whose schedule says so, instead of one task.")
    ] = False,
    target: TargetColumn = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Bring what is served up to date by the least that helps."""
    check_writable(json)
    if due == (path is not None):
        raise InputError("refresh: expected a task, or --due alone")
    console = open_console(json)
    if path is None:
        with watch() as listen:
            done = refresh_due(home=home, listen=listen)
        for one in done:
            _print(console, one)
        if not done:
            console.print(Text("Nothing is due."))
        write_json(json, {"refreshed": [{"name": one.name, **one.body} for one in done]})
        return
    task = open_task(path, target, home)
    with watch() as listen:
        one = refresh(task, home=home, name=name, listen=listen)
    _print(console, one)
    write_json(json, {"name": one.name, **one.body})


def _print(console: Console, one: Refreshed) -> None:
    is_new = one.release is not None
    alias = one.body.get("alias", "champion")
    head = f"{one.release.id} is the {alias} of {one.name}." if one.release else f"{one.name}:"
    said = Text(f"{head} {one.sentence}", style="green" if is_new else "")
    console.print(said, soft_wrap=True)
    for way in one.body.get("ways", ()):
        new, old = way["new"], way["old"]
        line = f"· {way['way']}: {new['score']:.3f} on new rows, {old['score']:.3f} on old ones"
        console.print(Text(f"{line}; {way['standing']}", style="dim"), soft_wrap=True)
