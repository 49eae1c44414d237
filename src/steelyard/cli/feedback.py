"""`steelyard feedback list|accept|reject|export|forget`."""

from __future__ import annotations

import json as json_module
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.core import cut
from steelyard.errors import InputError
from steelyard.lifecycle import open_home, reviewing
from steelyard.recipes.prompt import target_text

app = typer.Typer(no_args_is_help=True, help="Look at what users said before it is learned.")
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Ids of feedback.")]


@app.command("list")
def list_feedback(
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is decided already.")
    ] = False,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """List what waits for a decision."""
    check_writable(json)
    with open_home(home, create=False, lock=None) as opened:
        found = reviewing.waiting(opened, None if everything else "waiting")
    table = Table("id", "of", "user", "score", "input", "correction", "status", box=None)
    for given in found:
        said = given.feedback
        correction = "" if said.correction is None else cut(target_text(said.correction), 40)
        score = "" if said.score is None else f"{said.score:g}"
        asked = cut(given.input or "", 40)
        table.add_row(
            *(said.id, given.release or "", said.user, score),
            *(Text(asked), Text(correction), said.status),
        )
    open_console(json).print(table)
    write_json(json, {"feedback": [reviewing.exported(given) for given in found]})


@app.command()
def accept(
    ids: Ids = None,
    agreed: Annotated[
        int | None,
        typer.Option(min=2, metavar="N", help="All corrections that N users agree on."),
    ] = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Make corrections examples, which the next system built shows."""
    check_writable(json)
    if (agreed is None) == (not ids):
        raise InputError("feedback accept: expected ids of feedback, or --agreed N")
    with open_home(home, create=False, lock=None) as opened:
        chosen = ids or reviewing.agreed(reviewing.waiting(opened), agreed or 2)
        number = reviewing.accept(opened, chosen)
    told = "The next system built shows them; weigh that with: steelyard refresh TASK"
    open_console(json).print(Text(f"{number} accepted. {told if number else ''}".rstrip()))
    write_json(json, {"accepted": chosen})


@app.command()
def reject(
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Ids of feedback.")],
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Put feedback aside; it is kept, and never learned."""
    check_writable(json)
    with open_home(home, create=False, lock=None) as opened:
        number = reviewing.reject(opened, ids)
    open_console(json).print(Text(f"{number} rejected."))
    write_json(json, {"rejected": ids})


@app.command()
def export(
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Standard output if not.")] = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Write all feedback as JSONL, in columns that a task file can name."""
    check_writable(json)
    check_writable(None if to is None else str(to))
    with open_home(home, create=False, lock=None) as opened:
        rows = [reviewing.exported(given) for given in reviewing.waiting(opened, None)]
    text = "".join(json_module.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if to is None:
        sys.stdout.write(text)
    else:
        to.write_text(text, encoding="utf-8")
    write_json(json, {"rows": len(rows)})


@app.command()
def forget(
    user: Annotated[str, typer.Argument(metavar="USER", help="As requests name them.")],
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Delete all that a user asked, said, accepted and owns."""
    check_writable(json)
    with open_home(home, create=False, lock=None) as opened:
        gone = reviewing.forget(opened, user)
    console = open_console(json)
    console.print(
        Text(
            f"Gone: {gone.requests} requests, {gone.feedback} feedback, {gone.accepted} accepted "
            f"answers, {gone.documents} documents."
        ),
        soft_wrap=True,
    )
    for release in gone.releases:
        said = f"· {release} was built from rows of theirs; weigh without them and publish again"
        console.print(Text(said, style="yellow"), soft_wrap=True)
    write_json(json, asdict(gone))
