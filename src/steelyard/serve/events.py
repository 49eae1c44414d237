"""Server-sent events: an answer while it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from steelyard.core import Json
from steelyard.errors import RequestError
from steelyard.serve.encoding import encoded
from steelyard.serve.gate import error_body
from steelyard.serve.service import client_gone

DONE = b"data: [DONE]\n\n"
# Nothing between us and the client keeps pieces back.
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


def event(body: Json, kind: str | None = None) -> bytes:
    """One event.

    >>> event({"a": 1}, "response.created")
    b'event: response.created\\ndata: {"a":1}\\n\\n'
    """
    head = b"" if kind is None else f"event: {kind}\n".encode()
    return head + b"data: " + encoded(body) + b"\n\n"


class EventStream(Response):
    """A reply of events. A client that leaves ends them."""

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        self.events = events
        self.status_code = 200

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until there are no more, or nobody takes them."""
        sending = asyncio.ensure_future(self._send(send))
        watching = asyncio.ensure_future(client_gone(receive))
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            watching.cancel()
            sending.cancel()
            await asyncio.wait((sending,))
            await self.events.aclose()
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        async for one in self.events:
            await send({"type": "http.response.body", "body": one, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def stream(events: AsyncGenerator[bytes]) -> EventStream:
    """A reply of events. What fails before the first one is an error as if nothing streamed;
    what fails later ends the stream with an error event.

    Raises:
        RequestError: there is no first event, with why.
    """
    first = await anext(events)

    async def whole() -> AsyncGenerator[bytes]:
        try:
            yield first
            async for one in events:
                yield one
        except RequestError as error:
            yield event(error_body(error))
        finally:
            await events.aclose()

    return EventStream(whole())
