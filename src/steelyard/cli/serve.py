"""`steelyard serve`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from steelyard.cli.live import working
from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.core import Json
from steelyard.errors import InputError, need

if TYPE_CHECKING:
    from steelyard.serve.service import Service


def command(  # noqa: PLR0913, PLR0917  its options are the command line
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Releases; all when none is named.")
    ] = None,
    host: Annotated[str, typer.Option(help="Another than loopback needs a key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    base: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]SOURCE", help="Also this base model; repeatable."),
    ] = None,
    key_env: Annotated[
        list[str] | None,
        typer.Option(metavar="VARIABLE", help="A key for this run, from the environment."),
    ] = None,
    record: Annotated[
        Literal["all", "redacted", "none"],
        typer.Option(help="Texts of requests and answers that are kept."),
    ] = "all",
    keep_days: Annotated[float, typer.Option(min=0, help="For so long; 0: for ever.")] = 30.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that a request may take.")] = 300.0,
    trace: Annotated[
        Literal["none", "counts", "texts"],
        typer.Option(help="OpenTelemetry spans of requests, and what is in them."),
    ] = "none",
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Answer requests as OpenAI's API does, until told to end."""
    check_writable(json)
    for module in ("starlette", "uvicorn", "httptools", "pydantic"):
        need(module, "serve")
    from steelyard.lifecycle.recording import Retention
    from steelyard.serve.running import serve
    from steelyard.serve.service import Settings
    from steelyard.store.keys import ApiKey

    keys = tuple(ApiKey.of(_secret(name), name, ("ask", "feedback")) for name in key_env or ())
    settings = Settings(
        names=tuple(names or ()),
        host=host,
        port=port,
        bases=tuple(base or ()),
        keys=keys,
        retention=Retention(record, keep_days or None),
        timeout_s=timeout,
        trace=trace,
    )
    console = open_console("-")  # standard output is nobody's while it runs

    loading = ExitStack()
    is_serving = False

    def ready(service: Service, url: str) -> None:
        nonlocal is_serving
        is_serving = True
        loading.close()
        listed = service.catalogue.listed()
        _print(console, service, url)
        write_json(json, {"url": url, "models": [name for name, _, _ in listed]})

    with loading:
        loading.enter_context(working("opening what is to be served"))
        try:
            serve(settings, home=home, ready=ready)
        except KeyboardInterrupt:
            if not is_serving:
                raise
            console.print(Text("Ended."))  # as it was told to


def _secret(variable: str) -> str:
    secret = os.environ.get(variable, "")
    if len(secret) < 16:
        raise InputError(
            f"--key-env {variable}: expected an environment variable of at least 16 characters"
        )
    return secret


def _print(console: Console, service: Service, url: str) -> None:
    keys = "a key is needed" if service.needs_key else "no key is needed on this machine"
    console.print(Text(f"Serving at {url}/v1 ({keys}); Ctrl-C ends it."), soft_wrap=True)
    names: Json = [name for name, _, _ in service.catalogue.listed()]
    console.print(Text(f"Models: {', '.join(names)}", style="dim"), soft_wrap=True)
    for id, problem in service.catalogue.problems.items():
        console.print(Text(f"· {id}: {problem}", style="yellow"), soft_wrap=True)
    for id, why in service.catalogue.stale().items():
        console.print(Text(f"· {id} is stale: {'; '.join(why)}", style="yellow"), soft_wrap=True)
