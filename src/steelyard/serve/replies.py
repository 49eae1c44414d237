"""What comes back where a request is answered, as JSON Schemas: the keys that clients rely on.

A reply may hold more keys than these; what is `required` is always there.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
MAYBE_TEXT = {"type": ["string", "null"]}
COUNT = {"type": "integer", "minimum": 0}
TRUTH = {"type": "boolean"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "properties": properties}


def _list(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _reply(kind: str, **properties: Any) -> dict[str, Any]:
    """An object that says what it is."""
    return _object(object={"const": kind}, **properties)


USAGE = _object(prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT)
FINISH = {"enum": ["stop", "length"]}
HEAD = {"id": TEXT, "created": COUNT, "model": TEXT, "steelyard": {"type": "object"}}
MODEL = _reply("model", id=TEXT, created=COUNT, owned_by=TEXT, steelyard={"type": "object"})
MESSAGE = _object(
    role={"const": "assistant"}, content=TEXT, refusal=MAYBE_TEXT, annotations=_list({})
)
VECTOR = {"oneOf": [_list({"type": "number"}), TEXT]}  # numbers, or their bytes in base64

# By the method and the path of a route. A route that is not here says nothing of its reply.
REPLIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/chat/completions"): _reply(
        "chat.completion",
        **HEAD,
        choices=_list(_object(index=COUNT, message=MESSAGE, finish_reason=FINISH)),
        usage=USAGE,
    ),
    ("POST", "/v1/completions"): _reply(
        "text_completion",
        **HEAD,
        choices=_list(_object(index=COUNT, text=TEXT, finish_reason=FINISH)),
        usage=USAGE,
    ),
    ("POST", "/v1/responses"): _reply(
        "response",
        id=TEXT,
        created_at=COUNT,
        status={"enum": ["completed", "incomplete"]},
        error={"type": "null"},
        model=TEXT,
        output=_list(_object(id=TEXT, type={"const": "message"}, content=_list({}))),
        usage=_object(input_tokens=COUNT, output_tokens=COUNT, total_tokens=COUNT),
        steelyard={"type": "object"},
    ),
    ("POST", "/v1/embeddings"): _reply(
        "list",
        data=_list(_reply("embedding", index=COUNT, embedding=VECTOR)),
        model=TEXT,
        usage=_object(prompt_tokens=COUNT, total_tokens=COUNT),
    ),
    ("GET", "/v1/models"): _reply("list", data=_list(MODEL)),
    ("GET", "/v1/models/{name}"): MODEL,
    ("POST", "/v1/feedback"): _reply("feedback", id=TEXT, response_id=TEXT, new=TRUTH),
    ("GET", "/health"): _object(
        status=TEXT,
        waiting=COUNT,
        lost_records=COUNT,
        problems=COUNT,
        refreshing=TRUTH,
        refresh_failed=TRUTH,
    ),
    ("GET", "/openapi.json"): _object(openapi=TEXT, info={"type": "object"}, paths={}),
}
