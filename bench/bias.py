"""Slices and swaps of `steelyard check --chosen`, held against two published sets of bias.

    python bench/bias.py --rows 300

bbq: a question that the text does not answer ("ambig") or does ("disambig"); accuracy by
condition, polarity and category, and how often a wrong guess is the stereotype. winobias: who is
"he" or "she"? Accuracy where the pronoun fits the stereotype and where it does not, and how often
exchanging it by the shipped list flips the answer, which it never should.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steelyard.audit.lists import read_swaps
from steelyard.audit.slices import slice_tables
from steelyard.audit.swaps import by_swap, swap
from steelyard.core import Answer, Example, ModelSpec, Query, Recipe
from steelyard.measure.statistics import mean_interval
from steelyard.models import Message, open_backend

SHARED = Path(__file__).parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Chooser:
    """A plain prompt whose answer is the likeliest of the choices of each example."""

    backend: Any
    choices: Mapping[str, Sequence[str]]
    recipe: Recipe = Recipe("zero-shot+labels")

    def answer(self, input: str, *, user: str | None = None, time: str | None = None) -> Answer:
        raise NotImplementedError("examples are asked by their ids")

    def answer_many(self, queries: Sequence[Query]) -> list[Answer]:
        """One answer per query; each has its own choices, so that they are asked alone."""
        answers = []
        for query in queries:
            labels = self.choices[str(query.example)]
            [choice] = self.backend.choose_labels([(Message("user", query.input),)], labels)
            said = labels[choice.label]
            answers.append(Answer(said, said, error=choice.error))
        return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    backend = open_backend(ModelSpec(options.model, options.model))
    rng = random.Random(0)
    bbq(read(options.shared / "bbq" / "test.jsonl"), backend, options.rows, rng)
    winobias(read(options.shared / "winobias" / "validation.jsonl"), backend, options.rows, rng)


def read(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        print(f"left out: {path.parent.name} is not there", file=sys.stderr)
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def bbq(rows: list[dict[str, Any]], backend: Any, number: int, rng: random.Random) -> None:
    """Slices, and the share of stereotypes among wrong guesses at what the text leaves open."""
    rows = rng.sample(rows, min(number, len(rows)))
    if not rows:
        return
    examples = [
        Example(
            row["id"],
            f"{row['context']}\n{row['question']}\nAnswer with one of: {'; '.join(row['choices'])}",
            row["choices"][row["answer"]],
            f"{row['category']}-{row['question_group']}",
            metadata={key: row[key] for key in ("category", "condition", "polarity")},
        )
        for row in rows
    ]
    system = Chooser(backend, {row["id"]: row["choices"] for row in rows})
    answers = system.answer_many([Query.of(example) for example in examples])
    scores = {e.id: float(a.value == e.target) for e, a in zip(examples, answers, strict=True)}
    print(f"bbq, {len(rows)} rows, {backend.source}\n")
    _print_slices(examples, scores)
    guesses = [
        (float(answer.value == row["choices"][row["biased"]]), example.group)
        for row, example, answer in zip(rows, examples, answers, strict=True)
        if row["condition"] == "ambig"
        and row["biased"] is not None
        and answer.value != row["choices"][row["unknown"]]
    ]
    values, groups = [value for value, _ in guesses], [group for _, group in guesses]
    low, high = mean_interval(values, groups)
    print(
        f"\nOf {len(values)} guesses at what the text leaves open, "
        f"{sum(values) / len(values):.3f} [{low:.3f}, {high:.3f}] are the stereotype.\n"
    )


def winobias(rows: list[dict[str, Any]], backend: Any, number: int, rng: random.Random) -> None:
    """The gap between pro and anti, and flips by the list of gender."""
    pairs = sorted({row["pair"] for row in rows})
    drawn = set(rng.sample(pairs, min(number // 2, len(pairs))))
    known = {row["id"]: row for row in rows if row["pair"] in drawn and _nouns(row)}
    if not known:
        return
    swaps = read_swaps("gender")
    by_pair = {(row["pair"], row["stereotype"]): row for row in rows}
    both = [p for p in pairs if (p, "pro") in by_pair and (p, "anti") in by_pair]
    same = sum(
        swap(by_pair[p, "pro"]["sentence"], swaps) == by_pair[p, "anti"]["sentence"] for p in both
    )
    print(f"winobias: the list of gender turns {same} of {len(both)} pro sentences into anti ones")
    examples = [
        Example(
            id_,
            f'{row["sentence"]}\nWho is "{row["pronoun"]}" in this sentence?',
            row["referent"].lower(),
            row["pair"],
            metadata={"stereotype": row["stereotype"], "type": str(row["type"])},
        )
        for id_, row in known.items()
    ]
    system = Chooser(backend, {id_: _nouns(row) for id_, row in known.items()})
    answers = system.answer_many([Query.of(example) for example in examples])
    scores = {e.id: float(a.value == e.target) for e, a in zip(examples, answers, strict=True)}
    print(f"winobias, {len(examples)} rows, {backend.source}\n")
    _print_slices(examples, scores)
    told = {example.id: answer for example, answer in zip(examples, answers, strict=True)}
    print(f"\n{by_swap('zero-shot+labels', system, examples, told)[0].message}")


def _nouns(row: Mapping[str, Any]) -> list[str]:
    """The two that the pronoun may mean, or nothing where the sentence names others."""
    named = list(dict.fromkeys(m.lower() for m in re.findall(r"\b[Tt]he \w+", row["sentence"])))
    right = row["referent"].lower()
    return [right, next(n for n in named if n != right)] if right in named[:2] and named[1:] else []


def _print_slices(examples: Sequence[Example], scores: Mapping[str, float]) -> None:
    print("| column | slices: score [interval] (examples) | largest gap | adjusted p |")
    print("|---|---|---|---|")
    for table in slice_tables(scores, examples):
        slices = ", ".join(
            f"{one.value} {one.score:.3f} [{one.interval[0]:.3f}, {one.interval[1]:.3f}] "
            f"({one.num_examples})"
            for one in table.slices
        )
        print(f"| {table.column} | {slices} | {table.gap:.3f} | {table.p_adjusted:.4f} |")


if __name__ == "__main__":
    main()
