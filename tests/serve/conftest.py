"""A home folder with published releases, and servers over it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import steelyard
from fake_tasks import write_task
from servers import Running, running
from steelyard.lifecycle import publish, weigh
from steelyard.serve.service import Settings
from steelyard.tasks import load_task


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home in which a text, a JSON and a label task are published; copy it."""
    folder = tmp_path_factory.mktemp("published")
    for kind in ("text", "json", "label"):
        path = write_task(folder / kind, kind)
        text = path.read_text(encoding="utf-8").replace('"small"', f'"{kind}"')
        path.write_text(text, encoding="utf-8")
        task = load_task(path)
        weigh(task, home=folder / "home", recipes=["nearest-shot", "few-shot"])
        for recipe in ("few-shot", "nearest-shot"):
            publish(task, home=folder / "home", recipe=recipe)
    return folder


@pytest.fixture
def home(published: Path, tmp_path: Path) -> Path:
    """A home folder of this test alone."""
    shutil.copytree(published / "home", tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[..., Running]]:
    """Starts a server over the home; it ends with the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(home, Settings(**settings)))


@pytest.fixture(scope="module")
def shared(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for the tests of a file that leave nothing behind which another would see."""
    home = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(published / "home", home)
    with running(home, Settings(bases=("slow=fake:3000",))) as found:
        yield found


@pytest.fixture
def tidied(shared: Running) -> Iterator[Running]:
    """The same server; what a test uploads to it is deleted after the test."""
    yield shared
    with shared.client() as client:
        for store in list(client.vector_stores.list()):
            client.vector_stores.delete(store.id)
        for file in list(client.files.list()):
            client.files.delete(file.id)


@pytest.fixture
def process(home: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Running]]]:
    """The command itself, as a process of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> tuple[subprocess.Popen[bytes], Running]:
        command = [sys.executable, "-m", "steelyard.cli.main", "serve", "--port", "0"]
        ran = subprocess.Popen(
            [*command, "--home", str(home), "--json", "-", *options],
            env={**os.environ, "PYTHONPATH": str(Path(steelyard.__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        started.append(ran)
        assert ran.stdout is not None
        said = b""
        while b"\n}" not in said:
            line = ran.stdout.readline()
            assert line, "it ended before it answered"
            said += line
        port = int(json.loads(said)["url"].rpartition(":")[2])
        return ran, Running(None, None, port)  # type: ignore[arg-type]

    yield start
    for ran in started:
        ran.kill()
        ran.communicate()
