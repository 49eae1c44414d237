"""Writes the rewrite example: invented commit messages, each with its line in the changelog.

python examples/rewrite/generate.py                 # the committed files, byte for byte
python examples/rewrite/generate.py --seed 8 --out other/
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import NamedTuple

# The house's heading for each kind of change, and how commits mark that kind.
KINDS: dict[str, tuple[str, ...]] = {
    "New": ("feat", "feature", "add"),
    "Mended": ("fix", "bugfix", "hotfix"),
    "Faster": ("perf", "speed", "optimise"),
    "Gone": ("remove", "drop", "chore"),
}
# What the house calls each part of the program, and how commits abbreviate it.
PARTS: dict[str, tuple[str, ...]] = {
    "Sign-in": ("auth", "login"),
    "Database": ("db", "sql"),
    "Settings": ("config", "cfg"),
    "Web page": ("ui", "frontend"),
    "Command line": ("cli", "cmd"),
    "Reports": ("reporting", "reports"),
    "Scheduler": ("cron", "sched"),
    "Search": ("search", "idx"),
}


class Change(NamedTuple):
    """A change in the commit's words and in the house's: `{x}` is one of `things` in both."""

    commit: str
    house: str
    things: tuple[tuple[str, str], ...]


FORMATS = (
    ("csv", "CSV"),
    ("json", "JSON"),
    ("pdf", "PDF"),
    ("xlsx", "Excel"),
    ("md", "Markdown"),
    ("xml", "XML"),
)
FLAGS = (
    ("--dry-run", "`--dry-run`"),
    ("--quiet", "`--quiet`"),
    ("--since", "`--since`"),
    ("--limit", "`--limit`"),
    ("--jobs", "`--jobs`"),
)
LISTS = (
    ("user", "people"),
    ("job", "jobs"),
    ("msg", "messages"),
    ("tag", "tags"),
    ("file", "files"),
    ("order", "orders"),
)
SPANS = (
    ("10 secs", "10 seconds"),
    ("30 secs", "30 seconds"),
    ("5 mins", "5 minutes"),
    ("2 hrs", "2 hours"),
    ("90 days", "90 days"),
)
CHANGES: dict[str, tuple[Change, ...]] = {
    "New": (
        Change("add {x} export", "writes {x} files", FORMATS),
        Change("support {x} import", "reads {x} files", FORMATS),
        Change("add {x} flag", "knows the option {x}", FLAGS),
        Change("let admins merge {x}s", "lets administrators merge {x}", LISTS),
        Change("auto-save after {x}", "saves by itself after {x}", SPANS),
        Change("sort {x} list by color", "sorts {x} by colour", LISTS),
    ),
    "Mended": (
        Change("dont lose last row of {x} export", "keeps the last row of {x} files", FORMATS),
        Change("crash on empty {x} file", "accepts empty {x} files", FORMATS),
        Change("{x} was ignored", "obeys the option {x}", FLAGS),
        Change("dup entries in {x} list", "shows {x} only once", LISTS),
        Change("timeout after {x}", "no longer gives up after {x}", SPANS),
        Change("wrong count for {x}s", "counts {x} correctly", LISTS),
    ),
    "Faster": (
        Change("cache {x} list", "remembers the list of {x}", LISTS),
        Change("stream {x} instead of loading it", "reads {x} files piece by piece", FORMATS),
        Change("batch {x} inserts", "stores {x} in batches", LISTS),
        Change("cut startup by {x}", "starts {x} sooner", SPANS[:2]),
        Change("lazy load {x} parser", "loads the {x} reader only when needed", FORMATS),
    ),
    "Gone": (
        Change("old {x} exporter", "no longer writes {x} files", FORMATS),
        Change("deprecated {x} option", "no longer knows the option {x}", FLAGS),
        Change("unused {x} list page", "no longer lists {x}", LISTS),
        Change("limit of {x}", "has no limit of {x} any more", SPANS),
        Change("{x} support", "no longer reads {x} files", FORMATS),
    ),
}
ISSUES = ("(#{n})", "closes #{n}", "refs #{n}", "gh-{n}", "see #{n}")
ASIDES = ("", "", "", "wip", "take 2", "tests pass", "pls review", "oops")


def commit_and_line(rng: random.Random) -> tuple[str, str]:
    """A commit message and its changelog line.

    "fix(db): dup entries in job list, closes #412" →
    "Mended. Database: shows jobs only once [412]"
    """
    kind = rng.choice(list(KINDS))
    part = rng.choice(list(PARTS))
    change = rng.choice(CHANGES[kind])
    theirs, ours = rng.choice(change.things)
    number = rng.randint(100, 999) if rng.random() < 0.8 else None
    start = rng.choice(("{k}({p}): ", "{k}: {p} - ", "[{p}] {k}: ", "{p}: {k}, ", "{k} {p}: "))
    commit = start.format(k=rng.choice(KINDS[kind]), p=rng.choice(PARTS[part]))
    commit += change.commit.format(x=theirs)
    notes = [rng.choice(ISSUES).format(n=number)] if number else []
    commit = ", ".join((commit, *notes, *filter(None, [rng.choice(ASIDES)])))
    reference = f"[{number}]" if number else "[no issue]"
    return commit, f"{kind}. {part}: {change.house.format(x=ours)} {reference}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--train", type=int, default=200, help="number of rows")
    parser.add_argument("--dev", type=int, default=60, help="number of rows")
    parser.add_argument("--test", type=int, default=120, help="number of rows")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    taken: set[str] = set()
    args.out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev", "test"):
        path = args.out / f"{split}.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for number in range(getattr(args, split)):
                while (pair := commit_and_line(rng))[1] in taken:
                    pass
                taken.add(pair[1])
                row = {"id": f"{split}-{number:03}", "commit": pair[0], "line": pair[1]}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
