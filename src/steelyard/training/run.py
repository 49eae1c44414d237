"""Starting the training child, watching it, and taking over its result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from steelyard.core import Json
from steelyard.errors import TrainingError
from steelyard.training.job import (
    CURVE_FILE,
    PROGRESS_FILE,
    RESULT_FOLDER,
    Progress,
    Trained,
)

POLL_SECONDS = 0.2
STDERR_FILE = "stderr.txt"
SECONDS_FILE = "seconds.json"
SAID_CHARACTERS = 500


class Written(Protocol):
    """A job that the child can read from a folder: a `Job`, or a `ScratchJob`."""

    def write(self, folder: Path) -> None: ...


def train_in_child(
    job: Written,
    folder: Path,
    *,
    log: Callable[[Progress], None] = lambda _: None,
    deadline: float | None = None,
    until: float = 1.0,
    wanted: Callable[[], bool] = lambda: True,
) -> Trained:
    """Train `job` in a child process, continuing from whatever an earlier one left in `folder`.

    After the share `until` of the last stage's steps the training pauses, and what comes back are
    the best weights so far: a later call goes on, to the weights that one without a pause ends
    with. A training that was further already is not thrown back, but goes on to its end.

    `deadline` is a `time.monotonic()` after which the child is stopped, and so it is when it is
    not `wanted` any more; its checkpoints stay.

    Raises:
        TrainingError: the child ended without weights, or was stopped (the cause of a deadline
        that passed is a TimeoutError).
    """
    result = folder / RESULT_FOLDER
    if result.is_dir() and not is_whole(_curve(result)):
        shutil.rmtree(result)  # of a pause, perhaps another one
    if not result.is_dir():
        job.write(folder)
        _run(folder, log, deadline, until, wanted)
    return Trained(result, _curve(result), _spent(folder))


def is_whole(curve: Json) -> bool:
    """Whether a training ended, by itself or after all its steps, and did not only pause."""
    return bool(curve["stopped"])


def last_step(folder: Path) -> int | None:
    """The step that the training left in a folder goes on from; None: from its beginning."""
    steps = [int(one.name.removeprefix("step-")) for one in folder.glob("*/checkpoints/step-*")]
    return max(steps, default=None)


def _curve(result: Path) -> Json:
    return json.loads((result / CURVE_FILE).read_text(encoding="utf-8"))


def _run(
    folder: Path,
    log: Callable[[Progress], None],
    deadline: float | None,
    until: float,
    wanted: Callable[[], bool],
) -> None:
    progress = folder / PROGRESS_FILE
    seen = progress.stat().st_size if progress.exists() else 0
    before, started = _spent(folder), time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with (folder / STDERR_FILE).open("wb") as stderr:
        child = subprocess.Popen(  # noqa: S603  our own module, no shell
            [sys.executable, "-m", "steelyard.training.worker", str(folder), str(until)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment,
        )
    try:
        while child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(POLL_SECONDS)
            seen = _follow(progress, seen, log)
            now = time.monotonic()
            # Written as it goes, so that a killed run's time is not forgotten.
            (folder / SECONDS_FILE).write_text(json.dumps(before + now - started))
            if deadline is not None and now > deadline:
                raise TrainingError(
                    "the time limit came before the training was done"
                ) from TimeoutError()
            if not wanted():
                raise TrainingError("the training was stopped before it was done")
        _follow(progress, seen, log)
    finally:
        child.kill()
        child.communicate()  # waits for its end and closes its standard input
    if child.returncode != 0 or not (folder / RESULT_FOLDER).is_dir():
        lines = (folder / STDERR_FILE).read_text(errors="replace").strip().splitlines()
        said = lines[-1][:SAID_CHARACTERS] if lines else f"nothing, exit code {child.returncode}"
        raise TrainingError(f"the training process failed; it said: {said}")


def _follow(progress: Path, seen: int, log: Callable[[Progress], None]) -> int:
    """Report the whole lines written since byte `seen`; returns where they end."""
    if not progress.exists():
        return seen
    with progress.open("rb") as file:
        file.seek(seen)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    for line in whole.splitlines():
        log(Progress(**json.loads(line)))
    return seen + len(whole)


def _spent(folder: Path) -> float:
    try:
        seconds = json.loads((folder / SECONDS_FILE).read_text())
    except (OSError, ValueError):
        return 0.0
    return float(seconds)
