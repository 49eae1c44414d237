"""The planted worlds, weighed: does the verdict say what is known to be right?

    python bench/worlds.py                                  every world, three seeds
    python bench/worlds.py knowledge nothing --seeds 0      two worlds, one seed
    python bench/worlds.py --small                          few rows: it runs, it proves little

Each world and seed is weighed in an empty home of its own, with a recipe of every kind that fits,
and is one line of the table. The exit code is 1 when a verdict is not the one that must come.
docs/worlds.md says what the worlds are and what came out.
"""

from __future__ import annotations

import argparse
import functools
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import steelyard.models  # noqa: F401  before torch: it settles how threads wait

# isort: split

import planted
import rounds
from steelyard.core import ModelSpec, Recipe, Split, Task, Verdict
from steelyard.lifecycle import weigh
from steelyard.measure.decision import (
    Candidate,
    Decision,
    compare_pairs,
    decide,
    second_look,
    settle,
)
from steelyard.measure.scorers import contains
from steelyard.recipes import presets, select
from steelyard.tasks import load_task

CLOSED_BOOK = 0.05  # an invented fact is not guessed more often than this. Source: ours
WINNERS = 0.05  # twins may be told apart as often as this
NUM_STUDIES, STUDY_EXAMPLES = 1000, 100  # of twins, simulated; ± 0.7 % at 5 %
# One or two of a kind, beside the controls: of no world's rivals may one be absent.
RECIPES = ("few-shot", "nearest-shot", "lora", "head", "rag", "rag+shots", "lora+rag")
TWINS = planted.TWINS
TOLERANCE, CONFIDENCE = 0.02, 0.95
COLUMNS = ["world", "seed", "outcome", "chosen", "on test", "beside it, on test"]
COLUMNS += ["majority, on dev", "must be", "came out", "minutes"]


@dataclass(frozen=True)
class Seen:
    """A weighed world: its task, its home, its verdict."""

    task: Task
    home: Path
    verdict: Verdict

    @property
    def recipes(self) -> dict[str, Recipe]:
        """All that were weighed."""
        known = {recipe.name: recipe for recipe in select(self.task)}
        return {report.name: known[report.name] for report in self.verdict.recipes}

    @property
    def chosen(self) -> Recipe | None:
        name = self.verdict.chosen
        return None if name is None else self.recipes[name]

    def score(self, name: str | None, split: Split) -> float | None:
        """A recipe's mean score, where it was measured."""
        reports = [report for report in self.verdict.recipes if report.name == name]
        found = getattr(reports[0], split) if reports else None
        return None if found is None else float(found.score)


# ---------------------------------------------------------------- what must come of each


def wrong_knowledge(seen: Seen) -> list[str]:
    """Passages, and nobody knows the facts without them."""
    wrong = _without_passages(seen)
    for name, recipe in seen.recipes.items():
        score = seen.score(name, "dev")
        if not recipe.context.passages and score is not None and score > CLOSED_BOOK:
            wrong.append(f"{name} has no passages and scores {score:.3f} on dev")
    return wrong


def wrong_convention(seen: Seen) -> list[str]:
    chosen = seen.chosen
    learned = chosen is not None and chosen.weights.method != "none"
    return [] if learned else ["what is chosen has no weights"]


def wrong_knows_already(seen: Seen) -> list[str]:
    return [] if seen.verdict.chosen == "zero-shot" else ["the plain prompt is not chosen"]


def wrong_nothing(seen: Seen) -> list[str]:
    outcome = seen.verdict.outcome
    return [] if outcome == "nothing_works" else [f"the outcome is {outcome}"]


def wrong_moving(seen: Seen) -> list[str]:
    """Passages, and no more stale answers than any weights give that learned before the change."""
    wrong = _without_passages(seen)
    stale = stale_answers(seen)
    learned = [
        stale[name]
        for name, recipe in seen.recipes.items()
        if name in stale and recipe.weights.method != "none" and not recipe.context.passages
    ]
    if seen.chosen is not None and learned and stale[seen.chosen.name] > min(learned):
        wrong.append("what is chosen gives more stale answers than weights")
    return wrong


def wrong_twins(seen: Seen) -> list[str]:
    """Equal scores for equal recipes; and of simulated equals hardly a pair is told apart."""
    wrong = []
    ways = dict.fromkeys(name.split("@")[0] for name in seen.recipes if "@" in name)
    for way in ways:
        a, b = (seen.score(f"{way}@{twin}", "dev") for twin in TWINS)
        if a is None or a != b:
            wrong.append(f"{way} scores {a} and {b}")
    share = twin_winners(NUM_STUDIES, STUDY_EXAMPLES, seed=seen.verdict.seed)
    return wrong if share <= WINNERS else [*wrong, f"{share:.1%} of simulated twins have a winner"]


def _without_passages(seen: Seen) -> list[str]:
    chosen = seen.chosen
    looked_up = chosen is not None and chosen.context.passages > 0
    return [] if looked_up else ["what is chosen has no passages"]


# ---------------------------------------------------------------- looking closer


def stale_answers(seen: Seen) -> dict[str, int]:
    """How many of each recipe's answers on dev say what was right before and is no longer."""
    outdated = {
        example.id: old
        for example in seen.task.dev
        if (old := example.metadata["outdated"]) is not None
    }
    query = (
        "SELECT recipe, example_id, json_extract(row, '$.answer.value') FROM answer "
        "JOIN trial ON trial = key WHERE split = 'dev'"
    )
    counts = dict.fromkeys(seen.recipes, 0)
    with closing(sqlite3.connect(seen.home / "steelyard.db")) as database:
        for recipe, example, value in database.execute(query):
            if example in outdated:
                counts[recipe] += contains(value, outdated[example]) > 0
    return counts


def tell_stale(seen: Seen) -> str:
    changed = sum(example.metadata["outdated"] is not None for example in seen.task.dev)
    told = ", ".join(f"{name} {count}" for name, count in stale_answers(seen).items())
    return f"{len(seen.task.dev)} dev questions, {changed} of changed facts; stale answers: {told}"


def tell_twins(seen: Seen) -> str:
    share = twin_winners(NUM_STUDIES, STUDY_EXAMPLES, seed=seen.verdict.seed)
    return f"a winner in {share:.1%} of {NUM_STUDIES} simulated studies of twins"


@functools.cache
def twin_winners(num_studies: int, num_examples: int, *, seed: int, edge: float = 0.0) -> float:
    """How often one of two recipes is shown to be better, over simulated studies.

    Shown on dev, or where dev cannot tell, on the test that is then looked at: all the ways in
    which a verdict calls one of them better. Their skill is equal but for `edge`, their cost too,
    and as far as the decision knows they differ in more than decoding.
    """
    rng = random.Random(f"twins:{seed}")
    winners = 0
    for study in range(num_studies):
        dev, test = (_candidates(rng, num_examples, edge) for _ in range(2))
        decision = decide(dev, _groups(dev), tolerance=TOLERANCE, confidence=CONFIDENCE, seed=study)
        other = next(name for name in TWINS if name != decision.best)
        shown = decision.standings[other] == "worse"
        if decision.outcome == "cannot_tell":
            shown |= _shown_on_test(decision, test, study)
        winners += shown
    return winners / num_studies


def _shown_on_test(decision: Decision, test: Sequence[Candidate], seed: int) -> bool:
    """Whether the test settles it because one of them scores higher beyond chance."""
    named = {candidate.name: candidate for candidate in test}
    pair = named[decision.best], named[str(decision.rival)]
    sure = second_look(CONFIDENCE)
    [found] = compare_pairs([pair], _groups(test), "test", confidence=sure, seed=seed)
    settled = settle(decision, found, tolerance=TOLERANCE, eligible=TWINS)
    low, high = found.interval
    return settled.outcome == "chosen" and not low <= 0 <= high


def _candidates(rng: random.Random, num_examples: int, edge: float) -> list[Candidate]:
    scores = planted.twin_scores(rng, num_examples, edge)
    return [Candidate(Recipe(name, model=name), own, 1.0) for name, own in scores.items()]


def _groups(candidates: Sequence[Candidate]) -> dict[str, str]:
    return {example: example for example in candidates[0].scores}


# ---------------------------------------------------------------- the worlds


@dataclass(frozen=True)
class World:
    """How a world is made, from a seed and a size; what must come of it; what of that did not.

    `small` is the size for a short run, `tell` a sentence beside the table. Of `recipes` those are
    weighed that fit.
    """

    make: Callable[..., planted.Files]
    small: int
    must: str
    wrong: Callable[[Seen], list[str]]
    tell: Callable[[Seen], str] | None = None
    models: Sequence[str] = ("default",)
    recipes: Sequence[str] = RECIPES


WORLDS = {
    "knowledge": World(planted.knowledge, 20, "passages", wrong_knowledge),
    "convention": World(planted.convention, 60, "weights or a head", wrong_convention),
    "knows_already": World(planted.knows_already, 20, "the plain prompt", wrong_knows_already),
    "nothing": World(planted.nothing, 60, "nothing works", wrong_nothing),
    "twins": World(
        planted.knows_already,
        *(20, "no winner", wrong_twins, tell_twins),
        models=TWINS,
        recipes=("few-shot",),
    ),
    "moving": World(planted.moving, 12, "passages", wrong_moving, tell_stale),
}


def weighed(name: str, seed: int, folder: Path, *, model: str, small: bool) -> Seen:
    """A world made in a folder, and weighed in a home beside it on a base model."""
    world = WORLDS[name]
    files = world.make(seed, world.small) if small else world.make(seed)
    task = load_task(planted.write(files, folder / "task"))
    task = replace(task, models=tuple(ModelSpec(own, model) for own in world.models))
    fitting = [recipe for recipe in world.recipes if recipe in presets(task)]
    home = folder / "home"
    return Seen(task, home, weigh(task, home=home, seed=seed, recipes=fitting))


def row_of(name: str, seen: Seen, minutes: float) -> dict[str, Any]:
    """What the JSON says of one world and seed."""
    world, verdict = WORLDS[name], seen.verdict
    return {
        "world": name,
        "seed": verdict.seed,
        "outcome": verdict.outcome,
        "chosen": verdict.chosen,
        "baseline": verdict.baseline,
        "dev": {name: seen.score(name, "dev") for name in seen.recipes},
        "test": {name: seen.score(name, "test") for name in seen.recipes},
        "reason": verdict.reason,
        "must": world.must,
        "wrong": world.wrong(seen),
        "told": None if world.tell is None else world.tell(seen),
        "minutes": minutes,
    }


def line_of(row: dict[str, Any]) -> list[str]:
    """A line of the table."""

    def figure(score: float | None) -> str:
        return "" if score is None else f"{score:.3f}"

    beside = row["baseline"]
    return [
        *(row["world"], str(row["seed"]), row["outcome"], row["chosen"] or ""),
        figure(row["test"].get(row["chosen"])),
        "" if beside is None else f"{beside} {figure(row['test'][beside])}",
        figure(row["dev"]["majority"]),
        row["must"],
        "right" if not row["wrong"] else f"**wrong**: {'; '.join(row['wrong'])}",
        f"{row['minutes']:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("worlds", nargs="*", metavar="WORLD", help=f"of {', '.join(WORLDS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--small", action="store_true", help="few rows: it proves little")
    parser.add_argument("--model", default="default", help="the base model, as in a task file")
    parser.add_argument("--json", type=Path, metavar="PATH")
    options = parser.parse_args()
    if unknown := [name for name in options.worlds if name not in WORLDS]:
        parser.error(f"there is no world {unknown[0]}. Known: {', '.join(WORLDS)}")
    print(rounds.machine(), flush=True)
    rows = []
    for name in options.worlds or WORLDS:
        for seed in options.seeds:
            started = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                seen = weighed(name, seed, Path(folder), model=options.model, small=options.small)
                rows.append(row_of(name, seen, (time.perf_counter() - started) / 60))
            print(" | ".join(line_of(rows[-1])), file=sys.stderr, flush=True)
            rounds.save(options.json, rows)
    rounds.print_lines("planted worlds", [COLUMNS, *map(line_of, rows)])
    for row in rows:
        if row["told"] is not None:
            print(f"\n{row['world']}, seed {row['seed']}: {row['told']}.")
    sys.exit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
