"""`steelyard rollback`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.lifecycle import rollback
from steelyard.store.plain import plain


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of a release.")],
    why: Annotated[str, typer.Option(metavar="TEXT", help="For the promotion log.")] = "",
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Make the release before the champion the champion again."""
    check_writable(json)
    release = rollback(name, home=home, why=why)
    said = f"{release.id} is the champion of {name} again: {release.recipe}"
    open_console(json).print(Text(said))
    write_json(json, {**plain(release), "id": release.id, "alias": "champion"})
