"""`steelyard publish`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

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
from steelyard.core import Release, Serving
from steelyard.errors import InputError
from steelyard.lifecycle import publish
from steelyard.store import Alias
from steelyard.store.plain import plain

SHOWN = 3  # of the rows that differ


def command(  # noqa: PLR0913, PLR0917  its options are the command line
    path: TaskPath,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="The task's own name otherwise.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another recipe than the chosen one.")
    ] = None,
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Leave the champion in its place.")
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="What serves it: llama.cpp, or a [models.NAME] of the task."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For llama.cpp: gguf-adapter, gguf or gguf-q8_0."),
    ] = None,
    why: Annotated[str, typer.Option(metavar="TEXT", help="For the promotion log.")] = "",
    target: TargetColumn = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Keep the chosen system under a name, if it answers as measured."""
    check_writable(json)
    task = open_task(path, target, home)
    alias: Alias = "challenger" if challenger else "champion"
    console = open_console(json)
    with working("asking rows of dev once more, through what will serve them"):
        published = publish(
            task,
            home=home,
            name=name,
            recipe=recipe,
            alias=alias,
            why=why,
            serving=_serving(engine, format),
        )
    release, parity = published.release, published.release.parity
    known = " was published before, and" if published.known else ""
    console.print(Text(f"{release.id}{known} is the {alias} of {release.name}: {release.recipe}"))
    console.print(
        Text(
            f"Through {_engine(release)}, it scores {parity['score_served']:.3f} on "
            f"{parity['num_examples']} rows of dev, and {parity['score']:.3f} when it was weighed; "
            f"{_told(len(parity['differing']))}"
        ),
        soft_wrap=True,
    )
    for row in parity["differing"][:SHOWN]:
        said = f"· {row['id']}: weighed {row['weighed']!r}, served {row['served']!r}"
        console.print(Text(said, style="dim"), soft_wrap=True)
    console.print(Text(f"Serve it: steelyard serve {release.name}", style="dim"))
    write_json(json, {**plain(release), "id": release.id, "alias": alias})


def _serving(engine: str | None, format: str | None) -> Serving | None:
    """What is asked to serve it; None: what it was weighed with.

    Raises:
        InputError: a format for nothing that reads it.
    """
    if engine is None:
        if format is not None:
            raise InputError(f"--format {format}: name what reads it with --engine")
        return None
    return Serving(engine, format or "")


def _told(differing: int) -> str:
    """
    >>> _told(0), _told(19)
    ('0 answers differ.', '19 answers differ, of which 3 are shown (--json - shows all).')
    """
    shown = f", of which {SHOWN} are shown (--json - shows all)" if differing > SHOWN else ""
    return f"{differing} answers differ{shown}."


def _engine(release: Release) -> str:
    serving = release.serving
    if serving is None:
        return "what serves it"
    return f"{serving.engine} ({serving.format})" if serving.format else serving.engine
