"""`steelyard compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steelyard.cli.options import JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.measure.compare import Compared, compare


def command(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Two or more files with scores of the same examples."),
    ],
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Rows of one group count as one observation."),
    ] = None,
    scorer: Annotated[
        str | None, typer.Option(metavar="NAME", help="Score predictions against targets.")
    ] = None,
    json: JsonPath = None,
) -> None:
    """Say which file of scores is higher, and how sure that is."""
    check_writable(json)
    compared = compare(*files, group=group, scorer=scorer)
    _print(open_console(json), compared)
    write_json(json, compared.to_json())


def _print(console: Console, compared: Compared) -> None:
    console.print(Text(compared.sentence))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("a − b", no_wrap=True)
    for name in ("difference", "interval", "adjusted p", "detectable"):
        table.add_column(name, justify="right", no_wrap=True)
    for comparison, detectable in zip(compared.comparisons, compared.detectable, strict=True):
        low, high = comparison.interval
        table.add_row(
            Text(f"{comparison.a} − {comparison.b}"),
            f"{comparison.difference:+.3f}",
            Text(f"[{low:+.3f}, {high:+.3f}]"),
            f"{comparison.p_adjusted:.3f}",
            f"{detectable:.3f}",
        )
    console.print()
    console.print(table)
