"""Bad input and faults: each is answered in OpenAI's shape, and the next request works."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import event

from servers import Running
from steelyard.core import Answer
from steelyard.errors import HomeError, SteelyardError
from steelyard.lifecycle import open_home, publish, rollback
from steelyard.lifecycle.releases import Served
from steelyard.models.fake import FakeBackend
from steelyard.serve import gate, protocol
from steelyard.serve.gate import scope_of
from steelyard.store.traffic import Traffic
from steelyard.tasks import load_task

Serve = Callable[..., Running]
CHAT = "/v1/chat/completions"
ASK = json.dumps({"model": "text", "messages": [{"role": "user", "content": "Oslo baker"}]})


def chat(server: Running, text: str = "Oslo baker", model: str = "text", **more: Any) -> Any:
    """The reply to one chat."""
    with server.client() as client:
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], **more
        )


def streamed(server: Running, text: str, heard: Callable[[], None] = lambda: None) -> str:
    """The text of one streamed chat; `heard` is called at its first chunk."""
    with server.client() as client:
        chunks = client.chat.completions.create(
            model="text", messages=[{"role": "user", "content": text}], stream=True
        )
        next(chunks)
        heard()
        return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def works(server: Running) -> bool:
    """Whether the next request is answered."""
    return bool(chat(server).choices[0].message.content)


def error_of(found: tuple[int, bytes]) -> tuple[int, str]:
    """The status and OpenAI's code of a refused request."""
    return found[0], json.loads(found[1])["error"]["code"]


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b"", "invalid_json"),
        (b"[]", "invalid_type"),
        (b'{"model": 3, "messages": "x"}', "invalid_type"),
        (b"[" * 100_000, "invalid_json"),
        (b'{"model": ' * 50_000 + b"1" + b"}" * 50_000, "invalid_json"),
        (b'{"messages": []}', "missing_required_parameter"),
    ],
)
def test_a_body_that_is_none_is_refused_and_the_next_request_works(shared, body, code):
    assert error_of(shared.post(CHAT, body)) == (400, code)
    assert works(shared)


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(shared):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n"
    assert b" 413 " in shared.raw(head.encode(), timeout=2).split(b"\r\n")[0]
    assert works(shared)


def test_a_body_that_grows_too_large_is_refused_on_its_way(shared):
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", shared.port), timeout=5) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(10):
                connection.sendall(chunk)
        except OSError:
            pass  # it stopped reading
        found = connection.recv(1000)
    assert b" 413 " in found.split(b"\r\n")[0]
    assert works(shared)


def test_a_body_longer_than_it_says_is_no_second_request(shared):
    body = ASK.encode() + b"x" * 10_000_000
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    lines = f"{head}Content-Length: {len(ASK)}\r\n\r\n".encode()
    try:
        found = shared.raw(lines + body, timeout=3)
    except OSError:
        found = b""  # closed while the rest was sent
    assert found.count(b" 200 ") <= 1
    assert works(shared)


def test_a_body_that_does_not_come_is_given_up(shared, monkeypatch):
    monkeypatch.setattr(gate, "READ_SECONDS", 0.2)
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"
    assert b" 408 " in shared.raw(head.encode(), timeout=3).split(b"\r\n")[0]
    assert works(shared)


def test_headers_that_do_not_come_are_given_up(shared, monkeypatch):
    monkeypatch.setattr(protocol, "HEADER_SECONDS", 0.2)
    began = time.monotonic()
    assert shared.raw(b"GET /health HT", timeout=5) == b""
    assert shared.raw(b"", timeout=5) == b""
    assert time.monotonic() - began < 4
    assert works(shared)


def test_headers_that_are_too_large_are_refused(shared):
    assert error_of(shared.post(CHAT, b"{}", f"X-Long: {'x' * 40_000}"))[0] == 431
    with suppress(OSError):  # closed while the rest was sent
        found = shared.raw(b"GET /health HTTP/1.1\r\nX-Long: " + b"x" * 200_000, timeout=3)
        assert b" 400 " in found.split(b"\r\n")[0]
    assert works(shared)


@pytest.mark.parametrize(
    "path",
    ["/v1/../v1/models", "/v1/models/%2e%2e/x", "/v1/models/a%2fb", "/v1//models", "/v1/models/%00",
     "/nowhere", "/v1/models/..%5c", "/v1/chat/completions;x"],
)  # fmt: skip
def test_a_path_with_tricks_is_not_there(shared, path):
    assert error_of(shared.get(path))[0] == 404


def test_the_wrong_method_is_said_to_be_so(shared):
    assert error_of(shared.get(CHAT)) == (405, "not_allowed")


# ---------------------------------------------------------------- keys


@pytest.fixture
def secret(home: Path) -> Callable[..., str]:
    """Makes a key of these scopes."""

    def make(name: str = "ann", scopes: Any = ("ask", "feedback"), **limits: Any) -> str:
        with open_home(home, lock=None) as opened:
            return opened.keys.add(name, scopes, **limits)[1]

    return make


def test_without_a_key_a_server_does_not_open_to_others(home, serve):
    with pytest.raises(SteelyardError, match="others could ask, and there is no key"):
        serve(host="0.0.0.0")


def test_without_keys_only_this_machine_may_ask(shared):
    found = shared.get("/v1/models", host="evil.example")
    assert error_of(found) == (403, "host_not_allowed")
    for page in ("https://evil.example", "null", "http://localhost.evil.example:80"):
        assert error_of(shared.get("/v1/models", f"Origin: {page}")) == (403, "host_not_allowed")
    assert shared.get("/v1/models", "Origin: http://localhost:3000")[0] == 200


def test_with_keys_a_request_needs_one_that_is_right_and_not_revoked(home, serve, secret):
    key = secret()
    server = serve()
    with server.client(key) as client:
        assert client.models.list().data
    for wrong in ("none", key[:-1], key + "x"):
        with server.client(wrong) as client, pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
    with open_home(home, lock=None) as opened:
        opened.keys.revoke("ann")
        opened.keys.add("ben", ("ask",))
    deadline = time.monotonic() + 5
    with server.client(key) as client:
        while time.monotonic() < deadline:
            try:
                client.models.list()
            except openai.AuthenticationError:
                return
            time.sleep(0.05)
    pytest.fail("a revoked key went on opening")


def test_a_key_is_kept_by_its_hash_alone(home, secret):
    key = secret()
    found = b"".join(path.read_bytes() for path in home.glob("steelyard.db*"))
    assert key.encode() not in found


def test_a_key_may_do_what_its_scopes_say(serve, secret):
    asks, tells, admin = secret("a", ("ask",)), secret("b", ("feedback",)), secret("c", ("admin",))
    server = serve()

    def statuses(path: str) -> list[int]:
        keys = [f"Authorization: Bearer {key}" for key in (asks, tells, admin)]
        return [server.get(path, key, host="example.com")[0] for key in keys]

    assert statuses("/v1/models") == [200, 403, 200]
    assert statuses("/metrics") == [403, 403, 200]
    assert server.get("/health")[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/vector_stores/vs_1/search", "ask"),
        ("POST", "/v1/vector_stores/vs_1/search/", "ask"),
        ("POST", "/v1/vector_stores/search", "admin"),
        ("POST", "/v1/vector_stores/vs_1/files/search", "admin"),
        ("GET", "/v1/vector_stores/vs_1/file_batches/search", "admin"),
        ("DELETE", "/v1/vector_stores/vs_1/search", "admin"),
        ("DELETE", "/v1/models/ft:a", "admin"),
        ("POST", "/v1/fine_tuning/jobs", "admin"),
        ("POST", "/v1/feedback", "feedback"),
    ],
)
def test_a_search_alone_of_what_is_the_administrators_needs_no_more_than_to_ask(
    method, path, scope
):
    assert scope_of(method, path) == scope


def test_a_key_that_asks_too_much_is_told_when_to_try_again(serve, secret):
    requests = secret("r", requests_per_minute=2)
    tokens = secret("t", tokens_per_minute=1)
    server = serve()
    with server.client(requests) as client:
        for _ in range(2):
            client.models.list()
        with pytest.raises(openai.RateLimitError, match="2 requests a minute") as caught:
            client.models.list()
    assert 25 <= int(caught.value.response.headers["retry-after"]) <= 30
    with server.client(tokens) as client:
        client.completions.create(model="fake", prompt="a b c")
        with pytest.raises(openai.RateLimitError, match="1 tokens a minute"):
            client.completions.create(model="fake", prompt="a b c")


# ---------------------------------------------------------------- the engine


class Held:
    """An engine that answers when it is let go, or breaks when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free, self.began, self.error = threading.Event(), threading.Event(), False
        self.sizes: list[int] = []
        plain = FakeBackend.generate

        def generate(fake: Any, prompts: Any, sampling: Any, listen: Any = None) -> Any:
            self.sizes.append(len(prompts))
            self.began.set()

            def hear(number: int, text: str) -> bool:
                enough = listen(number, text) if listen is not None else False
                self.free.wait(10)
                if self.error:
                    raise RuntimeError("secret words of a prompt")
                return enough

            return plain(fake, prompts, sampling, hear)

        monkeypatch.setattr(FakeBackend, "generate", generate)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    engine = Held(monkeypatch)
    yield engine
    engine.free.set()


def in_background(do: Callable[[], Any]) -> threading.Thread:
    def quietly() -> None:
        with suppress(openai.OpenAIError):
            do()

    thread = threading.Thread(target=quietly)
    thread.start()
    return thread


def test_an_engine_that_breaks_mid_stream_ends_it_with_an_error_event(serve, held, caplog):
    server = serve()
    with server.client() as client:
        chunks = client.chat.completions.create(
            model="text", messages=[{"role": "user", "content": "Oslo baker"}], stream=True
        )
        assert next(chunks).choices[0].delta.role == "assistant"
        held.error = True
        held.free.set()
        with pytest.raises(openai.APIError, match="the engine failed: RuntimeError"):
            list(chunks)
    held.error = False
    assert works(server)
    assert "secret words" not in caplog.text


def test_requests_that_wait_for_the_same_release_are_answered_together(serve, held):
    server = serve()
    threads = [in_background(lambda: chat(server, "first"))]
    assert held.began.wait(5)
    threads += [in_background(lambda n=n: chat(server, f"Oslo {n}")) for n in range(5)]
    until(lambda: server.service.engine.num_waiting == 5)
    held.free.set()
    for thread in threads:
        thread.join(10)
    assert held.sizes == [1, 5]


def until(done: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_more_than_may_wait_are_told_to_come_back(serve, held):
    server = serve(most_waiting=1)
    threads = [in_background(lambda: chat(server))]
    assert held.began.wait(5)
    threads.append(in_background(lambda: chat(server, "Rome nurse")))
    until(lambda: server.service.engine.num_waiting == 1)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(server)
    assert caught.value.response.headers["retry-after"] == "1"
    held.free.set()
    for thread in threads:
        thread.join(10)
    assert works(server)


def test_an_engine_that_hangs_is_a_timeout_and_then_refused_at_once(serve, held):
    server = serve(timeout_s=0.3)
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            chat(server, stream=stream)
        assert caught.value.status_code in (503, 504)
    until(lambda: server.service.hangs)
    with pytest.raises(openai.InternalServerError, match="has not answered for too long") as late:
        chat(server)
    assert late.value.response.headers["retry-after"] == "1"
    assert (
        server.raw(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").split()[1]
        == b"503"
    )
    held.free.set()
    until(lambda: not server.service.hangs)
    assert works(server)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(serve, held, stream):
    server = serve()
    body = json.dumps({**json.loads(ASK), "stream": stream}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert held.began.wait(5)
        waiting = in_background(lambda: chat(server, "Rome nurse"))
        until(lambda: server.service.engine.num_waiting == 1)
    gone = lambda: "steelyard_clients_gone_total 1" in server.service.metrics.text()  # noqa: E731
    until(gone)
    held.free.set()
    waiting.join(10)
    until(lambda: server.service.engine.busy_seconds == 0)
    server.service.recorder.flush().result(5)
    errors = [row["error"] for row in rows(server)]
    assert errors == ["client_gone", None]


def rows(server: Running) -> list[dict[str, Any]]:
    """What is recorded, in the order in which it began."""
    with server.service.recorder.traffic.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT * FROM request ORDER BY began_at")
        return [dict(row) for row in found.mappings()]


def test_a_client_that_takes_nothing_is_let_go(serve, monkeypatch):
    monkeypatch.setattr(protocol, "WRITE_SECONDS", 0.2)
    monkeypatch.setattr(
        Served, "answer_all", lambda self, queries, listen: [_long(listen)] * len(queries)
    )
    server = serve()
    body = json.dumps({**json.loads(ASK), "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until(lambda: 'status="200"' in server.service.metrics.text(), 10)
    monkeypatch.undo()
    assert works(server)


def _long(listen: Any) -> Any:
    for size in range(1, 60):
        listen(0, "x" * (size * 200_000))
    return Answer("x", "x" * 12_000_000)


def test_many_streams_at_once_are_all_answered(shared):
    texts, lock = [], threading.Lock()

    def ask(number: int) -> None:
        text = streamed(shared, f"Oslo baker n{number}")
        with lock:
            texts.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(texts) == 40
    assert all(text.startswith("the ") for text in texts)


# ---------------------------------------------------------------- the home folder


def test_a_second_server_is_told_and_other_work_goes_on(home, serve):
    serve()
    with pytest.raises(HomeError, match="another steelyard serves this home folder"):
        serve()
    with open_home(home):
        pass


def test_a_rollback_is_taken_up_while_it_runs(home, serve):
    server = serve()
    assert chat(server).model == "text@2"
    rollback("text", home=home)
    until(lambda: chat(server).model == "text@1")


def test_a_release_that_cannot_be_opened_leaves_what_is_served(home, serve, published, monkeypatch):
    server = serve(names=("text",))
    task = load_task(published / "text" / "task.toml")
    found = publish(task, home=home, name="text", recipe="tfidf")
    folder = home / "artefacts" / found.release.snapshot
    (folder / "release.json").write_text("{}", encoding="utf-8")
    until(lambda: bool(server.service.catalogue.problems))
    assert chat(server).model == "text@2"


def test_a_disk_that_is_full_loses_records_and_counts_them_while_answers_go_on(serve):
    server = serve()
    chat(server)
    server.service.recorder.flush().result(5)
    with server.service.recorder.traffic.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def full(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(server.service.recorder.traffic.engine, "checkout", full)
    response = chat(server, "x" * 100_000, model="fake")
    assert response.choices[0].message.content == "x" * 100_000
    server.service.recorder.flush().result(5)
    assert server.service.recorder.lost > 0
    assert f"steelyard_lost_records {server.service.recorder.lost}" in server.service.metrics.text()
    event.remove(server.service.recorder.traffic.engine, "checkout", full)
    assert works(server)


# ---------------------------------------------------------------- signals


def test_feedback_that_was_acknowledged_outlives_a_kill_and_another_server_starts(home, process):
    ran, server = process()
    response = chat(server)
    given = {"response_id": response.id, "score": 0.25, "correction": "the pilot from Rome"}
    status, body = server.post("/v1/feedback", json.dumps(given).encode())
    ran.send_signal(signal.SIGKILL)
    ran.wait(10)
    assert (status, json.loads(body)["new"]) == (200, True)
    traffic = Traffic(home / "traffic.db")
    [found] = traffic.feedback()
    traffic.close()
    assert (found.feedback.score, found.feedback.correction) == (0.25, "the pilot from Rome")
    assert (found.input, found.release) == ("Oslo baker", "text@2")
    _, again = process()
    assert works(again)


def test_a_request_to_end_lets_requests_finish(home, process):
    ran, server = process()
    text = streamed(server, "Oslo baker", lambda: ran.send_signal(signal.SIGTERM))
    assert text == "the baker from Oslo"
    assert ran.wait(20) in (0, -signal.SIGTERM)
