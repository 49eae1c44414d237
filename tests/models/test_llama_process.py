"""llama.cpp that dies: started again, asked again, and left alone in the end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_server import Server
from llama_stand_in import END, event, streaming
from steelyard.errors import ModelError, WorkError
from steelyard.models import Message, Sampling, Token, llama_backend, llama_process
from steelyard.models.llama_backend import LlamaBackend, LlamaModel
from steelyard.models.llama_process import REST_SECONDS, LlamaProcess, best_threads
from steelyard.models.llama_server import Settings
from steelyard.models.posting import Manners
from steelyard.models.render import Renderer

QUICK = Manners(waits_s=(0.0,), timeout_s=5.0)
PROBE = "steelyard.models.llama_process._probe"
WHOLE = (event("a", 1), event(" bé", 2), event(" c", 3), END)


class Fake:
    """A child whose address is a fake server; it dies when a test says so."""

    def __init__(self, url: str) -> None:
        self.address, self.is_running = url, True

    def close(self) -> None:
        self.is_running = False


class Nursery:
    """Starts children, and remembers them and each sleep."""

    def __init__(self, server: Server, model: str = "m.gguf", *adapters: Path) -> None:
        self.server, self.children = server, []
        self.now, self.slept, self.broken = 0.0, [], False
        self.process = LlamaProcess(
            Settings(model, tuple(map(str, adapters))),
            start=self.start,
            clock=lambda: self.now,
            sleep=self.slept.append,
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


def backend(nursery: Nursery, renderer: Renderer, manners: Manners = QUICK) -> LlamaBackend:
    return LlamaBackend(LlamaModel("m.gguf", nursery.process, renderer, "f" * 64), manners=manners)


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
    plain = {"top_k": 0, "min_p": 0.0, "top_p": 1.0}
    assert body == {"prompt": ids, **more, **plain}
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
    base = backend(Nursery(server, "m.gguf", *files), renderer)
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


def test_an_adapter_that_is_loaded_later_starts_it_anew_and_is_no_death(server, renderer, tmp_path):
    nursery = Nursery(server)
    base = backend(nursery, renderer)
    base.generate([prompt("a")], Sampling(9))
    (tmp_path / "adapter.gguf").write_text("one", encoding="utf-8")
    with pytest.raises(ModelError, match="was not started with this adapter; expected one of: non"):
        base.adapted(tmp_path)
    adapted = base.loaded(tmp_path)
    assert not nursery.children[0].is_running
    adapted.generate([prompt("a")], Sampling(9))
    base.loaded(tmp_path).generate([prompt("a")], Sampling(9))
    assert (len(nursery.children), nursery.slept) == (2, [0.0, 0.0])
    assert server.asked[-1][2]["lora"] == [{"id": 0, "scale": 1.0}]


# ---------------------------------------------------------------- another adapter meanwhile


class Held:
    """An answer whose end waits to be let go; those after it come whole."""

    def __init__(self, *rest: bytes) -> None:
        self.rest, self.begun, self.free = rest, threading.Event(), threading.Event()

    def __call__(self, number: int, _: Any) -> Any:
        if number > 1:
            return streaming(*WHOLE)
        return streaming(*WHOLE[:2], then=self.wait)

    def wait(self, handler: Any) -> None:
        self.begun.set()
        self.free.wait(10)
        for piece in self.rest:
            handler.wfile.write(piece + b"\n\n")


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """A thread that does the work, and what comes of it."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    return thread, found


def told(model: LlamaBackend) -> str | None:
    """The text of a stream, or its error."""
    [found] = model.generate([prompt("why")], Sampling(9), lambda *_: False)
    return found.error or found.text


def adapter(folder: Path) -> Path:
    (folder / "adapter.gguf").write_text("one", encoding="utf-8")
    return folder


def test_an_adapter_waits_for_running_answers_and_new_ones_wait_for_it(server, renderer, tmp_path):
    nursery, held = Nursery(server), Held(*WHOLE[2:])
    server.answer, base = held, backend(nursery, renderer)
    running, first = in_thread(lambda: told(base))
    assert held.begun.wait(5)
    loading, loaded = in_thread(lambda: base.loaded(adapter(tmp_path)))
    deadline = time.monotonic() + 5
    while not nursery.process._num_loading:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    later, second = in_thread(lambda: told(base))
    later.join(0.2)
    assert nursery.children[0].is_running
    assert (len(server.asked), first, loaded, second) == (1, [], [], [])
    held.free.set()
    for thread in (running, loading, later):
        thread.join(5)
    assert (first, second) == (["a bé c"], ["a bé c"])
    assert told(loaded[0]) == "a bé c"
    assert [child.is_running for child in nursery.children] == [False, True]


def test_an_answer_that_does_not_end_is_not_waited_for_for_ever(
    server, renderer, tmp_path, monkeypatch
):
    monkeypatch.setattr(llama_process, "DRAIN_SECONDS", 0.1)
    nursery, held = Nursery(server), Held()
    server.answer, base = held, backend(nursery, renderer)
    running, first = in_thread(lambda: told(base))
    assert held.begun.wait(5)
    adapted = base.loaded(adapter(tmp_path))
    assert not nursery.children[0].is_running
    held.free.set()  # as the end of a child would
    running.join(5)
    assert "it ended before the answer did" in first[0]
    assert told(adapted) == "a bé c"
    assert len(nursery.children) == 2


# ---------------------------------------------------------------- streams


def test_a_stream_is_heard_piece_by_piece_and_is_the_whole_answer(server, renderer):
    server.answer = lambda *_: streaming(*WHOLE)
    heard: list[str] = []
    [found] = backend(Nursery(server), renderer).generate(
        [prompt("why")], Sampling(9), lambda _, text: bool(heard.append(text))
    )
    assert (found.text, found.complete, found.error) == ("a bé c", True, None)
    usage = found.usage
    assert (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens) == (7, 2, 3)
    assert [text for text in dict.fromkeys(heard) if text] == ["a", "a bé", "a bé c"]
    assert server.asked[0][2]["stream"] is True


def test_a_stream_that_nobody_wants_is_ended_where_it_is(server, renderer):
    hung_up = threading.Event()

    def watch(handler: Any) -> None:
        handler.connection.settimeout(5)
        hung_up.set() if handler.connection.recv(1) == b"" else None

    server.answer = lambda *_: streaming(event("a", 1), event(" b", 2), then=watch)
    nursery = Nursery(server)
    [found] = backend(nursery, renderer).generate(
        [prompt("why")], Sampling(9), lambda _, text: text == "a b"
    )
    assert (found.text, found.complete, found.error) == ("a b", False, None)
    assert found.usage.completion_tokens == 2
    assert hung_up.wait(5)
    assert nursery.process.is_running


def test_a_child_that_dies_in_the_middle_of_a_stream_ends_it_with_an_error(server, renderer):
    nursery = Nursery(server)

    def die(handler: Any) -> None:
        nursery.children[-1].is_running = False
        handler.connection.close()

    server.answer = lambda number, _: (
        streaming(*WHOLE[:2], then=die) if number == 1 else (streaming(*WHOLE))
    )
    model = backend(nursery, renderer)
    [broken] = model.generate([prompt("why")], Sampling(9), lambda *_: False)
    assert (broken.text, "ended before the answer" in broken.error) == ("", True)
    assert len(server.asked) == 1  # what was heard in part is not begun anew
    [after] = model.generate([prompt("why")], Sampling(9), lambda *_: False)
    assert (after.text, len(nursery.children)) == ("a bé c", 2)


def test_an_error_in_a_stream_is_an_error_of_that_answer(server, renderer):
    wrong = b'data: {"error": {"code": 500, "message": "no slot"}}'
    server.answer = lambda *_: streaming(event("a", 1), wrong)
    [found] = backend(Nursery(server), renderer).generate(
        [prompt("why")], Sampling(9), lambda *_: False
    )
    assert found.error.startswith("the reply is malformed")
    assert "no slot" in found.error


@pytest.mark.parametrize("listen", [None, lambda *_: False])
def test_a_child_that_hangs_is_timed_out_ended_and_started_again(server, renderer, listen):
    nursery, free = Nursery(server), threading.Event()
    whole = WHOLE if listen else None

    def hang(number: int, body: Any) -> Any:
        if number == 1:
            return lambda _: bool(free.wait(10))
        return streaming(*whole) if whole else answer(number, body)

    server.answer = hang
    manners = Manners(timeout_s=0.4, waits_s=(0.0,), again_when_late=False)
    model = backend(nursery, renderer, manners)
    [late] = model.generate([prompt("why")], Sampling(9), listen)
    assert "it timed out" in late.error
    assert not nursery.children[0].is_running
    [after] = model.generate([prompt("why")], Sampling(9), listen)
    assert (after.error, len(nursery.children), nursery.slept) == (None, 2, [0.0, 1.0])
    free.set()


def test_one_that_is_given_up_while_it_says_nothing_is_taken_to_hang(server, renderer, monkeypatch):
    monkeypatch.setattr(llama_backend, "HUNG_SECONDS", 0.2)
    nursery, free, began = Nursery(server), threading.Event(), time.monotonic()
    server.answer = lambda *_: lambda _: bool(free.wait(10))
    [left] = backend(nursery, renderer).generate(
        [prompt("why")], Sampling(9), lambda *_: time.monotonic() - began > 0.5
    )
    assert (left.text, left.complete) == ("", False)
    assert not nursery.children[0].is_running
    free.set()


def test_chances_of_tokens_are_told_where_they_are_asked_for(server, renderer):
    told = {"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "a", "logprob": -0.5}]}

    def say(number: int, body: Any) -> Any:
        if body.get("stream"):
            return streaming(event("a", 1, completion_probabilities=[told]), END)
        whole = json.loads(answer(number, body)[2])
        return 200, {}, json.dumps({**whole, "completion_probabilities": [told]}).encode()

    server.answer = say
    model = backend(Nursery(server), renderer)
    for listen in (None, lambda *_: False):
        for asked, top in ((0, ()), (1, (("a", -0.5),))):
            [found] = model.generate([prompt("why")], Sampling(9, chances=asked), listen)
            assert found.tokens == (Token("a", -0.5, top),)
    assert [body["n_probs"] for _, _, body in server.asked] == [1, 1, 1, 1]
