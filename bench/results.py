"""Five data sets weighed: verdict, minutes, and what the race spent, on one page.

    python bench/results.py DATA                     all of them: about an hour on two cores
    python bench/results.py DATA --only banking77    one of them
    python bench/results.py --keep DIR               the page again, from what is kept
    python bench/results.py DATA --small             few rows, cheap recipes: it runs, no more

DATA is a folder with a folder for each data set (result_sets.py says which files it has). Each is
weighed in a home of its own under --keep, where it goes on after an interruption, and leaves
NAME.json there; one that is kept is not weighed again. The page is made of all that is kept, which
may be of different days, commits and machines; each says its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import steelyard.models  # noqa: F401  before torch: it settles how threads wait

# isort: split

import result_page
import rounds
from result_sets import DATA_SETS, DataSet
from steelyard.core import ModelSpec, Task
from steelyard.lifecycle import open_home, weigh
from steelyard.lifecycle.events import Ended, Event
from steelyard.lifecycle.looking import open_lookup, unseen
from steelyard.lifecycle.machine import versions
from steelyard.lifecycle.racing import Race
from steelyard.lifecycle.trials import Trials
from steelyard.measure.grading import Grader
from steelyard.recipes import select
from steelyard.tasks import load_task

Json = Any
ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
SEED = 0


def weighed(name: str, source: Path, keep: Path, *, small: bool, model: str) -> Json:
    """One data set weighed, and what is kept of it."""
    data = DATA_SETS[name]
    folder, home = keep / name, keep / name / "home"
    went_on = home.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = data.prepare(source / name, folder, data.small if small else data.sizes)
    task = replace(load_task(path), models=(ModelSpec("default", model),))
    recipes = data.small_recipes if small else data.recipes
    verdict = weigh(task, home=home, seed=SEED, recipes=recipes, listen=tell)
    four = [recipe for recipe in data.four if recipe in (*recipes, "zero-shot")]
    return {
        "name": name,
        "small": small,
        "went_on": went_on,
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "model": model,
        "machine": rounds.machine(),
        "versions": versions(),
        "verdict": verdict.to_json(),
        "four": four_numbers(task, home, four) if four else {},
    }


def tell(event: Event) -> None:
    """A line for each recipe that is through with dev."""
    if isinstance(event, Ended):
        report = event.report
        score = "" if report.dev is None else f", {report.dev.score:.3f} on dev"
        print(f"  {report.name}: {report.status}{score}", file=sys.stderr, flush=True)


def four_numbers(task: Task, home: Path, names: Sequence[str]) -> Json:
    """The four numbers of each recipe on all of dev: what the race did not ask is asked now.

    The sealed test stays as it is.
    """
    with open_home(home) as opened:
        recipes = [recipe for recipe in select(task, names) if recipe.name in names]
        trials = Trials(
            *(task, SEED, opened, unseen(open_lookup(task, opened, recipes), task)),
            *(Grader.of(task), tell, time.monotonic(), None),
        )
        found = {}
        for one in Race(trials, recipes, exhaustive=True).run():
            if (dev := trials.report(one).dev) is not None:
                numbers = {**dev.details, "score": dev.score}
                found[one.recipe.name] = {
                    **{figure: numbers[figure] for figure in result_page.FOUR},
                    "num_examples": dev.num_examples,
                }
    return found


def commit() -> str:
    """The commit of the code that ran, marked where it had been changed."""
    said = [
        subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--short", "src", "bench"))
    ]
    return f"{said[0]}, changed" if said[1] else said[0] or "unknown"


def kept(keep: Path) -> Iterator[tuple[Json, DataSet]]:
    """What is kept, in the order of the table."""
    for name, data in DATA_SETS.items():
        if (file := keep / f"{name}.json").exists():
            yield json.loads(file.read_text(encoding="utf-8")), data


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA")
    parser.add_argument("--only", nargs="+", default=list(DATA_SETS), metavar="NAME")
    parser.add_argument("--keep", type=Path, default=Path(".steelyard/results"), metavar="DIR")
    parser.add_argument("--page", type=Path, help="docs/results.md; with --small beside the rest")
    parser.add_argument("--small", action="store_true", help="few rows: it proves nothing")
    parser.add_argument("--model", default="default", help="the base model, as in a task file")
    options = parser.parse_args(argv)
    if unknown := [name for name in options.only if name not in DATA_SETS]:
        parser.error(f"there is no data set {unknown[0]}. Known: {', '.join(DATA_SETS)}")
    keep = options.keep / "small" if options.small else options.keep
    page = options.page or (keep / "results.md" if options.small else PAGE)
    keep.mkdir(parents=True, exist_ok=True)
    for name in options.only if options.data is not None else ():
        file = keep / f"{name}.json"
        if file.exists():
            print(f"{name} is kept; without {file} it is weighed again", file=sys.stderr)
            continue
        print(name, file=sys.stderr, flush=True)
        record = weighed(name, options.data, keep, small=options.small, model=options.model)
        file.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print("\n".join(result_page.section(record, DATA_SETS[name])), flush=True)
    records = list(kept(keep))
    page.write_text(result_page.whole(records, list(DATA_SETS)), encoding="utf-8")
    print(f"{page}: {len(records)} of {len(DATA_SETS)} data sets", file=sys.stderr)


if __name__ == "__main__":
    main()
