"""`steelyard keys add|list|revoke`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, cast

import typer
from rich.table import Table
from rich.text import Text

from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.errors import InputError, unknown
from steelyard.lifecycle import open_home
from steelyard.store.keys import SCOPES, ApiKey, Scope

app = typer.Typer(no_args_is_help=True, help="Say who may ask a server.")


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")],
    scopes: Annotated[
        str, typer.Option(metavar="SCOPE,SCOPE", help="Of ask, feedback and admin.")
    ] = "ask,feedback",
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="More requests are told to wait.")
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="More tokens are told to wait.")
    ] = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Make a key and show it, this once."""
    check_writable(json)
    named = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    for scope in named or [""]:
        if scope not in SCOPES:
            raise InputError(f"--scopes: {unknown('scope', scope, SCOPES)}")
    with open_home(home, create=False, lock=None) as opened:
        key, secret = opened.keys.add(
            name,
            cast(list[Scope], named),
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
    console = open_console(json)
    console.print(Text(f"{key.id} of {name} may {', '.join(named)}. It is shown this once:"))
    console.print(Text(secret), soft_wrap=True)
    write_json(json, {**_plain(key), "key": secret})


@app.command("list")
def list_keys(home: HomePath = HOME, json: JsonPath = None) -> None:
    """List the keys, those that were revoked too."""
    check_writable(json)
    with open_home(home, create=False, lock=None) as opened:
        keys = opened.keys.all()
    table = Table("key", "name", "may", "requests/min", "tokens/min", "made", "revoked", box=None)
    for key in keys:
        limits = (key.requests_per_minute, key.tokens_per_minute)
        shown = ["" if limit is None else str(limit) for limit in limits]
        revoked = key.revoked_at or ""
        table.add_row(key.id, key.name, ",".join(key.scopes), *shown, key.created_at, revoked)
    open_console(json).print(table)
    write_json(json, {"keys": [_plain(key) for key in keys]})


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(metavar="KEY", help="Its id, or the name it is of.")],
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Take a key out of use, within a second at a server that runs."""
    check_writable(json)
    with open_home(home, create=False, lock=None) as opened:
        number = opened.keys.revoke(which)
    open_console(json).print(Text(f"{number} key{'s' * (number != 1)} revoked."))
    write_json(json, {"revoked": number})


def _plain(key: ApiKey) -> dict[str, object]:
    body = asdict(key)
    del body["hash"]
    return body
