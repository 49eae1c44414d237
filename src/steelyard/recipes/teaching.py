"""A teacher answers what its student will learn from, batch by batch, each kept as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from steelyard.core import Json, Query, Task, digest
from steelyard.errors import StoreError, TrainingError
from steelyard.recipes.answering import LanguageModelSystem
from steelyard.recipes.workshop import ANSWERING, Workshop
from steelyard.training import TrainingRow

ANSWERS_FILE = "answers.jsonl"
BATCH = 64  # queries; the ones that share a batch are the same after a kill
FAILED = 0.05  # of its inputs a teacher may fail on, as a recipe may on dev's. Source: ours


@dataclass(frozen=True)
class Teaching:
    """The rows that a teacher's answers make, and the seconds that these took."""

    rows: list[TrainingRow]
    seconds: float


def teach(
    teacher: LanguageModelSystem, student: LanguageModelSystem, task: Task, workshop: Workshop
) -> Teaching:
    """The teacher's answers to all inputs that may be learned from, as the student's rows.

    Answers that are no valid ones are left out. A student on the teacher's own base learns from
    its distribution, so its rows hold the teacher's prompt too.

    Raises:
        TrainingError: the teacher failed on too many inputs, or gave no valid answer, or not all
            before the deadline. What it answered is kept.
    """
    queries = [Query.of(example) for example in task.train]
    groups = [example.group for example in task.train]
    known = {query.input for query in queries}
    fresh = [text for text in task.unlabelled if text not in known]
    queries += [Query(text) for text in fresh]
    groups += [digest(text)[:16] for text in fresh]

    answers, seconds = _answers(teacher, queries, task, workshop)
    valid = [number for number, answer in enumerate(answers) if answer["valid"]]
    if not valid:
        raise TrainingError(
            f"the teacher gave no answer to learn from to any of {len(queries)} inputs: none had "
            "the form that the task asks for"
        )
    asked = [queries[number] for number in valid]
    shown = student.prompts(asked)
    same = teacher.backend.fingerprint == student.backend.fingerprint
    fuller = teacher.prompts(asked) if same else [None] * len(asked)
    rows = [
        TrainingRow(prompt, answers[number]["text"], groups[number], "teacher", taught_by=full)
        for number, prompt, full in zip(valid, shown, fuller, strict=True)
    ]
    return Teaching(rows, seconds)


def _answers(
    teacher: LanguageModelSystem, queries: Sequence[Query], task: Task, workshop: Workshop
) -> tuple[list[Json], float]:
    """What the teacher says to each query, now or earlier, and the seconds that took."""
    recipe = teacher.recipe
    key = digest(
        [
            *("teacher", recipe.key, task.hash, teacher.backend.fingerprint, workshop.seed),
            *(task.limits.too_long, ANSWERING, [query.input for query in queries]),
            *workshop.lookup.fingerprint(recipe.context),
        ]
    )
    known = workshop.database.build(key)
    if known is not None and known[0] is not None:
        try:
            folder = workshop.artefacts.get(known[0])
            return _read(folder / ANSWERS_FILE), known[1]
        except StoreError:
            workshop.database.forget_build(key)  # spoilt on disk: ask again
    folder = workshop.jobs / key
    folder.mkdir(parents=True, exist_ok=True)
    _ask(teacher, queries, folder / ANSWERS_FILE, workshop.deadline)
    answers = _read(folder / ANSWERS_FILE)
    _check(answers, folder / ANSWERS_FILE)
    seconds = sum(answer["seconds"] for answer in answers)
    workshop.database.add_build(key, workshop.artefacts.put(folder), seconds, None)
    return answers, seconds


def _ask(
    teacher: LanguageModelSystem, queries: Sequence[Query], file: Path, deadline: float | None
) -> None:
    """Append the answers to whole batches until all are there."""
    done = _read(file) if file.exists() else []
    if len(done) >= len(queries):
        return
    done = done[: len(done) // BATCH * BATCH]
    _write(done, file)
    teacher.prepare()
    with file.open("a", encoding="utf-8") as opened:
        for start in range(len(done), len(queries), BATCH):
            if deadline is not None and time.monotonic() > deadline:
                raise TrainingError(
                    "the time limit came before the teacher was done"
                ) from TimeoutError()
            batch = queries[start : start + BATCH]
            began = time.perf_counter()
            answers = teacher.answer_many(batch)
            each = (time.perf_counter() - began) / len(batch)
            for answer in answers:
                plain = {"text": answer.text, "valid": answer.valid and answer.error is None}
                line = json.dumps(
                    plain | {"error": answer.error, "seconds": each}, ensure_ascii=False
                )
                opened.write(line + "\n")
            opened.flush()


def _check(answers: Sequence[Json], file: Path) -> None:
    """Refuse a teacher that failed too often, and forget what came from its first failure on."""
    failed = [number for number, answer in enumerate(answers) if answer["error"] is not None]
    if len(failed) <= FAILED * len(answers):
        return
    _write(answers[: failed[0] // BATCH * BATCH], file)
    raise TrainingError(
        f"the teacher failed on {len(failed)} of {len(answers)} inputs, first with: "
        f"{answers[failed[0]]['error']}. Weigh again to go on from there"
    )


def _write(answers: Sequence[Json], file: Path) -> None:
    lines = "".join(json.dumps(answer, ensure_ascii=False) + "\n" for answer in answers)
    file.write_text(lines, encoding="utf-8")


def _read(file: Path) -> list[Json]:
    """The whole lines of a file of answers; a kill may have cut off the last."""
    text = file.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
