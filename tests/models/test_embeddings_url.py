"""Embeddings from a server: its vectors, its failures, and a key that goes nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fake_server import Answer, Server
from steelyard.errors import ModelError, WorkError
from steelyard.models import Embedder, open_embedder
from steelyard.models.embeddings_url import BATCH_TEXTS, MAX_CHARACTERS, UrlEmbedder
from steelyard.models.posting import Manners


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


def opened(server: Server, **more: Any) -> UrlEmbedder:
    manners = Manners(waits_s=(0.0, 0.0, 0.0), **more.pop("manners", {}))
    return UrlEmbedder(server.url, "small", manners=manners, **more)


def test_vectors_come_in_the_order_of_the_texts_with_length_one(server):
    embedder: Embedder = opened(server)
    texts = ["a" * n for n in range(BATCH_TEXTS + 3)]
    found = embedder.embed(texts)
    expected = (
        np.array([[n, 1] for n in range(len(texts))]) / np.hypot(range(len(texts)), 1)[:, None]
    )
    assert found == pytest.approx(expected, abs=1e-6)
    assert found.dtype == np.float32
    assert sorted(len(body["input"]) for _, _, body in server.asked) == [3, BATCH_TEXTS]
    path, headers, body = server.asked[0]
    assert path == "/v1/embeddings"
    assert body["model"] == "small"
    assert "Authorization" not in headers
    assert embedder.embed([]).shape == (0, 2)


def test_a_long_text_is_cut(server):
    opened(server).embed(["x" * (MAX_CHARACTERS + 9)])
    assert len(server.asked[0][2]["input"][0]) == MAX_CHARACTERS


def test_the_key_comes_from_the_environment(server, monkeypatch):
    with pytest.raises(ModelError, match="environment variable MY_KEY, which is not set"):
        opened(server, key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "secret")
    opened(server, key_env="MY_KEY").embed(["a"])
    assert server.asked[0][1]["Authorization"] == "Bearer secret"


def test_what_may_pass_is_tried_again_after_a_while(server):
    server.answer = lambda n, body: (
        (503, {}, b"busy")
        if n == 1
        else (429, {"Retry-After": "0.01"}, b"")
        if n == 2
        else vectors(body)
    )
    assert opened(server).embed(["a"]).shape == (1, 2)
    assert len(server.asked) == 3


def test_what_does_not_pass_is_an_error_in_the_end(server):
    server.answer = lambda *_: (500, {}, b"out of order")
    with pytest.raises(WorkError, match="status 500: out of order, 4 times"):
        opened(server).embed(["a"])
    assert len(server.asked) == 4


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
def test_a_broken_answer_is_an_error(server, message, reply):
    server.answer = lambda *_: (200, {}, reply)
    with pytest.raises(WorkError, match=message):
        opened(server).embed(["a", "b"])


def test_a_width_that_changes_is_an_error(server):
    embedder = opened(server)
    embedder.embed(["a"])
    server.answer = lambda *_: (200, {}, b'{"data": [{"index": 0, "embedding": [1, 2, 3]}]}')
    with pytest.raises(WorkError, match=r"shape \(1, 3\); expected \(1, 2\)"):
        embedder.embed(["a"])


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host/v1", "file:///etc/passwd", "http://"])
def test_only_a_web_address_is_asked(url):
    with pytest.raises(ModelError, match="expected one such as https://host/v1"):
        UrlEmbedder(url, "small")


def test_the_fingerprint_is_the_place_and_the_model(server):
    assert opened(server).fingerprint == opened(server).fingerprint
    others = [UrlEmbedder(server.url, "large"), UrlEmbedder(f"{server.url}/x", "small")]
    assert len({opened(server).fingerprint, *(other.fingerprint for other in others)}) == 3


def test_it_is_opened_by_its_url(server):
    assert open_embedder("small", url=server.url).embed(["abc"]) == pytest.approx(
        np.array([[3, 1]]) / np.sqrt(10), abs=1e-6
    )
