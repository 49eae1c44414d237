"""Spans of requests by the conventions for generative AI, with no texts in them unless asked."""

from __future__ import annotations

import doctest
import importlib.util
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from servers import Running
from steelyard.cli.main import app
from steelyard.core import Usage
from steelyard.models.fake import FakeBackend
from steelyard.serve import tracing
from steelyard.serve.tracing import Tracing

INSTALLED = (
    importlib.util.find_spec("opentelemetry.sdk")
    if importlib.util.find_spec("opentelemetry")
    else None
)
needs_sdk = pytest.mark.skipif(
    INSTALLED is None, reason="OpenTelemetry's SDK (extra otel) is not installed"
)
TRACE, ABOVE = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(shared: Running, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has a server's spans kept; the server, and a function that gives them."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    def start(*, texts: bool = False) -> tuple[Running, Any]:
        exporter, provider = InMemorySpanExporter(), TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(shared.service, "tracing", Tracing(provider, texts=texts))
        return shared, exporter.get_finished_spans

    return start


def chat(server: Running, **more: Any) -> Any:
    with server.client() as client:
        asked: Any = [{"role": "user", "content": "Oslo baker"}]
        found = client.chat.completions.create(**{"model": "text", "messages": asked} | more)
        return list(found) if more.get("stream") else found


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(tracing).failed == 0


@needs_sdk
def test_a_chat_is_a_span_with_counts_and_no_texts(spans):
    server, finished = spans()
    reply = chat(
        server,
        max_tokens=50,
        temperature=0.5,
        seed=3,
        extra_headers={"traceparent": f"00-{TRACE}-{ABOVE}-01"},
    )
    [span] = finished()
    known = dict(span.attributes)
    assert span.name == "chat text"
    assert span.kind.name == "INTERNAL"
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == ABOVE
    assert known == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "steelyard",
        "gen_ai.request.model": "text",
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 3,
        "gen_ai.response.model": "text@2",
        "gen_ai.response.id": reply.id,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": reply.usage.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.output_tokens": reply.usage.completion_tokens,
    }
    assert "Oslo" not in span.to_json()


@needs_sdk
def test_texts_are_in_a_span_when_they_are_asked_for(spans):
    server, finished = spans(texts=True)
    reply = chat(server)
    [span] = finished()
    [asked] = json.loads(span.attributes["gen_ai.input.messages"])
    [said] = json.loads(span.attributes["gen_ai.output.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": "Oslo baker"}]}
    assert said["role"] == "assistant"
    assert said["parts"][0]["content"] == reply.choices[0].message.content


@needs_sdk
def test_a_stream_says_when_its_first_piece_came(spans):
    server, finished = spans()
    chat(server, stream=True)
    [span] = finished()
    assert 0 < span.attributes["gen_ai.response.time_to_first_chunk"] < 20
    assert span.attributes["gen_ai.request.stream"] is True


@needs_sdk
def test_a_request_that_fails_has_the_code_of_its_error_and_no_message(spans, monkeypatch):
    server, finished = spans()

    def fail(*_: Any) -> Any:
        raise ValueError("Oslo baker")

    monkeypatch.setattr(FakeBackend, "generate", fail)
    with pytest.raises(openai.InternalServerError):
        chat(server)
    [span] = finished()
    assert span.attributes["error.type"] == "server_error"
    assert span.status.status_code.name == "ERROR"
    assert "Oslo" not in span.to_json()


@needs_sdk
def test_embeddings_and_responses_are_spans_too(spans):
    server, finished = spans()
    with server.client() as client:
        client.embeddings.create(model="fake-embedder", input="Oslo baker")
        client.responses.create(model="text", input="Oslo baker")
    made, answered = finished()
    assert made.name == "embeddings fake-embedder"
    assert made.attributes["gen_ai.usage.input_tokens"] == 2
    assert answered.attributes["gen_ai.operation.name"] == "chat"
    assert answered.attributes["gen_ai.response.id"].startswith("resp_")


@needs_sdk
def test_our_names_are_those_of_the_conventions():
    conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes")
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    assert conventions
    theirs = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_")}
    ours = {value for value in vars(tracing).values() if isinstance(value, str)}
    ours = {name for name in (*ours, *tracing.REQUESTED.values()) if name.startswith("gen_ai.")}
    assert len(ours) > 15
    assert ours <= theirs


def test_spans_are_sent_to_where_the_environment_says(monkeypatch):
    pytest.importorskip("opentelemetry.exporter", reason="the exporter (extra otel) is not there")
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        made = tracing.open_tracing("counts")
        assert made is not None
        asked = SimpleNamespace(model="small", seed=0)
        span = made.begin("/v1/chat/completions", asked, {}, "Oslo baker")
        span.ended("chatcmpl-1", "small@1", Usage(7, 2, 3), [("the baker", "stop")])
        made.close()
    [(path, body)] = got
    assert path == "/v1/traces"
    assert b"chat small" in body
    assert b"steelyard" in body
    assert b"baker" not in body
    assert tracing.open_tracing("none") is None


def test_without_the_extra_it_is_named(home, monkeypatch):
    from typer.testing import CliRunner

    from steelyard import errors

    real = errors.importlib.import_module

    def missing(name: str) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(errors.importlib, "import_module", missing)
    ran = CliRunner().invoke(
        app, ["serve", "--home", str(home), "--port", "0", "--trace", "counts"]
    )
    assert "pip install 'steelyard[otel]'" in str(ran.exception) + ran.output
