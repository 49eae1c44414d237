"""Files by the official client: kept whole, checked line by line, and nothing else of the disk."""

from __future__ import annotations

import errno
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import openai
import pytest

from servers import Running, running
from steelyard.lifecycle import open_home
from steelyard.serve import uploading
from steelyard.serve.multipart import Form

Serve = Callable[..., Running]
ROWS = [
    {"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]}
    for n in range(12)
]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def server(tidied: Running) -> Running:
    return tidied


@pytest.fixture
def place(shared: Running) -> Path:
    """The home folder of the server."""
    return shared.service.home.path


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with server.client() as made:
        yield made


def left(home: Path) -> list[str]:
    """The files that the server keeps for clients."""
    folder = home / "files"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_file_is_kept_listed_read_back_and_deleted(client, place):
    made = client.files.create(file=("rows.jsonl", JSONL), purpose="fine-tune")
    assert (made.object, made.bytes, made.filename) == ("file", len(JSONL), "rows.jsonl")
    assert (made.purpose, made.status) == ("fine-tune", "processed")
    assert abs(made.created_at - time.time()) < 60
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == JSONL
    other = client.files.create(file=("notes.md", b"# Fees"), purpose="assistants")
    assert [file.id for file in client.files.list()] == [other.id, made.id]
    assert [file.id for file in client.files.list(purpose="fine-tune")] == [made.id]
    assert [file.id for file in client.files.list(order="asc")] == [made.id, other.id]
    assert left(place) == sorted([f"{made.id}.jsonl", f"{other.id}.md"])
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    assert left(place) == [f"{other.id}.md"]
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {made.id}"):
        client.files.retrieve(made.id)


def test_lists_come_in_pages(client):
    ids = [client.files.create(file=b"x", purpose="assistants").id for _ in range(5)][::-1]
    first = client.files.list(limit=2)
    assert ([file.id for file in first.data], first.has_more) == (ids[:2], True)
    assert [file.id for file in client.files.list(limit=2)] == ids  # the client turns pages
    last = client.files.list(limit=2, after=ids[2])
    assert ([file.id for file in last.data], last.has_more) == (ids[3:], False)
    with pytest.raises(openai.BadRequestError, match="has the id file-none"):
        client.files.list(after="file-none")
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.list(limit=0)
    assert caught.value.param == "limit"


def test_lines_that_cannot_be_learned_are_refused_by_their_numbers(client, place):
    bad = JSONL + b'{"messages": []}\n' + b"{\n"
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("rows.jsonl", bad), purpose="fine-tune")
    assert (caught.value.code, caught.value.param) == ("invalid_file_format", "file")
    assert "2 of 14 lines" in caught.value.message
    assert "line 13: messages: the last one" in caught.value.message
    assert "line 14: it is no JSON" in caught.value.message
    assert left(place) == []
    kept = client.files.create(file=("rows.jsonl", bad), purpose="user_data")
    assert kept.bytes == len(bad)


@pytest.mark.parametrize(
    ("name", "content", "purpose", "code"),
    [
        ("a.txt", b"", "assistants", "invalid_file_format"),
        ("a.txt", b"x", "vision", "invalid_value"),
        ("a.txt", b"x", "fine-tune-results", "invalid_value"),
        ("a.txt", b"x", "", "invalid_value"),
    ],
)
def test_what_nothing_here_has_a_use_for_is_refused(client, place, name, content, purpose, code):
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=(name, content), purpose=purpose)
    assert caught.value.code == code
    assert left(place) == []


def test_an_expiry_is_refused_by_name(client, place):
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(
            file=b"x",
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
    assert caught.value.code == "unknown_parameter"
    assert left(place) == []


@pytest.mark.parametrize(
    "name",
    ["../../evil.txt", "..\\evil.txt", "/etc/passwd", "a/b/c.txt", "x" * 400, ".", "\x00.md"],
)
def test_a_name_is_no_path(client, place, name):
    made = client.files.create(file=(name, b"x"), purpose="assistants")
    assert not set("/\\") & set(made.filename)
    assert len(made.filename) <= 255
    assert len(left(place)) == 1
    assert left(place)[0].startswith(made.id)
    assert client.files.content(made.id).read() == b"x"


@pytest.mark.parametrize(
    "id",
    [
        "../steelyard.db",
        "..%2fsteelyard.db",
        "%2e%2e%2fsteelyard.db",
        "file-x%00",
        "file-x/../../steelyard.db",
        "file-1' OR '1'='1",
        "x" * 300,
    ],
)
@pytest.mark.parametrize("rest", ["", "/content"])
def test_an_id_is_no_path_either(server, client, id, rest):
    client.files.create(file=b"x", purpose="assistants")
    status, body = server.get(f"/v1/files/{id.replace(' ', '%20')}{rest}")
    assert status == 404
    assert b"SQLite" not in body
    assert client.files.list().data


def head_of(size: int) -> bytes:
    return (
        "POST /v1/files HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary=B\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


START = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'


def test_a_file_that_says_it_is_too_large_is_refused_before_it_is_sent(server, place):
    assert b" 413 " in server.raw(head_of(600_000_000), timeout=2).split(b"\r\n")[0]
    assert left(place) == []


def test_a_file_that_grows_too_large_is_refused_and_removed(server, client, place, monkeypatch):
    monkeypatch.setattr(uploading, "MAX_UPLOAD_BYTES", 100_000)
    body = START + b"x" * 300_000
    head = head_of(len(body)).replace(
        f"Content-Length: {len(body)}".encode(), b"Transfer-Encoding: chunked"
    )
    chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head + chunk)
        assert b" 413 " in connection.recv(1000).split(b"\r\n")[0]
    assert left(place) == []
    assert client.files.create(file=b"x", purpose="assistants").bytes == 1


def test_a_file_larger_than_a_body_may_be_goes_through(client):
    content = bytes(range(256)) * 30_000
    made = client.files.create(file=io.BytesIO(content), purpose="assistants")
    assert made.bytes == len(content)
    assert client.files.content(made.id).read() == content


def test_a_file_that_does_not_come_is_given_up(server, place, monkeypatch):
    monkeypatch.setattr(uploading, "READ_SECONDS", 0.2)
    assert b" 408 " in server.raw(head_of(1000) + START, timeout=5).split(b"\r\n")[0]
    assert left(place) == []


def test_a_client_that_leaves_in_the_middle_leaves_nothing(server, client, place):
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head_of(1_000_000) + START + b"x" * 100_000)
        deadline = time.monotonic() + 5
        while not left(place):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    while left(place):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert client.files.list().data == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", "invalid_form"),
        (START + b"x", "invalid_form"),
        (b"--B--", "missing_required_parameter"),
    ],
)
def test_a_body_that_is_no_form_is_refused(server, place, body, code):
    found = server.raw(head_of(len(body)) + body, timeout=2)
    assert found.startswith(b"HTTP/1.1 400")
    assert json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == code
    assert left(place) == []


def test_a_full_disk_is_said_and_the_next_request_works(server, client, place, monkeypatch):
    class Full(Form):
        """A form whose file has no room."""

        def __init__(self, boundary: bytes, file: BinaryIO) -> None:
            super().__init__(boundary, file)

        def feed(self, data: bytes) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(uploading, "Form", Full)
        with pytest.raises(openai.InternalServerError, match="no room for the file") as caught:
            client.files.create(file=b"x", purpose="assistants")
    assert caught.value.status_code == 507
    assert left(place) == []
    assert client.files.create(file=b"x", purpose="assistants").bytes == 1


def test_what_a_killed_server_left_of_an_upload_is_removed(home):
    (home / "files").mkdir()
    (home / "files" / ".part-abc").write_bytes(b"half")
    (home / "files" / "file-0a1b.txt").write_bytes(b"whole, but without its row")
    (home / "files" / "mine.txt").write_bytes(b"not ours")
    with running(home) as server, server.client() as client:
        kept = client.files.create(file=b"x", purpose="assistants").id
        assert left(home) == [kept, "mine.txt"]
    with running(home):
        assert left(home) == [kept, "mine.txt"]


def test_files_need_the_scope_admin(serve, home):
    with open_home(home, create=False, lock=None) as opened:
        _, asking = opened.keys.add("asks", ("ask", "feedback"))
        _, admin = opened.keys.add("runs", ("admin",))
    server = serve()
    with server.client(admin) as client:
        file = client.files.create(file=b"x", purpose="assistants")
    with server.client(asking) as client:
        for refused in (
            lambda: client.files.create(file=b"x", purpose="assistants"),
            lambda: client.files.list(),
            lambda: client.files.content(file.id),
            lambda: client.files.delete(file.id),
            lambda: client.fine_tuning.jobs.create(model="fake", training_file=file.id),
            lambda: client.fine_tuning.jobs.list(),
            lambda: client.vector_stores.create(name="x"),
            lambda: client.vector_stores.delete("vs_x"),
            lambda: client.models.delete("text"),
        ):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                refused()
            assert caught.value.code == "insufficient_permissions"
        with pytest.raises(openai.NotFoundError, match="Vector store with id"):
            client.vector_stores.search("vs_x", query="hi")
