"""What the training child does with a job, called in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard.core import ModelSpec, Weights
from steelyard.errors import TrainingError
from steelyard.models import Sampling, loading
from steelyard.training import Job, TrainingRow, worker
from tiny import WORDS, ask, open_in_float32


@pytest.fixture
def backend(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model, which is also what the worker opens."""
    backend = open_in_float32(tiny_folder)
    monkeypatch.setattr(worker, "open_backend", lambda _: backend)
    return backend


def job(backend: Any, texts: list[str]) -> Job:
    weights = Weights("lora", rank=2, alpha=4, epochs=2, batch_size=8)
    rows = tuple(TrainingRow(ask(text), "fee", f"g{i}") for i, text in enumerate(texts))
    return Job(ModelSpec("tiny", "tiny"), backend.fingerprint, weights, 0, rows)


def train(given: Job, folder: Path) -> Any:
    return worker._train_model(given, folder, folder / "result", lambda _: None)


def test_the_curve_says_what_was_trained_on(backend: Any, tmp_path: Path) -> None:
    curve = train(job(backend, [*WORDS, *WORDS, *WORDS]), tmp_path)
    assert (curve["num_rows"], curve["num_held_out"], curve["num_too_long"]) == (25, 8, 0)
    assert [point["epoch"] for point in curve["points"]][-1] == 2
    assert all(point["held_out_loss"] > 0 for point in curve["points"])
    assert curve["stopped"] == "after 2 epochs"
    assert backend.adapted(tmp_path / "result").adapter is not None


def test_rows_that_do_not_fit_the_context_are_counted_and_left_out(
    backend: Any, tmp_path: Path
) -> None:
    curve = train(job(backend, ["card", "why " * 300, "fee"]), tmp_path)
    assert (curve["num_rows"], curve["num_held_out"], curve["num_too_long"]) == (2, 0, 1)


def test_no_row_that_fits_is_an_error(backend: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no training row fits the model's context of 256"):
        train(job(backend, ["why " * 300]), tmp_path)


def test_a_target_longer_than_the_context_is_counted_and_left_out(
    backend: Any, tmp_path: Path
) -> None:
    given = job(backend, ["card", "fee"])
    long = replace(given.rows[0], target="why " * 300)
    curve = train(replace(given, rows=(long, given.rows[1])), tmp_path)
    assert (curve["num_rows"], curve["num_too_long"]) == (1, 1)


def test_no_row_at_all_is_an_error(backend: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no row to learn from"):
        train(job(backend, []), tmp_path)


def test_an_empty_target_is_learned_as_an_answer_that_ends_at_once(
    backend: Any, tmp_path: Path
) -> None:
    given = job(backend, WORDS[:4])
    weights = replace(given.weights, epochs=30, learning_rate=2e-2)
    rows = tuple(replace(row, target="") for row in given.rows)
    train(replace(given, weights=weights, rows=rows), tmp_path)
    answers = backend.adapted(tmp_path / "result").generate([ask(WORDS[0])], Sampling(8))
    assert [(answer.text, answer.complete) for answer in answers] == [("", True)]


def test_full_weights_come_as_a_model_that_the_backend_serves(
    backend: Any, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "number_type", lambda: torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    given = job(backend, WORDS[:4])
    curve = train(replace(given, weights=Weights("full", epochs=2, batch_size=4)), tmp_path)
    assert (curve["trouble"], curve["halved"], curve["stopped"]) == (None, 0, "after 2 epochs")
    served = open_in_float32(tiny_folder).adapted(tmp_path / "result")
    prompts = [ask(word) for word in WORDS]
    assert served.generate(prompts, Sampling(8)) == backend.generate(prompts, Sampling(8))


def test_a_model_that_changed_since_is_an_error(backend: Any, tmp_path: Path) -> None:
    changed = replace(job(backend, ["card"]), fingerprint="another")
    with pytest.raises(TrainingError, match='model "tiny" changed since the job was made'):
        train(changed, tmp_path)
