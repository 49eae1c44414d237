"""`/v1/responses`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Literal

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from steelyard.core import Json, Query
from steelyard.errors import RequestError
from steelyard.lifecycle.releases import Served
from steelyard.serve import wire
from steelyard.serve.calls import Bounds, Call, Reply, ask_plain, ask_release, check_form
from steelyard.serve.catalogue import Plain
from steelyard.serve.encoding import JsonReply
from steelyard.serve.events import event, stream
from steelyard.serve.gate import error_body
from steelyard.serve.routes.chat import find_writer, name_of, refuse_chances, sources_body
from steelyard.serve.routing import Router
from steelyard.serve.service import Exchange, Service, service_of

router = Router()
CHANCES = "message.output_text.logprobs"


class TextFormat(wire.Strict):
    """The form of the answer; a schema stands beside its name here."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextConfig(wire.Strict):
    """How the text is to be."""

    format: TextFormat | None = None
    verbosity: str | None = None


class ResponsesRequest(wire.Sampled):
    """An input to be answered, text or turns."""

    input: str | list[wire.Turn]
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    text: TextConfig | None = None
    include: list[str] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Any] | None = None
    tool_choice: Any = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    store: bool | None = None
    stream_options: wire.StreamOptions | None = None
    service_tier: str | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    reasoning: Any = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def turns(self) -> list[wire.Turn]:
        """The instructions and the input as turns."""
        head = [] if self.instructions is None else [("system", self.instructions)]
        turns = [wire.Turn(role=role, content=text) for role, text in head]  # type: ignore[arg-type]
        if isinstance(self.input, str):
            return [*turns, wire.Turn(role="user", content=self.input)]
        return [*turns, *self.input]

    @property
    def with_chances(self) -> bool:
        """Whether log-probabilities are asked for."""
        return CHANCES in (self.include or ()) or self.top_logprobs is not None


@router.post("/v1/responses", ResponsesRequest)
async def respond(asked: ResponsesRequest, request: Request) -> Response:
    """Answer an input: a release the last message of the user, a base model all turns."""
    service = service_of(request)
    model = await find_writer(service, asked.model)
    for name in ("tools", "previous_response_id", "conversation", "background"):
        if getattr(asked, name):
            raise RequestError(f"{name} is not served", code="unsupported_parameter", param=name)
    schema = wire.form_schema(_format(asked), "text.format")
    if isinstance(model, Served):
        text, ignored = wire.task_input(asked.turns, "input")
        ignored += wire.ignored_by_release(asked)
        refuse_chances(asked.with_chances)
        bounds = Bounds(max_tokens=asked.max_output_tokens)
        timeout_s = service.settings.timeout_s
        call = ask_release(model, Query(text, asked.user), bounds, timeout_s=timeout_s)
    else:
        call = _ask_plain(service, model, asked, schema)
        text, ignored = wire.text_of(asked.turns[-1].content, "input"), []
    exchange = service.begin(request, name_of(model), asked.user, text, asked)
    saying = _Saying(exchange, model, asked, ignored)
    if asked.stream:
        return await stream(saying.events(call))
    reply = await exchange.reply(call)
    if schema is not None and isinstance(model, Served):
        check_form(reply.choices[0].text, schema, model)
    return JsonReply(saying.body("completed", reply))


def _format(asked: ResponsesRequest) -> wire.ResponseFormat | None:
    form = None if asked.text is None else asked.text.format
    if form is None:
        return None
    schema = wire.JsonSchema(name=form.name, schema=form.schema_, strict=form.strict)
    return wire.ResponseFormat(type=form.type, json_schema=schema)


def _ask_plain(service: Service, model: Plain, asked: ResponsesRequest, schema: Any) -> Call:
    prompt = wire.prompt_of(asked.turns, "input")
    backend = model.backend
    sampling = wire.sampling_of(
        asked,
        backend.context_tokens - backend.count_tokens(prompt),
        max_tokens=asked.max_output_tokens,
        schema=schema,
        chances=(asked.top_logprobs or 0) if asked.with_chances else None,
        seed=None,
    )
    return ask_plain(model, [prompt], [sampling], (), timeout_s=service.settings.timeout_s)


class _Saying:
    """A response in its states."""

    def __init__(
        self,
        exchange: Exchange,
        model: Served | Plain,
        asked: ResponsesRequest,
        ignored: list[str],
    ) -> None:
        self.exchange, self.model, self.asked, self.ignored = exchange, model, asked, ignored
        self.message_id = f"msg_{uuid.uuid4().hex}"
        self._number = -1

    def body(self, status: str, reply: Reply | None = None) -> dict[str, Json]:
        """The whole response object."""
        asked = self.asked
        cut = reply is not None and reply.choices[0].finish == "length"
        more = {} if reply is None else {"valid": reply.valid, "sources": sources_body(reply)}
        return {
            "id": self.exchange.id,
            "object": "response",
            "created_at": self.exchange.created,
            "status": "incomplete" if cut else status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "instructions": asked.instructions,
            "max_output_tokens": asked.max_output_tokens,
            "metadata": asked.metadata or {},
            "model": name_of(self.model),
            "output": [] if reply is None else [self._item(reply)],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "temperature": asked.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_p": asked.top_p,
            "truncation": "disabled",
            "usage": None if reply is None else _usage(reply),
            "user": asked.user,
            "steelyard": wire.about(self.model, self.ignored, **more),
        }

    def _item(self, reply: Reply | None) -> dict[str, Json]:
        state = "in_progress" if reply is None else "completed"
        content = [] if reply is None else [self._part(reply)]
        head = {"id": self.message_id, "type": "message", "role": "assistant"}
        return {**head, "status": state, "content": content}

    def _part(self, reply: Reply | None) -> dict[str, Json]:
        if reply is None:
            return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        choice = reply.choices[0]
        found = wire.citations(choice.text, reply.sources)
        return {
            "type": "output_text",
            "text": choice.text,
            "annotations": [{"type": "url_citation", **one} for one in found],
            "logprobs": [wire.token_body(token) for token in choice.tokens],
        }

    def _event(self, kind: str, **body: Json) -> bytes:
        self._number += 1
        return event({"type": kind, "sequence_number": self._number, **body}, kind)

    def _at(self) -> dict[str, Json]:
        return {"item_id": self.message_id, "output_index": 0, "content_index": 0}

    async def events(self, call: Call) -> AsyncGenerator[bytes]:
        """The stream: what begins, each new piece of text, what ends."""
        reply: Reply | None = None
        begun = False
        try:
            async for piece in self.exchange.pieces(call):
                if not begun:
                    begun = True
                    for one in self._beginning():
                        yield one
                if isinstance(piece, Reply):
                    reply = piece
                else:
                    kind = "response.output_text.delta"
                    yield self._event(kind, **self._at(), delta=piece[1], logprobs=[])
        except RequestError as error:
            if not begun:
                raise
            failed = {"code": "server_error", "message": error_body(error)["error"]["message"]}
            response = {**self.body("failed"), "error": failed}
            yield self._event("response.failed", response=response)
            return
        assert reply is not None, "pieces end with the reply"
        for one in self._ending(reply):
            yield one

    def _beginning(self) -> Iterator[bytes]:
        yield self._event("response.created", response=self.body("in_progress"))
        yield self._event("response.in_progress", response=self.body("in_progress"))
        yield self._event("response.output_item.added", output_index=0, item=self._item(None))
        yield self._event("response.content_part.added", **self._at(), part=self._part(None))

    def _ending(self, reply: Reply) -> Iterator[bytes]:
        part, whole = self._part(reply), self.body("completed", reply)
        done = {"text": part["text"], "logprobs": part["logprobs"]}
        yield self._event("response.output_text.done", **self._at(), **done)
        yield self._event("response.content_part.done", **self._at(), part=part)
        yield self._event("response.output_item.done", output_index=0, item=self._item(reply))
        yield self._event(f"response.{whole['status']}", response=whole)


def _usage(reply: Reply) -> dict[str, Json]:
    usage = reply.usage
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        **wire.estimated(usage),
    }
