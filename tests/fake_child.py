"""The training child, run in this process: a Python for each would take longer than all else, and
one with torch longer than a tiny model needs to learn. That of the fake is, unless a test asks for
more. Real children are in tests/training and in lifecycle/test_interruptions.py."""

from __future__ import annotations

import io
import json
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from steelyard.models import opening
from steelyard.training import run, worker
from steelyard.training.job import JOB_FILE

COMMAND = ["-m", "steelyard.training.worker"]


class Ended:
    """A child that is done."""

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def poll(self) -> int:
        return self.returncode

    def kill(self) -> None: ...

    def communicate(self) -> None: ...


def starting(popen: Callable[..., Any], *, source: str) -> Callable[..., Any]:
    """What stands in for Popen: the jobs of a home folder that train this source run here."""

    def start(command: Sequence[str], **settings: Any) -> Any:
        if list(command[1:3]) != COMMAND or not _trains(Path(command[3]), source):
            return popen(command, **settings)
        folder, began, said = Path(command[3]), time.monotonic(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
            patch.setenv("WORLD_SIZE", "1")  # nobody watches over its standard input
            patch.setattr(opening, "_loaded", {})  # what it learns is nobody else's
            code = worker.main(folder, *map(float, command[4:]))
        settings["stderr"].write(said.getvalue().encode())
        (folder / run.SECONDS_FILE).write_text(json.dumps(time.monotonic() - began))
        return Ended(code)

    return start


def _trains(folder: Path, source: str) -> bool:
    job = folder / JOB_FILE
    if folder.parent.name != "jobs" or not job.is_file():
        return False
    return bool(json.loads(job.read_text(encoding="utf-8"))["model"]["source"] == source)


def patched(patch: pytest.MonkeyPatch, *, source: str = "fake") -> None:
    patch.setattr(run.subprocess, "Popen", starting(subprocess.Popen, source=source))
