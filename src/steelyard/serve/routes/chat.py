"""`/v1/chat/completions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json, Query
from steelyard.errors import RequestError
from steelyard.lifecycle.releases import Served
from steelyard.serve import wire
from steelyard.serve.calls import (
    Bounds,
    Call,
    Choice,
    Reply,
    ask_plain,
    ask_release,
    check_form,
)
from steelyard.serve.catalogue import Embedding, Plain
from steelyard.serve.encoding import JsonReply
from steelyard.serve.events import DONE, event, stream
from steelyard.serve.routing import Router
from steelyard.serve.service import Exchange, Service, service_of

router = Router()


class ChatRequest(wire.Continued):
    """A conversation to be gone on with."""

    messages: list[wire.Turn] = Field(min_length=1, max_length=2048)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    response_format: wire.ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None
    function_call: Any = None
    store: bool | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens of an answer."""
        later = self.max_completion_tokens
        return self.max_tokens if later is None else later


@router.post("/v1/chat/completions", ChatRequest)
async def chat(asked: ChatRequest, request: Request) -> Response:
    """Answer a chat: a release answers the last message, a base model goes on with all."""
    service = service_of(request)
    model = await find_writer(service, asked.model)
    if asked.tools or asked.functions:
        raise RequestError("tools are not served", code="unsupported_parameter", param="tools")
    wire.refuse_unsupported(asked, served=isinstance(model, Served))
    schema = wire.form_schema(asked.response_format, "response_format")
    if isinstance(model, Served):
        text, ignored = wire.task_input(asked.messages)
        ignored += wire.ignored_by_release(asked)
        call = _ask_release(service, model, asked, text)
    else:
        call = _ask_plain(service, model, asked, schema)
        text, ignored = wire.text_of(asked.messages[-1].content, "messages"), []
    exchange = service.begin(request, name_of(model), asked.user, text, asked)
    if asked.stream:
        return await stream(_events(exchange, call, model, asked, ignored))
    reply = await exchange.reply(call)
    if schema is not None and isinstance(model, Served):
        check_form(reply.choices[0].text, schema, model)
    choices = [
        {
            "index": index,
            "message": _message(choice, reply),
            "finish_reason": choice.finish,
            "logprobs": _logprobs(choice) if asked.logprobs else None,
        }
        for index, choice in enumerate(reply.choices)
    ]
    body = _head(exchange, model, "chat.completion", ignored)
    body["steelyard"] |= {"valid": reply.valid, "sources": sources_body(reply)}
    return JsonReply({**body, "choices": choices, "usage": wire.usage_body(reply.usage)})


async def find_writer(service: Service, name: str) -> Served | Plain:
    """The model of a name, if it writes.

    Raises:
        RequestError: there is none, or it is an embedder.
    """
    model = await service.catalogue.find(name)
    if isinstance(model, Embedding):
        raise RequestError(
            f"{name} is an embedder and does not write", code="model_not_supported", param="model"
        )
    return model


def name_of(model: Served | Plain) -> str:
    """What is written down as having answered."""
    return model.name if isinstance(model, Plain) else model.release.id


def sources_body(reply: Reply) -> Json:
    """What the answer was shown; None where nothing is looked up."""
    if reply.sources is None:
        return None
    return [{"passage": s.passage, "document": s.document, "text": s.text} for s in reply.sources]


def _ask_release(service: Service, model: Served, asked: ChatRequest, text: str) -> Call:
    refuse_chances(bool(asked.logprobs))
    bounds = Bounds(asked.stops, asked.limit)
    timeout_s = service.settings.timeout_s
    query = Query(text, asked.user)
    return ask_release(model, query, bounds, timeout_s=timeout_s, n=asked.n or 1)


def refuse_chances(wanted: bool) -> None:
    """A release answers as it was measured, which keeps no chances of tokens.

    Raises:
        RequestError: they are wanted.
    """
    if wanted:
        raise RequestError(
            "logprobs are served of base models, not of releases",
            code="unsupported_parameter",
            param="logprobs",
        )


def _ask_plain(service: Service, model: Plain, asked: ChatRequest, schema: Any) -> Call:
    prompt = wire.prompt_of(asked.messages)
    backend = model.backend
    room = backend.context_tokens - backend.count_tokens(prompt)
    chances = (asked.top_logprobs or 0) if asked.logprobs else None
    samplings = [
        wire.sampling_of(
            asked,
            room,
            max_tokens=asked.limit,
            schema=schema,
            chances=chances,
            seed=None if asked.seed is None else asked.seed + number,
        )
        for number in range(asked.n or 1)
    ]
    timeout_s = service.settings.timeout_s
    return ask_plain(model, [prompt], samplings, asked.stops, timeout_s=timeout_s)


def _head(
    exchange: Exchange, model: Served | Plain, kind: str, ignored: list[str]
) -> dict[str, Any]:
    about = wire.about(model, ignored)
    return {
        "id": exchange.id,
        "object": kind,
        "created": exchange.created,
        "model": name_of(model),
        "system_fingerprint": f"fp_{about['fingerprint'][:12]}",
        "steelyard": about,
    }


def _message(choice: Choice, reply: Reply) -> dict[str, Json]:
    found = wire.citations(choice.text, reply.sources)
    return {
        "role": "assistant",
        "content": choice.text,
        "refusal": None,
        "annotations": [{"type": "url_citation", "url_citation": one} for one in found],
    }


def _logprobs(choice: Choice) -> dict[str, Json]:
    return {"content": [wire.token_body(token) for token in choice.tokens], "refusal": None}


async def _events(
    exchange: Exchange,
    call: Call,
    model: Served | Plain,
    asked: ChatRequest,
    ignored: list[str],
) -> AsyncGenerator[bytes]:
    """Chunks as OpenAI has them. Chances of tokens and citations come with the last of a choice."""
    head = _head(exchange, model, "chat.completion.chunk", ignored)
    with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    usage = {"usage": None} if with_usage else {}

    def chunk(index: int, delta: Json, finish: str | None = None, logprobs: Json = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": logprobs}
        return event({**head, "choices": [choice], **usage})

    begun: set[int] = set()
    reply: Reply | None = None
    async for piece in exchange.pieces(call):
        if isinstance(piece, Reply):
            reply = piece
            continue
        index, text = piece
        if index not in begun:
            begun.add(index)
            yield chunk(index, {"role": "assistant", "content": ""})
        yield chunk(index, {"content": text})
    assert reply is not None, "pieces end with the reply"
    for index, choice in enumerate(reply.choices):
        if index not in begun:
            yield chunk(index, {"role": "assistant", "content": ""})
        annotations = _message(choice, reply)["annotations"]
        delta = {"annotations": annotations} if annotations else {}
        yield chunk(index, delta, choice.finish, _logprobs(choice) if asked.logprobs else None)
    if with_usage:
        yield event({**head, "choices": [], "usage": wire.usage_body(reply.usage)})
    yield DONE
