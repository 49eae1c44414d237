"""`steelyard advise`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from steelyard.advice import QUESTIONS, Advice, parse_fact
from steelyard.advice.facts import Fact
from steelyard.cli.live import watch
from steelyard.cli.options import (
    HOME,
    HomePath,
    JsonPath,
    TargetColumn,
    check_writable,
    open_task,
    write_json,
)
from steelyard.cli.printing import open_console
from steelyard.core import Json
from steelyard.errors import InputError
from steelyard.lifecycle.advising import advise, hits_and_misses

NUM_QUESTIONS = 5  # of those that may add a rule; the JSON has all


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK] [FACT=VALUE]...",
            help="A task, and what is known of it beside, such as labels=50 changes=weekly.",
        ),
    ] = None,
    target: TargetColumn = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Run two diagnostics of the model first.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Say how often the advice was right here.")
    ] = False,
    home: HomePath = HOME,
    json: JsonPath = None,
) -> None:
    """Say what to try before measuring, with reasons and sources. Asks when told nothing."""
    check_writable(json)
    console = open_console(json)
    if record:
        found = hits_and_misses(home)
        _print_record(console, found)
        write_json(json, found)
        return
    paths, facts = _read(words or [])
    task = open_task(paths[0], target, home) if paths else None
    if measure and task is None:
        raise InputError("--measure: expected a task, which names the model and the rows to ask")
    if not words:
        facts = _ask()
    with watch() as listen:
        advice = advise(task, facts, measured=measure, home=home, listen=listen)
    _print(console, advice)
    write_json(json, advice.to_json())


def _read(words: list[str]) -> tuple[list[Path], dict[str, Fact]]:
    paths: list[Path] = []
    facts: dict[str, Fact] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals and not Path(word).exists():
            facts[name] = parse_fact(name, value)
        else:
            paths.append(Path(word))
    if len(paths) > 1:
        raise InputError(
            f"{paths[1]}: expected one task and facts such as labels=50. Facts: "
            + ", ".join(QUESTIONS)
        )
    return paths, facts


def _ask() -> dict[str, Fact]:
    """Every question in turn; an empty answer leaves it open."""
    if not sys.stdin.isatty():
        raise InputError(
            "advise: expected a task, or facts such as labels=50 output=json. Facts: "
            + ", ".join(QUESTIONS)
        )
    facts: dict[str, Fact] = {}
    sys.stderr.write("An empty answer leaves a question open.\n")
    for question in QUESTIONS.values():
        while question.name not in facts:
            typed = typer.prompt(
                f"{question.question} ({question.expected})", "", show_default=False, err=True
            )
            if not typed.strip():
                break
            try:
                facts[question.name] = parse_fact(question.name, typed)
            except InputError as error:
                sys.stderr.write(f"{error}\n")
    return facts


def _print(console: Console, advice: Advice) -> None:
    console.print(Text(advice.sentence, style="bold"))
    for about in dict.fromkeys(rule.about for rule in advice.rules):
        console.print()
        console.print(Text(about, style="bold dim"))
        for rule in advice.rules:
            if rule.about == about:
                console.print(Padding(Text(rule.say), (0, 0, 0, 2)))
                said = [f"try {', '.join(rule.first)}"] if rule.first else []
                said += [f"skip {', '.join(rule.skip)}"] if rule.skip else []
                console.print(Padding(Text(f"→ {'; '.join(said)}"), (0, 0, 0, 2)))
                source = f"{rule.strength}: {rule.source}"
                console.print(Padding(Text(source, style="dim"), (0, 0, 0, 2)))
    if advice.notes:
        console.print()
    for note in advice.notes:
        console.print(Text(f"· {note}"))
    if advice.unknown:
        console.print()
        console.print(Text("What else would matter", style="bold dim"))
        for name in advice.unknown[:NUM_QUESTIONS]:
            question = QUESTIONS[name]
            console.print(Text(f"  {name}=…  {question.question} ({question.expected})"))


def _print_record(console: Console, record: Json) -> None:
    console.print(Text(record["sentence"], style="bold"))
    if not record["tasks"]:
        return
    table = Table("task", "bet", "chosen", "", box=None)
    for row in record["tasks"]:
        table.add_row(row["task"], row["bet"], row["chosen"], "hit" if row["hit"] else "miss")
    console.print(table)
    for rule, seen in record["rules"].items():
        console.print(Text(f"· {rule}: right {seen['hits']} of {seen['of']} times", style="dim"))
