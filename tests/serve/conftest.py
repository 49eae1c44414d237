"""A home folder with published releases, and servers over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

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
