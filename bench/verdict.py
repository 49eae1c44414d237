"""A whole verdict: `steelyard weigh` against a script that does the same with the usual tools.

    python bench/verdict.py --small         a prompt and a training, on few rows of another task
    python bench/verdict.py                 the demo: every recipe of examples/resumes

The script is an honest one. It measures the same recipes on the same rows of dev, one after the
other, and the same systems on test; its prompts are made by steelyard, so that they are the same;
transformers answers them in batches as large, with llguidance where a schema constrains; TRL
trains the same adapter in the same steps, with the same rows held out and the same patience, and
it is merged before it answers. Where two recipes need the same adapter it is trained once. The
model is loaded once for answering. steelyard's scorer scores, so that the scores must be near each
other. Both sides are commands of their own, and the time of each is that of its whole process.

What ours does on top is in its time: answers one by one for the latency, intervals, the report,
a store that survives a kill. It starts in an empty home. One saving is ours alone: an answer that
has begun as no JSON can is given up.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import steelyard.models  # noqa: F401  before torch: it settles how threads wait

# isort: split

import rounds
import trl_peer
from base_models import device
from rows import Timed
from steelyard.core import Task
from steelyard.recipes import select
from steelyard.tasks import load_task
from usual_tools import SEED, TRAINING, Job, Script, Side, in_child

EXAMPLES = Path(__file__).parents[1] / "examples"
TASK, SMALL_TASK = EXAMPLES / "resumes" / "task.toml", EXAMPLES / "rewrite" / "task.toml"
GOAL = 4.0
# Of dev and test, five rows are answered alone by ours.
SMALL_ROWS = {"train": 16, "dev": 12, "test": 6}
SMALL_RECIPES = "lora"


def ours(path: Path, names: str | None, folder: Path) -> Side:
    """`steelyard weigh` as a command, in an empty home; what it took from its own store."""
    home, result = folder / "home", folder / "verdict.json"
    command = [sys.executable, "-m", "steelyard.cli.main", "weigh", str(path)]
    command += ["--home", str(home), "--json", str(result), "--seed", str(SEED)]
    command += ["--recipes", names] if names else []
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    side = Side(time.perf_counter() - started)
    with sqlite3.connect(home / "steelyard.db") as database:
        trained = "SELECT total(seconds) FROM build WHERE artefact IS NOT NULL"
        side.seconds[TRAINING] = database.execute(trained).fetchone()[0]
        answered = (
            "SELECT recipe, split, total(json_extract(row, '$.compute_ms')) FROM answer "
            "JOIN trial ON trial = key GROUP BY recipe, split"
        )
        for recipe, split, milliseconds in database.execute(answered):
            side.seconds[f"{recipe}, {split}"] = milliseconds / 1000
    for report in json.loads(result.read_text(encoding="utf-8"))["recipes"]:
        for split, scores in (("dev", side.dev), ("test", side.test)):
            if report[split] is not None:
                scores[report["name"]] = report[split]["score"]
    return side


def best_settings(task: Task) -> trl_peer.Settings:
    """TRL's best settings for the rows of this task, from a step with each."""
    script = Script(task, trl_peer.USUAL[device()])
    recipe = next(r for r in select(task) if r.weights.method == "lora")
    rows, _ = script.rows(recipe)

    def time_steps(settings: trl_peer.Settings) -> Timed:
        return trl_peer.time_steps(
            script.models.peer(),
            script.tokenizer,
            rows,
            weights=recipe.weights,
            settings=settings,
            steps=1,
        )

    return trl_peer.fastest(time_steps, device(), recipe.weights.batch_size)


def shrunk(path: Path, folder: Path) -> Path:
    """A copy of a task whose splits have a few rows each; returns its task file."""
    for file in path.parent.iterdir():
        if file.suffix == ".jsonl":
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            few = SMALL_ROWS.get(file.stem, sum(SMALL_ROWS.values()))
            (folder / file.name).write_text("".join(lines[:few]), encoding="utf-8")
        elif file.suffix in (".toml", ".json"):
            shutil.copy(file, folder)
    return folder / path.name


def report(left: Side, right: Side) -> dict[str, Any]:
    """Print both sides phase by phase; what it says comes back as a JSON object."""
    lines = [["phase", f"{rounds.OURS}, s", "the script, s", "ratio", "scores"]]

    def line(name: str, a: float, b: float, scores: str = "") -> None:
        ratio = f"{rounds.figure(b / a)}×" if a > 0 else ""
        lines.append([name, f"{a:,.1f}", f"{b:,.1f}", ratio, scores])

    differences = {}
    for name in right.seconds:
        recipe, _, split = name.rpartition(", ")
        scores = ""
        if recipe:
            a, b = (getattr(side, split)[recipe] for side in (left, right))
            differences[name] = a - b
            scores = f"{a:.3f} and {b:.3f}"
        line(name, left.seconds[name], right.seconds[name], scores)
    line("everything else", left.rest, right.rest)
    line("**in all**", left.total, right.total)
    rounds.print_lines("a whole verdict", lines)
    found = rounds.judged(right.total / left.total, GOAL)
    furthest = max(differences.values(), key=abs, default=0.0)
    print(
        f"\n{rounds.figure(right.total / left.total)}× the script's speed, goal ≥ {GOAL:g}×: "
        f"{rounds.met(found)}. Scores differ by at most {abs(furthest):.3f}."
    )
    sides = {"steelyard": asdict(left), "script": asdict(right)}
    return {"work": "whole verdict", **found, **sides, "differences": differences}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few rows, no search")
    parser.add_argument(
        "--task", type=Path, help="a task of texts or JSON, with one model; the demo otherwise"
    )
    parser.add_argument("--recipes", metavar="NAME,NAME", help="only these, and the controls")
    parser.add_argument("--json", type=Path, metavar="PATH")
    options = parser.parse_args()
    names = options.recipes or (SMALL_RECIPES if options.small else None)
    print(rounds.machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = options.task or (SMALL_TASK if options.small else TASK)
        path = shrunk(path, folder) if options.small else path
        task = load_task(path)
        if task.output.type == "label":
            parser.error(f"{path}: labels are scored and not written; a task of texts or JSON")
        settings = trl_peer.USUAL[device()] if options.small else best_settings(task)
        left = ours(path, names, folder)
        chosen = names.split(",") if names else None
        right = in_child(Job(str(path), chosen, list(left.test), asdict(settings)), folder)
    record = report(left, right)
    print(f"TRL with {settings}.")
    rounds.save(options.json, [record | {"settings": str(settings)}])


if __name__ == "__main__":
    main()
