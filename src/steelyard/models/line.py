"""The line to a server: the thread that keeps connections open, what a URL may be, and events.

An event loop on a thread of its own outlives the calls, whose callers may have a loop themselves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import threading
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from steelyard.errors import ModelError

CONNECT_SECONDS = 10.0
T = TypeVar("T")


class Line:
    """An event loop on a thread of its own, and the connections that it keeps."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._session: Any = None
        self._thread = threading.Thread(target=self._serve, name="steelyard-http", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` comes to; when the caller is interrupted, so is the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def session(self, *, concurrency: int, timeout_s: float) -> Any:
        """The one session, made on the loop's own thread."""
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=concurrency),
                timeout=aiohttp.ClientTimeout(
                    total=timeout_s, connect=min(CONNECT_SECONDS, timeout_s)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def close(self) -> None:
        """Hang up. Whoever is dropped last may be dropped on the loop's own thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2.0)

    def _serve(self) -> None:
        self._loop.run_forever()
        if self._session is not None:
            self._loop.run_until_complete(self._session.close())
        self._loop.close()


def check_url(url: str, wanted: str, *, plain_http: bool) -> None:
    """Refuse a URL that is none, holds more than a place, or is unencrypted without leave.

    Raises:
        ModelError: it is one of those.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable():
        raise ModelError(
            f'the URL "{url}" for {wanted} is none; expected one such as https://host/v1'
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ModelError(  # the URL is not repeated: it may hold the key
            f"the URL at {host} for {wanted} holds more than a place: a user, a query or a "
            "fragment; expected one such as https://host/v1, and the key in the environment"
        )
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        raise ModelError(
            f'the URL "{url}" for {wanted} would send texts and keys unencrypted; expected '
            "https://…, http:// on this machine, or leave to do so: plain_http = true"
        )


def proxy_of(place: str) -> str | None:
    """The proxy that the environment names for a place, as urllib finds it; none on this machine.

    aiohttp's own way would read passwords from ~/.netrc as well.
    """
    parts = urlsplit(place)
    host = str(parts.hostname)
    if _is_loopback(host) or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


async def events(reply: Any, most_bytes: int) -> AsyncIterator[bytes]:
    """The data of each server-sent event of a reply; a reply beyond the size ends."""
    rest, size = b"", 0
    async for part in reply.content.iter_any():
        size += len(part)
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            name, _, data = line.partition(b":")
            if name in (b"data", b"error"):
                yield data.strip()
        if size > most_bytes:
            reply.close()
            return


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
