"""`steelyard report`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from rich.table import Table

from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console, print_files, print_verdict
from steelyard.core import Json
from steelyard.lifecycle import find_verdict, open_home, recipe_file, write_report


def command(
    run: Annotated[
        str | None, typer.Argument(metavar="RUN", help="A task's name or a run's number.")
    ] = None,
    home: HomePath = HOME,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only this recipe of the run, as a file of your own."),
    ] = None,
    runs: Annotated[bool, typer.Option("--list", help="List the runs of this home.")] = False,
    json: JsonPath = None,
) -> None:
    """Open any run again: the newest, or the one named."""
    check_writable(json)
    console = open_console(json)
    with open_home(home, create=False, lock=None) as opened:  # beside what is being weighed
        if runs:
            listed = [_listed(verdict) for verdict in opened.database.verdicts()]
            table = Table("run", "task", "outcome", "chosen", "when", box=None)
            for one in listed:
                table.add_row(*(str(cell or "–") for cell in one.values()))
            console.print(table)
            write_json(json, {"runs": listed})
            return
        body = find_verdict(opened, run)
        if recipe is not None:
            sys.stdout.write(recipe_file(body, recipe))
            return
        files = write_report(opened, body)
    print_verdict(console, body)
    print_files(console, files)
    write_json(json, body)


def _listed(verdict: dict[str, Any]) -> dict[str, Json]:
    body = verdict["body"]
    named = {name: body[name] for name in ("task", "outcome", "chosen")}
    return {"run": verdict["id"], **named, "when": verdict["created_at"]}
