"""Feedback by HTTP, who asks, and what an answer cites."""

from __future__ import annotations

import json
from typing import Any

import pytest

from servers import Running
from steelyard.core import Answer, Source, Usage
from steelyard.lifecycle.releases import Served


def give(server: Running, **body: Any) -> tuple[int, Any]:
    status, said = server.post("/v1/feedback", json.dumps(body).encode())
    return status, json.loads(said)


def asked(server: Running, model: str = "json", **more: Any) -> Any:
    with server.client() as client:
        messages: Any = [{"role": "user", "content": "Oslo baker"}]
        return client.chat.completions.create(model=model, messages=messages, **more)


def test_feedback_is_kept_with_who_asked_and_is_new_once(serve):
    server = serve()
    id = asked(server, user="ann").id
    status, said = give(server, response_id=id, score=0)
    assert (status, said["new"], said["response_id"]) == (200, True, id)
    assert give(server, response_id=id, score=0) == (200, {**said, "new": False})
    [found] = server.service.recorder.traffic.feedback()
    assert (found.feedback.user, found.feedback.score, found.release) == ("ann", 0.0, "json@2")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "no_feedback"),
        ({"score": 2}, 400, "invalid_type"),
        ({"score": "nan"}, 400, "invalid_type"),
        ({"correction": {"city": 3}}, 400, "invalid_correction"),
        ({"score": 1, "response_id": "chatcmpl-none"}, 404, "response_not_found"),
        ({"score": 1, "mood": "bad"}, 400, "unknown_parameter"),
    ],
)
def test_feedback_that_says_nothing_of_use_is_refused(shared, body, status, code):
    found, said = give(shared, **{"response_id": asked(shared).id, **body})
    assert (found, said["error"]["code"]) == (status, code)
    assert shared.service.recorder.traffic.feedback() == []


def test_a_base_model_has_no_task_to_correct(shared):
    status, said = give(shared, response_id=asked(shared, "fake").id, correction="x")
    assert (status, said["error"]["code"]) == (400, "no_task")


def test_feedback_that_cannot_be_written_is_not_acknowledged(shared, monkeypatch):
    id = asked(shared).id

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("steelyard.lifecycle.recording.add_feedback", full)
    status, said = give(shared, response_id=id, score=1)
    assert (status, said["error"]["code"]) == (507, "not_kept")


def test_the_user_of_a_request_is_who_the_system_is_told_asks(shared, monkeypatch):
    seen: list[Any] = []

    def answer_all(self: Served, queries: Any, listen: Any) -> list[Answer]:
        seen.extend(queries)
        return [Answer("x", "x", usage=Usage(9, 4, 1))] * len(queries)

    monkeypatch.setattr(Served, "answer_all", answer_all)
    found = asked(shared, "text", user="ann")
    assert [(query.input, query.user) for query in seen] == [("Oslo baker", "ann")]
    assert found.usage.prompt_tokens_details.cached_tokens == 4


def test_citations_are_annotations_of_the_message(shared, monkeypatch):
    sources = (Source("mill.md:0-9", "mill.md", "Ott built"), Source("b.md:0-4", "b.md", "In 1888"))
    answer = Answer("x", "Ott built it [2]. Not so [7].", sources=sources)
    monkeypatch.setattr(Served, "answer_all", lambda self, queries, _: [answer] * len(queries))
    [note] = asked(shared, "text").choices[0].message.annotations
    cited = note.url_citation
    assert (cited.title, cited.url) == ("b.md", "steelyard:b.md:0-4")
    assert answer.text[cited.start_index : cited.end_index] == "[2]"
    with shared.client() as client:
        [same] = client.responses.create(model="text", input="x").output[0].content[0].annotations
        chunks = list(
            client.chat.completions.create(
                model="text", messages=[{"role": "user", "content": "x"}], stream=True
            )
        )
    assert (same.type, same.title, same.start_index) == ("url_citation", "b.md", 13)
    [streamed] = chunks[-1].choices[0].delta.annotations
    assert streamed["url_citation"]["title"] == "b.md"


def test_metrics_count_requests_tokens_and_what_was_not_found(serve, monkeypatch):
    answer = Answer("x", "x", usage=Usage(9, 4, 1), sources=())
    monkeypatch.setattr(Served, "answer_all", lambda self, queries, _: [answer] * len(queries))
    server = serve()
    asked(server, "text")
    server.get("/nowhere")
    status, body = server.get("/metrics")
    text = body.decode()
    assert status == 200
    assert 'steelyard_requests_total{route="/v1/chat/completions",status="200"} 1' in text
    assert 'steelyard_requests_total{route="none",status="404"} 1' in text
    assert 'steelyard_tokens_total{kind="cached"} 4' in text
    assert "steelyard_empty_retrievals_total 1" in text
    assert 'steelyard_request_seconds_count{route="/v1/chat/completions"} 1' in text
