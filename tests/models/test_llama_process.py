"""llama.cpp that dies: started again, asked again, and left alone in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_server import Server
from steelyard.errors import ModelError, WorkError
from steelyard.models import Message, Sampling
from steelyard.models.llama_backend import LlamaBackend, LlamaModel
from steelyard.models.llama_process import REST_SECONDS, LlamaProcess, best_threads
from steelyard.models.llama_server import Settings
from steelyard.models.posting import Manners
from steelyard.models.render import Renderer

QUICK = Manners(waits_s=(0.0,), timeout_s=5.0)
PROBE = "steelyard.models.llama_process._probe"


class Fake:
    """A child whose address is a fake server; it dies when a test says so."""

    def __init__(self, url: str) -> None:
        self.address, self.is_running = url, True

    def close(self) -> None:
        self.is_running = False


class Nursery:
    """Starts children, and remembers them and each sleep."""

    def __init__(self, server: Server, model: str = "m.gguf") -> None:
        self.server, self.children = server, []
        self.now, self.slept, self.broken = 0.0, [], False
        self.process = LlamaProcess(
            Settings(model), start=self.start, clock=lambda: self.now, sleep=self.slept.append
        )

    def start(self, _: Settings) -> Fake:
        if self.broken:
            raise WorkError("llama.cpp could not load m.gguf; it said: no memory")
        self.children.append(Fake(self.server.url.removesuffix("/v1")))
        return self.children[-1]


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answer = answer
    yield server
    server.close()


def answer(_: int, body: Any) -> Any:
    """What llama.cpp says: the first label of a grammar, or how many ids it was sent."""
    text = f"{len(body['prompt'])} ids"
    if "grammar" in body:
        text = json.loads(body["grammar"].removeprefix("root ::= ").split(" | ")[0])
    timings = {"cache_n": 2}
    told = {"content": text, "stop_type": "eos", "tokens_predicted": 3, "timings": timings}
    return 200, {}, json.dumps({**told, "tokens_evaluated": len(body["prompt"])}).encode()


def prompt(text: str) -> Any:
    return (Message("user", text),)


@pytest.fixture
def renderer(tiny: Any) -> Renderer:
    return tiny.loaded.renderer


def backend(nursery: Nursery, renderer: Renderer, *adapters: Path) -> LlamaBackend:
    model = LlamaModel("m.gguf", nursery.process, renderer, "f" * 64, adapters)
    return LlamaBackend(model, manners=QUICK)


# ---------------------------------------------------------------- the process


def test_it_is_started_once_and_again_only_when_it_died(server):
    nursery = Nursery(server)
    assert nursery.children == []
    assert nursery.process.address() == nursery.process.address()
    assert len(nursery.children) == 1
    nursery.children[0].is_running = False
    nursery.process.address()
    assert len(nursery.children) == 2
    assert nursery.slept == [0.0, 1.0]
    nursery.process.close()
    assert not nursery.process.is_running


def test_three_deaths_without_an_answer_are_enough_for_a_minute(server):
    nursery = Nursery(server)
    for _ in range(3):
        nursery.process.address()
        nursery.children[-1].is_running = False
    with pytest.raises(WorkError, match=r"m\.gguf died 3 times in a row"):
        nursery.process.address()
    assert len(nursery.children) == 3
    nursery.now = REST_SECONDS
    nursery.process.address()
    assert len(nursery.children) == 4


def test_an_answer_makes_earlier_deaths_forgotten(server):
    nursery = Nursery(server)
    for _ in range(9):
        nursery.process.address()
        nursery.process.answered()
        nursery.children[-1].is_running = False
    assert len(nursery.children) == 9


def test_one_that_cannot_be_started_is_an_error_and_tried_three_times_at_most(server):
    nursery = Nursery(server)
    nursery.broken = True
    for _ in range(3):
        with pytest.raises(WorkError, match="no memory"):
            nursery.process.address()
    with pytest.raises(WorkError, match="died 3 times in a row"):
        nursery.process.address()


def test_the_number_of_threads_is_measured_once_for_a_model(server, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    (tmp_path / "m.gguf").write_bytes(b"1234")
    nursery = Nursery(server, str(tmp_path / "m.gguf"))
    monkeypatch.setattr(PROBE, lambda s, _: {4: 3.0, 3: 1.0, 2: 2.0}[s.threads])
    settings = nursery.process.settings
    assert best_threads(settings, tmp_path / "cache", nursery.start) == 3
    monkeypatch.setattr(PROBE, None)
    assert best_threads(settings, tmp_path / "cache", nursery.start) == 3


def test_fewer_threads_must_be_clearly_faster(server, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    (tmp_path / "m.gguf").write_bytes(b"1234")
    nursery = Nursery(server, str(tmp_path / "m.gguf"))
    monkeypatch.setattr(PROBE, lambda s, _: {2: 1.0, 1: 0.9}[s.threads])
    assert best_threads(nursery.process.settings, tmp_path, nursery.start) == 2


# ---------------------------------------------------------------- the backend


def test_prompts_go_out_as_the_ids_of_our_own_renderer(server, renderer):
    model = backend(Nursery(server), renderer)
    [found] = model.generate([prompt("why")], Sampling(9, temperature=0.5, seed=3))
    ids = renderer.prompt_ids(prompt("why"))
    assert found.text == f"{len(ids)} ids"
    assert (found.usage.prompt_tokens, found.usage.cached_tokens) == (len(ids), 2)
    path, _, body = server.asked[0]
    assert path == "/completion"
    more = {"n_predict": 9, "cache_prompt": True, "temperature": 0.5, "seed": 3}
    assert body == {"prompt": ids, **more}
    [choice] = model.choose_labels([prompt("why")], ['a "b"', "c"])
    assert choice.label == 0


def test_a_request_that_kills_it_fails_alone(server, renderer):
    nursery = Nursery(server)
    fatal = renderer.prompt_ids(prompt("kill"))

    def deadly(number: int, body: Any) -> Any:
        if body["prompt"] == fatal or not nursery.process.is_running:
            nursery.children[-1].is_running = False
            return 500, {}, b"gone"
        return answer(number, body)

    server.answer = deadly
    asked = [prompt("a"), prompt("kill"), prompt("b"), prompt("c")]
    found = backend(nursery, renderer).generate(asked, Sampling(9))
    assert [one.error is None for one in found] == [True, False, True, True]
    assert "status 500" in found[1].error
    assert len(nursery.children) > 1


def test_a_model_that_cannot_be_started_is_an_error_of_every_row(server, renderer):
    nursery = Nursery(server)
    nursery.broken = True
    found = backend(nursery, renderer).generate([prompt("a"), prompt("b")], Sampling(9))
    assert ["llama.cpp" in one.error for one in found] == [True, True]


def test_adapters_are_those_it_was_started_with_and_no_others(server, renderer, tmp_path):
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        files.append(tmp_path / name / "adapter.gguf")
        files[-1].write_text(name, encoding="utf-8")
    base = backend(Nursery(server), renderer, *files)
    first, second = base.adapted(tmp_path / "one"), base.adapted(tmp_path / "two")
    with pytest.raises(ModelError, match=r"three: .* was not started with this adapter; expected"):
        base.adapted(tmp_path / "three")
    base.generate([prompt("a")], Sampling(9))
    second.generate([prompt("a")], Sampling(9))
    scales = [[one["scale"] for one in body["lora"]] for _, _, body in server.asked]
    assert scales == [[0.0, 0.0], [0.0, 1.0]]
    assert len({base.fingerprint, first.fingerprint, second.fingerprint}) == 3


@pytest.mark.parametrize("reply", [b"<html>", b"{}", b'{"content": 3}', b"[]"])
def test_a_reply_that_is_none_is_malformed(server, renderer, reply):
    server.answer = lambda *_: (200, {}, reply)
    [found] = backend(Nursery(server), renderer).generate([prompt("a")], Sampling(9))
    assert found.error.startswith("the reply is malformed")
