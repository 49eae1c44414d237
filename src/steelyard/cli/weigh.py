"""`steelyard weigh`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from steelyard.cli.live import watch
from steelyard.cli.options import (
    HOME,
    HomePath,
    JsonPath,
    TargetColumn,
    TaskPath,
    check_writable,
    is_data_file,
    open_task,
    write_json,
)
from steelyard.cli.printing import open_console, print_files, print_next, print_verdict
from steelyard.lifecycle import open_home, weigh, write_report


def command(  # noqa: PLR0913, PLR0917  its options are the command line
    path: TaskPath,
    target: TargetColumn = None,
    home: HomePath = HOME,
    seed: Annotated[int, typer.Option(help="Training, choice of examples, resampling.")] = 0,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Train with so many seeds, from --seed on.")
    ] = 1,
    recipes: Annotated[
        str | None,
        typer.Option(metavar="NAME,FILE.toml", help="Only these, and the controls."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after about this long.")] = None,
    sweep: Annotated[
        str | None,
        typer.Option(
            metavar="PART=N,N",
            help="One part of the context in several amounts, or labels=25%,50%,100%.",
        ),
    ] = None,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Measure all to the end; drop nobody on the way.")
    ] = False,
    built_on: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="As if built on that day: measure ways to refresh."),
    ] = None,
    json: JsonPath = None,
) -> None:
    """Build recipes, measure them on the same rows, say which to use."""
    check_writable(json)
    task = open_task(path, target, home)
    names = [name.strip() for name in recipes.split(",") if name.strip()] if recipes else None
    with watch() as listen:
        verdict = weigh(
            task,
            home=home,
            seed=range(seed, seed + seeds),
            recipes=names,
            minutes=minutes,
            sweep=sweep,
            exhaustive=exhaustive,
            built_on=built_on,
            listen=listen,
        ).to_json()
    with open_home(home) as opened:
        files = write_report(opened, verdict)
    text_goes_to = open_console(json)
    print_verdict(text_goes_to, verdict, told=task.notes if is_data_file(path) else ())
    print_files(text_goes_to, files)
    if verdict["chosen"] is not None:
        print_next(text_goes_to, _publishing(path, target, home))
    write_json(json, verdict)


def _publishing(path: Path, target: str | None, home: Path) -> str:
    """The command that publishes what was chosen."""
    words = ["steelyard", "publish", str(path)]
    words += [] if target is None else ["--target", target]
    words += [] if home == HOME else ["--home", str(home)]
    return shlex.join(words)
