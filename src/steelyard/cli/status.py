"""`steelyard status`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from steelyard.cli.live import working
from steelyard.cli.options import HOME, HomePath, JsonPath, check_writable, write_json
from steelyard.cli.printing import open_console
from steelyard.lifecycle import Standing, open_home, status


def command(home: HomePath = HOME, json: JsonPath = None) -> None:
    """Say how what is served is doing: requests, drift, refreshes."""
    check_writable(json)
    told = "looking for signs of drift"
    with open_home(home, create=False, lock=None) as opened, working(told):
        found = status(opened)
    console = open_console(json)
    for one in found:
        _print(console, one)
    if not found:
        console.print(Text("Nothing is published here yet; run: steelyard publish TASK"))
    write_json(json, {"releases": [one.to_json() for one in found]})


def _print(console: Console, one: Standing) -> None:
    head = f"{one.name}: {one.release.id}, {one.release.recipe}, since {one.release.created_at}"
    console.print(Text(head, style="bold"), soft_wrap=True)
    console.print(Text(f"  looked at {one.num_requests} requests"))
    unsure = [sign.name for sign in one.signs if sign.p_value is None]
    for sign in (sign for sign in one.signs if sign.p_value is not None):
        seen = "" if sign.seen is None else f"{sign.seen:.3f}"
        beside = "" if sign.expected is None else f", expected {sign.expected:.3f}"
        said = f"  {sign.name}: {seen}{beside}, p = {sign.p_value:.2g}"
        told = f"{said}: drift" if sign.alarm else said
        console.print(Text(told, style="yellow" if sign.alarm else ""), soft_wrap=True)
    if unsure:
        console.print(Text(f"  too little seen: {', '.join(unsure)}", style="dim"), soft_wrap=True)
    if (schedule := one.to_json()["schedule"]) is not None:
        every, due_at = schedule["every_hours"], schedule["due_at"]
        rules = [] if every is None else [f"every {every:g} hours"]
        rules += ["on drift"] if schedule["on_drift"] else []
        told = f"  refreshed {' and '.join(rules)}{f', next at {due_at}' if due_at else ''}"
        console.print(Text(told), soft_wrap=True)
    if one.last is not None:
        said = (one.last.body or {}).get("sentence", "")
        when = one.last.ended_at or one.last.began_at
        console.print(Text(f"  refresh of {when} {one.last.status}. {said}"), soft_wrap=True)
