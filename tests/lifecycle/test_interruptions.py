"""`kill -9` at any moment: the same command goes on, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import steelyard
from fake_tasks import rows_of, stored, trials, without_times, write_task
from steelyard.lifecycle import weigh
from steelyard.models import fake
from steelyard.tasks import load_task

SLOW = "fake:20"  # 20 ms an answer: every step lasts long enough to be hit
PATIENCE_SECONDS = 240.0  # for what takes a few on an idle machine
POLL_SECONDS = 0.02


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = write_task(tmp_path, "text", rows=rows_of("text", 90), model=SLOW)
    shares = path.read_text().replace("[output]", "split = [0.3, 0.35, 0.35]\n\n[output]")
    path.write_text(shares)
    return path


@pytest.fixture
def start() -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    """Starts the user's command in a process of its own; none outlives the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(path: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "steelyard.cli.main", "weigh", path.name, "--json", "out.json"],
            cwd=path.parent,
            env={**os.environ, "PYTHONPATH": str(Path(steelyard.__file__).parents[1])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=heed_ctrl_c,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with process:  # closes its pipe and waits for it
            process.kill()


def heed_ctrl_c() -> None:
    """What a shell starts in the background ignores SIGINT, and hands that down to its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def has(recipe: str, split: str, count: int = 1) -> Callable[[Path], bool]:
    def reached(home: Path) -> bool:
        return trials(home, split).get(recipe, 0) >= count

    return reached


def training(home: Path) -> bool:
    return any((home / "jobs").glob("*/progress.jsonl"))


def opened(home: Path) -> bool:
    return bool(trials(home, "test"))


MOMENTS: list[tuple[str, Callable[[Path], bool]]] = [
    ("the first rows are there", lambda home: bool(stored(home))),
    ("zero-shot is on dev", has("zero-shot", "dev")),
    ("nearest-shot is on dev", has("nearest-shot", "dev")),
    ("lora is training", training),
    ("the test split is open", opened),
]


@pytest.mark.parametrize(
    "moments", [MOMENTS[3:4], pytest.param(MOMENTS, marks=pytest.mark.slow)], ids=["one", "five"]
)
def test_a_run_killed_at_moments_ends_with_the_verdict_of_an_uninterrupted_one(
    path, start, monkeypatch, moments
):
    rng = random.Random(5)
    home = path.parent / ".steelyard"
    killed, kept = [], {}
    for moment, reached in moments:
        process = start(path)
        waited = time.monotonic()
        while process.poll() is None and not reached(home):
            assert time.monotonic() - waited < PATIENCE_SECONDS, moment
            time.sleep(POLL_SECONDS)
        time.sleep(rng.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        _, said = process.communicate()
        assert process.returncode in (-signal.SIGKILL, 0), said.decode()
        killed.append(process.returncode == -signal.SIGKILL)
        now = stored(home)
        assert kept.items() <= now.items(), f"a finished row changed after: {moment}"
        kept = now
        assert not (path.parent / "out.json").exists()
    assert killed.count(True) >= len(moments) - 1

    process = start(path)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said.decode()
    assert kept.items() <= stored(home).items()
    resumed = json.loads((path.parent / "out.json").read_text(encoding="utf-8"))

    monkeypatch.setattr(fake.time, "sleep", lambda _: None)
    whole: Any = weigh(load_task(path), home=path.parent / "another").to_json()
    assert without_times(resumed) == without_times(whole)
    assert resumed["test_looks"] == 2
    assert {key[1:] for key in stored(home)} == {key[1:] for key in stored(path.parent / "another")}
    assert not list((home / "jobs").iterdir())


def test_ctrl_c_leaves_what_is_done_and_says_that_the_same_command_goes_on(path, start):
    home = path.parent / ".steelyard"
    process = start(path)
    waited = time.monotonic()
    while process.poll() is None and not has("zero-shot", "dev")(home):
        assert time.monotonic() - waited < PATIENCE_SECONDS
        time.sleep(POLL_SECONDS)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert said.decode().strip() == "interrupted; the same command goes on from here"
    assert has("zero-shot", "dev")(home)
