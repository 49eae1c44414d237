"""A release under a real llama.cpp: published, streamed, killed in the middle, and back again."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from fake_tasks import rows_of, write_task
from servers import Running, running
from steelyard.core import Serving, Task
from steelyard.lifecycle import find_release, open_home, open_release, publish, weigh
from steelyard.models import open_backend
from steelyard.recipes import build
from steelyard.serve.service import Settings
from steelyard.tasks import load_task
from steelyard.training import Trained
from tiny import write_adapter

INSTALLED = importlib.util.find_spec("xllamacpp") is not None
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="llama.cpp (extra llama) is not installed"),
]
CURVE = {"points": [], "best_step": 1, "stopped": "", "num_too_long": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model and a LoRA that no child had to learn, weighed and published."""
    folder = tmp_path_factory.mktemp("real")
    task = load_task(write_task(folder, model="default", rows=rows_of("label", 30, noise=0.0)))

    def trained(job: Any, place: Path, **_: Any) -> Trained:
        return Trained(write_adapter(place, open_backend(job.model), seed=1), CURVE, 1.0)

    home = folder / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[build.__module__], "train_in_child", trained)
        weigh(task, home=home, recipes=["few-shot", "lora"], exhaustive=True)
    lax = replace(task, tolerance=0.9)  # random weights; the figures are printed
    for recipe in ("few-shot", "lora"):
        publish(lax, home=home, name=recipe, recipe=recipe, serving=Serving("llama.cpp"))
    return folder


@pytest.fixture(scope="module")
def task(folder: Path) -> Task:
    return load_task(folder / "task.toml")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running(folder / "home", Settings(timeout_s=120.0)) as found:
        yield found


def process_of(server: Running) -> Any:
    """The child that is kept alive."""
    backend: Any = server.service.catalogue.plain["default"].backend
    return backend.model.process


def stream(server: Running, **more: Any) -> Iterator[str]:
    with server.client() as client:
        asked: Any = [{"role": "user", "content": "Tell a long story about a lighthouse."}]
        options = {"max_tokens": 120, "temperature": 0, "stream": True} | more
        chunks = client.chat.completions.create(model="default", messages=asked, **options)
        for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def test_both_are_published_over_the_base_s_own_file(folder: Path) -> None:
    with open_home(folder / "home", lock=None) as opened:
        plain, tuned = (find_release(opened, name) for name in ("few-shot", "lora"))
    assert plain.serving is not None
    assert (plain.serving.weights, plain.serving.base) == (None, None)
    assert tuned.serving is not None
    assert (tuned.serving.format, tuned.serving.base) == ("gguf-adapter", None)
    for release in (plain, tuned):
        parity = release.parity
        told = {key: parity[key] for key in ("num_examples", "score", "score_served")}
        sys.stdout.write(f"{release.name}: {told}, {len(parity['differing'])} differ\n")
    assert len(plain.parity["differing"]) <= plain.parity["num_examples"] / 2


def test_an_adapter_that_is_on_answers_otherwise_than_its_base(server, task) -> None:
    texts = {}
    for name in ("few-shot", "lora"):
        with server.client() as client:
            asked: Any = [{"role": "user", "content": task.dev[0].input}]
            found = client.chat.completions.create(model=name, messages=asked)
            texts[name] = found.choices[0].message.content
            assert texts[name] in task.output.labels
    assert process_of(server).settings.adapters


def test_texts_stream_and_one_that_is_killed_ends_with_an_error(server: Running) -> None:
    whole = list(stream(server))
    assert len(whole) > 20
    text = "".join(whole)
    broken = stream(server)
    heard = [next(broken) for _ in range(5)]
    process_of(server)._child._process.kill()
    with pytest.raises(openai.APIError):
        heard.extend(broken)
    assert text.startswith("".join(heard))
    assert len(heard) < len(whole)
    assert "".join(stream(server)) == text


def test_a_client_that_leaves_ends_its_answer(server: Running) -> None:
    pieces = stream(server, max_tokens=2000)
    for _ in range(3):
        next(pieces)
    pieces.close()
    began = time.monotonic()
    while server.service.engine.busy_seconds:
        assert time.monotonic() - began < 10
        time.sleep(0.05)


def test_a_release_is_opened_anew_as_it_was_published(folder: Path) -> None:
    with open_home(folder / "home", lock=None) as opened:
        served = open_release(find_release(opened, "lora"), opened)
        assert served.stale == ()
        assert served.fingerprint != served.release.fingerprint
