"""Embeddings from a server: its vectors, its failures, and a key that goes nowhere else."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fake_server import Answer, Server
from steelyard.errors import ModelError, WorkError
from steelyard.models import Embedder, open_embedder
from steelyard.models.embeddings_url import BATCH_TEXTS, MAX_CHARACTERS, UrlEmbedder


def vectors(body: Any, **change: Any) -> Answer:
    """One vector for each text, of its length and 1, in reverse order."""
    rows = [
        {"index": n, "embedding": [float(len(text)), 1.0]} for n, text in enumerate(body["input"])
    ]
    return 200, {}, json.dumps({"data": rows[::-1], **change}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answer = lambda _, body: vectors(body)
    yield server
    server.close()


@pytest.fixture
def waits() -> list[float]:
    return []


def opened(server: Server, waits: list[float], **more: Any) -> UrlEmbedder:
    return UrlEmbedder(server.url, "small", sleep=waits.append, **more)


def test_vectors_come_in_the_order_of_the_texts_with_length_one(server, waits):
    embedder: Embedder = opened(server, waits)
    texts = ["a" * n for n in range(BATCH_TEXTS + 3)]
    found = embedder.embed(texts)
    expected = (
        np.array([[n, 1] for n in range(len(texts))]) / np.hypot(range(len(texts)), 1)[:, None]
    )
    assert found == pytest.approx(expected, abs=1e-6)
    assert found.dtype == np.float32
    assert [len(body["input"]) for _, _, body in server.asked] == [BATCH_TEXTS, 3]
    path, headers, body = server.asked[0]
    assert path == "/v1/embeddings"
    assert body["model"] == "small"
    assert "Authorization" not in headers
    assert embedder.embed([]).shape == (0, 2)


def test_a_long_text_is_cut(server, waits):
    opened(server, waits).embed(["x" * (MAX_CHARACTERS + 9)])
    assert len(server.asked[0][2]["input"][0]) == MAX_CHARACTERS


def test_the_key_comes_from_the_environment(server, waits, monkeypatch):
    with pytest.raises(ModelError, match="environment variable MY_KEY, which is not set"):
        opened(server, waits, key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "secret")
    opened(server, waits, key_env="MY_KEY").embed(["a"])
    assert server.asked[0][1]["Authorization"] == "Bearer secret"


def test_the_key_is_not_taken_elsewhere_by_a_redirect(server, waits, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    other = Server()
    try:
        server.answer = lambda *_: (302, {"Location": f"{other.url}/embeddings"}, b"")
        with pytest.raises(WorkError, match="status 302") as caught:
            opened(server, waits, key_env="MY_KEY").embed(["a"])
        assert other.asked == []
        assert "secret" not in str(caught.value)
    finally:
        other.close()


def test_what_may_pass_is_tried_again_after_a_while(server, waits):
    server.answer = lambda n, body: (
        (503, {}, b"busy")
        if n == 1
        else (429, {"Retry-After": "7"}, b"")
        if n == 2
        else vectors(body)
    )
    assert opened(server, waits).embed(["a"]).shape == (1, 2)
    assert waits == [1.0, 7.0]


def test_what_does_not_pass_is_an_error_in_the_end(server, waits):
    server.answer = lambda *_: (500, {}, b"out of order")
    with pytest.raises(WorkError, match="status 500: out of order, 4 times"):
        opened(server, waits).embed(["a"])
    assert waits == [1.0, 4.0, 16.0]


def test_a_refusal_is_not_tried_again(server, waits):
    server.answer = lambda *_: (401, {}, b"no such key")
    with pytest.raises(WorkError, match="status 401: no such key"):
        opened(server, waits).embed(["a"])
    assert waits == []


BROKEN = {
    "holds no embeddings": b"<html>",
    "holds no embeddings \\(KeyError": b"{}",
    "holds no embeddings \\(TypeError": b'{"data": [1]}',
    r"2 texts came back as an array of shape \(1, 2\)": (
        b'{"data": [{"index": 0, "embedding": [1, 2]}]}'
    ),
    "a vector has no direction": b'{"data": [{"index": 0, "embedding": [1, 2]}, '
    b'{"index": 1, "embedding": [0, 0]}]}',
    r"holds no embeddings \(ValueError": b'{"data": [{"index": 0, "embedding": [1, 2]}, '
    b'{"index": 1, "embedding": [1]}]}',
}


@pytest.mark.parametrize(("message", "reply"), BROKEN.items())
def test_a_broken_answer_is_an_error(server, waits, message, reply):
    server.answer = lambda *_: (200, {}, reply)
    with pytest.raises(WorkError, match=message):
        opened(server, waits).embed(["a", "b"])


def test_an_endless_answer_is_not_read_to_its_end(server, waits, monkeypatch):
    monkeypatch.setattr("steelyard.models.posting.Endpoint.max_reply_bytes", 10)
    with pytest.raises(WorkError, match="longer than 10 bytes"):
        opened(server, waits).embed(["a"])


def test_a_width_that_changes_is_an_error(server, waits):
    embedder = opened(server, waits)
    embedder.embed(["a"])
    server.answer = lambda *_: (200, {}, b'{"data": [{"index": 0, "embedding": [1, 2, 3]}]}')
    with pytest.raises(WorkError, match=r"shape \(1, 3\); expected \(1, 2\)"):
        embedder.embed(["a"])


def test_a_server_that_is_not_there_is_an_error(waits):
    gone = Server()
    gone.close()
    with pytest.raises(WorkError, match=r"did not come: .*refused.*, 4 times"):
        opened(gone, waits).embed(["a"])


def test_a_server_that_is_silent_is_left(server, waits):
    release = threading.Event()
    server.answer = lambda *_: (release.wait(5), (200, {}, b""))[1]
    try:
        with pytest.raises(WorkError, match="timed out, 4 times"):
            opened(server, waits, timeout_s=0.05).embed(["a"])
    finally:
        release.set()


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host/v1", "file:///etc/passwd", "http://"])
def test_only_a_web_address_is_asked(url):
    with pytest.raises(ModelError, match="expected one such as https://host/v1"):
        UrlEmbedder(url, "small")


def test_the_fingerprint_is_the_place_and_the_model(server, waits):
    assert opened(server, waits).fingerprint == opened(server, waits).fingerprint
    others = [UrlEmbedder(server.url, "large"), UrlEmbedder(f"{server.url}/x", "small")]
    assert len({opened(server, waits).fingerprint, *(other.fingerprint for other in others)}) == 3


def test_it_is_opened_by_its_url(server):
    assert open_embedder("small", url=server.url).embed(["abc"]) == pytest.approx(
        np.array([[3, 1]]) / np.sqrt(10), abs=1e-6
    )
