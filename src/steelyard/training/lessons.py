"""A job's rows → what each of its stages learns.

documents, inputs    texts                    →  blocks, and some of the base's own text
examples             prompts and targets      →  the targets
teacher              … and fuller prompts     →  the targets, and what the base makes of them
preferences          … and rejected answers   →  pairs
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from steelyard.core import Objective, Weights
from steelyard.errors import TrainingError
from steelyard.models import Prompt
from steelyard.models.decoder import Decoder
from steelyard.models.torch_backend import TorchBackend
from steelyard.training import documents, replay, teacher
from steelyard.training.batches import Encoded
from steelyard.training.job import PAIR_EPOCHS, Job, TrainingRow, held_out_rows
from steelyard.training.objective import Examples, Lesson
from steelyard.training.preferences import Pair, Preferences

# A stage that moves what is learned already goes more slowly.
# Source: ours, docs/log/2026-11-26-objectives.md
SLOWER: dict[Objective, float] = {"preferences": 0.05}

Counts = dict[str, Any]
Made = TypeVar("Made")


def prepare(
    job: Job, stage: Objective, backend: TorchBackend, folder: Path
) -> tuple[Lesson[Any], Counts]:
    """The lesson of a stage, and how many rows there are of which kind.

    What the base must be asked for first is kept in `folder` as it comes.

    Raises:
        TrainingError: there is nothing to learn from.
    """
    rows = job.stage_rows(stage)
    if not rows:
        raise TrainingError(
            f"there is no row to learn from: {stage} needs at least one. Leave this recipe out, or "
            "give the task what it needs (docs/task-file.md)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    return _MAKERS[stage](job, rows, backend, folder)


def begin(lesson: Lesson[Any], decoder: Decoder) -> tuple[Lesson[Any], Counts]:
    """A lesson as it is just before its first step, and what can be told before it."""
    objective = lesson.objective
    if not isinstance(objective, Preferences):
        return lesson, {}
    rows, held_out = (objective.referred(decoder, own) for own in (lesson.rows, lesson.held_out))
    before = [pair.reference > 0 for pair in held_out]
    share = {"preference_accuracy_before": sum(before) / len(before)} if before else {}
    return replace(lesson, rows=rows, held_out=held_out), share


def weights_of(weights: Weights, stage: Objective) -> Weights:
    """The numbers of one stage. Preferences that follow another stage are gone over once."""
    rate = weights.peak_learning_rate * SLOWER.get(stage, 1.0)
    later = stage == "preferences" and weights.learn[0] != stage
    return replace(weights, learning_rate=rate, epochs=PAIR_EPOCHS if later else weights.epochs)


# ---------------------------------------------------------------- texts


def _texts(
    job: Job, rows: Sequence[TrainingRow], backend: TorchBackend, folder: Path
) -> tuple[Lesson[Encoded], Counts]:
    """Documents are all read: one that is held out would tell when others begin to be known, and
    that is when training on them begins to be worth it. Of inputs some are held out."""
    held = [False] * len(rows)
    if rows[0].stage == "inputs":
        held = held_out_rows(rows, job.seed)
    kept: list[list[Encoded]] = [[], []]
    for out in (False, True):
        texts = [row.target for row, own in zip(rows, held, strict=True) if own == out]
        if texts or not out:
            kept[out] = documents.read(texts, backend.renderer, backend.context_tokens)
    read, held_out = kept
    wanted = replay.num_texts(job.weights.replay_share, read)
    replayed = replay.write(backend, wanted, seed=job.seed, file=folder / "replay.json")
    counts = {"num_rows": len(read), "num_held_out": len(held_out), "num_too_long": 0}
    lesson = Lesson(Examples(), [*read, *replayed], held_out)
    return lesson, {**counts, "num_replayed": len(replayed)}


# ---------------------------------------------------------------- prompts


def _examples(
    job: Job, rows: Sequence[TrainingRow], backend: TorchBackend, _folder: Path
) -> tuple[Lesson[Encoded], Counts]:
    def encode(row: TrainingRow) -> Encoded:
        return _encoded(backend, row.prompt, row.target)

    kept, counts = _split(job, rows, backend, encode, len)
    return Lesson(Examples(), *kept), counts


def _teacher(
    job: Job, rows: Sequence[TrainingRow], backend: TorchBackend, folder: Path
) -> tuple[Lesson[Any], Counts]:
    """From the teacher's distribution where the base is its own teacher; else from its answers."""
    if any(row.taught_by is None for row in rows):
        return _examples(job, rows, backend, folder)

    def encode(row: TrainingRow) -> tuple[Encoded, Encoded]:
        student, own = (
            _encoded(backend, prompt, row.target) for prompt in (row.prompt, row.taught_by or ())
        )
        return student, own

    kept, counts = _split(job, rows, backend, encode, lambda pair: max(map(len, pair)))
    decoder = backend.loaded.decoder
    decoder.switch.active = None
    learned, held_out = (
        teacher.taught(decoder, own, folder / name)
        for own, name in zip(kept, ("teacher", "teacher-held-out"), strict=True)
    )
    return Lesson(teacher.Teacher(), learned, held_out), counts


def _preferences(
    job: Job, rows: Sequence[TrainingRow], backend: TorchBackend, _folder: Path
) -> tuple[Lesson[Pair], Counts]:
    def encode(row: TrainingRow) -> Pair:
        assert row.rejected is not None
        return Pair(
            _encoded(backend, row.prompt, row.target), _encoded(backend, row.prompt, row.rejected)
        )

    kept, counts = _split(
        job, rows, backend, encode, lambda pair: max(len(pair.chosen), len(pair.rejected))
    )
    return Lesson(Preferences(job.beta), *kept), counts


def _encoded(backend: TorchBackend, prompt: Prompt, target: str) -> Encoded:
    return Encoded(backend.renderer.prompt_ids(prompt), backend.renderer.target_ids(target))


def _split(
    job: Job,
    rows: Sequence[TrainingRow],
    backend: TorchBackend,
    encode: Callable[[TrainingRow], Made],
    longest: Callable[[Made], int],
) -> tuple[tuple[list[Made], list[Made]], Counts]:
    """The rows that fit the model's context, learned and held out, and how many there are."""
    held = held_out_rows(rows, job.seed)
    kept: tuple[list[Made], list[Made]] = ([], [])
    for row, out in zip(rows, held, strict=True):
        encoded = encode(row)
        if longest(encoded) <= backend.context_tokens:
            kept[out].append(encoded)
    if not kept[0]:
        raise TrainingError(
            f"no training row fits the model's context of {backend.context_tokens} tokens; "
            "shorten the inputs or name a base model with a longer context"
        )
    num_rows, num_held_out = map(len, kept)
    return kept, {
        "num_rows": num_rows,
        "num_held_out": num_held_out,
        "num_too_long": len(rows) - num_rows - num_held_out,
    }


_MAKERS: dict[Objective, Callable[..., tuple[Lesson[Any], Counts]]] = {
    "documents": _texts,
    "inputs": _texts,
    "examples": _examples,
    "teacher": _teacher,
    "preferences": _preferences,
}
