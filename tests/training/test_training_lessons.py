"""Stages of one training, called in this process: what each learns from, and in which order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard.core import ModelSpec, Objective, Weights
from steelyard.errors import TrainingError
from steelyard.training import (
    PAIR_EPOCHS,
    Job,
    Progress,
    TrainingRow,
    learner,
    lessons,
    loop,
    replay,
    worker,
)
from steelyard.training.teacher import Teacher
from tiny import WORDS, ask, open_in_float32, some_texts

WEIGHTS = Weights("lora", rank=2, alpha=4, epochs=2, batch_size=8, learning_rate=1e-2)
ALL: tuple[Objective, ...] = ("documents", "inputs", "examples", "teacher", "preferences")


@pytest.fixture
def backend(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model, which is also what the worker opens."""
    backend = open_in_float32(tiny_folder)
    monkeypatch.setattr(worker, "open_backend", lambda _: backend)
    monkeypatch.setattr(replay, "TEXT_TOKENS", 12)
    return backend


def rows_of(stage: Objective, count: int) -> list[TrainingRow]:
    texts = some_texts(count, seed=ALL.index(stage))
    if stage in ("documents", "inputs"):
        return [TrainingRow((), text, f"g{n}", stage) for n, text in enumerate(texts)]
    rows = []
    for number, text in enumerate(texts):
        target = WORDS[number % 5]
        more: dict[str, Any] = {
            "teacher": {"taught_by": ask(text, "fee card")},
            "preferences": {"rejected": f"{target} {target}"},
        }.get(stage, {})
        rows.append(TrainingRow(ask(text), target, f"g{number}", stage, **more))
    return rows


def job(backend: Any, *stages: Objective, count: int = 24, **numbers: Any) -> Job:
    weights = dataclasses.replace(WEIGHTS, learn=stages, **numbers)
    rows = tuple(row for stage in stages for row in rows_of(stage, count))
    return Job(ModelSpec("tiny", "tiny"), backend.fingerprint, weights, 0, rows)


def train(given: Job, folder: Path, log: Callable[[Progress], None] = lambda _: None) -> Any:
    (folder / "result").mkdir(parents=True, exist_ok=True)
    return worker._train_model(given, folder, folder / "result", log)


def learned(backend: Any) -> dict[str, torch.Tensor]:
    return learner.lora.tensors(backend.loaded.decoder.model, learner.ADAPTER)


def test_a_job_of_every_stage_reads_back_as_it_was_written(tmp_path: Path, backend: Any) -> None:
    given = job(backend, *ALL)
    given.write(tmp_path)
    assert Job.read(tmp_path) == given
    assert Job.read(tmp_path).key == given.key


def test_the_key_covers_what_each_stage_learns_from(backend: Any) -> None:
    given = job(backend, "teacher", count=2)
    first, second = given.rows
    changed = [
        dataclasses.replace(given, rows=(dataclasses.replace(first, **change), second))
        for change in ({"stage": "examples"}, {"taught_by": ask("?")}, {"rejected": "no"})
    ]
    assert len({given.key, *(other.key for other in changed)}) == 4


def test_every_stage_has_its_curve_in_the_order_in_which_they_were_learned(
    backend: Any, tmp_path: Path
) -> None:
    curve = train(job(backend, *ALL), tmp_path)
    assert [own["stage"] for own in [*curve["earlier"], curve]] == list(ALL)
    assert all(own["points"] for own in [*curve["earlier"], curve])


def test_each_stage_goes_on_from_the_one_before(
    backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, torch.Tensor]] = []
    ended: list[dict[str, torch.Tensor]] = []
    loop_train = loop.train

    def watched(learning: Any, *args: Any, **more: Any) -> Any:
        begun.append(learning.tensors())
        state = loop_train(learning, *args, **more)
        ended.append(learning.tensors())
        return state

    monkeypatch.setattr(loop, "train", watched)
    train(job(backend, "documents", "examples"), tmp_path)
    assert all(torch.equal(ended[0][key], begun[1][key]) for key in ended[0])
    assert any(not torch.equal(begun[0][key], begun[1][key]) for key in begun[0])
    assert any(not torch.equal(ended[0][key], ended[1][key]) for key in ended[0])


def test_documents_are_all_read_and_of_inputs_some_are_held_out(
    backend: Any, tmp_path: Path
) -> None:
    curve = train(job(backend, "documents", "inputs", replay_share=0.0), tmp_path)
    [documents] = curve["earlier"]
    assert (documents["num_rows"], documents["num_held_out"]) == (24, 0)
    assert documents["points"][-1]["held_out_loss"] is None
    assert (curve["num_rows"], curve["num_held_out"]) == (16, 8)
    assert curve["points"][-1]["held_out_loss"] > 0
    assert curve["num_replayed"] == 0


def test_a_share_of_what_is_read_is_the_bases_own(backend: Any, tmp_path: Path) -> None:
    given = job(backend, "documents", replay_share=0.5)
    lesson, counts = lessons.prepare(given, "documents", backend, tmp_path)
    documents, own = lesson.rows[:24], lesson.rows[24:]
    assert counts["num_replayed"] == len(own)
    tokens = sum(len(block.target) for block in documents)
    assert 12 * len(own) == pytest.approx(tokens, abs=12)


def test_preferences_report_what_was_preferred_before_and_after(
    backend: Any, tmp_path: Path
) -> None:
    curve = train(job(backend, "examples", "preferences"), tmp_path)
    assert 0 <= curve["preference_accuracy_before"] <= 1
    assert set(curve["points"][-1]) >= {"preference_accuracy", "reward_accuracy", "held_out_loss"}


def test_preferences_after_another_stage_are_gone_over_once_and_slowly() -> None:
    both = Weights("lora", learn=("examples", "preferences"), epochs=4)
    first, then = (lessons.weights_of(both, stage) for stage in both.learn)
    assert (first.epochs, then.epochs) == (4, PAIR_EPOCHS)
    assert then.peak_learning_rate < first.peak_learning_rate == both.peak_learning_rate
    alone = Weights("lora", learn=("preferences",), epochs=4)
    assert lessons.weights_of(alone, "preferences").epochs == 4


def test_a_teacher_of_another_model_teaches_by_its_answers_alone(
    backend: Any, tmp_path: Path
) -> None:
    given = job(backend, "teacher")
    lesson, _ = lessons.prepare(given, "teacher", backend, tmp_path / "own")
    assert isinstance(lesson.objective, Teacher)
    others = tuple(dataclasses.replace(row, taught_by=None) for row in given.rows)
    lesson, _ = lessons.prepare(
        dataclasses.replace(given, rows=others), "teacher", backend, tmp_path / "other"
    )
    assert isinstance(lesson.objective, lessons.Examples)


@pytest.mark.parametrize("stage", ALL)
def test_a_stage_without_rows_is_an_error_that_names_it(
    backend: Any, tmp_path: Path, stage: Objective
) -> None:
    with pytest.raises(TrainingError, match=f"there is no row to learn from: {stage} needs"):
        train(job(backend, stage, count=0), tmp_path)


@pytest.mark.parametrize("stage", ["examples", "teacher", "preferences"])
def test_a_row_that_does_not_fit_is_left_out_and_counted(
    backend: Any, tmp_path: Path, stage: Objective
) -> None:
    given = job(backend, stage, count=4)
    long = dataclasses.replace(given.rows[0], prompt=ask("why " * 300))
    curve = train(dataclasses.replace(given, rows=(long, *given.rows[1:])), tmp_path)
    assert (curve["num_rows"], curve["num_too_long"]) == (3, 1)


class StoppedError(Exception):
    """What stands in for a kill."""


def test_stages_that_are_killed_end_as_they_would_have(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "TEXT_TOKENS", 12)
    results = []
    for stops in (None, 2, 14):
        backend = open_in_float32(tiny_folder)
        given = job(backend, "documents", "examples", "preferences")
        folder = tmp_path / str(stops)
        if stops is not None:
            left = iter(range(stops))

            def log(_: Progress, left: Any = left) -> None:
                if next(left, None) is None:
                    raise StoppedError

            monkeypatch.setattr(worker, "open_backend", lambda _, b=backend: b)
            with pytest.raises(StoppedError):
                train(given, folder, log)
            backend = open_in_float32(tiny_folder)
        monkeypatch.setattr(worker, "open_backend", lambda _, b=backend: b)
        curve = train(given, folder)
        results.append((curve, learned(backend)))
    (whole, ours), *others = results
    for resumed, theirs in others:
        assert resumed == whole
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
