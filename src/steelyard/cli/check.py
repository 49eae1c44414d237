"""`steelyard check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from steelyard.audit.findings import SEVERITIES, Finding
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
from steelyard.lifecycle import Audit, check, keep_audit

COLOURS = {"severe": "red", "warning": "yellow", "note": "dim"}
NUM_EVIDENCE = 5  # ids on the terminal; the JSON has all


def command(
    path: TaskPath,
    target: TargetColumn = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 when a finding is severe.")
    ] = False,
    fix: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a cleaned copy into a new folder.")
    ] = None,
    chosen: Annotated[
        bool,
        typer.Option("--chosen", help="Audit the answers of the chosen system as well, for bias."),
    ] = False,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Say what is wrong with the data before anything is measured."""
    check_writable(json)
    task = open_task(path, target, home)
    asking = ", and asking the chosen system with words exchanged" if chosen else ""
    with working(f"going through the rows{asking}"):
        audit = check(task, chosen=chosen, fix=fix, home=home)
    _print(open_console(json), audit)
    keep_audit(home, audit.to_json())
    write_json(json, audit.to_json())
    if strict and audit.is_severe:
        raise typer.Exit(1)


def _print(console: Console, audit: Audit) -> None:
    sizes = ", ".join(f"{number:,} {split}" for split, number in audit.splits.items())
    numbers = {s: sum(f.severity == s for f in audit.findings) for s in SEVERITIES}
    said = ", ".join(f"{number} {name}" for name, number in numbers.items())
    console.print(Text(f"{audit.task}: {sizes} rows. Findings: {said}.", style="bold"))
    for finding in audit.findings:
        _print_finding(console, finding, audit.places)
    if audit.cleaned is not None:
        console.print()
        console.print(
            Text(f"Cleaned copy: {audit.cleaned} ({audit.num_changes:,} changes in its log)"),
            soft_wrap=True,
        )


def _print_finding(console: Console, finding: Finding, places: dict[str, str]) -> None:
    console.print()
    head = Text(finding.severity, style=f"bold {COLOURS[finding.severity]}")
    console.print(head.append(f"  {finding.code}", style="not bold dim"))
    console.print(Padding(Text(finding.message), (0, 0, 0, 2)))
    if finding.severity == "note":
        return
    if finding.evidence:
        named = [
            f"{id_} ({places[id_]})" if id_ in places else id_
            for id_ in finding.evidence[:NUM_EVIDENCE]
        ]
        more = len(finding.evidence) - len(named)
        rest = f" and {more:,} more" if more else ""
        console.print(Padding(Text(f"Rows: {', '.join(named)}{rest}", style="dim"), (0, 0, 0, 2)))
    console.print(Padding(Text(f"→ {finding.remedy}"), (0, 0, 0, 2)))
