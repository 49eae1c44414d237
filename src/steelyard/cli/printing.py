"""A verdict in the terminal: the sentence first, then the league table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from steelyard.core import Json
from steelyard.lifecycle import Files
from steelyard.tasks.wording import money

PLAIN_WIDTH = 120
HEADLINES = {"cannot_tell": "Cannot tell yet", "nothing_works": "Nothing works"}
COLOURS = {"chosen": "green", "cannot_tell": "yellow", "nothing_works": "red"}


def open_console(json: str | None) -> Console:
    """Where a verdict is printed: standard error when the JSON takes standard output.

    A pipe or a file has no width of its own, and gets one that cuts no table.
    """
    console = Console(stderr=json == "-")
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    return console


def print_verdict(
    console: Console, verdict: Mapping[str, Json], *, told: Collection[str] = ()
) -> None:
    """Print the outcome, its reason, every recipe, and what to be wary of, but for what was `told`
    before it was measured."""
    outcome = verdict["outcome"]
    headline = HEADLINES.get(outcome, f"Use {verdict['chosen']}")
    console.print()
    console.print(Text(f"{verdict['task']}: {headline}", style=f"bold {COLOURS[outcome]}"))
    console.print(Padding(Text(verdict["reason"]), (0, 0, 1, 0)))
    console.print(league_table(verdict))
    for recipe in verdict["recipes"]:
        for found in filter(None, (recipe.get("guards"), recipe.get("injections"))):
            console.print(Padding(Text(f"{recipe['name']}: {found['sentence']}"), (1, 0, 0, 0)))
    if prior := verdict.get("prior"):
        console.print(Padding(Text(prior["sentence"]), (1, 0, 0, 0)))
    if turning := verdict.get("turning_points"):
        points = "\n".join(f"  {found['sentence']}" for found in turning)
        console.print(Padding(Text(f"What would change the answer\n{points}"), (1, 0, 0, 0)))
    for curve in (*verdict.get("label_curves", ()), *verdict.get("curves", ())):
        console.print(Padding(Text(curve["sentence"]), (1, 0, 0, 0)))
    if diagnostics := verdict.get("diagnostics", ()):
        said = "\n".join(found["sentence"] for found in diagnostics)
        console.print(Padding(Text(said), (1, 0, 0, 0)))
    if fresh := verdict.get("freshness"):
        aged = [e["sentence"] for e in fresh["recipes"] if e["recipe"] == answer_of(verdict)]
        aged += [one["sentence"] for one in (fresh["refreshed"] or {}).get("recipes", ())]
        console.print(Padding(Text("\n".join(aged)), (1, 0, 0, 0)))
    for warning in (*verdict["warnings"], *verdict["notes"]):
        if warning not in told:
            console.print(Text(f"· {warning}", style="dim"))
    console.print()


def answer_of(verdict: Mapping[str, Json]) -> str | None:
    """The recipe to use, or the safer bet."""
    name: str | None = verdict["chosen"] or verdict["prefer"]
    return name


def print_files(console: Console, files: Files) -> None:
    """Say where the report is."""
    for name, path in (("JSON", files.json), ("Report", files.html)):
        console.print(f"{name:<7} {path}", style="dim", soft_wrap=True, highlight=False)


def print_next(console: Console, command: str) -> None:
    """Say what one would run next."""
    console.print(f"{'Next':<7} {command}", style="dim", soft_wrap=True, highlight=False)


def league_table(verdict: Mapping[str, Json]) -> Table:
    """Every recipe, best dev score first; those without one at the end, then the diagnostics."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("recipe", no_wrap=True)
    for name in ("dev", "dropped", "test", "USD/1k", "ms", "set-up"):
        table.add_column(name, justify="right", no_wrap=True)
    recipes = sorted(verdict["recipes"], key=lambda r: -(r["dev"]["score"] if r["dev"] else -1))
    recipes.sort(key=is_diagnostic)
    for before, recipe in zip([None, *recipes], recipes, strict=False):
        if before is not None and is_diagnostic(recipe) and not is_diagnostic(before):
            table.add_row("diagnostics, never chosen", style="dim")
        chosen = recipe["name"] in (verdict["chosen"], verdict["prefer"])
        if recipe["dev"] is None:
            table.add_row(recipe["name"], recipe["status"], "", "", "", "", "", style="dim")
            continue
        table.add_row(
            Text(f"{'→ ' if chosen else '  '}{recipe['name']}"),
            _score(recipe["dev"]),
            dropped_after(recipe),
            _score(recipe["test"]),
            money(recipe["usd_per_1k"]),
            _number(recipe["latency_ms"]["p50"]),
            _seconds(recipe["setup_seconds"]),
            style=_style(recipe, chosen=chosen),
        )
    return table


def _style(recipe: Mapping[str, Json], *, chosen: bool) -> str | None:
    if chosen:
        return "bold"
    return "dim" if recipe["status"] == "eliminated" else None


def dropped_after(recipe: Mapping[str, Json]) -> str:
    """After how many dev examples the race dropped a recipe.

    >>> dropped_after({"status": "eliminated", "dev": {"num_examples": 20}})
    'after 20'
    """
    return f"after {recipe['dev']['num_examples']}" if recipe["status"] == "eliminated" else ""


def is_diagnostic(recipe: Mapping[str, Json]) -> bool:
    """Whether a recipe only explains the others; verdicts of earlier versions do not say."""
    return bool(recipe.get("diagnostic", False))


def _score(split: Any) -> str:
    if split is None:
        return ""
    low, high = split["interval"]
    return f"{split['score']:.2f} [{low:.2f} {high:.2f}]"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f} s"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
