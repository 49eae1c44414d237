"""OpenTelemetry spans of requests: every name of its conventions stands in this file.

One span for each request, named "{operation} {model}", beneath the span that the client's
`traceparent` header names. What was asked and answered is in it only where texts are asked for.
Source: Semantic conventions for generative AI spans (opentelemetry.io, status: development, 2026)
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from steelyard import __version__
from steelyard.core import Usage
from steelyard.errors import need

Trace = Literal["none", "counts", "texts"]
PROVIDER = "steelyard"
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/responses": "chat",
    "/v1/embeddings": "embeddings",
}
REQUESTED = {  # of a request's own keys
    "max_tokens": "gen_ai.request.max_tokens",
    "max_completion_tokens": "gen_ai.request.max_tokens",
    "max_output_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "top_p": "gen_ai.request.top_p",
    "seed": "gen_ai.request.seed",
    "n": "gen_ai.request.choice.count",
    "stream": "gen_ai.request.stream",
    "frequency_penalty": "gen_ai.request.frequency_penalty",
    "presence_penalty": "gen_ai.request.presence_penalty",
}
OPERATION, PROVIDER_NAME = "gen_ai.operation.name", "gen_ai.provider.name"
ASKED_MODEL, ANSWERED_MODEL = "gen_ai.request.model", "gen_ai.response.model"
RESPONSE_ID, FINISHES = "gen_ai.response.id", "gen_ai.response.finish_reasons"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"  # in seconds
READ, CACHED = "gen_ai.usage.input_tokens", "gen_ai.usage.cache_read.input_tokens"
WRITTEN = "gen_ai.usage.output_tokens"
INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
ERROR = "error.type"


class Tracing:
    """Makes spans. `provider` is a TracerProvider of the SDK."""

    def __init__(self, provider: Any, *, texts: bool = False) -> None:
        self.provider, self.texts = provider, texts
        self._api = need("opentelemetry.trace", "otel")
        self._context = need("opentelemetry.trace.propagation.tracecontext", "otel")
        self._tracer = provider.get_tracer("steelyard", __version__)

    def begin(self, route: str, asked: object, headers: Mapping[str, str], text: str = "") -> Span:
        """A span that begins now; `asked` is the body of the request."""
        operation, model = OPERATIONS.get(route, route), str(getattr(asked, "model", ""))
        known: dict[str, Any] = {OPERATION: operation, PROVIDER_NAME: PROVIDER, ASKED_MODEL: model}
        for key, name in REQUESTED.items():
            if (value := getattr(asked, key, None)) is not None:
                known[name] = value
        if self.texts and text:
            known[INPUT] = _messages("user", [text])
        above = self._context.TraceContextTextMapPropagator().extract(dict(headers))
        kind = self._api.SpanKind.INTERNAL  # the model runs in this process, or in a child of it
        span = self._tracer.start_span(f"{operation} {model}", above, kind, known)
        return Span(span, self._api, texts=self.texts)

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


class Span:
    """The span of one request; it ends once."""

    def __init__(self, span: Any, api: Any, *, texts: bool) -> None:
        self._span, self._api, self._texts = span, api, texts
        self._began = time.perf_counter()
        self._is_heard = False

    def heard(self) -> None:
        """The first piece of an answer is there."""
        if not self._is_heard:
            self._is_heard = True
            self._span.set_attribute(FIRST_CHUNK, time.perf_counter() - self._began)

    def ended(
        self, id: str, model: str, usage: Usage, choices: Sequence[tuple[str, str]] = ()
    ) -> None:
        """It was answered: by which model, and each choice's text and why it ended."""
        known: dict[str, Any] = {ANSWERED_MODEL: model, READ: usage.prompt_tokens}
        if id:
            known |= {RESPONSE_ID: id, CACHED: usage.cached_tokens}
            known |= {WRITTEN: usage.completion_tokens, FINISHES: [why for _, why in choices]}
        if self._texts and choices:
            known[OUTPUT] = _messages("assistant", [text for text, _ in choices])
        self._span.set_attributes(known)
        self._span.end()

    def failed(self, code: str) -> None:
        """It was not answered. What the error says may hold a text, and is not in the span."""
        self._span.set_attribute(ERROR, code)
        self._span.set_status(self._api.StatusCode.ERROR)
        self._span.end()


def open_tracing(trace: Trace) -> Tracing | None:
    """Spans that are sent to where OpenTelemetry's own environment variables say; None for none.

    Raises:
        MissingExtraError: the otel extra is not installed.
    """
    if trace == "none":
        return None
    exporter = need("opentelemetry.exporter.otlp.proto.http.trace_exporter", "otel")
    sdk = need("opentelemetry.sdk.trace", "otel")
    processors = need("opentelemetry.sdk.trace.export", "otel")
    resources = need("opentelemetry.sdk.resources", "otel")
    named = resources.Resource.create({"service.name": PROVIDER})
    provider = sdk.TracerProvider(resource=named)
    provider.add_span_processor(processors.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    return Tracing(provider, texts=trace == "texts")


def _messages(role: str, texts: Sequence[str]) -> str:
    """Texts in the shape of the conventions.

    >>> _messages("user", ["Hi"])
    '[{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]'
    """
    turns = [{"role": role, "parts": [{"type": "text", "content": text}]} for text in texts]
    return json.dumps(turns, ensure_ascii=False)
