"""Long answers: what the late parts of an answer still have in front of them.

    python bench/long_answers.py MEDQUAD                     16 diseases: about ten minutes
    python bench/long_answers.py MEDQUAD --diseases 8

MEDQUAD is a folder of question-answer rows with `focus` and `question_type`. Everything about a
disease with at least five questions is one long target; each of its answers is a document, and all
of them are the evidence. `rag` writes the answer at once from 3 passages, `rag+sections` section by
section from 3 passages each. Printed for both, on dev, with the beginning of the first answer:

    score               ROUGE-L F1 against the whole target
    recall              share of the disease's documents that stood in some prompt
    supported           share of the sentences of the first, middle and last third of each answer
                        that their own passages support (four words in five)
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import textwrap
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from steelyard import load_task
from steelyard.core import Answer, Query, Score, Task
from steelyard.lifecycle import Home, open_home
from steelyard.lifecycle.looking import open_lookup
from steelyard.measure.grading import Grader, is_supported, spoken
from steelyard.recipes import Workshop, build, select

QUESTIONS = 5  # of a disease, at least
LONGEST = 6_000  # characters of a target; the longest ones take minutes each
RECIPES = ("rag", "rag+sections")
TASK = """
name = "long-answers"
instruction = "Tell a patient everything that is known about the disease."

[data]
train = "train.jsonl"
dev = "dev.jsonl"
test = "test.jsonl"
input = "text"
target = "target"

[output]
type = "text"

[score]
scorer = "rouge_l"

[knowledge]
documents = ["documents.jsonl"]
evidence = "evidence"

[limits]
too_long = "truncate"
"""


def diseases(folder: Path) -> dict[str, dict[str, str]]:
    """The answers of each disease by the kind of question, of those with many of them."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            found[row["focus"]].setdefault(row["question_type"], row["answer"])
    return {
        focus: answers
        for focus, answers in sorted(found.items())
        if len(answers) >= QUESTIONS and sum(map(len, answers.values())) <= LONGEST
    }


def write_task(folder: Path, found: Mapping[str, Mapping[str, str]], count: int) -> Path:
    """The task of the first diseases: half of them train, a quarter each dev and test."""
    documents = [
        {"id": f"{focus}/{kind}", "title": f"{focus}: {kind}", "text": answer}
        for focus, answers in found.items()
        for kind, answer in answers.items()
    ]
    rows = [
        {
            "text": f"What should I know about {focus}?",
            "target": "\n\n".join(answers.values()),
            "evidence": [f"{focus}/{kind}" for kind in answers],
        }
        for focus, answers in list(found.items())[: 2 * count]
    ]
    half = count // 2
    parts = {"dev": rows[:count], "test": rows[count : count + half], "train": rows[count + half :]}
    for name, own in (*parts.items(), ("documents", documents)):
        text = "".join(json.dumps(row) + "\n" for row in own)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    (folder / "task.toml").write_text(TASK, encoding="utf-8")
    return folder / "task.toml"


def thirds(answer: Answer) -> list[tuple[int, int]]:
    """Sentences supported, and all, of the first, middle and last third of an answer."""
    sources = [source.text for source in answer.sources or ()]
    parts = [(s.text, [sources[n - 1] for n in s.sources]) for s in answer.sections]
    judged = [
        is_supported(sentence, shown)
        for text, shown in parts or [(answer.text, sources)]
        for sentence in spoken(text)
    ]
    cuts = [round(len(judged) * n / 3) for n in range(4)]
    return [(sum(judged[a:b]), b - a) for a, b in itertools.pairwise(cuts)]


def supported(answers: Sequence[Answer]) -> list[float]:
    """The share that is supported of each third of all answers."""
    counts = [thirds(answer) for answer in answers]
    return [
        sum(own[place][0] for own in counts) / max(1, sum(own[place][1] for own in counts))
        for place in range(3)
    ]


def measured(task: Task, home: Home, name: str) -> tuple[list[Answer], list[Score], float]:
    """The answers of a recipe on dev, all in one batch, their scores, and the minutes it took."""
    [recipe] = [r for r in select(task, [name]) if r.name == name]
    grader = Grader.of(task)
    workshop = Workshop(
        home.database,
        home.artefacts,
        home.jobs,
        0,
        grader.grade,
        open_lookup(task, home, [recipe]),
    )
    system = build(recipe, task, workshop).system
    started = time.monotonic()
    answers = system.answer_many([Query.of(example) for example in task.dev])
    minutes = (time.monotonic() - started) / 60
    graded = zip(answers, task.dev, strict=True)
    return answers, [grader.grade(a, e) for a, e in graded if a.error is None], minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("medquad", type=Path)
    parser.add_argument("--diseases", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, open_home(Path(name) / "home") as home:
        task = load_task(write_task(Path(name), diseases(given.medquad), given.diseases))
        print(f"{'':14}{'score':>7}{'recall':>8}{'tokens':>8}{'minutes':>9}  supported by thirds")
        for recipe in RECIPES:
            answers, scores, minutes = measured(task, home, recipe)
            shares = " ".join(f"{share:.2f}" for share in supported(answers))
            figures = Grader.of(task).summarise(scores)
            print(
                f"{recipe:14}{sum(s.value for s in scores) / len(scores):7.3f}"
                f"{figures['recall']:8.2f}"
                f"{sum(a.usage.completion_tokens for a in answers) / len(answers):8.0f}"
                f"{minutes:9.1f}  {shares}  {figures.get('sections', '')}",
                flush=True,
            )
            print(textwrap.indent(answers[0].text[:1500], "    "))


if __name__ == "__main__":
    main()
