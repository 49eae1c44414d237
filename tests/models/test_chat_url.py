"""Texts from a chat server: what is sent, what comes back, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fake_server import Answer, Server
from steelyard.core import ModelSpec, Usage
from steelyard.errors import ModelError
from steelyard.models import Generation, Message, Sampling, UrlWriter

PROMPT = (Message("system", "Be brief."), Message("user", "Hello?"))
SAMPLING = Sampling(max_tokens=9, temperature=0.5, seed=3)


def reply(text: Any = "Hi.", *, finish: str = "stop", usage: Any = None) -> Answer:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return 200, {}, json.dumps({"choices": [choice], "usage": usage}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answer = lambda *_: reply()
    yield server
    server.close()


def writer(server: Server, **more: Any) -> UrlWriter:
    return UrlWriter(ModelSpec("big", "big-1", url=server.url, **more), sleep=lambda _: None)


def test_a_prompt_is_sent_as_messages_and_the_text_comes_back(server):
    usage = {
        "prompt_tokens": 20,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 16},
    }
    server.answer = lambda *_: reply(usage=usage)
    assert writer(server).generate([PROMPT], SAMPLING) == [
        Generation("Hi.", usage=Usage(20, 16, 2))
    ]
    path, headers, body = server.asked[0]
    assert path == "/v1/chat/completions"
    assert "Authorization" not in headers
    assert body == {
        "model": "big-1",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello?"},
        ],
        "max_tokens": 9,
        "temperature": 0.5,
        "seed": 3,
    }


def test_what_the_token_limit_ended_is_incomplete_and_usage_may_be_missing(server):
    server.answer = lambda *_: reply(finish="length")
    [found] = writer(server).generate([PROMPT], SAMPLING)
    assert (found.complete, found.usage) == (False, Usage())


def test_a_key_is_read_from_the_environment(server, monkeypatch):
    with pytest.raises(ModelError, match="environment variable MY_KEY, which is not set"):
        writer(server, key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "secret")
    writer(server, key_env="MY_KEY").generate([PROMPT], SAMPLING)
    assert server.asked[0][1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {}, b"no such key"), "status 401: no such key"),
        ((503, {}, b"busy"), "status 503: busy, 4 times"),
        ((200, {}, b"<html>"), "its answer holds no text"),
        ((200, {}, b"[]"), "its answer holds no text"),
        ((200, {}, b'{"choices": []}'), "its answer holds no text"),
        (reply(None), "its answer holds no text"),
        (reply(["Hi."]), "its answer holds no text"),
        (reply(usage={"prompt_tokens": -1}), "its answer holds no text"),
    ],
)
def test_a_failure_is_an_error_of_its_row(server, answer, said):
    server.answer = lambda *_: answer
    [found] = writer(server).generate([PROMPT], SAMPLING)
    assert found.text == ""
    assert found.error is not None
    assert f'/v1/chat/completions: an answer of "big-1" did not come: {said}' in found.error


def test_one_failure_does_not_stop_the_others(server):
    server.answer = lambda number, _: (400, {}, b"bad") if number == 1 else reply()
    first, second = writer(server).generate([PROMPT, PROMPT], SAMPLING)
    assert first.error is not None
    assert second.text == "Hi."
