"""A server at its worst: what is tried again, what is waited for, what is given up, and when."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from fake_server import Server
from steelyard.errors import ModelError, WorkError
from steelyard.models.posting import BREAK_AFTER, BREAK_SECONDS, Endpoint, Manners

OK = (200, {}, b"fine")


class Time:
    """A clock that sleeping moves on, and that remembers each sleep."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def manners(self, **more: Any) -> Manners:
        return Manners(clock=lambda: self.now, sleep=self.sleep, rng=random.Random(0), **more)


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.answer = lambda *_: OK
    yield server
    server.close()


def endpoint(server: Server, time: Time | None = None, **more: Any) -> Endpoint:
    key = {"key_env": more.pop("key_env")} if "key_env" in more else {}
    manners = (time or Time()).manners(**more)
    return Endpoint(server.url, "chat/completions", "an answer", manners=manners, **key)


# ---------------------------------------------------------------- tries and waits


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again_after_a_wait_of_full_jitter(server, status):
    time = Time()
    server.answer = lambda number, _: OK if number == 4 else (status, {}, b"busy")
    assert endpoint(server, time).post({}) == b"fine"
    rng = random.Random(0)
    assert time.slept == [rng.uniform(0, 1), rng.uniform(0, 4), rng.uniform(0, 16)]


def test_after_four_tries_it_is_given_up(server):
    server.answer = lambda *_: (503, {}, b"busy")
    with pytest.raises(WorkError, match="an answer did not come: status 503: busy, 4 times"):
        endpoint(server).post({})
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_no_is_not_asked_again(server, status):
    server.answer = lambda *_: (status, {}, b"never")
    with pytest.raises(WorkError, match=f"status {status}: never$"):
        endpoint(server).post({})
    assert len(server.asked) == 1


def test_money_that_is_gone_does_not_come_back_by_waiting(server):
    error = b'{"error": {"code": "insufficient_quota"}}'
    server.answer = lambda *_: (429, {}, error)
    with pytest.raises(WorkError, match="insufficient_quota"):
        endpoint(server).post({})
    assert len(server.asked) == 1


def test_a_server_is_left_alone_for_as_long_as_it_asks_for(server):
    time = Time()
    server.answer = lambda number, _: OK if number > 1 else (429, {"Retry-After": "7"}, b"slow")
    assert endpoint(server, time).post({}) == b"fine"
    assert 7.0 <= sum(time.slept) < 9.0


def test_all_requests_wait_when_one_hears_that_nothing_is_left(server):
    time = Time()
    nothing = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5s"}
    server.answer = lambda number, _: (200, nothing if number == 1 else {}, b"fine")
    assert endpoint(server, time, concurrency=1).post_all([{}] * 3) == [b"fine"] * 3
    assert 5.0 <= time.now - 1000.0 < 7.0


def test_a_server_that_asks_for_an_hour_is_not_waited_for(server):
    server.answer = lambda *_: (429, {"Retry-After": "3600"}, b"tomorrow")
    with pytest.raises(WorkError, match=r"left alone for 3600 s; expected at most 60\. Go on"):
        endpoint(server).post({})
    assert len(server.asked) == 1


def test_a_server_that_failed_often_is_not_asked_until_it_has_rested(server):
    time = Time()
    server.answer = lambda *_: (403, {}, b"who are you?")
    asked = endpoint(server, time, concurrency=1)
    found = asked.post_all([{}] * 20)
    assert all(isinstance(one, WorkError) for one in found)
    assert len(server.asked) == BREAK_AFTER
    assert f"not asked, after {BREAK_AFTER} failures in a row: status 403" in str(found[-1])
    time.now += BREAK_SECONDS
    server.answer = lambda *_: OK
    assert asked.post_all([{}] * 20) == [b"fine"] * 20


def test_a_request_of_its_own_fault_breaks_nothing(server):
    server.answer = lambda *_: (400, {}, b"too long")
    found = endpoint(server).post_all([{}] * 20)
    assert ["status 400" in str(one) for one in found] == [True] * 20
    assert len(server.asked) == 20


# ---------------------------------------------------------------- replies that are none


def hang(release: threading.Event) -> Any:
    return lambda *_: lambda _handler: release.wait(5)


def half(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: no single read ever times out."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def no_http(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_a_silent_server_is_left_after_the_time_of_a_whole_reply(server):
    release = threading.Event()
    server.answer = hang(release)
    try:
        with pytest.raises(WorkError, match=r"timed out: no whole reply in 0.05 s, 4 times"):
            endpoint(server, timeout_s=0.05).post({})
    finally:
        release.set()


def test_a_server_that_drips_is_left_as_well(server):
    server.answer = lambda *_: drip
    started = time.monotonic()
    with pytest.raises(WorkError, match=r"timed out: no whole reply in 0.1 s, 4 times"):
        endpoint(server, timeout_s=0.1).post({})
    assert time.monotonic() - started < 1.5


def test_half_a_body_is_no_reply(server):
    server.answer = lambda number, _: half if number < 3 else OK
    assert endpoint(server).post({}) == b"fine"
    assert len(server.asked) == 3


def test_what_is_no_http_is_no_reply(server):
    server.answer = lambda *_: no_http
    with pytest.raises(WorkError, match=r"did not come: .*, 4 times"):
        endpoint(server).post({})


def test_a_server_that_is_gone_is_an_error():
    gone = Server()
    gone.close()
    with pytest.raises(WorkError, match=r"did not come: Cannot connect to host .*, 4 times"):
        endpoint(gone).post({})


def test_an_endless_body_is_not_read_to_its_end(server):
    sent = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"x" * 10_000)
            sent.append(10_000)

    server.answer = lambda *_: endless
    with pytest.raises(WorkError, match="longer than 50000 bytes"):
        endpoint(server, max_reply_bytes=50_000).post({})
    assert len(server.asked) == 1
    assert sum(sent) < 50_000_000


def test_one_failure_does_not_stop_the_others(server):
    server.answer = lambda _, body: (400, {}, b"bad") if body == 1 else (200, {}, b"%d" % body)
    found = endpoint(server).post_all([0, 1, 2])
    assert [found[0], found[2]] == [b"0", b"2"]
    assert isinstance(found[1], WorkError)


# ---------------------------------------------------------------- keys and places


def test_a_redirect_is_not_followed_and_the_key_goes_nowhere_else(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    other = Server()
    server.answer = lambda *_: (307, {"Location": f"{other.url}/chat/completions"}, b"")
    with pytest.raises(WorkError, match="status 307: a redirect, which is not followed"):
        endpoint(server, key_env="MY_KEY").post({})
    other.close()
    assert server.asked[0][1]["Authorization"] == "Bearer secret"
    assert other.asked == []


def test_a_key_that_a_server_repeats_is_not_shown(server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-1")
    server.answer = lambda *_: (401, {}, b"wrong key: sk-secret-1")
    with pytest.raises(WorkError, match=r"status 401: wrong key: …$"):
        endpoint(server, key_env="MY_KEY").post({})


def test_a_key_is_in_the_environment_or_nothing_is_asked(server, monkeypatch):
    with pytest.raises(ModelError, match="environment variable MY_KEY, which is not set"):
        endpoint(server, key_env="MY_KEY")
    monkeypatch.setenv("MY_KEY", "two\nlines")
    with pytest.raises(ModelError, match="MY_KEY holds what is no key") as caught:
        endpoint(server, key_env="MY_KEY")
    assert "two" not in str(caught.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/v1", "is none; expected one such as https://host/v1"),
        ("http://[::1", "is none"),
        ("host/v1", "is none"),
        ("http://models.example/v1", "would send texts and keys unencrypted"),
        ("http://127.0.0.1.evil.example/v1", "would send texts and keys unencrypted"),
        ("https://user:sk-1@models.example/v1", "holds more than a place"),
        ("https://models.example/v1?key=sk-1", "holds more than a place"),
    ],
)
def test_a_url_that_is_none_or_not_safe_is_refused(url, said):
    with pytest.raises(ModelError, match=said) as caught:
        Endpoint(url, "embeddings", "the embeddings")
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:1/v1",
        "http://127.0.0.9/v1",
        "http://[::1]:8/v1",
        "https://host.example/v1",
    ],
)
def test_http_is_for_this_machine_and_https_for_any(url):
    assert Endpoint(url, "embeddings", "x").place == f"{url}/embeddings"


def test_http_elsewhere_is_a_decision():
    manners = Manners(plain_http=True)
    Endpoint("http://gpu.lan:8000/v1", "embeddings", "x", manners=manners)


def test_a_proxy_of_the_environment_is_used_but_not_for_this_machine(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert Endpoint("https://host.example/v1", "x", "x")._proxy == "http://proxy.example:3128"
    assert Endpoint("https://inside.example/v1", "x", "x")._proxy is None
    assert endpoint(server).post({}) == b"fine"
    assert server.asked[0][0] == "/v1/chat/completions"


# ---------------------------------------------------------------- threads and loops


def test_it_may_be_asked_from_within_a_loop_and_from_several_threads(server):
    server.answer = lambda _, body: (200, {}, json.dumps(body).encode())
    asked = endpoint(server)

    async def within() -> bytes:
        return asked.post("a")

    assert asyncio.run(within()) == b'"a"'
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(asked.post("b"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [b'"b"'] * 4


def test_its_thread_ends_with_it(server):
    asked = endpoint(server)
    asked.post({})
    before = [t for t in threading.enumerate() if t.name == "steelyard-http"]
    assert before
    del asked
    gc.collect()
    for thread in before:
        thread.join(timeout=2)
    assert not any(t.is_alive() for t in before)


def test_an_error_of_whoever_hears_comes_out_and_the_others_are_heard(server):
    heard = []

    def hear(number: int, _: bytes) -> None:
        heard.append(number)
        if number == 0:
            raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        endpoint(server).post_all([{}] * 3, heard=hear)
    assert sorted(heard) == [0, 1, 2]
