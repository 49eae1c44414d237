"""`steelyard knowledge add|remove|list|search`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from textwrap import indent
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steelyard.cli.live import working
from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.core import Passage
from steelyard.errors import InputError
from steelyard.knowledge.base import Counts, Listed
from steelyard.knowledge.index import Scope
from steelyard.knowledge.ingest import Added, Listener, Progress, check_there
from steelyard.knowledge.reading.source import iso_date
from steelyard.lifecycle.knowledge import (
    DEFAULT_COLLECTION,
    add_documents,
    forget_user,
    open_knowledge,
    remove_documents,
    search_documents,
)

Collection = Annotated[
    str, typer.Option("--collection", metavar="NAME", help="Which documents these are.")
]
Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Of this tenant.")]

app = typer.Typer(no_args_is_help=True, help="Keep documents that answers can be looked up in.")


@app.command()
def add(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="Files, and folders with all in them.")
    ],
    collection: Collection = DEFAULT_COLLECTION,
    embedder: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="A sentence embedder's folder, instead of MiniLM."),
    ] = None,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Add documents, or bring those that were added up to date."""
    check_writable(json)
    check_there(paths)  # or a wrong path would leave an empty collection
    with open_knowledge(home, collection) as base, _watch() as listen:
        added = add_documents(base, paths, embedder, listen=listen)
        counts = base.counts()
    console = open_console(json)
    _say(
        console,
        f"{_counted(added.num_files - added.num_unchanged, 'new or changed file')}, "
        f"{added.num_unchanged} unchanged, {added.num_removed_files} gone: "
        f"{_counted(added.num_new, 'document')} added, {added.num_gone} removed.",
    )
    _say(console, f"{collection} holds {_held(counts)}.")
    _print_unreadable(console, added.unreadable)
    write_json(json, {"collection": collection, **_plain(added), **asdict(counts)})


@app.command()
def remove(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH_OR_ID", help="Files, folders, or ids of documents."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Forget all that this user has.")
    ] = None,
    tenant: Tenant = None,
    collection: Collection = DEFAULT_COLLECTION,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Take documents out of every index, by file, folder, id or user."""
    check_writable(json)
    if (user is None) == (not names):
        raise InputError("expected files, folders or ids of documents to remove, or --user NAME")
    with open_knowledge(home, collection, create=False) as base:
        if user is not None:
            removed = forget_user(base, user, tenant=tenant)
        else:
            removed = remove_documents(base, names or [], tenant=tenant)
    console = open_console(json)
    _say(console, f"{_counted(removed.num_documents, 'document')} removed from {collection}.")
    for source in removed.sources:
        _say(console, f"· {source} still holds them, and brings them back when it changes")
    write_json(json, {"collection": collection, **asdict(removed)})


@app.command("list")
def list_documents(
    collection: Collection = DEFAULT_COLLECTION, home: HomePath = HOME, json: JsonPath = None
) -> None:
    """List the documents, and what could not be read."""
    check_writable(json)
    with open_knowledge(home, collection, create=False) as base:
        documents, unreadable, counts = base.documents(), base.unreadable(), base.counts()
    console = open_console(json)
    if documents:
        console.print(_document_table(documents))
    _say(console, f"{collection} holds {_held(counts)}.")
    _print_unreadable(console, unreadable)
    body = {
        "collection": collection,
        "documents": [asdict(document) for document in documents],
        "unreadable": _reasons(unreadable),
    }
    write_json(json, body)


@app.command()
def search(  # noqa: PLR0913, PLR0917  the options of a command line
    query: Annotated[str, typer.Argument(help="Words, or a question.")],
    num_passages: Annotated[
        int, typer.Option("--num-passages", "-k", help="How many passages at most.")
    ] = 5,
    kind: Annotated[
        Literal["lexical", "vector", "hybrid"],
        typer.Option(help="By words, by meaning, or by both."),
    ] = "hybrid",
    user: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Also what belongs to this user."),
    ] = None,
    tenant: Tenant = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="DATE", help="What held then, not what holds now.")
    ] = None,
    collection: Collection = DEFAULT_COLLECTION,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Show the passages that fit a query best."""
    check_writable(json)
    moment = None if as_of is None else iso_date(as_of, "--as-of")
    scope = Scope(tenant=tenant, user=user, as_of=moment)
    with open_knowledge(home, collection, create=False) as base, working("searching"):
        found = search_documents(base, query, num_passages, kind=kind, scope=scope)
    console = open_console(json)
    for number, passage in enumerate(found, start=1):
        _print_passage(console, number, passage)
    if not found:
        _say(console, "Nothing fits.")
    passages = [{"id": passage.id, **asdict(passage)} for passage in found]
    write_json(json, {"collection": collection, "query": query, "passages": passages})


# ---------------------------------------------------------------- printing


@contextmanager
def _watch() -> Iterator[Listener]:
    """Shows how far an ingest is on standard error, where that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("reading") as status:

        def hear(progress: Progress) -> None:
            if progress.stage == "waiting":
                status.update("waiting for another steelyard that is adding to this collection")
            elif progress.total is None:
                status.update(f"{progress.stage}: {_counted(progress.done, 'file')}")
            else:
                status.update(f"{progress.stage}: {progress.done}/{progress.total} passages")

        yield hear


def _document_table(documents: Sequence[Listed]) -> Table:
    """A line a document; columns that would be empty are left out."""
    columns = {
        "document": [d.id for d in documents],
        "version": [str(d.version) for d in documents],
        "from": [d.valid_from or "" for d in documents],
        "until": [d.valid_to or "" for d in documents],
        "tenant": [d.tenant or "" for d in documents],
        "user": [d.user or "" for d in documents],
        "passages": [str(d.num_passages) for d in documents],
        "the same as others": [str(d.num_folded or "") for d in documents],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in shown:
        is_number = name in ("version", "passages", "the same as others")
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _print_passage(console: Console, number: int, passage: Passage) -> None:
    place = [passage.document, " › ".join(passage.headings)]
    place += [f"page {passage.page}"] if passage.page is not None else []
    place += [f"from {passage.time}"] if passage.time is not None else []
    head = Text(f"{number}  {'  '.join(filter(None, place))}", style="bold")
    head.append(f"  {passage.relevance:.3g}", style="not bold dim")
    console.print(head, soft_wrap=True)
    _say(console, indent(passage.text, "   ") + "\n")


def _print_unreadable(console: Console, unreadable: Sequence[tuple[str, str]]) -> None:
    if unreadable:
        _say(console, f"{_counted(len(unreadable), 'file')} not read, or not all of it:")
    for path, reason in unreadable:
        _say(console, f"· {path}: {reason}")


def _say(console: Console, sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)


def _counted(number: int, what: str) -> str:
    """A number of things.

    >>> _counted(1, "file"), _counted(1200, "file")
    ('1 file', '1,200 files')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _held(counts: Counts) -> str:
    folded = f", {counts.num_folded:,} of which say the same as others" if counts.num_folded else ""
    documents = _counted(counts.num_documents, "document")
    return f"{documents} in {_counted(counts.num_passages, 'passage')}{folded}"


def _plain(added: Added) -> dict[str, object]:
    return {**asdict(added), "unreadable": _reasons(added.unreadable)}


def _reasons(unreadable: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "reason": reason} for path, reason in unreadable]
