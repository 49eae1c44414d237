"""A llama.cpp that is none: children that answer as a test tells them to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from fake_server import Server
from steelyard.errors import WorkError
from steelyard.models import llama_server, opening
from steelyard.models.llama_server import Settings


def event(text: str, number: int, **more: Any) -> bytes:
    """A piece of a stream as llama.cpp sends it."""
    counts = {"tokens_evaluated": 7, "tokens_predicted": number, "timings": {"cache_n": 2}}
    return b"data: " + json.dumps({"content": text, "stop": False, **counts, **more}).encode()


def streaming(*pieces: bytes, then: Any = lambda handler: None) -> Any:
    """A reply of events; `then` is done before the connection is closed."""

    def reply(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece + b"\n\n")
            handler.wfile.flush()
        then(handler)

    return reply


END = event("", 3, stop=True, stop_type="eos")


class Child:
    """A started llama.cpp, which dies when a test says so."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.address, self.settings, self.is_running = url, settings, True

    def close(self) -> None:
        self.is_running = False


class StandIn:
    """Starts children over one server. `answer` makes the text of a body, or is rude."""

    def __init__(self, server: Server) -> None:
        self.server, self.children, self.broken = server, [], False
        self.answer: Callable[[Any], Any] = lambda _: "otherwise"
        server.answer = self._reply

    def start(self, settings: Settings) -> Child:
        if self.broken:
            raise WorkError("llama.cpp could not load it")
        self.children.append(Child(self.server.url.removesuffix("/v1"), settings))
        return self.children[-1]

    def _reply(self, _: int, body: Any) -> Any:
        text = self.answer(body)
        if not isinstance(text, str):
            return text
        size = len(body["prompt"])
        told = {"tokens_evaluated": size, "tokens_predicted": 1, "timings": {"cache_n": 0}}
        if body.get("stream"):
            return streaming(*(event(word, 1) for word in text.split("|")), END)
        return 200, {}, json.dumps({**told, "content": text, "stop_type": "eos"}).encode()


@contextmanager
def stand_in() -> Iterator[StandIn]:
    """The stand-in in place of llama.cpp for as long as the block runs."""
    module, server = ModuleType("xllamacpp"), Server()
    module.BUILD_INFO = "none"  # type: ignore[attr-defined]
    made = StandIn(server)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "xllamacpp", module)
        patch.setattr(llama_server, "Child", made.start)
        patch.setattr("steelyard.models.llama_process.best_threads", lambda *_: 1)
        patch.setattr(opening, "_loaded", {})
        yield made
    server.close()
