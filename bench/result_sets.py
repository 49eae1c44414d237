"""The data sets of results.py, each as a task of a size that two cores weigh in minutes.

A data set is a folder of JSON Lines files as published; `prepare` writes a task folder from it, as
docs/task-file.md has it, with rows that are drawn once and for all. Nothing is changed in a row but
which of its columns are kept.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import knowledge_bases
from steelyard.tasks.schema import infer_schema

Rows = list[dict[str, Any]]
SQUAD_SPLIT = (0.5, 0.25, 0.25)
LONGEST_LISTS = {"skills": 8, "experience": 4, "education": 3, "certifications": 3, "languages": 4}


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of each split, before duplicates are folded."""

    train: int
    dev: int
    test: int


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure of the chosen recipe on the sealed test that should be at least so much."""

    figure: str  # "score", or a key of the scorer's details
    least: float


@dataclass(frozen=True, slots=True)
class DataSet:
    """How a folder becomes a task, what is weighed on it, and what a reader should know.

    `sentence` says the task; `small` and `small_recipes` are for a short run; `notes` are true
    whatever comes out. Of `four` the four numbers of JSON are told on all of dev.
    """

    sentence: str
    prepare: Callable[[Path, Path, Sizes], Path]
    sizes: Sizes
    recipes: tuple[str, ...]
    notes: tuple[str, ...]
    small: Sizes = Sizes(24, 12, 8)
    small_recipes: tuple[str, ...] = ("few-shot",)
    goals: tuple[Goal, ...] = ()
    four: tuple[str, ...] = ()


# ---------------------------------------------------------------- from a folder to a task


def banking77(source: Path, folder: Path, sizes: Sizes) -> Path:
    """Train and dev from the published train file, test from the published test file."""
    train, dev = drawn(source / "train.jsonl", sizes.train, sizes.dev)
    (test,) = drawn(source / "test.jsonl", sizes.test)
    output = 'type = "label"'
    return written(
        folder,
        {"train": train, "dev": dev, "test": test},
        name="banking77",
        instruction="Name the intent of the customer's message.",
        columns=("text", "label"),
        output=output,
    )


def snips(source: Path, folder: Path, sizes: Sizes) -> Path:
    """The intent and the slots of a request as JSON, under the schema of all published rows."""
    train, dev = drawn(source / "train.jsonl", sizes.train, sizes.dev)
    (test,) = drawn(source / "test.jsonl", sizes.test)
    rows = [row for name in ("train", "test") for row in read(source / f"{name}.jsonl")]
    schema = infer_schema([row["output"] for row in rows])
    schema["properties"]["intent"] = {"enum": sorted({row["label"] for row in rows})}
    return written(
        folder,
        {"train": train, "dev": dev, "test": test},
        name="snips",
        instruction="Name the intent of the request, and the slots that it fills with its words.",
        columns=("text", "output"),
        output=json_output(folder, schema),
        scorer="fields",
    )


def squad1k(source: Path, folder: Path, sizes: Sizes) -> Path:
    """The first questions of the published file over all of its paragraphs; questions about one
    paragraph stay in one split."""
    count = sizes.train + sizes.dev + sizes.test
    rows = [
        {**row, "paragraph": row["gold_doc_ids"][0]}
        for row in read(source / "validation.jsonl")[:count]
    ]
    documents = json.dumps(str((source / "corpus.jsonl").resolve()))
    more = f'[knowledge]\ndocuments = [{documents}]\nevidence = "gold_doc_ids"\n'
    return written(
        folder,
        {"questions": rows},
        name="squad1k",
        instruction="Answer the question in a few words.",
        columns=("question", "answers"),
        output='type = "text"',
        scorer="tokens_f1",
        more=more,
    )


def resumes_synth(source: Path, folder: Path, sizes: Sizes) -> Path:
    """Train, dev and test from the three published files."""
    splits = {"train": "train", "dev": "validation", "test": "test"}
    rows = {
        split: drawn(source / f"{file}.jsonl", getattr(sizes, split))[0]
        for split, file in splits.items()
    }
    published = [row for file in splits.values() for row in read(source / f"{file}.jsonl")]
    schema = infer_schema([row["output"] for row in published])
    for name, longest in LONGEST_LISTS.items():
        schema["properties"][name]["maxItems"] = longest
    return written(
        folder,
        rows,
        name="resumes_synth",
        instruction="Extract the candidate's details from the resume. Use null, or an empty list, "
        "for what it does not say.",
        columns=("text", "output"),
        output=json_output(folder, schema),
        scorer="fields",
    )


def ui_l10n(source: Path, folder: Path, sizes: Sizes) -> Path:
    """English to German; test is another product than train and dev."""
    splits = {"train": "train", "dev": "validation", "test": "test"}
    rows = {
        split: drawn(source / f"{file}.jsonl", getattr(sizes, split), target="de")[0]
        for split, file in splits.items()
    }
    return written(
        folder,
        rows,
        name="ui_l10n",
        instruction="Translate the text of a user interface into German. Keep placeholders such "
        "as %(name)s as they are.",
        columns=("en", "de"),
        output='type = "text"',
        scorer="chrf",
    )


# ---------------------------------------------------------------- rows and files


def read(path: Path) -> Rows:
    """The rows of a published file."""
    return knowledge_bases.read(path)


def drawn(path: Path, *counts: int, target: str = "id") -> list[Rows]:
    """Some lists of different rows of a file, drawn at random and always the same; a smaller first
    list begins as a larger one does. Rows without a `target` are left out.

    Raises:
        ValueError: the file has fewer rows.
    """
    rows = [row for row in read(path) if row[target] is not None]
    if len(rows) < sum(counts):
        raise ValueError(f"{path}: {sum(counts)} rows are wanted and there are {len(rows)}")
    random.Random(f"results:{path.name}").shuffle(rows)
    lists, end = [], len(rows)
    for count in counts[1:]:  # from the end, so that the size of one does not move the others
        lists.append(rows[end - count : end])
        end -= count
    return [rows[: counts[0]], *lists]


def json_output(folder: Path, schema: Mapping[str, Any]) -> str:
    """The lines of [output] for a schema, which is written into the folder."""
    (folder / "answer.schema.json").write_text(json.dumps(schema, indent=1), encoding="utf-8")
    return 'type = "json"\nschema = "answer.schema.json"'


def written(  # noqa: PLR0913  each is a line of the task file
    folder: Path,
    files: Mapping[str, Iterable[Mapping[str, Any]]],
    *,
    name: str,
    instruction: str,
    columns: tuple[str, str],
    output: str,
    scorer: str = "label",
    more: str = "",
) -> Path:
    """A task file and its rows: of the splits that `files` names, or one file to be split."""
    for file, rows in files.items():
        lines = "".join(f"{json.dumps(dict(row), ensure_ascii=False)}\n" for row in rows)
        (folder / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    data = [f'{file} = "{file}.jsonl"' for file in files]
    if len(files) == 1:
        (file,) = files
        data = [f'files = ["{file}.jsonl"]', f"split = {list(SQUAD_SPLIT)}", 'group = "paragraph"']
    task = folder / "task.toml"
    task.write_text(
        "\n".join(
            [
                f'name = "{name}"\ninstruction = {json.dumps(instruction)}\n\n[data]',
                *data,
                f'input = "{columns[0]}"\ntarget = "{columns[1]}"',
                f'\n[output]\n{output}\n\n[score]\nscorer = "{scorer}"\n\n{more}',
            ]
        ),
        encoding="utf-8",
    )
    return task


# ---------------------------------------------------------------- what is weighed, how to read it


SEEN = "The set is public: the base model may have seen it, so read the gain and not the score."

DATA_SETS = {
    "banking77": DataSet(
        "Name which of 77 intents a customer's message to a bank has.",
        banking77,
        Sizes(1600, 150, 300),
        ("few-shot", "nearest-shot", "head", "lora"),
        (
            SEEN,
            "Its labels are known to hold some noise, which no recipe can learn.",
            "About 20 rows of train for each intent and two of dev: rare intents decide little.",
            "`head` reads a text embedding and no prompt: it could not write anything else.",
        ),
        small=Sizes(160, 24, 16),
        small_recipes=("head", "few-shot"),
        goals=(Goal("score", 0.78),),
    ),
    "snips": DataSet(
        "Write the intent of a request to a voice assistant, and the words that fill its slots, "
        "as JSON.",
        snips,
        Sizes(600, 120, 150),
        ("few-shot", "nearest-shot", "nearest-shot+constrained", "lora", "lora+constrained"),
        (
            SEEN,
            "The schema has all 39 slots of the published rows, whichever intent they go with; a "
            "user who writes one for each intent gives constrained decoding more to go by.",
            "Requests were written by few people from few templates, in train as in test.",
        ),
        small_recipes=("few-shot", "nearest-shot+constrained"),
    ),
    "squad1k": DataSet(
        "Answer a question in a few words from 803 paragraphs of Wikipedia.",
        squad1k,
        Sizes(140, 70, 70),
        ("rag", "rag+shots", "lora+rag", "oracle-passages"),
        (
            SEEN,
            "Every question has its paragraph among the documents, which questions of real users "
            "do not; and it shares words with it, which makes searching easy.",
            "`tokens_f1` takes a right answer in a whole sentence for mostly wrong: part of what "
            "training gains is brevity.",
            "With 70 questions in dev and in test, differences of less than about 15 points go "
            "unseen.",
        ),
        small_recipes=("rag",),
    ),
    "resumes_synth": DataSet(
        "Write what a resume says of nine fields, nested lists among them, as JSON.",
        resumes_synth,
        Sizes(600, 80, 160),
        ("few-shot", "zero-shot+constrained", "lora", "lora+constrained"),
        (
            "The resumes are synthetic: 14 layouts, invented persons. Real ones are harder.",
            "Test has three layouts and four occupations that train and dev do not have, so it "
            "should come out lower than dev.",
            "A valid answer may be wrong: a schema decides the form alone.",
        ),
        small_recipes=("few-shot", "zero-shot+constrained"),
        goals=(Goal("valid", 0.99), Goal("score", 0.90)),
        four=("zero-shot", "zero-shot+constrained", "lora", "lora+constrained"),
    ),
    "ui_l10n": DataSet(
        "Translate texts of user interfaces from English into German.",
        ui_l10n,
        Sizes(800, 120, 200),
        ("few-shot", "nearest-shot", "lora"),
        (
            SEEN,
            "Train and dev come from two products and test from a third, a shop: other words, so "
            "that test should come out lower than dev.",
            "The base model was made for English. The low scores are of this model and say little "
            "about larger ones.",
            "`chrf` counts characters in common with one translation out of many that are right.",
        ),
    ),
}
