"""The verb `report`: a verdict as JSON and as one HTML file, in the home folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json
from steelyard.errors import InputError, unknown
from steelyard.lifecycle.home import Home
from steelyard.lifecycle.page import render


@dataclass(frozen=True)
class Files:
    """Where a report was written."""

    json: Path
    html: Path


def write_report(home: Home, verdict: Json) -> Files:
    """Write a verdict's JSON and HTML, named by task and run, and say where."""
    safe = re.sub(r"[^\w.-]+", "-", verdict["task"]).strip("-.") or "task"
    stem = f"{safe}-{verdict['task_hash'][:8]}-seed{verdict['seed']}"
    home.reports.mkdir(parents=True, exist_ok=True)
    files = Files(home.reports / f"{stem}.json", home.reports / f"{stem}.html")
    files.json.write_text(json_text(verdict), encoding="utf-8")
    files.html.write_text(render(verdict), encoding="utf-8")
    return files


def json_text(verdict: Json) -> str:
    """The machine-readable result as text, the same for the same verdict."""
    return json.dumps(verdict, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def find_verdict(home: Home, which: str | None) -> Json:
    """The verdict with this id, or the newest of this task name; the newest of all by default.

    Raises:
        InputError: there is none, with what there is.
    """
    verdicts = home.database.verdicts()
    if not verdicts:
        raise InputError(f"{home.path}: no verdicts here yet; run: steelyard weigh TASK")
    for verdict in verdicts:
        if which is None or which in (str(verdict["id"]), verdict["task_name"]):
            return verdict["body"]
    names = dict.fromkeys(v["task_name"] for v in verdicts)
    raise InputError(unknown("run", str(which), [*names, *(str(v["id"]) for v in verdicts)]))
