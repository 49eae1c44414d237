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
    """Write a verdict's JSON and HTML, named by task and run, and say where.

    What `check` found in the same data, and kept here, is in both as `audit`.
    """
    if (audit := _kept_audit(home, verdict["task_hash"])) is not None:
        verdict = {**verdict, "audit": audit}
    safe = re.sub(r"[^\w.-]+", "-", verdict["task"]).strip("-.") or "task"
    stem = f"{safe}-{verdict['task_hash'][:8]}-seed{verdict['seed']}"
    home.reports.mkdir(parents=True, exist_ok=True)
    files = Files(home.reports / f"{stem}.json", home.reports / f"{stem}.html")
    files.json.write_text(json_text(verdict), encoding="utf-8")
    files.html.write_text(render(verdict), encoding="utf-8")
    return files


def keep_audit(home: Path, audit: Json) -> None:
    """Keep what `check` found in a home folder, open or not, for the reports of its task.

    Raises:
        InputError: the folder cannot be written.
    """
    path = _audit_path(home, audit["task_hash"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_text(audit), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path}: the audit cannot be kept ({error.strerror}); expected a folder you may write "
            "to. Name another one with --home"
        ) from error


def _kept_audit(home: Home, task_hash: str) -> Json:
    path = _audit_path(home.path, task_hash)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _audit_path(home: Path, task_hash: str) -> Path:
    return home / "audits" / f"{task_hash[:16]}.json"


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


def recipe_file(verdict: Json, name: str) -> str:
    """A recipe of a verdict as TOML, which `weigh --recipes FILE.toml` reads.

    Raises:
        InputError: it has none of that name, or that is a control without a model.
    """
    files = {recipe["name"]: recipe.get("toml", "") for recipe in verdict["recipes"]}
    if name not in files:
        raise InputError(f"--recipe: {unknown('recipe', name, files)}")
    if not files[name]:
        there = ", ".join(known for known, file in files.items() if file)
        raise InputError(
            f"--recipe {name}: there is nothing to write down: it is a control without a model, or "
            f"the run is of an earlier version. Expected one of: {there or 'none, weigh again'}"
        )
    return str(files[name])
