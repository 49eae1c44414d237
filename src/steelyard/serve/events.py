"""Server-sent events: an answer while it is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse

from steelyard.core import Json
from steelyard.errors import RequestError
from steelyard.serve.gate import error_body

DONE = b"data: [DONE]\n\n"
# Nothing between us and the client keeps pieces back.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def event(body: Json, kind: str | None = None) -> bytes:
    """One event.

    >>> event({"a": 1}, "response.created")
    b'event: response.created\\ndata: {"a":1}\\n\\n'
    """
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    head = "" if kind is None else f"event: {kind}\n"
    return f"{head}data: {text}\n\n".encode()


async def stream(events: AsyncIterator[bytes]) -> StreamingResponse:
    """A reply of events. What fails before the first one is an error as if nothing streamed;
    what fails later ends the stream with an error event.

    Raises:
        RequestError: there is no first event, with why.
    """
    first = await anext(events)

    async def whole() -> AsyncIterator[bytes]:
        try:
            yield first
            async for one in events:
                yield one
        except RequestError as error:
            yield event(error_body(error))
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    return StreamingResponse(whole(), media_type="text/event-stream", headers=HEADERS)
