"""What each objective of training brings, on real weights.

    python bench/objectives.py facts         20 minutes on two cores
    python bench/objectives.py distil        10 minutes; needs banking77 (--data)
    python bench/objectives.py preferences   10 minutes; likewise

facts         invented facts, asked about places that no training question was about: told in one
              document, in 3 and in 10 ways before learning to answer; retrieved; and learning to
              answer with passages and near misses, with the right passage alone, and with none.
distil        the base with nearest examples and the list of labels teaches itself without; 20
              labels of banking77.
preferences   the same labels, then pairs of other inputs: the label, and the wrong one that the
              model thinks likeliest by then, as a user who corrects it would leave them.

Each row is a recipe trained as it says, and measured on dev and test together. `picked` is how
often the right answer is the likeliest of those to these questions of its kind: multiple choice, as
Ovadia et al. 2023 (arXiv:2312.05934) measured it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import steelyard.models  # noqa: F401  before torch: it settles how threads wait

# isort: split

import paraphrases
import planted
import rounds
from steelyard.core import (
    Context,
    Decoding,
    Example,
    Json,
    Preference,
    Query,
    Recipe,
    Task,
    Weights,
)
from steelyard.lifecycle.home import open_home
from steelyard.lifecycle.looking import open_lookup
from steelyard.measure.grading import Grader
from steelyard.recipes import Lookup, Workshop, build
from steelyard.recipes.lessons import teacher_of
from steelyard.tasks import load_task

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
BARE = Context(describe_output=False)
READING = replace(BARE, passages=3)
COPIES = (1, 3, 10)


@dataclass(frozen=True)
class Line:
    """A row of a table: what is trained, and the context it is served with if not its own."""

    name: str
    recipe: Recipe
    served: Context | None = None


class Bench:
    """Builds recipes in one home and measures them on dev and test."""

    def __init__(self, home: Any, task: Task, seed: int) -> None:
        self.home, self.task, self.seed = home, task, seed
        self.choices: Callable[[Any], float] | None = None  # another measure of a system
        self.system: Any = None  # the one measured last
        self.rows: list[list[str]] = []
        self.record: list[Json] = []

    def measure(self, line: Line, lookup: Lookup) -> float:
        """The mean score of a line; what it took and its curve are recorded."""
        started = time.perf_counter()
        home = self.home
        shop = Workshop(
            home.database, home.artefacts, home.jobs, self.seed, Grader.of(self.task).grade, lookup
        )
        built = build(line.recipe, self.task, shop)
        system: Any = built.system
        if line.served is not None:
            served = build(
                replace(line.recipe, context=line.served, weights=Weights()), self.task, shop
            )
            system = replace(served.system, backend=system.backend)
        self.system = system
        examples = (*self.task.dev, *self.task.test)
        answers = system.answer_many([Query.of(example) for example in examples])
        grader = Grader.of(self.task)
        scores = [
            grader.grade(answer, example).value
            for answer, example in zip(answers, examples, strict=True)
        ]
        score = sum(scores) / len(scores)
        picked = "" if self.choices is None else f"{self.choices(system):.3f}"
        tokens = sum(answer.usage.prompt_tokens for answer in answers) / len(answers)
        seconds = time.perf_counter() - started
        self.rows.append(
            [
                line.name,
                f"{score:.3f}",
                picked,
                f"{tokens:.0f}",
                f"{built.setup_seconds:.0f}",
                f"{seconds:.0f}",
            ]
        )
        own = {
            "score": score,
            "picked": picked,
            "prompt_tokens": tokens,
            "setup_seconds": built.setup_seconds,
        }
        self.record.append({"name": line.name, **own, "curve": built.curve})
        print(" | ".join(self.rows[-1]), flush=True)
        return score

    def show(self, title: str) -> None:
        """Print all lines so far as a table."""
        head = ["weights and context", "score", "picked", "prompt tokens", "set-up, s", "in all, s"]
        rounds.print_lines(title, [head, *self.rows])


@contextmanager
def bench(task: Task, seed: int) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder, open_home(Path(folder) / "home") as home:
        yield Bench(home, task, seed)


# ---------------------------------------------------------------- facts


def facts(args: argparse.Namespace) -> list[Json]:
    record: list[Json] = []
    epochs = args.epochs or 10
    lora = Weights("lora", epochs=epochs, patience=epochs, batch_size=4)
    told: list[float] = []
    for copies in args.copies:
        with world(args, copies) as own:
            learned = replace(lora, learn=("documents", "examples"))
            recipe = Recipe(f"cpt {copies}", context=BARE, weights=learned)
            lookup = open_lookup(own.task, own.home, [recipe])
            name = f"documents in {copies} wordings, then examples; nothing shown"
            own.measure(Line(name, recipe), lookup)
            told.append(float(own.record[-1]["picked"]))
            own.show(f"invented facts, {copies} wordings, seed {args.seed}")
            record += own.record
    with world(args, 1) as own:
        rag = Recipe("rag", context=Context(passages=3))
        reading = Recipe("read", context=READING, weights=lora)
        lines = [
            Line("no weights, nothing shown", Recipe("zero", context=Context())),
            Line("examples; nothing shown", Recipe("lora", context=BARE, weights=lora)),
            Line("no weights; 3 passages", rag),
            Line("examples without passages; 3 passages",
                 Recipe("bare", context=BARE, weights=lora), READING),
            Line("examples with the right passage alone; 3 passages",
                 replace(reading, context=replace(READING, search="evidence")), READING),
            Line("examples with 3 passages, evidence in all; 3 passages", reading),
            Line("examples with 3 passages, evidence in 80 %; 3 passages",
                 replace(reading, weights=replace(lora, evidence_share=0.8))),
        ]  # fmt: skip
        lookup = open_lookup(own.task, own.home, [line.recipe for line in lines])
        for line in lines:
            own.measure(line, lookup)
        own.show(f"invented facts, one document a place, seed {args.seed}")
        record += own.record
    rising = all(a <= b for a, b in itertools.pairwise(told))
    print(f"more wordings, {'never fewer' if rising else 'SOMETIMES FEWER'} right: {told}")
    return record


@contextmanager
def world(args: argparse.Namespace, copies: int) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as folder:
        files = paraphrases.told(args.seed, num_places=args.places, copies=copies)
        task = load_task(planted.write(files, Path(folder)))
        with bench(task, args.seed) as own:
            own.choices = lambda system: picked(system, task)
            yield own


def picked(system: Any, task: Task) -> float:
    """How often the right value is the likeliest of all values of its kind that are asked about.

    Those of the training questions are not among them: having been targets, they would all win.
    Facts of a place stand in the order of their kinds, so every fourth row is of one kind.
    """
    right = []
    for kind in range(len(planted.KINDS)):
        rows = [*task.dev[kind :: len(planted.KINDS)], *task.test[kind :: len(planted.KINDS)]]
        values = [row.target for row in rows]
        prompts = system.prompts([Query.of(row) for row in rows])
        chosen = system.backend.choose_labels(prompts, values)
        right += [values[c.label] == row.target for c, row in zip(chosen, rows, strict=True)]
    return sum(right) / len(right)


# ---------------------------------------------------------------- distil, preferences


def banking(args: argparse.Namespace, folder: Path) -> Task:
    """Rows of some labels of banking77; labels and rows are drawn with the seed."""
    rng = random.Random(args.seed)
    labels: list[str] = []
    for split, count in (("train", args.rows), ("dev", args.measured)):
        file = args.data / "banking77" / f"{'train' if split == 'train' else 'test'}.jsonl"
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        labels = labels or rng.sample(sorted({row["label"] for row in rows}), args.labels)
        rows = [row for row in rows if row["label"] in labels]
        rng.shuffle(rows)
        parts = {split: rows[:count]}
        if split == "dev":
            parts = {"dev": rows[: count // 2], "test": rows[count // 2 : count]}
        for name, own in parts.items():
            lines = "".join(json.dumps(row) + "\n" for row in own)
            (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    (folder / "task.toml").write_text(
        'name = "banking"\ninstruction = "Name the intent of the customer\'s message."\n'
        '[data]\ntrain = "train.jsonl"\ndev = "dev.jsonl"\ntest = "test.jsonl"\n'
        'input = "text"\ntarget = "label"\n[output]\ntype = "label"\n',
        encoding="utf-8",
    )
    return load_task(folder / "task.toml")


def distil(args: argparse.Namespace) -> list[Json]:
    with tempfile.TemporaryDirectory() as folder:
        task = banking(args, Path(folder))
        with bench(task, args.seed) as own:
            teacher = Context(examples="nearest", num_examples=args.shots)
            learned = Weights("lora", epochs=args.epochs or 3, learn=("teacher",), teacher=teacher)
            student = Recipe("distil", context=BARE, weights=learned, decoding=Decoding("labels"))
            lookup = open_lookup(task, own.home, [student])
            best = own.measure(
                Line(f"the teacher: {args.shots} nearest examples", teacher_of(student)), lookup
            )
            score = own.measure(Line("the student: the instruction alone", student), lookup)
            own.measure(Line("no weights, the instruction alone",
                             replace(student, weights=Weights())), lookup)  # fmt: skip
            targets = replace(learned, learn=("examples",), teacher=None)
            own.measure(Line("the targets themselves", replace(student, weights=targets)), lookup)
            own.show(f"distillation, {args.rows} inputs, seed {args.seed}")
            tokens = [row["prompt_tokens"] for row in own.record[:2]]
            print(
                f"student − teacher {100 * (score - best):+.1f} points (goal: at least −2) at "
                f"{tokens[1] / tokens[0]:.2f} of its prompt tokens (goal: at most 0.20)"
            )
            return own.record


def preferences(args: argparse.Namespace) -> list[Json]:
    with tempfile.TemporaryDirectory() as folder:
        task = banking(args, Path(folder))
        learned, paired = task.train[: args.rows // 2], task.train[args.rows // 2 :]
        task = replace(task, train=learned)
        with bench(task, args.seed) as own:
            lora = Weights("lora", epochs=args.epochs or 3)
            recipe = Recipe("lora", context=BARE, weights=lora, decoding=Decoding("labels"))
            both = replace(lora, learn=("examples", "preferences"))
            before = own.measure(Line("examples", recipe), Lookup())
            pairs = confused(own.system, task, paired)
            own.task = replace(task, preferences=pairs)
            after = own.measure(
                Line("examples, then preferences", replace(recipe, weights=both)), Lookup()
            )
            own.show(f"preferences, {len(learned)} examples, {len(pairs)} pairs, seed {args.seed}")
            curve = own.record[-1]["curve"]
            accuracy = [p["preference_accuracy"] for p in curve["points"]]
            print(
                f"held-out preference accuracy {curve['preference_accuracy_before']:.3f} → "
                f"{accuracy[-1]:.3f} (goal: it rises); score {after - before:+.3f} "
                f"(goal: not below −{task.tolerance})"
            )
            return own.record


def confused(system: Any, task: Task, rows: Sequence[Example]) -> tuple[Preference, ...]:
    """The right label of each row, and the wrong one that the system thinks likeliest."""
    labels = task.output.labels
    found = system.backend.score_labels(system.prompts([Query.of(row) for row in rows]), labels)
    pairs = []
    for row, scored in zip(rows, found, strict=True):
        _, wrong = max(
            (s, n) for s, n in zip(scored.log_probs, labels, strict=True) if n != row.target
        )
        pairs.append(Preference(row.input, row.target, wrong, row.group))
    return tuple(pairs)


WORKS = {"facts": facts, "distil": distil, "preferences": preferences}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--places", type=int, default=30)
    parser.add_argument("--epochs", type=int, help="10 for facts, 3 for the others")
    parser.add_argument("--copies", type=int, nargs="*", default=COPIES)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--shots", type=int, default=4)
    parser.add_argument("--measured", type=int, default=300)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    record = WORKS[args.work](args)
    if args.json is not None:
        args.json.write_text(json.dumps(record, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
