"""`/v1/completions`: a plain text gone on with, without the turns of a chat."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json, Query
from steelyard.errors import RequestError
from steelyard.lifecycle.releases import Served
from steelyard.serve import wire
from steelyard.serve.calls import Bounds, Call, Choice, Reply, ask_plain, ask_release
from steelyard.serve.catalogue import Plain
from steelyard.serve.encoding import JsonReply
from steelyard.serve.events import DONE, event, stream
from steelyard.serve.routes.chat import find_writer, name_of, refuse_chances
from steelyard.serve.routing import Router
from steelyard.serve.service import Exchange, Service, service_of

router = Router()
DEFAULT_MAX_TOKENS = 16  # as OpenAI has it
MOST_PROMPTS = 64


class CompletionRequest(wire.Continued):
    """One prompt or several."""

    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
    max_tokens: int | None = Field(None, ge=1)
    logprobs: int | None = Field(None, ge=0, le=5)
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None

    @property
    def prompts(self) -> list[str]:
        """The prompts, one or more."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


@router.post("/v1/completions", CompletionRequest)
async def complete(asked: CompletionRequest, request: Request) -> Response:
    """Go on with a text: for a release the prompt is its task's input."""
    service = service_of(request)
    model = await find_writer(service, asked.model)
    for name in ("echo", "suffix"):
        if getattr(asked, name):
            raise RequestError(f"{name} is not served", code="unsupported_parameter", param=name)
    if (asked.best_of or 1) != 1:
        raise RequestError("best_of is not served", code="unsupported_parameter", param="best_of")
    wire.refuse_unsupported(asked, served=isinstance(model, Served))
    for prompt in asked.prompts:
        if not prompt.strip():
            raise RequestError("the prompt is empty", code="no_input", param="prompt")
    if isinstance(model, Served):
        call, ignored = _ask_release(service, model, asked), wire.ignored_by_release(asked)
    else:
        call, ignored = _ask_plain(service, model, asked), []
    exchange = service.begin(request, name_of(model), asked.user, "\n\n".join(asked.prompts), asked)
    head = {
        "id": exchange.id,
        "object": "text_completion",
        "created": exchange.created,
        "model": name_of(model),
        "steelyard": wire.about(model, ignored),
    }
    if asked.stream:
        return await stream(_events(exchange, call, head, asked))
    reply = await exchange.reply(call)
    choices = [
        _choice(index, choice.text, choice.finish, _logprobs(choice, asked))
        for index, choice in enumerate(reply.choices)
    ]
    return JsonReply({**head, "choices": choices, "usage": wire.usage_body(reply.usage)})


def _ask_release(service: Service, model: Served, asked: CompletionRequest) -> Call:
    if len(asked.prompts) > 1:
        raise RequestError(
            "a release answers one prompt of a request", code="too_many_prompts", param="prompt"
        )
    refuse_chances(asked.logprobs is not None)
    bounds = Bounds(asked.stops, asked.max_tokens)
    timeout_s = service.settings.timeout_s
    query = Query(asked.prompts[0], asked.user)
    return ask_release(model, query, bounds, timeout_s=timeout_s, n=asked.n or 1)


def _ask_plain(service: Service, model: Plain, asked: CompletionRequest) -> Call:
    backend = model.backend
    longest = max(backend.count_tokens(prompt) for prompt in asked.prompts)
    room = backend.context_tokens - longest
    limit = DEFAULT_MAX_TOKENS if asked.max_tokens is None else asked.max_tokens
    samplings = [
        wire.sampling_of(
            asked,
            room,
            max_tokens=limit,
            schema=None,
            chances=asked.logprobs,
            seed=None if asked.seed is None else asked.seed + number,
        )
        for number in range(asked.n or 1)
    ]
    timeout_s = service.settings.timeout_s
    return ask_plain(model, asked.prompts, samplings, asked.stops, timeout_s=timeout_s)


def _choice(index: int, text: str, finish: str | None, logprobs: Json) -> dict[str, Json]:
    return {"index": index, "text": text, "finish_reason": finish, "logprobs": logprobs}


def _logprobs(choice: Choice, asked: CompletionRequest) -> Json:
    if asked.logprobs is None:
        return None
    offsets, at = [], 0
    for token in choice.tokens:
        offsets.append(at)
        at += len(token.text)
    return {
        "tokens": [token.text for token in choice.tokens],
        "token_logprobs": [token.log_prob for token in choice.tokens],
        "top_logprobs": [dict(token.top) for token in choice.tokens],
        "text_offset": offsets,
    }


async def _events(
    exchange: Exchange, call: Call, head: dict[str, Any], asked: CompletionRequest
) -> AsyncGenerator[bytes]:
    with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    usage = {"usage": None} if with_usage else {}
    reply: Reply | None = None
    async for piece in exchange.pieces(call):
        if isinstance(piece, Reply):
            reply = piece
        else:
            yield event({**head, "choices": [_choice(*piece, None, None)], **usage})
    assert reply is not None, "pieces end with the reply"
    for index, choice in enumerate(reply.choices):
        last = _choice(index, "", choice.finish, _logprobs(choice, asked))
        yield event({**head, "choices": [last], **usage})
    if with_usage:
        yield event({**head, "choices": [], "usage": wire.usage_body(reply.usage)})
    yield DONE
