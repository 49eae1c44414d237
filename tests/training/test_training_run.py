"""The training child with the fake, and once with a real model."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from steelyard.core import ModelSpec, Weights
from steelyard.errors import TrainingError
from steelyard.models import Sampling, open_backend, opening
from steelyard.models.fake import FakeBackend
from steelyard.training import (
    Job,
    Progress,
    TrainingRow,
    is_whole,
    learner,
    loop,
    run,
    train_in_child,
)
from steelyard.training.batches import Encoded
from steelyard.training.objective import Examples, Lesson
from tiny import WORDS, ask

ROWS = tuple(TrainingRow(ask(f"row {i}"), f"target {i}", f"g{i}") for i in range(24))


def fake_job(source: str = "fake:5", *, epochs: int = 3) -> Job:
    """24 rows, 8 of them held out: an epoch of "fake:5" takes 80 ms."""
    spec = ModelSpec("mine", source)
    return Job(spec, FakeBackend().fingerprint, Weights("lora", epochs=epochs), 0, ROWS)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes started so far."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*args: Any, **kwargs: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(run.subprocess, "Popen", start)
    return started


def killing(children: list[subprocess.Popen[bytes]], *, at_step: int) -> Callable[[Progress], None]:
    def log(progress: Progress) -> None:
        if progress.step >= at_step:
            children[-1].send_signal(signal.SIGKILL)

    return log


def test_a_child_gives_weights_a_curve_and_the_time_it_took(
    tmp_path: Path, children: list[Any]
) -> None:
    seen: list[Progress] = []
    trained = train_in_child(fake_job(), tmp_path, log=seen.append)
    assert [progress.step for progress in seen] == [1, 2, 3]
    assert [point["step"] for point in trained.curve["points"]] == [1, 2, 3]
    assert (trained.curve["num_rows"], trained.curve["num_held_out"]) == (16, 8)
    assert trained.curve["stopped"] == "after 3 epochs"
    assert trained.seconds > 3 * 16 * 0.005
    learned = FakeBackend().adapted(trained.folder).learned
    assert len(learned) == 16
    assert set(learned) < {(f"row {i}", f"target {i}") for i in range(24)}

    again = train_in_child(fake_job(), tmp_path)
    assert again == trained
    assert len(children) == 1  # what is there is not trained again


def test_a_training_pauses_and_goes_on_and_a_pause_that_nobody_fetched_is_made_again(
    tmp_path: Path, children: list[Any]
) -> None:
    part = train_in_child(fake_job(), tmp_path, until=0.25)
    assert (part.curve["step"], part.curve["num_steps"], part.curve["stopped"]) == (1, 3, "")
    assert not is_whole(part.curve)
    assert len(FakeBackend().adapted(part.folder).learned) == 6  # of 16
    more = train_in_child(fake_job(), tmp_path, until=0.5)
    assert more.curve["step"] == 2
    whole = train_in_child(fake_job(), tmp_path, until=0.5 + 0.5)
    assert is_whole(whole.curve)
    assert len(FakeBackend().adapted(whole.folder).learned) == 16
    assert train_in_child(fake_job(), tmp_path, until=0.25) == whole
    assert len(children) == 3


def test_after_a_kill_the_same_call_finishes(tmp_path: Path, children: list[Any]) -> None:
    job = fake_job(epochs=8)  # long enough to be seen at work
    with pytest.raises(TrainingError, match="it said: nothing, exit code -9"):
        train_in_child(job, tmp_path, log=killing(children, at_step=1))
    before = json.loads((tmp_path / run.SECONDS_FILE).read_text())
    seen: list[Progress] = []
    trained = train_in_child(job, tmp_path, log=seen.append)
    assert [progress.step for progress in seen] == [*range(1, 9)]  # none of the first child's
    assert trained.curve["best_step"] == 8
    assert trained.seconds > before + 8 * 16 * 0.005  # the time of both


def test_half_a_line_of_a_killed_child_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text('{"step": 1, "num_st')
    seen: list[Progress] = []
    train_in_child(fake_job("fake"), tmp_path, log=seen.append)
    assert [progress.step for progress in seen] == [1, 2, 3]


def test_the_child_ends_when_its_parent_is_gone(tmp_path: Path) -> None:
    fake_job("fake:60000").write(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-m", "steelyard.training.worker", str(tmp_path)], stdin=subprocess.PIPE
    )
    deadline = time.monotonic() + 20
    while not (tmp_path / "progress.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child.poll() is None
    assert child.stdin is not None
    child.stdin.close()  # as the system does for a parent that was killed
    assert child.wait(timeout=20) == 1
    assert not (tmp_path / "result").exists()


def test_a_failed_child_is_an_error_with_its_last_line(tmp_path: Path) -> None:
    (tmp_path / ".result").write_text("in the way")
    with pytest.raises(TrainingError, match="the training process failed; it said: FileExistsErr"):
        train_in_child(fake_job(), tmp_path)


def test_a_deadline_stops_the_child_and_says_so(tmp_path: Path, children: list[Any]) -> None:
    with pytest.raises(TrainingError, match="the time limit came before") as caught:
        train_in_child(fake_job("fake:60000"), tmp_path, deadline=time.monotonic() + 0.3)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert children[0].poll() == -signal.SIGKILL
    assert json.loads((tmp_path / run.SECONDS_FILE).read_text()) >= 0.3


def test_a_training_that_is_not_wanted_any_more_is_stopped(
    tmp_path: Path, children: list[Any]
) -> None:
    asked: list[bool] = []

    def wanted() -> bool:
        asked.append(True)
        return len(asked) < 2

    with pytest.raises(TrainingError, match="was stopped before it was done"):
        train_in_child(fake_job("fake:60000"), tmp_path, wanted=wanted)
    assert children[0].poll() == -signal.SIGKILL


def test_the_step_that_a_training_goes_on_from_is_that_of_its_last_checkpoint(tmp_path: Path):
    assert run.last_step(tmp_path) is None
    for name in ("0-examples/checkpoints/step-00000009", "0-examples/checkpoints/step-00000012"):
        (tmp_path / name).mkdir(parents=True)
    assert run.last_step(tmp_path) == 12


def test_an_interrupt_takes_the_child_with_it(tmp_path: Path, children: list[Any]) -> None:
    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_child(fake_job(epochs=50), tmp_path, log=interrupt)
    assert children[0].poll() == -signal.SIGKILL


@pytest.mark.slow
def test_a_real_child_that_was_killed_ends_as_training_in_one_go_would(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children: list[Any],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a GPU need not add up in the same order twice
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(opening, "_loaded", {})
    spec = ModelSpec("tiny", str(tiny_folder))
    base: Any = open_backend(spec)
    weights = Weights("lora", rank=4, alpha=8, learning_rate=2e-2, epochs=20, batch_size=2)
    pairs = list(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True))
    rows = tuple(TrainingRow(ask(a), b, a) for a, b in pairs)
    job = Job(spec, base.fingerprint, weights, 3, rows)

    with pytest.raises(TrainingError, match="exit code -9"):
        train_in_child(job, tmp_path, log=killing(children, at_step=4))
    assert list(tmp_path.glob("*/checkpoints/step-*"))
    seen: list[Progress] = []
    trained = train_in_child(job, tmp_path, log=seen.append)
    assert len(children) == 2
    assert seen[0].step > 1
    assert trained.curve["num_too_long"] == trained.curve["num_held_out"] == 0

    shown = base.renderer
    encoded = [Encoded(shown.prompt_ids(r.prompt), shown.target_ids(r.target)) for r in rows]
    state = loop.train(
        learner.begin(base.loaded.decoder, weights, seed=3),
        Lesson(Examples(), encoded),
        weights=weights,
        seed=3,
        folder=tmp_path / "in_one_go",
        log=lambda _: None,
    )
    assert trained.curve["points"] == state.points
    child, here = base.adapted(trained.folder), open_backend(spec)
    here.adapter = learner.ADAPTER  # type: ignore[attr-defined]
    prompts = [row.prompt for row in rows]
    assert child.generate(prompts, Sampling(8)) == here.generate(prompts, Sampling(8))
    assert child.fingerprint != base.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_child_killed_at_random_moments_ends_with_the_weights_of_one_that_was_not(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(opening, "_loaded", {})
    spec = ModelSpec("tiny", str(tiny_folder))
    weights = Weights(
        "lora", rank=4, alpha=8, dropout=0.2, learning_rate=2e-2, epochs=15, batch_size=2
    )
    rows = tuple(TrainingRow(ask(a), b, a) for a, b in zip(WORDS, WORDS[::-1], strict=True))
    job = Job(spec, open_backend(spec).fingerprint, weights, 3, rows)
    whole = train_in_child(job, tmp_path / "whole")

    chance = random.Random(seed)
    kills = 0
    broken = tmp_path / "broken"
    job.write(broken)
    while not (broken / "result").is_dir():
        child = subprocess.Popen(
            [sys.executable, "-m", "steelyard.training.worker", str(broken)],
            stdin=subprocess.PIPE,
        )
        begun = time.monotonic()
        while not list(broken.glob("*/checkpoints/.partial-*")) and child.poll() is None:
            time.sleep(0.001)
            if time.monotonic() - begun > 120:
                break
        time.sleep(chance.choice([0.0, 0.001, chance.uniform(0, 0.5)]))  # during a save, or later
        if kills < 4:
            child.kill()
            kills += 1
        child.wait(120)  # with its pipe open: a closed one would end it, each time anew
        child.communicate()
    again = train_in_child(job, broken)
    assert kills == 4
    assert again.curve == whole.curve
    name = "adapter_model.safetensors"
    assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()
