"""Vector stores by the official client: files taken up, filtered, searched, taken out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers import Running, running
from steelyard.errors import BusyError
from steelyard.lifecycle.engine import Engine
from steelyard.models.fake import FakeEmbedder
from steelyard.serve.filters import Comparison, Compound, wants
from steelyard.serve.waiting import TEXTS_AT_ONCE, WaitingEmbedder

Serve = Callable[..., Running]
FEES = b"# Fees\n\nA lost card costs five pounds to replace.\n\n# Limits\n\nThe daily limit is 300."
HOURS = b"The branch in Oslo opens at nine and closes at five."


@pytest.fixture
def client(tidied: Running) -> Iterator[openai.OpenAI]:
    with tidied.client() as made:
        yield made


def taken_up(client: openai.OpenAI, store: str, name: str, content: bytes, **more: Any) -> Any:
    """A file of a store, once it is taken up."""
    return client.vector_stores.files.upload_and_poll(
        vector_store_id=store, file=(name, content), poll_interval_ms=50, **more
    )


def texts(found: Any) -> list[str]:
    return [hit.content[0].text for hit in found]


def test_files_are_taken_up_searched_and_taken_out(client, tidied):
    store = client.vector_stores.create(name="help", metadata={"team": "a"})
    assert (store.status, store.file_counts.total, store.name) == ("completed", 0, "help")
    fees = taken_up(client, store.id, "fees.md", FEES, attributes={"year": 2025})
    assert (fees.status, fees.last_error, fees.attributes) == ("completed", None, {"year": 2025})
    hours = taken_up(client, store.id, "hours.txt", HOURS)
    now = client.vector_stores.retrieve(store.id)
    assert (now.file_counts.completed, now.file_counts.total) == (2, 2)
    assert now.usage_bytes == fees.usage_bytes + hours.usage_bytes > len(HOURS)

    found = client.vector_stores.search(store.id, query="What does a lost card cost?")
    best = found.data[0]
    assert (best.file_id, best.filename, best.attributes) == (fees.id, "fees.md", {"year": 2025})
    assert "five pounds" in best.content[0].text
    assert best.score == 1.0  # first by words and by meaning
    assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert len(client.vector_stores.search(store.id, query="card", max_num_results=1).data) == 1
    good = client.vector_stores.search(
        store.id, query="lost card", ranking_options={"score_threshold": 0.99}
    )
    assert len(good.data) == 1
    both = client.vector_stores.search(store.id, query=["lost card", "branch in Oslo"])
    assert {hit.file_id for hit in both.data[:2]} == {fees.id, hours.id}

    pieces = client.vector_stores.files.content(fees.id, vector_store_id=store.id).data
    assert "".join(piece.text or "" for piece in pieces).count("pounds") == 1
    client.vector_stores.files.delete(fees.id, vector_store_id=store.id)
    assert "five pounds" not in "".join(texts(client.vector_stores.search(store.id, query="card")))
    assert client.files.retrieve(fees.id).filename == "fees.md"
    assert client.vector_stores.delete(store.id).deleted
    assert not list((tidied.service.home.path / "knowledge").glob(f"{store.id}*"))
    with pytest.raises(openai.NotFoundError, match=f"Vector store with id '{store.id}' not found"):
        client.vector_stores.search(store.id, query="card")


def test_a_deleted_file_is_found_no_more(client):
    store = client.vector_stores.create()
    file = taken_up(client, store.id, "fees.md", FEES)
    client.files.delete(file.id)
    assert client.vector_stores.search(store.id, query="lost card").data == []
    assert client.vector_stores.files.list(store.id).data == []


def test_a_file_that_is_cancelled_while_it_is_taken_up_is_not_found(client, monkeypatch):
    from steelyard.lifecycle.vector_stores import Stores

    read, begun, go_on = Stores._read, threading.Event(), threading.Event()

    def slowly(self: Stores, member: Any) -> int:
        size = read(self, member)
        begun.set()
        assert go_on.wait(30)
        return size

    monkeypatch.setattr(Stores, "_read", slowly)
    store = client.vector_stores.create()
    file = client.files.create(file=("a.txt", HOURS), purpose="assistants")
    batch = client.vector_stores.file_batches.create(store.id, file_ids=[file.id])
    assert begun.wait(30)
    client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    go_on.set()
    deadline = time.monotonic() + 30
    while client.vector_stores.search(store.id, query="Oslo").data:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert wait(client, store.id).file_counts.cancelled == 1


def test_a_file_that_was_taken_out_by_half_leaves_no_text_and_can_be_taken_out_again(
    client, monkeypatch
):
    from steelyard.store.vector_stores import VectorStores

    def killed(*_: Any) -> bool:
        raise RuntimeError

    store = client.vector_stores.create()
    file = taken_up(client, store.id, "fees.md", FEES)
    with monkeypatch.context() as patch:
        patch.setattr(VectorStores, "take_out", killed)
        with pytest.raises(openai.InternalServerError):
            client.with_options(max_retries=0).files.delete(file.id)
    assert client.vector_stores.search(store.id, query="lost card").data == []
    client.files.delete(file.id)
    assert client.vector_stores.files.list(store.id).data == []


def test_attributes_that_are_no_numbers_are_refused(client):
    store = client.vector_stores.create()
    file = client.files.create(file=("a.txt", HOURS), purpose="assistants")
    with pytest.raises(openai.BadRequestError, match="attributes"):
        client.post(
            f"/vector_stores/{store.id}/files",
            cast_to=object,
            content=f'{{"file_id": "{file.id}", "attributes": {{"a": NaN}}}}'.encode(),
            options={"headers": {"Content-Type": "application/json"}},
        )


def test_a_store_is_made_with_its_files_listed_and_renamed(client):
    ids = [client.files.create(file=(f"{n}.txt", HOURS), purpose="assistants").id for n in "abc"]
    store = client.vector_stores.create(name="x", file_ids=ids)
    assert store.file_counts.total == 3
    wait(client, store.id)
    listed = [file.id for file in client.vector_stores.files.list(store.id, limit=2)]
    assert listed == ids[::-1]
    done = client.vector_stores.files.list(store.id, filter="completed", order="asc")
    assert [file.id for file in done.data] == ids
    assert client.vector_stores.files.list(store.id, filter="failed").data == []
    changed = client.vector_stores.update(store.id, name="y", metadata={"a": "b"})
    assert (changed.name, changed.metadata) == ("y", {"a": "b"})
    assert [one.name for one in client.vector_stores.list()] == ["y"]


def wait(client: openai.OpenAI, store: str) -> Any:
    deadline = time.monotonic() + 120
    while client.vector_stores.retrieve(store).file_counts.in_progress:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return client.vector_stores.retrieve(store)


def test_a_batch_is_taken_up_together_and_equal_texts_are_found_under_their_own_file(client):
    store = client.vector_stores.create()
    batch = client.vector_stores.file_batches.upload_and_poll(
        store.id, files=[("a.txt", HOURS), ("a.txt", HOURS)]
    )
    members = client.vector_stores.file_batches.list_files(batch.id, vector_store_id=store.id).data
    assert [one.last_error for one in members] == [None, None]
    assert (batch.status, batch.file_counts.completed) == ("completed", 2)
    newer, older = [one.id for one in members]
    client.vector_stores.files.update(newer, vector_store_id=store.id, attributes={"kind": "new"})
    [hit] = client.vector_stores.search(
        store.id, query="Oslo", filters={"type": "eq", "key": "kind", "value": "new"}
    ).data
    assert hit.file_id == newer
    [hit] = client.vector_stores.search(store.id, query="Oslo").data
    assert hit.file_id in (newer, older)
    cancelled = client.vector_stores.file_batches.cancel(batch.id, vector_store_id=store.id)
    assert cancelled.file_counts.completed == 2  # they are there already


def test_only_files_whose_attributes_are_wanted_are_searched(client):
    store = client.vector_stores.create()
    for year, kind in ((2023, "old"), (2024, "new"), (2025, "new")):
        content = f"The fee of {year} is {year - 2000} pounds.".encode()
        more = {"attributes": {"year": year, "kind": kind}}
        taken_up(client, store.id, f"{year}.txt", content, **more)
    filters = {
        "type": "and",
        "filters": [
            {"type": "eq", "key": "kind", "value": "new"},
            {"type": "lt", "key": "year", "value": 2025},
        ],
    }
    found = client.vector_stores.search(store.id, query="fee", filters=filters)
    assert texts(found) == ["The fee of 2024 is 24 pounds."]
    none = {"type": "in", "key": "kind", "value": ["nothing"]}
    assert client.vector_stores.search(store.id, query="fee", filters=none).data == []


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("a.exe", b"MZ", "unsupported_file", "are not read"),
        ("a.txt", b"   ", "invalid_file", "there is no text in it"),
        ("a.pdf", b"%PDF-1.4 broken", "invalid_file", ""),
    ],
)
def test_a_file_that_cannot_be_read_says_why(client, name, content, code, said):
    store = client.vector_stores.create()
    file = taken_up(client, store.id, name, content)
    assert (file.status, file.last_error.code) == ("failed", code)
    assert said in file.last_error.message
    assert client.vector_stores.retrieve(store.id).file_counts.failed == 1
    assert client.vector_stores.search(store.id, query="text").data == []


def test_what_a_file_says_of_users_and_dates_hides_nothing_of_it(client):
    rows = [
        {"id": "1", "text": "Ann is a welder.", "user": "ann", "tenant": "t"},
        {"id": "2", "text": "The old fee was two pounds.", "valid_to": "2020"},
    ]
    content = "\n".join(map(json.dumps, rows)).encode()
    store = client.vector_stores.create()
    file = taken_up(client, store.id, "rows.jsonl", content)
    assert file.status == "completed"
    assert len(client.vector_stores.search(store.id, query="welder fee").data) == 2


def test_what_waits_when_a_server_ends_is_taken_up_by_the_next(home, monkeypatch):
    from steelyard.lifecycle.vector_stores import Stores

    with monkeypatch.context() as patch:
        patch.setattr(Stores, "start", lambda self: None)
        with running(home) as server, server.client() as client:
            store = client.vector_stores.create()
            file = client.files.create(file=("a.txt", HOURS), purpose="assistants")
            member = client.vector_stores.files.create(file_id=file.id, vector_store_id=store.id)
            assert member.status == "in_progress"
            assert client.vector_stores.retrieve(store.id).status == "in_progress"
    with running(home) as server, server.client() as client:
        assert wait(client, store.id).file_counts.completed == 1
        assert client.vector_stores.search(store.id, query="Oslo").data[0].file_id == file.id


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"query": " "}, "no_input"),
        ({"query": []}, "invalid_type"),
        ({"query": "a", "max_num_results": 51}, "invalid_type"),
        ({"query": "a", "rewrite_query": True}, "invalid_type"),
        ({"query": "a", "filters": {"type": "like", "key": "a", "value": "b"}}, "invalid_type"),
        ({"query": "a", "ranking_options": {"hybrid_search": {}}}, "unknown_parameter"),
    ],
)
def test_a_search_that_cannot_be_done_is_refused(client, asked, code):
    store = client.vector_stores.create()
    with pytest.raises(openai.BadRequestError) as caught:
        client.vector_stores.search(store.id, **asked)
    assert caught.value.code == code


def test_what_is_not_served_of_stores_is_refused_by_name(client):
    store = client.vector_stores.create()
    for refused, param in (
        ({"expires_after": {"anchor": "last_active_at", "days": 1}}, "expires_after"),
        ({"chunking_strategy": {"type": "static", "static": {}}}, "chunking_strategy.static"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            client.vector_stores.create(**refused)
        assert (caught.value.code, caught.value.param) == ("unknown_parameter", param)
    with pytest.raises(openai.BadRequestError, match="No such File object: file-x"):
        client.vector_stores.files.create(file_id="file-x", vector_store_id=store.id)
    with pytest.raises(openai.NotFoundError, match="No file found with id 'file-x'"):
        client.vector_stores.files.retrieve("file-x", vector_store_id=store.id)
    with pytest.raises(openai.NotFoundError, match="No file batch found"):
        client.vector_stores.file_batches.retrieve("vsfb_x", vector_store_id=store.id)


def test_the_description_of_the_api_has_every_route_with_its_form_and_its_query(shared):
    status, body = shared.get("/openapi.json")
    paths = json.loads(body)["paths"]
    assert status == 200
    for path, methods in {
        "/v1/files": {"get", "post"},
        "/v1/files/{name}": {"get", "delete"},
        "/v1/files/{name}/content": {"get"},
        "/v1/fine_tuning/jobs": {"get", "post"},
        "/v1/fine_tuning/jobs/{name}": {"get"},
        "/v1/fine_tuning/jobs/{name}/cancel": {"post"},
        "/v1/fine_tuning/jobs/{name}/events": {"get"},
        "/v1/fine_tuning/jobs/{name}/checkpoints": {"get"},
        "/v1/vector_stores": {"get", "post"},
        "/v1/vector_stores/{name}": {"get", "post", "delete"},
        "/v1/vector_stores/{name}/search": {"post"},
        "/v1/vector_stores/{name}/files": {"get", "post"},
        "/v1/vector_stores/{name}/files/{file}": {"get", "post", "delete"},
    }.items():
        assert set(paths[path]) == methods
    form = paths["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = json.loads(body)["components"]["schemas"][form["$ref"].rpartition("/")[2]]
    assert set(fields["properties"]) == {"file", "purpose"}
    assert set(fields["required"]) == {"file", "purpose"}
    queries = {
        one["name"] for one in paths["/v1/files"]["get"]["parameters"] if one["in"] == "query"
    }
    assert queries == {"after", "before", "limit", "order", "purpose"}


# ---------------------------------------------------------------- the parts


VALUES = st.one_of(st.text(max_size=2), st.booleans(), st.floats(-2, 2), st.integers(-2, 2))


@given(VALUES, VALUES)
def test_a_comparison_and_its_opposite_are_never_both_true(value, other):
    def told(kind: Any) -> bool:
        return wants(Comparison(type=kind, key="a", value=other), {"a": value})

    assert told("eq") != told("ne")
    assert not (told("lt") and told("gte"))
    assert told("eq") == told("in")
    both = [Comparison(type=kind, key="a", value=other) for kind in ("lt", "gte")]
    either = wants(Compound(type="or", filters=both), {"a": value})
    assert either == (told("lt") or told("gte"))
    assert not wants(Compound(type="and", filters=both), {"a": value})
    assert wants(Comparison(type="ne", key="b", value=other), {"a": value})


def test_texts_are_embedded_in_turn_with_everything_else():
    engine, fake = Engine(), FakeEmbedder()
    try:
        waiting = WaitingEmbedder(fake, engine)
        words = [f"word {n}" for n in range(2 * TEXTS_AT_ONCE + 3)]
        assert np.array_equal(waiting.embed(words), fake.embed(words))
        assert waiting.embed([]).shape == fake.embed([]).shape
        assert waiting.fingerprint == fake.fingerprint
    finally:
        engine.close(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("steelyard.serve.waiting.WAIT_SECONDS", 0)
        with pytest.raises(BusyError, match="closing"):
            waiting.embed(["late"])


def test_a_base_has_another_name_only_where_one_is_given(serve: Serve, tmp_path: Path):
    from steelyard.serve.catalogue import named

    assert (named("a-1.5:x=fake").name, named("a-1.5:x=fake").source) == ("a-1.5:x", "fake")
    for plain in ("fake", "a/b=c", "=fake", "x="):
        assert (named(plain).name, named(plain).source) == (plain, plain)
