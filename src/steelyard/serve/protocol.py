"""uvicorn's HTTP with bounds on how long a client may take, and how much it may hold."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS = 10.0  # from the first byte of a request to the last of its headers
HEADER_BYTES = 64_000  # read before they are whole
WRITE_SECONDS = 60.0  # for a client to take what is sent. Source: ours, as nginx has it


class Protocol(HttpToolsProtocol):
    """Closes the connection of a client that dawdles: before its first request, within the headers
    of one, or while it should take what is sent."""

    _dawdling: asyncio.TimerHandle | None = None
    _stuck: asyncio.TimerHandle | None = None
    _unread = 0  # bytes of headers that are not whole

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_idle():
            self._unread = 0
            if self._dawdling is not None:
                self._dawdling.cancel()
                self._dawdling = None
            return
        self._unread += len(data)
        if self._unread > HEADER_BYTES:
            self.transport.abort()
        elif self._dawdling is None:
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._dawdling, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _is_idle(self) -> bool:
        """Whether no request has begun, or the last is over."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def _wait(self) -> None:
        self._dawdling = self.loop.call_later(HEADER_SECONDS, self.transport.close)
