"""Where in the prompt does a small model read the right passage best?

    python bench/position.py FOLDER                     about ten minutes on two cores
    python bench/position.py FOLDER --rows 40 --passages 3 --json figures.json

FOLDER holds corpus.jsonl (doc_id, title, text) and one other JSON Lines file of questions
(question, answers, gold_doc_ids). Each question is asked with the same K passages: the right one,
and the K - 1 best that hybrid search finds besides it and that hold no accepted answer: near
misses. They stand in one order, the best of them last; the right passage stands before them all
(`first`), among them (`middle`) or after them, next to the question (`last`). Same rows, same
passages: what differs is the place alone.

    as found, best last     what hybrid search finds, right or not, the best next to the question
    as found, best first    the same passages turned around

are what `Context.order` decides between. Scores: tokens_f1, and contains (an accepted answer
stands in what is said). Differences are paired, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import knowledge_bases
import rounds
from steelyard.core import (
    Answer,
    Context,
    Example,
    ModelSpec,
    Output,
    Passage,
    Query,
    Recipe,
)
from steelyard.knowledge.index import Scope
from steelyard.knowledge.search import SqliteIndex
from steelyard.measure.grading import Grader
from steelyard.measure.scorers import SCORERS
from steelyard.measure.statistics import paired
from steelyard.models import open_backend, open_embedder
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.finding import Finder
from steelyard.recipes.prompt import Frame, Part

INSTRUCTION = "Answer the question in a few words."
PLACES = ("first", "middle", "last")
FOUND = ("as found, best last", "as found, best first")
PAIRS = (("last", "first"), ("last", "middle"), ("first", "middle"), FOUND)
DEPTH = 30  # how far down near misses are looked for
MAX_TOKENS = 33  # of an answer, as in docs/log/2026-11-24-context.md
SCORED = ("tokens_f1", "contains")


def near_misses(found: Sequence[Passage], example: Example, count: int) -> list[Passage]:
    """The best passages that are not the right one and hold no answer; fewer where there are."""
    answers = [str(answer).lower() for answer in (example.target, *example.also)]
    return [
        passage
        for passage in found
        if passage.document not in example.evidence
        and not any(answer in passage.text.lower() for answer in answers)
    ][:count]


def placed(right: Passage, misses: Sequence[Passage], place: str) -> list[Passage]:
    """The passages as a prompt shows them, the best near miss last.

    >>> one, two, right = (Passage(name, 0, 1, name) for name in ("1", "2", "right"))
    >>> [p.text for p in placed(right, [one, two], "middle")]
    ['2', 'right', '1']
    """
    others = list(misses)[::-1]
    at = {"first": 0, "middle": len(others) // 2, "last": len(others)}[place]
    return [*others[:at], right, *others[at:]]


def arranged(
    examples: Sequence[Example], index: SqliteIndex, num_passages: int
) -> dict[str, dict[str, list[Passage]]]:
    """What each arrangement shows for each row that has near misses enough."""
    found = index.search([example.input for example in examples], DEPTH)
    shown: dict[str, dict[str, list[Passage]]] = {name: {} for name in (*PLACES, *FOUND)}
    whole = {passage.document: passage for passage in index.passages(Scope())}
    for example, own in zip(examples, found, strict=True):
        misses = near_misses(own, example, num_passages - 1)
        right = next((whole[name] for name in example.evidence if name in whole), None)
        if right is None or len(misses) < num_passages - 1:
            continue
        for place in PLACES:
            shown[place][example.id] = placed(right, misses, place)
        shown[FOUND[0]][example.id] = own[:num_passages][::-1]
        shown[FOUND[1]][example.id] = own[:num_passages]
    return shown


def finder(shown: Mapping[str, Sequence[Passage]]) -> Finder:
    """Gives each row its passages as they are."""
    return lambda queries: [
        [Part("passage", passage) for passage in shown[str(query.example)]] for query in queries
    ]


def scores(answers: Sequence[Answer], examples: Sequence[Example], scorer: str) -> list[float]:
    """Raises: ValueError: a row has no answer, so that rows would not be the same."""
    grader = Grader(SCORERS[scorer])
    if errors := [answer.error for answer in answers if answer.error is not None]:
        raise ValueError(f"{len(errors)} rows have no answer, the first because {errors[0]}")
    return [grader.grade(a, e).value for a, e in zip(answers, examples, strict=True)]


def measure(
    examples: Sequence[Example], index: SqliteIndex, num_passages: int
) -> list[dict[str, Any]]:
    """Print the scores of all arrangements and their differences."""
    shown = arranged(examples, index, num_passages)
    asked = [example for example in examples if example.id in shown[PLACES[0]]]
    backend = open_backend(ModelSpec("default", "default"))
    frame = Frame(INSTRUCTION, Output("text"), passages=True)
    found: dict[str, dict[str, list[float]]] = {}
    for name in shown:
        context = Context(passages=num_passages)
        system = LanguageModelSystem(
            Recipe(name, context=context), frame, backend, finder(shown[name]), MAX_TOKENS
        )
        answers = system.answer_many([Query.of(example) for example in asked])
        found[name] = {scorer: scores(answers, asked, scorer) for scorer in SCORED}
        print(f"{name}: done", flush=True)
    lines = [["right passage", *SCORED]]
    for name, own in found.items():
        lines.append([name, *(f"{sum(own[s]) / len(asked):.3f}" for s in SCORED)])
    for a, b in PAIRS:
        lines.append(
            [f"{a} − {b}", *(_difference(found[a][s], found[b][s], asked) for s in SCORED)]
        )
    rounds.print_lines(f"{num_passages} passages, {len(asked)} questions", lines)
    return [
        {"passages": num_passages, "rows": len(asked), **dict(zip(lines[0], line, strict=True))}
        for line in lines[1:]
    ]


def _difference(a: Sequence[float], b: Sequence[float], asked: Sequence[Example]) -> str:
    result = paired(a, b, [example.group for example in asked])
    low, high = result.interval
    return f"{result.difference:+.3f} [{low:+.3f}, {high:+.3f}]"


def questions(folder: Path) -> list[Example]:
    """The questions; those about one document are a group."""
    [file] = [f for f in sorted(folder.glob("*.jsonl")) if f.name != "corpus.jsonl"]
    return [
        Example(
            id=row["id"],
            input=row["question"],
            target=row["answers"][0],
            group=row["gold_doc_ids"][0],
            also=tuple(row["answers"][1:]),
            evidence=tuple(row["gold_doc_ids"]),
        )
        for row in knowledge_bases.read(file)
        if row["gold_doc_ids"] and row["answers"]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with corpus.jsonl and the questions")
    parser.add_argument("--rows", type=int, default=200, help="questions, the first ones")
    parser.add_argument("--passages", type=int, nargs="+", default=[3, 5], help="how many, each")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    print(rounds.machine())
    examples = questions(options.folder)[: options.rows]
    records: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        path, embedder = Path(folder) / "base.sqlite", open_embedder("default")
        knowledge_bases.write(path, knowledge_bases.read(options.folder / "corpus.jsonl"), embedder)
        index = SqliteIndex(path, embedder)
        for num_passages in options.passages:
            records += measure(examples, index, num_passages)
        index.close()
    rounds.save(options.json, records)


if __name__ == "__main__":
    main()
